//! An HTTP/1.1 client that shows each byte it sends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::{deadline, Request, Response};

/// One connection.
#[derive(Debug)]
pub struct Http1 {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Http1 {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("connect to nginx");
        stream.set_nodelay(true).expect("nodelay");
        stream
            .set_read_timeout(Some(deadline()))
            .expect("read timeout");
        stream
            .set_write_timeout(Some(deadline()))
            .expect("write timeout");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends a request and reads its response; the connection stays usable.
    pub fn request(&mut self, request: Request) -> Response {
        let response = self.try_request(&request);
        response.unwrap_or_else(|e| panic!("no response to {request:?}: {e}"))
    }

    /// The same, of a server that may go away.
    pub fn try_request(&mut self, request: &Request) -> io::Result<Response> {
        let mut wire = request.head();
        wire.extend(request.wire_body());
        // A refusal may come, and the connection close, before the body is out.
        let sent = self.stream.write_all(&wire);
        let response = self.read_response_to(&request.method);
        response.map_err(|e| io::Error::new(e.kind(), format!("{e} (sent: {sent:?})")))
    }

    /// Sends these bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("send");
    }

    /// The same, to a server that may go away.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Reads the response to anything but a HEAD request.
    pub fn read_response(&mut self) -> Response {
        self.read_response_to("GET").expect("response")
    }

    /// Reads an interim response, such as `100 Continue`.
    pub fn read_interim(&mut self) -> u16 {
        self.read_head().expect("interim response").status
    }

    /// Reads the response to a request with this method.
    pub fn read_response_to(&mut self, method: &str) -> io::Result<Response> {
        let mut interim = Vec::new();
        let mut response = loop {
            let head = self.read_head()?;
            if head.status >= 200 || head.status == 101 {
                break head;
            }
            interim.push(head.status);
        };
        response.interim = interim;
        response.body = self.read_body(method, &response)?;
        Ok(response)
    }

    /// Reads this many bytes, of whatever protocol.
    pub fn read_bytes(&mut self, length: usize) -> Vec<u8> {
        self.take(length).expect("bytes")
    }

    /// Whether the peer ends the connection, and sends nothing more before it does.
    pub fn is_closed(&mut self) -> bool {
        let read = self.stream.read(&mut [0; 1]);
        let ended = match read {
            Ok(length) => length == 0,
            Err(e) => e.kind() == ErrorKind::ConnectionReset,
        };
        self.buffer.is_empty() && ended
    }

    /// Whether nothing arrives for this time.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("timeout");
        let read = self.stream.peek(&mut [0; 1]);
        self.stream
            .set_read_timeout(Some(deadline()))
            .expect("timeout");
        matches!(read, Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Closes the sending side only.
    pub fn finish_sending(&mut self) {
        self.stream
            .shutdown(std::net::Shutdown::Write)
            .expect("shutdown");
    }

    /// Leaves with a TCP reset, as a browser that is killed.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket
            .set_linger(Some(Duration::ZERO))
            .expect("linger of zero");
    }

    fn read_head(&mut self) -> io::Result<Response> {
        let end = loop {
            match self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.fill()?,
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let text: String = head.iter().copied().map(char::from).collect();
        let mut lines = text.trim_end().split("\r\n");

        let status_line = lines.next().unwrap_or_default();
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| invalid(format!("status line {status_line:?}")))?;
        let headers = lines
            .map(|line| {
                line.split_once(':')
                    .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                    .ok_or_else(|| invalid(format!("header line {line:?}")))
            })
            .collect::<io::Result<_>>()?;
        Ok(Response {
            status,
            headers,
            ..Response::default()
        })
    }

    fn read_body(&mut self, method: &str, head: &Response) -> io::Result<Vec<u8>> {
        if method == "HEAD" || matches!(head.status, 101 | 204 | 304) {
            return Ok(Vec::new());
        }
        if head.header("Transfer-Encoding") == Some("chunked") {
            return self.read_chunks();
        }
        match head.header("Content-Length") {
            Some(length) => {
                let length = length.parse().map_err(|_| invalid(length.to_owned()))?;
                self.take(length)
            }
            None => {
                self.stream.read_to_end(&mut self.buffer)?;
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.take_line()?;
            let digits = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits.trim(), 16)
                .map_err(|_| invalid(format!("chunk size {line:?}")))?;
            if size == 0 {
                while !self.take_line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            self.take_line()?;
        }
    }

    fn take_line(&mut self) -> io::Result<String> {
        let end = loop {
            match self.buffer.windows(2).position(|w| w == b"\r\n") {
                Some(end) => break end,
                None => self.fill()?,
            }
        };
        let line = self.take(end + 2)?;
        Ok(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece)? {
            0 => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("closed after {:?}", String::from_utf8_lossy(&self.buffer)),
            )),
            n => {
                self.buffer.extend_from_slice(&piece[..n]);
                Ok(())
            }
        }
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
