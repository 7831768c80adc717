//! A webhook's request: its signature, and whatever a body may be once that holds.

use authgear_session::event::{parse, verify_signature};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::cut;

/// `SECRET NL SIGNATURE NL BODY`
pub fn run(input: &[u8]) {
    let (secret, rest) = cut(input, b'\n');
    let (signature, body) = cut(rest, b'\n');

    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    mac.update(body);
    let right: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let is_right = !secret.is_empty() && signature.eq_ignore_ascii_case(right.as_bytes());
    assert_eq!(verify_signature(secret, body, signature), is_right);
    assert_eq!(
        verify_signature(secret, body, right.as_bytes()),
        !secret.is_empty()
    );

    let json: Option<Value> = serde_json::from_slice(body).ok();
    let kind = json.as_ref().and_then(|json| json.get("type")?.as_str());
    let kind = kind.filter(|kind| !kind.is_empty());
    match parse(body) {
        Err(error) => {
            assert!(kind.is_none(), "{error}");
        }
        Ok(event) => {
            assert_eq!(Some(event.kind()), kind);
            let purge = event.purge();
            assert_eq!(
                purge.is_nothing(),
                purge.users.is_empty() && purge.sessions.is_empty()
            );
            let ids = purge.users.iter().chain(purge.sessions);
            assert!(ids.clone().all(|id| !id.is_empty()));
            // Nobody is named but those in the body.
            let json = json.expect("JSON");
            assert!(ids.clone().all(|id| holds(&json, id)));
            if let Some(user) = json["payload"]["user"]["id"].as_str() {
                let unmoved = [
                    "user.created",
                    "user.authenticated",
                    "usage.alert.triggered",
                ];
                let is_purged = user.is_empty() || purge.users.iter().any(|id| id == user);
                assert!(is_purged || unmoved.contains(&event.kind()));
            }
        }
    }
}

fn holds(json: &Value, id: &str) -> bool {
    match json {
        Value::String(text) => text == id,
        Value::Array(values) => values.iter().any(|value| holds(value, id)),
        Value::Object(members) => members.values().any(|value| holds(value, id)),
        _ => false,
    }
}
