//! `authgear_set_header` and `authgear_next_upstream`: what to ask, and when to ask another.

use nginx_sys::{
    ngx_uint_t, NGX_HTTP_UPSTREAM_FT_ERROR, NGX_HTTP_UPSTREAM_FT_INVALID_HEADER,
    NGX_HTTP_UPSTREAM_FT_OFF, NGX_HTTP_UPSTREAM_FT_TIMEOUT,
};

use super::DirectiveError;
use crate::ngx::conf::Conf;
use crate::ngx::value::Value;

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
