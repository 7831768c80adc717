//! `authgear_webhook`: Authgear's events, by which cached answers become old.

use authgear_metrics::WebhookResult;
use authgear_session::event;
use nginx_sys::ngx_int_t;

use super::{is_post, method_not_allowed, remove, TEXT};
use crate::conf::{LocationConf, MainConf};
use crate::ngx::body::{BodyError, WhenRead};
use crate::ngx::pool::NoMemory;
use crate::ngx::request::Request;

/// No event is larger.
const LARGEST: usize = 1024 * 1024;

/// Handles a request to the endpoint: reads its body first.
pub fn webhook(r: Request<'_>, when_read: WhenRead) -> Result<ngx_int_t, NoMemory> {
    if !is_post(r) {
        return method_not_allowed(r, "POST");
    }
    if r.content_length()
        .is_some_and(|length| length > LARGEST as u64)
    {
        return Ok(413);
    }
    Ok(r.read_body(when_read))
}

/// Handles the request once its body is there.
pub fn read_webhook(r: Request<'_>) -> Result<ngx_int_t, NoMemory> {
    let Some(secret) = LocationConf::of(r).webhook_secret() else {
        return Ok(500);
    };
    let body = match r.body(LARGEST) {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return Ok(413),
        Err(BodyError::Unreadable) => return Ok(500),
        Err(BodyError::NoMemory) => return Err(NoMemory),
    };
    let signature = r.header_in("X-Authgear-Body-Signature").unwrap_or_default();
    // Nothing of the body is looked at before it is known whose it is.
    if !event::verify_signature(secret, &body, signature) {
        count(r, WebhookResult::BadSignature);
        r.log()
            .warn(format_args!("authgear: webhook with a wrong signature"));
        return r.send(401, TEXT, b"wrong signature\n");
    }
    let event = match event::parse(&body) {
        Ok(event) => event,
        Err(error) => {
            count(r, WebhookResult::Malformed);
            r.log().warn(format_args!(
                "authgear: webhook with a body that is no event: {error}"
            ));
            return r.send(400, TEXT, b"not an event\n");
        }
    };
    let purge = event.purge();
    let result = if purge.is_nothing() {
        WebhookResult::Ignored
    } else {
        WebhookResult::Purged
    };
    count(r, result);
    let removed = remove(r, purge.users, purge.sessions);
    let kind = printable(event.kind());
    r.log().info(format_args!(
        "authgear: webhook \"{kind}\" removed {removed} entries"
    ));
    r.send(204, TEXT, b"")
}

fn count(r: Request<'_>, result: WebhookResult) {
    if let Some(metrics) = MainConf::of(r).counters.get() {
        metrics.count_webhook(result);
    }
}

/// An event's type for the log: it comes from outside, though signed.
fn printable(kind: &str) -> String {
    kind.chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect()
}
