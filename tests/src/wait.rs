//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use crate::Environment;

/// How long anything in a test may take before it counts as hanging.
pub fn deadline() -> Duration {
    if Environment::get().valgrind {
        Duration::from_secs(120)
    } else {
        Duration::from_secs(10)
    }
}

/// Asks `probe` until it has an answer.
///
/// # Panics
/// When there is none by the deadline; `what` names it.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether `condition` stays true for `time`: for what must *not* happen.
pub fn holds_for(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if !condition() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
