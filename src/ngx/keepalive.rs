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
use super::tls::Tls;

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
    /// See `Server::key`.
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
    connections: Option<NonNull<Connections>>,
    tls: Option<NonNull<Tls>>,
    /// The name that a TLS server's certificate is checked for.
    name: *const [u8],
    upstream: *mut ngx_http_upstream_t,
    data: *mut c_void,
    get: ngx_event_get_peer_pt,
    free: ngx_event_free_peer_pt,
}

/// Wraps the peer that the balancer has initialised, to keep connections and, for TLS, sessions, and
/// to look at each connection that was kept, here or by the group, before it is used again.
///
/// # Safety
/// `sr` has an upstream whose peer is initialised; `connections` and `tls` live as long as the
/// cycle, the name as long as the request.
pub unsafe fn wrap(
    sr: Request<'_>,
    connections: Option<NonNull<Connections>>,
    tls: Option<(NonNull<Tls>, &[u8])>,
) -> ngx_int_t {
    // SAFETY: the caller's promise.
    unsafe {
        let u = (*sr.as_ptr()).upstream;
        let pc = &mut (*u).peer;
        let peer = Peer {
            connections,
            tls: tls.map(|(tls, _)| tls),
            name: tls.map_or(&[], |(_, name)| name),
            upstream: u,
            data: pc.data,
            get: pc.get,
            free: pc.free,
        };
        let place = nginx_sys::ngx_palloc(sr.pool().as_ptr(), size_of::<Peer>()).cast::<Peer>();
        if place.is_null() {
            return ERROR;
        }
        place.write(peer);
        pc.data = place.cast();
        pc.get = Some(get);
        pc.free = Some(free);
        #[cfg(ngx_feature = "http_ssl")]
        {
            pc.set_session = Some(set_session);
            pc.save_session = Some(save_session);
        }
    }
    OK
}

/// What a connection must match to serve a call.
struct Server<'a> {
    address: &'a [u8],
    secure: bool,
    /// The name that a TLS server's certificate is checked for.
    name: &'a [u8],
}

impl Server<'_> {
    /// All of it in one.
    fn key(&self) -> Vec<u8> {
        let secure = [self.secure.into()];
        [self.address, &secure, self.name].concat()
    }

    fn has_key(&self, key: &[u8]) -> bool {
        let rest = key.strip_prefix(self.address);
        rest.and_then(<[u8]>::split_first)
            .is_some_and(|(secure, name)| *secure == u8::from(self.secure) && name == self.name)
    }
}

impl Peer {
    /// The server of this call.
    ///
    /// # Safety
    /// `pc` has a server's address.
    unsafe fn server<'a>(&'a self, pc: &'a ngx_peer_connection_t) -> Server<'a> {
        // SAFETY: the caller's promise, and that of `wrap`.
        let (address, name) = unsafe {
            let len = pc.socklen as usize;
            let address = core::slice::from_raw_parts(pc.sockaddr.cast::<u8>(), len);
            (address, &*self.name)
        };
        Server {
            address,
            secure: self.tls.is_some(),
            name,
        }
    }

    /// Whether this call may use a connection that the group's own `keepalive` has found. Over TLS
    /// it must be one of ours: others may have verified less, or for another name.
    ///
    /// # Safety
    /// `c` is a valid connection.
    unsafe fn may_use(&self, server: &Server<'_>, c: *const ngx_connection_t) -> bool {
        #[cfg(ngx_feature = "http_ssl")]
        if let Some(tls) = self.tls {
            // SAFETY: the caller's promise, and that of `wrap`.
            return unsafe { tls.as_ref().take_back(&server.key(), c) };
        }
        let _ = (server, c);
        true
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
            if rc != OK && rc != DONE {
                return rc;
            }
            let pc = &mut *pc;
            let server = peer.server(pc);
            if rc == DONE {
                if peer.may_use(&server, pc.connection) && nothing_to_read(pc.connection) {
                    return DONE;
                }
                close(pc.connection);
                pc.connection = core::ptr::null_mut();
                PEER_CONNECTION_CACHED.set(pc, false);
                return OK;
            }
            let Some(connections) = peer.connections else {
                return OK;
            };
            let connections = &mut *connections.as_ptr();
            let of_server = |idle: &Idle| server.has_key(&idle.server);
            let c = loop {
                let Some(at) = connections.idle.iter().rposition(of_server) else {
                    return OK;
                };
                let c = connections.idle.remove(at).connection.as_ptr();
                // What came since, unasked, would be read as the answer; its event is yet to come.
                if nothing_to_read(c) {
                    break c;
                }
                close(c);
            };
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
        // SAFETY: called by nginx with the peer that `wrap` set up; a connection is valid, and one
        // that is not kept here may be kept by the group.
        unsafe {
            let peer = &*data.cast::<Peer>();
            let failed = state & NGX_PEER_FAILED as ngx_uint_t != 0;
            if let (Some(connections), false) = (peer.connections, failed) {
                keep(&mut *pc, peer, connections);
            }
            #[cfg(ngx_feature = "http_ssl")]
            if let (Some(tls), false) = (peer.tls, (*pc).connection.is_null()) {
                let server = peer.server(&*pc).key();
                match failed {
                    true => tls.as_ref().forget_session(&server),
                    false => tls.as_ref().lend(&server, (*pc).connection),
                }
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
unsafe fn keep(pc: &mut ngx_peer_connection_t, peer: &Peer, connections: NonNull<Connections>) {
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
            && !has_surplus(c.as_ptr())
            && ngx_terminate == 0
            && ngx_exiting == 0;
        if !reusable || ngx_handle_read_event(read, 0) != OK {
            return;
        }

        let idle = &mut *connections.as_ptr();
        if idle.idle.len() >= idle.most {
            close(idle.idle.remove(0).connection.as_ptr());
        }
        idle.idle.push(Idle {
            connection: c,
            server: peer.server(pc).key(),
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
        (*c).data = connections.as_ptr().cast();
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
    // SAFETY: the caller's promise.
    if unsafe { has_surplus(c) } {
        return false;
    }
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
        #[cfg(ngx_feature = "http_ssl")]
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

/// Whether TLS holds bytes that were sent after the response.
///
/// # Safety
/// `c` is a valid connection.
unsafe fn has_surplus(c: *const ngx_connection_t) -> bool {
    #[cfg(ngx_feature = "http_ssl")]
    // SAFETY: the caller's promise; `ssl` is null or valid.
    return unsafe {
        let ssl = (*c).ssl;
        !ssl.is_null() && nginx_sys::SSL_pending((*ssl).connection) > 0
    };
    #[cfg(not(ngx_feature = "http_ssl"))]
    {
        let _ = c;
        false
    }
}

#[cfg(ngx_feature = "http_ssl")]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    guard(ERROR, || {
        // SAFETY: called by nginx with the peer that `wrap` set up, before the handshake.
        unsafe {
            let (pc, peer) = (&*pc, &*data.cast::<Peer>());
            if let Some(tls) = peer.tls {
                let server = peer.server(pc).key();
                if !tls.as_ref().offer_session(&server, pc.connection) {
                    tls.as_ref().forget_session(&server);
                }
            }
        }
        OK
    })
}

#[cfg(ngx_feature = "http_ssl")]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    guard((), || {
        // SAFETY: called by nginx with the peer that `wrap` set up, while it has its connection.
        unsafe {
            let (pc, peer) = (&*pc, &*data.cast::<Peer>());
            if let Some(tls) = peer.tls {
                tls.as_ref()
                    .keep_session(&peer.server(pc).key(), pc.connection);
            }
        }
    });
}
