//! What Authgear would read from a request, and what its resolver's answer means.
//!
//! The pure half of nginx-authgear: no nginx, no I/O, no unsafe code.
//!
//! - [`identity`]: the identity headers, and which names count as forged ones
//! - [`credentials`]: the bearer token and the cookies, read as Authgear reads them
//! - [`answer`]: the resolver's headers to a [`Session`](answer::Session), or why not
//! - [`response`]: the HTTP response that carries them
//! - [`key`]: what a cached answer belongs to
//! - [`memo`]: keys that were made before
//! - [`jwt`]: when a bearer token that is a JWT expires
//! - [`require`]: what a location demands of a session, and the verdict on a request
//! - [`accept`]: which form a client prefers
//! - [`refusal`]: how a refusal looks to the client that gets it
//! - [`return_url`]: this request's URL, for use inside a query parameter
//! - [`event`]: whom a webhook event concerns
//! - [`purge`]: what a purge call wants removed

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod accept;
pub mod answer;
pub mod credentials;
pub mod event;
pub mod identity;
pub mod jwt;
pub mod key;
pub mod memo;
pub mod purge;
pub mod refusal;
pub mod require;
pub mod response;
pub mod return_url;
