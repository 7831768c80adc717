//! What can go wrong with an answer.

mod file;
mod script;

use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use file::FaultFile;

/// What the resolver does instead of answering well: what it says, in which pieces, and what
/// becomes of the connection then.
///
/// ```
/// use std::time::Duration;
/// use authgear_resolver_double::{Fault, Then};
///
/// Fault::answer().in_pieces(1, Duration::from_millis(1));
/// Fault::status(500).then(Then::Reset);
/// Fault::raw("HTTP/1.1 200 OK\r\nX-Authgear-Sess").then(Then::Hang);
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    say: Say,
    cut: Option<Cut>,
    pieces: Option<Pieces>,
    then: Then,
}

/// What becomes of the connection after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It stays open for further requests, if the request and the answer allow that.
    Keep,
    /// It is closed.
    Close,
    /// It stays idle that long and is closed then, whatever came meanwhile.
    CloseAfter(Duration),
    /// It is reset (on a unix socket: closed).
    Reset,
    /// It stays open and mute until the peer leaves.
    Hang,
}

#[derive(Clone, Debug)]
enum Say {
    Answer,
    AnswerAs(u16),
    Nothing,
    Status(u16),
    NoIdentity,
    Raw(Vec<u8>),
    Headers {
        remove: Vec<String>,
        add: Vec<(String, Vec<u8>)>,
    },
    BigHeaders(usize),
    Body(Vec<u8>),
    Chunked(Vec<u8>),
    UntilClose(Vec<u8>),
    EarlyHints(Vec<(String, String)>),
    ConnectionClose,
    Surplus(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    Half,
    At(usize),
}

#[derive(Clone, Copy, Debug)]
struct Pieces {
    size: usize,
    pause: Duration,
}

/// The fault's kinds.
impl Fault {
    fn new(say: Say) -> Self {
        Fault {
            say,
            cut: None,
            pieces: None,
            then: Then::Keep,
        }
    }

    /// The right answer, for use with [`Fault::in_pieces`], [`Fault::cut`] and [`Fault::then`].
    pub fn answer() -> Self {
        Fault::new(Say::Answer)
    }

    /// The right answer's headers, identity included, under another status.
    pub fn answer_as(status: u16) -> Self {
        Fault::new(Say::AnswerAs(status))
    }

    /// Another status, with a line of text and no identity.
    pub fn status(status: u16) -> Self {
        Fault::new(Say::Status(status))
    }

    /// A plain 200 without identity headers: what Authgear sends when its database fails.
    pub fn no_identity() -> Self {
        Fault::new(Say::NoIdentity)
    }

    /// These bytes, verbatim.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Fault::new(Say::Raw(bytes.into()))
    }

    /// Closes instead of answering.
    pub fn close() -> Self {
        Fault::new(Say::Nothing).then(Then::Close)
    }

    /// Resets instead of answering.
    pub fn reset() -> Self {
        Fault::new(Say::Nothing).then(Then::Reset)
    }

    /// Never answers.
    pub fn hang() -> Self {
        Fault::new(Say::Nothing).then(Then::Hang)
    }

    /// Sends half of the head and closes.
    pub fn close_mid_header() -> Self {
        Fault {
            cut: Some(Cut::Half),
            ..Fault::answer().then(Then::Close)
        }
    }

    /// Sends half of the head and no more.
    pub fn hang_mid_header() -> Self {
        Fault::close_mid_header().then(Then::Hang)
    }

    /// Sends what is no HTTP, and closes.
    pub fn garbage() -> Self {
        let bytes = b"\x16\x03\x01\x00\x7a\xff\xfe\x00 this is no HTTP \x01\r\n\r\n\x80\x81";
        Fault::raw(*bytes).then(Then::Close)
    }

    /// Adds headers until the head is at least that large.
    pub fn big_headers(bytes: usize) -> Self {
        Fault::new(Say::BigHeaders(bytes))
    }

    /// Removes headers of the right answer, then adds others: duplicates, malformed values.
    pub fn headers<'a, N, V>(
        remove: impl IntoIterator<Item = &'a str>,
        add: impl IntoIterator<Item = (N, V)>,
    ) -> Self
    where
        N: Into<String>,
        V: Into<Vec<u8>>,
    {
        Fault::new(Say::Headers {
            remove: remove.into_iter().map(str::to_owned).collect(),
            add: add
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        })
    }

    /// The right answer with one header replaced, or added.
    pub fn header(name: &str, value: impl Into<Vec<u8>>) -> Self {
        Fault::headers([name], [(name, value)])
    }

    /// The right answer with one more header.
    pub fn extra_header(name: &str, value: impl Into<Vec<u8>>) -> Self {
        Fault::headers([], [(name, value)])
    }

    /// The right answer with a body and its length.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Fault::new(Say::Body(body.into()))
    }

    /// The right answer with a body in chunks, with chunk extensions and trailers; one of these
    /// claims another user id.
    pub fn chunked(body: impl Into<Vec<u8>>) -> Self {
        Fault::new(Say::Chunked(body.into()))
    }

    /// The right answer with a body that ends with the connection, without saying so.
    pub fn until_close(body: impl Into<Vec<u8>>) -> Self {
        Fault::new(Say::UntilClose(body.into())).then(Then::Close)
    }

    /// A 103 with these headers before the right answer.
    pub fn early_hints<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Fault::new(Say::EarlyHints(headers.into_iter().map(owned).collect()))
    }

    /// The right answer with `Connection: close`, and so it does.
    pub fn connection_close() -> Self {
        Fault::new(Say::ConnectionClose).then(Then::Close)
    }

    /// The right answer as if the connection stayed, which is closed right after it.
    pub fn close_idle() -> Self {
        Fault::answer().then(Then::Close)
    }

    /// The right answer with further bytes behind it.
    pub fn surplus(bytes: impl Into<Vec<u8>>) -> Self {
        Fault::new(Say::Surplus(bytes.into()))
    }
}

/// How it is said.
impl Fault {
    /// Writes pieces of that many bytes, with a pause between them.
    pub fn in_pieces(mut self, size: usize, pause: Duration) -> Self {
        self.pieces = Some(Pieces { size, pause });
        self
    }

    /// Writes only that many bytes.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(Cut::At(bytes));
        self
    }

    /// Decides about the connection.
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

/// The faults that wait for their requests.
#[derive(Default)]
pub(crate) struct Faults {
    queue: VecDeque<(usize, Fault)>,
    standing: Option<Fault>,
}

impl Faults {
    pub(super) fn stand(&mut self, fault: Fault) {
        self.standing = Some(fault);
    }

    pub(super) fn enqueue(&mut self, times: usize, fault: Fault) {
        if times > 0 {
            self.queue.push_back((times, fault));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Faults::default();
    }

    pub(super) fn next(&mut self) -> Option<Fault> {
        let Some((times, fault)) = self.queue.front_mut() else {
            return self.standing.clone();
        };
        if *times > 1 {
            *times -= 1;
            return Some(fault.clone());
        }
        self.queue.pop_front().map(|(_, fault)| fault)
    }
}
