//! What the module knows of a client's request: one context, shared by its subrequests, that
//! survives internal redirects.

use core::ffi::c_void;
use core::ptr::NonNull;
use std::rc::Rc;

use authgear_session::answer::Session;
use authgear_session::require::Reason;

use crate::ngx::module::module;
use crate::ngx::pool::{drop_in_pool, NoMemory};
use crate::ngx::request::Request;
use crate::resolver::{Question, Waiting};

/// The context of a client's request.
pub struct Context {
    magic: u64,
    /// How far the resolving is.
    pub progress: Progress,
    /// What it has come to, the newest last. The older ones stay, as variables point into them.
    resolved: Vec<Rc<Resolved>>,
    /// Identity headers of ours are in the request.
    pub identity_passed: bool,
    /// `$authgear_deny_reason`
    pub denied: Option<Reason>,
}

/// How far the resolving of a request is.
#[derive(Default)]
pub enum Progress {
    /// Nothing was asked yet.
    #[default]
    NotAsked,
    /// The resolver was asked this question.
    Asked(Waiting, Question),
    /// This question was answered.
    Answered(Question),
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
    pub status: String,
    /// `$authgear_resolve_time`
    pub time: String,
    /// `$authgear_resolve_addr`
    pub addr: Vec<u8>,
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
                        resolved: Vec::new(),
                        identity_passed: false,
                        denied: None,
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

    /// The newest result.
    pub fn resolved(&self) -> Option<&Rc<Resolved>> {
        self.resolved.last()
    }

    /// Takes a result.
    pub fn set_resolved(&mut self, resolved: Resolved) {
        self.resolved.push(Rc::new(resolved));
    }
}
