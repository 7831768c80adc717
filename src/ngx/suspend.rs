//! A request that waits for something that is no event of its connection.

use core::cell::Cell;
use core::ptr::NonNull;
use std::rc::Rc;

use nginx_sys::{
    ngx_http_block_reading, ngx_http_core_run_phases, ngx_http_request_t,
    ngx_http_run_posted_requests, ngx_http_test_reading,
};

use super::bits::EVENT_READY;
use super::event;
use super::pool::NoMemory;
use super::request::Request;

/// A client's request whose phase handler has returned `NGX_AGAIN`, or one that has ended since.
#[derive(Clone)]
pub struct Suspended {
    request: Rc<Cell<Option<NonNull<ngx_http_request_t>>>>,
}

/// In the request's pool: its end is the end of the request.
struct Ends(Rc<Cell<Option<NonNull<ngx_http_request_t>>>>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

impl Request<'_> {
    /// Suspends the request: until it is resumed, only its client's going away is noticed.
    pub fn suspend(self) -> Result<Suspended, NoMemory> {
        let request = Rc::new(Cell::new(NonNull::new(self.as_ptr())));
        self.pool().store(Ends(request.clone()))?;
        // SAFETY: a valid request, whose connection and its events are valid. What has come before,
        // a client that has left perhaps, makes no new event: nginx must look once more.
        unsafe {
            (*self.as_ptr()).read_event_handler = Some(ngx_http_test_reading);
            let read = (*(*self.as_ptr()).connection).read;
            if EVENT_READY.get(read) {
                event::post(read);
            }
        }
        Ok(Suspended { request })
    }
}

impl Suspended {
    /// Runs the request's phases on from the handler that has suspended it. Does nothing when the
    /// request has ended.
    pub fn resume(&self) {
        let Some(r) = self.request.take() else { return };
        let r = r.as_ptr();
        // SAFETY: the pool would have cleared the pointer, had the request ended. It may end now,
        // but its connection's struct stays, as nginx's own event handlers rely on.
        unsafe {
            let connection = (*r).connection;
            (*r).read_event_handler = Some(ngx_http_block_reading);
            ngx_http_core_run_phases(r);
            ngx_http_run_posted_requests(connection);
        }
    }
}
