//! nginx's log, with its levels and its context.

use core::fmt::{self, Write};
use core::ptr::NonNull;

use nginx_sys::{
    ngx_cycle, ngx_log_error_core, ngx_log_t, ngx_uint_t, NGX_LOG_ALERT, NGX_LOG_DEBUG,
    NGX_LOG_DEBUG_HTTP, NGX_LOG_EMERG, NGX_LOG_ERR, NGX_LOG_INFO, NGX_LOG_NOTICE, NGX_LOG_WARN,
};

/// A log of nginx: a connection's, with its "client: ..., request: ..." context, or the cycle's.
#[derive(Clone, Copy)]
pub struct Log(NonNull<ngx_log_t>);

/// The log of the running cycle, for what belongs to no request.
pub fn cycle() -> Log {
    // SAFETY: ngx_cycle and its log exist before any module code runs.
    unsafe { Log::from_ptr((*ngx_cycle).log) }
}

/// nginx cuts a line at NGX_MAX_ERROR_STR (2048) bytes, its own prefix and context included.
const LONGEST: usize = 1536;

impl Log {
    /// # Safety
    /// `log` is a valid log that outlives its uses.
    pub unsafe fn from_ptr(log: *mut ngx_log_t) -> Log {
        // SAFETY: valid, so not null.
        Log(unsafe { NonNull::new_unchecked(log) })
    }

    /// nginx can't start.
    pub fn emerg(self, message: fmt::Arguments<'_>) {
        self.write(NGX_LOG_EMERG, message);
    }

    /// Something that must not happen.
    pub fn alert(self, message: fmt::Arguments<'_>) {
        self.write(NGX_LOG_ALERT, message);
    }

    /// A failure that a client can feel.
    pub fn error(self, message: fmt::Arguments<'_>) {
        self.write(NGX_LOG_ERR, message);
    }

    /// Something an operator should look at.
    pub fn warn(self, message: fmt::Arguments<'_>) {
        self.write(NGX_LOG_WARN, message);
    }

    /// A normal but rare event.
    pub fn notice(self, message: fmt::Arguments<'_>) {
        self.write(NGX_LOG_NOTICE, message);
    }

    /// What happened to one request.
    pub fn info(self, message: fmt::Arguments<'_>) {
        self.write(NGX_LOG_INFO, message);
    }

    /// A request's way through the module; costs nothing unless nginx has `--with-debug`.
    pub fn debug(self, message: fmt::Arguments<'_>) {
        // SAFETY: the log is valid.
        let level = unsafe { self.0.as_ref() }.log_level;
        if cfg!(ngx_feature = "debug") && level & NGX_LOG_DEBUG_HTTP as ngx_uint_t != 0 {
            self.put(NGX_LOG_DEBUG as ngx_uint_t, message);
        }
    }

    fn write(self, level: u32, message: fmt::Arguments<'_>) {
        let level = level as ngx_uint_t;
        // SAFETY: the log is valid.
        if level <= unsafe { self.0.as_ref() }.log_level {
            self.put(level, message);
        }
    }

    fn put(self, level: ngx_uint_t, message: fmt::Arguments<'_>) {
        let mut line = Line {
            bytes: [0; LONGEST],
            len: 0,
        };
        let _ = line.write_fmt(message);
        // SAFETY: the log is valid; "%*s" reads exactly `len` bytes of the buffer.
        unsafe {
            ngx_log_error_core(
                level,
                self.0.as_ptr(),
                0,
                c"%*s".as_ptr(),
                line.len,
                line.bytes.as_ptr(),
            );
        }
    }
}

/// A line under construction; what does not fit is cut, as nginx cuts it.
struct Line {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let n = s.len().min(LONGEST - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}
