//! Dying between two writes of a critical section, for tests.
//!
//! With the feature `kill-points`, a test build of the module can arm a thread to run a function (one
//! that kills the process) in place of its nth write to a zone.

use std::cell::Cell;

/// Writes to come, and what happens in place of the one after.
type Armed = Option<(u64, fn())>;

thread_local! {
    static ARMED: Cell<Armed> = const { Cell::new(None) };
}

/// After `writes` more writes of this thread to any zone, runs `die` in place of the next one. It must
/// not return: it kills the process, or unwinds.
pub fn arm(writes: u64, die: fn()) {
    ARMED.set(Some((writes, die)));
}

/// Takes the arming back, and says how many writes were left of it. None if it has happened.
pub fn disarm() -> Option<u64> {
    ARMED.take().map(|(left, _)| left)
}

pub(crate) fn before_write() {
    let Some((left, die)) = ARMED.get() else {
        return;
    };
    match left.checked_sub(1) {
        Some(left) => ARMED.set(Some((left, die))),
        None => {
            ARMED.set(None);
            die();
        }
    }
}
