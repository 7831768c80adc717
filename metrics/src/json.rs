//! The numbers as JSON.
//!
//! ```json
//! {
//!   "version": "0.1.0",
//!   "requests": {"valid": 1, "invalid": 0, "none": 0, "error": 0},
//!   "cache_requests": {"hit": 0, "miss": 1},
//!   "denials": {"session": 0},
//!   "forged_headers": 0,
//!   "webhook_events": {"purged": 0},
//!   "purged_entries": 0,
//!   "resolvers": {
//!     "http://authgear:3001/_resolver/resolve": {
//!       "requests": {"valid": 1},
//!       "responses": {"2xx": 1},
//!       "request_duration_seconds": {"count": 1, "sum": 0.004, "buckets": {"0.005": 1, "+Inf": 1}}
//!     }
//!   },
//!   "zones": {
//!     "auth": {
//!       "entries": {"valid": 1, "invalid": 0},
//!       "bytes_used": 384, "size_bytes": 1048576,
//!       "evictions": 0, "recoveries": 0, "resolves_in_flight": 0
//!     }
//!   }
//! }
//! ```

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::labels::{
    CacheStatus, CallResult, DenialReason, Label, RequestOutcome, StatusClass, WebhookResult,
};
use crate::snapshot::{Histogram, Resolver, Snapshot, ZoneSnapshot, VERSION};

impl Snapshot {
    /// One JSON object: the facts of the text formats, nested. The buckets of a histogram are
    /// cumulative there as well.
    #[must_use]
    pub fn to_json(&self) -> String {
        let page = Page {
            version: VERSION,
            requests: Counts(&self.requests),
            cache_requests: Counts(&self.cache),
            denials: Counts(&self.denials),
            forged_headers: self.forged,
            webhook_events: Counts(&self.webhooks),
            purged_entries: self.purged,
            resolvers: Named(&self.resolvers, |resolver| {
                (&resolver.name, resolver.page())
            }),
            zones: Named(&self.zones, |zone| (&zone.name, zone.page())),
        };
        // strings and numbers: there is nothing in it that could fail
        let mut text = serde_json::to_string_pretty(&page).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl Resolver {
    fn page(&self) -> ResolverPage<'_> {
        ResolverPage {
            requests: Counts(&self.results),
            responses: Counts(&self.classes),
            request_duration_seconds: HistogramPage {
                count: self.duration.count(),
                sum: self.duration.seconds(),
                buckets: Buckets(&self.duration),
            },
        }
    }
}

impl ZoneSnapshot {
    fn page(&self) -> ZonePage {
        ZonePage {
            entries: Entries {
                valid: self.valid_entries,
                invalid: self.invalid_entries,
            },
            bytes_used: self.used_bytes,
            size_bytes: self.total_bytes,
            evictions: self.evictions,
            recoveries: self.recoveries,
            resolves_in_flight: self.flights,
        }
    }
}

#[derive(Serialize)]
struct Page<'a> {
    version: &'static str,
    requests: Counts<'a, RequestOutcome>,
    cache_requests: Counts<'a, CacheStatus>,
    denials: Counts<'a, DenialReason>,
    forged_headers: u64,
    webhook_events: Counts<'a, WebhookResult>,
    purged_entries: u64,
    resolvers: Named<'a, Resolver, ResolverPage<'a>>,
    zones: Named<'a, ZoneSnapshot, ZonePage>,
}

#[derive(Serialize)]
struct ResolverPage<'a> {
    requests: Counts<'a, CallResult>,
    responses: Counts<'a, StatusClass>,
    request_duration_seconds: HistogramPage<'a>,
}

#[derive(Serialize)]
struct HistogramPage<'a> {
    count: u64,
    sum: f64,
    buckets: Buckets<'a>,
}

#[derive(Serialize)]
struct ZonePage {
    entries: Entries,
    bytes_used: u64,
    size_bytes: u64,
    evictions: u64,
    recoveries: u64,
    resolves_in_flight: u64,
}

#[derive(Serialize)]
struct Entries {
    valid: u64,
    invalid: u64,
}

/// Counters by the values of their label.
struct Counts<'a, L>(&'a [(L, u64)]);

impl<L: Label> Serialize for Counts<'_, L> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(value, count)| (value.as_str(), count)))
    }
}

/// Counts of a histogram by the upper bounds of its buckets.
struct Buckets<'a>(&'a Histogram);

impl Serialize for Buckets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.buckets())
    }
}

/// Things by their names, and what is told of each.
struct Named<'a, T, P>(&'a [T], fn(&'a T) -> (&'a str, P));

impl<T, P: Serialize> Serialize for Named<'_, T, P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, page) in self.0.iter().map(self.1) {
            map.serialize_entry(name, &page)?;
        }
        map.end()
    }
}
