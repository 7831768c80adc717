//! A call to an upstream server made by a subrequest that has no location.
//!
//! `ngx_http_subrequest` makes the subrequest, whose write handler is replaced before nginx runs
//! it: no phase runs, only nginx's upstream code underneath, so that balancing, failover, TLS and
//! timeouts are nginx's. The whole response is read in `process_header`; nothing of it passes the
//! header or body filters. The call ends with NGX_ERROR towards nginx's upstream code and NGX_OK
//! towards the subrequest's parent, which is how the connection can be kept (see `Step::Done`).

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_current_msec, ngx_http_finalize_request, ngx_http_post_request, ngx_http_post_subrequest_t,
    ngx_http_posted_request_t, ngx_http_request_empty_handler, ngx_http_request_t,
    ngx_http_subrequest, ngx_http_test_reading, ngx_http_upstream_conf_t, ngx_http_upstream_create,
    ngx_http_upstream_create_round_robin_peer, ngx_http_upstream_init,
    ngx_http_upstream_resolved_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_str_t,
    NGX_HTTP_BAD_GATEWAY, NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_REQUEST_TIME_OUT,
    NGX_HTTP_SUBREQUEST_BACKGROUND, NGX_HTTP_SUBREQUEST_WAITED,
};

use super::bits::{EVENT_READY, UPSTREAM_SSL};
use super::dns;
use super::event;
use super::exchange::{create_request, process_header, reinit_request};
use super::guard::guard;
use super::keepalive::{self, Connections};
use super::log::Log;
use super::module::module;
use super::pool::{bytes, ngx_str, NoMemory};
use super::request::Request;
use super::status::{ERROR, FAILED, OK};
use super::tls::Tls;

pub use super::exchange::{End, Exchange, Step};

/// The servers to ask.
#[derive(Clone, Copy)]
pub enum Servers {
    /// An `upstream {}` group, or the implicit group of a plain URL.
    Group(NonNull<ngx_http_upstream_srv_conf_t>),
    /// Addresses found for this request only.
    Resolved(NonNull<ngx_http_upstream_resolved_t>),
    /// A name to be looked up first.
    Name(dns::Question),
}

/// TLS for one call.
pub struct Secure<'c> {
    /// Its settings.
    pub tls: &'c Tls,
    /// The name that the server is asked for and its certificate is checked for.
    pub name: &'c [u8],
}

/// One call to be made.
pub struct Call<'c> {
    /// The whole request, sent anew to each server that is tried.
    pub request: &'c [u8],
    /// nginx's settings for it; lives as long as the cycle.
    pub conf: &'c ngx_http_upstream_conf_t,
    /// The servers.
    pub servers: Servers,
    /// Idle connections kept from earlier calls, if any are to be.
    pub connections: Option<NonNull<Connections>>,
    /// How the call goes over TLS, if it does; lives as long as the request.
    pub secure: Option<Secure<'c>>,
    /// Scheme and URI for the log ("http://", "/_resolver/resolve"); live as long as the request.
    pub schema: &'c [u8],
    /// See `schema`.
    pub uri: &'c [u8],
    /// The request goes on meanwhile, and is not woken.
    pub background: bool,
}

/// The subrequest's context: what the callbacks need.
pub(super) struct Running<E> {
    pub(super) exchange: E,
    pub(super) request: *const [u8],
    servers: Servers,
    connections: Option<NonNull<Connections>>,
    conf: *const ngx_http_upstream_conf_t,
    pub(super) tls: Option<NonNull<Tls>>,
    tls_name: ngx_str_t,
    schema: ngx_str_t,
    uri: ngx_str_t,
    started: usize,
    posted: ngx_http_posted_request_t,
    /// The response was read to its end.
    pub(super) done: bool,
}

/// Starts the call. The request is woken when the call has ended; until then its handler returns
/// `NGX_AGAIN`.
pub fn start<'r, E: Exchange>(r: Request<'r>, call: Call<'r>, exchange: E) -> Result<(), NoMemory> {
    let running = r.pool().store(Running {
        exchange,
        request: call.request,
        servers: call.servers,
        connections: call.connections,
        conf: call.conf,
        tls: call.secure.as_ref().map(|s| NonNull::from(s.tls)),
        tls_name: ngx_str(call.secure.as_ref().map_or(&[], |s| s.name)),
        schema: ngx_str(call.schema),
        uri: ngx_str(call.uri),
        // SAFETY: nginx's cached time.
        started: unsafe { ngx_current_msec },
        posted: ngx_http_posted_request_t {
            request: core::ptr::null_mut(),
            next: core::ptr::null_mut(),
        },
        done: false,
    })?;
    let running: *mut Running<E> = running;
    let post = r.pool().zeroed::<ngx_http_post_subrequest_t>()?;
    post.handler = Some(finished::<E>);
    post.data = running.cast();
    let mut uri = ngx_str(call.uri);
    let mut sr: *mut ngx_http_request_t = core::ptr::null_mut();

    // SAFETY: all pointers are valid; nginx keeps `post`, which lives in the request's pool, and
    // copies `uri`, whose bytes live as long as the request. The new subrequest runs only after
    // the caller has returned to nginx, so that it is complete by then.
    unsafe {
        let flags = match call.background {
            true => NGX_HTTP_SUBREQUEST_BACKGROUND as usize,
            false => NGX_HTTP_SUBREQUEST_WAITED as usize,
        };
        let connection = (*r.as_ptr()).connection;
        let active = (*connection).data;
        let rc = ngx_http_subrequest(
            r.as_ptr(),
            &mut uri,
            core::ptr::null_mut(),
            &mut sr,
            post,
            flags,
        );
        let Some(sr) = sr.as_mut() else {
            // nginx may have given the connection to the subrequest that is not to be.
            (*connection).data = active;
            return Err(NoMemory);
        };
        if rc != OK {
            // It is there, and counted, but nginx had no memory to remember that it is to run.
            ngx_http_post_request(sr, &raw mut (*running).posted);
        }
        // nginx gives it the server's configuration and the client's body: ours is the location's,
        // and no body belongs to it.
        sr.loc_conf = (*r.as_ptr()).loc_conf;
        sr.request_body = core::ptr::null_mut();
        *sr.ctx.add(module().ctx_index) = running.cast();
        sr.write_event_handler = Some(begin::<E>);
    }
    Ok(())
}

/// The subrequest's `Running`.
///
/// # Safety
/// `sr` is a subrequest made by `start::<E>`, and nothing else borrows its context.
pub(super) unsafe fn running<'a, E>(sr: *mut ngx_http_request_t) -> &'a mut Running<E> {
    // SAFETY: `start` has put it there; it lives in the request's pool.
    unsafe { &mut *(*(*sr).ctx.add(module().ctx_index)).cast::<Running<E>>() }
}

/// nginx runs the subrequest: find the servers, if that is still to do.
unsafe extern "C" fn begin<E: Exchange>(sr: *mut ngx_http_request_t) {
    guard((), || {
        // SAFETY: called by nginx with the subrequest that `start` made, which only waits for the
        // answer of the DNS, and for the client to leave.
        unsafe {
            (*sr).write_event_handler = Some(ngx_http_request_empty_handler);
            match running::<E>(sr).servers {
                Servers::Name(question) => {
                    (*sr).read_event_handler = Some(ngx_http_test_reading);
                    // The client may have left already, of which no further event tells.
                    let read = (*(*sr).connection).read;
                    if EVENT_READY.get(read) {
                        event::post(read);
                    }
                    dns::look_up(sr, question, found::<E>);
                }
                Servers::Group(_) | Servers::Resolved(_) => connect::<E>(sr),
            }
        }
    });
}

/// The DNS has answered, or not.
///
/// # Safety
/// `sr` is a subrequest that `begin` has left waiting.
unsafe fn found<E: Exchange>(
    sr: *mut ngx_http_request_t,
    addresses: Option<NonNull<ngx_http_upstream_resolved_t>>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match addresses {
            Some(resolved) => {
                running::<E>(sr).servers = Servers::Resolved(resolved);
                connect::<E>(sr);
            }
            None => ngx_http_finalize_request(sr, NGX_HTTP_BAD_GATEWAY as ngx_int_t),
        }
    }
}

/// Hands the subrequest to nginx's upstream code.
///
/// # Safety
/// `sr` is the subrequest that `start` made, with its servers known.
unsafe fn connect<E: Exchange>(sr: *mut ngx_http_request_t) {
    // SAFETY: the caller's promise; the subrequest is complete, or is ended with an error, which
    // `finished` turns into a failed call.
    unsafe {
        if prepare::<E>(sr) == OK {
            ngx_http_upstream_init(sr);
        } else {
            ngx_http_finalize_request(sr, FAILED);
        }
    }
}

unsafe fn prepare<E: Exchange>(sr: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: a valid subrequest, whose upstream struct was just created.
    unsafe {
        if ngx_http_upstream_create(sr) != OK {
            return ERROR;
        }
        let call = running::<E>(sr);
        let u = &mut *(*sr).upstream;
        u.conf = call.conf.cast_mut();
        u.schema = call.schema;
        u.uri = call.uri;
        u.create_request = Some(create_request::<E>);
        u.reinit_request = Some(reinit_request::<E>);
        u.process_header = Some(process_header::<E>);
        u.abort_request = Some(abort_request);
        u.finalize_request = Some(finalize_request);
        UPSTREAM_SSL.set(u, call.tls.is_some());
    }
    OK
}

unsafe extern "C" fn abort_request(_sr: *mut ngx_http_request_t) {}

unsafe extern "C" fn finalize_request(_sr: *mut ngx_http_request_t, _rc: ngx_int_t) {}

/// The subrequest has ended.
unsafe extern "C" fn finished<E: Exchange>(
    sr: *mut ngx_http_request_t,
    data: *mut c_void,
    rc: ngx_int_t,
) -> ngx_int_t {
    guard((), || {
        // SAFETY: nginx calls this once with the subrequest and the data that `start` gave it.
        unsafe {
            let call = &mut *data.cast::<Running<E>>();
            let peer = match (*sr).upstream.as_ref() {
                Some(u) if !u.peer.name.is_null() => bytes(*u.peer.name),
                _ => &[],
            };
            let elapsed = ngx_current_msec.wrapping_sub(call.started) as u64;
            let status = if call.done {
                200
            } else {
                u16::try_from(rc).unwrap_or(500)
            };
            let status = call.exchange.finish(
                End {
                    status,
                    peer,
                    elapsed,
                },
                Log::from_ptr((*(*sr).connection).log),
            );
            // log_subrequest
            (*sr).headers_out.status = usize::from(status);
            // What is logged from here on has nothing to do with the upstream code's last action.
            let log = (*(*sr).connection).log;
            (*log).action = c"authenticating request".as_ptr().cast_mut();
        }
    });
    // The client has gone, or the connection failed: nginx must end the request as it does.
    if rc == ERROR
        || rc == NGX_HTTP_CLIENT_CLOSED_REQUEST as ngx_int_t
        || rc == NGX_HTTP_REQUEST_TIME_OUT as ngx_int_t
    {
        return rc;
    }
    OK
}

/// The servers chosen by `start` instead of those of the configured upstream, which is a copy made
/// for this: see `private_group`.
unsafe extern "C" fn init_peer<E: Exchange>(
    sr: *mut ngx_http_request_t,
    _us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard(ERROR, || {
        // SAFETY: called by nginx with our subrequest and its upstream struct; groups live as long
        // as the cycle, resolved addresses as long as the request.
        unsafe {
            let call = running::<E>(sr);
            let u = &mut *(*sr).upstream;
            let rc = match call.servers {
                Servers::Group(group) => {
                    u.upstream = group.as_ptr();
                    match (*group.as_ptr()).peer.init {
                        Some(init) => init(sr, group.as_ptr()),
                        None => ERROR,
                    }
                }
                Servers::Resolved(resolved) => {
                    ngx_http_upstream_create_round_robin_peer(sr, resolved.as_ptr())
                }
                Servers::Name(_) => ERROR,
            };
            if rc != OK {
                return rc;
            }
            // Without a name of the configuration's, nginx's upstream code takes this one.
            #[cfg(ngx_feature = "http_ssl")]
            if call.tls.is_some() {
                u.ssl_name = call.tls_name;
            }
            keepalive::wrap(
                Request::from_ptr(sr),
                call.connections,
                call.tls.map(|tls| (tls, bytes(call.tls_name))),
            )
        }
    })
}

/// A group whose only purpose is to lead nginx's upstream code to `init_peer`.
pub fn private_group<E: Exchange>(host: &[u8]) -> ngx_http_upstream_srv_conf_t {
    // SAFETY: all zero is a valid value.
    let mut group: ngx_http_upstream_srv_conf_t = unsafe { core::mem::zeroed() };
    group.peer.init = Some(init_peer::<E>);
    group.host = ngx_str(host);
    group
}
