//! Authgear's webhook events: whom they concern, and what of the cache they make old.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// Whether `signature_hex` (`x-authgear-body-signature`) is the HMAC-SHA256 of `body` under the
/// project's webhook secret; compared in constant time.
///
/// The secret's octets are the key, verbatim. An empty secret, which anybody knows, verifies nothing.
#[must_use]
pub fn verify_signature(secret: &[u8], body: &[u8], signature_hex: &[u8]) -> bool {
    let Some(signature) = decode_hex(signature_hex) else {
        return false;
    };
    if secret.is_empty() {
        return false;
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return false;
    };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

/// The 32 octets of a SHA-256 in hexadecimal.
fn decode_hex(hex: &[u8]) -> Option<[u8; 32]> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    if hex.len() != 64 {
        return None;
    }
    let mut octets = [0; 32];
    for (octet, pair) in octets.iter_mut().zip(hex.chunks_exact(2)) {
        *octet = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(octets)
}

/// Why a body is not an event; answered with 400.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The body is not JSON.
    #[error("body is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON, but has no `type`.
    #[error("body has no event type")]
    NoType,
}

/// What we use of an event.
///
/// A field that is missing, or is not what it should be, counts as absent: Authgear adds and changes
/// them, and what is left of an event still tells what to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    kind: String,
    users: Vec<String>,
    sessions: Vec<String>,
}

/// Whose cache entries an event makes old; nothing when both are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purge<'a> {
    /// The users all of whose entries go: one, or two when an anonymous user was promoted into
    /// another one.
    pub users: &'a [String],
    /// The sessions that ended, which go even if no user is named.
    pub sessions: &'a [String],
}

impl Purge<'_> {
    /// Whether the event changes nothing that a cache could hold.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.users.is_empty() && self.sessions.is_empty()
    }
}

/// Reads an event; call it only once the signature of the body holds.
///
/// The user is `payload.user.id`, or else `context.user_id`; ended sessions are
/// `payload.session.id` and `payload.sessions[].id`.
///
/// # Errors
/// When the body is not JSON, or not an object with a `type`.
pub fn parse(body: &[u8]) -> Result<Event, EventError> {
    let event: Value = serde_json::from_slice(body)?;
    let kind = text(&event["type"]).ok_or(EventError::NoType)?;
    let payload = &event["payload"];

    let user = text(&payload["user"]["id"]).or_else(|| text(&event["context"]["user_id"]));
    let anonymous_user =
        text(&payload["anonymous_user"]["id"]).filter(|id| Some(id) != user.as_ref());
    let session = text(&payload["session"]["id"]);
    let sessions = payload["sessions"].as_array().into_iter().flatten();

    Ok(Event {
        kind,
        users: user.into_iter().chain(anonymous_user).collect(),
        sessions: session
            .into_iter()
            .chain(sessions.filter_map(|s| text(&s["id"])))
            .collect(),
    })
}

/// A string that is not empty.
fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

impl Event {
    /// The event's type, such as `user.disabled`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The user whom the event is about, if it names one.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.users.first().map(String::as_str)
    }

    /// The sessions that the event names.
    #[must_use]
    pub fn session_ids(&self) -> &[String] {
        &self.sessions
    }

    /// What the event makes old.
    ///
    /// Only the types that are known to change no existing session leave the cache alone. Any other
    /// type, unknown ones too, purges its user: an entry too few costs one resolve, an entry too
    /// many keeps somebody in.
    #[must_use]
    pub fn purge(&self) -> Purge<'_> {
        match self.kind.as_str() {
            "user.created" | "user.authenticated" | "usage.alert.triggered" => Purge::default(),
            _ => Purge {
                users: &self.users,
                sessions: &self.sessions,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(body: &Value) -> Event {
        parse(body.to_string().as_bytes()).unwrap()
    }

    /// RFC 4231, test cases 1 and 2.
    #[test]
    fn signatures_of_rfc_4231() {
        for (secret, body, signature) in [
            (
                &[0x0b; 20][..],
                "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ] {
            let verify =
                |signature: &str| verify_signature(secret, body.as_bytes(), signature.as_bytes());
            assert!(verify(signature));
            assert!(verify(&signature.to_uppercase()));
            assert!(!verify(&signature.replacen(&signature[..1], "0", 1)));
            assert!(!verify(&signature[..62]));
            assert!(!verify(&format!("{signature}00")));
            assert!(!verify(&format!(" {signature}")));
            assert!(!verify(&signature.replace('c', "g")));
            assert!(!verify(""));
            assert!(!verify_signature(
                secret,
                b"another body",
                signature.as_bytes()
            ));
            assert!(!verify_signature(
                b"another secret",
                body.as_bytes(),
                signature.as_bytes()
            ));
        }
    }

    #[test]
    fn an_empty_secret_verifies_nothing() {
        // HMAC-SHA256 of nothing under the empty key
        let signature = b"b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
        assert!(!verify_signature(b"", b"", signature));
    }

    /// Every type of the resolver's table, and what it makes old.
    #[test]
    fn events_and_what_they_purge() {
        let payload = json!({"user": {"id": "alice"}, "session": {"id": "s1"}});
        for (kind, purges) in [
            ("user.disabled", true),
            ("user.reenabled", true),
            ("user.deleted", true),
            ("user.anonymized", true),
            ("user.deletion_scheduled", true),
            ("user.deletion_unscheduled", true),
            ("user.anonymization_scheduled", true),
            ("user.anonymization_unscheduled", true),
            ("user.reauthenticated", true),
            ("user.anonymous.promoted", true),
            ("user.profile.updated", true),
            ("identity.email.added", true),
            ("identity.oauth.disconnected", true),
            ("user.signed_out", true),
            ("user.session.terminated", true),
            ("admin_api.mutation.add_user_to_roles.executed", true),
            ("something.new", true),
            ("user.created", false),
            ("user.authenticated", false),
            ("usage.alert.triggered", false),
        ] {
            let event = event(&json!({"type": kind, "payload": payload}));
            assert_eq!(event.kind(), kind);
            assert_eq!(event.user_id(), Some("alice"));
            assert_eq!(event.session_ids(), ["s1"]);
            let purge = event.purge();
            assert_eq!(purge.is_nothing(), !purges, "{kind}");
            if purges {
                assert_eq!(
                    purge,
                    Purge {
                        users: &["alice".into()],
                        sessions: &["s1".into()]
                    }
                );
            }
        }
    }

    #[test]
    fn whom_an_event_names() {
        for (rest, users, sessions) in [
            (json!({}), &[][..], &[][..]),
            (json!({"payload": {"user": {"id": "a"}}}), &["a"], &[]),
            (json!({"context": {"user_id": "b"}}), &["b"], &[]),
            (json!({"context": {"user_id": null}}), &[], &[]),
            (
                json!({"payload": {"user": {"id": "a"}}, "context": {"user_id": "b"}}),
                &["a"],
                &[],
            ),
            (
                json!({"payload": {"user": {"id": ""}}, "context": {"user_id": "b"}}),
                &["b"],
                &[],
            ),
            (
                json!({"payload": {"user": "a"}, "context": {"user_id": "b"}}),
                &["b"],
                &[],
            ),
            (json!({"payload": {"user": {"id": 7}}}), &[], &[]),
            (json!({"payload": [], "context": 1}), &[], &[]),
            (
                json!({"payload": {"user": {"id": "a"}, "anonymous_user": {"id": "guest"}}}),
                &["a", "guest"],
                &[],
            ),
            (
                json!({"payload": {"user": {"id": "a"}, "anonymous_user": {"id": "a"}}}),
                &["a"],
                &[],
            ),
            (json!({"payload": {"session": {"id": "s"}}}), &[], &["s"]),
            (
                json!({"payload": {"sessions": [{"id": "s"}, {}, 1, {"id": ""}, {"id": "t"}]}}),
                &[],
                &["s", "t"],
            ),
            (json!({"payload": {"sessions": {"id": "s"}}}), &[], &[]),
        ] {
            let mut body = rest;
            body["type"] = json!("user.signed_out");
            let event = event(&body);
            assert_eq!(event.purge().users, users, "{body}");
            assert_eq!(event.purge().sessions, sessions, "{body}");
        }
    }

    #[test]
    fn bodies_that_are_no_event() {
        for (body, message) in [
            ("", "body is not JSON: "),
            ("{", "body is not JSON: "),
            ("{\"type\":\"user.deleted\"} x", "body is not JSON: "),
            ("\u{feff}{}", "body is not JSON: "),
            ("null", "body has no event type"),
            ("[]", "body has no event type"),
            ("\"user.deleted\"", "body has no event type"),
            ("{}", "body has no event type"),
            ("{\"type\":1}", "body has no event type"),
            ("{\"type\":\"\"}", "body has no event type"),
        ] {
            let error = parse(body.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{body}: {error}");
        }
        assert!(parse(&[b'['; 1 << 20]).is_err());
        assert!(parse(b"{\"type\":\"\xff\"}").is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(body: Vec<u8>, secret: Vec<u8>, signature: Vec<u8>) {
            let _ = parse(&body);
            prop_assert!(!verify_signature(&secret, &body, &signature));
        }

        #[test]
        fn no_event_like_text_panics(
            body in "\\{\"type\":\"[a-z.]{0,9}\",\"payload\":[\\[\\]{}:,\"a-z0-9]{0,30}\\}",
        ) {
            let _ = parse(body.as_bytes());
        }
    }
}
