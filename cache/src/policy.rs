//! What a location wants of the cache, and who asks.

use std::time::Duration;

/// Whether others wait while one resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// One resolve at a time per key.
    On,
    /// Each resolves for itself.
    Off,
}

/// What a location wants of the cache. Applied when an entry is used, not when it is stored, so locations
/// with different policies can share a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a valid answer is used.
    pub valid: Duration,
    /// How long an invalid answer is used.
    pub invalid: Duration,
    /// Whether others wait while one resolves.
    pub lock: Lock,
    /// How long one may resolve before someone else takes over.
    pub lease: Duration,
    /// Age from which a valid answer is refreshed while it is used; [`Duration::MAX`] for never.
    pub refresh: Duration,
    /// How long after its time a valid answer is used while the resolver fails.
    pub use_stale: Duration,
    /// How long a failure is believed: no refresh in that time, and a stale answer is used without
    /// another try. With zero, each request tries.
    pub backoff: Duration,
}

impl Default for Policy {
    /// The module's defaults.
    fn default() -> Self {
        Policy {
            valid: Duration::from_secs(60),
            invalid: Duration::from_secs(2),
            lock: Lock::On,
            lease: Duration::from_secs(15),
            refresh: Duration::MAX,
            use_stale: Duration::ZERO,
            backoff: Duration::ZERO,
        }
    }
}

/// Who resolves: a process and, if the caller wants, a place in a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// The caller's own; compared and handed back, nothing else.
    pub slot: u32,
}

impl Owner {
    pub(crate) fn word(self) -> u64 {
        u64::from(self.pid) << 32 | u64::from(self.slot)
    }

    pub(crate) fn from_word(word: u64) -> Self {
        Owner {
            pid: (word >> 32) as u32,
            slot: word as u32,
        }
    }
}

/// Who asks, and how to find out whether another owner still lives.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The asking process.
    pub owner: Owner,
    /// Whether an owner still lives. Asked of the owner of a flight that the asker would have to wait
    /// for, with the lock held: it should be cheap. When in doubt, true: the lease ends the flight.
    pub alive: &'a dyn Fn(Owner) -> bool,
}

impl Asker<'_> {
    pub(crate) fn is_alive(&self, owner: Owner) -> bool {
        owner == self.owner || (self.alive)(owner)
    }
}
