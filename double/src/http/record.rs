//! What was asked, kept for tests to look at.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Connection, Request};

/// Of a body, this much is kept.
const KEPT_BODY: usize = 64 * 1024;

/// A request as it was received, recorded before it is answered.
///
/// Text that is not UTF-8 is read as ISO-8859-1; `head` has the bytes themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedRequest {
    /// Which connection of the server it came on, counted from 1.
    pub connection: u64,
    /// Which request of that connection it was, counted from 1.
    pub nth: u64,
    /// The method, for example `GET`.
    pub method: String,
    /// The request target, for example `/_resolver/resolve?x=1`.
    pub target: String,
    /// The version, for example `HTTP/1.1`.
    pub version: String,
    /// Name and value of each header line, in order, as spelled.
    pub headers: Vec<(String, String)>,
    /// How many bytes of body came.
    pub body_length: u64,
    /// FNV-1a (64 bits) of the body, as [`fnv1a`] computes it.
    pub body_fnv: u64,
    /// The body's first 64 KiB.
    #[serde(skip)]
    pub body: Vec<u8>,
    /// The head, from the request line to the empty line, byte for byte.
    #[serde(skip)]
    pub head: Vec<u8>,
}

impl RecordedRequest {
    /// The first value of that header, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    /// Every value of that header, whatever its case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// FNV-1a, 64 bits.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    let mut digest = BodyDigest::default();
    digest.update(bytes);
    digest.fnv
}

/// What is remembered of a body.
#[derive(Clone)]
pub(crate) struct BodyDigest {
    pub(crate) length: u64,
    pub(crate) fnv: u64,
    pub(crate) start: Vec<u8>,
}

impl Default for BodyDigest {
    fn default() -> Self {
        BodyDigest {
            length: 0,
            fnv: 0xcbf2_9ce4_8422_2325,
            start: Vec::new(),
        }
    }
}

impl BodyDigest {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        for &byte in bytes {
            self.fnv = (self.fnv ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let room = KEPT_BODY.saturating_sub(self.start.len());
        self.start
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

struct Record {
    connection: u64,
    nth: u64,
    head: Vec<u8>,
    body: BodyDigest,
}

/// Keeps the last requests and counts all of them.
pub(crate) struct Recorder {
    limit: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    kept: VecDeque<Record>,
    count: usize,
    waiting: usize,
}

impl Recorder {
    pub(crate) fn new(limit: usize) -> Self {
        Recorder {
            limit,
            state: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with it")
    }

    pub(crate) fn add(&self, connection: &Connection, request: &Request, body: BodyDigest) {
        let record = (self.limit > 0).then(|| Record {
            connection: connection.id,
            nth: connection.nth,
            head: request.head.clone(),
            body,
        });
        let mut state = self.state();
        state.count += 1;
        if let Some(record) = record {
            if state.kept.len() == self.limit {
                state.kept.pop_front();
            }
            state.kept.push_back(record);
        }
        if state.waiting > 0 {
            self.arrived.notify_all();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.state().count
    }

    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.kept.clear();
        state.count = 0;
    }

    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.state().kept.iter().map(Record::read).collect()
    }

    /// Whether that many came before the time was over.
    pub(crate) fn wait_for(&self, count: usize, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        state.waiting += 1;
        while state.count < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.arrived.wait_timeout(state, left);
            state = waited.expect("no thread panics with it").0;
        }
        state.waiting -= 1;
        state.count >= count
    }
}

impl Record {
    fn read(&self) -> RecordedRequest {
        let request = Request::parse(self.head.clone());
        RecordedRequest {
            connection: self.connection,
            nth: self.nth,
            method: text(request.method()),
            target: text(request.target()),
            version: text(request.version()),
            headers: request
                .headers()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            body_length: self.body.length,
            body_fnv: self.body.fnv,
            body: self.body.start.clone(),
            head: request.head,
        }
    }
}

/// Bytes as text: UTF-8, else ISO-8859-1.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}
