//! What the module knows of a client's request: one context, shared by its subrequests, that
//! survives internal redirects.

use core::ffi::c_void;
use core::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;

use authgear_cache::Key;
use authgear_session::answer::{Answer, Session};
use authgear_session::require::Reason;

use crate::cache::Waiter;
use crate::ngx::module::module;
use crate::ngx::pool::{drop_in_pool, NoMemory};
use crate::ngx::request::{HeaderIn, HeaderOut, Request};
use crate::resolver::{Question, Waiting};

/// The context of a client's request.
pub struct Context {
    magic: u64,
    /// How far the resolving is.
    pub progress: Progress,
    /// What it has come to.
    resolved: Option<Rc<Resolved>>,
    /// Identity headers that the client has sent, where some location may trust them.
    pub received: Vec<HeaderIn>,
    /// Identity headers of ours are in the request.
    pub identity_passed: bool,
    /// `$authgear_deny_reason`
    pub denied: Option<Reason>,
    /// The location in which the access phase has let the request pass, as a number.
    pub passed_in: Option<usize>,
    /// A refusal on a cached answer was judged again on a fresh one.
    pub judged_again: bool,
    /// Set-Cookie headers that come from the resolver, not from the app.
    pub relayed: Vec<HeaderOut>,
}

/// How far the resolving of a request is.
#[derive(Default)]
pub enum Progress {
    /// Nothing was asked yet.
    #[default]
    NotAsked,
    /// The resolver was asked.
    Asked(Waiting, Pending),
    /// Another request has asked the resolver the same.
    Waits(Rc<Waiter>, Pending),
    /// This question was answered.
    Answered(Question),
}

/// What is to be known when an answer comes.
pub struct Pending {
    /// What was asked.
    pub question: Question,
    /// The cache's key, if there is a cache.
    pub key: Option<Key>,
    /// What the cache had.
    pub status: Option<CacheStatus>,
}

impl Pending {
    /// Where there is no cache.
    pub fn uncached(question: Question) -> Pending {
        Pending {
            question,
            key: None,
            status: None,
        }
    }
}

/// `$authgear_cache_status`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// Answered by the cache.
    Hit,
    /// Not in the cache.
    Miss,
    /// Too old in the cache.
    Expired,
    /// Too old, but the resolver fails.
    Stale,
    /// Answered by the cache, and asked again in the background.
    Refresh,
    /// Not looked for, by `authgear_cache_bypass`.
    Bypass,
    /// Answered by another request's call.
    Wait,
    /// No credentials, nothing asked.
    None,
}

impl CacheStatus {
    /// The variable's value.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheStatus::Hit => "HIT",
            CacheStatus::Miss => "MISS",
            CacheStatus::Expired => "EXPIRED",
            CacheStatus::Stale => "STALE",
            CacheStatus::Refresh => "REFRESH",
            CacheStatus::Bypass => "BYPASS",
            CacheStatus::Wait => "WAIT",
            CacheStatus::None => "NONE",
        }
    }
}

/// The result that variables and headers show.
#[derive(Default)]
pub struct Resolved {
    /// `$authgear_outcome`
    pub outcome: Option<Outcome>,
    /// The session of a valid outcome.
    pub session: Option<Session>,
    /// The call to the resolver, if there was one.
    pub call: Option<CallFacts>,
    /// `$authgear_cache_status`
    pub cache_status: Option<CacheStatus>,
    /// How old the answer was when it came from the cache.
    pub age: Duration,
    /// The result before this one, which stays, as variables point into it.
    pub(super) _before: Option<Rc<Resolved>>,
}

impl Resolved {
    /// The result of an answer.
    pub fn of(answer: Answer, cache_status: Option<CacheStatus>, age: Duration) -> Resolved {
        let (outcome, session) = match answer {
            Answer::Valid(session) => (Outcome::Valid, Some(session)),
            Answer::Invalid => (Outcome::Invalid, None),
            Answer::None => (Outcome::None, None),
        };
        Resolved {
            outcome: Some(outcome),
            session,
            call: None,
            cache_status,
            age,
            _before: None,
        }
    }
}

/// `$authgear_outcome`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A valid session.
    Valid,
    /// The resolver has said that the session is not valid.
    Invalid,
    /// No session.
    None,
    /// No verdict.
    Error,
}

impl Outcome {
    /// The variable's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Valid => "valid",
            Outcome::Invalid => "invalid",
            Outcome::None => "none",
            Outcome::Error => "error",
        }
    }
}

/// Facts about the call to the resolver, for the variables.
pub struct CallFacts {
    /// `$authgear_resolve_status`
    pub status: u16,
    /// `$authgear_resolve_time`, in milliseconds
    pub elapsed: u64,
    /// `$authgear_resolve_addr`
    pub addr: Vec<u8>,
}

impl CallFacts {
    /// The time in seconds, as nginx writes it.
    pub fn time(&self) -> String {
        format!("{}.{:03}", self.elapsed / 1000, self.elapsed % 1000)
    }
}

const MAGIC: u64 = 0x6175_7468_6765_6172; // "authgear"

/// The pool's clean-up function of a context, by which it is found again. Of its own, since a
/// generic one may be merged with another type's.
unsafe extern "C" fn drop_context(context: *mut c_void) {
    // SAFETY: the pool calls it once, with the context that `start` stored.
    unsafe { drop_in_pool::<Context>(context) }
}

impl Context {
    /// The context of the client's request that this one serves, if it has one.
    pub fn of(r: Request<'_>) -> Option<NonNull<Context>> {
        r.main()
            .context(module(), drop_context, |c: &Context| c.magic == MAGIC)
    }

    /// The context of the client's request, made at the first call.
    pub fn start<'r>(r: Request<'r>) -> Result<&'r mut Context, NoMemory> {
        let context = match Context::of(r) {
            Some(context) => context,
            None => {
                let context = NonNull::from(r.main().pool().store_with(
                    Context {
                        magic: MAGIC,
                        progress: Progress::NotAsked,
                        resolved: None,
                        received: Vec::new(),
                        identity_passed: false,
                        denied: None,
                        passed_in: None,
                        judged_again: false,
                        relayed: Vec::new(),
                    },
                    drop_context,
                )?);
                r.main().set_context(module(), context);
                context
            }
        };
        // SAFETY: it lives in the request's pool; a phase handler, which runs alone, is the only
        // one to borrow it mutably, and does not keep the borrow.
        Ok(unsafe { &mut *context.as_ptr() })
    }

    /// A look at the context, outside the phase handlers.
    pub fn peek<'r>(r: Request<'r>) -> Option<&'r Context> {
        // SAFETY: it lives in the request's pool, and no phase handler keeps a mutable borrow of it
        // while nginx calls others.
        Context::of(r).map(|context| unsafe { context.as_ref() })
    }

    /// The newest result, for as long as the request lives: headers and variables may point into it.
    pub fn resolved<'r>(&self, _: Request<'r>) -> Option<&'r Resolved> {
        // SAFETY: a result is never dropped nor changed before the request's pool is, since each one
        // keeps the one before.
        self.resolved
            .as_ref()
            .map(|resolved| unsafe { &*Rc::as_ptr(resolved) })
    }

    /// Takes a result.
    pub fn set_resolved(&mut self, resolved: Resolved) {
        let _before = self.resolved.take();
        self.resolved = Some(Rc::new(Resolved {
            _before,
            ..resolved
        }));
    }
}
