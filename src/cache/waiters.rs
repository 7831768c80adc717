//! Requests of this worker that wait for someone else's answer.
//!
//! An answer of the same worker wakes them when the event loop comes round. Answers of other workers
//! are noticed by a short timer that runs only while somebody waits, and reads one number.

use core::cell::{Cell, RefCell};
use core::mem::ManuallyDrop;
use std::rc::{Rc, Weak};

use authgear_cache::{Policy, Poll, Ticket};
use authgear_session::answer::Answer;

use super::zone::{decode, told, CredentialFacts, Hold, Zone};
use crate::ngx::event::WakeUp;
use crate::ngx::suspend::Suspended;
use crate::ngx::time::monotonic_ms;

/// How often the zones are looked at for answers of other workers.
const LOOK_EVERY_MS: usize = 5;
/// How often a waiter looks whether the process that resolves is still there.
const CHECK_OWNER_MS: u64 = 100;
/// How much longer than its time a waiter waits at most, and an eighth of it: a call that times out
/// at the same moment, as by default, must not send all who wait for it to the resolver.
const GRACE_MS: u64 = 500;

/// A request that waits.
pub struct Waiter {
    zone: Rc<Zone>,
    ticket: Ticket,
    policy: Policy,
    credentials: CredentialFacts,
    request: Suspended,
    /// When to wait no longer.
    deadline: u64,
    checked: Cell<u64>,
    result: RefCell<Option<Waited>>,
}

/// What a wait came to.
pub enum Waited {
    /// There is an answer.
    Answered(Answer),
    /// The resolver was asked in vain.
    Failed,
    /// Nobody resolves any more: it is this request's turn.
    Resolve(Hold),
    /// The cache has nothing to tell any more.
    Lost,
}

impl Waiter {
    /// What the wait came to; none when its time is up.
    pub fn take(&self) -> Option<Waited> {
        self.result.borrow_mut().take()
    }

    /// Whether there is still time to wait.
    pub fn is_waiting(&self) -> bool {
        monotonic_ms() < self.deadline
    }

    /// Whether to wake the request.
    fn is_over(&self, changed: bool) -> bool {
        let now = monotonic_ms();
        let due =
            self.checked.get() + CHECK_OWNER_MS <= now || self.ticket.expires().as_millis() <= now;
        if changed || due {
            self.checked.set(now);
            let mut value = Vec::new();
            let waited = match self.zone.poll(&self.ticket, &self.policy, &mut value) {
                Some(Poll::Pending) => return self.deadline <= now,
                Some(Poll::Answered(found)) => {
                    decode(&found, value).map_or(Waited::Lost, Waited::Answered)
                }
                Some(Poll::Failed) => told(&value).map_or(Waited::Failed, Waited::Answered),
                Some(Poll::Resolve(flight)) => {
                    Waited::Resolve(self.credentials.hold(&self.zone, flight))
                }
                None => Waited::Lost,
            };
            *self.result.borrow_mut() = Some(waited);
            return true;
        }
        self.deadline <= now
    }
}

/// Without a destructor, for which the C library would need memory at the first use: without any, it
/// ends the process.
type Lasting<T> = RefCell<ManuallyDrop<Vec<T>>>;

const fn lasting<T>() -> Lasting<T> {
    RefCell::new(ManuallyDrop::new(Vec::new()))
}

thread_local! {
    static WAITERS: Lasting<Weak<Waiter>> = const { lasting() };
    static WAKE_UP: &'static WakeUp = Box::leak(Box::new(WakeUp::new(wake)));
    /// The completions seen of each zone.
    static SEEN: Lasting<(*const Zone, u64)> = const { lasting() };
}

/// Lets a request wait. It is woken when there is something to take, or at the deadline; dropped, it
/// is woken no more.
pub fn wait(
    zone: &Rc<Zone>,
    ticket: Ticket,
    policy: Policy,
    credentials: CredentialFacts,
    timeout_ms: u64,
    request: Suspended,
) -> Rc<Waiter> {
    let now = monotonic_ms();
    let waiter = Rc::new(Waiter {
        zone: zone.clone(),
        ticket,
        policy,
        credentials,
        request,
        deadline: now.saturating_add(timeout_ms.saturating_add(GRACE_MS.min(timeout_ms / 8))),
        checked: Cell::new(now),
        result: RefCell::new(None),
    });
    WAITERS.with_borrow_mut(|waiters| waiters.push(Rc::downgrade(&waiter)));
    WAKE_UP.with(|wake_up| wake_up.after(LOOK_EVERY_MS));
    waiter
}

/// An answer of this worker has come.
pub fn look_again() {
    let anyone = WAITERS.with_borrow(|waiters| !waiters.is_empty());
    if anyone {
        WAKE_UP.with(|wake_up| wake_up.soon());
    }
}

/// Wakes those whose wait is over.
fn wake() {
    let mut over = Vec::new();
    let waiting = ManuallyDrop::into_inner(WAITERS.take());
    let mut left = Vec::with_capacity(waiting.len());
    let mut changes = Changes::default();
    for weak in waiting {
        let Some(waiter) = weak.upgrade() else {
            continue;
        };
        if waiter.is_over(changes.of(&waiter.zone)) {
            over.push(weak);
        } else {
            left.push(weak);
        }
    }
    let anyone = !left.is_empty();
    WAITERS.with_borrow_mut(|waiters| waiters.append(&mut left));
    if anyone {
        WAKE_UP.with(|wake_up| wake_up.after(LOOK_EVERY_MS));
    }
    // A woken request may end others, and those that wait anew are in the list already.
    for weak in over {
        if let Some(waiter) = weak.upgrade() {
            let request = waiter.request.clone();
            drop(waiter);
            request.resume();
        }
    }
}

/// Which zones have seen an answer since the last look.
#[derive(Default)]
struct Changes {
    known: Vec<(*const Zone, bool)>,
}

impl Changes {
    fn of(&mut self, zone: &Rc<Zone>) -> bool {
        let zone_ptr = Rc::as_ptr(zone);
        if let Some((_, changed)) = self.known.iter().find(|(known, _)| *known == zone_ptr) {
            return *changed;
        }
        let completions = zone.completions();
        let changed = SEEN.with_borrow_mut(|seen| {
            match seen.iter_mut().find(|(known, _)| *known == zone_ptr) {
                Some((_, last)) => core::mem::replace(last, completions) != completions,
                None => {
                    seen.push((zone_ptr, completions));
                    true
                }
            }
        });
        self.known.push((zone_ptr, changed));
        changed
    }
}
