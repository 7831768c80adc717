//! The identity headers that the app gets.

use authgear_session::identity::{is_identity_header, Field};

use super::context::{Context, Outcome};
use crate::conf::LocationConf;
use crate::ngx::pool::NoMemory;
use crate::ngx::request::{HeaderName, Request};

const NAMES: [HeaderName; 9] = [
    HeaderName::new("x-authgear-session-valid"),
    HeaderName::new("x-authgear-user-id"),
    HeaderName::new("x-authgear-user-anonymous"),
    HeaderName::new("x-authgear-user-verified"),
    HeaderName::new("x-authgear-session-acr"),
    HeaderName::new("x-authgear-session-amr"),
    HeaderName::new("x-authgear-session-authenticated-at"),
    HeaderName::new("x-authgear-user-can-reauthenticate"),
    HeaderName::new("x-authgear-user-roles"),
];

/// Makes the request's identity headers those of the context's newest result, or none where the
/// location passes none.
pub fn pass(r: Request<'_>, context: &mut Context) -> Result<(), NoMemory> {
    if context.identity_passed {
        r.take_headers_in(is_identity_header)?;
        context.identity_passed = false;
    }
    let conf = LocationConf::of(r);
    if conf.resolver().is_none() || !conf.pass_identity() {
        return Ok(());
    }
    // In a location that trusts the sender, the sender's word gives way to the resolver's.
    if conf.trust_identity() {
        r.take_headers_in(is_identity_header)?;
    }
    let Some(resolved) = context.resolved(r) else {
        return Ok(());
    };
    match (&resolved.session, resolved.outcome) {
        (Some(session), _) => {
            context.identity_passed = true;
            for (field, name) in Field::ALL.into_iter().zip(&NAMES) {
                // proxy_set_header leaves an empty header out, too.
                if let Some(value) = session.get(field).filter(|value| !value.is_empty()) {
                    r.push_header_in(name, value)?;
                }
            }
        }
        (None, Some(Outcome::Invalid)) => {
            context.identity_passed = true;
            r.push_header_in(&NAMES[Field::SessionValid as usize], b"false")?;
        }
        _ => {}
    }
    Ok(())
}
