//! `authgear_purge`: for what no webhook reports.

use authgear_session::purge::PurgeRequest;
use nginx_sys::ngx_int_t;

use super::{is_delete, is_post, method_not_allowed, remove, TEXT};
use crate::ngx::pool::NoMemory;
use crate::ngx::request::Request;

/// Handles a request to the endpoint.
pub fn purge(r: Request<'_>) -> Result<ngx_int_t, NoMemory> {
    if !is_delete(r) && !is_post(r) {
        return method_not_allowed(r, "DELETE, POST");
    }
    match PurgeRequest::parse(r.args()) {
        Ok(request) => {
            let removed = remove(r, &request.users, &request.sessions);
            r.log()
                .info(format_args!("authgear: purge removed {removed} entries"));
            r.send(204, TEXT, b"")
        }
        Err(error) => r.send(400, TEXT, format!("{error}\n").as_bytes()),
    }
}
