//! What is counted, where a location shows it. Without `authgear_status` nothing is counted.

use core::cell::{OnceCell, RefCell};
use std::rc::Rc;

use authgear_metrics::{
    Attached, CallResult, DenialReason, Metrics, RequestOutcome, ResolverSlot, Snapshot,
    ZoneSnapshot, WORDS,
};
use authgear_session::answer::{Answer, AnswerError};
use authgear_session::require::Reason;

use crate::cache::Zone;
use crate::ngx::log;
use crate::ngx::shm::{self, Attach, Region};
use crate::request::context::{CacheStatus, Outcome};
use crate::resolver::Failure;

/// The counters of an `http {}`, in shared memory.
#[derive(Default)]
pub struct Counters {
    place: OnceCell<Metrics<'static>>,
    resolvers: RefCell<Vec<Rc<Meter>>>,
}

/// The counters of one resolver.
pub struct Meter {
    name: String,
    place: OnceCell<(Metrics<'static>, ResolverSlot)>,
}

/// The name of the shared memory zone.
pub const ZONE_NAME: &[u8] = b"authgear_status";

/// The size of the zone: the counters, and room for what nginx keeps in each zone.
pub fn zone_size() -> usize {
    let page = shm::page_size();
    (WORDS * 8).div_ceil(page) * page + 8 * page
}

impl Attach for Counters {
    fn attach(&self, region: Region) -> bool {
        let Some((metrics, how)) = Metrics::attach(region.words()) else {
            log::cycle().emerg(format_args!("authgear: no room for counters"));
            return false;
        };
        if how == Attached::Incompatible {
            log::cycle().notice(format_args!(
                "authgear: another version's counters start afresh"
            ));
        }
        for meter in self.resolvers.borrow().iter() {
            if let Some(slot) = metrics.resolver(&meter.name) {
                let _ = meter.place.set((metrics, slot));
            } else {
                let name = &meter.name;
                log::cycle().warn(format_args!("authgear: no counters left for {name}"));
            }
        }
        self.place.set(metrics).is_ok()
    }
}

impl Counters {
    /// The counters of a resolver, by its URL as configured.
    pub fn meter(&self, name: &str) -> Rc<Meter> {
        let mut resolvers = self.resolvers.borrow_mut();
        if let Some(meter) = resolvers.iter().find(|m| m.name == name) {
            return meter.clone();
        }
        let meter = Rc::new(Meter {
            name: name.into(),
            place: OnceCell::new(),
        });
        resolvers.push(meter.clone());
        meter
    }

    /// The counters, if there are any.
    pub fn get(&self) -> Option<&Metrics<'static>> {
        self.place.get()
    }

    /// A request was resolved.
    pub fn count_request(&self, outcome: Option<Outcome>, cache: Option<CacheStatus>) {
        use authgear_metrics::CacheStatus as Counted;
        let Some(metrics) = self.get() else { return };
        if let Some(outcome) = outcome {
            metrics.count_request(match outcome {
                Outcome::Valid => RequestOutcome::Valid,
                Outcome::Invalid => RequestOutcome::Invalid,
                Outcome::None => RequestOutcome::None,
                Outcome::Error => RequestOutcome::Error,
            });
        }
        if let Some(cache) = cache {
            metrics.count_cache(match cache {
                CacheStatus::Hit => Counted::Hit,
                CacheStatus::Miss => Counted::Miss,
                CacheStatus::Expired => Counted::Expired,
                CacheStatus::Stale => Counted::Stale,
                CacheStatus::Refresh => Counted::Refresh,
                CacheStatus::Bypass => Counted::Bypass,
                CacheStatus::Wait => Counted::Wait,
                CacheStatus::None => Counted::None,
            });
        }
    }

    /// A request was refused.
    pub fn count_denial(&self, reason: Reason) {
        let Some(metrics) = self.get() else { return };
        metrics.count_denial(match reason {
            Reason::Session => DenialReason::Session,
            Reason::User => DenialReason::User,
            Reason::Verified => DenialReason::Verified,
            Reason::Role => DenialReason::Role,
            Reason::Amr => DenialReason::Amr,
            Reason::MaxAge => DenialReason::MaxAge,
            Reason::Error => DenialReason::Error,
        });
    }

    /// All that is to be shown.
    pub fn snapshot(&self, zones: &[Rc<Zone>]) -> Option<Snapshot> {
        let metrics = self.get()?;
        let resolvers = self.resolvers.borrow();
        let resolvers: Vec<(&str, ResolverSlot)> = resolvers
            .iter()
            .filter_map(|meter| {
                meter
                    .place
                    .get()
                    .map(|(_, slot)| (meter.name.as_str(), *slot))
            })
            .collect();
        let zones: Vec<ZoneSnapshot> = zones
            .iter()
            .filter_map(|zone| {
                let stats = zone.stats()?;
                Some(ZoneSnapshot {
                    name: zone.name().into(),
                    valid_entries: stats.valid_entries,
                    invalid_entries: stats.invalid_entries,
                    flights: stats.flights,
                    used_bytes: stats.used_bytes,
                    total_bytes: stats.total_bytes,
                    evictions: stats.evictions,
                    recoveries: stats.recoveries,
                })
            })
            .collect();
        Some(metrics.snapshot(&resolvers, &zones))
    }
}

impl Meter {
    /// A call to the resolver is over.
    pub fn count_call(&self, answer: &Result<Answer, Failure>, status: u16, elapsed_ms: u64) {
        let Some((metrics, slot)) = self.place.get() else {
            return;
        };
        let (result, status) = match answer {
            Ok(Answer::Valid(_)) => (CallResult::Valid, status),
            Ok(Answer::Invalid) => (CallResult::Invalid, status),
            Ok(Answer::None) => (CallResult::None, status),
            Err(Failure::Answer(AnswerError::Status(_))) => (CallResult::BadStatus, status),
            Err(Failure::Answer(_) | Failure::Response(_)) => (CallResult::Malformed, status),
            Err(Failure::Call(504)) => (CallResult::Timeout, 0),
            Err(Failure::Call(499)) => (CallResult::ClientClosed, 0),
            Err(_) => (CallResult::Unreachable, 0),
        };
        metrics.count_call(*slot, result, status, elapsed_ms);
    }
}
