//! The module's own identity inside nginx.

use core::ptr;

use nginx_sys::ngx_module_t;

/// nginx's struct for this module.
pub fn module() -> &'static ngx_module_t {
    // SAFETY: nginx writes to it while it loads the module, before anything else of it runs, and
    // on reload in the master process only, while nothing of the module runs.
    unsafe { &*ptr::addr_of!(crate::ngx_http_authgear_module) }
}
