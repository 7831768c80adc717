//! A DNS server whose answers a test changes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// Answers for every name alike, over UDP on 127.0.0.1.
#[derive(Debug)]
pub struct Dns {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    says: Says,
    questions: Vec<String>,
    stopped: bool,
}

/// What the server says.
#[derive(Clone, Debug)]
pub enum Says {
    /// Those of these addresses that are of the kind asked for, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// Nothing.
    Silence,
    /// A response code: 2 is a failure of the server, 3 means that there is no such name.
    Code(u8),
}

/// Type and class of a question for IPv4 addresses.
const A: [u8; 4] = [0, 1, 0, 1];
/// The same for IPv6 addresses.
const AAAA: [u8; 4] = [0, 28, 0, 1];

impl Dns {
    /// Starts one.
    pub fn saying(says: Says) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP port");
        let addr = socket.local_addr().expect("address");
        let state = Arc::new(Mutex::new(State {
            says,
            questions: Vec::new(),
            stopped: false,
        }));
        std::thread::spawn({
            let state = Arc::clone(&state);
            move || serve(&socket, &state)
        });
        Self { addr, state }
    }

    /// Starts one that knows a single address.
    pub fn knowing(address: IpAddr, ttl: u32) -> Self {
        Self::saying(Says::Addresses(vec![address], ttl))
    }

    /// Changes what it says.
    pub fn say(&self, says: Says) {
        self.state.lock().expect("state").says = says;
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The names asked for so far, for IPv4 addresses.
    pub fn questions(&self) -> Vec<String> {
        self.state.lock().expect("state").questions.clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.state.lock().expect("state").stopped = true;
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP port");
        let _ = socket.send_to(&[], self.addr);
    }
}

fn serve(socket: &UdpSocket, state: &Mutex<State>) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query) {
        let mut state = state.lock().expect("state");
        if state.stopped {
            return;
        }
        let Some(question) = query[..length].get(12..) else {
            continue;
        };
        if question.ends_with(&A) {
            state.questions.push(name(question));
        }
        if let Some(response) = respond(&query[..2], question, &state.says) {
            let _ = socket.send_to(&response, from);
        }
    }
}

/// The labels of a question, joined by dots.
fn name(question: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut rest = question;
    while let Some((length @ 1.., after)) = rest.split_first() {
        let (label, after) = after.split_at(usize::from(*length).min(after.len()));
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = after;
    }
    labels.join(".")
}

fn respond(id: &[u8], question: &[u8], says: &Says) -> Option<Vec<u8>> {
    let (code, addresses, ttl): (u8, &[IpAddr], u32) = match says {
        Says::Silence => return None,
        Says::Code(code) => (*code, &[], 0),
        Says::Addresses(addresses, ttl) => (0, addresses, *ttl),
    };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| record(address, question, ttl))
        .collect();
    let mut response = id.to_vec();
    // A response to a query with recursion desired, recursion available.
    response.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    response.extend(question);
    response.extend(records.concat());
    Some(response)
}

/// The record of an address, if it is one that the question is for.
fn record(address: &IpAddr, question: &[u8], ttl: u32) -> Option<Vec<u8>> {
    let (kind, data) = match address {
        IpAddr::V4(ip) => (A, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AAAA, ip.octets().to_vec()),
    };
    if !question.ends_with(&kind) {
        return None;
    }
    // The name is that of the question, at offset 12.
    let mut record = vec![0xc0, 12];
    record.extend(kind);
    record.extend(ttl.to_be_bytes());
    record.extend((data.len() as u16).to_be_bytes());
    record.extend(data);
    Some(record)
}
