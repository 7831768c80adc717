//! What is said over one connection of a call: the request, and the response as it arrives.

use nginx_sys::{
    ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_http_request_t, ngx_int_t, ngx_pcalloc,
    NGX_HTTP_UPSTREAM_INVALID_HEADER,
};

use super::bits::{BUF_LAST_BUF, BUF_TEMPORARY, UPSTREAM_KEEPALIVE};
use super::guard::guard;
use super::log::Log;
use super::status::{AGAIN, ERROR, OK};
use super::upstream::running;

/// What is asked of the server and what comes of it.
pub trait Exchange: 'static {
    /// A server is about to be tried (again): forget what another one has answered.
    fn start(&mut self);

    /// Reads what has arrived. `secure` tells whether it came through the TLS that was asked for.
    fn read(&mut self, input: &[u8], log: Log) -> Step;

    /// The call is over, for whatever reason. The request may be about to end: only store things.
    /// Returns the status for the subrequest's line in the access log, if it is to have one.
    fn finish(&mut self, end: End<'_>, log: Log) -> u16;
}

/// What to do after a piece of the response.
pub enum Step {
    /// Read on, after dropping this many bytes of what was given.
    More { consumed: usize },
    /// The response is complete; `keep` the connection for another request.
    Done { keep: bool, status: u16 },
    /// The response is unusable: try the next server if `authgear_next_upstream` allows it.
    Invalid,
}

/// How a call ended.
pub struct End<'a> {
    /// The status nginx gives a failed call: 502, 504, 499, 500.
    pub status: u16,
    /// Address of the last server tried.
    pub peer: &'a [u8],
    /// From the start of the call, in milliseconds.
    pub elapsed: u64,
}

/// Puts the request together.
pub(super) unsafe extern "C" fn create_request<E: Exchange>(
    sr: *mut ngx_http_request_t,
) -> ngx_int_t {
    guard(ERROR, || {
        // SAFETY: called by nginx with our subrequest and its upstream struct.
        unsafe {
            let call = running::<E>(sr);
            call.exchange.start();
            let buf = ngx_pcalloc((*sr).pool, size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
            let link: *mut ngx_chain_t = ngx_alloc_chain_link((*sr).pool);
            if buf.is_null() || link.is_null() {
                return ERROR;
            }
            (*buf).start = (*call.request).as_ptr().cast_mut();
            (*buf).pos = (*buf).start;
            (*buf).last = (*buf).start.add(call.request.len());
            (*buf).end = (*buf).last;
            BUF_TEMPORARY.set(buf, true);
            BUF_LAST_BUF.set(buf, true);
            (*link).buf = buf;
            (*link).next = core::ptr::null_mut();
            (*(*sr).upstream).request_bufs = link;
        }
        OK
    })
}

/// Another server, or another connection, is tried.
pub(super) unsafe extern "C" fn reinit_request<E: Exchange>(
    sr: *mut ngx_http_request_t,
) -> ngx_int_t {
    guard(ERROR, || {
        // SAFETY: called by nginx with our subrequest.
        unsafe {
            let call = running::<E>(sr);
            call.done = false;
            call.exchange.start();
        }
        OK
    })
}

/// Some of the response has arrived.
pub(super) unsafe extern "C" fn process_header<E: Exchange>(
    sr: *mut ngx_http_request_t,
) -> ngx_int_t {
    guard(ERROR, || {
        // SAFETY: called by nginx with our subrequest, whose upstream has a connection and a buffer
        // with `pos..last` filled.
        unsafe {
            let call = running::<E>(sr);
            let u = &mut *(*sr).upstream;
            let log = Log::from_ptr((*(*sr).connection).log);
            if call.tls.is_some() && !is_encrypted(u.peer.connection) {
                // CVE-2026-1642: a peer that talks before the TLS handshake
                log.error(format_args!(
                    "authgear: resolver answered in plain text over https"
                ));
                return NGX_HTTP_UPSTREAM_INVALID_HEADER as ngx_int_t;
            }
            let filled = u.buffer.last.offset_from(u.buffer.pos) as usize;
            let input = core::slice::from_raw_parts(u.buffer.pos, filled);
            match call.exchange.read(input, log) {
                Step::More { consumed } => {
                    // What stays is moved to the front, so that a long response needs no more
                    // than the largest part that is looked at whole.
                    let rest = filled - consumed.min(filled);
                    if consumed > 0 {
                        u.buffer.start.copy_from(u.buffer.pos.add(consumed), rest);
                        u.buffer.pos = u.buffer.start;
                        u.buffer.last = u.buffer.start.add(rest);
                    }
                    AGAIN
                }
                Step::Done { keep, status } => {
                    call.done = true;
                    // `$upstream_status`
                    (*u.state).status = usize::from(status);
                    UPSTREAM_KEEPALIVE.set(u, keep);
                    // Not NGX_OK, with which nginx would send the response on to the client.
                    ERROR
                }
                Step::Invalid => NGX_HTTP_UPSTREAM_INVALID_HEADER as ngx_int_t,
            }
        }
    })
}

/// Whether what is read from this connection has passed a finished TLS handshake.
///
/// # Safety
/// `c` is a valid connection.
unsafe fn is_encrypted(c: *const nginx_sys::ngx_connection_t) -> bool {
    #[cfg(ngx_feature = "http_ssl")]
    // SAFETY: the caller's promise; `ssl` is null or valid.
    return unsafe {
        let ssl = (*c).ssl;
        !ssl.is_null() && super::bits::SSL_CONNECTION_HANDSHAKED.get(ssl)
    };
    #[cfg(not(ngx_feature = "http_ssl"))]
    {
        let _ = c;
        false
    }
}
