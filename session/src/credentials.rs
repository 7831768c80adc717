//! The bearer token and the cookies of a request, read as Authgear reads them.
//!
//! Authgear reads cookies with `Request.Cookie` of Go's `net/http` (`readCookies` and
//! `parseCookieValue` in `src/net/http/cookie.go`; here as of Go 1.27.3), through
//! `pkg/util/httputil/cookie.go`, and the token with `parseAuthorizationHeader` in
//! `pkg/lib/oauth/resolver.go`. To read anything else would mean that the key of a cached answer
//! and the answer speak of different credentials.
//!
//! Nothing here allocates: all results are parts of the header lines.

use std::fmt;

use memchr::memchr_iter;
use thiserror::Error;

/// One of the cookies in which Authgear looks for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CookieKind {
    /// `app_session`
    AppSession,
    /// `app_access_token`
    AppAccessToken,
    /// `session`
    Session,
}

impl CookieKind {
    /// All of them, in the order in which Authgear tries them.
    pub const ALL: [CookieKind; 3] = [
        CookieKind::AppSession,
        CookieKind::AppAccessToken,
        CookieKind::Session,
    ];

    /// The name without a prefix.
    fn suffix(self) -> &'static [u8] {
        match self {
            CookieKind::AppSession => b"app_session",
            CookieKind::AppAccessToken => b"app_access_token",
            CookieKind::Session => b"session",
        }
    }
}

/// A cookie prefix with a character that no cookie's name has (RFC 6265, 4.1.1: an HTTP token).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("may only contain letters, digits and any of !#$%&'*+-.^_`|~")]
pub struct InvalidCookiePrefix;

/// The full names of Authgear's cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    names: [Box<[u8]>; 3],
    prefix_len: usize,
}

impl CookieNames {
    /// The names behind this prefix, which is Authgear's `http.cookie_prefix` and may be empty.
    pub fn new(prefix: &[u8]) -> Result<CookieNames, InvalidCookiePrefix> {
        if !prefix.iter().copied().all(is_token_byte) {
            return Err(InvalidCookiePrefix);
        }
        Ok(CookieNames {
            names: CookieKind::ALL.map(|kind| [prefix, kind.suffix()].concat().into()),
            prefix_len: prefix.len(),
        })
    }

    /// The full name of a cookie.
    pub fn name(&self, kind: CookieKind) -> &[u8] {
        &self.names[kind as usize]
    }

    /// Whether this is exactly the name of one of Authgear's cookies.
    ///
    /// Case counts: `Session` is another cookie, for browsers as for Go.
    pub fn is_authgear_cookie(&self, name: &[u8]) -> bool {
        self.kind(name).is_some()
    }

    fn kind(&self, name: &[u8]) -> Option<CookieKind> {
        CookieKind::ALL
            .into_iter()
            .find(|&kind| self.name(kind) == name)
    }

    /// Which of Authgear's cookies this part of a `Cookie` line is, and its value. No name has a `=`.
    fn cookie<'a>(&self, part: &'a [u8]) -> Option<(CookieKind, &'a [u8])> {
        // Most cookies are told apart by one byte.
        let kinds: &[CookieKind] = match part.get(self.prefix_len)? {
            b'a' => &[CookieKind::AppSession, CookieKind::AppAccessToken],
            b's' => &[CookieKind::Session],
            _ => return None,
        };
        kinds.iter().find_map(
            |&kind| match trim_start(part.strip_prefix(self.name(kind))?) {
                [] => Some((kind, [].as_slice())),
                [b'=', value @ ..] => Some((kind, value)),
                _ => None,
            },
        )
    }
}

/// A header that carries credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CredentialHeader {
    /// `Cookie`
    Cookie = 1,
    /// `Authorization`
    Authorization,
}

impl CredentialHeader {
    /// The one of this name, whatever its case.
    #[inline(always)]
    pub fn of(name: &[u8]) -> Option<CredentialHeader> {
        // Of letters only: each is told by all its bits but the one for its case.
        let is = |expected: &[u8]| name.iter().zip(expected).all(|(a, b)| a | 0x20 == *b);
        match name.len() {
            6 if is(b"cookie") => Some(CredentialHeader::Cookie),
            13 if is(b"authorization") => Some(CredentialHeader::Authorization),
            _ => None,
        }
    }
}

/// The most parts that all `Cookie` lines may have together before Go reads none of them (its
/// default since 1.25.2 and 1.24.8).
const MAX_COOKIES: usize = 3000;

/// What a request offers as proof of a session.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    authorization: Option<&'a [u8]>,
    cookies: [Option<CookieValue<'a>>; 3],
}

impl<'a> Credentials<'a> {
    /// Reads the header lines of a request, name and value each, in the order received.
    ///
    /// Only the first `Authorization` counts (`Header.Get`), and all `Cookie` lines.
    pub fn read(
        names: &CookieNames,
        headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Credentials<'a> {
        let mut credentials = Credentials::default();
        let mut cookies_seen = 0;
        for (name, value) in headers {
            match CredentialHeader::of(name) {
                Some(CredentialHeader::Cookie) => {
                    cookies_seen += credentials.read_cookies(names, value);
                }
                Some(CredentialHeader::Authorization) => {
                    credentials.authorization.get_or_insert(value);
                }
                None => {}
            }
        }
        if cookies_seen > MAX_COOKIES {
            credentials.cookies = Default::default();
        }
        credentials
    }

    /// Reads one `Cookie` line and returns how many parts it has.
    ///
    /// Go splits at `;` only, trims each part, cuts it at the first `=` and trims the name; a part
    /// without `=` has the value "". The first acceptable value of a name wins. That the name is a
    /// token needs no check, since it must equal one that is.
    fn read_cookies(&mut self, names: &CookieNames, line: &'a [u8]) -> usize {
        let (mut parts, mut start) = (0, 0);
        for end in memchr_iter(b';', line).chain([line.len()]) {
            let part = trim_start(&line[start..end]);
            start = end + 1;
            parts += 1;
            let Some((kind, value)) = names.cookie(part) else {
                continue;
            };
            let cookie = &mut self.cookies[kind as usize];
            if cookie.is_none() {
                *cookie = CookieValue::parse(trim_end(value));
            }
        }
        parts
    }

    /// No bearer token and none of the cookies: the answer is known to be "no session".
    ///
    /// An empty cookie counts as one, since Authgear answers it differently.
    pub fn is_empty(&self) -> bool {
        self.bearer().is_none() && self.cookies.iter().all(Option::is_none)
    }

    /// The first `Authorization` value as received, of whatever scheme.
    pub fn authorization(&self) -> Option<&'a [u8]> {
        self.authorization
    }

    /// The bearer token.
    ///
    /// Authgear splits the value at its first space and takes the rest verbatim, so a second space
    /// belongs to the token; the scheme's case does not matter. Go's server has trimmed the value
    /// by then, so `Bearer` with nothing but spaces behind it has no second part, and no token;
    /// neither has `Bearer` followed by a tab.
    pub fn bearer(&self) -> Option<&'a [u8]> {
        let (scheme, token) = cut(trim(self.authorization?), b' ')?;
        scheme.eq_ignore_ascii_case(b"bearer").then_some(token)
    }

    /// The cookie's value as Go reads it: one pair of surrounding quotes is not part of it.
    pub fn cookie(&self, kind: CookieKind) -> Option<&'a [u8]> {
        self.cookies[kind as usize].map(CookieValue::unquoted)
    }

    /// The rebuilt `Cookie` header's value, given to `out` piece by piece.
    ///
    /// It carries Authgear's cookies only, each once, and Go reads the same values from it again.
    /// `names` must be those of [`read`](Credentials::read).
    pub fn write_cookie_header(&self, names: &'a CookieNames, out: &mut dyn FnMut(&'a [u8])) {
        let mut separator: &[u8] = b"";
        for kind in CookieKind::ALL {
            let Some(value) = self.cookies[kind as usize] else {
                continue;
            };
            out(separator);
            out(names.name(kind));
            out(b"=");
            value.write(out);
            separator = b"; ";
        }
    }

    /// The session's id: the part of the `session` cookie before the first `.`, if there is one.
    ///
    /// The cookie is `<session id>.<secret>` (`pkg/lib/session/idpsession/token.go`). The id is the
    /// client's claim until the resolver has accepted the cookie. A cookie without a dot, or with
    /// nothing before it, has no id.
    pub fn session_id(&self) -> Option<&'a [u8]> {
        let (id, _secret) = cut(self.cookie(CookieKind::Session)?, b'.')?;
        (!id.is_empty()).then_some(id)
    }
}

/// Tells what there is, never a value.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = f.debug_set();
        if self.bearer().is_some() {
            set.entry(&"Bearer");
        }
        for kind in CookieKind::ALL {
            if self.cookie(kind).is_some() {
                set.entry(&kind);
            }
        }
        set.finish()
    }
}

/// A value that Go accepts, still with the quotes in which it came.
#[derive(Clone, Copy)]
struct CookieValue<'a>(&'a [u8]);

impl<'a> CookieValue<'a> {
    /// `parseCookieValue`: takes one pair of quotes off, then allows no byte outside 0x20-0x7e and
    /// none of `"`, `;` and `\`.
    fn parse(raw: &'a [u8]) -> Option<CookieValue<'a>> {
        let value = CookieValue(raw);
        // All bytes are looked at, which the compiler turns into many at once.
        let bad = |byte: u8| !(b' '..=b'~').contains(&byte) | matches!(byte, b'"' | b';' | b'\\');
        let bytes = value.unquoted().iter();
        let bad = bytes.fold(0, |found, &byte| found | u8::from(bad(byte)));
        (bad == 0).then_some(value)
    }

    fn unquoted(self) -> &'a [u8] {
        match self.0 {
            [b'"', inner @ .., b'"'] => inner,
            bare => bare,
        }
    }

    /// A bare value that begins with a space would survive Go's reader, but hardly everything
    /// between here and there: it is sent in quotes, which change nothing.
    fn write(self, out: &mut dyn FnMut(&'a [u8])) {
        let padded = self.0.first() == Some(&b' ') || self.0.last() == Some(&b' ');
        let quote: &[u8] = if padded { b"\"" } else { b"" };
        out(quote);
        out(self.0);
        out(quote);
    }
}

/// `strings.Cut`, but `None` if the separator is not there.
fn cut(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == separator)?;
    Some((&text[..at], &text[at + 1..]))
}

/// `textproto.TrimString`: Unicode's and the other ASCII spaces stay. CR and LF are Go's, and
/// never get this far.
fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = text {
        text = rest;
    }
    text
}

/// RFC 9110, 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_prefix() -> CookieNames {
        CookieNames::new(b"").unwrap()
    }

    fn read<'a>(headers: &[(&'a str, &'a str)]) -> Credentials<'a> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        Credentials::read(&no_prefix(), headers)
    }

    #[test]
    fn names_carry_the_prefix() {
        let names = CookieNames::new(b"my-app.").unwrap();
        assert_eq!(names.name(CookieKind::AppSession), b"my-app.app_session");
        assert_eq!(
            names.name(CookieKind::AppAccessToken),
            b"my-app.app_access_token"
        );
        assert_eq!(names.name(CookieKind::Session), b"my-app.session");
        assert!(names.is_authgear_cookie(b"my-app.session"));
        for name in ["session", "My-app.session", "my-app.sessio", "my-app.", ""] {
            assert!(!names.is_authgear_cookie(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn kinds_are_indexed_by_their_place_in_all() {
        for (index, kind) in CookieKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn a_prefix_is_made_of_token_characters() {
        for prefix in ["", "a", "__Host-", "!#$%&'*+-.^_`|~09azAZ"] {
            assert!(CookieNames::new(prefix.as_bytes()).is_ok(), "{prefix}");
        }
        for prefix in [
            " ", "a b", "a=", "a;", "a,", "\"", "a\t", "\0", "\u{7f}", "\u{e9}", "a/b", "(",
        ] {
            assert_eq!(
                CookieNames::new(prefix.as_bytes()),
                Err(InvalidCookiePrefix),
                "{prefix}"
            );
        }
    }

    #[test]
    fn bearer_tokens_are_split_as_authgear_splits_them() {
        let table: &[(&str, Option<&str>)] = &[
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER abc", Some("abc")),
            ("bEaReR eyJ.a.b", Some("eyJ.a.b")),
            // the first space splits, the rest is verbatim
            ("Bearer  abc", Some(" abc")),
            ("Bearer a b", Some("a b")),
            ("Bearer a, Bearer b", Some("a, Bearer b")),
            ("Bearer \tabc", Some("\tabc")),
            ("Bearer \"abc\"", Some("\"abc\"")),
            // Go's server trims the value
            ("Bearer abc ", Some("abc")),
            ("\tBearer abc\t", Some("abc")),
            (" Bearer abc", Some("abc")),
            // no token
            ("", None),
            (" ", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer   ", None),
            ("Bearer \t", None),
            ("Bearer\tabc", None),
            ("Bearer:abc", None),
            ("Bearerabc", None),
            ("abc", None),
            // other schemes
            ("Basic YTpi", None),
            ("DPoP abc", None),
            ("Bearers abc", None),
            ("Token Bearer abc", None),
            ("\u{212c}earer abc", None),
        ];
        for (value, token) in table {
            let credentials = read(&[("Authorization", value)]);
            assert_eq!(
                credentials.bearer(),
                token.map(str::as_bytes),
                "{}",
                value.escape_debug()
            );
            assert_eq!(credentials.authorization(), Some(value.as_bytes()));
            assert_eq!(credentials.is_empty(), token.is_none());
        }
    }

    #[test]
    fn only_the_first_authorization_counts() {
        for first in ["Basic YTpi", "", "Bearer"] {
            let credentials = read(&[
                ("X-Authorization", "Bearer x"),
                ("authorization", first),
                ("Authorization", "Bearer abc"),
            ]);
            assert_eq!(credentials.authorization(), Some(first.as_bytes()));
            assert_eq!(credentials.bearer(), None);
        }
    }

    #[test]
    fn header_names_have_no_case_and_no_aliases() {
        let credentials = read(&[("COOKIE", "session=a"), ("AUTHORIZATION", "Bearer b")]);
        assert_eq!(credentials.cookie(CookieKind::Session), Some(&b"a"[..]));
        assert_eq!(credentials.bearer(), Some(&b"b"[..]));
        let others = [
            ("Cookie2", "session=a"),
            ("Set-Cookie", "session=a"),
            ("Proxy-Authorization", "Bearer b"),
            ("", "session=a"),
        ];
        assert!(read(&others).is_empty());
        assert_eq!(read(&others).authorization(), None);
    }

    #[test]
    fn a_request_is_empty_without_anything_that_authgear_reads() {
        assert!(Credentials::default().is_empty());
        assert!(read(&[]).is_empty());
        assert!(read(&[("Cookie", "Session=a; other=b")]).is_empty());
        assert!(read(&[("Cookie", "session=\\")]).is_empty());
        for cookie in [
            "session=a",
            "app_session=a",
            "app_access_token=a",
            "session=",
        ] {
            assert!(!read(&[("Cookie", cookie)]).is_empty(), "{cookie}");
        }
    }

    #[test]
    fn the_session_id_is_what_precedes_the_first_dot() {
        let table: &[(&str, Option<&str>)] = &[
            ("session=id.secret", Some("id")),
            ("session=\"id.secret\"", Some("id")),
            ("session=id.sec.ret", Some("id")),
            ("session=id.", Some("id")),
            ("session=secret", None),
            ("session=.secret", None),
            ("session=", None),
            ("app_session=id.secret", None),
        ];
        for (cookie, id) in table {
            let credentials = read(&[("Cookie", cookie)]);
            assert_eq!(credentials.session_id(), id.map(str::as_bytes), "{cookie}");
        }
    }

    #[test]
    fn no_credential_is_shown() {
        let credentials = read(&[
            ("Authorization", "Bearer secret"),
            ("Cookie", "session=id.secret; app_session=secret"),
        ]);
        assert_eq!(
            format!("{credentials:?}"),
            r#"{"Bearer", AppSession, Session}"#
        );
    }
}
