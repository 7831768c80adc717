//! `$authgear_return_url`: this request's URL, for use inside a query parameter.

use std::net::Ipv6Addr;

/// The URL of a request, as the client used it.
///
/// It can only name the server that the request came to: the scheme is `http` or `https`, the host
/// is nothing but a host (and a port), and a path begins right after it. Whatever the client wrote
/// into its request line, `//evil.example`, `@evil.example` or `/\evil.example`, stays a path here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnUrl<'a> {
    scheme: &'a [u8],
    host: &'a [u8],
    uri: &'a [u8],
}

impl<'a> ReturnUrl<'a> {
    /// `scheme` as in `$scheme`, `host` with the port as the client sent it, `uri` as in
    /// `$request_uri`; none when the scheme or the host is not one that a browser can visit.
    #[must_use]
    pub fn new(scheme: &'a [u8], host: &'a [u8], uri: &'a [u8]) -> Option<Self> {
        let valid = matches!(scheme, b"http" | b"https") && is_host_and_port(host);
        valid.then_some(Self { scheme, host, uri })
    }

    /// How many bytes [`encode`](Self::encode) writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.bytes()
            .map(|byte| Encoded::new(byte).as_bytes().len())
            .sum()
    }

    /// Appends the URL with every byte but the unreserved characters (RFC 3986, 2.3)
    /// percent-encoded.
    ///
    /// Controls and spaces, which no URL may contain, are encoded once more, so that what the login
    /// page decodes is a valid URL and cannot split a header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for byte in self.bytes() {
            out.extend_from_slice(Encoded::new(byte).as_bytes());
        }
    }

    /// Writes what [`encode`](Self::encode) would append; false, and no complete URL in `out`, when
    /// that is not exactly [`encoded_len`](Self::encoded_len) long.
    pub fn encode_into(&self, mut out: &mut [u8]) -> bool {
        for byte in self.bytes() {
            let encoded = Encoded::new(byte);
            let Some((place, rest)) = out.split_at_mut_checked(encoded.as_bytes().len()) else {
                return false;
            };
            place.copy_from_slice(encoded.as_bytes());
            out = rest;
        }
        out.is_empty()
    }

    /// The URL before it is encoded.
    fn bytes(&self) -> impl Iterator<Item = u8> + 'a {
        // an absolute-form target without a path leaves a bare query here
        let slash: &[u8] = if self.uri.starts_with(b"/") {
            b""
        } else {
            b"/"
        };
        [self.scheme, b"://", self.host, slash, self.uri]
            .into_iter()
            .flatten()
            .copied()
    }
}

/// One byte of the URL, encoded: itself, `%XX` or `%25XX`.
struct Encoded {
    bytes: [u8; 5],
    len: usize,
}

impl Encoded {
    fn new(byte: u8) -> Self {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let high = HEX[usize::from(byte >> 4)];
        let low = HEX[usize::from(byte & 0xf)];
        let (bytes, len) = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                ([byte, 0, 0, 0, 0], 1)
            }
            0..=b' ' | 0x7f => ([b'%', b'2', b'5', high, low], 5),
            _ => ([b'%', high, low, 0, 0], 3),
        };
        Self { bytes, len }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A host name, an IPv4 address or a bracketed IPv6 address, and maybe a port.
///
/// Narrower than RFC 3986, 3.2.2: no percent-encoding, no sub-delimiters, no user information.
fn is_host_and_port(host: &[u8]) -> bool {
    if let Some(rest) = host.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|&b| b == b']') else {
            return false;
        };
        let address = std::str::from_utf8(&rest[..end]).ok();
        return address.is_some_and(|a| a.parse::<Ipv6Addr>().is_ok())
            && is_port_suffix(&rest[end + 1..]);
    }
    let end = host.iter().position(|&b| b == b':').unwrap_or(host.len());
    let (name, port) = host.split_at(end);
    let in_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !name.is_empty() && name.iter().all(in_name) && is_port_suffix(port)
}

/// Nothing, or a colon and a port number.
fn is_port_suffix(suffix: &[u8]) -> bool {
    match suffix {
        [] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(digits).is_ok_and(|d| d.parse::<u16>().is_ok_and(|p| p > 0))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{percent_decode, percent_encode, AsciiSet, NON_ALPHANUMERIC};
    use proptest::prelude::*;

    use super::*;

    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    const NOT_IN_A_URL: &AsciiSet = &percent_encoding::CONTROLS.add(b' ');

    fn encoded(scheme: &[u8], host: &[u8], uri: &[u8]) -> Option<String> {
        let url = ReturnUrl::new(scheme, host, uri)?;
        let mut out = b"rd=".to_vec();
        url.encode(&mut out);

        let mut exact = vec![0; url.encoded_len()];
        assert!(url.encode_into(&mut exact));
        assert_eq!(out[3..], exact);

        Some(String::from_utf8(exact).unwrap())
    }

    fn decoded(encoded: &str) -> Vec<u8> {
        percent_decode(encoded.as_bytes()).collect()
    }

    #[test]
    fn urls_encoded_for_a_query_parameter() {
        for (scheme, host, uri, expected) in [
            ("https", "app.example", "/", "https%3A%2F%2Fapp.example%2F"),
            (
                "http",
                "app.example:8080",
                "/report?x=1&y=2",
                "http%3A%2F%2Fapp.example%3A8080%2Freport%3Fx%3D1%26y%3D2",
            ),
            (
                "https",
                "app.example",
                "/a%20b+c~d",
                "https%3A%2F%2Fapp.example%2Fa%2520b%2Bc~d",
            ),
            (
                "https",
                "[::1]:8443",
                "/é",
                "https%3A%2F%2F%5B%3A%3A1%5D%3A8443%2F%C3%A9",
            ),
            ("http", "a", "/#b", "http%3A%2F%2Fa%2F%23b"),
            // twice, or the decoded URL would not be one
            ("http", "a", "/b c", "http%3A%2F%2Fa%2Fb%2520c"),
            (
                "http",
                "a",
                "/\r\nx: y",
                "http%3A%2F%2Fa%2F%250D%250Ax%3A%2520y",
            ),
            (
                "http",
                "a",
                "/\0\t\x1f\x7f",
                "http%3A%2F%2Fa%2F%2500%2509%251F%257F",
            ),
        ] {
            let encoded = encoded(scheme.as_bytes(), host.as_bytes(), uri.as_bytes());
            assert_eq!(encoded.as_deref(), Some(expected));
        }
    }

    #[test]
    fn no_target_leads_to_another_server() {
        for (uri, url) in [
            ("//evil.example", "https://app.example//evil.example"),
            ("/\\evil.example", "https://app.example/\\evil.example"),
            ("\\\\evil.example", "https://app.example/\\\\evil.example"),
            ("@evil.example", "https://app.example/@evil.example"),
            (".evil.example", "https://app.example/.evil.example"),
            (":80@evil.example/", "https://app.example/:80@evil.example/"),
            (
                "http://evil.example/",
                "https://app.example/http://evil.example/",
            ),
            ("?x=1", "https://app.example/?x=1"),
            ("*", "https://app.example/*"),
            ("", "https://app.example/"),
            ("\t//evil.example", "https://app.example/%09//evil.example"),
        ] {
            let encoded = encoded(b"https", b"app.example", uri.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(decoded(&encoded)).unwrap(), url);
        }
    }

    #[test]
    fn hosts() {
        for (host, valid) in [
            ("app.example", true),
            ("APP.example", true),
            ("xn--bcher-kva.example", true),
            ("app_1.example.", true),
            ("localhost:8080", true),
            ("app.example:1", true),
            ("app.example:65535", true),
            ("192.0.2.1", true),
            ("192.0.2.1:8080", true),
            ("[2001:db8::1]", true),
            ("[2001:db8::1]:443", true),
            ("[::ffff:192.0.2.1]", true),
            ("", false),
            (":80", false),
            ("app.example:", false),
            ("app.example:0", false),
            ("app.example:65536", false),
            ("app.example:+80", false),
            ("app.example:80:80", false),
            ("app.example:80@evil.example", false),
            ("user@evil.example", false),
            ("app.example/evil", false),
            ("app.example\\evil", false),
            ("app.example?evil", false),
            ("app.example#evil", false),
            ("app.example%2eevil", false),
            ("app.example evil", false),
            ("app.example\r\n", false),
            ("app.example\0", false),
            ("app.example,evil.example", false),
            ("bücher.example", false),
            ("2001:db8::1", false),
            ("[::1", false),
            ("[]", false),
            ("[::1]evil", false),
            ("[::1]:", false),
            ("[evil.example]", false),
            ("[fe80::1%25eth0]", false),
        ] {
            let url = ReturnUrl::new(b"https", host.as_bytes(), b"/");
            assert_eq!(url.is_some(), valid, "{host:?}");
        }
    }

    #[test]
    fn only_schemes_of_the_web() {
        for scheme in ["", "HTTP", "javascript", "ftp", "https:", "ws"] {
            assert_eq!(
                ReturnUrl::new(scheme.as_bytes(), b"app.example", b"/"),
                None
            );
        }
    }

    #[test]
    fn a_target_of_64_kilobytes() {
        let uri = [&b"/"[..], &[b'/'; 65_535]].concat();
        let encoded = encoded(b"http", b"a", &uri).unwrap();
        assert_eq!(encoded.len(), "http%3A%2F%2Fa".len() + 3 * 65_536);
    }

    #[test]
    fn a_buffer_of_another_size_is_refused() {
        let url = ReturnUrl::new(b"http", b"a", b"/").unwrap();
        let len = url.encoded_len();
        for (size, fits) in [(0, false), (len - 1, false), (len, true), (len + 1, false)] {
            assert_eq!(url.encode_into(&mut vec![0; size]), fits);
        }
    }

    proptest! {
        #[test]
        fn encodes_as_the_percent_encoding_crate_does(
            uri in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut url = b"https://app.example:8443".to_vec();
            if uri.first() != Some(&b'/') {
                url.push(b'/');
            }
            url.extend(uri.iter().flat_map(|&b| match b {
                0x80.. => vec![b],
                _ => percent_encode(&[b], NOT_IN_A_URL).to_string().into_bytes(),
            }));
            let expected = percent_encode(&url, RESERVED).to_string();
            let encoded = encoded(b"https", b"app.example:8443", &uri).unwrap();
            prop_assert_eq!(&encoded, &expected);
            prop_assert_eq!(decoded(&encoded), url);
        }

        #[test]
        fn whatever_the_request_the_url_is_this_servers(
            scheme: Vec<u8>, host: Vec<u8>, uri: Vec<u8>,
        ) {
            prop_assert!(encoded(&scheme, b"app.example", &uri).is_none());
            if let Some(url) = encoded(b"https", &host, &uri) {
                let expected = [b"https://", &host[..], b"/"].concat();
                prop_assert!(decoded(&url).starts_with(&expected));
            }
        }

        #[test]
        fn any_visible_host_is_kept_whole_or_refused(host in "[!-~]{0,20}") {
            if let Some(url) = encoded(b"https", host.as_bytes(), b"/") {
                prop_assert_eq!(decoded(&url), format!("https://{host}/").into_bytes());
                prop_assert!(!host.contains(['/', '\\', '@', '?', '#', '%']));
            }
        }
    }
}
