//! Credentials of arbitrary header lines, as Go reads them, and what the resolver is sent instead.

use authgear_session::credentials::{CookieKind, CookieNames, Credentials};
use authgear_session::key::{cache_key, session_tag, Hosts};

use crate::go;

const NAMES: [(CookieKind, &str); 3] = [
    (CookieKind::AppSession, "app_session"),
    (CookieKind::AppAccessToken, "app_access_token"),
    (CookieKind::Session, "session"),
];

/// The first line is the prefix, the others are headers: `C` a cookie's, `A` authorization.
pub fn run(input: &[u8]) {
    let mut lines = input.split(|&byte| byte == b'\n');
    let prefix = lines.next().unwrap_or_default();
    let Ok(names) = CookieNames::new(prefix) else {
        let is_token = |b: &u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(b);
        assert!(!prefix.iter().all(is_token));
        return;
    };
    let prefix = String::from_utf8_lossy(prefix).into_owned();
    let headers: Vec<(&[u8], &[u8])> = lines
        .filter_map(|line| match line.split_first()? {
            (b'C', value) => Some((&b"cookie"[..], value)),
            (b'c', value) => Some((&b"COOKIE"[..], value)),
            (b'A', value) => Some((&b"Authorization"[..], value)),
            (_, value) => Some((&b"x-cookie"[..], value)),
        })
        .collect();
    let of = |name: &[u8]| -> Vec<&[u8]> {
        let of_name = headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| *value).collect()
    };

    let credentials = Credentials::read(&names, headers.iter().copied());
    let cookie_lines = of(b"cookie");
    for (kind, name) in NAMES {
        let expected = go::cookie(&cookie_lines, &format!("{prefix}{name}"));
        assert_eq!(credentials.cookie(kind), expected.as_deref());
    }
    let authorization = of(b"authorization").first().copied();
    assert_eq!(credentials.authorization(), authorization);
    assert_eq!(
        credentials.bearer(),
        authorization.and_then(go::bearer).as_deref()
    );

    // What is sent on holds the same, and nothing else.
    let mut sent = Vec::new();
    credentials.write_cookie_header(&names, &mut |piece| sent.extend_from_slice(piece));
    assert!(sent.iter().all(|byte| matches!(byte, b' '..=b'~')));
    let pairs = go::pairs(&[&sent]);
    let found = NAMES.map(|(kind, _)| credentials.cookie(kind));
    let count = found.iter().flatten().count();
    assert_eq!(if sent.is_empty() { 0 } else { pairs.len() }, count);
    for (kind, name) in NAMES {
        let again = go::cookie(&[&sent], &format!("{prefix}{name}"));
        assert_eq!(again.as_deref(), credentials.cookie(kind));
    }

    // Who is asked about the same credentials has the same key, and nobody else.
    let again = [(&b"Cookie"[..], &sent[..])];
    let authorization = authorization.map(|value| (&b"authorization"[..], value));
    let again = Credentials::read(&names, again.into_iter().chain(authorization));
    let key = |credentials| cache_key(b"u", Hosts::default(), credentials);
    assert_eq!(key(&credentials), key(&again));
    assert_eq!(session_tag(&credentials), session_tag(&again));
    let nobody = Credentials::default();
    assert_eq!(key(&credentials) == key(&nobody), credentials.is_empty());
    let _ = format!("{credentials:?}");
    let _ = authgear_session::jwt::jwt_expiry(credentials.bearer().unwrap_or_default());
}
