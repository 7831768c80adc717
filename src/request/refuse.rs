//! Refusing a request, in the form its client understands.

use authgear_session::answer::Session;
use authgear_session::refusal::{
    body_format, grpc_message, grpc_status, is_navigation, problem_json, BodyFormat,
    NavigationHeaders,
};
use authgear_session::require::{judge, Challenge, Decision, Reason, RequestFacts, Requirements};
use nginx_sys::{ngx_int_t, NGX_HTTP_GET, NGX_HTTP_HEAD};

use super::context::Context;
use crate::conf::{LocationConf, MainConf};
use crate::ngx::pool::NoMemory;
use crate::ngx::request::{HeaderName, Request};
use crate::resolver::{has_bearer, is_preflight};

static CACHE_CONTROL: HeaderName = HeaderName::spelled("Cache-Control", "cache-control");
static GRPC_STATUS: HeaderName = HeaderName::new("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::new("grpc-message");

/// Judges the session by the location's requirements.
pub fn decide(
    r: Request<'_>,
    session: Option<&Session>,
    requirements: &Requirements,
) -> Result<Decision, NoMemory> {
    let facts = RequestFacts {
        preflight: is_preflight(r),
        now: crate::ngx::time::now(),
        ..RequestFacts::default()
    };
    Ok(match judge(session, requirements, &facts) {
        Decision::Pass => Decision::Pass,
        // Only now is it worth finding out what kind of client this is.
        _ => judge(session, requirements, &with_client_facts(r, facts)?),
    })
}

fn with_client_facts(r: Request<'_>, facts: RequestFacts) -> Result<RequestFacts, NoMemory> {
    let bearer = has_bearer(r);
    let any_sec_fetch = r.headers_in().any(|h| {
        h.name()
            .get(..10)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"sec-fetch-"))
    });
    let headers = NavigationHeaders {
        sec_fetch_mode: r.header_in("Sec-Fetch-Mode"),
        any_sec_fetch,
        accept: r.header_in("Accept"),
        x_requested_with: r.header_in("X-Requested-With").is_some(),
        bearer,
        upgrade: r.header_in("Upgrade").is_some(),
    };
    let get_or_head = matches!(r.method(), NGX_HTTP_GET | NGX_HTTP_HEAD);
    let navigation = is_navigation(get_or_head, headers);
    Ok(RequestFacts {
        navigation,
        bearer,
        login: navigation && login_url(r)?.is_some(),
        ..facts
    })
}

/// Carries out a decision other than `Pass`.
pub fn refuse(
    r: Request<'_>,
    context: &mut Context,
    decision: Decision,
) -> Result<ngx_int_t, NoMemory> {
    match decision {
        Decision::Pass => Ok(crate::ngx::status::OK),
        Decision::Login(reason) => {
            let Some(url) = login_url(r)? else {
                return with_status(r, context, 401, reason, Some(Challenge::Bearer));
            };
            context.denied = Some(reason);
            note(r, 302, reason);
            forbid_storing(r)?;
            r.set_location(url)?;
            Ok(302)
        }
        Decision::Unauthorized { reason, challenge } => {
            with_status(r, context, 401, reason, Some(challenge))
        }
        Decision::Forbidden(reason) => with_status(r, context, 403, reason, None),
    }
}

/// Refuses with a status: by the location's `error_page` for it, else in the client's format.
pub fn with_status(
    r: Request<'_>,
    context: &mut Context,
    status: u16,
    reason: Reason,
    challenge: Option<Challenge>,
) -> Result<ngx_int_t, NoMemory> {
    let status = r.refused_with(status);
    context.denied = Some(reason);
    note(r, status, reason);
    forbid_storing(r)?;
    if let Some(challenge) = challenge {
        let challenge = challenge.to_string();
        if !has_header_out(r, b"www-authenticate", challenge.as_bytes()) {
            r.push_challenge(&challenge)?;
        }
    }
    if r.has_error_page(status) {
        return Ok(status as ngx_int_t);
    }
    let accept = r.joined_header_in("Accept")?;
    let content_type = r.header_in("Content-Type");
    match body_format(accept, content_type) {
        BodyFormat::Html => Ok(status as ngx_int_t),
        BodyFormat::ProblemJson => {
            let body = problem_json(status, reason);
            r.respond(status, "application/problem+json", &body)
        }
        BodyFormat::Grpc => {
            let code = grpc_status(status).to_string();
            r.push_header_out(&GRPC_STATUS, code.as_bytes())?;
            r.push_header_out(&GRPC_MESSAGE, grpc_message(reason).as_bytes())?;
            r.respond(200, grpc_type(content_type), b"")
        }
    }
}

/// The client's kind of gRPC, without parameters.
fn grpc_type(content_type: Option<&[u8]>) -> &str {
    let is_in_type = |b: &u8| b.is_ascii_alphanumeric() || b"/+-._".contains(b);
    content_type
        .and_then(|value| value.split(|b| matches!(b, b';' | b' ' | b'\t')).next())
        .filter(|kind| kind.iter().all(is_in_type))
        .and_then(|kind| core::str::from_utf8(kind).ok())
        .unwrap_or("application/grpc")
}

/// A refusal is never stored. An `error_page` may lead to a location that refuses again.
fn forbid_storing(r: Request<'_>) -> Result<(), NoMemory> {
    if !has_header_out(r, b"cache-control", b"no-store") {
        r.push_header_out(&CACHE_CONTROL, b"no-store")?;
    }
    Ok(())
}

fn has_header_out(r: Request<'_>, name: &[u8], value: &[u8]) -> bool {
    r.headers_out()
        .any(|(_, header)| header.name().eq_ignore_ascii_case(name) && header.value() == value)
}

fn note(r: Request<'_>, status: u16, reason: Reason) {
    MainConf::of(r).counters.count_denial(reason);
    r.log().info(format_args!(
        "authgear: denied with {status}, reason: {reason}"
    ));
}

/// The evaluated `authgear_login`, if it can be a Location.
fn login_url<'r>(r: Request<'r>) -> Result<Option<&'r [u8]>, NoMemory> {
    let Some(login) = LocationConf::of(r).login() else {
        return Ok(None);
    };
    let url = login.evaluate(r)?;
    if url.is_empty() || url.iter().any(|b| *b < b' ' || *b == 0x7f) {
        r.log().error(format_args!(
            "authgear: authgear_login is empty or has a control character"
        ));
        return Ok(None);
    }
    Ok(Some(url))
}
