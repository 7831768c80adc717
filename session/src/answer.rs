//! The resolver's answer: its headers to a [`Session`], or why not.
//!
//! The verdict is in the headers, not in the status (`pkg/resolver/handler/resolve.go` and
//! `pkg/api/model/session_info.go` in authgear-server), and whatever is not exactly what Authgear
//! writes there is an error: an answer is believed as a whole or not at all.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::identity::Field;

/// What the resolver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `x-authgear-session-valid: true`, and whose session it is.
    Valid(Session),
    /// `x-authgear-session-valid: false`: a bad `session` cookie, or a disabled or deleted user.
    Invalid,
    /// No `x-authgear-session-valid`: no session, or a failure that Authgear does not show. Never
    /// to be cached.
    None,
}

/// Why an answer says nothing; completes the log line `authgear: resolver answered ...`. Never
/// shows a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// A status other than 200.
    #[error("status {0}")]
    Status(u16),
    /// An identity header came twice: nothing tells which one an application would believe.
    #[error("a second {} header", .0.header_name())]
    Duplicate(Field),
    /// A value with a control character, or outside the header's grammar.
    #[error("a malformed {} header", .0.header_name())]
    Malformed(Field),
    /// A valid session of nobody.
    #[error("a valid session without a user id")]
    NoUserId,
}

/// Reads an answer's header lines one by one.
#[derive(Clone, Debug, Default)]
pub struct AnswerBuilder<'a> {
    values: [Option<&'a [u8]>; 9],
    fault: Option<AnswerError>,
}

impl<'a> AnswerBuilder<'a> {
    /// An answer of which nothing was read yet.
    pub fn new() -> AnswerBuilder<'a> {
        AnswerBuilder::default()
    }

    /// Takes a header line of the answer.
    ///
    /// Ignores what is not one of the [`Field`]s by its exact name, such as `X_Authgear_User_Id`:
    /// Authgear does not send it, and nothing passes it on. Remembers the first fault.
    pub fn header(&mut self, name: &[u8], value: &'a [u8]) {
        if self.fault.is_some() {
            return;
        }
        let Some(field) = Field::from_header_name(name) else {
            return;
        };
        let slot = &mut self.values[field as usize];
        if slot.is_some() {
            self.fault = Some(AnswerError::Duplicate(field));
        } else if !is_well_formed(field, value) {
            self.fault = Some(AnswerError::Malformed(field));
        } else {
            *slot = Some(value);
        }
    }

    /// The verdict, once all header lines were given. A status other than 200 is told first.
    pub fn finish(self, status: u16) -> Result<Answer, AnswerError> {
        if status != 200 {
            return Err(AnswerError::Status(status));
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        match self.values[Field::SessionValid as usize] {
            None => Ok(Answer::None),
            Some(b"true") => Session::new(self.values)
                .map(Answer::Valid)
                .ok_or(AnswerError::NoUserId),
            Some(_) => Ok(Answer::Invalid),
        }
    }
}

/// Whether Authgear could have written this value.
fn is_well_formed(field: Field, value: &[u8]) -> bool {
    let is_in_grammar = match kept(field) {
        Kept::Boolean(_) => matches!(value, b"true" | b"false"),
        Kept::Text(_) if field == Field::SessionAuthenticatedAt => is_seconds(value),
        Kept::Text(_) => true,
    };
    is_in_grammar && !has_control(value)
}

/// Looks at all bytes, which the compiler turns into many at once.
fn has_control(bytes: &[u8]) -> bool {
    let control = |found, byte: &u8| found | u8::from(byte.is_ascii_control());
    bytes.iter().fold(0, control) != 0
}

/// A decimal integer as Go's `strconv.FormatInt` writes it, which knows no `+`.
fn parse_seconds(value: &[u8]) -> Option<i64> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    if digits.is_empty() {
        return None;
    }
    // Downwards, since there is one more negative number.
    let negative = digits.iter().try_fold(0_i64, |sum, &digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_sub(digit)
    })?;
    match digits.len() == value.len() {
        true => negative.checked_neg(),
        false => Some(negative),
    }
}

/// Whether [`parse_seconds`] reads it.
fn is_seconds(value: &[u8]) -> bool {
    let cannot_overflow = (1..19).contains(&value.len());
    (cannot_overflow && value.iter().all(u8::is_ascii_digit)) || parse_seconds(value).is_some()
}

/// A valid session: `x-authgear-session-valid: true`, a user id that is not empty, and every other
/// header absent or well formed. There is no other way to have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// As the cache keeps it: [`ENCODING`](Session::ENCODING), the flags, the length of each text, or 0,
    /// then the texts in the fields' order; all numbers little-endian.
    encoded: Vec<u8>,
    /// Where each text ends in `encoded`; it begins where the one before ends.
    ends: [u32; TEXTS],
    /// Bit `n`: the field `n` was sent, perhaps empty. From [`TRUE`] on, a bit for each boolean that is
    /// true.
    flags: u16,
}

/// How a field's value is kept.
#[derive(Clone, Copy)]
enum Kept {
    /// By a bit: see `Session::flags`.
    Boolean(u16),
    /// As it is: the how manieth text.
    Text(usize),
}

/// How many fields are texts.
const TEXTS: usize = 5;
/// The first bit of a boolean's value.
const TRUE: u16 = 1 << Field::ALL.len();
/// All bits.
const FLAGS: u16 = (TRUE << 4) - 1;

fn kept(field: Field) -> Kept {
    match field {
        Field::SessionValid => Kept::Boolean(TRUE),
        Field::UserAnonymous => Kept::Boolean(TRUE << 1),
        Field::UserVerified => Kept::Boolean(TRUE << 2),
        Field::UserCanReauthenticate => Kept::Boolean(TRUE << 3),
        Field::UserId => Kept::Text(0),
        Field::SessionAcr => Kept::Text(1),
        Field::SessionAmr => Kept::Text(2),
        Field::SessionAuthenticatedAt => Kept::Text(3),
        Field::UserRoles => Kept::Text(4),
    }
}

/// The fields that are texts, by their numbers.
const TEXT_FIELDS: [Field; TEXTS] = [
    Field::UserId,
    Field::SessionAcr,
    Field::SessionAmr,
    Field::SessionAuthenticatedAt,
    Field::UserRoles,
];

/// The bit that says that a field was sent.
fn sent(field: Field) -> u16 {
    1 << field as u16
}

impl Session {
    const ENCODING: u8 = 2;
    /// The length of what comes before the texts.
    const HEAD: usize = 3 + 4 * TEXTS;

    /// `None` if it says that the session is not valid, or of nobody.
    fn new(fields: [Option<&[u8]>; 9]) -> Option<Session> {
        let (mut flags, mut texts) = (0, [b"".as_slice(); TEXTS]);
        for field in Field::ALL {
            let Some(value) = fields[field as usize] else {
                continue;
            };
            flags |= sent(field);
            match kept(field) {
                Kept::Boolean(bit) if value == b"true" => flags |= bit,
                Kept::Boolean(_) => {}
                Kept::Text(number) => texts[number] = value,
            }
        }
        let mut encoded =
            Vec::with_capacity(Session::HEAD + texts.iter().map(|t| t.len()).sum::<usize>());
        encoded.push(Session::ENCODING);
        encoded.extend_from_slice(&flags.to_le_bytes());
        for text in texts {
            encoded.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
        }
        for text in texts {
            encoded.extend_from_slice(text);
        }
        Session::from_encoded(encoded)
    }

    /// The header's value as the resolver sent it, perhaps empty; `None` if it did not.
    #[inline]
    pub fn get(&self, field: Field) -> Option<&[u8]> {
        if self.flags & sent(field) == 0 {
            return None;
        }
        match kept(field) {
            Kept::Boolean(bit) if self.flags & bit == 0 => Some(b"false"),
            Kept::Boolean(_) => Some(b"true"),
            Kept::Text(number) => {
                let start = match number.checked_sub(1) {
                    Some(before) => self.ends[before] as usize,
                    None => Session::HEAD,
                };
                self.encoded.get(start..self.ends[number] as usize)
            }
        }
    }

    /// The session for the cache, with all values in it: see [`decode`](Session::decode).
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// The user's id, never empty.
    pub fn user_id(&self) -> &[u8] {
        self.get(Field::UserId).unwrap_or_default()
    }

    /// Whether the resolver has said that the user is not anonymous.
    pub fn is_known_user(&self) -> bool {
        self.get(Field::UserAnonymous) == Some(b"false")
    }

    /// Whether the user is anonymous; false when absent.
    pub fn is_anonymous(&self) -> bool {
        self.is_true(Field::UserAnonymous)
    }

    /// Whether the user is verified; false when absent.
    pub fn is_verified(&self) -> bool {
        self.is_true(Field::UserVerified)
    }

    /// Whether the user can reauthenticate; false when absent.
    pub fn can_reauthenticate(&self) -> bool {
        self.is_true(Field::UserCanReauthenticate)
    }

    fn is_true(&self, field: Field) -> bool {
        match kept(field) {
            Kept::Boolean(bit) => self.flags & bit != 0,
            Kept::Text(_) => false,
        }
    }

    /// The user's roles: comma-separated, trimmed of spaces, empty ones left out.
    pub fn roles(&self) -> impl Iterator<Item = &[u8]> {
        let roles = self.get(Field::UserRoles).unwrap_or_default();
        roles
            .split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|role| !role.is_empty())
    }

    /// The methods by which the session was authenticated: Authgear's code separates them by
    /// spaces, its specification by commas, and both are read.
    pub fn amr(&self) -> impl Iterator<Item = &[u8]> {
        let amr = self.get(Field::SessionAmr).unwrap_or_default();
        amr.split(|byte| matches!(byte, b' ' | b','))
            .filter(|method| !method.is_empty())
    }

    /// When the user authenticated, in Unix seconds.
    pub fn authenticated_at(&self) -> Option<i64> {
        parse_seconds(self.get(Field::SessionAuthenticatedAt)?)
    }

    /// The session as one JSON object: booleans, the time and the lists typed, an absent header an
    /// absent member, bytes that are not UTF-8 replaced by U+FFFD.
    pub fn to_json(&self) -> String {
        let members: Map<String, Value> = Field::ALL
            .into_iter()
            .filter_map(|field| Some((field.json_name().to_owned(), self.json_value(field)?)))
            .collect();
        Value::Object(members).to_string()
    }

    fn json_value(&self, field: Field) -> Option<Value> {
        let value = self.get(field)?;
        Some(match field {
            Field::SessionValid
            | Field::UserAnonymous
            | Field::UserVerified
            | Field::UserCanReauthenticate => Value::from(self.is_true(field)),
            Field::SessionAuthenticatedAt => Value::from(self.authenticated_at()),
            Field::SessionAmr => self.amr().map(json_string).collect(),
            Field::UserRoles => self.roles().map(json_string).collect(),
            Field::UserId | Field::SessionAcr => json_string(value),
        })
    }

    /// Reads exactly what [`as_bytes`](Session::as_bytes) gave, and believes none of it: any bytes that
    /// the resolver's answer could not have led to give `None`.
    pub fn decode(bytes: &[u8]) -> Option<Session> {
        Session::from_encoded(bytes.to_vec())
    }

    /// As [`decode`](Session::decode), without a copy.
    pub fn from_encoded(encoded: Vec<u8>) -> Option<Session> {
        let head = encoded.first_chunk::<{ Session::HEAD }>()?;
        let flags = u16::from_le_bytes([head[1], head[2]]);
        let (mut ends, mut end) = ([0; TEXTS], Session::HEAD as u64);
        for ((place, len), field) in ends
            .iter_mut()
            .zip(head[3..].chunks_exact(4))
            .zip(TEXT_FIELDS)
        {
            let len = u32::from_le_bytes(*len.first_chunk()?);
            if len != 0 && flags & sent(field) == 0 {
                return None;
            }
            end += u64::from(len);
            *place = end as u32;
        }
        // Lengths that end here fit into `ends`, as long as the whole does.
        if head[0] != Session::ENCODING
            || end != encoded.len() as u64
            || end > u64::from(u32::MAX)
            || flags & !FLAGS != 0
            || has_control(&encoded[Session::HEAD..])
        {
            return None;
        }
        let session = Session {
            encoded,
            ends,
            flags,
        };
        let time = session.get(Field::SessionAuthenticatedAt);
        let sound = session.is_true(Field::SessionValid)
            && !session.user_id().is_empty()
            && session.flags & session.unsent_truths() == 0
            && time.is_none_or(is_seconds);
        sound.then_some(session)
    }

    /// The bits of booleans that were not sent and so can't be true.
    fn unsent_truths(&self) -> u16 {
        let booleans = [
            Field::SessionValid,
            Field::UserAnonymous,
            Field::UserVerified,
            Field::UserCanReauthenticate,
        ];
        booleans
            .into_iter()
            .fold(0, |bits, field| match kept(field) {
                Kept::Boolean(bit) if self.flags & sent(field) == 0 => bits | bit,
                _ => bits,
            })
    }
}

fn json_string(value: &[u8]) -> Value {
    Value::from(String::from_utf8_lossy(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Headers<'a> = &'a [(&'a str, &'a [u8])];

    fn answer(status: u16, headers: Headers) -> Result<Answer, AnswerError> {
        let mut builder = AnswerBuilder::new();
        for (name, value) in headers {
            builder.header(name.as_bytes(), value);
        }
        builder.finish(status)
    }

    fn session(headers: Headers) -> Session {
        let mut all: Vec<(&str, &[u8])> = vec![
            ("X-Authgear-Session-Valid", b"true"),
            ("X-Authgear-User-Id", b"u1"),
        ];
        all.extend(headers);
        match answer(200, &all) {
            Ok(Answer::Valid(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    /// What Authgear sends for a usual session.
    const USUAL: Headers<'static> = &[
        ("X-Authgear-User-Anonymous", b"false"),
        ("X-Authgear-User-Verified", b"true"),
        ("X-Authgear-User-Can-Reauthenticate", b"true"),
        ("X-Authgear-Session-Amr", b"pwd otp mfa"),
        ("X-Authgear-Session-Authenticated-At", b"1700000000"),
        ("X-Authgear-User-Roles", b"editor,admin"),
    ];

    #[test]
    fn a_usual_session_is_read() {
        let session = session(USUAL);
        assert_eq!(session.user_id(), b"u1");
        assert!(!session.is_anonymous());
        assert!(session.is_verified());
        assert!(session.can_reauthenticate());
        assert_eq!(session.authenticated_at(), Some(1_700_000_000));
        assert!(session.amr().eq([b"pwd".as_slice(), b"otp", b"mfa"]));
        assert!(session.roles().eq([b"editor".as_slice(), b"admin"]));
        assert_eq!(session.get(Field::SessionValid), Some(b"true".as_slice()));
        assert_eq!(session.get(Field::UserVerified), Some(b"true".as_slice()));
        assert_eq!(session.get(Field::SessionAcr), None);
        assert_eq!(
            session.get(Field::SessionAuthenticatedAt),
            Some(b"1700000000".as_slice())
        );
        assert_eq!(
            session.get(Field::UserRoles),
            Some(b"editor,admin".as_slice())
        );
    }

    proptest! {
        #[test]
        fn seconds_are_those_that_the_standard_library_reads(text in "-?[0-9:/a]{0,20}|-?\\PC{17,19}") {
            let seconds = parse_seconds(text.as_bytes());
            prop_assert_eq!(seconds, text.parse().ok(), "{}", text);
            prop_assert_eq!(is_seconds(text.as_bytes()), seconds.is_some(), "{}", text);
        }

        #[test]
        fn a_control_character_is_found_anywhere(
            mut text in proptest::collection::vec(b' '..=b'~', 0..70),
            at: proptest::sample::Index,
            control in prop_oneof![0..b' ', Just(0x7f)],
        ) {
            prop_assert!(!has_control(&text));
            if !text.is_empty() {
                let at = at.index(text.len());
                text[at] = control;
                prop_assert!(has_control(&text));
            }
        }
    }

    #[test]
    fn seconds_at_their_limits() {
        for text in [
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "999999999999999999",
            "-999999999999999999",
            "-0",
            "-",
            "",
            "+1",
        ] {
            // Rust knows a `+`, Go does not write one.
            let expected = text.parse().ok().filter(|_| !text.starts_with('+'));
            assert_eq!(parse_seconds(text.as_bytes()), expected, "{text}");
            assert_eq!(is_seconds(text.as_bytes()), expected.is_some(), "{text}");
        }
        assert_eq!(parse_seconds(&[0xff; 18]), None);
    }

    #[test]
    fn what_is_absent_is_false_or_nothing() {
        let session = session(&[]);
        assert!(!session.is_anonymous());
        assert!(!session.is_verified());
        assert!(!session.can_reauthenticate());
        assert_eq!(session.authenticated_at(), None);
        assert_eq!(session.amr().count(), 0);
        assert_eq!(session.roles().count(), 0);
        assert_eq!(
            session.to_json(),
            r#"{"session_valid":true,"user_id":"u1"}"#
        );
    }

    #[test]
    fn an_empty_header_is_not_an_absent_one() {
        let session = session(&[
            ("x-authgear-session-amr", b""),
            ("x-authgear-user-roles", b""),
        ]);
        assert_eq!(session.get(Field::SessionAmr), Some(b"".as_slice()));
        assert_eq!(session.get(Field::UserRoles), Some(b"".as_slice()));
        assert_eq!(session.get(Field::SessionAcr), None);
        assert_eq!(session.amr().count(), 0);
        assert_eq!(session.roles().count(), 0);
    }

    #[test]
    fn verdicts() {
        use AnswerError::*;
        use Field::*;
        let valid = ("X-Authgear-Session-Valid", b"true".as_slice());
        let invalid = ("x-authgear-session-valid", b"false".as_slice());
        let user = ("X-AUTHGEAR-USER-ID", b"u1".as_slice());
        #[rustfmt::skip]
        let table: &[(u16, Headers, Result<&str, AnswerError>)] = &[
            // what Authgear sends
            (200, &[valid, user], Ok("valid")),
            (200, &[invalid], Ok("invalid")),
            (200, &[], Ok("none")),
            (200, &[("Content-Length", b"0"), ("X-Content-Type-Options", b"nosniff")], Ok("none")),
            // the status
            (201, &[valid, user], Err(Status(201))),
            (204, &[invalid], Err(Status(204))),
            (301, &[], Err(Status(301))),
            (401, &[invalid], Err(Status(401))),
            (404, &[], Err(Status(404))),
            (500, &[valid, valid], Err(Status(500))),
            (0, &[], Err(Status(0))),
            // the user id
            (200, &[valid], Err(NoUserId)),
            (200, &[valid, ("x-authgear-user-id", b"")], Err(NoUserId)),
            (200, &[valid, ("x_authgear_user_id", b"u1")], Err(NoUserId)),
            (200, &[invalid, user], Ok("invalid")),
            (200, &[invalid, ("x-authgear-user-id", b"")], Ok("invalid")),
            (200, &[user], Ok("none")),
            // the verdict's grammar
            (200, &[("x-authgear-session-valid", b""), user], Err(Malformed(SessionValid))),
            (200, &[("x-authgear-session-valid", b"True"), user], Err(Malformed(SessionValid))),
            (200, &[("x-authgear-session-valid", b"1"), user], Err(Malformed(SessionValid))),
            (200, &[("x-authgear-session-valid", b"true "), user], Err(Malformed(SessionValid))),
            (200, &[("x-authgear-session-valid", b" true"), user], Err(Malformed(SessionValid))),
            (200, &[("x-authgear-session-valid", b"true, true"), user], Err(Malformed(SessionValid))),
            // the other booleans
            (200, &[valid, user, ("x-authgear-user-verified", b"yes")], Err(Malformed(UserVerified))),
            (200, &[valid, user, ("x-authgear-user-anonymous", b"")], Err(Malformed(UserAnonymous))),
            (200, &[valid, user, ("x-authgear-user-can-reauthenticate", b"TRUE")], Err(Malformed(UserCanReauthenticate))),
            // the time
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"0")], Ok("valid")),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"-1")], Ok("valid")),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"9223372036854775807")], Ok("valid")),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"9223372036854775808")], Err(Malformed(SessionAuthenticatedAt))),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"-9223372036854775808")], Ok("valid")),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"-9223372036854775809")], Err(Malformed(SessionAuthenticatedAt))),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"")], Err(Malformed(SessionAuthenticatedAt))),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"-")], Err(Malformed(SessionAuthenticatedAt))),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"+1")], Err(Malformed(SessionAuthenticatedAt))),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"1.5")], Err(Malformed(SessionAuthenticatedAt))),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"1e9")], Err(Malformed(SessionAuthenticatedAt))),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"0x10")], Err(Malformed(SessionAuthenticatedAt))),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"1 ")], Err(Malformed(SessionAuthenticatedAt))),
            (200, &[valid, user, ("x-authgear-session-authenticated-at", b"yesterday")], Err(Malformed(SessionAuthenticatedAt))),
            // control characters, in every field
            (200, &[valid, ("x-authgear-user-id", b"u\n1")], Err(Malformed(UserId))),
            (200, &[valid, ("x-authgear-user-id", b"u\x001")], Err(Malformed(UserId))),
            (200, &[valid, ("x-authgear-user-id", b"u\t1")], Err(Malformed(UserId))),
            (200, &[valid, ("x-authgear-user-id", b"u\x7f1")], Err(Malformed(UserId))),
            (200, &[valid, user, ("x-authgear-session-acr", b"\x1f")], Err(Malformed(SessionAcr))),
            (200, &[valid, user, ("x-authgear-session-amr", b"pwd\tmfa")], Err(Malformed(SessionAmr))),
            (200, &[valid, user, ("x-authgear-user-roles", b"a\r\nb")], Err(Malformed(UserRoles))),
            (200, &[valid, ("x-authgear-user-id", b"\xff\x80\xc3\xa9")], Ok("valid")),
            // the same without a verdict, and with a bad one
            (200, &[("x-authgear-user-id", b"u\n1")], Err(Malformed(UserId))),
            (200, &[invalid, ("x-authgear-user-verified", b"")], Err(Malformed(UserVerified))),
            // twice
            (200, &[valid, valid, user], Err(Duplicate(SessionValid))),
            (200, &[valid, invalid, user], Err(Duplicate(SessionValid))),
            (200, &[valid, user, user], Err(Duplicate(UserId))),
            (200, &[user, user], Err(Duplicate(UserId))),
            (200, &[invalid, user, user], Err(Duplicate(UserId))),
            (200, &[valid, user, ("x-authgear-user-roles", b""), ("X-Authgear-User-Roles", b"admin")], Err(Duplicate(UserRoles))),
            // the first fault is told
            (200, &[valid, user, user, ("x-authgear-user-verified", b"")], Err(Duplicate(UserId))),
            (200, &[valid, ("x-authgear-user-verified", b""), user, user], Err(Malformed(UserVerified))),
            // names that are not ours
            (200, &[valid, user, ("X_Authgear_User_Id", b"u2"), ("x-authgear-user.id", b"\0")], Ok("valid")),
            (200, &[("X_Authgear_Session_Valid", b"true"), user], Ok("none")),
            (200, &[valid, user, ("x-authgear-user-shoe-size", b"\x01"), ("x-authgear-user-shoe-size", b"9")], Ok("valid")),
        ];
        for (status, headers, expected) in table {
            let found = answer(*status, headers).map(|answer| match answer {
                Answer::Valid(session) => {
                    assert!(!session.user_id().is_empty());
                    "valid"
                }
                Answer::Invalid => "invalid",
                Answer::None => "none",
            });
            assert_eq!(&found, expected, "{status} {headers:?}");
        }
    }

    #[test]
    fn errors_complete_the_log_line() {
        for (error, line) in [
            (AnswerError::Status(404), "status 404"),
            (
                AnswerError::Duplicate(Field::UserId),
                "a second x-authgear-user-id header",
            ),
            (
                AnswerError::Malformed(Field::UserVerified),
                "a malformed x-authgear-user-verified header",
            ),
            (AnswerError::NoUserId, "a valid session without a user id"),
        ] {
            assert_eq!(error.to_string(), line);
        }
    }

    #[test]
    fn lists_are_split_leniently() {
        let lists: &[(&str, &[&str], &[&str])] = &[
            // value, as amr, as roles
            ("", &[], &[]),
            ("a", &["a"], &["a"]),
            ("a,b", &["a", "b"], &["a", "b"]),
            ("a b", &["a", "b"], &["a b"]),
            ("a, b", &["a", "b"], &["a", "b"]),
            (" ,a,, b ,", &["a", "b"], &["a", "b"]),
            (",", &[], &[]),
        ];
        for (value, amr, roles) in lists {
            let session = session(&[
                ("x-authgear-session-amr", value.as_bytes()),
                ("x-authgear-user-roles", value.as_bytes()),
            ]);
            assert!(
                session.amr().eq(amr.iter().map(|m| m.as_bytes())),
                "{value}"
            );
            assert!(
                session.roles().eq(roles.iter().map(|r| r.as_bytes())),
                "{value}"
            );
        }
    }

    #[test]
    fn json_is_typed() {
        let mut headers = USUAL.to_vec();
        headers.push(("x-authgear-session-acr", b"http://a/\"b\\"));
        let json: Value = serde_json::from_str(&session(&headers).to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "session_valid": true,
                "user_id": "u1",
                "user_anonymous": false,
                "user_verified": true,
                "session_acr": "http://a/\"b\\",
                "session_amr": ["pwd", "otp", "mfa"],
                "session_authenticated_at": 1_700_000_000,
                "user_can_reauthenticate": true,
                "user_roles": ["editor", "admin"],
            })
        );
    }

    #[test]
    fn json_is_utf8_whatever_the_resolver_sent() {
        let session = session(&[
            ("x-authgear-session-acr", b"\xc3\xa9\xff"),
            ("x-authgear-user-roles", b"\x80,b"),
            ("x-authgear-session-amr", b""),
        ]);
        let json: Value = serde_json::from_str(&session.to_json()).unwrap();
        assert_eq!(json["session_acr"], "\u{e9}\u{fffd}");
        assert_eq!(json["user_roles"], serde_json::json!(["\u{fffd}", "b"]));
        assert_eq!(json["session_amr"], serde_json::json!([]));
    }

    #[test]
    fn an_encoded_session_is_decoded() {
        let mut headers = USUAL.to_vec();
        headers.push(("x-authgear-session-acr", b""));
        for session in [session(&[]), session(USUAL), session(&headers)] {
            assert_eq!(Session::decode(session.as_bytes()), Some(session));
        }
    }

    #[test]
    fn a_part_of_a_session_is_none_nor_is_more() {
        let session = session(USUAL);
        let mut bytes = session.as_bytes().to_vec();
        for len in 0..bytes.len() {
            assert_eq!(Session::decode(&bytes[..len]), None, "{len}");
        }
        bytes.push(b'x');
        assert_eq!(Session::decode(&bytes), None);
    }

    #[test]
    fn texts_are_numbered_as_they_are_listed() {
        for (index, field) in TEXT_FIELDS.into_iter().enumerate() {
            assert!(matches!(kept(field), Kept::Text(number) if number == index));
        }
        let texts = Field::ALL
            .into_iter()
            .filter(|f| matches!(kept(*f), Kept::Text(_)));
        assert!(
            texts.eq(TEXT_FIELDS),
            "values are kept in the fields' order"
        );
    }

    /// A session's bytes, with these flags and texts, without any check.
    fn raw(flags: u16, texts: [&[u8]; TEXTS]) -> Vec<u8> {
        let mut bytes = vec![Session::ENCODING];
        bytes.extend(flags.to_le_bytes());
        for text in texts {
            bytes.extend((text.len() as u32).to_le_bytes());
        }
        bytes.extend(texts.concat());
        bytes
    }

    #[test]
    fn decoding_checks_what_the_answer_had_to_satisfy() {
        let valid = sent(Field::SessionValid) | TRUE;
        let user = sent(Field::UserId);
        let time = sent(Field::SessionAuthenticatedAt);
        let good = raw(valid | user, [b"u1", b"", b"", b"", b""]);
        assert_eq!(Session::decode(&good), Some(session(&[])));
        let bad = [
            (0, [b"".as_slice(); TEXTS]),
            (TRUE | user, [b"u1", b"", b"", b"", b""]),
            (user, [b"u1", b"", b"", b"", b""]),
            (valid, [b"", b"", b"", b"", b""]),
            (
                sent(Field::SessionValid) | user,
                [b"u1", b"", b"", b"", b""],
            ),
            (valid | user, [b"", b"", b"", b"", b""]),
            (valid | user, [b"u\n1", b"", b"", b"", b""]),
            (valid, [b"u1", b"", b"", b"", b""]),
            (valid | user | time, [b"u1", b"", b"", b"x", b""]),
            (valid | user | time, [b"u1", b"", b"", b"", b""]),
            (valid | user, [b"u1", b"", b"", b"1", b""]),
            (valid | user, [b"u1", b"", b"", b"", b"admin"]),
            (
                valid | user | sent(Field::UserRoles),
                [b"u1", b"", b"", b"", b"\x7f"],
            ),
            (valid | user | TRUE << 1, [b"u1", b"", b"", b"", b""]),
            (valid | user | TRUE << 2, [b"u1", b"", b"", b"", b""]),
            (valid | user | TRUE << 3, [b"u1", b"", b"", b"", b""]),
            (valid | user | TRUE << 4, [b"u1", b"", b"", b"", b""]),
        ];
        for (flags, texts) in bad {
            assert_eq!(
                Session::decode(&raw(flags, texts)),
                None,
                "{flags:b} {texts:?}"
            );
        }
    }

    #[test]
    fn decoding_checks_the_layout() {
        let session = session(USUAL);
        let good = session.as_bytes();
        let damaged = |index: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[index] = byte;
            Session::decode(&bytes)
        };
        assert_eq!(damaged(0, good[0]), Some(session.clone()));
        assert_eq!(damaged(0, 0), None, "another version");
        assert_eq!(damaged(2, 0x82), None, "a flag that does not exist");
        assert_eq!(damaged(3, 5), None, "a wrong length");
        assert_eq!(damaged(6, 0xff), None, "a length beyond the end");
    }

    prop_compose! {
        fn any_session()(
            user in "[^\\x00-\\x1f\\x7f]{1,20}",
            booleans in any::<[Option<bool>; 3]>(),
            acr in proptest::option::of("[^\\x00-\\x1f\\x7f]{0,20}"),
            amr in proptest::option::of("[a-z ,]{0,20}"),
            time in any::<Option<i64>>(),
            roles in proptest::option::of("[^\\x00-\\x1f\\x7f]{0,40}"),
        ) -> Session {
            let [anonymous, verified, can_reauthenticate] =
                booleans.map(|value| value.map(|value| value.to_string()));
            let values = [
                (Field::UserRoles, roles),
                (Field::SessionValid, Some("true".into())),
                (Field::UserId, Some(user)),
                (Field::UserAnonymous, anonymous),
                (Field::UserVerified, verified),
                (Field::UserCanReauthenticate, can_reauthenticate),
                (Field::SessionAcr, acr),
                (Field::SessionAmr, amr),
                (Field::SessionAuthenticatedAt, time.map(|time| time.to_string())),
            ];
            let mut builder = AnswerBuilder::new();
            for (field, value) in &values {
                if let Some(value) = value {
                    builder.header(field.header_name().as_bytes(), value.as_bytes());
                }
            }
            match builder.finish(200) {
                Ok(Answer::Valid(session)) => session,
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn every_session_survives_the_cache(session in any_session()) {
            prop_assert_eq!(Session::decode(session.as_bytes()), Some(session.clone()));
        }

        #[test]
        fn every_session_is_json(session in any_session()) {
            let json: Value = serde_json::from_str(&session.to_json()).unwrap();
            let user_id = std::str::from_utf8(session.user_id()).unwrap();
            prop_assert_eq!(json["user_id"].as_str(), Some(user_id));
            for field in Field::ALL {
                let member = json.get(field.json_name());
                prop_assert_eq!(member.is_some(), session.get(field).is_some());
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in any::<Vec<u8>>()) {
            if let Some(session) = Session::decode(&bytes) {
                prop_assert_eq!(session.as_bytes(), bytes);
            }
        }

        /// Closer to the real thing than arbitrary bytes: one byte of a session changed.
        #[test]
        fn a_damaged_session_is_another_one_or_refused(
            session in any_session(),
            index in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = session.as_bytes().to_vec();
            let index = index.index(bytes.len());
            bytes[index] = byte;
            if let Some(session) = Session::decode(&bytes) {
                prop_assert!(!session.user_id().is_empty());
                prop_assert_eq!(session.get(Field::SessionValid), Some(b"true".as_slice()));
                prop_assert_eq!(session.as_bytes(), bytes);
            }
        }
    }
}
