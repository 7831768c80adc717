//! nginx's cached time.

/// The time in Unix seconds.
pub fn now() -> i64 {
    nginx_sys::ngx_time()
}
