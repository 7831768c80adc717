//! One request's way through the module: forged headers removed, the identity resolved, the app
//! told, or the client refused.

pub mod access;
pub mod context;
mod identity;
mod refuse;
mod resolve;
mod strip;
pub mod variables;
pub mod watch;

pub use strip::{enter_location, strip};
