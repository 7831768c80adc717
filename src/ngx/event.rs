//! Events of our own: a timer and a wake-up that belong to no connection.

use core::cell::UnsafeCell;
use core::mem::zeroed;
use core::ptr;

use nginx_sys::{
    ngx_connection_t, ngx_current_msec, ngx_cycle, ngx_event_t, ngx_event_timer_rbtree, ngx_msec_t,
    ngx_posted_events, ngx_queue_insert_before, ngx_rbtree_delete, ngx_rbtree_insert,
};

use super::bits::{EVENT_POSTED, EVENT_TIMER_SET};
use super::guard::guard;

/// Sets a timer, moving one that is set.
///
/// # Safety
/// `event` is valid until the timer fires or is deleted.
pub unsafe fn add_timer(event: *mut ngx_event_t, after: ngx_msec_t) {
    // SAFETY: the caller's promise; nginx's timer tree is initialised in a worker.
    unsafe {
        delete_timer(event);
        (*event).timer.key = ngx_current_msec.wrapping_add(after);
        ngx_rbtree_insert(
            ptr::addr_of_mut!(ngx_event_timer_rbtree),
            &raw mut (*event).timer,
        );
        EVENT_TIMER_SET.set(event, true);
    }
}

/// Deletes a timer if it is set.
///
/// # Safety
/// `event` is valid.
pub unsafe fn delete_timer(event: *mut ngx_event_t) {
    // SAFETY: the caller's promise; a set timer is in the tree.
    unsafe {
        if EVENT_TIMER_SET.get(event) {
            ngx_rbtree_delete(
                ptr::addr_of_mut!(ngx_event_timer_rbtree),
                &raw mut (*event).timer,
            );
            EVENT_TIMER_SET.set(event, false);
        }
    }
}

/// Has the event's handler called as soon as the event loop comes round.
///
/// # Safety
/// `event` is valid until then or until nginx deletes it from its queue.
pub unsafe fn post(event: *mut ngx_event_t) {
    // SAFETY: the caller's promise; the queue is initialised in a worker.
    unsafe {
        if !EVENT_POSTED.get(event) {
            EVENT_POSTED.set(event, true);
            let queue = ptr::addr_of_mut!(ngx_posted_events);
            ngx_queue_insert_before(queue, &raw mut (*event).queue);
        }
    }
}

/// A wake-up of this process, after a while or as soon as the event loop comes round.
pub struct WakeUp {
    event: UnsafeCell<ngx_event_t>,
    /// nginx's debug log reads a descriptor where an event's data points.
    connection: UnsafeCell<ngx_connection_t>,
    run: fn(),
}

impl WakeUp {
    /// A wake-up that runs `run`. It must not be moved or dropped once it was set.
    pub fn new(run: fn()) -> WakeUp {
        // SAFETY: all zero is a valid value of both.
        unsafe {
            WakeUp {
                event: zeroed(),
                connection: zeroed(),
                run,
            }
        }
    }

    fn event(&'static self) -> *mut ngx_event_t {
        let (event, connection) = (self.event.get(), self.connection.get());
        // SAFETY: both live for ever; `event` is the connection's data, by which `fire` finds self.
        unsafe {
            (*connection).fd = -1;
            (*connection).data = ptr::from_ref(self).cast_mut().cast();
            (*event).data = connection.cast();
            (*event).handler = Some(fire);
            (*event).log = (*ngx_cycle).log;
        }
        event
    }

    /// Runs after `ms` milliseconds, unless it is already set.
    pub fn after(&'static self, ms: ngx_msec_t) {
        let event = self.event();
        // SAFETY: it lives for ever.
        unsafe {
            if !EVENT_TIMER_SET.get(event) {
                add_timer(event, ms);
            }
        }
    }

    /// Runs when the event loop comes round.
    pub fn soon(&'static self) {
        let event = self.event();
        // SAFETY: it lives for ever; the queue is initialised in a worker.
        unsafe { post(event) }
    }
}

unsafe extern "C" fn fire(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: nginx calls this with the event of a wake-up.
        let run = unsafe {
            let connection = (*event).data.cast::<ngx_connection_t>();
            (*(*connection).data.cast::<WakeUp>()).run
        };
        run();
    });
}
