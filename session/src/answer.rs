//! The resolver's answer: its headers to a [`Session`], or why not.

use thiserror::Error;

use crate::identity::Field;

/// What the resolver said.
#[derive(Debug)]
pub enum Answer {
    /// A valid session.
    Valid(Session),
    /// An explicit `x-authgear-session-valid: false`.
    Invalid,
    /// No `x-authgear-session-valid` at all.
    None,
}

/// Why an answer says nothing; completes the log line `authgear: resolver answered ...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// A status other than 200.
    #[error("status {0}")]
    Status(u16),
    /// One of the identity headers came twice.
    #[error("a second {} header", .0.header_name())]
    Duplicate(Field),
    /// A value outside the header's grammar.
    #[error("a malformed {} header", .0.header_name())]
    Malformed(Field),
    /// A valid session of nobody.
    #[error("a valid session without a user id")]
    NoUserId,
}

/// Reads an answer's header lines one by one.
#[derive(Default)]
pub struct AnswerBuilder {}

impl AnswerBuilder {
    /// An answer of which nothing was read yet.
    pub fn new() -> AnswerBuilder {
        AnswerBuilder::default()
    }

    /// Takes a header line of the answer; ignores what is not an identity header.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        let _ = (name, value);
        todo!()
    }

    /// The verdict, once all header lines were given.
    pub fn finish(self, status: u16) -> Result<Answer, AnswerError> {
        let _ = status;
        todo!()
    }
}

/// A valid session of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {}

impl Session {
    /// The header's value as the resolver sent it.
    pub fn get(&self, field: Field) -> Option<&[u8]> {
        let _ = field;
        todo!()
    }

    /// The user's id, never empty.
    pub fn user_id(&self) -> &[u8] {
        todo!()
    }

    /// Whether the user is anonymous; false when absent.
    pub fn is_anonymous(&self) -> bool {
        todo!()
    }

    /// Whether the user is verified; false when absent.
    pub fn is_verified(&self) -> bool {
        todo!()
    }

    /// Whether the user can reauthenticate; false when absent.
    pub fn can_reauthenticate(&self) -> bool {
        todo!()
    }

    /// The user's roles.
    pub fn roles(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }

    /// The methods by which the session was authenticated.
    pub fn amr(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }

    /// When the user authenticated, in Unix seconds.
    pub fn authenticated_at(&self) -> Option<i64> {
        todo!()
    }

    /// The session as one JSON object.
    pub fn to_json(&self) -> String {
        todo!()
    }

    /// The number of bytes that [`encode`](Session::encode) writes.
    pub fn encoded_len(&self) -> usize {
        todo!()
    }

    /// Writes the session for the cache.
    pub fn encode(&self, out: &mut [u8]) {
        let _ = out;
        todo!()
    }

    /// Reads what [`encode`](Session::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Option<Session> {
        let _ = bytes;
        todo!()
    }
}
