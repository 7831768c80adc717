//! Keys that were made before, so that the same credentials are not read and hashed again.
//!
//! A request's [`Key`] takes reading its cookies and SHA-256 over its credentials, which without SHA
//! extensions is most of what the module does for a cached request. A process that has done so once
//! knows the headers again by their [`Fingerprint`]. No credential is kept: the fingerprint is
//! SipHash-2-4 of 128 bits under secrets that the process has drawn, and without them nobody can
//! make two collide.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::credentials::CredentialHeader;
use crate::key::Key;

/// What stands for the credentials of a request as they were received, and for where they are to be
/// resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u128);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

#[derive(Clone, Copy)]
struct Slot {
    fingerprint: Fingerprint,
    key: Key,
}

impl Slot {
    const EMPTY: Slot = Slot {
        fingerprint: Fingerprint(0),
        key: Key::from_bytes([0; 32]),
    };
}

/// A table of keys by their fingerprints, in which new ones displace old ones.
pub struct Memo {
    secrets: [u64; 2],
    /// Empty, or [`SLOTS`](Memo::SLOTS) of them.
    slots: Vec<Slot>,
    displaced: usize,
}

impl Default for Memo {
    /// One with [`secrets`] of its own.
    fn default() -> Memo {
        Memo::new(secrets())
    }
}

/// From the system's random numbers, by way of the standard library.
pub fn secrets() -> [u64; 2] {
    [(); 2].map(|()| RandomState::new().build_hasher().finish())
}

impl Memo {
    /// Its size, in keys; each takes 48 bytes. None is taken before the first key.
    pub const SLOTS: usize = 1 << 14;

    /// An empty one with these secrets.
    pub fn new(secrets: [u64; 2]) -> Memo {
        Memo {
            secrets,
            slots: Vec::new(),
            displaced: 0,
        }
    }

    /// The fingerprint of a request to the resolver of this number, with all its headers that carry
    /// credentials, in the order received. `None` if there are none, or one of many megabytes.
    pub fn fingerprint<'a>(
        &self,
        resolver: u32,
        headers: impl Iterator<Item = (CredentialHeader, &'a [u8])>,
    ) -> Option<Fingerprint> {
        let mut hasher = SipHasher24::new_with_keys(self.secrets[0], self.secrets[1]);
        let mut any = false;
        for (header, value) in headers {
            // The length says where the next one begins.
            let len = u64::try_from(value.len())
                .ok()
                .filter(|len| len >> 24 == 0)?;
            hasher.write_u64(u64::from(resolver) << 32 | len << 8 | header as u64);
            hasher.write(value);
            any = true;
        }
        any.then(|| Fingerprint(hasher.finish128().as_u128().max(1)))
    }

    /// The places where a key of this fingerprint may be, in the order in which they are filled: two
    /// here, two there.
    fn places(fingerprint: Fingerprint) -> [usize; 4] {
        let pair = |hash: u128| hash as usize % (Memo::SLOTS / 2) * 2;
        let (here, there) = (pair(fingerprint.0), pair(fingerprint.0 >> 64));
        [here, there, here + 1, there + 1]
    }

    /// The key of this fingerprint, if it is still known.
    pub fn get(&self, fingerprint: Fingerprint) -> Option<Key> {
        Memo::places(fingerprint)
            .into_iter()
            .filter_map(|place| self.slots.get(place))
            .find(|slot| slot.fingerprint == fingerprint)
            .map(|slot| slot.key)
    }

    /// Remembers the key of the credentials of this fingerprint; not if there is no memory for it.
    pub fn insert(&mut self, fingerprint: Fingerprint, key: Key) {
        if self.slots.is_empty() {
            if self.slots.try_reserve_exact(Memo::SLOTS).is_err() {
                return;
            }
            self.slots.resize(Memo::SLOTS, Slot::EMPTY);
        }
        let places = Memo::places(fingerprint);
        let free = places.into_iter().find(|&place| {
            let known = self.slots[place].fingerprint;
            known == fingerprint || known == Slot::EMPTY.fingerprint
        });
        let place = free.unwrap_or_else(|| {
            self.displaced += 1;
            places[self.displaced % places.len()]
        });
        self.slots[place] = Slot { fingerprint, key };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::CredentialHeader::{Authorization, Cookie};
    use super::*;
    use crate::credentials::{CookieNames, Credentials};
    use crate::key::{cache_key, Hosts};

    type Lines<'a> = &'a [(CredentialHeader, &'a str)];

    fn fingerprint(memo: &Memo, resolver: u32, lines: Lines) -> Option<Fingerprint> {
        let lines = lines
            .iter()
            .map(|&(header, value)| (header, value.as_bytes()));
        memo.fingerprint(resolver, lines)
    }

    /// One of many that nobody chose.
    fn any_fingerprint(memo: &Memo, n: usize) -> Fingerprint {
        fingerprint(memo, 1, &[(Cookie, &n.to_string())]).unwrap()
    }

    fn key(n: usize) -> Key {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        Key::from_bytes(bytes)
    }

    #[test]
    fn each_header_and_its_place_and_the_resolver_count() {
        let memo = Memo::new([1, 2]);
        let inputs: &[(u32, Lines)] = &[
            (1, &[(Cookie, "ab")]),
            (2, &[(Cookie, "ab")]),
            (1, &[(Authorization, "ab")]),
            (1, &[(Cookie, "AB")]),
            (1, &[(Cookie, "ab ")]),
            (1, &[(Cookie, "")]),
            // Bytes moved from one line to the next, lines exchanged, empty ones.
            (1, &[(Cookie, "a"), (Cookie, "b")]),
            (1, &[(Cookie, "b"), (Cookie, "a")]),
            (1, &[(Cookie, "ab"), (Cookie, "")]),
            (1, &[(Cookie, ""), (Cookie, "ab")]),
            (1, &[(Cookie, "ab"), (Cookie, "ab")]),
            (1, &[(Cookie, "ab"), (Authorization, "ab")]),
            (1, &[(Authorization, "ab"), (Cookie, "ab")]),
            // What a line's head looks like, inside a line.
            (1, &[(Cookie, "ab\u{1}\u{2}\0\0\u{1}\0\0\0ab")]),
        ];
        let all: HashSet<u128> = inputs
            .iter()
            .map(|(resolver, lines)| fingerprint(&memo, *resolver, lines).unwrap().0)
            .collect();
        assert_eq!(all.len(), inputs.len());
        let again = fingerprint(&memo, 1, &[(Cookie, "ab")]);
        assert_eq!(again, fingerprint(&memo, 1, &[(Cookie, "ab")]));
    }

    #[test]
    fn no_credentials_and_huge_ones_have_none() {
        let memo = Memo::default();
        assert_eq!(fingerprint(&memo, 1, &[]), None);
        let huge = "x".repeat(1 << 24);
        assert_eq!(fingerprint(&memo, 1, &[(Cookie, &huge)]), None);
        assert!(fingerprint(&memo, 1, &[(Cookie, &huge[1..])]).is_some());
    }

    #[test]
    fn each_memo_has_secrets_of_its_own() {
        let fingerprints = [Memo::default(), Memo::default(), Memo::new([0, 0])]
            .map(|memo| fingerprint(&memo, 1, &[(Cookie, "a")]).unwrap().0);
        assert_eq!(HashSet::from(fingerprints).len(), 3);
        let fingerprint = Fingerprint(0x5ec_7e7);
        assert_eq!(format!("{fingerprint:?}"), "Fingerprint(..)");
    }

    /// SipHash-2-4 of 128 bits as its authors' reference code has it (`vectors.h`): of the bytes 0, 1,
    /// and so on to 7 under the secret 00 to 0f.
    #[test]
    fn it_is_siphash() {
        let word = |from: u8| u64::from_le_bytes(core::array::from_fn(|n| from + n as u8));
        let mut hasher = SipHasher24::new_with_keys(word(0), word(8));
        hasher.write_u64(word(0));
        let expected = [
            0x3b, 0x62, 0xa9, 0xba, 0x62, 0x58, 0xf5, 0x61, 0x0f, 0x83, 0xe2, 0x64, 0xf3, 0x14,
            0x97, 0xb4,
        ];
        assert_eq!(hasher.finish128().as_bytes(), expected);
    }

    #[test]
    fn ten_thousand_sessions_are_known_and_no_more_than_fit() {
        let mut memo = Memo::new([3, 4]);
        assert_eq!(memo.get(any_fingerprint(&memo, 0)), None);
        for n in 0..10_000 {
            memo.insert(any_fingerprint(&memo, n), key(n));
        }
        let known = |memo: &Memo, n| memo.get(any_fingerprint(memo, n)) == Some(key(n));
        let count = (0..10_000).filter(|&n| known(&memo, n)).count();
        assert!(count > 9_700, "{count}");

        for n in 10_000..100_000 {
            memo.insert(any_fingerprint(&memo, n), key(n));
            assert!(known(&memo, n), "{n}");
        }
        assert_eq!(memo.slots.len(), Memo::SLOTS);
        let count = (0..100_000).filter(|&n| known(&memo, n)).count();
        assert!(
            count > Memo::SLOTS * 9 / 10 && count <= Memo::SLOTS,
            "{count}"
        );
    }

    fn key_of(headers: &[(&str, &str)]) -> Key {
        let headers = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        let names = CookieNames::new(b"").unwrap();
        cache_key(b"u", Hosts::default(), &Credentials::read(&names, headers))
    }

    /// Names that are, and that might be taken for, those of credentials.
    const NAMES: [&str; 10] = [
        "Cookie",
        "cookie",
        "COOKIE",
        "Cookie2",
        "C\u{f}\u{f}kie",
        "Accept",
        "Authorization",
        "authorization",
        "Authorizatioo",
        "Authoriza\u{14}ion",
    ];

    proptest! {
        /// Else one fingerprint would have two keys.
        #[test]
        fn what_is_not_in_the_fingerprint_is_not_in_the_key(
            headers in prop::collection::vec(
                (
                    prop::sample::select(NAMES.as_slice()),
                    "(session|app_session|app_access_token|a)=[a-c\"]{0,2}(; ?(session|app_session)=[a-c]{0,2})?|[Bb]earer [a-c]|Basic a",
                ),
                0..6,
            ),
        ) {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let counts = |name: &str| CredentialHeader::of(name.as_bytes());
            let of_credentials = headers.iter().copied().filter(|(n, _)| counts(n).is_some());
            let of_credentials: Vec<_> = of_credentials.collect();
            prop_assert_eq!(key_of(&headers), key_of(&of_credentials));
            // Nor does it matter how the name was spelt.
            let named: Vec<_> = of_credentials
                .iter()
                .map(|&(name, value)| match counts(name) {
                    Some(Cookie) => ("cookie", value),
                    _ => ("authorization", value),
                })
                .collect();
            prop_assert_eq!(key_of(&headers), key_of(&named));
        }

        /// Fingerprints that share their places, and some of their halves.
        #[test]
        fn what_is_known_is_what_was_said_last(
            steps in prop::collection::vec((0..4u128, 0..4u128, 0..6u128, any::<bool>()), 1..400),
        ) {
            let mut memo = Memo::new([5, 6]);
            let mut said = HashMap::new();
            for (n, (left, right, more, insert)) in steps.into_iter().enumerate() {
                let fingerprint = Fingerprint(left << 64 | right | more << 40 | more << 100 | 1 << 60);
                if insert {
                    memo.insert(fingerprint, key(n));
                    said.insert(fingerprint.0, key(n));
                    prop_assert_eq!(memo.get(fingerprint), Some(key(n)));
                } else if let Some(key) = memo.get(fingerprint) {
                    prop_assert_eq!(Some(&key), said.get(&fingerprint.0));
                }
            }
        }
    }
}
