//! The resolver's HTTP/1.1 response, read piece by piece.
//!
//! Strict where two readers could disagree about where a response ends (RFC 9112, section 6), since
//! the connection is kept for other users' requests: a doubtful length is an error or, where the
//! answer itself is not in doubt, ends the connection.

use std::fmt;
use std::mem::MaybeUninit;

use crate::answer::{Answer, AnswerBuilder, AnswerError};

/// More headers than this are nonsense.
const MOST_HEADERS: usize = 128;
/// Interim (1xx) responses before the real one.
const MOST_INTERIM: u8 = 8;
/// A longer body is not read to its end; the connection is closed instead.
const LONGEST_BODY: u64 = 1024 * 1024;

/// Reads one response. Feed it with what has arrived until it says `Progress::Complete`.
#[derive(Default)]
pub struct ResponseReader {
    state: State,
    interim: u8,
    body_read: u64,
    head: Option<Head>,
}

/// The part of a response that matters.
#[derive(Debug)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// What the identity headers say, or why they can't be believed.
    pub answer: Result<Answer, AnswerError>,
    /// The values of all Set-Cookie headers, in order.
    pub set_cookies: Vec<Vec<u8>>,
    keep_alive: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Body(Body),
    Complete,
}

/// Where the body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    /// So many bytes are left.
    Length(u64),
    /// At a chunk's size line.
    ChunkSize,
    /// Inside a chunk, so many bytes left, the line end after it included.
    Chunk(u64),
    /// In the trailers.
    Trailers,
}

/// What `ResponseReader::read` did.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes were used; more are needed. What was not used must be given again.
    NeedMore {
        /// Bytes used.
        consumed: usize,
    },
    /// The response is over.
    Complete {
        /// Whether another request may follow on the connection.
        keep_alive: bool,
    },
}

/// Why a response can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// Not HTTP/1.x, or a header line that is none.
    Syntax,
    /// More headers than anyone sends.
    TooManyHeaders,
    /// 101, or no end of 1xx responses.
    Interim,
    /// Content-Length twice, not a number, or beside Transfer-Encoding; or an unknown coding.
    Framing,
    /// A chunk that is none.
    Chunk,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResponseError::Syntax => "something that is not HTTP/1.1",
            ResponseError::TooManyHeaders => "too many headers",
            ResponseError::Interim => "an interim response that nobody asked for",
            ResponseError::Framing => "an ambiguous body length",
            ResponseError::Chunk => "an invalid chunk",
        })
    }
}

impl std::error::Error for ResponseError {}

impl ResponseReader {
    /// A reader at the start of a response.
    pub fn new() -> ResponseReader {
        ResponseReader::default()
    }

    /// The head, once it was read.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The head, once it was read.
    pub fn into_head(self) -> Option<Head> {
        self.head
    }

    /// Reads on. `input` begins with what the last call did not use.
    pub fn read(&mut self, input: &[u8]) -> Result<Progress, ResponseError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Head => match self.read_head(&input[at..])? {
                    0 => break,
                    n => at += n,
                },
                State::Body(body) => match self.read_body(body, &input[at..])? {
                    0 => break,
                    n => at += n,
                },
                State::Complete => {
                    let keep_alive =
                        self.head.as_ref().is_some_and(|h| h.keep_alive) && at == input.len();
                    return Ok(Progress::Complete { keep_alive });
                }
            }
        }
        Ok(Progress::NeedMore { consumed: at })
    }

    /// Returns the bytes used, 0 if the head is not all there.
    fn read_head(&mut self, input: &[u8]) -> Result<usize, ResponseError> {
        // The parser skips empty lines, which are the surplus of an answer before this one.
        if let Some(b'\r' | b'\n') = input.first() {
            return Err(ResponseError::Syntax);
        }
        let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        let used =
            match parser.parse_response_with_uninit_headers(&mut response, input, &mut headers) {
                Ok(httparse::Status::Complete(used)) => used,
                Ok(httparse::Status::Partial) => return Ok(0),
                Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooManyHeaders),
                Err(_) => return Err(ResponseError::Syntax),
            };
        let status = response.code.unwrap_or(0);
        if (100..200).contains(&status) {
            self.interim += 1;
            if status == 101 || self.interim > MOST_INTERIM {
                return Err(ResponseError::Interim);
            }
            return Ok(used);
        }

        let mut answer = AnswerBuilder::new();
        let mut set_cookies = Vec::new();
        let mut framing = Framing::default();
        let mut keep_alive = response.version == Some(1);
        for header in response.headers.iter() {
            let (name, value) = (header.name, header.value);
            if name.eq_ignore_ascii_case("set-cookie") {
                set_cookies.push(value.to_vec());
            } else if name.eq_ignore_ascii_case("connection") {
                keep_alive &= !lists(value, b"close");
            } else if name.eq_ignore_ascii_case("content-length") {
                framing.content_length(value)?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing.transfer_encoding(value)?;
            } else {
                answer.header(name.as_bytes(), value);
            }
        }
        self.state = match framing.body(status)? {
            BodyLength::None => State::Complete,
            BodyLength::Length(n) if n <= LONGEST_BODY => State::Body(Body::Length(n)),
            BodyLength::Chunked => State::Body(Body::ChunkSize),
            // The answer is known: don't wait for a body that nobody reads.
            BodyLength::Length(_) | BodyLength::UntilClose => {
                keep_alive = false;
                State::Complete
            }
        };
        self.head = Some(Head {
            status,
            answer: answer.finish(status),
            set_cookies,
            keep_alive,
        });
        Ok(used)
    }

    /// Returns the bytes used, 0 if more are needed.
    fn read_body(&mut self, body: Body, input: &[u8]) -> Result<usize, ResponseError> {
        let (used, next) = match body {
            Body::Length(left) => {
                let n = left.min(input.len() as u64);
                let left = left - n;
                (
                    n,
                    if left == 0 {
                        State::Complete
                    } else {
                        State::Body(Body::Length(left))
                    },
                )
            }
            Body::Chunk(left) => {
                let n = left.min(input.len() as u64);
                // The last two bytes are the line end.
                for i in 0..n {
                    let expected = match left - i {
                        2 => b'\r',
                        1 => b'\n',
                        _ => continue,
                    };
                    if input[i as usize] != expected {
                        return Err(ResponseError::Chunk);
                    }
                }
                let left = left - n;
                (
                    n,
                    State::Body(if left == 0 {
                        Body::ChunkSize
                    } else {
                        Body::Chunk(left)
                    }),
                )
            }
            Body::ChunkSize => match chunk_size(input)? {
                Some((used, 0)) => (used as u64, State::Body(Body::Trailers)),
                Some((used, size)) if size <= LONGEST_BODY => {
                    (used as u64, State::Body(Body::Chunk(size + 2)))
                }
                Some(_) => return Ok(self.give_up(input)),
                None => return Ok(0),
            },
            Body::Trailers => {
                let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
                match httparse::parse_headers(input, &mut headers) {
                    Ok(httparse::Status::Complete((used, _))) => (used as u64, State::Complete),
                    Ok(httparse::Status::Partial) => return Ok(0),
                    Err(_) => return Err(ResponseError::Chunk),
                }
            }
        };
        self.body_read += used;
        if self.body_read > LONGEST_BODY && next != State::Complete {
            return Ok(self.give_up(input));
        }
        self.state = next;
        Ok(used as usize)
    }

    /// The body is too long to be worth reading.
    fn give_up(&mut self, input: &[u8]) -> usize {
        if let Some(head) = &mut self.head {
            head.keep_alive = false;
        }
        self.state = State::Complete;
        input.len()
    }
}

/// What the headers say about the body's length.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

enum BodyLength {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    fn content_length(&mut self, value: &[u8]) -> Result<(), ResponseError> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value)
            .ok()
            .filter(|_| digits)
            .and_then(|s| s.parse().ok());
        if length.is_none() || self.length.is_some() {
            return Err(ResponseError::Framing);
        }
        self.length = length;
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), ResponseError> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(ResponseError::Framing);
        }
        self.chunked = true;
        Ok(())
    }

    /// RFC 9112, section 6.3.
    fn body(&self, status: u16) -> Result<BodyLength, ResponseError> {
        Ok(match (self.chunked, self.length) {
            (true, Some(_)) => return Err(ResponseError::Framing),
            // Some send a body all the same, if the headers announce one.
            (true, None) | (false, Some(_)) if status == 204 || status == 304 => {
                BodyLength::UntilClose
            }
            _ if status == 204 || status == 304 => BodyLength::None,
            (true, None) => BodyLength::Chunked,
            (false, Some(0)) => BodyLength::None,
            (false, Some(n)) => BodyLength::Length(n),
            (false, None) => BodyLength::UntilClose,
        })
    }
}

/// `chunk-size [ chunk-ext ] CRLF` (RFC 9112, 7.1): the bytes used and the size, none if more are
/// needed.
///
/// A line without a size, or with another line end hidden in its extension, ends elsewhere for other
/// readers.
fn chunk_size(input: &[u8]) -> Result<Option<(usize, u64)>, ResponseError> {
    let digits = input.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (digits, rest) = input.split_at(digits);
    let is_text = |b: &&u8| matches!(b, b'\t' | b' '..=b'~' | 0x80..);
    let (extension, end) = rest.split_at(rest.iter().take_while(is_text).count());

    let has_size = !digits.is_empty() || rest.is_empty();
    let is_extension = matches!(extension.trim_ascii_start(), [] | [b';', ..]);
    // Fifteen digits fit 64 bits.
    if !has_size || !is_extension || digits.len() > 15 {
        return Err(ResponseError::Chunk);
    }
    match end {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => {
            let size = digits.iter().fold(0, |size, digit| {
                let value = char::from(*digit).to_digit(16).unwrap_or_default();
                size << 4 | u64::from(value)
            });
            Ok(Some((digits.len() + extension.len() + 2, size)))
        }
        _ => Err(ResponseError::Chunk),
    }
}

/// Whether a comma-separated list has this token.
fn lists(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|b| *b == b',')
        .any(|t| t.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "X-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: alice\r\n";

    /// Feeds `bytes` in pieces of `step`, as a connection would; returns the result and the reader.
    fn feed(bytes: &[u8], step: usize) -> (Result<Progress, ResponseError>, ResponseReader) {
        let mut reader = ResponseReader::new();
        let mut held = Vec::new();
        let mut last = Ok(Progress::NeedMore { consumed: 0 });
        for piece in bytes.chunks(step) {
            held.extend_from_slice(piece);
            last = reader.read(&held);
            match &last {
                Ok(Progress::NeedMore { consumed }) => drop(held.drain(..*consumed)),
                _ => break,
            }
        }
        (last, reader)
    }

    fn answered(reader: &ResponseReader) -> &str {
        match reader.head().map(|h| &h.answer) {
            Some(Ok(Answer::Valid(_))) => "valid",
            Some(Ok(Answer::Invalid)) => "invalid",
            Some(Ok(Answer::None)) => "none",
            Some(Err(_)) => "error",
            None => "-",
        }
    }

    #[test]
    fn responses_are_framed_alike_whatever_the_pieces() {
        let long = "x".repeat(5000);
        let table: &[(String, &str, Result<bool, ResponseError>)] = &[
            (format!("HTTP/1.1 200 OK\r\n{VALID}Content-Length: 0\r\n\r\n"), "valid", Ok(true)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Content-Length: 5\r\n\r\nhello"), "valid", Ok(true)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Content-Length: 5000\r\n\r\n{long}"), "valid", Ok(true)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: v\r\n\r\n"), "valid", Ok(true)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "valid", Ok(true)),
            (format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n{VALID}Content-Length: 0\r\n\r\n"), "valid", Ok(true)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Content-Length: 0\r\nConnection: Keep-Alive, Close\r\n\r\n"), "valid", Ok(false)),
            (format!("HTTP/1.0 200 OK\r\n{VALID}Content-Length: 0\r\n\r\n"), "valid", Ok(false)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}\r\n"), "valid", Ok(false)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Content-Length: 99999999\r\n\r\n"), "valid", Ok(false)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(), "none", Ok(true)),
            ("HTTP/1.1 200 OK\r\nX-Authgear-Session-Valid: false\r\nContent-Length: 0\r\n\r\n".into(), "invalid", Ok(true)),
            ("HTTP/1.1 204 No Content\r\n\r\n".into(), "error", Ok(true)),
            ("HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno".into(), "error", Ok(true)),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n".into(), "-", Err(ResponseError::Interim)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"), "-", Err(ResponseError::Framing)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Content-Length: +0\r\n\r\n"), "-", Err(ResponseError::Framing)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"), "-", Err(ResponseError::Framing)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: gzip, chunked\r\n\r\n"), "-", Err(ResponseError::Framing)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX"), "valid", Err(ResponseError::Chunk)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "valid", Err(ResponseError::Chunk)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\n05 \t;x\r\nhello\r\n0 \r\n\r\n"), "valid", Ok(true)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\n\r\n\r\n"), "valid", Err(ResponseError::Chunk)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\n;x\r\n\r\n"), "valid", Err(ResponseError::Chunk)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"), "valid", Err(ResponseError::Chunk)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\n5;x\nhello\r\n0\r\n\r\n"), "valid", Err(ResponseError::Chunk)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\n0000000000000005\r\nhello\r\n0\r\n\r\n"), "valid", Err(ResponseError::Chunk)),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".into(), "error", Ok(false)),
            ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n".into(), "error", Ok(false)),
            (format!("\r\nHTTP/1.1 200 OK\r\n{VALID}Content-Length: 0\r\n\r\n"), "-", Err(ResponseError::Syntax)),
            (format!("\nHTTP/1.1 200 OK\r\n{VALID}Content-Length: 0\r\n\r\n"), "-", Err(ResponseError::Syntax)),
            ("SSH-2.0-OpenSSH\r\n\r\n".into(), "-", Err(ResponseError::Syntax)),
            (format!("HTTP/1.1 200 OK\r\n{VALID} folded\r\nContent-Length: 0\r\n\r\n"), "-", Err(ResponseError::Syntax)),
            (format!("HTTP/1.1 200 OK\r\n{VALID}X : y\r\nContent-Length: 0\r\n\r\n"), "-", Err(ResponseError::Syntax)),
            ("HTTP/1.1 200 OK\r\nX-Authgear-User-Id: a\0b\r\n\r\n".into(), "-", Err(ResponseError::Syntax)),
        ];
        for (bytes, answer, outcome) in table {
            for step in [1, 2, 3, 7, bytes.len()] {
                let (result, reader) = feed(bytes.as_bytes(), step);
                let result = result.map(|p| match p {
                    Progress::Complete { keep_alive } => keep_alive,
                    Progress::NeedMore { .. } => panic!("not complete: {bytes:.120}"),
                });
                assert_eq!(result, *outcome, "{bytes:.120} in pieces of {step}");
                assert_eq!(
                    answered(&reader),
                    *answer,
                    "{bytes:.120} in pieces of {step}"
                );
            }
        }
    }

    #[test]
    fn surplus_bytes_end_the_connection_but_not_the_answer() {
        let bytes =
            format!("HTTP/1.1 200 OK\r\n{VALID}Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n");
        let (result, reader) = feed(bytes.as_bytes(), bytes.len());
        assert_eq!(result, Ok(Progress::Complete { keep_alive: false }));
        assert_eq!(answered(&reader), "valid");
    }

    #[test]
    fn an_endless_chunked_body_is_given_up() {
        let mut bytes =
            format!("HTTP/1.1 200 OK\r\n{VALID}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for _ in 0..300 {
            bytes.extend_from_slice(b"1000\r\n");
            bytes.extend_from_slice(&[b'x'; 4096]);
            bytes.extend_from_slice(b"\r\n");
        }
        let (result, _) = feed(&bytes, 4096);
        assert_eq!(result, Ok(Progress::Complete { keep_alive: false }));
    }

    #[test]
    fn every_set_cookie_is_kept_in_order() {
        let (_, reader) = feed(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2; Path=/\r\nContent-Length: 0\r\n\r\n",
            9,
        );
        let cookies = &reader.head().expect("a head").set_cookies;
        assert_eq!(cookies[..], [b"a=1".to_vec(), b"b=2; Path=/".to_vec()]);
    }
}
