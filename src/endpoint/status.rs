//! `authgear_status`: the counters, for people and for monitoring.

use authgear_metrics::negotiate;
use nginx_sys::{ngx_int_t, NGX_HTTP_GET, NGX_HTTP_HEAD};

use super::{method_not_allowed, TEXT};
use crate::conf::MainConf;
use crate::ngx::pool::NoMemory;
use crate::ngx::request::{HeaderName, Request};

static CACHE_CONTROL: HeaderName = HeaderName::spelled("Cache-Control", "cache-control");
static VARY: HeaderName = HeaderName::spelled("Vary", "vary");

/// Handles a request to the endpoint.
pub fn status(r: Request<'_>) -> Result<ngx_int_t, NoMemory> {
    if !matches!(r.method(), NGX_HTTP_GET | NGX_HTTP_HEAD) {
        return method_not_allowed(r, "GET, HEAD");
    }
    let format = r
        .args()
        .split(|b| *b == b'&')
        .find_map(|arg| arg.strip_prefix(b"format="));
    let Some(format) = negotiate(r.joined_header_in("Accept")?, format) else {
        return r.send(
            400,
            TEXT,
            b"expected ?format=json, prometheus or openmetrics\n",
        );
    };
    let main = MainConf::of(r);
    let Some(snapshot) = main.counters.snapshot(&main.zones) else {
        return Ok(500);
    };
    r.push_header_out(&CACHE_CONTROL, b"no-store")?;
    r.push_header_out(&VARY, b"Accept")?;
    r.send(
        200,
        format.content_type(),
        snapshot.render(format).as_bytes(),
    )
}
