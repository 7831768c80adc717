//! nginx-authgear: authenticates nginx's requests against Authgear.
//!
//! The way of a request, and where each part lives:
//!
//! - `conf`: the directives, read at start
//! - `cache`: the session cache in shared memory
//! - `request`: forged headers removed (post-read), identity resolved and passed to the app
//!   (access), variables
//! - `resolver`: the request to Authgear's resolver and its response
//! - `endpoint`: locations that the module answers itself
//! - `metrics`: counters in shared memory
//! - `ngx`: nginx's structs and callbacks; nearly all `unsafe` code is there
//!
//! Decisions that need no nginx (what credentials a request carries, what an answer means) are in
//! the `authgear-session` crate.

mod cache;
mod conf;
mod endpoint;
mod metrics;
mod ngx;
mod request;
mod resolver;

use core::ptr::{self, NonNull};
use std::alloc::System;

use nginx_sys::{
    ngx_conf_t, ngx_http_module_t, ngx_http_request_t, ngx_int_t, ngx_module_t, ngx_uint_t,
    NGX_HTTP_MODULE,
};

use conf::table::{create_loc_conf, create_main_conf, COMMANDS};
use conf::MainConf;
use ngx::binary;
use ngx::conf::Conf;
use ngx::filter;
use ngx::guard::{guard, log_panics};
use ngx::log;
use ngx::module::module;
use ngx::phases::{self, Order};
use ngx::pool::NoMemory;
use ngx::request::Request;
use ngx::reserve::Reserved;
use ngx::shm;
use ngx::status::{DECLINED, ERROR, FAILED, OK};
use ngx::variables;
use request::access::Phase;
use request::variables::VARIABLES;

#[global_allocator]
static MEMORY: Reserved<System> = Reserved::new(System);

static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: Some(postconfiguration),
    create_main_conf: Some(create_main_conf),
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: Some(create_loc_conf),
    merge_loc_conf: Some(conf::merge::merge_loc_conf),
};

/// The module, as nginx knows it.
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static mut ngx_http_authgear_module: ngx_module_t = ngx_module_t {
    ctx: ptr::addr_of!(CONTEXT).cast_mut().cast(),
    commands: ptr::addr_of_mut!(COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    ..ngx_module_t::default()
};

/// What nginx looks for in a shared object. Linked statically, nginx's own build makes these.
#[cfg(feature = "dynamic")]
mod shared_object {
    use core::ffi::c_char;
    use core::ptr;

    use nginx_sys::ngx_module_t;

    /// The modules of this shared object.
    #[no_mangle]
    #[allow(non_upper_case_globals)]
    pub static mut ngx_modules: [*const ngx_module_t; 2] =
        [ptr::addr_of!(super::ngx_http_authgear_module), ptr::null()];

    /// Their names.
    #[no_mangle]
    #[allow(non_upper_case_globals)]
    pub static mut ngx_module_names: [*const c_char; 2] =
        [c"ngx_http_authgear_module".as_ptr(), ptr::null()];

    /// Their place among other modules: none in particular.
    #[no_mangle]
    #[allow(non_upper_case_globals)]
    pub static mut ngx_module_order: [*const c_char; 1] = [ptr::null()];
}

/// Before the configuration is read: nginx must be the one that is meant, and variables known.
unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    log_panics();
    guard(ERROR, || {
        // SAFETY: called by nginx.
        let cf = unsafe { Conf::from_ptr(cf) };
        if !binary::is_as_built() {
            log::cycle().emerg(format_args!(
                "authgear: this nginx is laid out otherwise than the headers that the module was \
                 built with say: build the module with this nginx's own (Debian: nginx-dev)"
            ));
            return ERROR;
        }
        for (number, (name, _)) in VARIABLES.iter().enumerate() {
            if variables::add(&cf, name, number).is_err() {
                return ERROR;
            }
        }
        OK
    })
}

/// After the configuration is read: without a directive of the module, nothing is done at all.
unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard(ERROR, || {
        // SAFETY: called by nginx; the module's main configuration has this type.
        let (cf, main) = unsafe {
            let cf = Conf::from_ptr(cf);
            let main = cf.main_conf::<MainConf>(module());
            (cf, main)
        };
        match main {
            Some(main) if main.used => match install(&cf, main) {
                Ok(()) => OK,
                Err(NoMemory) => ERROR,
            },
            _ => OK,
        }
    })
}

fn install(cf: &Conf<'_>, main: &mut MainConf) -> Result<(), NoMemory> {
    if main.has_status {
        let counters = NonNull::from(&*main.counters);
        shm::add(cf, metrics::ZONE_NAME, metrics::zone_size(), counters)?;
    }
    if main.watches {
        filter::install(request::watch::watch);
    }
    main.variables = variables::indexes(cf, &[b"authgear_", b"http_x_authgear_"]);
    phases::add(cf, phases::POST_READ, Order::First, Some(post_read))?;
    if main.trusts {
        phases::add(cf, phases::REWRITE, Order::First, Some(rewrite))?;
    }
    phases::add(cf, phases::ACCESS, Order::Last, Some(access))?;
    phases::add(cf, phases::PRECONTENT, Order::First, Some(precontent))
}

/// A variable's value, by its place in the table.
fn evaluate<'r>(number: usize, r: Request<'r>) -> Result<Option<&'r [u8]>, NoMemory> {
    match VARIABLES.get(number) {
        Some((_, variable)) => variable.value(r),
        None => Ok(None),
    }
}

/// Runs a phase handler on nginx's request; a panic or a lack of memory ends it with 500.
///
/// # Safety
/// `r` is the request that nginx gives a phase handler.
unsafe fn run(
    r: *mut ngx_http_request_t,
    handler: fn(Request<'_>) -> Result<ngx_int_t, NoMemory>,
) -> ngx_int_t {
    guard(FAILED, || {
        // SAFETY: the caller's promise; the wrapper does not outlive the call.
        let r = unsafe { Request::from_ptr(r) };
        handler(r).unwrap_or(FAILED)
    })
}

unsafe extern "C" fn post_read(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: called by nginx.
    unsafe {
        run(r, |r| {
            // What is left is for the requests that have begun.
            if MEMORY.is_short() {
                return Err(NoMemory);
            }
            request::strip(r).map(|()| DECLINED)
        })
    }
}

unsafe extern "C" fn rewrite(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: called by nginx.
    unsafe { run(r, |r| request::enter_location(r).map(|()| DECLINED)) }
}

unsafe extern "C" fn access(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: called by nginx.
    unsafe { run(r, |r| request::access::handle(r, Phase::Access)) }
}

unsafe extern "C" fn precontent(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: called by nginx.
    unsafe { run(r, |r| request::access::handle(r, Phase::Precontent)) }
}

/// Content handler of `authgear_webhook`.
unsafe extern "C" fn webhook(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: called by nginx.
    unsafe { run(r, |r| endpoint::webhook(r, webhook_body)) }
}

/// The body of a webhook was read.
unsafe extern "C" fn webhook_body(r: *mut ngx_http_request_t) {
    // SAFETY: called by nginx; a body's handler ends the request itself.
    unsafe {
        let rc = run(r, endpoint::read_webhook);
        Request::from_ptr(r).finalize(rc);
    }
}

/// Content handler of `authgear_purge`.
unsafe extern "C" fn purge(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: called by nginx.
    unsafe { run(r, endpoint::purge) }
}

/// Content handler of `authgear_status`.
unsafe extern "C" fn status(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: called by nginx.
    unsafe { run(r, endpoint::status) }
}
