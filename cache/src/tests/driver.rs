//! Does the same to a zone and to the model, and compares.

use super::audit::audit;
use super::model::{At, Entry, Expect, ExpectPoll, Model, Told};
use super::ops::{policy, Op, Said, OWNERS};
use super::*;
use crate::layout::{header, Layout};
use crate::memory::Memory;
use crate::table::Subject;

/// A flight whose owner has not ended it yet.
pub(super) struct Open {
    flight: Flight,
    n: u64,
    pub(super) owner: Owner,
}

pub(super) struct Driver<'r> {
    pub(super) region: &'r Region,
    pub(super) zone: Zone<'r>,
    pub(super) layout: Layout,
    /// Whether the zone is so large that nothing is ever pushed out.
    pub(super) ample: bool,
    pub(super) keys: u64,
    pub(super) now: u64,
    pub(super) owners: Vec<Owner>,
    pub(super) next_pid: u32,
    pub(super) model: Model,
    pub(super) open: Vec<Open>,
    pub(super) tickets: Vec<(Ticket, u64)>,
    pub(super) last_token: Option<Token>,
    pub(super) said: u64,
    pub(super) value: Vec<u8>,
}

impl<'r> Driver<'r> {
    pub(super) fn new(region: &'r Region, keys: u64, ample: bool) -> Self {
        let mut driver = Driver {
            region,
            zone: region.zone(),
            layout: Layout::of(region.0.len()).unwrap(),
            ample,
            keys,
            now: 1_000_000,
            owners: Vec::new(),
            next_pid: 1,
            model: Model::default(),
            open: Vec::new(),
            tickets: Vec::new(),
            last_token: None,
            said: 0,
            value: Vec::new(),
        };
        for _ in 0..OWNERS {
            driver.fork();
        }
        driver
    }

    fn fork(&mut self) {
        self.owners.push(Owner {
            pid: self.next_pid,
            slot: 9,
        });
        self.next_pid += 1;
    }

    pub(super) fn run(&mut self, ops: &[Op]) {
        for (index, op) in ops.iter().enumerate() {
            self.apply(op);
            if index % 32 == 0 {
                audit(self.region);
            }
        }
        audit(self.region);
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::DieAt(writes, op) => self.die_at(*writes, op),
            op => self.act(op),
        }
        self.compare();
    }

    pub(super) fn act(&mut self, op: &Op) {
        match *op {
            Op::Lookup(n, owner, index) => self.lookup(n, owner, &policy(index)),
            Op::Poll(ticket, owner, index) => self.poll(ticket, owner, &policy(index)),
            Op::Fresh(n, index) => self.fresh(n, &policy(index)),
            Op::Stale(n, index) => self.stale(n, &policy(index)),
            Op::Begin(n, owner) => {
                let flight = enter(&self.zone, self.now).begin(&key(n));
                self.opened(flight, n, owner);
            }
            Op::Settle(flight, ref said) => self.settle(flight, said),
            Op::Fail(flight, len) => self.fail(flight, len),
            Op::Abandon(flight) => {
                if let Some(open) = self.take_open(flight) {
                    let (n, token) = (open.n, open.flight.token());
                    enter(&self.zone, self.now).abandon(open.flight);
                    self.forget_flight(n, token);
                }
            }
            Op::PurgeUser(n) => {
                let token = self.next_token();
                let count = enter(&self.zone, self.now).purge_user(user(n));
                self.stamp(Subject::User(user(n)), token, true);
                self.purged(count, |entry| entry.user == Some(n));
            }
            Op::PurgeSession(n) => {
                let token = self.next_token();
                let count = enter(&self.zone, self.now).purge_session(session(n));
                self.stamp(Subject::Session(session(n)), token, true);
                self.purged(count, |entry| entry.session == Some(n));
            }
            Op::PurgeKey(n) => {
                let token = self.next_token();
                let there = enter(&self.zone, self.now).purge_key(&key(n));
                self.stamp(Subject::Key(key(n)), token, false);
                assert_eq!(there, self.model.entries.remove(&n).is_some());
                self.model.records.remove(&n);
            }
            Op::Advance(millis) => self.now += millis,
            Op::SetBack(millis) => self.now = self.now.saturating_sub(millis).max(10_000),
            Op::KillOwner(index) => self.kill(self.owners[index % OWNERS]),
            Op::Attach => {
                let (zone, attached) = self.region.attach(at(self.now));
                assert_eq!(attached, Attached::Reused);
                self.zone = zone;
            }
            Op::Full => _ = enter(&self.zone, self.now).full(),
            Op::DieAt(..) => {}
        }
    }

    fn lookup(&mut self, n: u64, owner: usize, policy: &Policy) {
        let asker = self.owners[owner % OWNERS];
        let alive = |owner| self.owners.contains(&owner);
        let alive: &dyn Fn(Owner) -> bool = &alive;
        let expect = self.model.lookup(n, policy, self.at(asker));
        let who = Asker {
            owner: asker,
            alive,
        };
        let mut locked = enter(&self.zone, self.now);
        let got = locked.lookup(&key(n), policy, &who, &mut self.value);
        let value = self.value.clone();
        let (seen, flight) = match got {
            Lookup::Hit(found) => (Expect::Hit(found, value), None),
            Lookup::Refresh(found, flight) => (Expect::Refresh(found, value), Some(flight)),
            Lookup::Stale(found) => (Expect::Stale(found, value), None),
            Lookup::Wait(ticket) => {
                self.tickets.push((ticket, n));
                (Expect::Wait(ticket.token), None)
            }
            Lookup::Resolve(flight, absence) => (Expect::Resolve(absence), Some(flight)),
        };
        match (&seen, &expect) {
            // No room for the record: it is refreshed another time.
            (Expect::Hit(a, b), Expect::Refresh(c, d)) if !self.ample && (a, b) == (c, d) => {}
            _ => assert_eq!(seen, expect),
        }
        if let Some(flight) = flight {
            let recorded = policy.lock == Lock::On || matches!(seen, Expect::Refresh(..));
            if recorded {
                let token = flight.token();
                self.model.start(n, token, asker, self.now, policy.lease);
            }
            self.opened(flight, n, owner);
        }
    }

    fn poll(&mut self, index: usize, owner: usize, policy: &Policy) {
        if self.tickets.is_empty() {
            return;
        }
        let index = index % self.tickets.len();
        let (ticket, n) = self.tickets[index];
        let asker = self.owners[owner % OWNERS];
        let alive = |owner| self.owners.contains(&owner);
        let who = Asker {
            owner: asker,
            alive: &alive,
        };
        let expect = self.model.poll(n, ticket.token, policy, self.at(asker));
        let got = enter(&self.zone, self.now).poll(&ticket, policy, &who, &mut self.value);
        let value = self.value.clone();
        let seen = match got {
            Poll::Pending => ExpectPoll::Pending,
            Poll::Answered(found) => ExpectPoll::Answered(found, value),
            Poll::Failed => ExpectPoll::Failed(value),
            Poll::Resolve(flight) => {
                let token = flight.token();
                self.model.start(n, token, asker, self.now, policy.lease);
                self.opened(flight, n, owner);
                ExpectPoll::Resolve
            }
        };
        assert_eq!(seen, expect);
        if seen != ExpectPoll::Pending {
            self.tickets.swap_remove(index);
        }
    }

    fn fresh(&mut self, n: u64, policy: &Policy) {
        let expect = self.model.fresh(n, policy, self.now);
        let got = enter(&self.zone, self.now).fresh(&key(n), policy, &mut self.value);
        assert_eq!(got.map(|found| (found, self.value.clone())), expect);
    }

    fn stale(&mut self, n: u64, policy: &Policy) {
        let expect = self.model.stale(n, policy, self.now);
        let got = enter(&self.zone, self.now).stale(&key(n), policy, &mut self.value);
        assert_eq!(got.map(|found| (found, self.value.clone())), expect);
    }

    fn settle(&mut self, index: usize, said: &Said) {
        let Some(open) = self.take_open(index) else {
            return;
        };
        let (n, token, started) = (open.n, open.flight.token(), open.flight.started);
        let value = self.words(said.len);
        let until = said.until.filter(|_| said.valid).map(|ms| self.now + ms);
        let answer = match said.valid {
            true => Answer::Valid {
                value: &value,
                user: user(said.user),
                session: said.session.map(session),
                use_until: until.map(at),
            },
            false => Answer::Invalid { value: &value },
        };
        let got = enter(&self.zone, self.now).settle(open.flight, answer);

        let mut subjects = vec![Subject::Key(key(n))];
        if said.valid {
            subjects.push(Subject::User(user(said.user)));
            subjects.extend(said.session.map(|id| Subject::Session(session(id))));
        }
        let memory = Memory::new(&self.region.0, &self.layout);
        let stamps: Vec<_> = subjects
            .into_iter()
            .map(|subject| memory.stamp_of(subject))
            .collect();
        let (started, now) = (started.as_millis(), self.now);
        let stamped = self.model.refusal(&stamps, token.word(), started, now);
        let later = self.model.entries.get(&n).is_some_and(|e| e.token > token);
        let refusal = match stamped {
            Some(Refusal::Purged) => stamped,
            _ if later => Some(Refusal::Superseded),
            Some(_) => stamped,
            None if until == Some(now) => Some(Refusal::Expired),
            None => None,
        };
        assert_eq!(got, refusal.map_or(Settled::Stored, Settled::Unstored));

        let validity = if said.valid {
            Validity::Valid
        } else {
            Validity::Invalid
        };
        match refusal {
            None => {
                let entry = Entry {
                    validity,
                    value,
                    user: Some(said.user).filter(|_| said.valid),
                    session: said.session.filter(|_| said.valid),
                    until: until.unwrap_or(u64::MAX),
                    stored: now,
                    token,
                    evictions: self.zone.stats().evictions,
                };
                self.model.entries.insert(n, entry);
                if self.model.records.get(&n).is_some_and(|r| r.token <= token) {
                    self.model.records.remove(&n);
                }
            }
            Some(Refusal::Quarantined | Refusal::Expired) => {
                let until = until.filter(|&until| until > now).unwrap_or(u64::MAX);
                self.land(n, token, Some(validity), value, until);
            }
            Some(_) => self.forget_flight(n, token),
        }
    }

    fn fail(&mut self, index: usize, len: usize) {
        let Some(open) = self.take_open(index) else {
            return;
        };
        let words = self.words(len);
        let (n, token) = (open.n, open.flight.token());
        enter(&self.zone, self.now).fail(open.flight, &words);
        self.land(n, token, None, words, u64::MAX);
    }

    fn land(&mut self, n: u64, token: Token, answer: Option<Validity>, value: Vec<u8>, until: u64) {
        let record = self.model.records.get_mut(&n);
        if let Some(record) = record.filter(|record| record.token == token) {
            record.told = Some(Told {
                token,
                at: self.now,
                until,
                answer,
                value,
            });
        }
    }

    fn forget_flight(&mut self, n: u64, token: Token) {
        if self.model.records.get(&n).is_some_and(|r| r.token == token) {
            self.model.records.remove(&n);
        }
    }

    fn purged(&mut self, count: usize, gone: impl Fn(&Entry) -> bool) {
        let before = self.model.entries.len();
        self.model.entries.retain(|_, entry| !gone(entry));
        assert_eq!(count, before - self.model.entries.len());
    }

    fn stamp(&mut self, subject: Subject, token: u64, timed: bool) {
        let memory = Memory::new(&self.region.0, &self.layout);
        let stamp = self.model.stamps.entry(memory.stamp_of(subject));
        let stamp = stamp.or_default();
        stamp.token = token;
        if timed {
            stamp.time = self.now;
            self.model.purged = token;
        }
    }

    pub(super) fn kill(&mut self, owner: Owner) {
        self.owners.retain(|&other| other != owner);
        self.open.retain(|open| open.owner != owner);
        self.fork();
    }

    fn opened(&mut self, flight: Flight, n: u64, owner: usize) {
        assert!(self.last_token < Some(flight.token()), "a token came twice");
        self.last_token = Some(flight.token());
        let owner = self.owners[owner % OWNERS];
        self.open.push(Open { flight, n, owner });
    }

    fn take_open(&mut self, index: usize) -> Option<Open> {
        if self.open.is_empty() {
            return None;
        }
        let index = index % self.open.len();
        Some(self.open.swap_remove(index))
    }

    fn words(&mut self, len: usize) -> Vec<u8> {
        self.said += 1;
        let word = self.said.to_le_bytes();
        word.into_iter().cycle().take(len).collect()
    }

    pub(super) fn next_token(&self) -> u64 {
        Memory::new(&self.region.0, &self.layout).get(header::TOKEN)
    }

    fn at(&self, asker: Owner) -> At<'_> {
        At {
            now: self.now,
            asker,
            alive: &self.owners,
        }
    }
}

/// Enters a zone that nobody left in the middle of a change.
fn enter<'z>(zone: &'z Zone<'_>, now: u64) -> Locked<'z> {
    let locked = zone.enter(at(now)).unwrap();
    assert_eq!(locked.recovery(), None);
    locked
}
