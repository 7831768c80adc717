//! The numbers at one moment.

use crate::labels::{
    CacheStatus, CallResult, DenialReason, RequestOutcome, StatusClass, WebhookResult,
};
use crate::layout::{self, slot, BOUNDS, BUCKETS};
use crate::metrics::{Metrics, ResolverSlot};
use crate::negotiate::Format;

/// The module's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is in a cache zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneSnapshot {
    /// As configured.
    pub name: String,
    /// Entries with a valid session.
    pub valid_entries: u64,
    /// Entries of invalid answers.
    pub invalid_entries: u64,
    /// Resolves on their way.
    pub flights: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes there are.
    pub total_bytes: u64,
    /// Entries that had to go for others.
    pub evictions: u64,
    /// How often the zone was emptied because of a crash or damage.
    pub recoveries: u64,
}

/// All numbers, to be told in any [`Format`].
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) requests: Vec<(RequestOutcome, u64)>,
    pub(crate) cache: Vec<(CacheStatus, u64)>,
    pub(crate) denials: Vec<(DenialReason, u64)>,
    pub(crate) webhooks: Vec<(WebhookResult, u64)>,
    pub(crate) forged: u64,
    pub(crate) purged: u64,
    pub(crate) resolvers: Vec<Resolver>,
    pub(crate) zones: Vec<ZoneSnapshot>,
}

#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    pub(crate) name: String,
    pub(crate) results: Vec<(CallResult, u64)>,
    pub(crate) classes: Vec<(StatusClass, u64)>,
    pub(crate) duration: Histogram,
}

#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    /// Each with those below it.
    pub(crate) cumulative: [u64; BUCKETS],
    pub(crate) milliseconds: u64,
}

impl Metrics<'_> {
    /// Reads all numbers: those of the resolvers that the present configuration names, and of its
    /// zones. Which is named twice is told once.
    #[must_use]
    pub fn snapshot(&self, resolvers: &[(&str, ResolverSlot)], zones: &[ZoneSnapshot]) -> Snapshot {
        Snapshot {
            requests: self.row(&layout::REQUESTS),
            cache: self.row(&layout::CACHE),
            denials: self.row(&layout::DENIALS),
            webhooks: self.row(&layout::WEBHOOKS),
            forged: self.get(layout::FORGED),
            purged: self.get(layout::PURGED),
            resolvers: resolvers
                .iter()
                .enumerate()
                .filter(|&(at, (name, slot))| {
                    !resolvers[..at]
                        .iter()
                        .any(|(other, other_slot)| other == name || other_slot == slot)
                })
                .map(|(_, &(name, slot))| self.resolver_snapshot(name, slot))
                .collect(),
            zones: zones
                .iter()
                .enumerate()
                .filter(|&(at, zone)| !zones[..at].iter().any(|other| other.name == zone.name))
                .map(|(_, zone)| zone.clone())
                .collect(),
        }
    }

    fn resolver_snapshot(&self, name: &str, slot: ResolverSlot) -> Resolver {
        let mut below = 0u64;
        Resolver {
            name: name.to_owned(),
            results: self.slot_row(slot, &slot::RESULTS),
            classes: self.slot_row(slot, &slot::CLASSES),
            duration: Histogram {
                cumulative: std::array::from_fn(|bucket| {
                    below = below.saturating_add(self.slot_word(slot, slot::FIRST_BUCKET + bucket));
                    below
                }),
                milliseconds: self.slot_word(slot, slot::MILLISECONDS),
            },
        }
    }
}

impl Histogram {
    /// Each bucket's upper bound and all calls that took no longer.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        BOUNDS
            .iter()
            .map(|&(_, bound)| bound)
            .chain(["+Inf"])
            .zip(self.cumulative)
    }

    pub(crate) fn count(&self) -> u64 {
        self.cumulative[BUCKETS - 1]
    }

    pub(crate) fn seconds(&self) -> f64 {
        // exact up to 2^53 ms
        self.milliseconds as f64 / 1000.0
    }
}

impl Snapshot {
    /// Tells the numbers in the form asked for.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Json => self.to_json(),
            Format::Prometheus => self.to_prometheus(),
            Format::OpenMetrics => self.to_openmetrics(),
        }
    }
}
