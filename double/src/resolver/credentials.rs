//! What Authgear reads from a request: a second opinion, written from Go's rules and shared with
//! nobody.

use crate::http::Request;

/// The bearer token, if there is a non-empty one.
pub(super) fn bearer(request: &Request) -> Option<&[u8]> {
    let value = request.value("authorization")?;
    let space = value.iter().position(|&byte| byte == b' ')?;
    let (scheme, token) = (&value[..space], &value[space + 1..]);
    (scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()).then_some(token)
}

/// The first cookie of that name whose value Go accepts.
pub(super) fn cookie<'a>(request: &'a Request, name: &str) -> Option<&'a [u8]> {
    request
        .values("cookie")
        .flat_map(|line| line.split(|&byte| byte == b';'))
        .map(trim)
        .filter_map(|part| {
            let mark = part.iter().position(|&byte| byte == b'=');
            let (found, value) = match mark {
                Some(mark) => (&part[..mark], &part[mark + 1..]),
                None => (part, &b""[..]),
            };
            // No check that it is a token: the name asked for is one.
            (trim(found) == name.as_bytes()).then_some(value)
        })
        .find_map(unquote)
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn unquote(value: &[u8]) -> Option<&[u8]> {
    let value = match value {
        [b'"', inner @ .., b'"'] => inner,
        plain => plain,
    };
    let allowed = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b';' | b'\\');
    value.iter().all(allowed).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &str) -> Request {
        Request::parse(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes())
    }

    #[test]
    fn cookies_are_read_as_go_reads_them() {
        for (line, expected) in [
            ("", None),
            ("session", Some("")),
            ("session=", Some("")),
            ("session=a", Some("a")),
            ("session=a; session=b", Some("a")),
            ("a=1;session=b;c=2", Some("b")),
            (" \t session=a \t ;x", Some("a")),
            ("session =a", Some("a")),
            ("session= a", Some(" a")),
            ("session=a b", Some("a b")),
            ("session=a=b", Some("a=b")),
            ("session=a,session=b", Some("a,session=b")),
            ("a=1, session=b", None),
            ("Session=a", None),
            ("SESSION=a; session=b", Some("b")),
            ("xsession=a", None),
            ("session2=a", None),
            ("session=\"a\"", Some("a")),
            ("session=\"\"", Some("")),
            ("session=\"", None),
            ("session=\"a", None),
            ("session=a\"", None),
            ("session=\"\"a\"\"", None),
            ("session=a\\b", None),
            ("session=a\\b; session=c", Some("c")),
            ("session=\"a; session=b", Some("b")),
            ("session=\u{e9}", None),
            ("session=\u{e9}; session=c", Some("c")),
            ("session=\u{7f}", None),
            ("session=a\tb", None),
            (";;; session=a;;", Some("a")),
            ("=session; session=a", Some("a")),
            ("=", None),
            ("$Version=1; session=a", Some("a")),
            ("session=%61", Some("%61")),
        ] {
            let request = request(&format!("Cookie: {line}\r\n"));
            let found = cookie(&request, "session");
            assert_eq!(found, expected.map(str::as_bytes), "{line:?}");
        }
    }

    #[test]
    fn every_cookie_line_is_read_in_order() {
        let request = request("Cookie: a=1\r\ncookie: session=\\\r\nCOOKIE: session=b; a=2\r\n");
        assert_eq!(cookie(&request, "session"), Some(&b"b"[..]));
        assert_eq!(cookie(&request, "a"), Some(&b"1"[..]));
        assert_eq!(cookie(&request, "prefix_session"), None);
    }

    #[test]
    fn authorization_is_split_at_the_first_space() {
        for (lines, expected) in [
            ("", None),
            ("Authorization: Bearer a\r\n", Some("a")),
            ("authorization: bEARER a\r\n", Some("a")),
            ("Authorization: Bearer  a\r\n", Some(" a")),
            ("Authorization: Bearer a b\r\n", Some("a b")),
            ("Authorization: Bearer\ta\r\n", None),
            ("Authorization: Bearer\r\n", None),
            ("Authorization: Bearer \r\n", None),
            ("Authorization: Basic a\r\n", None),
            (
                "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
                Some("a"),
            ),
            (
                "Authorization: Basic a\r\nAuthorization: Bearer b\r\n",
                None,
            ),
        ] {
            let request = request(lines);
            assert_eq!(bearer(&request), expected.map(str::as_bytes), "{lines:?}");
        }
    }
}
