//! Entries: a stored answer in its block, its value and all lists that it is in.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::blocks::value_blocks;
use crate::layout::{entry, header, MAX_VALUE};
use crate::list::List;
use crate::memory::{Block, Corrupt, Memory, Role, Sound};
use crate::policy::Policy;
use crate::types::{Key, SessionTag, Time, Token, UserTag, Validity};

/// An entry's own words, read once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) block: Block,
    pub(crate) validity: Validity,
    pub(crate) len: usize,
    pub(crate) stored: Time,
    use_until: Time,
    pub(crate) token: Token,
    pub(crate) touched: Time,
}

/// What is written for an answer.
pub(crate) struct NewEntry<'a> {
    pub(crate) key: &'a Key,
    pub(crate) validity: Validity,
    pub(crate) value: &'a [u8],
    pub(crate) user: Option<UserTag>,
    pub(crate) session: Option<SessionTag>,
    pub(crate) use_until: Option<Time>,
    pub(crate) token: Token,
}

impl NewEntry<'_> {
    pub(crate) fn blocks(&self) -> u64 {
        1 + value_blocks(self.value.len())
    }
}

impl Entry {
    /// The answer's age, if it can be used at all: not from the future, not past its own end.
    pub(crate) fn age(&self, now: Time) -> Option<Duration> {
        now.since(self.stored).filter(|_| now < self.use_until)
    }

    /// The age, if it is less than the policy's time.
    pub(crate) fn fresh(&self, policy: &Policy, now: Time) -> Option<Duration> {
        let time = match self.validity {
            Validity::Valid => policy.valid,
            Validity::Invalid => policy.invalid,
        };
        self.age(now).filter(|&age| age < time)
    }

    /// Whether an answer of this age is to be refreshed.
    pub(crate) fn is_due(&self, policy: &Policy, age: Duration) -> bool {
        self.validity == Validity::Valid && age >= policy.refresh
    }

    /// The age, if the answer may stand in while the resolver fails.
    pub(crate) fn stale(&self, policy: &Policy, now: Time) -> Option<Duration> {
        let time = policy.valid.saturating_add(policy.use_stale);
        self.age(now).filter(|&age| {
            age < time && self.validity == Validity::Valid && !policy.use_stale.is_zero()
        })
    }
}

/// Validity or more in a byte, and a length.
pub(crate) fn kind_word(kind: u8, len: usize) -> u64 {
    (len as u64) << 8 | u64::from(kind)
}

pub(crate) fn split_kind(word: u64) -> Sound<(u8, usize)> {
    let len = usize::try_from(word >> 8).map_err(|_| Corrupt)?;
    if len > MAX_VALUE {
        return Err(Corrupt);
    }
    Ok((word as u8, len))
}

impl Validity {
    pub(crate) fn code(self) -> u8 {
        match self {
            Validity::Valid => 1,
            Validity::Invalid => 2,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Validity::Valid),
            2 => Some(Validity::Invalid),
            _ => None,
        }
    }

    pub(crate) fn recent(self) -> List {
        match self {
            Validity::Valid => List::RECENT_VALID,
            Validity::Invalid => List::RECENT_INVALID,
        }
    }

    fn entries_word(self) -> usize {
        match self {
            Validity::Valid => header::VALID_ENTRIES,
            Validity::Invalid => header::INVALID_ENTRIES,
        }
    }

    pub(crate) fn blocks_word(self) -> usize {
        match self {
            Validity::Valid => header::VALID_BLOCKS,
            Validity::Invalid => header::INVALID_BLOCKS,
        }
    }
}

impl Memory<'_> {
    pub(crate) fn entry(&self, block: Block) -> Sound<Entry> {
        let words = self.words(block);
        let word = |field: usize| words[field].load(Ordering::Relaxed);
        let (kind, len) = split_kind(word(entry::KIND))?;
        Ok(Entry {
            block,
            validity: Validity::from_code(kind).ok_or(Corrupt)?,
            len,
            stored: Time::from_millis(word(entry::STORED)),
            use_until: Time::from_millis(word(entry::USE_UNTIL)),
            token: Token::from_word(word(entry::TOKEN)).ok_or(Corrupt)?,
            touched: Time::from_millis(word(entry::TOUCHED)),
        })
    }

    pub(crate) fn find_entry(&self, key: &Key) -> Sound<Option<Entry>> {
        self.find_entry_block(key)?
            .map(|block| self.entry(block))
            .transpose()
    }

    pub(crate) fn read_entry(&self, entry: &Entry, value: &mut Vec<u8>) -> Sound<()> {
        self.read_value(entry.block, Role::Entry, entry.len, value)
    }

    /// Writes an entry; room was made, and none of that key is there.
    pub(crate) fn insert_entry(&mut self, new: &NewEntry<'_>, now: Time) -> Sound<()> {
        let block = self.take_block(Role::Entry)?;
        self.hang_value(block, Role::Entry, new.value)?;
        self.set_key(block, entry::KEY, new.key);
        let user = new.user.map_or(0, UserTag::word);
        self.set_field(block, entry::USER, user);
        let session = new.session.map_or(0, SessionTag::word);
        self.set_field(block, entry::SESSION, session);
        self.set_field(block, entry::STORED, now.as_millis());
        let until = new.use_until.map_or(u64::MAX, Time::as_millis);
        self.set_field(block, entry::USE_UNTIL, until);
        self.set_field(block, entry::TOKEN, new.token.word());
        self.set_field(block, entry::TOUCHED, now.as_millis());
        let kind = kind_word(new.validity.code(), new.value.len());
        self.set_field(block, entry::KIND, kind);

        self.push_front(self.entries_of_key(new.key), block)?;
        self.push_front(new.validity.recent(), block)?;
        if let Some(user) = new.user {
            self.push_front(self.entries_of_user(user), block)?;
        }
        if let Some(session) = new.session {
            self.push_front(self.entries_of_session(session), block)?;
        }
        self.add(new.validity.entries_word(), 1);
        self.add(new.validity.blocks_word(), new.blocks());
        Ok(())
    }

    pub(crate) fn remove_entry(&mut self, entry: &Entry) -> Sound<()> {
        let block = entry.block;
        let key = self.key_at(block, entry::KEY);
        self.unlink(self.entries_of_key(&key), block)?;
        self.unlink(entry.validity.recent(), block)?;
        if let Some(user) = UserTag::from_word(self.field(block, entry::USER)) {
            self.unlink(self.entries_of_user(user), block)?;
        }
        if let Some(session) = SessionTag::from_word(self.field(block, entry::SESSION)) {
            self.unlink(self.entries_of_session(session), block)?;
        }
        let value = self.free_value(block, Role::Entry, entry.len)?;
        self.give_block(block)?;
        self.sub(entry.validity.entries_word(), 1)?;
        self.sub(entry.validity.blocks_word(), 1 + value)
    }
}
