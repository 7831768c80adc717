//! What the cache should do, said with maps. Knows nothing of blocks, lists and room.

use std::collections::HashMap;
use std::time::Duration;

use super::ms;
use crate::*;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) validity: Validity,
    pub(super) value: Vec<u8>,
    pub(super) user: Option<u64>,
    pub(super) session: Option<u64>,
    pub(super) until: u64,
    pub(super) stored: u64,
    pub(super) token: Token,
    /// Evictions of the zone when it was stored.
    pub(super) evictions: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) token: Token,
    pub(super) owner: Owner,
    pub(super) started: u64,
    pub(super) expires: u64,
    pub(super) told: Option<Told>,
}

#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) token: Token,
    pub(super) at: u64,
    pub(super) until: u64,
    /// None is a failure.
    pub(super) answer: Option<Validity>,
    pub(super) value: Vec<u8>,
}

/// A stamp, which subjects may share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) token: u64,
    pub(super) time: u64,
}

/// What is expected of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Hit(Found, Vec<u8>),
    Refresh(Found, Vec<u8>),
    Stale(Found, Vec<u8>),
    Wait(Token),
    Resolve(Absence),
}

/// What is expected of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ExpectPoll {
    Pending,
    Answered(Found, Vec<u8>),
    Failed(Vec<u8>),
    Resolve,
}

/// The circumstances of a question.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) now: u64,
    pub(super) asker: Owner,
    pub(super) alive: &'a [Owner],
}

/// How long ago; none for the future, give or take a second.
pub(super) fn since(now: u64, then: u64) -> Option<Duration> {
    (then <= now + 1_000).then(|| ms(now.saturating_sub(then)))
}

impl Entry {
    fn age(&self, now: u64) -> Option<Duration> {
        since(now, self.stored).filter(|_| now < self.until)
    }

    fn fresh(&self, policy: &Policy, now: u64) -> Option<Duration> {
        let time = match self.validity {
            Validity::Valid => policy.valid,
            Validity::Invalid => policy.invalid,
        };
        self.age(now).filter(|&age| age < time)
    }

    fn due(&self, policy: &Policy, age: Duration) -> bool {
        self.validity == Validity::Valid && age >= policy.refresh
    }

    fn stale(&self, policy: &Policy, now: u64) -> Option<Duration> {
        if self.validity == Validity::Invalid || policy.use_stale.is_zero() {
            return None;
        }
        let time = policy.valid + policy.use_stale;
        self.age(now).filter(|&age| age < time)
    }

    fn found(&self, age: Duration) -> (Found, Vec<u8>) {
        let validity = self.validity;
        (Found { validity, age }, self.value.clone())
    }
}

impl Record {
    pub(super) fn flying(&self) -> bool {
        self.told
            .as_ref()
            .is_none_or(|told| told.token != self.token)
    }

    pub(super) fn overdue(&self, now: u64) -> bool {
        since(now, self.started).is_none() || now >= self.expires
    }

    fn in_the_air(&self, at: At<'_>) -> bool {
        let alive = self.owner == at.asker || at.alive.contains(&self.owner);
        self.flying() && !self.overdue(at.now) && alive
    }

    fn failed_within(&self, span: Duration, now: u64) -> bool {
        self.told.as_ref().is_some_and(|told| {
            told.answer.is_none() && since(now, told.at).is_some_and(|age| age < span)
        })
    }
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) entries: HashMap<u64, Entry>,
    pub(super) records: HashMap<u64, Record>,
    /// By the word where the zone keeps it.
    pub(super) stamps: HashMap<usize, Stamp>,
    /// The last purge of any user or session.
    pub(super) purged: u64,
}

impl Model {
    pub(super) fn lookup(&self, n: u64, policy: &Policy, at: At<'_>) -> Expect {
        let entry = self.entries.get(&n);
        let record = self.records.get(&n);
        let flying = record.is_some_and(|record| record.in_the_air(at));
        let failed = |span| record.is_some_and(|record| record.failed_within(span, at.now));

        if let Some((entry, age)) = entry.and_then(|e| Some((e, e.fresh(policy, at.now)?))) {
            let (found, value) = entry.found(age);
            return if entry.due(policy, age) && !flying && !failed(policy.backoff) {
                Expect::Refresh(found, value)
            } else {
                Expect::Hit(found, value)
            };
        }
        if let Some((entry, age)) = entry.and_then(|e| Some((e, e.stale(policy, at.now)?))) {
            let dead = !flying && record.is_some_and(Record::flying);
            let more = if flying { policy.lease } else { ms(0) };
            if !policy.backoff.is_zero() && !dead && failed(policy.backoff + more) {
                let (found, value) = entry.found(age);
                return Expect::Stale(found, value);
            }
        }
        match record {
            Some(record) if flying && policy.lock == Lock::On => Expect::Wait(record.token),
            _ if entry.is_some() => Expect::Resolve(Absence::Expired),
            _ => Expect::Resolve(Absence::Missing),
        }
    }

    pub(super) fn poll(&self, n: u64, awaited: Token, policy: &Policy, at: At<'_>) -> ExpectPoll {
        if let Some(entry) = self.entries.get(&n).filter(|entry| entry.token >= awaited) {
            let just = entry.age(at.now).filter(|&age| age < ms(1_000));
            if let Some(age) = entry.fresh(policy, at.now).or(just) {
                let (found, value) = entry.found(age);
                return ExpectPoll::Answered(found, value);
            }
        }
        let record = self.records.get(&n);
        let told = record.and_then(|record| record.told.as_ref());
        if let Some(told) = told.filter(|told| told.token >= awaited) {
            let value = told.value.clone();
            match (told.answer, since(at.now, told.at)) {
                (None, _) => return ExpectPoll::Failed(value),
                (Some(validity), Some(age)) if at.now < told.until => {
                    return ExpectPoll::Answered(Found { validity, age }, value);
                }
                _ => {}
            }
        }
        if record.is_some_and(|record| record.in_the_air(at)) {
            ExpectPoll::Pending
        } else {
            ExpectPoll::Resolve
        }
    }

    pub(super) fn fresh(&self, n: u64, policy: &Policy, now: u64) -> Option<(Found, Vec<u8>)> {
        let entry = self.entries.get(&n)?;
        let age = entry.fresh(policy, now)?;
        (!entry.due(policy, age)).then(|| entry.found(age))
    }

    pub(super) fn stale(&self, n: u64, policy: &Policy, now: u64) -> Option<(Found, Vec<u8>)> {
        let entry = self.entries.get(&n)?;
        let fresh = entry
            .fresh(policy, now)
            .filter(|_| entry.validity == Validity::Valid);
        let age = entry.stale(policy, now).or(fresh)?;
        Some(entry.found(age))
    }

    /// A flight takes off; what an earlier one told stays.
    pub(super) fn start(&mut self, n: u64, token: Token, owner: Owner, now: u64, lease: Duration) {
        let told = self.records.remove(&n).and_then(|record| record.told);
        let record = Record {
            token,
            owner,
            started: now,
            expires: now + lease.as_millis() as u64,
            told,
        };
        self.records.insert(n, record);
    }

    /// What the stamps at these words say of a flight: first the key's, then the others.
    pub(super) fn refusal(
        &mut self,
        stamps: &[usize],
        token: u64,
        started: u64,
        now: u64,
    ) -> Option<Refusal> {
        // Only the key's: an invalid answer.
        if stamps.len() == 1 && token < self.purged {
            return Some(Refusal::Purged);
        }
        let mut quarantined = false;
        for (index, word) in stamps.iter().enumerate() {
            let Some(stamp) = self.stamps.get_mut(word) else {
                continue;
            };
            if stamp.token > token {
                return Some(Refusal::Purged);
            }
            if index > 0 && stamp.time > 0 {
                if since(now, stamp.time).is_none() {
                    stamp.time = now;
                    quarantined = true;
                }
                quarantined |= started < stamp.time + 2_000;
            }
        }
        quarantined.then_some(Refusal::Quarantined)
    }
}
