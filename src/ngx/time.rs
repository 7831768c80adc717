//! nginx's cached time.

/// The time in Unix seconds.
pub fn now() -> i64 {
    nginx_sys::ngx_time()
}

/// Milliseconds of the machine's monotonic clock, the same in all processes.
pub fn monotonic_ms() -> u64 {
    // SAFETY: nginx writes it in this thread only.
    unsafe { nginx_sys::ngx_current_msec as u64 }
}
