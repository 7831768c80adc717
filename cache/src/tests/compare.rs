//! Death in the middle of a change, and the comparison of zone and model after each step.

use std::panic::{catch_unwind, AssertUnwindSafe};

use super::driver::Driver;
use super::model::{since, Stamp};
use super::ops::{Op, OWNERS};
use super::*;
use crate::layout::header;
use crate::memory::Memory;

/// What a thread that plays a process dies of.
pub(super) struct Killed;

/// Dies before it writes once more after `writes` writes, or says that it didn't.
pub(super) fn dies_at(writes: u64, act: impl FnOnce()) -> bool {
    kill_points::arm(writes, || std::panic::resume_unwind(Box::new(Killed)));
    let died = catch_unwind(AssertUnwindSafe(act));
    kill_points::disarm();
    match died {
        Ok(()) => false,
        Err(cause) if cause.is::<Killed>() => true,
        Err(cause) => std::panic::resume_unwind(cause),
    }
}

impl Driver<'_> {
    /// A process dies in the middle of a change, and the next one enters.
    pub(super) fn die_at(&mut self, writes: u64, op: &Op) {
        let next_token = self.next_token();
        let owner = match *op {
            Op::Lookup(_, owner, _) | Op::Poll(_, owner, _) => self.owners[owner % OWNERS],
            Op::Settle(index, _) | Op::Fail(index, _) | Op::Abandon(index)
                if !self.open.is_empty() =>
            {
                self.open[index % self.open.len()].owner
            }
            _ => self.owners[0],
        };
        if !dies_at(writes, || self.act(op)) {
            return;
        }
        self.kill(owner);
        let recovery = self.zone.enter(at(self.now)).unwrap().recovery();
        if let Some(recovery) = recovery {
            assert_eq!(recovery, Recovery::Interrupted);
            self.model.entries.clear();
            self.model.records.clear();
        }
        self.reread_stamps(next_token);
    }

    /// After a death a stamp is what it was or what it should have become.
    fn reread_stamps(&mut self, token: u64) {
        let memory = Memory::new(&self.region.0, &self.layout);
        let purged = memory.get(header::PURGED);
        assert!(purged == self.model.purged || purged == token);
        self.model.purged = purged;
        for word in self.layout.stamp_words().step_by(2) {
            let there = Stamp {
                token: memory.get(word),
                time: memory.get(word + 1),
            };
            let old = self.model.stamps.get(&word).copied().unwrap_or_default();
            assert!(there.token == old.token || there.token == token);
            assert!(there.time == old.time || there.time == self.now);
            self.model.stamps.insert(word, there);
        }
    }

    /// The zone holds what the model holds, except for what had to go for others.
    pub(super) fn compare(&mut self) {
        let memory = Memory::new(&self.region.0, &self.layout);
        for n in 0..self.keys {
            let there = memory.find_entry(&key(n)).unwrap();
            let expected = self.model.entries.get(&n);
            assert!(there.is_none() || expected.is_some(), "{n} is there");
            if let (None, Some(expected)) = (there, expected) {
                assert!(!self.ample, "{n} is gone");
                assert!(self.zone.stats().evictions > expected.evictions);
                self.model.entries.remove(&n);
            }

            let there = memory.find_flight(&key(n)).unwrap();
            let expected = self.model.records.get(&n);
            assert!(there.is_none() || expected.is_some(), "{n} flies");
            if let (None, Some(expected)) = (there, expected) {
                assert!(!self.ample, "{n} flies no more");
                let told_just_now = expected.told.as_ref().is_some_and(|told| {
                    told.at < self.now && since(self.now, told.at).is_some_and(|age| age < ms(200))
                });
                assert!(expected.started == self.now || !told_just_now);
                assert!(
                    !expected.flying()
                        || expected.started == self.now
                        || expected.overdue(self.now)
                );
                self.model.records.remove(&n);
            }
            if let (Some(there), Some(expected)) = (there, self.model.records.get_mut(&n)) {
                // A failure without room is told without words.
                if let Some(told) = &mut expected.told {
                    memory
                        .read_told(&there, &there.told.unwrap(), &mut self.value)
                        .unwrap();
                    if !self.ample && told.answer.is_none() && self.value.is_empty() {
                        told.value.clear();
                    }
                }
            }
        }
    }
}
