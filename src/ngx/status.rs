//! nginx's return codes, with the type its functions return.

use nginx_sys::ngx_int_t;

/// Done.
pub const OK: ngx_int_t = 0;
/// Failed.
pub const ERROR: ngx_int_t = -1;
/// To be continued when an event comes.
pub const AGAIN: ngx_int_t = -2;
/// Done, with a connection that was there already.
pub const DONE: ngx_int_t = -4;
/// Not for this handler.
pub const DECLINED: ngx_int_t = -5;
/// The request ends with 500.
pub const FAILED: ngx_int_t = 500;
