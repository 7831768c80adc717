//! Runs the module inside a real nginx and looks at it from outside.
//!
//! A test writes the interesting lines of a configuration, makes a request and
//! says what the application behind nginx saw:
//!
//! ```no_run
//! use authgear_integration::{get, Site};
//!
//! let site = Site::serving("authgear_resolve http://%resolver%; proxy_pass http://%app%;");
//! let seen = site.app_saw(get("/").cookie("session=alice"));
//! assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
//! ```
//!
//! - [`Site`]: resolver double, echo application and nginx, together.
//! - [`Nginx`]: one nginx with its own directory, ports and logs. When it goes, its
//!   error log is searched for what must never be there.
//! - [`Daemon`]: one that can be replaced by another binary.
//! - [`Http1`], [`Http2`]: clients that can do what a polite library would not.
//! - [`Faults`]: calls of the C library that fail in an nginx, and clocks that are wrong.
//! - [`Scripted`]: a resolver that answers with the bytes it is told.
//! - [`TlsServer`] with certificates of an [`Authority`], and a [`Dns`] server.
//! - [`FastCgi`], [`Uwsgi`], [`Scgi`], [`Grpc`]: the other kinds of upstream.
//!
//! `AUTHGEAR_NGINX` and `AUTHGEAR_MODULE` name the binary and the module (`static` when it is
//! linked into the binary), `AUTHGEAR_VALGRIND=1` runs nginx under memcheck.

mod certificates;
mod daemon;
mod dns;
mod environment;
mod faults;
mod http1;
mod http2;
mod message;
mod nginx;
mod peers;
mod port;
mod random;
mod scripted;
mod seen;
mod site;
mod tls;
mod usage;
mod wait;

pub use certificates::{Authority, Identity};
pub use daemon::Daemon;
pub use dns::{Dns, Says};
pub use environment::{workspace, Environment};
pub use faults::{Faults, Happened, Libc};
pub use http1::Http1;
pub use http2::{raw_http2_get, Http2};
pub use message::{get, post, request, signature, Request, Response};
pub use nginx::{nginx_t, Nginx, NginxBuilder};
pub use peers::{FastCgi, Grpc, Scgi, Uwsgi};
pub use port::Port;
pub use random::Random;
pub use scripted::{answer, Conversation, Scripted};
pub use seen::{is_identity, Seen};
pub use site::{
    people, Site, SiteBuilder, ALICE, ALICE_ACCESS_TOKEN, ALICE_APP_SESSION, ALICE_BEARER,
    ALICE_IDENTITY, BOB, BOB_IDENTITY, CAROL, GONE, INVALID_IDENTITY,
};
pub use tls::{Handshake, TlsServer, TlsServerBuilder};
pub use usage::{descriptors, memory_kib, Trend};
pub use wait::{deadline, eventually, holds_for};
