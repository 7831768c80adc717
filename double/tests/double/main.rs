//! The doubles as a client sees them, byte by byte.

mod client;
mod control;
mod echo;
mod faults;
mod pages;
mod programs;
mod resolve;
mod server;

use std::time::{Duration, Instant};

/// Waits for something that other threads bring about.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
