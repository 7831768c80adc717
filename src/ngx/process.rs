//! Processes of this nginx.

/// This process, as nginx knows it: asking the system would cost each request a call.
pub fn id() -> u32 {
    // SAFETY: nginx sets it when it starts a process.
    unsafe { nginx_sys::ngx_pid as u32 }
}

/// Whether a process of this nginx still lives; when in doubt, it does.
pub fn is_alive(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return false;
    };
    // SAFETY: signal 0 is not sent, only checked.
    let rc = unsafe { libc::kill(pid, 0) };
    rc == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}
