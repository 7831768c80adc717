//! The request to the resolver, built from an allow-list: nothing else of the client's request
//! reaches it.

use authgear_session::credentials::Credentials;
use nginx_sys::NGX_HTTP_OPTIONS;

use crate::conf::{KeepAlive, Place, Resolver, SetHeader};
use crate::ngx::pool::NoMemory;
use crate::ngx::request::Request;

use super::Failure;

/// The client's headers that `authgear_set_header` may replace for the purpose of reading
/// credentials.
const CREDENTIAL_HEADERS: [&str; 2] = ["Authorization", "Cookie"];

/// `authgear_set_header` as evaluated for one request.
pub struct Changes<'r> {
    headers: Vec<(&'r [u8], &'r [u8])>,
}

impl<'r> Changes<'r> {
    /// Evaluates the location's changes.
    pub fn evaluate(r: Request<'r>, set_headers: &'r [SetHeader]) -> Result<Changes<'r>, Failure> {
        let mut headers = Vec::with_capacity(set_headers.len());
        for header in set_headers {
            let value = header.value.evaluate(r).map_err(|_| Failure::NoMemory)?;
            if value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
                let name = String::from_utf8_lossy(&header.name).into_owned();
                return Err(Failure::HeaderValue(name));
            }
            headers.push((header.name.as_slice(), value));
        }
        Ok(Changes { headers })
    }

    /// The Host that is sent.
    pub fn host(&self, place: &'r Place) -> &'r [u8] {
        self.get("Host")
            .filter(|h| !h.is_empty())
            .unwrap_or(&place.host_header)
    }

    /// The new value of a header; an empty one removes it.
    pub fn get(&self, name: &str) -> Option<&'r [u8]> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| *value)
    }
}

/// The credentials that the resolver will see: the client's, except where a header that carries
/// them is set by the configuration.
pub fn credentials<'r>(
    r: Request<'r>,
    resolver: &Resolver,
    changes: &Changes<'r>,
) -> Credentials<'r> {
    let headers = r.headers_in().map(|h| (h.name, h.value));
    if changes.headers.is_empty() {
        return Credentials::read(&resolver.cookie_names, headers);
    }
    let set = CREDENTIAL_HEADERS
        .iter()
        .filter_map(|name| changes.get(name).map(|value| (name.as_bytes(), value)))
        .filter(|(_, value)| !value.is_empty());
    let received = headers.filter(|(name, _)| {
        !CREDENTIAL_HEADERS
            .iter()
            .any(|c| name.eq_ignore_ascii_case(c.as_bytes()) && changes.get(c).is_some())
    });
    Credentials::read(&resolver.cookie_names, set.chain(received))
}

/// Whether this is a CORS preflight, which carries no credentials by design (Fetch, section 3.2).
pub fn is_preflight(r: Request<'_>) -> bool {
    r.method() == NGX_HTTP_OPTIONS
        && r.header_in("Origin").is_some()
        && r.header_in("Access-Control-Request-Method").is_some()
}

/// Whether the client has sent a bearer token, whatever the location makes of it.
pub fn has_bearer(r: Request<'_>) -> bool {
    r.header_in("Authorization")
        .and_then(|value| value.get(..7))
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
}

/// Header lines under construction.
struct Head<'r> {
    pieces: Vec<&'r [u8]>,
}

impl<'r> Head<'r> {
    fn line(&mut self, name: &'r [u8], value: &'r [u8]) {
        self.pieces.extend([name, b": ".as_slice(), value, b"\r\n"]);
    }
}

/// The whole request, in the request's pool.
pub fn build<'r>(
    r: Request<'r>,
    resolver: &'r Resolver,
    place: &'r Place,
    credentials: &Credentials<'r>,
    changes: &Changes<'r>,
) -> Result<&'r [u8], NoMemory> {
    let mut head = Head {
        pieces: Vec::with_capacity(48),
    };
    head.pieces
        .extend([b"GET ".as_slice(), &place.uri, b" HTTP/1.1\r\n"]);

    head.line(b"Host", changes.host(place));
    if matches!(resolver.keepalive, KeepAlive::Off) {
        head.line(b"Connection", b"close");
    }
    if let Some(authorization) = credentials.authorization() {
        head.line(b"Authorization", authorization);
    }
    let len = credentials.cookie_header_len(&resolver.cookie_names);
    if len > 0 {
        let cookie = r.pool().bytes(len)?;
        let mut at = 0;
        credentials.write_cookie_header(&resolver.cookie_names, &mut |piece| {
            cookie[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        });
        head.line(b"Cookie", cookie);
    }
    let allowed = |name: &str| changes.get(name).is_none();
    if allowed("User-Agent") {
        if let Some(agent) = r.header_in("User-Agent") {
            head.line(b"User-Agent", agent);
        }
    }
    if allowed("X-Forwarded-For") {
        head.line(b"X-Forwarded-For", forwarded_for(r)?);
    }
    if allowed("X-Forwarded-Proto") {
        head.line(
            b"X-Forwarded-Proto",
            if r.is_https() { b"https" } else { b"http" },
        );
    }
    // W3C Trace Context: the resolver's spans join the client's trace.
    for name in ["traceparent", "tracestate"] {
        if allowed(name) {
            if let Some(value) = r.joined_header_in(name)? {
                head.line(name.as_bytes(), value);
            }
        }
    }
    for (name, value) in &changes.headers {
        let written = ["Host", "Authorization", "Cookie"];
        if value.is_empty()
            || written
                .iter()
                .any(|w| name.eq_ignore_ascii_case(w.as_bytes()))
        {
            continue;
        }
        head.line(name, value);
    }
    head.pieces.push(b"\r\n");
    r.pool().concat(&head.pieces)
}

/// The client's X-Forwarded-For headers and its address, as `$proxy_add_x_forwarded_for`.
fn forwarded_for<'r>(r: Request<'r>) -> Result<&'r [u8], NoMemory> {
    let mut pieces: Vec<&[u8]> = Vec::new();
    for header in r.headers_in() {
        if header.name.eq_ignore_ascii_case(b"x-forwarded-for") {
            pieces.extend([header.value, b", "]);
        }
    }
    if pieces.is_empty() {
        return Ok(r.remote_addr());
    }
    pieces.push(r.remote_addr());
    r.pool().concat(&pieces)
}
