//! The session cache: its whole logic over one flat region of memory that several processes map.
//!
//! The crate knows nothing of nginx. Its caller hands it a region (`&[AtomicU64]`), a lock that is
//! held around each [`Zone::enter`], and the time. Everything in the region is found by number, never
//! by pointer, so each process may map it elsewhere.
//!
//! # Use
//!
//! [`Zone::attach`] once at start, then for each step: take the lock, [`Zone::enter`], one or more
//! calls on [`Locked`], release the lock.
//!
//! ```text
//! lookup ─ Hit      use the value
//!        ├ Refresh  use the value, resolve in the background ─┐
//!        ├ Stale    the resolver fails: use the old value     │
//!        ├ Resolve  resolve now ──────────────────────────────┼─ settle | fail | abandon
//!        └ Wait     poll ─ Pending | Answered | Failed        │
//!                        └ Resolve: the owner is gone ────────┘
//! ```
//!
//! # What it promises
//!
//! - **One resolve at a time per key**, in all processes: a [`Flight`]. An owner that leaves, fails,
//!   dies or takes too long is replaced by exactly one of those who wait.
//! - **Order.** Flights and purges draw their [`Token`]s from one counter. An answer is not stored when a
//!   purge of its key, user or session, or an answer to a later flight, came after it took off.
//! - **Purges hold.** For [`QUARANTINE`] after a purge no answer about that user or session is stored;
//!   those who waited for it still get it.
//! - **Invalid answers** have a recency list of their own and a tenth of the entries' room.
//! - **Failures** are told to those who waited for that flight and to nobody else.
//! - **A kill at any write** costs the entries, never their truth: see below.
//!
//! # Layout
//!
//! ```text
//! header   identity, dirty mark, counters, list ends           64 words
//! stamps   when the users, sessions and keys of a hash were last purged
//! buckets  of entries by key, by user, by session; of flights by key    u32 each
//! blocks   16 words each: entry | value | flight | free
//! ```
//!
//! An entry is one block and as many value blocks as its value needs, so a session of 200 bytes takes
//! 384 bytes and its share of the buckets. A flight is one block and, once it has something to tell,
//! value blocks. A sixteenth of the blocks belongs to flights; entries and flights cannot push each
//! other out.
//!
//! # Invariants
//!
//! 1. **Writes happen inside a section**: the first write sets the dirty mark, the end of the step
//!    clears it. The write accessor does so itself, it can't be forgotten. Who enters and finds the mark
//!    empties the zone. Tokens and purge stamps are whole words and live on, so what is in flight at that
//!    moment is still judged rightly.
//! 2. **The layout follows from the region's size alone**, nothing read from the region decides where
//!    to read next but block numbers, and each is checked against the number of blocks and the role that
//!    the block must have.
//! 3. **Loops are bounded** by the number of blocks.
//! 4. A contradiction in the region ends the step and empties the zone; no byte pattern can cause a panic
//!    or an endless loop.
//! 5. Stored times that lie in the future (the clock was set back) count as long past. One second is
//!    allowed, since each process keeps a clock of its own.
#![forbid(unsafe_code)]

mod blocks;
mod entry;
mod flight;
#[cfg(any(test, feature = "kill-points"))]
pub mod kill_points;
mod layout;
mod list;
mod lookup;
mod lru;
mod memory;
mod policy;
mod purge;
mod settle;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod types;
mod zone;

pub use layout::TooSmall;
pub use lookup::{Absence, Found, Lookup, Poll};
pub use policy::{Asker, Lock, Owner, Policy};
pub use purge::QUARANTINE;
pub use settle::{Answer, Refusal, Settled};
pub use stats::{Evicted, Stats};
pub use types::{Flight, Key, SessionTag, Ticket, Time, Token, UserTag, Validity};
pub use zone::{Attached, Detached, Locked, Recovery, Seed, Zone};
