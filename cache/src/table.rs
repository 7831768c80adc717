//! The hash tables: which bucket a key or a tag belongs to, and finding by it.

use std::sync::atomic::Ordering;

use crate::layout::{entry, flight, header, Buckets};
use crate::list::{Link, List};
use crate::memory::{Block, Memory, Sound};
use crate::types::{Key, SessionTag, UserTag};

/// Whose stamp a purge sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Key(Key),
    User(UserTag),
    Session(SessionTag),
}

impl Memory<'_> {
    /// Mixes with the zone's seed, so that nobody outside can aim at a bucket.
    fn hash(&self, first: u64, second: u64) -> u64 {
        let [left, right] = header::SEED.map(|word| self.get(word));
        let product = u128::from(first ^ left) * u128::from(second ^ right);
        (product >> 64) as u64 ^ product as u64
    }

    fn key_hash(&self, key: &Key) -> u64 {
        let [first, second, ..] = *key.words();
        self.hash(first, second)
    }

    fn tag_hash(&self, tag: u64) -> u64 {
        self.hash(tag, tag.rotate_left(32))
    }

    /// The first word of the subject's stamp.
    pub(crate) fn stamp_of(&self, subject: Subject) -> usize {
        let (hash, kind) = match subject {
            Subject::Key(key) => (self.key_hash(&key), 1),
            Subject::User(user) => (self.tag_hash(user.word()), 2),
            Subject::Session(session) => (self.tag_hash(session.word()), 3),
        };
        self.layout.stamp(self.hash(hash, kind))
    }

    fn chain(&self, buckets: Buckets, hash: u64, link: Link) -> List {
        List::chain(buckets.half(hash), link)
    }

    pub(crate) fn entries_of_key(&self, key: &Key) -> List {
        self.chain(self.layout.keys, self.key_hash(key), Link::ByKey)
    }

    pub(crate) fn entries_of_user(&self, user: UserTag) -> List {
        let hash = self.tag_hash(user.word());
        self.chain(self.layout.users, hash, Link::ByUser)
    }

    pub(crate) fn entries_of_session(&self, session: SessionTag) -> List {
        let hash = self.tag_hash(session.word());
        self.chain(self.layout.sessions, hash, Link::BySession)
    }

    pub(crate) fn flights_of_key(&self, key: &Key) -> List {
        self.chain(self.layout.flights, self.key_hash(key), Link::FlightByKey)
    }

    pub(crate) fn find_entry_block(&self, key: &Key) -> Sound<Option<Block>> {
        self.find(self.entries_of_key(key), entry::KEY, key)
    }

    pub(crate) fn find_flight_block(&self, key: &Key) -> Sound<Option<Block>> {
        self.find(self.flights_of_key(key), flight::KEY, key)
    }

    fn find(&self, list: List, field: usize, key: &Key) -> Sound<Option<Block>> {
        let mut walk = self.walk(list);
        while let Some(block) = walk.step(self)? {
            if self.has_key(block, field, key) {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    fn has_key(&self, block: Block, field: usize, key: &Key) -> bool {
        let stored = self.words(block)[field..].iter();
        stored.zip(key.words()).fold(true, |same, (stored, &word)| {
            same & (stored.load(Ordering::Relaxed) == word)
        })
    }

    pub(crate) fn key_at(&self, block: Block, field: usize) -> Key {
        Key::from_words([0, 1, 2, 3].map(|index| self.field(block, field + index)))
    }

    pub(crate) fn set_key(&mut self, block: Block, field: usize, key: &Key) {
        for (index, &word) in key.words().iter().enumerate() {
            self.set_field(block, field + index, word);
        }
    }
}
