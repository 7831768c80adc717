//! Locations that the module answers itself: for Authgear, for the operator, for monitoring.

mod purge;
mod status;
mod webhook;

use nginx_sys::{ngx_int_t, NGX_HTTP_DELETE, NGX_HTTP_POST};

use crate::cache::Zone;
use crate::conf::MainConf;
use crate::ngx::pool::NoMemory;
use crate::ngx::request::{HeaderName, Request};

pub use purge::purge;
pub use status::status;
pub use webhook::{read_webhook, webhook};

static ALLOW: HeaderName = HeaderName::spelled("Allow", "allow");

/// Plain text, for people who call an endpoint by hand.
const TEXT: &str = "text/plain";

/// Answers a method that the endpoint doesn't have.
fn method_not_allowed(r: Request<'_>, allowed: &str) -> Result<ngx_int_t, NoMemory> {
    r.push_header_out(&ALLOW, allowed.as_bytes())?;
    Ok(405)
}

/// Removes the entries of users and sessions from all zones; says how many there were.
fn remove(r: Request<'_>, users: &[String], sessions: &[String]) -> usize {
    let from = |zone: &Zone| -> usize {
        let users = users.iter().map(|user| zone.purge_user(user.as_bytes()));
        let sessions = sessions
            .iter()
            .map(|session| zone.purge_session_id(session.as_bytes()));
        users.chain(sessions).sum()
    };
    let main = MainConf::of(r);
    let removed = main.zones.iter().map(|zone| from(zone)).sum();
    if let Some(metrics) = main.counters.get() {
        metrics.add_purged(removed as u64);
    }
    removed
}

fn is_post(r: Request<'_>) -> bool {
    r.method() == NGX_HTTP_POST
}

fn is_delete(r: Request<'_>) -> bool {
    r.method() == NGX_HTTP_DELETE
}
