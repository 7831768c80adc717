//! Recency and eviction: two lists, valid and invalid.

use std::time::Duration;

use crate::entry::Entry;
use crate::layout::{entry, header};
use crate::memory::{Block, Corrupt, Memory, Sound};
use crate::types::{Time, Validity};

/// An entry used again within this time keeps its place: a hit writes nothing then.
const TOUCH_EVERY: Duration = Duration::from_secs(1);

impl Memory<'_> {
    /// Notes that an entry was used.
    pub(crate) fn touch(&mut self, entry: &Entry, now: Time) -> Sound<()> {
        if now.within(TOUCH_EVERY, entry.touched) {
            return Ok(());
        }
        let recent = entry.validity.recent();
        self.unlink(recent, entry.block)?;
        self.push_front(recent, entry.block)?;
        self.set_field(entry.block, entry::TOUCHED, now.as_millis());
        Ok(())
    }

    /// Whether an entry of that many blocks fits at all, without clearing most of the zone for it.
    pub(crate) fn could_fit(&self, validity: Validity, blocks: u64) -> bool {
        match validity {
            Validity::Valid => blocks <= self.layout.entry_blocks() / 4,
            Validity::Invalid => blocks <= self.layout.invalid_blocks(),
        }
    }

    /// Evicts until an entry of that many blocks fits.
    pub(crate) fn make_room(&mut self, validity: Validity, blocks: u64, now: Time) -> Sound<()> {
        for _ in 0..=self.layout.blocks {
            let valid = self.get(header::VALID_BLOCKS);
            let invalid = self.get(header::INVALID_BLOCKS);
            let sum = |a: u64, b: u64| a.checked_add(b).ok_or(Corrupt);

            let victim = if validity == Validity::Invalid
                && sum(invalid, blocks)? > self.layout.invalid_blocks()
            {
                self.last(Validity::Invalid.recent())?
            } else if sum(sum(valid, invalid)?, blocks)? > self.layout.entry_blocks() {
                self.least_recent(now)?
            } else {
                return Ok(());
            };
            let victim = self.entry(victim.ok_or(Corrupt)?)?;
            self.remove_entry(&victim)?;
            self.add(header::EVICTIONS, 1);
        }
        Err(Corrupt)
    }

    /// The entry that was not used for longest, of both lists.
    fn least_recent(&self, now: Time) -> Sound<Option<Block>> {
        let valid = self.last(Validity::Valid.recent())?;
        let invalid = self.last(Validity::Invalid.recent())?;
        let (Some(one), Some(other)) = (valid, invalid) else {
            return Ok(valid.or(invalid));
        };
        let idle = |block| {
            let touched = Time::from_millis(self.field(block, entry::TOUCHED));
            now.since(touched).unwrap_or(Duration::MAX)
        };
        Ok(if idle(other) >= idle(one) {
            invalid
        } else {
            valid
        })
    }
}
