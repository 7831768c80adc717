//! A session: from arbitrary bytes of the cache, and from arbitrary headers through the cache.

use authgear_session::answer::{Answer, AnswerBuilder, Session};
use authgear_session::identity::Field;

use crate::cut;

pub fn run(input: &[u8]) {
    if let Some(session) = Session::decode(input) {
        check(&session);
        // One way to write a session, and no other.
        assert_eq!(session.as_bytes(), input);
    }

    // Line by line, `NAME:VALUE`, where NAME may be a field's number.
    let mut builder = AnswerBuilder::new();
    let mut seen = [0; 9];
    for line in input.split(|&byte| byte == b'\n') {
        let (name, value) = cut(line, b':');
        let name = match name {
            [digit @ b'0'..=b'8'] => Field::ALL[usize::from(digit - b'0')]
                .header_name()
                .as_bytes(),
            name => name,
        };
        if let Some(field) = Field::from_header_name(name) {
            seen[field as usize] += 1;
        }
        builder.header(name, value);
    }
    match builder.finish(200) {
        Ok(Answer::Valid(session)) => {
            assert!(seen.iter().all(|&times| times < 2));
            check(&session);
        }
        Ok(Answer::None) => assert_eq!(seen[Field::SessionValid as usize], 0),
        Ok(Answer::Invalid) => assert_eq!(seen[Field::SessionValid as usize], 1),
        Err(error) => drop(error.to_string()),
    }
}

fn check(session: &Session) {
    let encoded = session.as_bytes();
    assert_eq!(Session::decode(encoded).as_ref(), Some(session));
    assert_eq!(Session::decode(&encoded[1..]), None);
    assert_eq!(Session::decode(&encoded[..encoded.len() - 1]), None);

    assert_eq!(session.get(Field::SessionValid), Some(&b"true"[..]));
    assert!(!session.user_id().is_empty());
    for field in Field::ALL {
        let value = session.get(field).unwrap_or_default();
        assert!(!value.iter().any(u8::is_ascii_control));
    }
    assert!(!(session.is_anonymous() && session.is_known_user()));
    assert!(session
        .roles()
        .all(|role| !role.is_empty() && !role.contains(&b',')));
    assert!(session.amr().all(|method| !method.is_empty()));

    let json: serde_json::Value = serde_json::from_str(&session.to_json()).expect("JSON");
    for field in Field::ALL {
        let member = json.get(field.json_name());
        assert_eq!(member.is_some(), session.get(field).is_some());
    }
    let number = json[Field::SessionAuthenticatedAt.json_name()].as_i64();
    assert_eq!(number, session.authenticated_at());
}
