//! Log lines that must not flood the log.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::time::monotonic_ms;

/// Lets one line pass in a while, in each worker.
pub struct Limit {
    every_ms: u64,
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl Limit {
    /// One in so many milliseconds.
    pub const fn every_ms(every_ms: u64) -> Limit {
        Limit {
            every_ms,
            next: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether a line may be written now, and then how many were not since the last one.
    pub fn pass(&self) -> Option<u64> {
        let now = monotonic_ms();
        if now < self.next.load(Relaxed) {
            self.suppressed.fetch_add(1, Relaxed);
            return None;
        }
        self.next.store(now + self.every_ms, Relaxed);
        Some(self.suppressed.swap(0, Relaxed))
    }
}
