//! What the module counts, and how it tells: one flat region of memory that all worker processes map.
//!
//! The crate knows nothing of nginx. Its caller hands it a zeroed region (`&[AtomicU64]` of at least
//! [`WORDS`]) and calls [`Metrics::attach`] in each process, first of all where no other process uses
//! the region yet: the master at start and on reload.
//!
//! # What it promises
//!
//! - **No lock, no wait**: a count is one relaxed atomic addition, a resolver call four.
//! - **A reload keeps the numbers**: a region that an earlier start of the same layout filled is used
//!   on; any other is emptied.
//! - **No byte pattern in the region can cause a panic**, at worst it gives wrong numbers.
//! - **A histogram agrees with itself**: its count is the sum of its buckets. Apart from that, a
//!   [`Snapshot`] is read word by word while others count: two families may differ by what happened
//!   in between.
//!
//! # Layout
//!
//! ```text
//! header    magic, version                                        8 words
//! module    requests, cache, denials, webhooks                   32 words
//! slots     64 of 32 words: hash of the resolver's name, results, status classes, histogram, time
//! ```

#![forbid(unsafe_code)]

mod json;
mod labels;
mod layout;
mod metrics;
mod negotiate;
mod snapshot;
#[cfg(test)]
mod tests;
mod text;

pub use labels::{CacheStatus, CallResult, DenialReason, RequestOutcome, WebhookResult};
pub use layout::WORDS;
pub use metrics::{Attached, Metrics, ResolverSlot};
pub use negotiate::{negotiate, Format};
pub use snapshot::{Snapshot, ZoneSnapshot};
