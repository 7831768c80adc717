//! Flights: who resolves a key, and what the last one that did had to tell.
//!
//! A record belongs to a key. It is flying while its newest flight is not over, and landed when that
//! one told something that is not stored as an entry. A flight whose answer was stored, or who was
//! abandoned, leaves no record.

use std::time::Duration;

use crate::blocks::value_blocks;
use crate::entry::{kind_word, split_kind};
use crate::layout::{flight, header};
use crate::list::List;
use crate::memory::{Block, Corrupt, Memory, Role, Sound};
use crate::policy::{Asker, Owner};
use crate::types::{Key, Time, Token, Validity};

/// A landed record is kept at least this long for those who wait.
const GRACE: Duration = Duration::from_millis(200);

/// How many flying records are looked at to find a dead one when the room is used up.
const SEARCH: usize = 32;

/// A record's own words, read once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) block: Block,
    pub(crate) token: Token,
    owner: Owner,
    started: Time,
    pub(crate) expires: Time,
    pub(crate) told: Option<Told>,
}

/// What a flight told those who wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) token: Token,
    pub(crate) at: Time,
    pub(crate) news: News,
    len: usize,
    pub(crate) use_until: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// An answer that may not be stored.
    Answer(Validity),
    /// No answer.
    Failure,
}

const FAILURE: u8 = 3;

impl News {
    fn code(self) -> u8 {
        match self {
            News::Answer(validity) => validity.code(),
            News::Failure => FAILURE,
        }
    }

    fn from_code(code: u8) -> Sound<Self> {
        match Validity::from_code(code) {
            Some(validity) => Ok(News::Answer(validity)),
            None if code == FAILURE => Ok(News::Failure),
            None => Err(Corrupt),
        }
    }
}

impl Record {
    pub(crate) fn is_flying(&self) -> bool {
        self.told.is_none_or(|told| told.token < self.token)
    }

    fn order(&self) -> List {
        if self.is_flying() {
            List::FLYING
        } else {
            List::LANDED
        }
    }

    /// Whether the flight's time is up or its owner gone.
    pub(crate) fn is_dead(&self, asker: &Asker<'_>, now: Time) -> bool {
        self.is_overdue(now) || !asker.is_alive(self.owner)
    }

    fn is_overdue(&self, now: Time) -> bool {
        now.since(self.started).is_none() || now >= self.expires
    }

    /// Whether a failure was told less than `span` ago.
    pub(crate) fn failed_within(&self, span: Duration, now: Time) -> bool {
        self.told
            .is_some_and(|told| told.news == News::Failure && now.within(span, told.at))
    }
}

impl Memory<'_> {
    fn record(&self, block: Block) -> Sound<Record> {
        let token = |field| Token::from_word(self.field(block, field));
        let time = |field| Time::from_millis(self.field(block, field));
        let told = match token(flight::TOLD_TOKEN) {
            None => None,
            Some(told) => {
                let (kind, len) = split_kind(self.field(block, flight::TOLD_KIND))?;
                Some(Told {
                    token: told,
                    at: time(flight::TOLD_AT),
                    news: News::from_code(kind)?,
                    len,
                    use_until: time(flight::TOLD_UNTIL),
                })
            }
        };
        Ok(Record {
            block,
            token: token(flight::TOKEN).ok_or(Corrupt)?,
            owner: Owner::from_word(self.field(block, flight::OWNER)),
            started: time(flight::STARTED),
            expires: time(flight::EXPIRES),
            told,
        })
    }

    pub(crate) fn find_flight(&self, key: &Key) -> Sound<Option<Record>> {
        self.find_flight_block(key)?
            .map(|block| self.record(block))
            .transpose()
    }

    /// Starts a flight: over the key's record, or over a new one. None when the room is used up.
    pub(crate) fn start_flight(
        &mut self,
        key: &Key,
        record: Option<&Record>,
        owner: Owner,
        lease: Duration,
        now: Time,
    ) -> Sound<Option<Token>> {
        let block = match record {
            Some(record) => {
                self.unlink(record.order(), record.block)?;
                if !record.is_flying() {
                    self.add(header::FLYING_COUNT, 1);
                }
                record.block
            }
            None => {
                if !self.make_room_for_flight(1, now)? {
                    return Ok(None);
                }
                let block = self.take_block(Role::Flight)?;
                self.set_key(block, flight::KEY, key);
                self.set_field(block, flight::TOLD_TOKEN, 0);
                self.push_front(self.flights_of_key(key), block)?;
                self.add(header::FLIGHT_BLOCKS, 1);
                self.add(header::FLYING_COUNT, 1);
                block
            }
        };
        let token = self.draw()?;
        self.set_field(block, flight::TOKEN, token.word());
        self.set_field(block, flight::OWNER, owner.word());
        self.set_field(block, flight::STARTED, now.as_millis());
        self.set_field(block, flight::EXPIRES, now.after(lease).as_millis());
        self.push_front(List::FLYING, block)?;
        Ok(Some(token))
    }

    /// Ends a flying record with something to tell. A failure that doesn't fit is told without its
    /// value; an answer is not told at all, and one of those who wait takes over.
    pub(crate) fn land(
        &mut self,
        record: &Record,
        news: News,
        value: &[u8],
        use_until: Option<Time>,
        now: Time,
    ) -> Sound<()> {
        let old = record.told.map_or(0, |told| told.len);
        let freed = self.free_value(record.block, Role::Flight, old)?;
        self.sub(header::FLIGHT_BLOCKS, freed)?;
        // Out of the list first: making room must not meet it there.
        self.unlink(List::FLYING, record.block)?;
        self.sub(header::FLYING_COUNT, 1)?;

        let fits = self.make_room_for_flight(value_blocks(value.len()), now)?;
        let value = if fits { value } else { &[] };
        self.hang_value(record.block, Role::Flight, value)?;
        self.add(header::FLIGHT_BLOCKS, value_blocks(value.len()));

        let kind = kind_word(news.code(), value.len());
        self.set_field(record.block, flight::TOLD_KIND, kind);
        self.set_field(record.block, flight::TOLD_AT, now.as_millis());
        let until = use_until.map_or(u64::MAX, Time::as_millis);
        self.set_field(record.block, flight::TOLD_UNTIL, until);
        self.set_field(record.block, flight::TOLD_TOKEN, record.token.word());
        self.push_front(List::LANDED, record.block)?;
        if !fits && news != News::Failure {
            self.remove_flight(&self.record(record.block)?)?;
        }
        Ok(())
    }

    pub(crate) fn read_told(&self, record: &Record, told: &Told, value: &mut Vec<u8>) -> Sound<()> {
        self.read_value(record.block, Role::Flight, told.len, value)
    }

    pub(crate) fn remove_flight(&mut self, record: &Record) -> Sound<()> {
        let key = self.key_at(record.block, flight::KEY);
        self.unlink(self.flights_of_key(&key), record.block)?;
        self.unlink(record.order(), record.block)?;
        if record.is_flying() {
            self.sub(header::FLYING_COUNT, 1)?;
        }
        let len = record.told.map_or(0, |told| told.len);
        let value = self.free_value(record.block, Role::Flight, len)?;
        self.give_block(record.block)?;
        self.sub(header::FLIGHT_BLOCKS, 1 + value)
    }

    /// Gives up records that nobody can wait for any more until that many blocks fit.
    fn make_room_for_flight(&mut self, blocks: u64, now: Time) -> Sound<bool> {
        if blocks > self.layout.flight_blocks() / 4 {
            return Ok(false);
        }
        for _ in 0..=self.layout.blocks {
            let used = self.get(header::FLIGHT_BLOCKS);
            let needed = used.checked_add(blocks).ok_or(Corrupt)?;
            if needed <= self.layout.flight_blocks() {
                return Ok(true);
            }
            match self.spare_flight(now)? {
                Some(record) => self.remove_flight(&record)?,
                None => return Ok(false),
            }
        }
        Err(Corrupt)
    }

    fn spare_flight(&self, now: Time) -> Sound<Option<Record>> {
        if let Some(block) = self.last(List::LANDED)? {
            let record = self.record(block)?;
            let told = record.told.ok_or(Corrupt)?;
            if !now.within(GRACE, told.at) {
                return Ok(Some(record));
            }
        }
        let mut flying = self.last(List::FLYING)?;
        for _ in 0..SEARCH {
            let Some(block) = flying else { break };
            let record = self.record(block)?;
            if record.is_overdue(now) {
                return Ok(Some(record));
            }
            flying = self.previous(List::FLYING, block)?;
        }
        Ok(None)
    }
}
