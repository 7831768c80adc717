//! One request's way through the module: forged headers removed, the identity resolved, the app
//! told, or the client refused.

pub mod access;
mod context;
mod identity;
mod refuse;
mod strip;
pub mod variables;

pub use strip::strip;
