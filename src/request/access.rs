//! The decision about a request, in the access phase or, when `satisfy any` has skipped that, in
//! the precontent phase.

use authgear_session::require::{Decision, Reason};
use nginx_sys::ngx_int_t;

use super::context::{Context, Outcome};
use super::resolve::{Resolving, Step, FRESH_ENOUGH};
use super::{identity, refuse};
use crate::conf::{LocationConf, OnError};
use crate::ngx::pool::NoMemory;
use crate::ngx::request::Request;
use crate::ngx::status::{AGAIN, DECLINED, FAILED, OK};

/// Where nginx asks for a decision.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The access phase, with the requirements.
    Access,
    /// The precontent phase: `satisfy any` may have let the request past the access phase, and then
    /// no requirement counts, but the identity does.
    Precontent,
}

/// Handles the client's request in either phase; nginx's return code.
pub fn handle(r: Request<'_>, phase: Phase) -> Result<ngx_int_t, NoMemory> {
    // A subrequest has the identity of its main request.
    if !r.is_main() {
        return Ok(DECLINED);
    }
    let conf = LocationConf::of(r);
    let Some(resolver) = conf.resolver() else {
        return without_resolver(r, conf, phase);
    };
    let context = Context::start(r)?;
    if phase == Phase::Precontent && context.passed_in == Some(location(r)) {
        return Ok(DECLINED);
    }
    context.passed_in = None;
    let mut resolving = Resolving {
        r,
        context,
        resolver,
    };
    if resolving.go_on()? == Step::Waiting {
        return Ok(AGAIN);
    }
    enforce(resolving, phase)
}

/// The request's location, as a number to compare.
fn location(r: Request<'_>) -> usize {
    core::ptr::from_ref(LocationConf::of(r)) as usize
}

/// A location that resolves nothing.
fn without_resolver(
    r: Request<'_>,
    conf: &LocationConf,
    phase: Phase,
) -> Result<ngx_int_t, NoMemory> {
    // The request may come from a location that has passed an identity.
    if Context::of(r).is_some() {
        identity::pass(r, Context::start(r)?)?;
    }
    match conf.requirements() {
        Some(requirements) if phase == Phase::Access => {
            let context = Context::start(r)?;
            let decision = refuse::decide(r, None, requirements)?;
            let error = "authgear: authgear_require without authgear_resolve";
            r.log().error(format_args!("{error}"));
            refuse::refuse(r, context, decision)
        }
        _ => Ok(DECLINED),
    }
}

/// Lets the request pass, with its identity, or refuses it.
fn enforce(mut resolving: Resolving<'_, '_>, phase: Phase) -> Result<ngx_int_t, NoMemory> {
    let r = resolving.r;
    let requirements = LocationConf::of(r)
        .requirements()
        .filter(|_| phase == Phase::Access);
    loop {
        let context = &mut *resolving.context;
        let Some(resolved) = context.resolved(r) else {
            return Ok(FAILED);
        };
        let resolver = resolving.resolver;
        if resolved.outcome == Some(Outcome::Error) && resolver.on_error == OnError::Deny {
            return refuse::with_status(r, context, resolver.error_status, Reason::Error, None);
        }
        let session = resolved.session.as_ref();
        let decision = match requirements {
            Some(requirements) => refuse::decide(r, session, requirements)?,
            None => Decision::Pass,
        };
        if decision != Decision::Pass {
            // What has changed since may let the client in: a new role, a reauthentication.
            if resolved.age > FRESH_ENOUGH && !context.judged_again {
                context.judged_again = true;
                match resolving.begin_afresh()? {
                    Step::Settled => continue,
                    Step::Waiting => return Ok(AGAIN),
                }
            }
            return refuse::refuse(r, context, decision);
        }
        identity::pass(r, context)?;
        context.passed_in = Some(location(r));
        // A met requirement is reason enough for `satisfy any`; a preflight has met none.
        return match requirements {
            Some(_) if session.is_some() => Ok(OK),
            _ => Ok(DECLINED),
        };
    }
}
