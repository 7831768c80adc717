//! `authgear_resolve`, `authgear_set_header` and `authgear_next_upstream`: whom to ask, what, and
//! when to ask another.

use core::ptr::NonNull;

use nginx_sys::{
    ngx_http_upstream_srv_conf_t, ngx_uint_t, NGX_HTTP_UPSTREAM_FT_ERROR,
    NGX_HTTP_UPSTREAM_FT_INVALID_HEADER, NGX_HTTP_UPSTREAM_FT_OFF, NGX_HTTP_UPSTREAM_FT_TIMEOUT,
};

use super::DirectiveError;
use crate::ngx::conf::Conf;
use crate::ngx::pool::Pool;
use crate::ngx::request::Request;
use crate::ngx::upstream::Servers;
use crate::ngx::url::Url;
use crate::ngx::value::Value;

/// The path of Authgear's resolver, for a URL without one.
const DEFAULT_PATH: &[u8] = b"/_resolver/resolve";

/// `authgear_resolve URL`.
pub enum Target {
    /// A URL known at start.
    Fixed {
        /// Its servers.
        group: NonNull<ngx_http_upstream_srv_conf_t>,
        /// Its parts.
        place: Place,
        /// The URL as written.
        text: String,
    },
    /// A URL with variables.
    Variable {
        /// The URL.
        value: Value,
        /// The URL as written.
        text: String,
    },
}

/// The parts of a resolver's URL that a call needs.
#[derive(Clone)]
pub struct Place {
    /// Whether it begins with `https://`.
    pub tls: bool,
    /// The host without the port.
    pub host: Vec<u8>,
    /// The value of the Host header.
    pub host_header: Vec<u8>,
    /// Path and query.
    pub uri: Vec<u8>,
}

impl Place {
    fn new(tls: bool, url: &Url) -> Result<Place, String> {
        let mut uri = url.uri().to_vec();
        match uri.first() {
            None => uri = DEFAULT_PATH.to_vec(),
            Some(b'/') => {}
            Some(_) => uri.insert(0, b'/'),
        }
        if let Some(end) = uri.iter().position(|b| *b == b'#') {
            uri.truncate(end);
        }
        if uri.iter().any(|b| *b <= b' ' || *b == 0x7f) {
            return Err("has a URL with white space or a control character in it".into());
        }
        Ok(Place {
            tls,
            host: url.host().to_vec(),
            host_header: url.host_header(),
            uri,
        })
    }

    /// `http://` or `https://`, for the log.
    pub fn schema(&self) -> &'static [u8] {
        if self.tls {
            b"https://"
        } else {
            b"http://"
        }
    }
}

/// Splits off `http://` or `https://`; returns whether it was the latter, the rest and the port.
fn scheme(url: &[u8]) -> Option<(bool, &[u8], u16)> {
    let starts = |s: &[u8]| url.len() >= s.len() && url[..s.len()].eq_ignore_ascii_case(s);
    if starts(b"http://") {
        Some((false, &url[7..], 80))
    } else if starts(b"https://") {
        Some((true, &url[8..], 443))
    } else {
        None
    }
}

const EXPECTED_URL: &str = "\"http://HOST[:PORT][/PATH]\", \"https://...\", \
     \"http://unix:/PATH:/URI\" or \"off\"";

impl Target {
    /// Reads the directive's parameter.
    pub fn parse(cf: &Conf<'_>, text: &[u8]) -> Result<Target, DirectiveError> {
        let written = String::from_utf8_lossy(text).into_owned();
        if text.contains(&b'$') {
            return Ok(Target::Variable {
                value: Value::compile(cf, text)?,
                text: written,
            });
        }
        let Some((tls, rest, port)) = scheme(text) else {
            return Err(DirectiveError::invalid(text, EXPECTED_URL));
        };
        if tls && !cfg!(ngx_feature = "ssl") {
            return Err(DirectiveError::Other(
                "requires nginx built with SSL for https".into(),
            ));
        }
        if tls {
            return Err(DirectiveError::Other("does not support https yet".into()));
        }
        if rest.is_empty() || matches!(rest[0], b'/' | b'?' | b'#' | b':') {
            return Err(DirectiveError::invalid(text, EXPECTED_URL));
        }
        let (url, group) = Url::add_upstream(cf, rest, port)?;
        let place = Place::new(tls, &url).map_err(DirectiveError::Other)?;
        Ok(Target::Fixed {
            group,
            place,
            text: written,
        })
    }

    /// The group known at start.
    pub fn group(&self) -> Option<NonNull<ngx_http_upstream_srv_conf_t>> {
        match self {
            Target::Fixed { group, .. } => Some(*group),
            Target::Variable { .. } => None,
        }
    }

    /// The URL as written.
    pub fn text(&self) -> &str {
        match self {
            Target::Fixed { text, .. } | Target::Variable { text, .. } => text,
        }
    }

    /// The host known at start, for the log.
    pub fn host(&self) -> &[u8] {
        match self {
            Target::Fixed { place, .. } => &place.host,
            Target::Variable { .. } => b"authgear",
        }
    }

    /// Whom to ask for this request. The error completes "authgear: resolver ...".
    pub fn servers<'r>(&'r self, r: Request<'r>) -> Result<(Servers, &'r Place), String> {
        match self {
            Target::Fixed { group, place, .. } => Ok((Servers::Group(*group), place)),
            Target::Variable { value, .. } => {
                let text = value
                    .evaluate(r)
                    .map_err(|_| "URL can't be evaluated".to_string())?;
                let (tls, rest, port) = scheme(text)
                    .filter(|s| !s.0)
                    .ok_or("URL has no http:// in front")?;
                let url =
                    Url::parse(r.pool(), rest, port).map_err(|e| format!("URL is wrong: {e}"))?;
                let place = Place::new(tls, &url)?;
                let servers = find_servers(r, &url)?;
                let place = r.pool().store(place).map_err(|_| "no memory")?;
                Ok((servers, place))
            }
        }
    }
}

fn find_servers(r: Request<'_>, url: &Url) -> Result<Servers, String> {
    if let Some(group) = crate::ngx::url::find_group(r, url) {
        return Ok(Servers::Group(group));
    }
    if url.is_address() {
        let pool: Pool<'_> = r.pool();
        return Ok(Servers::Resolved(
            url.resolved(pool).map_err(|_| "no memory")?,
        ));
    }
    Err(format!(
        "host \"{}\" is no upstream group",
        String::from_utf8_lossy(url.host())
    ))
}

/// One `authgear_set_header`.
pub struct SetHeader {
    /// The field name as written.
    pub name: Vec<u8>,
    /// Its value; a header with an empty one is not sent.
    pub value: Value,
}

/// Fields that say where a message ends or what the connection is for.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl SetHeader {
    /// Reads the directive's two parameters.
    pub fn parse(cf: &Conf<'_>, name: &[u8], value: &[u8]) -> Result<SetHeader, DirectiveError> {
        let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        if name.is_empty() || !name.iter().all(token) {
            return Err(DirectiveError::invalid(name, "a header field name"));
        }
        if FRAMING
            .iter()
            .any(|f| name.eq_ignore_ascii_case(f.as_bytes()))
        {
            return Err(DirectiveError::Other(format!(
                "can't set \"{}\", which belongs to the connection",
                String::from_utf8_lossy(name)
            )));
        }
        Ok(SetHeader {
            name: name.to_vec(),
            value: Value::compile(cf, value)?,
        })
    }

    /// Whether it sets this field.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// `authgear_next_upstream`.
#[derive(Clone)]
pub struct NextUpstream {
    /// nginx's mask.
    pub mask: ngx_uint_t,
    /// The statuses among the conditions.
    pub statuses: Vec<u16>,
}

impl Default for NextUpstream {
    fn default() -> NextUpstream {
        let mask = NGX_HTTP_UPSTREAM_FT_ERROR | NGX_HTTP_UPSTREAM_FT_TIMEOUT;
        NextUpstream {
            mask: mask as ngx_uint_t,
            statuses: Vec::new(),
        }
    }
}

impl NextUpstream {
    /// Reads the directive's parameters.
    pub fn parse(conditions: &[&[u8]]) -> Result<NextUpstream, DirectiveError> {
        let mut mask = 0;
        let mut statuses = Vec::new();
        for condition in conditions {
            mask |=
                match *condition {
                    b"error" => NGX_HTTP_UPSTREAM_FT_ERROR,
                    b"timeout" => NGX_HTTP_UPSTREAM_FT_TIMEOUT,
                    b"invalid_header" => NGX_HTTP_UPSTREAM_FT_INVALID_HEADER,
                    b"off" if conditions.len() == 1 => NGX_HTTP_UPSTREAM_FT_OFF,
                    other => {
                        statuses.push(match other {
                            b"http_500" => 500,
                            b"http_502" => 502,
                            b"http_503" => 503,
                            b"http_504" => 504,
                            b"http_403" => 403,
                            b"http_404" => 404,
                            b"http_429" => 429,
                            _ => return Err(DirectiveError::invalid(
                                other,
                                "error, timeout, invalid_header, http_500, http_502, http_503, \
                                 http_504, http_403, http_404, http_429 or off alone",
                            )),
                        });
                        // The module reads the status itself and reports it to nginx as unusable.
                        NGX_HTTP_UPSTREAM_FT_INVALID_HEADER
                    }
                };
        }
        Ok(NextUpstream {
            mask: mask as ngx_uint_t,
            statuses,
        })
    }
}
