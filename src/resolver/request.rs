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
    let headers = r.headers_in().map(|h| (h.name(), h.value()));
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

/// Headers of the client that are passed on, all lines of each.
#[derive(Default)]
struct Passed<'r> {
    user_agent: Option<&'r [u8]>,
    forwarded_for: Vec<&'r [u8]>,
    // W3C Trace Context: the resolver's spans join the client's trace.
    trace_parent: Vec<&'r [u8]>,
    trace_state: Vec<&'r [u8]>,
}

impl<'r> Passed<'r> {
    fn find(r: Request<'r>) -> Passed<'r> {
        let mut passed = Passed::default();
        for header in r.headers_in() {
            let is = |name: &str| header.name().eq_ignore_ascii_case(name.as_bytes());
            if is("User-Agent") {
                passed.user_agent.get_or_insert(header.value());
            } else if is("X-Forwarded-For") {
                passed.forwarded_for.push(header.value());
            } else if is("traceparent") {
                passed.trace_parent.push(header.value());
            } else if is("tracestate") {
                passed.trace_state.push(header.value());
            }
        }
        passed
    }
}

/// A request's head under construction.
struct Head<'r> {
    pieces: Vec<&'r [u8]>,
}

impl<'r> Head<'r> {
    /// A header line; `start` is the end of the line before, its name and what follows that.
    fn line(&mut self, start: &'static str, value: &'r [u8]) {
        self.pieces.extend([start.as_bytes(), value]);
    }

    /// A header line of these lines, if there are any, joined by commas.
    fn list(&mut self, start: &'static str, values: impl IntoIterator<Item = &'r [u8]>) {
        for (index, value) in values.into_iter().enumerate() {
            self.line(if index == 0 { start } else { ", " }, value);
        }
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
        pieces: Vec::with_capacity(32),
    };
    head.line("GET ", &place.uri);
    head.line(" HTTP/1.1\r\nHost: ", changes.host(place));
    if matches!(resolver.keepalive, KeepAlive::Off) {
        head.line("\r\nConnection: ", b"close");
    }
    if let Some(authorization) = credentials.authorization() {
        head.line("\r\nAuthorization: ", authorization);
    }
    let before = head.pieces.len();
    head.line("\r\nCookie: ", b"");
    credentials.write_cookie_header(&resolver.cookie_names, &mut |piece| head.pieces.push(piece));
    if head.pieces.len() == before + 2 {
        head.pieces.truncate(before);
    }
    let passed = Passed::find(r);
    let allowed = |name: &str| changes.get(name).is_none();
    if allowed("User-Agent") {
        if let Some(agent) = passed.user_agent {
            head.line("\r\nUser-Agent: ", agent);
        }
    }
    // As $proxy_add_x_forwarded_for.
    if allowed("X-Forwarded-For") {
        let addresses = passed.forwarded_for.into_iter();
        head.list("\r\nX-Forwarded-For: ", addresses.chain([r.remote_addr()]));
    }
    if allowed("X-Forwarded-Proto") {
        let scheme = if r.is_https() { "https" } else { "http" };
        head.line("\r\nX-Forwarded-Proto: ", scheme.as_bytes());
    }
    if allowed("traceparent") {
        head.list("\r\ntraceparent: ", passed.trace_parent);
    }
    if allowed("tracestate") {
        head.list("\r\ntracestate: ", passed.trace_state);
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
        head.line("\r\n", name);
        head.line(": ", value);
    }
    head.pieces.push(b"\r\n\r\n");
    r.pool().concat(&head.pieces)
}
