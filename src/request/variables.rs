//! The module's variables.

use authgear_session::identity::Field;
use authgear_session::return_url::ReturnUrl;

use super::context::Context;
use crate::ngx::pool::NoMemory;
use crate::ngx::request::Request;

/// A variable of the module.
#[derive(Clone, Copy)]
pub enum Variable {
    /// An identity header's value, as the resolver sent it.
    Header(Field),
    /// `$authgear_session`
    Session,
    /// `$authgear_outcome`
    Outcome,
    /// `$authgear_resolve_status`
    ResolveStatus,
    /// `$authgear_resolve_time`
    ResolveTime,
    /// `$authgear_resolve_addr`
    ResolveAddr,
    /// `$authgear_cache_status`
    CacheStatus,
    /// `$authgear_deny_reason`
    DenyReason,
    /// `$authgear_return_url`
    ReturnUrl,
}

/// All variables with their names.
pub const VARIABLES: &[(&str, Variable)] = &[
    (
        "authgear_session_valid",
        Variable::Header(Field::SessionValid),
    ),
    ("authgear_user_id", Variable::Header(Field::UserId)),
    (
        "authgear_user_anonymous",
        Variable::Header(Field::UserAnonymous),
    ),
    (
        "authgear_user_verified",
        Variable::Header(Field::UserVerified),
    ),
    ("authgear_session_acr", Variable::Header(Field::SessionAcr)),
    ("authgear_session_amr", Variable::Header(Field::SessionAmr)),
    (
        "authgear_session_authenticated_at",
        Variable::Header(Field::SessionAuthenticatedAt),
    ),
    (
        "authgear_user_can_reauthenticate",
        Variable::Header(Field::UserCanReauthenticate),
    ),
    ("authgear_user_roles", Variable::Header(Field::UserRoles)),
    ("authgear_session", Variable::Session),
    ("authgear_outcome", Variable::Outcome),
    ("authgear_resolve_status", Variable::ResolveStatus),
    ("authgear_resolve_time", Variable::ResolveTime),
    ("authgear_resolve_addr", Variable::ResolveAddr),
    ("authgear_cache_status", Variable::CacheStatus),
    ("authgear_deny_reason", Variable::DenyReason),
    ("authgear_return_url", Variable::ReturnUrl),
];

impl Variable {
    /// The value for this request, if it has one; lives as long as the request.
    pub fn value<'r>(self, r: Request<'r>) -> Result<Option<&'r [u8]>, NoMemory> {
        if let Variable::ReturnUrl = self {
            return return_url(r);
        }
        let Some(context) = Context::peek(r) else {
            return Ok(None);
        };
        if let Variable::DenyReason = self {
            return Ok(context.denied.map(|reason| reason.as_str().as_bytes()));
        }
        let Some(resolved) = context.resolved(r) else {
            return Ok(None);
        };
        let call = resolved.call.as_ref();
        let text = |text: String| r.pool().copy(text.as_bytes());
        Ok(match self {
            Variable::Header(Field::SessionValid) => match (&resolved.session, resolved.outcome) {
                (Some(session), _) => session.get(Field::SessionValid),
                (None, Some(super::context::Outcome::Invalid)) => Some(b"false"),
                _ => None,
            },
            Variable::Header(field) => resolved.session.as_ref().and_then(|s| s.get(field)),
            Variable::Session => match &resolved.session {
                Some(session) => Some(text(session.to_json())?),
                None => None,
            },
            Variable::Outcome => resolved.outcome.map(|o| o.as_str().as_bytes()),
            Variable::ResolveStatus => call.map(|c| text(c.status.to_string())).transpose()?,
            Variable::ResolveTime => call.map(|c| text(c.time())).transpose()?,
            Variable::ResolveAddr => call.map(|c| c.addr.as_slice()),
            Variable::CacheStatus => resolved.cache_status.map(|s| s.as_str().as_bytes()),
            Variable::DenyReason | Variable::ReturnUrl => None,
        })
    }
}

/// This request's URL as the client used it, encoded for a query parameter; none if the client has
/// sent no usable Host.
fn return_url<'r>(r: Request<'r>) -> Result<Option<&'r [u8]>, NoMemory> {
    let scheme: &[u8] = if r.is_https() { b"https" } else { b"http" };
    let url = r
        .host()
        .and_then(|host| ReturnUrl::new(scheme, host, r.unparsed_uri()));
    let Some(url) = url else { return Ok(None) };
    let out = r.pool().bytes(url.encoded_len())?;
    Ok(url.encode_into(out).then_some(&*out))
}
