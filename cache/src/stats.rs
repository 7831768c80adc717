//! Numbers for the status page and the log.

use std::time::Duration;

use crate::layout::{header, BLOCK_WORDS};
use crate::memory::Memory;
use crate::types::Time;
use crate::zone::Locked;

/// How often a full zone is mentioned at most.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What is in a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries with a valid session.
    pub valid_entries: u64,
    /// Entries of invalid answers.
    pub invalid_entries: u64,
    /// Flights on their way.
    pub flights: u64,
    /// Bytes of the blocks in use.
    pub used_bytes: u64,
    /// Bytes of all blocks.
    pub total_bytes: u64,
    /// Blocks in use.
    pub used_blocks: u64,
    /// All blocks.
    pub total_blocks: u64,
    /// Entries that had to go for others, since the zone was made.
    pub evictions: u64,
    /// How often the zone was emptied because of a crash or damage.
    pub recoveries: u64,
}

/// Entries evicted since a full zone was last mentioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted(pub u64);

impl Stats {
    pub(crate) fn read(memory: &Memory<'_>) -> Self {
        const BLOCK: u64 = BLOCK_WORDS as u64 * 8;
        let used = [
            header::VALID_BLOCKS,
            header::INVALID_BLOCKS,
            header::FLIGHT_BLOCKS,
        ];
        let total_blocks = u64::from(memory.layout.blocks);
        let used_blocks = used
            .into_iter()
            .fold(0u64, |sum, word| sum.saturating_add(memory.get(word)))
            .min(total_blocks);
        Stats {
            valid_entries: memory.get(header::VALID_ENTRIES),
            invalid_entries: memory.get(header::INVALID_ENTRIES),
            flights: memory.get(header::FLYING_COUNT),
            used_bytes: used_blocks * BLOCK,
            total_bytes: total_blocks * BLOCK,
            used_blocks,
            total_blocks,
            evictions: memory.get(header::EVICTIONS),
            recoveries: memory.get(header::RECOVERIES),
        }
    }
}

impl Locked<'_> {
    /// Whether the zone is full and that should be said now: at most once a minute, in one process.
    pub fn full(&mut self) -> Option<Evicted> {
        self.attempt(|memory, now| Ok(memory.full(now))).flatten()
    }
}

impl Memory<'_> {
    fn full(&mut self, now: Time) -> Option<Evicted> {
        let evictions = self.get(header::EVICTIONS);
        let news = evictions.wrapping_sub(self.get(header::EVICTIONS_SAID));
        let said = self.get(header::SAID_AT);
        if news == 0 || (said != 0 && now.within(SAY_EVERY, Time::from_millis(said))) {
            return None;
        }
        self.set(header::EVICTIONS_SAID, evictions);
        self.set(header::SAID_AT, now.as_millis().max(1));
        Some(Evicted(news))
    }
}
