//! Panics stop here: none may unwind into nginx's C.

use core::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use super::log;

thread_local! {
    static HOOKED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body`; a panic in it is logged at `alert` and becomes `on_panic`.
pub fn guard<T>(on_panic: T, body: impl FnOnce() -> T) -> T {
    panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(on_panic)
}

/// Sends panic messages to nginx's error log instead of standard error. Call once a process.
pub fn log_panics() {
    if HOOKED.replace(true) {
        return;
    }
    panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|l| (l.file(), l.line()))
            .unwrap_or(("?", 0));
        log::cycle().alert(format_args!(
            "authgear: panicked at {}:{}",
            place.0, place.1
        ));
    }));
}
