//! A client that says what it is told and reads an answer by the book.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub struct Client {
    stream: TcpStream,
    unused: Vec<u8>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
    /// Not within a tenth of a second.
    Open,
}

impl Client {
    pub fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("connect");
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).expect("timeout");
        Client {
            stream,
            unused: Vec::new(),
        }
    }

    pub fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    /// A GET with these header lines.
    pub fn get(&mut self, target: &str, lines: &str) -> Response {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        self.response()
    }

    pub fn request(&mut self, method: &str, target: &str, body: &str) -> Response {
        self.send(&format!(
            "{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        self.response()
    }

    /// An answer to anything but HEAD.
    pub fn response(&mut self) -> Response {
        let mut response = self.head();
        response.body = match response.status {
            100..=199 | 204 | 304 => Vec::new(),
            _ => self.body(&response),
        };
        response
    }

    pub fn head(&mut self) -> Response {
        let head = self.until(b"\r\n\r\n");
        let text = String::from_utf8(head).expect("text");
        let mut lines = text.split("\r\n");
        let status = lines.next().expect("a status line");
        assert!(status.starts_with("HTTP/1.1 "), "{status}");
        Response {
            status: status[9..12].parse().expect("a status"),
            headers: lines
                .filter(|line| !line.is_empty())
                .map(|line| {
                    let (name, value) = line.split_once(": ").expect("a header");
                    (name.to_owned(), value.to_owned())
                })
                .collect(),
            body: Vec::new(),
        }
    }

    fn body(&mut self, head: &Response) -> Vec<u8> {
        if head.get("transfer-encoding") == Some("chunked") {
            let mut body = Vec::new();
            loop {
                let line = String::from_utf8(self.until(b"\r\n")).expect("text");
                let digits = line.trim_end().split(';').next().expect("a size");
                let size = usize::from_str_radix(digits, 16).expect("a size");
                if size == 0 {
                    while self.until(b"\r\n") != b"\r\n" {}
                    return body;
                }
                let mut chunk = self.exactly(size + 2);
                chunk.truncate(size);
                body.append(&mut chunk);
            }
        }
        match head.get("content-length") {
            Some(length) => self.exactly(length.parse().expect("a length")),
            None => self.rest().0,
        }
    }

    fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            let found = self.unused.windows(end.len()).position(|part| part == end);
            if let Some(at) = found {
                return self.unused.drain(..at + end.len()).collect();
            }
            assert_ne!(self.fill(), 0, "closed within {:?}", self.unused);
        }
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.unused.len() < length {
            assert_ne!(self.fill(), 0, "closed within {:?}", self.unused);
        }
        self.unused.drain(..length).collect()
    }

    fn fill(&mut self) -> usize {
        let mut piece = [0; 4096];
        let count = self.stream.read(&mut piece).expect("read");
        self.unused.extend_from_slice(&piece[..count]);
        count
    }

    /// What one read returns.
    pub fn piece(&mut self) -> Vec<u8> {
        self.fill();
        std::mem::take(&mut self.unused)
    }

    /// Everything up to the end of the connection, and how that came.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let mut rest = std::mem::take(&mut self.unused);
        let mut piece = [0; 4096];
        let short = Some(Duration::from_millis(100));
        self.stream.set_read_timeout(short).expect("timeout");
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return (rest, End::Closed),
                Ok(count) => rest.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return (rest, End::Reset)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return (rest, End::Open),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn end(&mut self) -> End {
        let (rest, end) = self.rest();
        assert_eq!(String::from_utf8_lossy(&rest), "");
        end
    }
}

impl Response {
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let of_name = |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        let found = self.headers.iter().filter(of_name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The identity headers as `Name: value`, without the common beginning.
    pub fn identity(&self) -> Vec<String> {
        self.headers
            .iter()
            .filter_map(|(name, value)| {
                let name = name.strip_prefix("X-Authgear-")?;
                Some(format!("{name}: {value}"))
            })
            .collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}
