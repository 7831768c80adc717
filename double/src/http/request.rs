//! A request head, kept as the bytes that came in, with the parts found in it.

use std::ops::Range;

/// A parsed request head. Lenient: what is wrong with it is asked with [`Request::complaint`].
pub(crate) struct Request {
    pub(crate) head: Vec<u8>,
    method: Range<usize>,
    target: Range<usize>,
    version: Range<usize>,
    headers: Vec<Line>,
}

struct Line {
    name: Range<usize>,
    value: Range<usize>,
    colon: bool,
}

/// How the body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

impl Request {
    /// Takes a head up to and including the empty line.
    pub(crate) fn parse(head: Vec<u8>) -> Self {
        let mut lines = lines(&head);
        let first = lines.next().unwrap_or(0..0);
        let (method, rest) = cut(&head, first, b' ');
        let (target, version) = cut(&head, rest.unwrap_or(0..0), b' ');
        let headers = lines
            .take_while(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = cut(&head, line, b':');
                Line {
                    name,
                    colon: value.is_some(),
                    value: trim(&head, value.unwrap_or(0..0)),
                }
            })
            .collect();
        let version = version.unwrap_or(0..0);
        Request {
            method,
            target,
            version,
            headers,
            head,
        }
    }

    pub(crate) fn method(&self) -> &[u8] {
        &self.head[self.method.clone()]
    }

    pub(crate) fn target(&self) -> &[u8] {
        &self.head[self.target.clone()]
    }

    pub(crate) fn version(&self) -> &[u8] {
        &self.head[self.version.clone()]
    }

    pub(crate) fn path(&self) -> &[u8] {
        let target = self.target();
        let end = target.iter().position(|&byte| byte == b'?');
        &target[..end.unwrap_or(target.len())]
    }

    pub(crate) fn query(&self) -> &[u8] {
        let target = self.target();
        match target.iter().position(|&byte| byte == b'?') {
            Some(mark) => &target[mark + 1..],
            None => b"",
        }
    }

    /// Name and value of every header line, in order, as received.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter().map(|line| {
            let name = &self.head[line.name.clone()];
            (name, &self.head[line.value.clone()])
        })
    }

    /// The values of all lines of that name.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The value of the first line of that name.
    pub(crate) fn value<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    pub(crate) fn keeps_alive(&self) -> bool {
        match self.version() {
            b"HTTP/1.0" => self.lists("connection", "keep-alive"),
            _ => !self.lists("connection", "close"),
        }
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method() == b"HEAD"
    }

    pub(crate) fn expects_continue(&self) -> bool {
        self.version() != b"HTTP/1.0" && self.lists("expect", "100-continue")
    }

    /// `Err` when the two ways to say it contradict each other or make no sense.
    pub(crate) fn framing(&self) -> Result<Framing, &'static str> {
        let mut lengths = self.values("content-length");
        let length = lengths.next();
        if lengths.any(|other| Some(other) != length) {
            return Err("two different Content-Length");
        }
        match (self.value("transfer-encoding"), length) {
            (None, None) => Ok(Framing::None),
            (None, Some(digits)) => std::str::from_utf8(digits)
                .ok()
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .map(Framing::Length)
                .ok_or("malformed Content-Length"),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            (Some(_), None) => Err("unsupported Transfer-Encoding"),
            (Some(_), Some(_)) => Err("both Transfer-Encoding and Content-Length"),
        }
    }

    /// What Go's server would answer 400 for.
    pub(crate) fn complaint(&self) -> Option<&'static str> {
        if !is_token(self.method()) {
            return Some("malformed method");
        }
        if !matches!(self.version(), b"HTTP/1.1" | b"HTTP/1.0") {
            return Some("malformed HTTP version");
        }
        if self.target().is_empty() || self.target().iter().any(|&byte| byte <= b' ') {
            return Some("malformed target");
        }
        for line in &self.headers {
            if !line.colon || !is_token(&self.head[line.name.clone()]) {
                return Some("malformed header name");
            }
            if self.head[line.value.clone()].iter().any(is_control) {
                return Some("malformed header value");
            }
        }
        match self.values("host").count() {
            0 if self.version() == b"HTTP/1.1" => Some("missing required Host header"),
            0 | 1 => None,
            _ => Some("too many Host headers"),
        }
    }
}

/// A control character that may not stand in a header's value.
fn is_control(byte: &u8) -> bool {
    (*byte < b' ' && *byte != b'\t') || *byte == 0x7f
}

/// Whether the bytes are an HTTP token (RFC 9110, 5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn lines(head: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = &head[start..];
        let length = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line = start..start + length;
        start = line.end + 2;
        Some(line)
    })
}

fn cut(bytes: &[u8], range: Range<usize>, at: u8) -> (Range<usize>, Option<Range<usize>>) {
    match bytes[range.clone()].iter().position(|&byte| byte == at) {
        Some(offset) => {
            let mark = range.start + offset;
            (range.start..mark, Some(mark + 1..range.end))
        }
        None => (range, None),
    }
}

fn trim(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let text = &bytes[range.clone()];
    let left = text.iter().take_while(|byte| blank(byte)).count();
    let text = &text[left..];
    let right = text.iter().rev().take_while(|byte| blank(byte)).count();
    range.start + left..range.end - right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        Request::parse(text.as_bytes().to_vec())
    }

    #[test]
    fn parts_are_found() {
        let request = request("GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-A:  1 \t\r\nx-a:\r\n\r\n");
        assert_eq!(request.method(), b"GET");
        assert_eq!(request.path(), b"/a");
        assert_eq!(request.query(), b"b=c");
        assert_eq!(
            request.values("X-A").collect::<Vec<_>>(),
            [b"1".as_slice(), b""]
        );
        assert_eq!(request.complaint(), None);
        assert!(request.keeps_alive());
    }

    #[test]
    fn what_go_refuses_is_a_complaint() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nbad name: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \u{1}\r\n\r\n",
            "GET /\r\nHost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(request(head).complaint().is_some(), "{head:?}");
        }
    }

    #[test]
    fn keepalive_depends_on_version_and_connection() {
        for (head, keeps) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: a, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ] {
            assert_eq!(request(head).keeps_alive(), keeps, "{head:?}");
        }
    }

    #[test]
    fn framing_is_unambiguous() {
        let framing = |lines: &str| request(&format!("POST / HTTP/1.1\r\n{lines}\r\n")).framing();
        assert_eq!(framing(""), Ok(Framing::None));
        assert_eq!(framing("Content-Length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(
            framing("Transfer-Encoding: Chunked\r\n"),
            Ok(Framing::Chunked)
        );
        for lines in [
            "Content-Length: +1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
        ] {
            assert!(framing(lines).is_err(), "{lines:?}");
        }
    }
}
