//! Idle connections to the resolver, kept for the next request.
//!
//! nginx's own `keepalive` works for `upstream {}` groups only, and for none whose servers are
//! found at run time. This one wraps whatever balancer chose the server: it is asked first, then an
//! idle connection to the server it chose is looked for.

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_add_timer, ngx_close_connection, ngx_connection_t, ngx_cycle, ngx_del_timer,
    ngx_destroy_pool, ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_t, ngx_exiting,
    ngx_handle_read_event, ngx_http_upstream_t, ngx_int_t, ngx_log_t, ngx_msec_t,
    ngx_peer_connection_t, ngx_terminate, ngx_uint_t, NGX_PEER_FAILED,
};

use super::bits::{
    CONNECTION_CLOSE, CONNECTION_IDLE, EVENT_DELAYED, EVENT_EOF, EVENT_ERROR, EVENT_READY,
    EVENT_TIMEDOUT, EVENT_TIMER_SET, PEER_CONNECTION_CACHED, UPSTREAM_KEEPALIVE,
    UPSTREAM_REQUEST_BODY_SENT,
};
use super::guard::guard;
use super::request::Request;
use super::status::{DONE, ERROR, OK};

/// How long a connection may stay idle, as nginx's `keepalive_timeout` of a group.
const IDLE_TIMEOUT_MS: ngx_msec_t = 60_000;
/// Requests over one connection, after which it is closed so that nothing grows for ever.
const REQUESTS: usize = 10_000;

/// Idle connections of one worker to one resolver.
pub struct Connections {
    /// Most recently used last.
    idle: Vec<Idle>,
    most: usize,
}

struct Idle {
    connection: NonNull<ngx_connection_t>,
    /// The server's socket address and, for TLS, the name that its certificate was checked for.
    server: Vec<u8>,
}

impl Connections {
    /// Keeps at most `most` idle connections.
    pub fn new(most: usize) -> Connections {
        Connections {
            idle: Vec::new(),
            most,
        }
    }
}

/// Stands between nginx's upstream code and the balancer's peer, for one call.
#[derive(Clone, Copy)]
struct Peer {
    connections: NonNull<Connections>,
    upstream: *mut ngx_http_upstream_t,
    data: *mut c_void,
    get: ngx_event_get_peer_pt,
    free: ngx_event_free_peer_pt,
    #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
    set_session: nginx_sys::ngx_event_set_peer_session_pt,
    #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
    save_session: nginx_sys::ngx_event_save_peer_session_pt,
}

/// Wraps the peer that the balancer has initialised.
///
/// # Safety
/// `sr` has an upstream whose peer is initialised; `connections` lives as long as the cycle.
pub unsafe fn wrap(sr: Request<'_>, connections: NonNull<Connections>) -> ngx_int_t {
    // SAFETY: the caller's promise.
    unsafe {
        let u = (*sr.as_ptr()).upstream;
        let pc = &mut (*u).peer;
        let peer = Peer {
            connections,
            upstream: u,
            data: pc.data,
            get: pc.get,
            free: pc.free,
            #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
            set_session: pc.set_session,
            #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
            save_session: pc.save_session,
        };
        let place = nginx_sys::ngx_palloc(sr.pool().as_ptr(), size_of::<Peer>()).cast::<Peer>();
        if place.is_null() {
            return ERROR;
        }
        place.write(peer);
        pc.data = place.cast();
        pc.get = Some(get);
        pc.free = Some(free);
        #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
        {
            pc.set_session = Some(set_session);
            pc.save_session = Some(save_session);
        }
    }
    OK
}

/// What a connection must match to serve this call.
///
/// # Safety
/// `pc` has a server's address; the upstream belongs to the same call.
unsafe fn server(pc: &ngx_peer_connection_t, u: *const ngx_http_upstream_t) -> Vec<u8> {
    // SAFETY: the caller's promise.
    unsafe {
        let address = core::slice::from_raw_parts(pc.sockaddr.cast::<u8>(), pc.socklen as usize);
        let mut server = address.to_vec();
        #[cfg(ngx_feature = "ssl")]
        if super::bits::UPSTREAM_SSL.get(u) {
            server.extend_from_slice(super::pool::bytes((*u).ssl_name));
        }
        let _ = u;
        server
    }
}

unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    guard(ERROR, || {
        // SAFETY: called by nginx with the peer that `wrap` set up.
        unsafe {
            let peer = &*data.cast::<Peer>();
            let Some(ask_balancer) = peer.get else {
                return ERROR;
            };
            let rc = ask_balancer(pc, peer.data);
            if rc != OK {
                return rc;
            }
            let pc = &mut *pc;
            let connections = &mut *peer.connections.as_ptr();
            let server = server(pc, peer.upstream);
            let Some(at) = connections.idle.iter().rposition(|i| i.server == server) else {
                return OK;
            };
            let c = connections.idle.remove(at).connection.as_ptr();
            CONNECTION_IDLE.set(c, false);
            (*c).sent = 0;
            (*c).data = core::ptr::null_mut();
            set_log(c, pc.log);
            if EVENT_TIMER_SET.get((*c).read) {
                ngx_del_timer((*c).read);
            }
            pc.connection = c;
            PEER_CONNECTION_CACHED.set(pc, true);
            DONE
        }
    })
}

unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    guard((), || {
        // SAFETY: called by nginx with the peer that `wrap` set up.
        unsafe {
            let peer = &*data.cast::<Peer>();
            if state & NGX_PEER_FAILED as ngx_uint_t == 0 {
                keep(&mut *pc, peer);
            }
            if let Some(free) = peer.free {
                free(pc, peer.data, state);
            }
        }
    });
}

/// Puts the call's connection among the idle ones if it can serve another.
///
/// # Safety
/// As for `free`.
unsafe fn keep(pc: &mut ngx_peer_connection_t, peer: &Peer) {
    // SAFETY: the caller's promise; a connection has its two events and, by nginx's upstream code,
    // a pool.
    unsafe {
        let Some(c) = NonNull::new(pc.connection) else {
            return;
        };
        let (read, write) = (c.as_ref().read, c.as_ref().write);
        let reusable = UPSTREAM_KEEPALIVE.get(peer.upstream)
            && UPSTREAM_REQUEST_BODY_SENT.get(peer.upstream)
            && !EVENT_EOF.get(read)
            && !EVENT_ERROR.get(read)
            && !EVENT_TIMEDOUT.get(read)
            && !EVENT_ERROR.get(write)
            && !EVENT_TIMEDOUT.get(write)
            && c.as_ref().requests < REQUESTS
            && ngx_terminate == 0
            && ngx_exiting == 0;
        if !reusable || ngx_handle_read_event(read, 0) != OK {
            return;
        }

        let connections = &mut *peer.connections.as_ptr();
        if connections.idle.len() >= connections.most {
            close(connections.idle.remove(0).connection.as_ptr());
        }
        connections.idle.push(Idle {
            connection: c,
            server: server(pc, peer.upstream),
        });
        pc.connection = core::ptr::null_mut();

        let c = c.as_ptr();
        EVENT_DELAYED.set(read, false);
        ngx_add_timer(read, IDLE_TIMEOUT_MS);
        if EVENT_TIMER_SET.get(write) {
            ngx_del_timer(write);
        }
        (*write).handler = Some(ignore);
        (*read).handler = Some(idle_event);
        (*c).data = peer.connections.as_ptr().cast();
        CONNECTION_IDLE.set(c, true);
        set_log(c, (*ngx_cycle).log);
        if EVENT_READY.get(read) {
            idle_event(read);
        }
    }
}

unsafe extern "C" fn ignore(_event: *mut ngx_event_t) {}

/// Something happened on an idle connection: whatever it is, other than nothing to read, ends it.
unsafe extern "C" fn idle_event(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: called by nginx, or by `keep`, with the read event of an idle connection.
        unsafe {
            let c = (*event).data.cast::<ngx_connection_t>();
            if !CONNECTION_CLOSE.get(c) && !EVENT_TIMEDOUT.get((*c).read) && nothing_to_read(c) {
                EVENT_READY.set(event, false);
                if ngx_handle_read_event((*c).read, 0) == OK {
                    return;
                }
            }
            let connections = &mut *(*c).data.cast::<Connections>();
            connections.idle.retain(|i| i.connection.as_ptr() != c);
            close(c);
        }
    });
}

/// # Safety
/// `c` is a valid connection.
unsafe fn nothing_to_read(c: *const ngx_connection_t) -> bool {
    let mut byte = 0u8;
    // SAFETY: the caller's promise; one byte is peeked into a byte.
    let n = unsafe { libc::recv((*c).fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK) };
    n == -1
        && matches!(
            std::io::Error::last_os_error().kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
        )
}

/// # Safety
/// `c` and its events and pool are valid.
unsafe fn set_log(c: *mut ngx_connection_t, log: *mut ngx_log_t) {
    // SAFETY: the caller's promise.
    unsafe {
        (*c).log = log;
        (*(*c).read).log = log;
        (*(*c).write).log = log;
        if !(*c).pool.is_null() {
            (*(*c).pool).log = log;
        }
    }
}

/// # Safety
/// `c` is a valid connection that nothing uses afterwards.
unsafe extern "C" fn close(c: *mut ngx_connection_t) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(ngx_feature = "ssl")]
        if !(*c).ssl.is_null() {
            super::bits::SSL_CONNECTION_NO_WAIT_SHUTDOWN.set((*c).ssl, true);
            super::bits::SSL_CONNECTION_NO_SEND_SHUTDOWN.set((*c).ssl, true);
            if nginx_sys::ngx_ssl_shutdown(c) == super::status::AGAIN {
                (*(*c).ssl).handler = Some(close);
                return;
            }
        }
        if !(*c).pool.is_null() {
            ngx_destroy_pool((*c).pool);
            (*c).pool = core::ptr::null_mut();
        }
        ngx_close_connection(c);
    }
}

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: called by nginx with the peer that `wrap` set up.
    unsafe {
        let peer = &*data.cast::<Peer>();
        peer.set_session.map_or(OK, |set| set(pc, peer.data))
    }
}

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: called by nginx with the peer that `wrap` set up.
    unsafe {
        let peer = &*data.cast::<Peer>();
        if let Some(save) = peer.save_session {
            save(pc, peer.data);
        }
    }
}
