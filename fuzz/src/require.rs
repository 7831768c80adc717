//! Requirements: read from a configuration, and judged.

use authgear_session::answer::{Answer, AnswerBuilder, Session};
use authgear_session::identity::Field;
use authgear_session::require::{judge, Decision, RequestFacts, Requirements};

use crate::cut;

/// Conditions, one on a line; an empty line; facts, `NAME:VALUE` of a session.
pub fn run(input: &[u8]) {
    let blank = input.windows(2).position(|two| two == b"\n\n");
    let (conditions, rest) = match blank {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, &[][..]),
    };
    let (head, rest) = cut(rest, b'\n');
    let bits = head.first().copied().unwrap_or_default();
    let now = std::str::from_utf8(head.get(1..).unwrap_or_default());
    let now = now.ok().and_then(|now| now.parse().ok());
    let session = session(rest);

    let mut requirements = Requirements::default();
    let mut accepted: Vec<&[u8]> = Vec::new();
    for condition in conditions.split(|&byte| byte == b'\n').take(20) {
        let before = requirements.clone();
        match requirements.add(condition) {
            Ok(()) => accepted.push(condition),
            Err(error) => {
                drop(error.to_string());
                assert_eq!(requirements, before, "a refused condition leaves no trace");
            }
        }
    }
    assert_eq!(requirements.is_none(), accepted.is_empty());

    let facts = RequestFacts {
        navigation: bits & 1 != 0,
        bearer: bits & 2 != 0,
        preflight: bits & 4 != 0,
        login: bits & 8 != 0,
        now: now.unwrap_or(1_750_000_000),
    };
    let decision = judge(session.as_ref(), &requirements, &facts);
    let passes = decision == Decision::Pass;
    let expected = facts.preflight
        || accepted.iter().all(|condition| {
            let session = session.as_ref();
            session.is_some_and(|session| meets(session, condition, facts.now))
        });
    assert_eq!(passes, expected, "{}", String::from_utf8_lossy(input));
    assert_eq!(decision.reason().is_none(), passes);
    match decision {
        Decision::Login(_) => assert!(facts.navigation && facts.login),
        Decision::Forbidden(_) => assert!(session.is_some()),
        Decision::Unauthorized { challenge, .. } => {
            assert!(challenge.to_string().starts_with("Bearer"));
        }
        Decision::Pass => {}
    }
}

fn session(lines: &[u8]) -> Option<Session> {
    let mut builder = AnswerBuilder::new();
    builder.header(b"x-authgear-session-valid", b"true");
    builder.header(b"x-authgear-user-id", b"alice");
    for line in lines.split(|&byte| byte == b'\n') {
        let (name, value) = cut(line, b':');
        if let [digit @ b'2'..=b'8'] = name {
            let field = Field::ALL[usize::from(digit - b'0')];
            builder.header(field.header_name().as_bytes(), value);
        }
    }
    match builder.finish(200) {
        Ok(Answer::Valid(session)) => Some(session),
        _ => None,
    }
}

/// Each condition alone, once more.
fn meets(session: &Session, condition: &[u8], now: i64) -> bool {
    let text = |field| String::from_utf8_lossy(session.get(field).unwrap_or_default()).into_owned();
    let condition = String::from_utf8_lossy(condition).into_owned();
    match condition.split_once('=') {
        None if condition == "session" => true,
        None if condition == "user" => text(Field::UserAnonymous) == "false",
        None => text(Field::UserVerified) == "true",
        Some(("role", names)) => {
            let roles = text(Field::UserRoles);
            let has = |name: &str| roles.split(',').any(|role| trimmed(role) == name);
            names.split(',').any(has)
        }
        Some(("amr", value)) => text(Field::SessionAmr)
            .split([' ', ','])
            .any(|amr| amr == value),
        Some((_, age)) => {
            let at: Option<i128> = text(Field::SessionAuthenticatedAt).parse().ok();
            at.is_some_and(|at| {
                let age_now = i128::from(now) - at;
                (-60..=seconds(age)).contains(&age_now)
            })
        }
    }
}

fn trimmed(role: &str) -> &str {
    role.trim_matches(|c: char| c.is_ascii_whitespace())
}

/// nginx's notation, of a text that was accepted.
fn seconds(text: &str) -> i128 {
    let mut total = 0;
    let mut number = 0;
    let mut pending = false;
    for c in text.chars() {
        let scale = match c {
            '0'..='9' => {
                number = number * 10 + i128::from(c as u8 - b'0');
                pending = true;
                continue;
            }
            'y' => 31_536_000,
            'M' => 2_592_000,
            'w' => 604_800,
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => continue,
        };
        total += number * scale;
        (number, pending) = (0, false);
    }
    total + if pending { number } else { 0 }
}
