//! Tests of the whole: what is counted, by how many at once, and how it is told.

mod counting;
mod dashboard;
mod exposition;
mod json;
mod negotiating;
mod region;
mod sharing;
mod text;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::*;
use exposition::{Exposition, Format as Dialect};

/// The name of a resolver.
const RESOLVER: &str = "http://authgear:3001/_resolver/resolve";

/// A region of shared memory.
struct Region(Vec<AtomicU64>);

impl Region {
    fn new() -> Self {
        Self::of((0..WORDS).map(|_| 0))
    }

    fn of(words: impl IntoIterator<Item = u64>) -> Self {
        Region(words.into_iter().map(AtomicU64::new).collect())
    }

    fn metrics(&self) -> Metrics<'_> {
        self.attach().0
    }

    fn attach(&self) -> (Metrics<'_>, Attached) {
        Metrics::attach(&self.0).unwrap()
    }

    fn words(&self) -> Vec<u64> {
        self.0.iter().map(|word| word.load(Relaxed)).collect()
    }
}

/// The text of a snapshot as Prometheus reads it.
fn scrape(snapshot: &Snapshot) -> Exposition {
    let text = snapshot.to_prometheus();
    Exposition::parse(&text, Dialect::Prometheus).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn zone(name: &str) -> ZoneSnapshot {
    ZoneSnapshot {
        name: name.to_owned(),
        valid_entries: 20,
        invalid_entries: 3,
        flights: 2,
        used_bytes: 8_832,
        total_bytes: 1_048_576,
        evictions: 7,
        recoveries: 1,
    }
}

/// Counts something of everything.
fn everything(metrics: Metrics<'_>) -> Snapshot {
    let slot = metrics.resolver(RESOLVER).unwrap();
    metrics.count_request(RequestOutcome::Valid);
    metrics.count_cache(CacheStatus::Miss);
    metrics.count_denial(DenialReason::MaxAge);
    metrics.add_forged(3);
    metrics.count_webhook(WebhookResult::BadSignature);
    metrics.add_purged(12);
    metrics.count_call(slot, CallResult::Valid, 200, 4);
    metrics.count_call(slot, CallResult::BadStatus, 502, 31);
    metrics.count_call(slot, CallResult::Timeout, 0, 5_003);
    metrics.snapshot(&[(RESOLVER, slot)], &[zone("auth")])
}
