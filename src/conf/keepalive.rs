//! Which locations share a pool of idle connections.

use core::ptr::{self, NonNull};
use std::rc::Rc;

use nginx_sys::{ngx_http_upstream_srv_conf_t, ngx_uint_t};

use super::target::Source;
use super::tls::Merged;
use super::{KeepAlive, MainConf, Target};
use crate::ngx::conf::Conf;
use crate::ngx::keepalive::Connections;
use crate::ngx::tls::Tls;

/// A pool and what it is for.
pub struct Shared {
    target: *const Target,
    group: Option<NonNull<ngx_http_upstream_srv_conf_t>>,
    tls: *const Tls,
    most: usize,
    connections: Box<Connections>,
}

impl MainConf {
    /// Who keeps connections to these servers with these TLS settings; a pool is made at the first
    /// call.
    pub(super) fn keepalive(
        &mut self,
        cf: &Conf<'_>,
        target: &Target,
        source: Source,
        tls: Option<&Merged>,
        most: usize,
    ) -> KeepAlive {
        let tls = tls.map_or(ptr::null(), |merged| Rc::as_ptr(&merged.tls));
        let group = match source {
            Source::Group(group) => Some(group),
            Source::Dns { .. } | Source::Evaluated => None,
        };
        if group.is_some_and(|g| keeps_its_own(cf, g)) {
            return KeepAlive::Group;
        }
        if most == 0 {
            return KeepAlive::Off;
        }
        let target: *const Target = match group {
            Some(_) => ptr::null(),
            None => target,
        };
        let same =
            |s: &Shared| s.target == target && s.group == group && s.tls == tls && s.most == most;
        let at = self.connections.iter().position(same).unwrap_or_else(|| {
            let connections = Box::new(Connections::new(most));
            self.connections.push(Shared {
                target,
                group,
                tls,
                most,
                connections,
            });
            self.connections.len() - 1
        });
        KeepAlive::Ours(NonNull::from(&mut *self.connections[at].connections))
    }
}

/// The configuration of nginx's keepalive module, which is in no header: `build.rs` compares it with
/// nginx's source where there is one.
#[repr(C)]
struct OwnKeepAlive {
    /// 0 without the directive, until nginx 1.29.7.
    max_cached: ngx_uint_t,
    #[cfg(nginx1_29_7)]
    others: [usize; 8],
    /// 1 without the directive: nginx then keeps connections all the same, each for the location
    /// that has made it.
    #[cfg(nginx1_29_7)]
    local: ngx_uint_t,
}

impl OwnKeepAlive {
    fn is_configured(&self) -> bool {
        #[cfg(nginx1_29_7)]
        if self.local == 1 {
            return false;
        }
        self.max_cached != 0
    }
}

/// Whether an `upstream {}` group has a `keepalive` directive of its own.
fn keeps_its_own(cf: &Conf<'_>, group: NonNull<ngx_http_upstream_srv_conf_t>) -> bool {
    let Some(index) = cf.http_module_index(b"ngx_http_upstream_keepalive_module") else {
        return false;
    };
    // SAFETY: a group written as `upstream {}` has a configuration for each http module, which the
    // keepalive module, being before this one, has completed.
    unsafe {
        let srv_conf = group.as_ref().srv_conf;
        if srv_conf.is_null() {
            return false;
        }
        (*srv_conf.add(index))
            .cast::<OwnKeepAlive>()
            .as_ref()
            .is_some_and(OwnKeepAlive::is_configured)
    }
}
