//! The app behind nginx: it answers with the request that reached it.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::http::{
    form_fields, reason, text, Answer, BodyDigest, Connection, Listen, Next, RecordedRequest,
    Recorder, Request, Server, Service,
};

/// A running app; stops when dropped.
///
/// It answers 200 with `{"method", "target", "version", "headers": [[name, value], ...],
/// "body_length", "body_fnv"}` and, for some targets, adds to that; see the README.
pub struct EchoApp {
    core: Arc<Core>,
    server: Server,
}

/// What an [`EchoApp`] starts from.
#[derive(Clone, Debug, Default)]
pub struct EchoAppBuilder {
    listens: Vec<Listen>,
    overrides: Vec<Override>,
    record: Option<usize>,
}

#[derive(Clone, Debug)]
struct Override {
    path: String,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Header(String, String),
    Status(u16),
    Body(Vec<u8>),
}

struct Core {
    overrides: Vec<Override>,
    recorder: Recorder,
}

impl EchoApp {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn start() -> Self {
        EchoApp::builder()
            .start()
            .expect("a free port on 127.0.0.1")
    }

    /// For everything but the defaults.
    pub fn builder() -> EchoAppBuilder {
        EchoAppBuilder::default()
    }

    /// Its address.
    ///
    /// # Panics
    /// When it listens on unix sockets only.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr().expect("a TCP listener")
    }

    /// The path of its unix socket, if it has one.
    pub fn unix_path(&self) -> Option<&Path> {
        self.server.unix_path()
    }

    /// All places where it listens, with real ports.
    pub fn listens(&self) -> Vec<Listen> {
        self.server.locals().cloned().collect()
    }

    /// The requests received since the start or the last clearing, oldest first: the last 100,000
    /// or what the builder said.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.core.recorder.requests()
    }

    /// How many requests those are, forgotten ones included.
    pub fn request_count(&self) -> usize {
        self.core.recorder.count()
    }

    /// Forgets the requests and counts from 0 again.
    pub fn clear_requests(&self) {
        self.core.recorder.clear();
    }

    /// Waits until [`EchoApp::request_count`] reaches that number; whether it did in time.
    /// A request counts once it is read with its body, before it is answered.
    pub fn wait_for_requests(&self, count: usize, timeout: Duration) -> bool {
        self.core.recorder.wait_for(count, timeout)
    }

    /// How many connections were accepted since the start.
    pub fn connections_accepted(&self) -> usize {
        self.server.accepted()
    }

    /// How many connections are open now.
    pub fn connections_open(&self) -> usize {
        self.server.open()
    }

    /// Closes all connections, idle or not, and goes on listening.
    pub fn close_connections(&self) {
        self.server.close_connections();
    }

    /// Stops listening and closes all connections before it returns.
    pub fn stop(self) {}
}

impl fmt::Debug for EchoApp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EchoApp")
            .field("listens", &self.listens())
            .finish_non_exhaustive()
    }
}

impl EchoAppBuilder {
    /// Adds a place to listen; a free port of 127.0.0.1 if there is none.
    pub fn listen(mut self, listen: impl Into<Listen>) -> Self {
        self.listens.push(listen.into());
        self
    }

    /// Adds a unix socket to listen on.
    pub fn listen_unix(self, path: impl Into<PathBuf>) -> Self {
        self.listen(Listen::Unix(path.into()))
    }

    /// Adds a header to the answers for a path.
    pub fn header(self, path: &str, name: &str, value: &str) -> Self {
        self.on(path, What::Header(name.to_owned(), value.to_owned()))
    }

    /// Sets the status of the answers for a path; the body stays.
    pub fn status(self, path: &str, status: u16) -> Self {
        self.on(path, What::Status(status))
    }

    /// Sets the body of the answers for a path, sent as text/html.
    pub fn body(self, path: &str, body: impl Into<Vec<u8>>) -> Self {
        self.on(path, What::Body(body.into()))
    }

    /// How many requests to remember.
    pub fn record(mut self, limit: usize) -> Self {
        self.record = Some(limit);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> io::Result<EchoApp> {
        if self.listens.is_empty() {
            self.listens
                .push(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into());
        }
        let core = Arc::new(Core {
            overrides: self.overrides,
            recorder: Recorder::new(self.record.unwrap_or(100_000)),
        });
        let server = Server::start(&self.listens, Arc::new(Echoing(Arc::clone(&core))))?;
        Ok(EchoApp { core, server })
    }

    fn on(mut self, path: &str, what: What) -> Self {
        let path = path.to_owned();
        self.overrides.push(Override { path, what });
        self
    }
}

struct Echoing(Arc<Core>);

impl Service for Echoing {
    fn serve(&self, connection: &mut Connection, request: &Request) -> io::Result<Next> {
        if request.expects_continue() {
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = connection.read_body(request)?;
        let (answer, delay) = self.0.answer(request, &body);
        self.0.recorder.add(connection, request, body);
        connection.pause(delay)?;
        connection.answer(request, &answer)
    }
}

impl Core {
    fn answer(&self, request: &Request, body: &BodyDigest) -> (Answer, Duration) {
        let mut answer = match request.path() {
            b"/plain" => Answer::text(200, "ok\n"),
            _ => echo(request, body),
        };
        let mut delay = Duration::ZERO;
        let fields = form_fields(request.query());
        let values = |name: &'static str| {
            let of_name = fields.iter().filter(move |(found, _)| found == name);
            of_name.map(|(_, value)| value.replace(['\r', '\n'], " "))
        };
        match request.path() {
            b"/accel" => {
                for to in values("to") {
                    answer = answer.header("X-Accel-Redirect", to);
                }
            }
            b"/setcookie" => {
                for cookie in values("c") {
                    answer = answer.header("Set-Cookie", cookie);
                }
            }
            b"/slow" => {
                let ms = values("ms").find_map(|ms| ms.parse().ok());
                delay = Duration::from_millis(ms.unwrap_or(1_000));
            }
            path => {
                let status = path
                    .strip_prefix(b"/status/")
                    .and_then(|digits| std::str::from_utf8(digits).ok())
                    .and_then(|digits| digits.parse().ok())
                    .filter(|status| (200..1000).contains(status));
                if let Some(status) = status {
                    answer = Answer::text(status, format!("{status} {}\n", reason(status)));
                }
            }
        }
        for entry in &self.overrides {
            if entry.path.as_bytes() != request.path() {
                continue;
            }
            match &entry.what {
                What::Header(name, value) => answer
                    .headers
                    .push((name.clone().into(), value.clone().into_bytes().into())),
                What::Status(status) => answer.status = *status,
                What::Body(body) => {
                    answer.headers.retain(|(name, _)| name != "Content-Type");
                    answer = answer
                        .header("Content-Type", "text/html; charset=utf-8")
                        .body(body.clone());
                }
            }
        }
        (answer, delay)
    }
}

#[derive(Serialize)]
struct Echo {
    method: String,
    target: String,
    version: String,
    headers: Vec<(String, String)>,
    body_length: u64,
    body_fnv: u64,
}

fn echo(request: &Request, body: &BodyDigest) -> Answer {
    let echo = Echo {
        method: text(request.method()),
        target: text(request.target()),
        version: text(request.version()),
        headers: request
            .headers()
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
        body_length: body.length,
        body_fnv: body.fnv,
    };
    let json = serde_json::to_vec(&echo).expect("text and numbers");
    Answer::new(200)
        .header("Content-Type", "application/json")
        .body(json)
}
