//! Handlers of nginx's phases.

use core::ptr;

use nginx_sys::{
    ngx_array_push, ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_handler_pt,
    ngx_http_phases, ngx_http_phases_NGX_HTTP_ACCESS_PHASE,
    ngx_http_phases_NGX_HTTP_POST_READ_PHASE, ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE,
    ngx_http_phases_NGX_HTTP_REWRITE_PHASE,
};

use super::conf::Conf;
use super::pool::NoMemory;

/// Right after the request header was read.
pub const POST_READ: ngx_http_phases = ngx_http_phases_NGX_HTTP_POST_READ_PHASE;
/// In a location, before anything of it is done.
pub const REWRITE: ngx_http_phases = ngx_http_phases_NGX_HTTP_REWRITE_PHASE;
/// Where access is decided.
pub const ACCESS: ngx_http_phases = ngx_http_phases_NGX_HTTP_ACCESS_PHASE;
/// Before the content handler, whatever the access phase did.
pub const PRECONTENT: ngx_http_phases = ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE;

/// Where among the phase's handlers ours runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Before those registered so far.
    First,
    /// After all others. nginx runs handlers from the last registered to the first.
    Last,
}

/// Registers a handler.
pub fn add(
    cf: &Conf<'_>,
    phase: ngx_http_phases,
    order: Order,
    handler: ngx_http_handler_pt,
) -> Result<(), NoMemory> {
    // SAFETY: core's main configuration has an array of handlers for each phase.
    unsafe {
        let core: &mut ngx_http_core_main_conf_t = cf
            .main_conf(&*ptr::addr_of!(ngx_http_core_module))
            .ok_or(NoMemory)?;
        let handlers = &mut core.phases[phase as usize].handlers;
        let place = ngx_array_push(handlers).cast::<ngx_http_handler_pt>();
        if place.is_null() {
            return Err(NoMemory);
        }
        *place = handler;
        if order == Order::Last {
            handlers
                .as_slice_mut::<ngx_http_handler_pt>()
                .rotate_right(1);
        }
    }
    Ok(())
}
