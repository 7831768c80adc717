//! Doubles for both sides of the module: Authgear's resolver and the app behind nginx.
//!
//! [`Resolver`] answers as Authgear's resolver does, from a [`Store`] of users and sessions, and
//! misbehaves when given a [`Fault`]. [`EchoApp`] tells which request it received. Both record
//! what they were asked, run on threads of their own and stop when dropped.
//!
//! ```
//! use authgear_resolver_double::{Fault, Resolver, Session, Store, User};
//!
//! let store = Store::new()
//!     .user(User::new("alice").roles(["admin"]))
//!     .session(Session::cookie("s1.secret", "alice").amr(["pwd"]));
//! let resolver = Resolver::start(store);
//! resolver.fault_once(Fault::status(500));
//! println!("authgear_resolve {};", resolver.url());
//! assert_eq!(resolver.request_count(), 0);
//! ```
//!
//! The house: `http` speaks the protocol, `store` holds who is who, `resolver` is the resolver
//! with its faults, login page and control listener, `echo` is the app.

#![forbid(unsafe_code)]

mod cli;
mod echo;
mod http;
mod resolver;
mod store;

pub use cli::{run_echo_app, run_resolver};
pub use echo::{EchoApp, EchoAppBuilder};
pub use http::{fnv1a, Listen, RecordedRequest};
pub use resolver::{Fault, Resolver, ResolverBuilder, Then};
pub use store::{jwt, Kind, Session, Store, StoreError, User};
