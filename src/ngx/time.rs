//! nginx's cached time.

use core::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// The time in Unix seconds.
pub fn now() -> i64 {
    nginx_sys::ngx_time()
}

/// Milliseconds of the machine's monotonic clock, the same in all processes.
pub fn monotonic_ms() -> u64 {
    // SAFETY: nginx writes it in this thread only.
    unsafe { nginx_sys::ngx_current_msec as u64 }
}

/// What is no more than the two clocks being read one after the other.
const APART_MS: i64 = 1000;

/// By how much the time of day is ahead of the monotonic clock, at the least that was seen, by this
/// process or the one that it was forked from.
static LEAST_AHEAD: AtomicI64 = AtomicI64::new(i64::MAX);

/// Takes note of the time of day, for [`was_set_ahead`].
pub fn note_clocks() {
    was_set_ahead();
}

/// Whether the time of day is ahead of what the monotonic clock says since notice was taken: it was
/// set, or the machine was asleep.
pub fn was_set_ahead() -> bool {
    let day = nginx_sys::ngx_timeofday();
    let day_ms = day.sec.saturating_mul(1000).saturating_add(day.msec as i64);
    let ahead = day_ms.saturating_sub(monotonic_ms() as i64);
    let least = LEAST_AHEAD.load(Relaxed);
    if ahead < least {
        LEAST_AHEAD.store(ahead, Relaxed);
    }
    ahead.saturating_sub(least) > APART_MS
}
