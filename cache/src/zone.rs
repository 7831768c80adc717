//! The zone: attaching to a region, entering it, and starting over when it is damaged.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::{header, Layout, TooSmall, MAGIC, VERSION};
use crate::memory::{Memory, Sound};
use crate::stats::Stats;
use crate::types::{Time, Token};

/// Random numbers that keep outsiders from aiming at a bucket of the hash tables. Used when the zone is
/// made; a zone that is there keeps its own.
#[derive(Clone, Copy)]
pub struct Seed(pub [u64; 2]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// What was found in the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// No zone; an empty one is there now.
    Fresh,
    /// A zone of this layout and size, with its contents.
    Reused,
    /// A zone of another layout or size; an empty one is there now.
    Incompatible,
}

/// The region doesn't hold this process's zone any more: another version of the module made its own of
/// it, or its first words are damaged. Go on without the cache until it is attached again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detached;

impl fmt::Display for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session cache is not this process's any more")
    }
}

impl std::error::Error for Detached {}

/// Why a zone was emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// A process ended in the middle of a change.
    Interrupted,
    /// The region contradicted itself.
    Corrupt,
}

/// A session cache in a region of memory that several processes share.
///
/// The region's address should be a multiple of 64, so that blocks don't straddle cache lines.
#[derive(Clone, Debug)]
pub struct Zone<'m> {
    words: &'m [AtomicU64],
    layout: Layout,
}

impl<'m> Zone<'m> {
    /// Finds or makes the zone in a region. The caller holds the region's lock, if others may be at it.
    ///
    /// # Errors
    /// [`TooSmall`] for regions below some ten kilobytes.
    pub fn attach(
        words: &'m [AtomicU64],
        seed: Seed,
        now: Time,
    ) -> Result<(Self, Attached), TooSmall> {
        let layout = Layout::of(words.len())?;
        let zone = Zone { words, layout };
        let memory = zone.memory();
        let attached = if memory.get(header::MAGIC) != MAGIC {
            Attached::Fresh
        } else if memory.is_ours() {
            return Ok((zone, Attached::Reused));
        } else {
            Attached::Incompatible
        };
        zone.memory().make(seed, now);
        Ok((zone, attached))
    }

    /// Enters the zone. The caller holds the region's lock for as long as it keeps what it gets, and has
    /// read `now` after taking it, or at least in the same turn of its event loop.
    ///
    /// # Errors
    /// [`Detached`] when the region is another's.
    pub fn enter(&self, now: Time) -> Result<Locked<'_>, Detached> {
        let memory = self.memory();
        if !memory.is_ours() {
            return Err(Detached);
        }
        let mut locked = Locked {
            memory,
            now,
            recovery: None,
        };
        if locked.memory.is_dirty() {
            locked.recover(Recovery::Interrupted);
        }
        Ok(locked)
    }

    /// Counts what those who wait may want to see: ended flights, purges of keys, recoveries. Needs no
    /// lock. While it stands still and no ticket [expires](crate::Ticket::expires), only the death of an
    /// owner can make a poll worthwhile.
    pub fn completions(&self) -> u64 {
        self.words[header::COMPLETIONS].load(Ordering::Acquire)
    }

    /// What is in the zone. Needs no lock; without it the numbers may not add up by one or two.
    pub fn stats(&self) -> Stats {
        Stats::read(&self.memory())
    }

    fn memory(&self) -> Memory<'_> {
        Memory::new(self.words, &self.layout)
    }
}

/// The zone while the caller holds its lock.
pub struct Locked<'z> {
    memory: Memory<'z>,
    now: Time,
    recovery: Option<Recovery>,
}

impl<'z> Locked<'z> {
    /// Why the zone was emptied since it was entered, to be logged.
    pub fn recovery(&self) -> Option<Recovery> {
        self.recovery
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Takes a step: whole, or in an emptied zone once more.
    pub(crate) fn attempt<T>(
        &mut self,
        mut step: impl FnMut(&mut Memory<'z>, Time) -> Sound<T>,
    ) -> Option<T> {
        for _ in 0..2 {
            if let Ok(done) = step(&mut self.memory, self.now) {
                self.memory.commit();
                return Some(done);
            }
            self.recover(Recovery::Corrupt);
        }
        None
    }

    fn recover(&mut self, recovery: Recovery) {
        self.recovery = Some(recovery);
        self.memory.recover(recovery, self.now);
    }
}

impl Memory<'_> {
    fn is_ours(&self) -> bool {
        self.get(header::MAGIC) == MAGIC
            && self.get(header::VERSION) == VERSION
            && self.get(header::SIZE) == self.layout.words as u64
    }

    /// Makes an empty zone of whatever is there. The magic word comes last.
    fn make(&mut self, seed: Seed, now: Time) {
        self.set(header::MAGIC, 0);
        for word in 0..header::END {
            if word != header::DIRTY {
                self.set(word, 0);
            }
        }
        self.set(header::VERSION, VERSION);
        self.set(header::SIZE, self.layout.words as u64);
        for (word, seed) in header::SEED.into_iter().zip(seed.0) {
            self.set(word, seed);
        }
        self.set(header::TOKEN, Token::first(now).word());
        self.forget_purges();
        self.empty();
        self.set(header::MAGIC, MAGIC);
        self.commit();
    }

    /// Empties the zone. Tokens go on, and purge stamps if they can be trusted.
    fn recover(&mut self, recovery: Recovery, now: Time) {
        self.empty();
        if Token::from_word(self.get(header::TOKEN)).is_none() {
            self.set(header::TOKEN, Token::first(now).word());
        }
        if recovery == Recovery::Corrupt {
            self.forget_purges();
            self.set(header::BLIND_SINCE, now.as_millis().max(1));
        }
        self.add(header::RECOVERIES, 1);
        self.call_waiters();
        self.commit();
    }

    fn empty(&mut self) {
        for word in self.layout.bucket_words().chain(header::EMPTIED) {
            self.set(word, 0);
        }
    }

    /// Clears the stamps; what took off before is then refused by its token alone.
    fn forget_purges(&mut self) {
        self.set(header::FLOOR, self.get(header::TOKEN));
        for word in self.layout.stamp_words() {
            self.set(word, 0);
        }
    }
}
