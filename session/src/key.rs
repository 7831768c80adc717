//! What a cached answer belongs to.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::credentials::{CookieKind, Credentials};

/// The cache's key: a digest, from which no credential can be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of this digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// The key of a resolver request: SHA-256 over everything that decides its answer, which is where
/// it goes, which project its hosts name, and each credential that Authgear may fall through to.
///
/// `url` is the resolver's URL after evaluation.
pub fn cache_key(url: &[u8], hosts: Hosts<'_>, credentials: &Credentials) -> Key {
    KeyPrefix::new(url, hosts).key(credentials)
}

/// The headers, as sent, by which Authgear finds the project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hosts<'a> {
    /// `Host`
    pub host: &'a [u8],
    /// `X-Forwarded-Host`, which wins over `Host` where Authgear trusts its proxy.
    pub forwarded: Option<&'a [u8]>,
    /// `X-Original-Host`, the same if there is no `X-Forwarded-Host`.
    pub original: Option<&'a [u8]>,
}

/// The part of a key that does not depend on the credentials, hashed once where it is known at start.
#[derive(Clone)]
pub struct KeyPrefix(Sha256);

impl KeyPrefix {
    /// Where a resolver request goes: see [`cache_key`].
    pub fn new(url: &[u8], hosts: Hosts<'_>) -> KeyPrefix {
        let mut parts = Parts::new(Sha256::new());
        parts.add(Part::Url, Some(url));
        parts.add(Part::Host, Some(hosts.host));
        parts.add(Part::ForwardedHost, hosts.forwarded);
        parts.add(Part::OriginalHost, hosts.original);
        KeyPrefix(parts.pad())
    }

    /// The key of a request with these credentials.
    pub fn key(&self, credentials: &Credentials) -> Key {
        let mut parts = Parts::new(self.0.clone());
        parts.add(Part::Bearer, credentials.bearer());
        for kind in CookieKind::ALL {
            parts.add(Part::cookie(kind), credentials.cookie(kind));
        }
        Key(parts.hash.finalize().into())
    }
}

/// What a part is; written before it, so that an absent part cannot be mistaken for another.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Part {
    Url = 1,
    Host,
    ForwardedHost,
    Bearer,
    AppSession,
    AppAccessToken,
    Session,
    OriginalHost,
}

impl Part {
    fn cookie(kind: CookieKind) -> Part {
        match kind {
            CookieKind::AppSession => Part::AppSession,
            CookieKind::AppAccessToken => Part::AppAccessToken,
            CookieKind::Session => Part::Session,
        }
    }
}

/// SHA-256's block, in octets.
const BLOCK: usize = 64;

struct Parts {
    hash: Sha256,
    len: usize,
}

impl Parts {
    fn new(hash: Sha256) -> Parts {
        Parts { hash, len: 0 }
    }

    fn add(&mut self, part: Part, value: Option<&[u8]>) {
        if let Some(value) = value {
            let len = (value.len() as u64).to_le_bytes();
            let mut head = [part as u8; 9];
            head[1..].copy_from_slice(&len);
            self.hash.update(head);
            self.hash.update(value);
            self.len += head.len() + value.len();
        }
    }

    /// Fills the block with zeros, of which no part begins with one, so that what follows costs only
    /// its own blocks.
    fn pad(mut self) -> Sha256 {
        let zeros = [0; BLOCK];
        self.hash
            .update(&zeros[..(BLOCK - self.len % BLOCK) % BLOCK]);
        self.hash
    }
}

/// A short name of an identifier (a user id, say), by which entries are found to be removed: the first
/// eight octets of its SHA-256. Two identifiers with one tag are removed together, nothing worse.
pub fn tag(identifier: &[u8]) -> u64 {
    short(Sha256::digest(identifier).as_slice())
}

/// The tag of the session that the credentials belong to: of the session id, if the `session` cookie
/// tells it, else of all credentials together.
pub fn session_tag(credentials: &Credentials<'_>) -> u64 {
    match credentials.session_id() {
        Some(id) => tag(id),
        None => short(cache_key(b"", Hosts::default(), credentials).as_bytes()),
    }
}

fn short(digest: &[u8]) -> u64 {
    digest
        .iter()
        .take(8)
        .fold(0, |tag, byte| tag << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::credentials::CookieNames;

    /// url, host, forwarded host, authorization, cookie
    type Input = (
        &'static str,
        &'static str,
        Option<&'static str>,
        &'static str,
        &'static str,
    );

    fn key((url, host, forwarded_host, authorization, cookie): Input) -> Key {
        let names = CookieNames::new(b"").unwrap();
        let headers = [("Authorization", authorization), ("Cookie", cookie)];
        let credentials = Credentials::read(
            &names,
            headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())),
        );
        let hosts = Hosts {
            host: host.as_bytes(),
            forwarded: forwarded_host.map(str::as_bytes),
            original: None,
        };
        cache_key(url.as_bytes(), hosts, &credentials)
    }

    #[test]
    fn the_original_host_names_a_project_too() {
        let names = CookieNames::new(b"").unwrap();
        let cookie = [(b"Cookie".as_slice(), b"session=s".as_slice())];
        let credentials = Credentials::read(&names, cookie.into_iter());
        let key = |forwarded, original| {
            let hosts = Hosts {
                host: b"h",
                forwarded,
                original,
            };
            cache_key(b"u", hosts, &credentials)
        };
        let keys = [
            key(None, None),
            key(None, Some(b"a".as_slice())),
            key(None, Some(b"b")),
            key(Some(b"a".as_slice()), None),
            key(Some(b"a"), Some(b"a")),
        ];
        let different: HashSet<_> = keys.into_iter().collect();
        assert_eq!(different.len(), keys.len());
    }

    #[test]
    fn each_input_alone_and_bytes_between_inputs_change_the_key() {
        let inputs: &[Input] = &[
            ("http://a/r", "a", None, "", "session=s"),
            // each alone
            ("http://a/x", "a", None, "", "session=s"),
            ("http://a/r", "b", None, "", "session=s"),
            ("http://a/r", "a", Some("a"), "", "session=s"),
            ("http://a/r", "a", Some("b"), "", "session=s"),
            ("http://a/r", "a", Some(""), "", "session=s"),
            ("http://a/r", "a", None, "Bearer s", "session=s"),
            ("http://a/r", "a", None, "Bearer t", "session=s"),
            ("http://a/r", "a", None, "Bearer  s", "session=s"),
            ("http://a/r", "a", None, "", "session=t"),
            ("http://a/r", "a", None, "", "session="),
            ("http://a/r", "a", None, "", ""),
            ("http://a/r", "a", None, "", "session=s; app_session=s"),
            ("http://a/r", "a", None, "", "session=s; app_access_token=s"),
            // the same credential of another kind
            ("http://a/r", "a", None, "Bearer s", ""),
            ("http://a/r", "a", None, "", "app_session=s"),
            ("http://a/r", "a", None, "", "app_access_token=s"),
            // bytes moved from one part to the next
            ("http://a/ra", "", None, "", "session=s"),
            ("http://a/", "ra", None, "", "session=s"),
            ("http://a/r", "", Some("a"), "", "session=s"),
            ("http://a/r", "", None, "Bearer a", "session=s"),
            ("http://a/r", "a", None, "Bearer st", "session=u"),
            ("http://a/r", "a", None, "Bearer s", "session=tu"),
            ("http://a/r", "a", None, "", "app_session=st; session=u"),
            ("http://a/r", "a", None, "", "app_session=s; session=tu"),
            // values exchanged
            ("http://a/r", "a", None, "Bearer x", "session=y"),
            ("http://a/r", "a", None, "Bearer y", "session=x"),
        ];
        let keys: HashSet<Key> = inputs.iter().copied().map(key).collect();
        assert_eq!(keys.len(), inputs.len());
    }

    #[test]
    fn what_authgear_does_not_read_does_not_change_the_key() {
        let plain = key(("u", "h", None, "Bearer t", "session=s; app_session=a"));
        for (authorization, cookie) in [
            ("bearer t", "session=s; app_session=a"),
            ("Bearer t", "app_session=a;session=s;"),
            ("Bearer t", "a=b; session=\"s\"; app_session=a; session=z"),
            (
                "Bearer t",
                "Session=z; session=\\; session=s; app_session=a",
            ),
        ] {
            assert_eq!(key(("u", "h", None, authorization, cookie)), plain);
        }
        assert_eq!(
            key(("u", "h", None, "Basic eA==", "session=s")),
            key(("u", "h", None, "", "session=s"))
        );
    }

    #[test]
    fn a_key_survives_its_bytes_and_shows_only_them() {
        let key = key(("u", "h", None, "Bearer secret", ""));
        assert_eq!(Key::from_bytes(*key.as_bytes()), key);
        assert_eq!(
            format!("{:?}", Key([0xab; 32])),
            format!("Key({})", "ab".repeat(32))
        );
    }

    /// Fixed, so that a change of the layout is noticed: entries survive a reload of nginx.
    #[test]
    fn the_layout_is_pinned() {
        let mut layout = Vec::new();
        for (part, value) in [
            (1, "u"),
            (2, "h"),
            (3, "f"),
            (4, "t"),
            (5, "a"),
            (6, "b"),
            (7, "s"),
        ] {
            layout.extend([part, 1, 0, 0, 0, 0, 0, 0, 0]);
            layout.extend(value.bytes());
            if part == 3 {
                layout.resize(BLOCK, 0);
            }
        }
        let cookie = "session=s; app_access_token=b; app_session=a";
        assert_eq!(
            key(("u", "h", Some("f"), "Bearer t", cookie)),
            Key(Sha256::digest(layout).into())
        );
    }
}
