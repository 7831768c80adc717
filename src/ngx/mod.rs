//! The only place that knows nginx's structs: thin wrappers that are safe to use from the rest of
//! the module. Raw pointers and `unsafe` end here.

pub mod binary;
pub mod bits;
pub mod body;
pub mod conf;
pub mod dns;
pub mod event;
mod exchange;
pub mod filter;
pub mod guard;
pub mod keepalive;
pub mod limit;
pub mod log;
pub mod module;
pub mod names;
pub mod phases;
pub mod pool;
pub mod process;
pub mod request;
pub mod reserve;
pub mod response;
pub mod shm;
pub mod status;
pub mod suspend;
pub mod time;
pub mod tls;
pub mod upstream;
pub mod url;
pub mod value;
pub mod variables;
