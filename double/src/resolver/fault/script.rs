//! A fault applied to the right answer.

use std::borrow::Cow;
use std::time::Duration;

use super::{Cut, Fault, Pieces, Say, Then};
use crate::http::{reason, Answer, Body, Next};
use crate::resolver::answer::without_identity;

/// Bytes to write, and how.
pub(crate) struct Script {
    bytes: Vec<u8>,
    pieces: Option<Pieces>,
    /// How long the connection idles before what comes next.
    pub(crate) idle: Duration,
    pub(crate) next: Next,
}

impl Script {
    /// The pieces to write, and the pause between two of them.
    pub(crate) fn pieces(&self) -> (impl Iterator<Item = &[u8]>, Duration) {
        let (size, pause) = match self.pieces {
            Some(pieces) => (pieces.size.max(1), pieces.pause),
            None => (self.bytes.len().max(1), Duration::ZERO),
        };
        (self.bytes.chunks(size), pause)
    }
}

impl Fault {
    /// Applies it to the right answer. `keeps` says whether the client wants the connection kept.
    pub(crate) fn apply(&self, answer: Answer, to_head: bool, keeps: bool) -> Script {
        let mut bytes = self.bytes(answer, to_head, keeps);
        match self.cut {
            None => {}
            Some(Cut::Half) => bytes.truncate(bytes.len() / 2),
            Some(Cut::At(length)) => bytes.truncate(length),
        }
        let (idle, next) = match self.then {
            Then::Keep if keeps => (Duration::ZERO, Next::Keep),
            Then::Keep | Then::Close => (Duration::ZERO, Next::Close),
            Then::CloseAfter(idle) => (idle, Next::Close),
            Then::Reset => (Duration::ZERO, Next::Reset),
            Then::Hang => (Duration::ZERO, Next::Hang),
        };
        Script {
            bytes,
            pieces: self.pieces,
            idle,
            next,
        }
    }

    fn bytes(&self, mut answer: Answer, to_head: bool, keeps: bool) -> Vec<u8> {
        let mut closes = !keeps;
        match &self.say {
            Say::Answer => {}
            Say::AnswerAs(status) => answer.status = *status,
            Say::Nothing => return Vec::new(),
            Say::Status(status) => {
                answer = Answer::text(*status, format!("{}\n", reason(*status)));
            }
            Say::NoIdentity => answer = without_identity(),
            Say::Raw(bytes) => return bytes.clone(),
            Say::Headers { remove, add } => {
                answer.headers.retain(|(name, _)| {
                    let gone = |other: &String| other.eq_ignore_ascii_case(name);
                    !remove.iter().any(gone)
                });
                for (name, value) in add.iter().cloned() {
                    answer.headers.push((Cow::Owned(name), Cow::Owned(value)));
                }
            }
            Say::BigHeaders(bytes) => {
                const LINE: usize = 1024;
                for number in 0..bytes.div_ceil(LINE) {
                    let name = format!("X-Filler-{number:06}");
                    let value = vec![b'x'; LINE - name.len() - 4];
                    answer.headers.push((Cow::Owned(name), Cow::Owned(value)));
                }
            }
            Say::Body(body) => answer.body = Body::Length(body.clone()),
            Say::Chunked(body) => {
                let trailer = |name: &str, value: &str| (name.to_owned(), value.to_owned());
                answer.body = Body::Chunked {
                    body: body.clone(),
                    trailers: vec![
                        trailer("X-Authgear-User-Id", "from-a-trailer"),
                        trailer("X-Trailer", "1"),
                    ],
                };
            }
            Say::UntilClose(body) => {
                answer.body = Body::UntilClose(body.clone());
                closes = false;
            }
            Say::EarlyHints(headers) => {
                let mut bytes = b"HTTP/1.1 103 Early Hints\r\n".to_vec();
                for (name, value) in headers {
                    bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                bytes.extend_from_slice(b"\r\n");
                bytes.append(&mut answer.render(to_head, closes));
                return bytes;
            }
            Say::ConnectionClose => closes = true,
            Say::Surplus(surplus) => {
                let mut bytes = answer.render(to_head, closes);
                bytes.extend_from_slice(surplus);
                return bytes;
            }
        }
        answer.render(to_head, closes)
    }
}
