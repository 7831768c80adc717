//! Counting.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::labels::{
    CacheStatus, CallResult, DenialReason, Label, RequestOutcome, StatusClass, WebhookResult,
};
use crate::layout::{self, slot, BOUNDS, SLOTS, WORDS};

/// The counters of the module.
#[derive(Clone, Copy)]
pub struct Metrics<'m> {
    words: &'m [AtomicU64; WORDS],
}

/// What was in the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Nothing: all counters are zero.
    Fresh,
    /// The counters of an earlier start, which go on.
    Reused,
    /// Something else, which is gone: all counters are zero.
    Incompatible,
}

/// Where the calls of one resolver are counted; the same in all processes and across reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResolverSlot(u8);

impl ResolverSlot {
    fn word(self, word: usize) -> usize {
        layout::slot_at(usize::from(self.0)) + word
    }
}

impl<'m> Metrics<'m> {
    /// Finds the counters in a region, or makes room for them there.
    ///
    /// None if it has fewer than [`WORDS`] words; those beyond stay untouched.
    #[must_use]
    pub fn attach(words: &'m [AtomicU64]) -> Option<(Self, Attached)> {
        let metrics = Metrics {
            words: words.first_chunk()?,
        };
        let attached = metrics.examine();
        if attached == Attached::Incompatible {
            // the header goes first: whoever dies here leaves no half of our counters behind
            for word in metrics.words {
                word.store(0, Relaxed);
            }
        }
        if attached != Attached::Reused {
            metrics.words[layout::VERSION].store(layout::VERSION_WORD, Relaxed);
            metrics.words[layout::MAGIC].store(layout::MAGIC_WORD, Relaxed);
        }
        Some((metrics, attached))
    }

    fn examine(&self) -> Attached {
        let header = (self.get(layout::MAGIC), self.get(layout::VERSION));
        if header == (layout::MAGIC_WORD, layout::VERSION_WORD) {
            Attached::Reused
        } else if self.words.iter().all(|word| word.load(Relaxed) == 0) {
            Attached::Fresh
        } else {
            Attached::Incompatible
        }
    }

    /// The slot of a resolver, found by its name or newly taken.
    ///
    /// A name is the URL as configured, not as evaluated. A slot is never given back: the 64 serve all
    /// names until nginx is stopped, and after those this is None.
    #[must_use]
    pub fn resolver(&self, name: &str) -> Option<ResolverSlot> {
        let hash = hash(name).get();
        let first = (hash % SLOTS as u64) as u8;
        (0..SLOTS as u8)
            .map(|step| ResolverSlot((first + step) % SLOTS as u8))
            .find(|slot| {
                let taken = self.words[slot.word(slot::HASH)]
                    .compare_exchange(0, hash, Relaxed, Relaxed)
                    .unwrap_or_else(|taken| taken);
                taken == 0 || taken == hash
            })
    }

    /// Counts a client's request that was resolved.
    pub fn count_request(&self, outcome: RequestOutcome) {
        self.add(layout::REQUESTS.word(outcome), 1);
    }

    /// Counts what the cache did for a request.
    pub fn count_cache(&self, status: CacheStatus) {
        self.add(layout::CACHE.word(status), 1);
    }

    /// Counts a refused request.
    pub fn count_denial(&self, reason: DenialReason) {
        self.add(layout::DENIALS.word(reason), 1);
    }

    /// Counts the forged identity headers of one request.
    pub fn add_forged(&self, headers: u64) {
        self.add(layout::FORGED, headers);
    }

    /// Counts a request to the webhook endpoint.
    pub fn count_webhook(&self, result: WebhookResult) {
        self.add(layout::WEBHOOKS.word(result), 1);
    }

    /// Counts the entries that a webhook or a purge removed.
    pub fn add_purged(&self, entries: u64) {
        self.add(layout::PURGED, entries);
    }

    /// Counts a call of a resolver; `status` is 0 when no response came.
    ///
    /// All calls are in the histogram, however they ended: a resolver that lets its callers time out
    /// must not look fast.
    pub fn count_call(&self, slot: ResolverSlot, result: CallResult, status: u16, elapsed_ms: u64) {
        self.add(slot.word(slot::RESULTS.word(result)), 1);
        if let Some(class) = StatusClass::of(status) {
            self.add(slot.word(slot::CLASSES.word(class)), 1);
        }
        self.add(slot.word(slot::FIRST_BUCKET + bucket(elapsed_ms)), 1);
        self.add(slot.word(slot::MILLISECONDS), elapsed_ms);
    }

    pub(crate) fn get(&self, word: usize) -> u64 {
        self.words[word].load(Relaxed)
    }

    pub(crate) fn row<L: Label>(&self, row: &layout::Row<L>) -> Vec<(L, u64)> {
        self.counts(|value| row.word(value))
    }

    pub(crate) fn slot_row<L: Label>(
        &self,
        slot: ResolverSlot,
        row: &layout::Row<L>,
    ) -> Vec<(L, u64)> {
        self.counts(|value| slot.word(row.word(value)))
    }

    pub(crate) fn slot_word(&self, slot: ResolverSlot, word: usize) -> u64 {
        self.get(slot.word(word))
    }

    fn counts<L: Label>(&self, word: impl Fn(L) -> usize) -> Vec<(L, u64)> {
        L::ALL
            .iter()
            .map(|&value| (value, self.get(word(value))))
            .collect()
    }

    fn add(&self, word: usize, count: u64) {
        self.words[word].fetch_add(count, Relaxed);
    }
}

/// The bucket into which a duration falls.
fn bucket(elapsed_ms: u64) -> usize {
    BOUNDS.partition_point(|&(bound, _)| bound < elapsed_ms)
}

/// FNV-1a: it must be the same in every build, since the region outlives a reload of a new one.
fn hash(name: &str) -> NonZeroU64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    NonZeroU64::new(hash).unwrap_or(NonZeroU64::MAX)
}
