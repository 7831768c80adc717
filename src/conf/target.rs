//! `authgear_resolve`: whom to ask.

use core::ptr::NonNull;
use std::time::Duration;

use nginx_sys::ngx_http_upstream_srv_conf_t;

use super::{DirectiveError, MainConf, Resolver};
use crate::ngx::conf::{Conf, Line};
use crate::ngx::dns;
use crate::ngx::request::Request;
use crate::ngx::tls;
use crate::ngx::upstream::Servers;
use crate::ngx::url::{self, Url};
use crate::ngx::value::Value;

/// The path of Authgear's resolver, for a URL without one.
const DEFAULT_PATH: &[u8] = b"/_resolver/resolve";

const EXPECTED_URL: &str = "\"http://HOST[:PORT][/PATH]\", \"https://...\", \
     \"http://unix:/PATH:/URI\" or \"off\"";

/// `authgear_resolve URL`.
pub struct Target {
    kind: Kind,
    /// The URL as written.
    text: String,
    /// Where it is written.
    pub line: Line,
}

enum Kind {
    /// A URL known at start.
    Fixed {
        place: Place,
        /// The URL from the host on.
        url: Vec<u8>,
        default_port: u16,
    },
    /// A URL with variables.
    Variable { url: Value, may_be_tls: bool },
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
    is_unix: bool,
    is_address: bool,
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
        let host_header = url.host_header();
        if uri
            .iter()
            .chain(&host_header)
            .any(|b| *b <= b' ' || *b == 0x7f)
        {
            return Err("has a URL with white space or a control character in it".into());
        }
        Ok(Place {
            tls,
            host: url.host().to_vec(),
            host_header,
            uri,
            is_unix: url.is_unix(),
            is_address: url.is_address(),
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

    /// The name that a certificate is checked for.
    pub fn tls_name(&self) -> &[u8] {
        if self.is_unix {
            b"localhost"
        } else {
            &self.host
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

/// Where a location finds the servers of its target.
#[derive(Clone, Copy)]
pub enum Source {
    /// A group, or the addresses that a name had at start.
    Group(NonNull<ngx_http_upstream_srv_conf_t>),
    /// The DNS, at run time.
    Dns { port: u16 },
    /// The URL tells it anew for each request.
    Evaluated,
}

impl Target {
    /// Reads the directive's parameter.
    pub fn parse(cf: &Conf<'_>, text: &[u8]) -> Result<Target, DirectiveError> {
        let scheme = scheme(text);
        if scheme.is_some_and(|(tls, ..)| tls) && !tls::AVAILABLE {
            return Err(DirectiveError::Other(
                "requires nginx built with SSL for https".into(),
            ));
        }
        let kind = if text.contains(&b'$') {
            if scheme.is_none() && text[0] != b'$' {
                return Err(DirectiveError::invalid(text, EXPECTED_URL));
            }
            Kind::Variable {
                url: Value::compile(cf, text)?,
                may_be_tls: scheme.is_none_or(|(tls, ..)| tls),
            }
        } else {
            let (tls, rest, default_port) =
                scheme.ok_or_else(|| DirectiveError::invalid(text, EXPECTED_URL))?;
            if rest.is_empty() || matches!(rest[0], b'/' | b'?' | b'#' | b':') {
                return Err(DirectiveError::invalid(text, EXPECTED_URL));
            }
            let url = Url::parse(cf.pool(), rest, default_port).map_err(|error| {
                let text = String::from_utf8_lossy(text);
                DirectiveError::Other(format!("has the wrong URL \"{text}\": {error}"))
            })?;
            Kind::Fixed {
                place: Place::new(tls, &url).map_err(DirectiveError::Other)?,
                url: rest.to_vec(),
                default_port,
            }
        };
        Ok(Target {
            kind,
            text: String::from_utf8_lossy(text).into_owned(),
            line: cf.line(),
        })
    }

    /// The URL as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the URL has variables.
    pub fn has_variables(&self) -> bool {
        matches!(self.kind, Kind::Variable { .. })
    }

    /// Whether the URL is `https://`, or may come to be.
    pub fn may_be_tls(&self) -> bool {
        match &self.kind {
            Kind::Fixed { place, .. } => place.tls,
            Kind::Variable { may_be_tls, .. } => *may_be_tls,
        }
    }

    /// The parts of a URL known at start.
    pub fn place(&self) -> Option<&Place> {
        match &self.kind {
            Kind::Fixed { place, .. } => Some(place),
            Kind::Variable { .. } => None,
        }
    }

    /// The host known at start, for the log.
    pub fn host(&self) -> &[u8] {
        self.place().map_or(b"authgear", |place| &place.host)
    }

    /// How long finding the servers may take in the location being merged.
    pub fn longest_look_up(&self, cf: &Conf<'_>) -> Duration {
        let known = match &self.kind {
            Kind::Fixed { place, .. } => place.is_address || url::is_group(cf, &place.host),
            Kind::Variable { .. } => false,
        };
        match !known && dns::in_force_while_merging(cf) {
            true => dns::longest_look_up(cf),
            false => Duration::ZERO,
        }
    }

    /// Where the location being merged finds the servers. Only now is it known which groups there
    /// are and whether a `resolver` is in force; only if none is must a name be known at start.
    pub fn source(&self, cf: &Conf<'_>) -> Result<Source, DirectiveError> {
        let Kind::Fixed {
            url, default_port, ..
        } = &self.kind
        else {
            return Ok(Source::Evaluated);
        };
        let text = cf.pool().copy(url)?;
        let parsed = Url::parse(cf.pool(), text, *default_port).map_err(DirectiveError::Other)?;
        if !parsed.is_address()
            && !url::is_group(cf, parsed.host())
            && dns::in_force_while_merging(cf)
        {
            return Ok(Source::Dns {
                port: parsed.port(),
            });
        }
        Ok(Source::Group(url::add_upstream(cf, text, *default_port)?))
    }
}

impl Resolver {
    /// Whom to ask for this request. The error completes "authgear: resolver ...".
    pub fn servers<'r>(&'r self, r: Request<'r>) -> Result<(Servers, &'r Place), String> {
        let by_name = |host, port| {
            Servers::Name(dns::Question {
                names: NonNull::from(&MainConf::of(r).names),
                host,
                port,
            })
        };
        let value = match (&self.target.kind, self.source) {
            (Kind::Fixed { place, .. }, Source::Group(group)) => {
                return Ok((Servers::Group(group), place))
            }
            (Kind::Fixed { place, .. }, Source::Dns { port }) => {
                return Ok((by_name(&raw const *place.host, port), place))
            }
            (Kind::Variable { url, .. }, _) => url,
            (Kind::Fixed { .. }, Source::Evaluated) => return Err("has no servers".into()),
        };

        let text = value
            .evaluate(r)
            .map_err(|_| "URL can't be evaluated".to_string())?;
        let (tls, rest, port) =
            scheme(text).ok_or("URL has neither http:// nor https:// in front")?;
        let url = Url::parse(r.pool(), rest, port).map_err(|e| format!("URL is wrong: {e}"))?;
        let place = r
            .pool()
            .store(Place::new(tls, &url)?)
            .map_err(|_| "no memory")?;
        let place: &Place = place;
        let dns = dns::in_force(r);
        let servers = if let Some(group) = url::find_group(r, &url, dns) {
            Servers::Group(group)
        } else if url.is_address() {
            Servers::Resolved(url.resolved(r.pool()).map_err(|_| "no memory")?)
        } else if dns {
            by_name(&raw const *place.host, url.port())
        } else {
            return Err(format!(
                "host \"{}\" is no upstream group, and no \"resolver\" is defined to look it up",
                String::from_utf8_lossy(url.host())
            ));
        };
        Ok((servers, place))
    }
}
