//! Names of servers, looked up by nginx's own resolver while requests are served.
//!
//! nginx's resolver caches answers for their TTL and gives a cached one at once, so it is asked for
//! every call. When it has no answer, the last addresses that were good serve on (see `names`),
//! nobody waits for it, and it is asked behind the requests' backs until it answers again.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use std::time::Duration;

use nginx_sys::{
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_log_ctx_t, ngx_http_request_t,
    ngx_http_run_posted_requests, ngx_http_upstream_resolved_t, ngx_msec_t, ngx_resolve_name,
    ngx_resolve_name_done, ngx_resolve_start, ngx_resolver_ctx_t, ngx_resolver_t,
};

use super::bits::{RESOLVER_CTX_ASYNC, RESOLVER_CTX_CANCELABLE};
use super::conf::Conf;
use super::guard::guard;
use super::log;
use super::names::{Names, Standing};
use super::pool::{ngx_str, NoMemory, Pool};
use super::request::Request;
use super::status::OK;

/// How long a request waits for the DNS when there are addresses to fall back on.
const WAIT_MS: ngx_msec_t = 2_000;

/// Whether a `resolver` is in force in the location that is being merged.
pub fn in_force_while_merging(cf: &Conf<'_>) -> bool {
    // SAFETY: core's location configuration has this type, and is merged before ours.
    let core = unsafe { cf.loc_conf(&*ptr::addr_of!(ngx_http_core_module)) };
    core.is_some_and(has_resolver)
}

/// How long a name may take to be looked up in the location that is being merged.
pub fn longest_look_up(cf: &Conf<'_>) -> Duration {
    // SAFETY: as above.
    let core = unsafe { cf.loc_conf(&*ptr::addr_of!(ngx_http_core_module)) };
    let timeout = core.map_or(0, |core: &ngx_http_core_loc_conf_t| core.resolver_timeout);
    Duration::from_millis(timeout as u64)
}

/// Whether a `resolver` is in force in the request's location.
pub fn in_force(r: Request<'_>) -> bool {
    has_resolver(r.core_loc_conf())
}

fn has_resolver(core: &ngx_http_core_loc_conf_t) -> bool {
    // SAFETY: null or valid; without the directive it is one that has no servers.
    unsafe { core.resolver.as_ref() }.is_some_and(|resolver| resolver.connections.nelts > 0)
}

/// What is asked of the DNS for one call. All parts outlive the request.
#[derive(Clone, Copy)]
pub struct Question {
    /// The answers known.
    pub names: NonNull<Names>,
    /// The name to look up.
    pub host: *const [u8],
    /// The port of the server.
    pub port: u16,
}

/// What continues once there are addresses, or it is clear that there are none.
pub type Then = unsafe fn(*mut ngx_http_request_t, Option<NonNull<ngx_http_upstream_resolved_t>>);

/// Finds the addresses of a name and calls `then`, at once or later, unless the request ends first.
///
/// # Safety
/// `r` is a valid request that does nothing else until `then`.
pub unsafe fn look_up(r: *mut ngx_http_request_t, question: Question, then: Then) {
    // SAFETY: the caller's promise, and that of `Question`.
    let (request, names, host) = unsafe {
        (
            Request::from_ptr(r),
            question.names.as_ref(),
            &*question.host,
        )
    };
    let core = request.core_loc_conf();
    let resolver = core.resolver;
    let timeout = match names.standing(resolver, host) {
        None => core.resolver_timeout,
        // 0 means for ever.
        Some(Standing::Good) if core.resolver_timeout == 0 => WAIT_MS,
        Some(Standing::Good) => core.resolver_timeout.min(WAIT_MS),
        Some(standing) => {
            if standing.is_due() {
                Probe::start(question.names, resolver, host, core.resolver_timeout);
            }
            let addresses = names.addresses(request, question).ok();
            // SAFETY: the caller's promise.
            return unsafe { then(r, addresses) };
        }
    };
    let lookup = Lookup {
        context: ptr::null_mut(),
        question,
        r,
        then,
    };
    let started = request
        .pool()
        .store(lookup)
        .and_then(|lookup| lookup.start(request.pool(), resolver, host, timeout));
    if started.is_err() {
        // SAFETY: the caller's promise; the answer has not come and will not.
        unsafe { then(r, None) }
    }
}

/// A question for one request, in its pool: it is withdrawn when the request ends.
struct Lookup {
    context: *mut ngx_resolver_ctx_t,
    question: Question,
    r: *mut ngx_http_request_t,
    then: Then,
}

impl Lookup {
    fn start(
        &mut self,
        pool: Pool<'_>,
        resolver: *mut ngx_resolver_t,
        host: &[u8],
        timeout: ngx_msec_t,
    ) -> Result<(), NoMemory> {
        let host = pool.copy(host)?;
        // SAFETY: the resolver is valid, and the name and this struct stay until the answer.
        unsafe {
            self.context = ask(
                resolver,
                host,
                answered,
                ptr::from_mut(self).cast(),
                timeout,
            )?;
            // This may be the answer already; then `context` is gone.
            match ngx_resolve_name(self.context) {
                OK => Ok(()),
                _ => {
                    self.context = ptr::null_mut();
                    Err(NoMemory)
                }
            }
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if !self.context.is_null() {
            // SAFETY: the question is not answered yet, and no other holds it.
            unsafe { ngx_resolve_name_done(self.context) };
        }
    }
}

/// Prepares a question.
///
/// # Safety
/// The resolver is valid; `host`, which nginx turns into lower case, and `data` stay until the
/// answer, and are nobody else's.
unsafe fn ask(
    resolver: *mut ngx_resolver_t,
    host: &[u8],
    handler: unsafe extern "C" fn(*mut ngx_resolver_ctx_t),
    data: *mut c_void,
    timeout: ngx_msec_t,
) -> Result<*mut ngx_resolver_ctx_t, NoMemory> {
    // SAFETY: the caller's promise. Without a second argument nginx returns null, a context or, if
    // the resolver has no servers, -1.
    unsafe {
        let context = ngx_resolve_start(resolver, ptr::null_mut());
        if context.is_null() || context.addr() == usize::MAX {
            return Err(NoMemory);
        }
        (*context).name = ngx_str(host);
        (*context).handler = Some(handler);
        (*context).data = data;
        (*context).timeout = timeout;
        Ok(context)
    }
}

/// The DNS has answered a request's question, or will not.
unsafe extern "C" fn answered(context: *mut ngx_resolver_ctx_t) {
    guard((), || {
        // SAFETY: called by nginx once, with what `Lookup::start` has set up; the request waits.
        unsafe {
            let lookup = &mut *(*context).data.cast::<Lookup>();
            lookup.context = ptr::null_mut();
            let (r, then, question) = (lookup.r, lookup.then, lookup.question);
            let later = RESOLVER_CTX_ASYNC.get(context);
            let connection = (*r).connection;
            if let Some(log) = (*(*connection).log)
                .data
                .cast::<ngx_http_log_ctx_t>()
                .as_mut()
            {
                log.current_request = r;
            }

            let request = Request::from_ptr(r);
            let names = question.names.as_ref();
            names.learn(context, &*question.host, request.log());
            ngx_resolve_name_done(context);
            then(r, names.addresses(request, question).ok());
            if later {
                ngx_http_run_posted_requests(connection);
            }
        }
    });
}

/// A question behind the requests' backs, while they use the last addresses.
struct Probe {
    names: NonNull<Names>,
    host: Vec<u8>,
    /// nginx's copy of the name.
    asked: Vec<u8>,
}

impl Probe {
    fn start(
        names: NonNull<Names>,
        resolver: *mut ngx_resolver_t,
        host: &[u8],
        timeout: ngx_msec_t,
    ) {
        let probe = Box::into_raw(Box::new(Probe {
            names,
            host: host.to_vec(),
            asked: host.to_vec(),
        }));
        // SAFETY: the resolver is valid; the probe stays until the answer, or is lost with the
        // worker process. The names live as long as the cycle, whose resolver answers.
        unsafe {
            names.as_ref().stand(resolver, host, Standing::Asking);
            let started = ask(resolver, &(*probe).asked, probed, probe.cast(), timeout);
            let started = started.is_ok_and(|context| {
                // A worker that is to end does not wait for it.
                RESOLVER_CTX_CANCELABLE.set(context, true);
                ngx_resolve_name(context) == OK
            });
            if !started {
                names.as_ref().stand(resolver, host, Standing::failing());
                drop(Box::from_raw(probe));
            }
        }
    }
}

unsafe extern "C" fn probed(context: *mut ngx_resolver_ctx_t) {
    guard((), || {
        // SAFETY: called by nginx once, with what `Probe::start` has set up.
        unsafe {
            let probe = Box::from_raw((*context).data.cast::<Probe>());
            probe
                .names
                .as_ref()
                .learn(context, &probe.host, log::cycle());
            ngx_resolve_name_done(context);
        }
    });
}
