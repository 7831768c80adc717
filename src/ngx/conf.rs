//! The configuration being read: arguments, errors with file and line, and nginx's units.

use core::fmt;
use core::marker::PhantomData;
use core::mem::zeroed;
use core::ptr::{self, NonNull};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nginx_sys::{
    ngx_conf_file_t, ngx_conf_full_name, ngx_conf_log_error, ngx_conf_t, ngx_http_conf_ctx_t,
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_handler_pt, ngx_http_request_t,
    ngx_int_t, ngx_module_t, ngx_parse_size, ngx_parse_time, ngx_str_t, ngx_uint_t, NGX_LOG_EMERG,
    NGX_LOG_WARN,
};

use super::pool::{bytes, ngx_str, NoMemory, Pool};

/// A handler of requests, for nginx to call.
pub type Handler = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

/// nginx's `ngx_conf_t`: where the parser stands.
pub struct Conf<'c> {
    ptr: NonNull<ngx_conf_t>,
    lives: PhantomData<&'c mut ngx_conf_t>,
}

impl<'c> Conf<'c> {
    /// # Safety
    /// `cf` is valid for `'c`.
    pub unsafe fn from_ptr(cf: *mut ngx_conf_t) -> Conf<'c> {
        // SAFETY: valid, so not null.
        let ptr = unsafe { NonNull::new_unchecked(cf) };
        Conf {
            ptr,
            lives: PhantomData,
        }
    }

    /// nginx's own pointer.
    pub fn as_ptr(&self) -> *mut ngx_conf_t {
        self.ptr.as_ptr()
    }

    /// The pool of the cycle being configured.
    pub fn pool(&self) -> Pool<'c> {
        // SAFETY: the pool lives as long as the configuration.
        unsafe { Pool::from_ptr(self.ptr.as_ref().pool) }
    }

    /// The directive's arguments, its name first.
    pub fn args(&self) -> Vec<&'c [u8]> {
        // SAFETY: nginx fills `args` with strings that live in the cycle's pool.
        unsafe {
            let args = &*self.ptr.as_ref().args;
            args.as_slice::<ngx_str_t>()
                .iter()
                .map(|s| bytes(*s))
                .collect()
        }
    }

    /// The only argument of a directive that takes one.
    pub fn arg(&self) -> &'c [u8] {
        self.args().get(1).copied().unwrap_or_default()
    }

    /// Whether the directive stands at this level, one of nginx's `NGX_HTTP_..._CONF`.
    pub fn is_level(&self, level: u32) -> bool {
        // SAFETY: a valid struct.
        unsafe { self.ptr.as_ref() }.cmd_type & level as usize != 0
    }

    /// Where the parser stands.
    pub fn line(&self) -> Line {
        // SAFETY: a file, or a stand-in for the command line, is being read.
        unsafe {
            let file = &*self.ptr.as_ref().conf_file;
            Line {
                name: file.file.name,
                fd: file.file.fd,
                number: file.line,
            }
        }
    }

    /// Runs `body` as if the parser stood at that line, for what nginx logs and remembers of it.
    pub fn at<T>(&self, line: &Line, body: impl FnOnce() -> T) -> T {
        // SAFETY: all zero is a valid value. nginx reads name, descriptor and line of the file only
        // when it parses nothing, and keeps the name, which lives in the cycle's pool.
        unsafe {
            let mut file: ngx_conf_file_t = zeroed();
            file.file.name = line.name;
            file.file.fd = line.fd;
            file.line = line.number;
            let cf = self.as_ptr();
            let here = core::mem::replace(&mut (*cf).conf_file, &mut file);
            let result = body();
            (*cf).conf_file = here;
            result
        }
    }

    /// Logs an error with the file and line being read.
    pub fn emerg(&self, message: fmt::Arguments<'_>) {
        self.log(NGX_LOG_EMERG, message);
    }

    /// Logs a warning with the file and line being read.
    pub fn warn(&self, message: fmt::Arguments<'_>) {
        self.log(NGX_LOG_WARN, message);
    }

    fn log(&self, level: u32, message: fmt::Arguments<'_>) {
        let message = message.to_string();
        // SAFETY: "%*s" reads exactly `len` bytes of the message.
        unsafe {
            ngx_conf_log_error(
                level as usize,
                self.as_ptr(),
                0,
                c"%*s".as_ptr(),
                message.len(),
                message.as_ptr(),
            );
        }
    }

    /// A path relative to the configuration's directory, made absolute.
    pub fn full_name(&self, path: &[u8]) -> Result<PathBuf, NoMemory> {
        // nginx wants a C string, which `copy` of one with a NUL behind it is.
        let mut name = ngx_str(self.pool().concat(&[path, b"\0"])?);
        name.len = path.len();
        // SAFETY: the cycle and the name are valid; nginx changes the struct only.
        unsafe {
            if ngx_conf_full_name(self.ptr.as_ref().cycle, &mut name, 1) != 0 {
                return Err(NoMemory);
            }
            Ok(PathBuf::from(OsStr::from_bytes(bytes(name))))
        }
    }

    /// Whether the location that is being merged is answered by this handler.
    pub fn is_answered_by(&self, handler: Handler) -> bool {
        // SAFETY: core's location configuration has this type, and is merged before ours.
        let core: Option<&ngx_http_core_loc_conf_t> =
            unsafe { self.loc_conf(&*ptr::addr_of!(ngx_http_core_module)) };
        core.and_then(|core| core.handler)
            .is_some_and(|h| h as usize == handler as usize)
    }

    /// Makes the location's requests be answered by this handler, unless they have one already.
    pub fn set_content_handler(&self, handler: ngx_http_handler_pt) -> bool {
        // SAFETY: inside a location, `ctx` has core's configuration of it.
        unsafe {
            let ctx = self.ptr.as_ref().ctx.cast::<ngx_http_conf_ctx_t>();
            let index = (*ptr::addr_of!(ngx_http_core_module)).ctx_index;
            let core = &mut *(*(*ctx).loc_conf.add(index)).cast::<ngx_http_core_loc_conf_t>();
            if core.handler.is_some() {
                return false;
            }
            core.handler = handler;
        }
        true
    }

    /// This module's configuration of the level `T` belongs to.
    ///
    /// # Safety
    /// `module` is an http module whose main configuration is a `T`.
    pub unsafe fn main_conf<T>(&self, module: &ngx_module_t) -> Option<&'c mut T> {
        // SAFETY: inside http {} `ctx` is an ngx_http_conf_ctx_t; the caller says what it holds.
        unsafe {
            let ctx = self
                .ptr
                .as_ref()
                .ctx
                .cast::<ngx_http_conf_ctx_t>()
                .as_ref()?;
            (*ctx.main_conf.add(module.ctx_index)).cast::<T>().as_mut()
        }
    }

    /// A module's configuration of the location being merged.
    ///
    /// # Safety
    /// `module` is an http module whose location configuration is a `T`.
    pub unsafe fn loc_conf<T>(&self, module: &ngx_module_t) -> Option<&'c T> {
        // SAFETY: as for `main_conf`.
        unsafe {
            let ctx = self
                .ptr
                .as_ref()
                .ctx
                .cast::<ngx_http_conf_ctx_t>()
                .as_ref()?;
            (*ctx.loc_conf.add(module.ctx_index)).cast::<T>().as_ref()
        }
    }

    /// Whether an http module of this name is loaded, and its index among http modules.
    pub fn http_module_index(&self, name: &[u8]) -> Option<usize> {
        // SAFETY: the cycle's list of modules ends with a null pointer; names are C strings or null.
        unsafe {
            let mut at = (*self.ptr.as_ref().cycle).modules;
            while let Some(module) = (*at).as_ref() {
                if !module.name.is_null()
                    && core::ffi::CStr::from_ptr(module.name.cast()).to_bytes() == name
                {
                    return Some(module.ctx_index);
                }
                at = at.add(1);
            }
        }
        None
    }
}

/// A line of the configuration. Lives as long as the cycle.
#[derive(Clone)]
pub struct Line {
    name: ngx_str_t,
    fd: libc::c_int,
    number: ngx_uint_t,
}

/// A time with nginx's units, in milliseconds.
pub fn parse_msec(text: &[u8]) -> Option<u64> {
    let mut s = ngx_str(text);
    // SAFETY: nginx reads `len` bytes only.
    u64::try_from(unsafe { ngx_parse_time(&mut s, 0) }).ok()
}

/// A size with nginx's units, in bytes.
pub fn parse_size(text: &[u8]) -> Option<usize> {
    let mut s = ngx_str(text);
    // SAFETY: nginx reads `len` bytes only.
    usize::try_from(unsafe { ngx_parse_size(&mut s) }).ok()
}

/// A whole number without sign.
pub fn parse_number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(text).ok()?.parse().ok()
}
