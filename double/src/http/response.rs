//! Answers, and the bytes they become.

use std::borrow::Cow;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

type Text = Cow<'static, str>;
type Bytes = Cow<'static, [u8]>;

/// An answer before it is put into bytes. `Date`, the framing headers and `Connection` are added
/// while that is done.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(Text, Bytes)>,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// With a Content-Length, also when empty.
    Length(Vec<u8>),
    /// Two chunks with an extension each, and trailers.
    Chunked {
        body: Vec<u8>,
        trailers: Vec<(String, String)>,
    },
    /// Ends when the connection does.
    UntilClose(Vec<u8>),
}

impl Answer {
    pub(crate) fn new(status: u16) -> Self {
        Answer {
            status,
            headers: Vec::new(),
            body: Body::Length(Vec::new()),
        }
    }

    pub(crate) fn text(status: u16, text: impl Into<String>) -> Self {
        Answer::new(status)
            .header("Content-Type", "text/plain; charset=utf-8")
            .body(text.into().into_bytes())
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<Text>) -> Self {
        let value = match value.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        self.headers.push((Cow::Borrowed(name), value));
        self
    }

    pub(crate) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = Body::Length(body);
        self
    }

    /// The bytes of the answer: to a HEAD request without its body, and saying that the
    /// connection closes if it does.
    pub(crate) fn render(&self, to_head: bool, closes: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        put(&mut out, format_args!("HTTP/1.1 {} ", self.status));
        out.extend_from_slice(reason(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"Date: ");
        put_date(&mut out, SystemTime::now());
        out.extend_from_slice(b"\r\n");

        // RFC 9110, 8.6 and 15.4.5: these have no body, and say nothing about one.
        let bodiless = matches!(self.status, 100..=199 | 204 | 304);
        match &self.body {
            _ if bodiless => {}
            Body::Length(body) => put(&mut out, format_args!("Content-Length: {}\r\n", body.len())),
            Body::Chunked { .. } => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Body::UntilClose(_) => {}
        }
        if closes {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if bodiless || to_head {
            return out;
        }
        match &self.body {
            Body::Length(body) | Body::UntilClose(body) => out.extend_from_slice(body),
            Body::Chunked { body, trailers } => put_chunks(&mut out, body, trailers),
        }
        out
    }
}

fn put_chunks(out: &mut Vec<u8>, body: &[u8], trailers: &[(String, String)]) {
    let (first, second) = body.split_at(body.len() / 2);
    for chunk in [first, second] {
        if !chunk.is_empty() {
            put(out, format_args!("{:X};double=\"; 0\"\r\n", chunk.len()));
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"0;last\r\n");
    for (name, value) in trailers {
        put(out, format_args!("{name}: {value}\r\n"));
    }
    out.extend_from_slice(b"\r\n");
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes everything");
}

/// The reason phrase, empty for a status nobody has named.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

/// The time as in `Sun, 06 Nov 1994 08:49:37 GMT`.
fn put_date(out: &mut Vec<u8>, time: SystemTime) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);

    // The civil calendar from a day count, with years that begin in March so that the leap day
    // comes last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);

    put(
        out,
        format_args!(
            "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
            DAYS[(days % 7) as usize],
            MONTHS[month as usize],
            second / 3_600,
            second / 60 % 60,
            second % 60,
        ),
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_right() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            let mut out = Vec::new();
            put_date(&mut out, UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn a_chunked_body_has_extensions_and_trailers() {
        let mut out = Vec::new();
        put_chunks(&mut out, b"abc", &[("X-T".to_owned(), "1".to_owned())]);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "1;double=\"; 0\"\r\na\r\n2;double=\"; 0\"\r\nbc\r\n0;last\r\nX-T: 1\r\n\r\n"
        );
    }
}
