//! One accepted connection: what came in and was not used yet, and how more of it is read.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::request::Framing;
use super::{Answer, BodyDigest, Next, Request, Stream};

/// More than this without an end of the head, a chunk line or a pause is refused.
const LIMIT: usize = 1024 * 1024;

pub(crate) struct Connection {
    pub(crate) id: u64,
    /// Requests read so far.
    pub(crate) nth: u64,
    stream: Arc<Stream>,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    pub(crate) fn new(id: u64, stream: Arc<Stream>) -> Self {
        Connection {
            id,
            nth: 0,
            stream,
            bytes: vec![0; 16 * 1024],
            start: 0,
            end: 0,
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Answers in one write, and closes if the client asked for that.
    pub(crate) fn answer(&self, request: &Request, answer: &Answer) -> io::Result<Next> {
        let keeps = request.keeps_alive();
        self.send(&answer.render(request.is_head(), !keeps))?;
        Ok(if keeps { Next::Keep } else { Next::Close })
    }

    pub(crate) fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    /// The next request, or none when the peer has closed.
    pub(crate) fn read_request(&mut self) -> io::Result<Option<Request>> {
        let mut seen = 0;
        loop {
            let unused = &self.bytes[self.start..self.end];
            let from = seen.min(unused.len());
            if let Some(at) = find(&unused[from..], b"\r\n\r\n") {
                let head = unused[..from + at + 4].to_vec();
                self.start += head.len();
                self.nth += 1;
                return Ok(Some(Request::parse(head)));
            }
            // The end may be split over two reads.
            seen = unused.len().saturating_sub(3);
            if self.fill()? == 0 {
                return if self.start == self.end {
                    Ok(None)
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Reads the request's body and keeps what there is to remember of it.
    pub(crate) fn read_body(&mut self, request: &Request) -> io::Result<BodyDigest> {
        let mut body = BodyDigest::default();
        self.pour_body(request, |piece| body.update(piece))?;
        Ok(body)
    }

    pub(crate) fn read_whole_body(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.pour_body(request, |piece| body.extend_from_slice(piece))?;
        Ok(body)
    }

    fn pour_body(&mut self, request: &Request, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        match request.framing().map_err(invalid)? {
            Framing::None => {}
            Framing::Length(length) => self.take(length, sink)?,
            Framing::Chunked => loop {
                let size = self.read_chunk_size()?;
                if size == 0 {
                    while !self.read_line()?.is_empty() {}
                    break;
                }
                self.take(size, &mut sink)?;
                if !self.read_line()?.is_empty() {
                    return Err(invalid("chunk longer than its size"));
                }
            },
        }
        Ok(())
    }

    fn read_chunk_size(&mut self) -> io::Result<u64> {
        let line = self.read_line()?;
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
        std::str::from_utf8(digits.trim_ascii_end())
            .ok()
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or_else(|| invalid("malformed chunk size"))
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let unused = &self.bytes[self.start..self.end];
            if let Some(at) = find(unused, b"\r\n") {
                let line = unused[..at].to_vec();
                self.start += at + 2;
                return Ok(line);
            }
            self.fill_some()?;
        }
    }

    fn take(&mut self, mut length: u64, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        while length > 0 {
            if self.start == self.end {
                self.fill_some()?;
            }
            let unused = &self.bytes[self.start..self.end];
            let most = usize::try_from(length).unwrap_or(usize::MAX);
            let piece = &unused[..unused.len().min(most)];
            sink(piece);
            length -= piece.len() as u64;
            self.start += piece.len();
        }
        Ok(())
    }

    /// Does nothing for that long; an error when the peer or the server leaves meanwhile.
    ///
    /// A peer that has only closed its sending side counts as gone too.
    pub(crate) fn pause(&mut self, time: Duration) -> io::Result<()> {
        // A read's timeout is rounded up to the kernel's tick, a sleep is not.
        const SHORT: Duration = Duration::from_millis(20);
        if time <= SHORT {
            if !time.is_zero() {
                thread::sleep(time);
            }
            return Ok(());
        }
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.fill_some() {
                Ok(()) => {}
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.stream.set_read_timeout(None)
    }

    /// Keeps the connection open and mute until the peer or the server leaves.
    pub(crate) fn hang(&mut self) {
        loop {
            self.start = self.end;
            if !matches!(self.fill(), Ok(1..)) {
                return;
            }
        }
    }

    fn fill_some(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else if self.bytes.len() < LIMIT {
                self.bytes.resize(self.bytes.len() * 2, 0);
            } else {
                return Err(invalid("too large"));
            }
        }
        let count = self.stream.read(&mut self.bytes[self.end..])?;
        self.end += count;
        Ok(count)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|found| found == what)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
