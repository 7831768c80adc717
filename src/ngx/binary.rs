//! Whether the nginx that runs is laid out as the headers that the module was built with say.
//!
//! nginx compares a module's version and a few of its options with its own, and no layout. Debian
//! 12 moves bits of `ngx_connection_t` by a patch, and still calls itself 1.22.1.

use core::mem::zeroed;
use core::ptr;

use nginx_sys::{
    ngx_close_idle_connections, ngx_connection_t, ngx_cycle_t, ngx_event_t, ngx_uint_t,
};

use super::bits::{CONNECTION_CLOSE, CONNECTION_IDLE};

/// Shows nginx an idle connection of our making and tells whether it saw one and marked it.
///
/// `ngx_close_idle_connections` looks at nothing but the connections of the cycle that it is given,
/// and does no more than set `close` and call the read event's handler where `idle` is set: so in
/// nginx 1.18.0 to 1.30.
pub fn is_as_built() -> bool {
    // SAFETY: all zero is a valid value of these structs. nginx writes to the connection only,
    // and calls the handler only, which is given the event that leads to `found`; all of them live
    // until it returns.
    unsafe {
        let mut found = false;
        let mut read: ngx_event_t = zeroed();
        read.data = ptr::addr_of_mut!(found).cast();
        read.handler = Some(note);
        // The second one is not idle, and is where the first one ends.
        let mut connections: [ngx_connection_t; 2] = zeroed();
        for c in &mut connections {
            c.read = &mut read;
        }
        let c = connections.as_mut_ptr();
        CONNECTION_IDLE.set(c, true);
        let mut cycle: ngx_cycle_t = zeroed();
        cycle.connections = c;
        cycle.connection_n = connections.len() as ngx_uint_t;

        ngx_close_idle_connections(&mut cycle);
        found
            && CONNECTION_IDLE.get(c)
            && CONNECTION_CLOSE.get(c)
            && !CONNECTION_CLOSE.get(c.add(1))
    }
}

unsafe extern "C" fn note(event: *mut ngx_event_t) {
    // SAFETY: called by nginx with the event of `is_as_built`, whose data is a bool.
    unsafe { *(*event).data.cast::<bool>() = true };
}
