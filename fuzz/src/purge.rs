//! The query of a purge call: what it names is removed, and nothing is overlooked.

use authgear_session::purge::{PurgeError, PurgeRequest};

pub fn run(query: &[u8]) {
    let fields: Vec<(String, String)> = form_urlencoded::parse(query).into_owned().collect();
    let of = |wanted: &str| -> Vec<String> {
        let of_name = fields.iter().filter(|(name, _)| name == wanted);
        of_name.map(|(_, value)| value.clone()).collect()
    };
    let is_right = |(name, value): &(String, String)| {
        matches!(name.as_str(), "user" | "session") && !value.is_empty()
    };
    match PurgeRequest::parse(query) {
        Ok(request) => {
            assert_eq!(
                (request.users, request.sessions),
                (of("user"), of("session"))
            );
            assert!(!fields.is_empty() && fields.len() <= 1000 && fields.iter().all(is_right));
        }
        Err(PurgeError::TooMany) => assert!(fields.len() > 1000),
        Err(error) => {
            assert!(fields.is_empty() || !fields.iter().all(is_right), "{error}");
        }
    }
}
