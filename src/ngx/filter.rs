//! The header filter: nginx calls it when a response's header is about to be sent.

use core::cell::Cell;
use core::ptr;

use nginx_sys::{
    ngx_http_output_header_filter_pt, ngx_http_request_t, ngx_http_top_header_filter, ngx_int_t,
};

use super::guard::guard;
use super::request::Request;
use super::status::ERROR;

thread_local! {
    /// The filter after ours; the configuration sets it before workers are forked.
    static NEXT: Cell<ngx_http_output_header_filter_pt> = const { Cell::new(None) };
    static WATCH: Cell<Option<Watch>> = const { Cell::new(None) };
}

/// What looks at a response whose header is about to be sent.
pub type Watch = fn(Request<'_>);

/// Puts our filter in front of those installed so far.
pub fn install(watch: Watch) {
    WATCH.set(Some(watch));
    // SAFETY: nginx builds the chain in one thread, while it reads the configuration.
    unsafe {
        let top = ptr::addr_of_mut!(ngx_http_top_header_filter);
        NEXT.set(*top);
        *top = Some(filter);
    }
}

unsafe extern "C" fn filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard((), || {
        if let Some(watch) = WATCH.get() {
            // SAFETY: called by nginx with a request.
            watch(unsafe { Request::from_ptr(r) });
        }
    });
    match NEXT.get() {
        // SAFETY: the chain's next filter gets what we got.
        Some(next) => unsafe { next(r) },
        None => ERROR,
    }
}
