//! Identity headers that the client has sent are forged. They go before any other phase can see
//! them, and come back only in a location that trusts whoever sends them.

use authgear_session::identity::is_identity_header;

use super::context::Context;
use crate::conf::{LocationConf, MainConf};
use crate::ngx::limit::Limit;
use crate::ngx::pool::NoMemory;
use crate::ngx::request::Request;

/// One line a second for each worker: whoever forges may do so often.
static WARNINGS: Limit = Limit::every_ms(1_000);

/// Right after the header was read: no location is known yet, so all are removed.
pub fn strip(r: Request<'_>) -> Result<(), NoMemory> {
    let removed = r.take_headers_in(is_identity_header)?;
    if removed.is_empty() {
        return Ok(());
    }
    let main = MainConf::of(r);
    if main.trusts {
        Context::start(r)?.received = removed;
    } else {
        warn(r, removed.len());
    }
    Ok(())
}

/// In a new location, where some locations trust and others don't: what was received is there only
/// where it is trusted. An identity of the module's own is given anew in the access phase.
pub fn enter_location(r: Request<'_>) -> Result<(), NoMemory> {
    if !r.is_main() || Context::peek(r).is_none() {
        return Ok(());
    }
    let context = Context::start(r)?;
    r.take_headers_in(is_identity_header)?;
    context.identity_passed = false;
    if LocationConf::of(r).trust_identity() {
        r.restore_headers_in(&context.received)?;
    } else if !context.received.is_empty() {
        warn(r, context.received.len());
    }
    // nginx may have cached $http_x_authgear_... in another location.
    r.forget_variables(&MainConf::of(r).variables);
    Ok(())
}

fn warn(r: Request<'_>, headers: usize) {
    if let Some(metrics) = MainConf::of(r).counters.get() {
        metrics.add_forged(headers as u64);
    }
    if let Some(suppressed) = WARNINGS.pass() {
        r.log().warn(format_args!(
            "authgear: removed {headers} forged identity headers ({suppressed} requests like this \
             not logged)"
        ));
    }
}
