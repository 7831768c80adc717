//! Asking Authgear's resolver: the request it gets, and what its response comes to.

mod ask;
mod call;
mod question;
mod request;

pub use ask::Inquiry;
pub use call::{Asking, Failure, Waiting};
pub use question::{fingerprint, key_prefix, Question};
pub use request::{has_bearer, is_preflight};
