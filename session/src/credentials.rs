//! The bearer token and the cookies of a request, read as Authgear reads them.

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
}

/// `authgear_cookie_prefix` cannot be the beginning of a cookie's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("may only contain characters that are allowed in a cookie's name")]
pub struct InvalidCookiePrefix;

/// The full names of Authgear's cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    names: [Box<[u8]>; 3],
}

impl CookieNames {
    /// The names behind this prefix, which is Authgear's `http.cookie_prefix`.
    pub fn new(prefix: &[u8]) -> Result<CookieNames, InvalidCookiePrefix> {
        let _ = prefix;
        todo!()
    }

    /// The full name of a cookie.
    pub fn name(&self, kind: CookieKind) -> &[u8] {
        &self.names[kind as usize]
    }

    /// Whether this is exactly the name of one of Authgear's cookies.
    pub fn is_authgear_cookie(&self, name: &[u8]) -> bool {
        self.names.iter().any(|own| **own == *name)
    }
}

/// What a request offers as proof of a session.
#[derive(Default, Clone, Copy)]
pub struct Credentials<'a> {
    authorization: Option<&'a [u8]>,
    cookies: [Option<&'a [u8]>; 3],
}

impl<'a> Credentials<'a> {
    /// Reads the header lines, in the order received.
    pub fn read(
        names: &CookieNames,
        headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Credentials<'a> {
        let _ = (names, headers.count());
        todo!()
    }

    /// No bearer token and none of the cookies.
    pub fn is_empty(&self) -> bool {
        self.bearer().is_none() && self.cookies.iter().all(Option::is_none)
    }

    /// The first `Authorization` value as received.
    pub fn authorization(&self) -> Option<&'a [u8]> {
        self.authorization
    }

    /// The bearer token.
    pub fn bearer(&self) -> Option<&'a [u8]> {
        todo!()
    }

    /// The cookie's value as Go reads it, without quotes.
    pub fn cookie(&self, kind: CookieKind) -> Option<&'a [u8]> {
        self.cookies[kind as usize]
    }

    /// The length of the rebuilt `Cookie` header; 0: send none.
    pub fn cookie_header_len(&self, names: &CookieNames) -> usize {
        let mut len = 0;
        self.write_cookie_header(names, &mut |piece| len += piece.len());
        len
    }

    /// The rebuilt `Cookie` header, piece by piece.
    pub fn write_cookie_header(&self, names: &CookieNames, out: &mut dyn FnMut(&[u8])) {
        let _ = (names, out);
        todo!()
    }

    /// The part of the `session` cookie before the first `.`, if there is one.
    pub fn session_id(&self) -> Option<&'a [u8]> {
        todo!()
    }
}
