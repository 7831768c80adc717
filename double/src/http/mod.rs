//! HTTP/1.1 over blocking sockets, a thread per connection, written here so that it can be spoken
//! badly on purpose.

mod connection;
mod percent;
mod record;
mod request;
mod response;
mod server;
mod stream;

pub(crate) use connection::Connection;
pub(crate) use percent::{decode, form_fields};
pub(crate) use record::{text, BodyDigest, Recorder};
pub(crate) use request::Request;
pub(crate) use response::{reason, Answer, Body};
pub(crate) use server::{Next, Server, Service, Statistics};
pub(crate) use stream::Stream;

pub use record::{fnv1a, RecordedRequest};
pub use stream::Listen;
