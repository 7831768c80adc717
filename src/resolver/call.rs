//! One call to the resolver, from the subrequest to the verdict.

use core::cell::OnceCell;
use core::fmt;
use std::rc::Rc;

use authgear_session::answer::{Answer, AnswerError};
use authgear_session::response::{Head, Progress, ResponseError, ResponseReader};

use crate::cache::Hold;
use crate::conf::{KeepAlive, Place, Resolver};
use crate::metrics::Meter;
use crate::ngx::log::Log;
use crate::ngx::request::Request;
use crate::ngx::upstream::{self, Call, End, Exchange, Servers, Step};

/// What came of a call.
#[derive(Debug)]
pub struct Resolution {
    /// The verdict, or why there is none.
    pub answer: Result<Answer, Failure>,
    /// The Set-Cookie headers of the resolver's answer.
    pub set_cookies: Vec<Vec<u8>>,
    /// The resolver's status, or the one nginx gives a failed call (502, 504).
    pub status: u16,
    /// The time the call took, in milliseconds.
    pub elapsed: u64,
    /// The address of the server that was asked.
    pub peer: Vec<u8>,
}

/// nginx's status for a client that has closed its connection.
const CLIENT_GONE: u16 = 499;

/// Why there is no verdict. Displayed, it follows "authgear: resolver ".
#[derive(Debug)]
pub enum Failure {
    /// The response is no HTTP response.
    Response(ResponseError),
    /// The answer can't be believed.
    Answer(AnswerError),
    /// nginx could not get a response; it has logged why.
    Call(u16),
    /// The URL of the resolver is wrong for this request.
    Url(String),
    /// A header set by the configuration has a value that no header can have.
    HeaderValue(String),
    /// Another request has asked the same, in vain, and has logged why.
    Others,
    /// No memory.
    NoMemory,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Response(e) => write!(f, "answered {e}"),
            Failure::Answer(e) => write!(f, "answered {e}"),
            Failure::Call(504) => f.write_str("timed out"),
            Failure::Call(_) => f.write_str("could not be reached or gave no usable response"),
            Failure::Url(e) => f.write_str(e),
            Failure::HeaderValue(name) => {
                write!(f, "header \"{name}\" would have a line break in its value")
            }
            Failure::Others => f.write_str("gave no answer to another request"),
            Failure::NoMemory => f.write_str("could not be asked for lack of memory"),
        }
    }
}

/// Where the result of a call appears once it is over.
pub type Waiting = Rc<OnceCell<Resolution>>;

/// Starts a call. `result` is filled, and then given up, when it is over; without one the call is
/// made in the background. `hold` is told what came of it.
pub fn start<'r>(
    r: Request<'r>,
    resolver: &'r Resolver,
    servers: Servers,
    place: &'r Place,
    request: &'r [u8],
    hold: Option<Hold>,
    result: Option<Waiting>,
) -> Result<(), Failure> {
    let call = Call {
        request,
        conf: &resolver.upstream,
        servers,
        connections: match resolver.keepalive {
            KeepAlive::Ours(connections) => Some(connections),
            KeepAlive::Group | KeepAlive::Off => None,
        },
        secure: resolver.secure(r, place).map_err(Failure::Url)?,
        schema: place.schema(),
        uri: &place.uri,
        background: result.is_none(),
    };
    let asking = Asking {
        reader: ResponseReader::new(),
        fault: None,
        retry_statuses: resolver.retry_statuses.clone(),
        meter: resolver.meter.clone(),
        hold,
        result,
    };
    upstream::start(r, call, asking).map_err(|_| Failure::NoMemory)
}

/// A call under way.
pub struct Asking {
    reader: ResponseReader,
    fault: Option<ResponseError>,
    retry_statuses: Vec<u16>,
    meter: Rc<Meter>,
    hold: Option<Hold>,
    /// Given up when the call is over.
    result: Option<Waiting>,
}

impl Exchange for Asking {
    fn start(&mut self) {
        self.reader = ResponseReader::new();
        self.fault = None;
    }

    fn read(&mut self, input: &[u8], _log: Log) -> Step {
        match self.reader.read(input) {
            Ok(Progress::NeedMore { consumed }) => Step::More { consumed },
            Ok(Progress::Complete { keep_alive }) => {
                let status = self.reader.head().map_or(0, |h| h.status);
                if self.retry_statuses.contains(&status) {
                    Step::Invalid
                } else {
                    Step::Done {
                        keep: keep_alive,
                        status,
                    }
                }
            }
            Err(error) => {
                self.fault = Some(error);
                Step::Invalid
            }
        }
    }

    fn finish(&mut self, end: End<'_>, log: Log) -> u16 {
        let reader = core::mem::take(&mut self.reader);
        let complete = end.status == 200;
        let head = reader.into_head();
        let status = head.as_ref().map_or(end.status, |h| h.status);
        let (answer, set_cookies) = match (head, self.fault.take()) {
            (_, Some(error)) => (Err(Failure::Response(error)), Vec::new()),
            // A response cut short after its head can't be believed, except that its status
            // is the best thing to say about it.
            (Some(head), None) if complete || head.status != 200 => verdict(head),
            _ => (Err(Failure::Call(end.status)), Vec::new()),
        };
        self.meter.count_call(&answer, status, end.elapsed);
        if let Some(hold) = self.hold.take() {
            match &answer {
                Ok(answer) => hold.answer(answer),
                // The client has gone: somebody else may do better.
                Err(_) if end.status == CLIENT_GONE => drop(hold),
                Err(failure) => {
                    if self.result.is_none() {
                        log.error(format_args!("authgear: resolver {failure}, not refreshed"));
                    }
                    hold.fail();
                }
            }
        }
        let resolution = Resolution {
            answer,
            set_cookies,
            status,
            elapsed: end.elapsed,
            peer: end.peer.to_vec(),
        };
        if let Some(result) = self.result.take() {
            // Set once, as it is taken once.
            let _ = result.set(resolution);
        }
        status
    }
}

fn verdict(head: Head) -> (Result<Answer, Failure>, Vec<Vec<u8>>) {
    (head.answer.map_err(Failure::Answer), head.set_cookies)
}
