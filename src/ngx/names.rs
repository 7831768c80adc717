//! What the DNS has said, so that its last good addresses serve on when it says nothing.

use core::cell::RefCell;
use core::ffi::CStr;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_current_msec, ngx_http_upstream_resolved_t, ngx_msec_t, ngx_pcalloc, ngx_resolver_addr_t,
    ngx_resolver_ctx_t, ngx_resolver_strerror, ngx_resolver_t,
};

use super::dns::Question;
use super::log::Log;
use super::pool::{ngx_str, NoMemory};
use super::request::Request;
use super::status::OK;

/// The pause between questions to a DNS that does not answer.
const RETRY_MS: ngx_msec_t = 1_000;
/// Names remembered; URLs with variables can bring about any number.
const NAMES: usize = 256;

/// The names that this worker has looked up.
#[derive(Default)]
pub struct Names {
    known: RefCell<Vec<Name>>,
}

/// A name and its last good addresses.
struct Name {
    resolver: *mut ngx_resolver_t,
    host: Vec<u8>,
    addresses: Vec<Address>,
    standing: Standing,
}

/// Whether the DNS answers.
#[derive(Clone, Copy)]
pub(super) enum Standing {
    /// It does.
    Good,
    /// It has failed, and is asked again at this time.
    Failing { until: ngx_msec_t },
    /// It has failed, and was asked again.
    Asking,
}

impl Standing {
    pub(super) fn failing() -> Standing {
        // SAFETY: nginx's cached time.
        let now = unsafe { ngx_current_msec };
        Standing::Failing {
            until: now.wrapping_add(RETRY_MS),
        }
    }

    pub(super) fn is_due(self) -> bool {
        match self {
            // SAFETY: nginx's cached time, which may wrap.
            Standing::Failing { until } => unsafe {
                ngx_current_msec.wrapping_sub(until) as isize >= 0
            },
            Standing::Good | Standing::Asking => false,
        }
    }
}

/// A socket address: IPv4 or IPv6.
#[derive(Clone, Copy)]
struct Address {
    bytes: [u8; size_of::<libc::sockaddr_in6>()],
    len: usize,
}

impl Names {
    fn with<T>(
        &self,
        resolver: *mut ngx_resolver_t,
        host: &[u8],
        body: impl FnOnce(&mut Name) -> T,
    ) -> Option<T> {
        let mut known = self.known.borrow_mut();
        let name = known
            .iter_mut()
            .find(|n| n.resolver == resolver && n.host == host);
        name.map(body)
    }

    pub(super) fn standing(&self, resolver: *mut ngx_resolver_t, host: &[u8]) -> Option<Standing> {
        self.with(resolver, host, |name| name.standing)
    }

    pub(super) fn stand(&self, resolver: *mut ngx_resolver_t, host: &[u8], standing: Standing) {
        self.with(resolver, host, |name| name.standing = standing);
    }

    /// Takes what the DNS says.
    ///
    /// # Safety
    /// `context` is valid and was answered.
    pub(super) unsafe fn learn(&self, context: *const ngx_resolver_ctx_t, host: &[u8], log: Log) {
        // SAFETY: the caller's promise.
        let (resolver, state) = unsafe { ((*context).resolver, (*context).state) };
        let shown = String::from_utf8_lossy(host);
        if state != OK {
            // SAFETY: nginx's words are C strings in static memory.
            let why = unsafe { CStr::from_ptr(ngx_resolver_strerror(state).cast()) };
            let why = format!("could not be resolved ({state}: {})", why.to_string_lossy());
            let fallen = self.with(resolver, host, |name| {
                let first = matches!(name.standing, Standing::Good);
                name.standing = Standing::failing();
                first
            });
            match fallen {
                None => log.error(format_args!("authgear: \"{shown}\" {why}")),
                Some(true) => log.warn(format_args!(
                    "authgear: \"{shown}\" {why}, using its last addresses"
                )),
                Some(false) => {}
            }
            return;
        }

        // SAFETY: an answered context has `naddrs` addresses.
        let addresses = unsafe { addresses(context) };
        let known = self.with(resolver, host, |name| {
            name.addresses.clone_from(&addresses);
            let again = !matches!(name.standing, Standing::Good);
            name.standing = Standing::Good;
            again
        });
        match known {
            Some(true) => log.notice(format_args!("authgear: \"{shown}\" is resolved again")),
            Some(false) => {}
            None => {
                let mut names = self.known.borrow_mut();
                if names.len() >= NAMES {
                    names.remove(0);
                }
                names.push(Name {
                    resolver,
                    host: host.to_vec(),
                    addresses,
                    standing: Standing::Good,
                });
            }
        }
    }

    /// The last addresses, for one call.
    pub(super) fn addresses(
        &self,
        r: Request<'_>,
        question: Question,
    ) -> Result<NonNull<ngx_http_upstream_resolved_t>, NoMemory> {
        // SAFETY: the promise of `Question`.
        let host = unsafe { &*question.host };
        let resolver = r.core_loc_conf().resolver;
        let pool = r.pool();
        let filled = self.with(resolver, host, |name| {
            let count = name.addresses.len();
            // SAFETY: the block is zeroed, aligned, and has room for as many elements.
            let list = unsafe {
                let size = count * size_of::<ngx_resolver_addr_t>();
                let list = ngx_pcalloc(pool.as_ptr(), size).cast::<ngx_resolver_addr_t>();
                if list.is_null() {
                    return Err(NoMemory);
                }
                core::slice::from_raw_parts_mut(list, count)
            };
            for (element, address) in list.iter_mut().zip(&name.addresses) {
                let bytes = pool.copy(&address.bytes[..address.len])?;
                element.sockaddr = bytes.as_ptr().cast_mut().cast();
                element.socklen = address.len as libc::socklen_t;
            }
            // nginx takes them in this order; its resolver turns them round, too.
            name.addresses.rotate_left(1);
            let resolved = pool.zeroed::<ngx_http_upstream_resolved_t>()?;
            resolved.host = ngx_str(host);
            resolved.port = question.port;
            resolved.naddrs = count;
            resolved.addrs = list.as_mut_ptr();
            Ok(NonNull::from(resolved))
        });
        filled.unwrap_or(Err(NoMemory))
    }
}

/// # Safety
/// `context` is valid and was answered.
unsafe fn addresses(context: *const ngx_resolver_ctx_t) -> Vec<Address> {
    // SAFETY: the caller's promise: `naddrs` elements, each with an address of its length.
    unsafe {
        let (list, count) = ((*context).addrs, (*context).naddrs);
        (0..count)
            .filter_map(|at| {
                let element = &*list.add(at);
                let len = element.socklen as usize;
                let mut address = Address {
                    bytes: [0; size_of::<libc::sockaddr_in6>()],
                    len,
                };
                let place = address.bytes.get_mut(..len)?;
                ptr::copy_nonoverlapping(element.sockaddr.cast(), place.as_mut_ptr(), len);
                Some(address)
            })
            .collect()
    }
}
