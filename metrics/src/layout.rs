//! Where everything lies in the region.

use std::marker::PhantomData;

use crate::labels::{
    CacheStatus, CallResult, DenialReason, Label, RequestOutcome, StatusClass, WebhookResult,
};

/// The first word of a region that holds our counters.
pub(crate) const MAGIC_WORD: u64 = u64::from_le_bytes(*b"ag-count");

/// Changes with every change of the layout or of a word's meaning.
pub(crate) const VERSION_WORD: u64 = 1;

pub(crate) const MAGIC: usize = 0;
pub(crate) const VERSION: usize = 1;

/// One counter for each value of a label.
pub(crate) struct Row<L> {
    first: usize,
    label: PhantomData<L>,
}

impl<L: Label> Row<L> {
    const fn at(first: usize) -> Self {
        Row {
            first,
            label: PhantomData,
        }
    }

    const fn end(&self) -> usize {
        self.first + L::ALL.len()
    }

    pub(crate) fn word(&self, value: L) -> usize {
        self.first + value.index()
    }
}

pub(crate) const REQUESTS: Row<RequestOutcome> = Row::at(8);
pub(crate) const CACHE: Row<CacheStatus> = Row::at(REQUESTS.end());
pub(crate) const DENIALS: Row<DenialReason> = Row::at(CACHE.end());
pub(crate) const WEBHOOKS: Row<WebhookResult> = Row::at(DENIALS.end());
pub(crate) const FORGED: usize = WEBHOOKS.end();
pub(crate) const PURGED: usize = FORGED + 1;

/// Resolvers that can be counted apart.
pub(crate) const SLOTS: usize = 64;
const SLOT_WORDS: usize = 32;
const FIRST_SLOT: usize = 40;

/// The region's size in words.
pub const WORDS: usize = FIRST_SLOT + SLOTS * SLOT_WORDS;

/// Upper bounds of the histogram in milliseconds, nginx's own unit of time, and as `le` has them.
pub(crate) const BOUNDS: [(u64, &str); 13] = [
    (1, "0.001"),
    (2, "0.002"),
    (5, "0.005"),
    (10, "0.01"),
    (20, "0.02"),
    (50, "0.05"),
    (100, "0.1"),
    (200, "0.2"),
    (500, "0.5"),
    (1_000, "1.0"),
    (2_000, "2.0"),
    (5_000, "5.0"),
    (10_000, "10.0"),
];

/// Buckets of the histogram: one for each bound and one for what is above them.
pub(crate) const BUCKETS: usize = BOUNDS.len() + 1;

/// Words of one slot.
pub(crate) mod slot {
    use super::{CallResult, Row, StatusClass};

    /// Of the resolver's name; zero while the slot is free.
    pub(crate) const HASH: usize = 0;
    pub(crate) const MILLISECONDS: usize = 1;
    pub(crate) const RESULTS: Row<CallResult> = Row::at(2);
    pub(crate) const CLASSES: Row<StatusClass> = Row::at(RESULTS.end());
    /// Each counts what fell into it alone.
    pub(crate) const FIRST_BUCKET: usize = CLASSES.end();
}

/// The first word of a slot.
pub(crate) const fn slot_at(number: usize) -> usize {
    FIRST_SLOT + number * SLOT_WORDS
}

const _: () = assert!(PURGED < FIRST_SLOT && slot::FIRST_BUCKET + BUCKETS <= SLOT_WORDS);
