//! Log-outs that pass through: when a response sets or clears one of Authgear's cookies, what the
//! cache knows of the request's session is out of date.

use authgear_session::credentials::Credentials;
use authgear_session::key::session_tag;

use super::context::Context;
use crate::conf::LocationConf;
use crate::ngx::request::Request;

/// Looks at a response whose header is about to be sent.
pub fn watch(r: Request<'_>) {
    let conf = LocationConf::of(r);
    let Some(cache) = conf.cache().filter(|cache| cache.watch) else {
        return;
    };
    let Some(names) = conf.cookie_names() else {
        return;
    };
    let mut cookies = r.headers_out().filter(|(_, header)| {
        header.name().eq_ignore_ascii_case(b"set-cookie")
            && names.is_authgear_cookie(cookie_name(header.value()))
    });
    if !cookies.any(|(cookie, _)| !is_relayed(r, cookie)) {
        return;
    }
    let headers = r.main().headers_in().map(|h| (h.name(), h.value()));
    let credentials = Credentials::read(names, headers);
    if credentials.is_empty() {
        return;
    }
    let removed = cache.zone.purge_session(session_tag(&credentials));
    r.log().debug(format_args!(
        "authgear: a session cookie was set, removed {removed} entries"
    ));
}

/// The name in a Set-Cookie value.
fn cookie_name(value: &[u8]) -> &[u8] {
    value
        .split(|b| matches!(b, b'=' | b';'))
        .next()
        .unwrap_or_default()
        .trim_ascii()
}

/// Whether the resolver's answer has brought this header: it says nothing new.
fn is_relayed(r: Request<'_>, cookie: crate::ngx::request::HeaderOut) -> bool {
    Context::peek(r).is_some_and(|context| context.relayed.contains(&cookie))
}
