//! Asking the cache: looking up, waiting, falling back.

use std::time::Duration;

use crate::entry::Entry;
use crate::flight::{News, Record, Told};
use crate::layout::header;
use crate::memory::{Memory, Sound};
use crate::policy::{Asker, Lock, Policy};
use crate::types::{Flight, Key, Ticket, Time, Token, Validity};
use crate::zone::Locked;

/// An answer to those who waited for it may be used for at least this long, whatever the policy says.
const ANSWERED: Duration = Duration::from_secs(1);

/// An answer from the cache. Its value is in the buffer that was passed along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the resolver said.
    pub validity: Validity,
    /// How long ago.
    pub age: Duration,
}

/// Why there is nothing to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// There is no entry.
    Missing,
    /// There is one, but its time is over.
    Expired,
}

/// What to do about a request.
#[derive(Debug)]
pub enum Lookup {
    /// Use the answer.
    Hit(Found),
    /// Use the answer, and resolve in the background.
    Refresh(Found, Flight),
    /// The resolver fails, and failed just now for this key: use the old answer.
    Stale(Found),
    /// Someone else resolves: [`Locked::poll`].
    Wait(Ticket),
    /// Resolve.
    Resolve(Flight, Absence),
}

/// How the wait goes.
#[derive(Debug)]
pub enum Poll {
    /// Still on its way.
    Pending,
    /// Use the answer.
    Answered(Found),
    /// The resolve failed; what its owner said of it is in the buffer.
    Failed,
    /// Whoever resolved is gone, or its answer may not be used: resolve. The others go on waiting.
    Resolve(Flight),
}

impl Locked<'_> {
    /// What the cache has for a key, and what to do. A usable value replaces what is in `value`.
    pub fn lookup(
        &mut self,
        key: &Key,
        policy: &Policy,
        asker: &Asker<'_>,
        value: &mut Vec<u8>,
    ) -> Lookup {
        self.attempt(|memory, now| {
            Asking {
                memory,
                key,
                policy,
                asker,
                now,
            }
            .lookup(value)
        })
        .unwrap_or_else(|| Lookup::Resolve(self.lost_flight(key), Absence::Missing))
    }

    /// An answer that is good for now, and for which nothing else is to be done: a
    /// [`lookup`](Locked::lookup) that changes nothing but what was used last. `None` says nothing.
    pub fn fresh(&mut self, key: &Key, policy: &Policy, value: &mut Vec<u8>) -> Option<Found> {
        self.attempt(|memory, now| {
            let Some(entry) = memory.find_entry(key)? else {
                return Ok(None);
            };
            match entry.fresh(policy, now) {
                Some(age) if !entry.is_due(policy, age) => {
                    memory.found(&entry, age, now, value).map(Some)
                }
                _ => Ok(None),
            }
        })
        .flatten()
    }

    /// What became of the flight that the ticket is for. A usable value replaces what is in `value`.
    pub fn poll(
        &mut self,
        ticket: &Ticket,
        policy: &Policy,
        asker: &Asker<'_>,
        value: &mut Vec<u8>,
    ) -> Poll {
        let key = &ticket.key;
        self.attempt(|memory, now| {
            Asking {
                memory,
                key,
                policy,
                asker,
                now,
            }
            .poll(ticket.token, value)
        })
        .unwrap_or_else(|| Poll::Resolve(self.lost_flight(key)))
    }

    /// An answer to use although the resolver failed: valid, and not older than the policy allows.
    pub fn stale(&mut self, key: &Key, policy: &Policy, value: &mut Vec<u8>) -> Option<Found> {
        self.attempt(|memory, now| {
            let Some(entry) = memory.find_entry(key)? else {
                return Ok(None);
            };
            let age = entry.stale(policy, now);
            let age = age.or_else(|| usable_now(&entry, policy, now));
            age.map(|age| memory.found(&entry, age, now, value))
                .transpose()
        })
        .flatten()
    }

    /// A flight that nobody waits for: for a request that passes the cache by, or waited too long. Its
    /// answer is stored like any other.
    pub fn begin(&mut self, key: &Key) -> Flight {
        self.attempt(|memory, now| memory.solo(key, now))
            .unwrap_or_else(|| self.lost_flight(key))
    }

    fn lost_flight(&self, key: &Key) -> Flight {
        Flight {
            key: *key,
            token: Token::NONE,
            started: self.now(),
        }
    }
}

fn usable_now(entry: &Entry, policy: &Policy, now: Time) -> Option<Duration> {
    entry
        .fresh(policy, now)
        .filter(|_| entry.validity == Validity::Valid)
}

/// One question.
struct Asking<'a, 'm> {
    memory: &'a mut Memory<'m>,
    key: &'a Key,
    policy: &'a Policy,
    asker: &'a Asker<'a>,
    now: Time,
}

impl Asking<'_, '_> {
    fn lookup(&mut self, value: &mut Vec<u8>) -> Sound<Lookup> {
        let entry = self.memory.find_entry(self.key)?;
        if let Some(entry) = &entry {
            if let Some(age) = entry.fresh(self.policy, self.now) {
                let found = self.memory.found(entry, age, self.now, value)?;
                return Ok(match self.refresh(entry, age)? {
                    Some(flight) => Lookup::Refresh(found, flight),
                    None => Lookup::Hit(found),
                });
            }
        }

        let record = self.memory.find_flight(self.key)?;
        if let (Some(entry), Some(record)) = (&entry, &record) {
            if let Some(age) = self.believes_failure(entry, record) {
                let found = self.memory.found(entry, age, self.now, value)?;
                return Ok(Lookup::Stale(found));
            }
        }

        let absence = match entry {
            Some(_) => Absence::Expired,
            None => Absence::Missing,
        };
        if self.policy.lock == Lock::Off {
            let flight = self.memory.solo(self.key, self.now)?;
            return Ok(Lookup::Resolve(flight, absence));
        }
        if let Some(record) = self.in_the_air(record.as_ref()) {
            return Ok(Lookup::Wait(Ticket {
                key: *self.key,
                token: record.token,
                expires: record.expires,
            }));
        }
        let flight = self.resolve(record.as_ref())?;
        Ok(Lookup::Resolve(flight, absence))
    }

    fn poll(&mut self, awaited: Token, value: &mut Vec<u8>) -> Sound<Poll> {
        if let Some(entry) = self.memory.find_entry(self.key)? {
            if entry.token >= awaited {
                if let Some(age) = self.age_for_waiters(&entry) {
                    let found = self.memory.found(&entry, age, self.now, value)?;
                    return Ok(Poll::Answered(found));
                }
            }
        }
        let record = self.memory.find_flight(self.key)?;
        if let Some(record) = &record {
            if let Some(told) = record.told.filter(|told| told.token >= awaited) {
                if let Some(poll) = self.told(record, &told, value)? {
                    return Ok(poll);
                }
            }
        }
        if self.in_the_air(record.as_ref()).is_some() {
            return Ok(Poll::Pending);
        }
        self.resolve(record.as_ref()).map(Poll::Resolve)
    }

    /// A flight to refresh the answer, if it is due, none is on its way and none failed just now.
    fn refresh(&mut self, entry: &Entry, age: Duration) -> Sound<Option<Flight>> {
        if !entry.is_due(self.policy, age) {
            return Ok(None);
        }
        let record = self.memory.find_flight(self.key)?;
        let record = record.as_ref();
        if self.in_the_air(record).is_some()
            || record.is_some_and(|record| record.failed_within(self.policy.backoff, self.now))
        {
            return Ok(None);
        }
        self.start(record)
    }

    /// The record, if its flight is still to be waited for.
    fn in_the_air<'r>(&self, record: Option<&'r Record>) -> Option<&'r Record> {
        record.filter(|record| record.is_flying() && !record.is_dead(self.asker, self.now))
    }

    /// Age of an answer to use because the resolver just failed for this key: nobody tries again so
    /// soon, or someone is trying.
    fn believes_failure(&self, entry: &Entry, record: &Record) -> Option<Duration> {
        let age = entry.stale(self.policy, self.now)?;
        let backoff = self.policy.backoff;
        if backoff.is_zero() {
            return None;
        }
        let believed = match self.in_the_air(Some(record)) {
            Some(_) => backoff.saturating_add(self.policy.lease),
            None if record.is_flying() => return None,
            None => backoff,
        };
        record.failed_within(believed, self.now).then_some(age)
    }

    fn age_for_waiters(&self, entry: &Entry) -> Option<Duration> {
        let just_told = || entry.age(self.now).filter(|&age| age < ANSWERED);
        entry.fresh(self.policy, self.now).or_else(just_told)
    }

    fn told(&self, record: &Record, told: &Told, value: &mut Vec<u8>) -> Sound<Option<Poll>> {
        let poll = match told.news {
            News::Failure => Poll::Failed,
            News::Answer(validity) => {
                let age = self.now.since(told.at);
                let Some(age) = age.filter(|_| self.now < told.use_until) else {
                    return Ok(None);
                };
                Poll::Answered(Found { validity, age })
            }
        };
        self.memory.read_told(record, told, value)?;
        Ok(Some(poll))
    }

    /// A flight that others wait for, or one of its own when there is no room for its record.
    fn resolve(&mut self, record: Option<&Record>) -> Sound<Flight> {
        match self.start(record)? {
            Some(flight) => Ok(flight),
            None => self.memory.solo(self.key, self.now),
        }
    }

    fn start(&mut self, record: Option<&Record>) -> Sound<Option<Flight>> {
        let owner = self.asker.owner;
        let lease = self.policy.lease;
        let token = self
            .memory
            .start_flight(self.key, record, owner, lease, self.now)?;
        Ok(token.map(|token| Flight {
            key: *self.key,
            token,
            started: self.now,
        }))
    }
}

impl Memory<'_> {
    fn found(
        &mut self,
        entry: &Entry,
        age: Duration,
        now: Time,
        value: &mut Vec<u8>,
    ) -> Sound<Found> {
        self.read_entry(entry, value)?;
        self.touch(entry, now)?;
        Ok(Found {
            validity: entry.validity,
            age,
        })
    }

    fn solo(&mut self, key: &Key, now: Time) -> Sound<Flight> {
        Ok(Flight {
            key: *key,
            token: self.draw()?,
            started: now,
        })
    }

    /// Tells those who wait, in whichever process, to look again.
    pub(crate) fn call_waiters(&mut self) {
        self.add(header::COMPLETIONS, 1);
    }
}
