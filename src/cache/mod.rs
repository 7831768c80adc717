//! The session cache at nginx's edge: zones in shared memory, and the requests that wait for
//! someone else's answer. Its logic is in the `authgear-cache` crate.

#[cfg(feature = "kill-points")]
mod kill_points;
mod waiters;
mod zone;

pub use waiters::{wait, Waited, Waiter};
pub use zone::{decode, CredentialFacts, Hold, Zone};
