//! The decision about a request, in the access phase or, when `satisfy any` has skipped that, in
//! the precontent phase.

use core::cell::OnceCell;
use std::rc::Rc;

use authgear_session::answer::Answer;
use authgear_session::require::{Decision, Reason};
use nginx_sys::ngx_int_t;

use super::context::{CallFacts, Context, Outcome, Progress, Resolved};
use super::{identity, refuse};
use crate::conf::{LocationConf, MainConf, OnError, Resolver};
use crate::ngx::pool::NoMemory;
use crate::ngx::request::{HeaderName, Request};
use crate::ngx::status::{AGAIN, DECLINED, FAILED, OK};
use crate::resolver::{ask, is_preflight, Asked, Failure, Question, Resolution, Waiting};

static SET_COOKIE: HeaderName = HeaderName::spelled("Set-Cookie", "set-cookie");

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
    match core::mem::take(&mut context.progress) {
        Progress::Asked(waiting, question) => {
            let resolution = match Rc::try_unwrap(waiting).map(OnceCell::into_inner) {
                Ok(Some(resolution)) => resolution,
                Ok(None) => return Ok(FAILED),
                Err(waiting) => {
                    context.progress = Progress::Asked(waiting, question);
                    return Ok(AGAIN);
                }
            };
            context.progress = Progress::Answered(question);
            conclude(r, context, resolver, resolution)?;
        }
        Progress::Answered(question) if question.is_same(r, resolver) => {
            context.progress = Progress::Answered(question);
        }
        _ => {
            if let Some((waiting, question)) = begin(r, context, resolver)? {
                context.progress = Progress::Asked(waiting, question);
                return Ok(AGAIN);
            }
        }
    }
    enforce(r, context, resolver, phase)
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
            let decision = refuse::decide(r, None, requirements);
            let error = "authgear: authgear_require without authgear_resolve";
            r.log().error(format_args!("{error}"));
            refuse::refuse(r, context, decision)
        }
        _ => Ok(DECLINED),
    }
}

/// Asks the resolver if there is anything to ask; otherwise the result is there at once.
fn begin(
    r: Request<'_>,
    context: &mut Context,
    resolver: &Rc<Resolver>,
) -> Result<Option<(Waiting, Question)>, NoMemory> {
    let asked = match is_preflight(r) {
        true => Ok(Asked::Nothing(Question::nothing(resolver))),
        false => ask(r, resolver),
    };
    match asked {
        Ok(Asked::Resolver(waiting, question)) => return Ok(Some((waiting, question))),
        Ok(Asked::Nothing(question)) => {
            context.progress = Progress::Answered(question);
            let resolved = Resolved {
                outcome: Some(Outcome::None),
                ..Resolved::default()
            };
            settle(r, context, resolved);
        }
        Err(failure) => {
            report(r, resolver, &failure);
            context.progress = Progress::Answered(Question::nothing(resolver));
            let resolved = Resolved {
                outcome: Some(Outcome::Error),
                ..Resolved::default()
            };
            settle(r, context, resolved);
        }
    }
    Ok(None)
}

/// Takes the resolver's answer.
fn conclude(
    r: Request<'_>,
    context: &mut Context,
    resolver: &Rc<Resolver>,
    resolution: Resolution,
) -> Result<(), NoMemory> {
    if LocationConf::of(r).pass_set_cookie() {
        for value in &resolution.set_cookies {
            r.push_header_out(&SET_COOKIE, value)?;
        }
    }
    let (outcome, session) = match resolution.answer {
        Ok(Answer::Valid(session)) => (Outcome::Valid, Some(session)),
        Ok(Answer::Invalid) => (Outcome::Invalid, None),
        Ok(Answer::None) => (Outcome::None, None),
        Err(failure) => {
            report(r, resolver, &failure);
            (Outcome::Error, None)
        }
    };
    let call = CallFacts {
        status: resolution.status.to_string(),
        time: format!(
            "{}.{:03}",
            resolution.elapsed / 1000,
            resolution.elapsed % 1000
        ),
        addr: resolution.peer,
    };
    settle(
        r,
        context,
        Resolved {
            outcome: Some(outcome),
            session,
            call: Some(call),
        },
    );
    Ok(())
}

/// Makes the result known, also to variables that were read before there was one.
fn settle(r: Request<'_>, context: &mut Context, resolved: Resolved) {
    r.log()
        .debug(format_args!("authgear: outcome {:?}", resolved.outcome));
    context.set_resolved(resolved);
    r.forget_variables(&MainConf::of(r).variables);
}

/// Says once why there is no verdict, and what follows.
fn report(r: Request<'_>, resolver: &Rc<Resolver>, failure: &Failure) {
    let then = match resolver.on_error {
        OnError::Deny => "denying",
        OnError::Anonymous => "going on without a session",
    };
    r.log()
        .error(format_args!("authgear: resolver {failure}, {then}"));
}

/// Lets the request pass, with its identity, or refuses it.
fn enforce(
    r: Request<'_>,
    context: &mut Context,
    resolver: &Resolver,
    phase: Phase,
) -> Result<ngx_int_t, NoMemory> {
    let Some(resolved) = context.resolved().cloned() else {
        return Ok(FAILED);
    };
    if resolved.outcome == Some(Outcome::Error) && resolver.on_error == OnError::Deny {
        return refuse::with_status(r, context, resolver.error_status, Reason::Error, None);
    }
    let requirements = LocationConf::of(r)
        .requirements()
        .filter(|_| phase == Phase::Access);
    if let Some(requirements) = requirements {
        let decision = refuse::decide(r, resolved.session.as_ref(), requirements);
        if decision != Decision::Pass {
            return refuse::refuse(r, context, decision);
        }
    }
    identity::pass(r, context)?;
    // A met requirement is reason enough for `satisfy any`; a preflight has met none.
    match requirements {
        Some(_) if resolved.session.is_some() => Ok(OK),
        _ => Ok(DECLINED),
    }
}
