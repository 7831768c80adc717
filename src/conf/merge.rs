//! Inheritance, and the merged form that requests use.

use core::ffi::c_char;
use core::mem::zeroed;
use core::ptr;
use std::rc::Rc;
use std::time::Duration;

use authgear_session::credentials::CookieNames;
use authgear_session::key::{Hosts, KeyPrefix};

use super::tls::Merged;
use super::{
    DirectiveError, LocationConf, MainConf, OnError, Resolve, Resolver, SetHeader, Target,
};
use crate::ngx::conf::Conf;
use crate::ngx::module::module;
use crate::ngx::pool::ngx_str;
use crate::ngx::upstream::private_group;
use crate::resolver::{key_prefix, Asking};

const TIMEOUT_MS: u64 = 5_000;
const KEEPALIVE: usize = 32;
const ERROR_STATUS: u16 = 503;

/// A level takes from the one above what it does not say itself.
macro_rules! inherit {
    ($child:ident, $parent:ident: $($field:ident),+ $(,)?) => {
        $( if $child.$field.is_none() { $child.$field = $parent.$field.clone(); } )+
    };
}

impl LocationConf {
    /// Merges the level above into this one.
    pub fn merge(&mut self, cf: &Conf<'_>, parent: &LocationConf) -> Result<(), DirectiveError> {
        self.check_require(cf, parent)?;
        self.tls.inherit(&parent.tls);
        inherit!(self, parent:
            resolve, set_headers, connect_timeout, send_timeout, read_timeout, next_upstream,
            next_upstream_tries, next_upstream_timeout, keepalive, buffer_size, cookie_names,
            pass_identity, pass_set_cookie, trust_identity, on_error, error_status,
            require, login,
        );
        self.check_answers(cf)?;
        self.cache.inherit(&parent.cache);
        // SAFETY: the module's main configuration has this type.
        let main: &mut MainConf = unsafe { cf.main_conf(module()) }.ok_or("outside http")?;
        if self.cookie_names.is_none() {
            let names = CookieNames::new(b"").map_err(|e| e.to_string())?;
            self.cookie_names = Some(Rc::new(names));
        }
        self.merged_cache = self.cache.finish(cf, &main.zones, self.longest_call(cf))?;
        main.has_status |= self.shows_status;
        main.trusts |= self.trust_identity();
        main.watches |= self.merged_cache.as_ref().is_some_and(|cache| cache.watch);
        let Some(Resolve::At(target)) = &self.resolve else {
            return Ok(());
        };
        self.merged = Some(self.resolver_at(cf, main, target.clone())?);
        Ok(())
    }

    /// How long a call to one server can take.
    fn longest_call(&self, cf: &Conf<'_>) -> Duration {
        let times = [self.connect_timeout, self.send_timeout, self.read_timeout];
        let sum: u64 = times.iter().map(|t| t.unwrap_or(TIMEOUT_MS)).sum();
        let look_up = match &self.resolve {
            Some(Resolve::At(target)) => target.longest_look_up(cf),
            Some(Resolve::Off) | None => Duration::ZERO,
        };
        let call = sum.max(self.next_upstream_timeout.unwrap_or(0)) + 1_000;
        Duration::from_millis(call) + look_up
    }

    fn resolver_at(
        &self,
        cf: &Conf<'_>,
        main: &mut MainConf,
        target: Rc<Target>,
    ) -> Result<Rc<Resolver>, DirectiveError> {
        let next = self.next_upstream.clone().unwrap_or_default();
        let most = self.keepalive.unwrap_or(KEEPALIVE);
        // What is wrong from here on is wrong with the directive, wherever it is inherited.
        let (source, tls) = cf.at(&target.line, || {
            let mut reached = || Ok((target.source(cf)?, self.tls.merged(cf, main, &target)?));
            reached().map_err(|error: DirectiveError| error.log(cf, "authgear_resolve"))
        })?;
        let keepalive = main.keepalive(cf, &target, source, tls.as_ref(), most);

        let meter = main.counters.meter(target.text());

        // SAFETY: all zero is what nginx's own modules begin with.
        let mut upstream: nginx_sys::ngx_http_upstream_conf_t = unsafe { zeroed() };
        let msec = |t: Option<u64>, default: u64| t.unwrap_or(default) as nginx_sys::ngx_msec_t;
        upstream.connect_timeout = msec(self.connect_timeout, TIMEOUT_MS);
        upstream.send_timeout = msec(self.send_timeout, TIMEOUT_MS);
        upstream.read_timeout = msec(self.read_timeout, TIMEOUT_MS);
        upstream.next_upstream_timeout = msec(self.next_upstream_timeout, 0);
        upstream.next_upstream_tries = self.next_upstream_tries.unwrap_or(0);
        upstream.next_upstream = next.mask;
        // SAFETY: nginx sets it at start.
        upstream.buffer_size = self
            .buffer_size
            .unwrap_or(unsafe { nginx_sys::ngx_pagesize });
        upstream.module = ngx_str(b"authgear");
        if let Some(merged) = &tls {
            merged.tls.apply(&mut upstream);
        }

        let set_headers = self.set_headers.clone().unwrap_or_default();
        main.resolvers = main.resolvers.checked_add(1).ok_or("too many resolvers")?;
        let mut shared = Rc::new(Resolver {
            number: main.resolvers,
            group: private_group::<Asking>(target.host()),
            key_prefix: constant_key_prefix(&target, tls.as_ref(), &set_headers),
            target,
            source,
            tls,
            set_headers,
            cookie_names: self.cookie_names.clone().ok_or("no cookie names")?,
            retry_statuses: next.statuses,
            upstream,
            keepalive,
            meter,
            on_error: self.on_error.unwrap_or(OnError::Deny),
            error_status: self.error_status.unwrap_or(ERROR_STATUS),
        });
        if let Some(resolver) = Rc::get_mut(&mut shared) {
            resolver.upstream.upstream = &raw mut resolver.group;
        }
        Ok(shared)
    }
}

/// The cache's key as far as no variable decides it.
fn constant_key_prefix(
    target: &Target,
    tls: Option<&Merged>,
    set_headers: &[SetHeader],
) -> Option<KeyPrefix> {
    let place = target.place()?;
    let constant = |name: &str| match set_headers.iter().find(|h| h.is(name)) {
        Some(header) => header.value.constant().map(Some),
        None => Some(None),
    };
    let host = constant("Host")?.filter(|host| !host.is_empty());
    let hosts = Hosts {
        host: host.unwrap_or(&place.host_header),
        forwarded: constant("X-Forwarded-Host")?,
        original: constant("X-Original-Host")?,
    };
    Some(key_prefix(place, tls, hosts))
}

/// nginx's merge callback.
pub unsafe extern "C" fn merge_loc_conf(
    cf: *mut nginx_sys::ngx_conf_t,
    parent: *mut core::ffi::c_void,
    child: *mut core::ffi::c_void,
) -> *mut c_char {
    crate::ngx::guard::guard(super::table::CONF_ERROR, || {
        // SAFETY: nginx merges two configurations that `create_loc_conf` made.
        let (cf, parent, child) = unsafe {
            (
                Conf::from_ptr(cf),
                &*parent.cast::<LocationConf>(),
                &mut *child.cast::<LocationConf>(),
            )
        };
        match child.merge(&cf, parent) {
            Ok(()) => ptr::null_mut(),
            Err(error) => {
                if let DirectiveError::Other(what) = error {
                    cf.emerg(format_args!("authgear: {what}"));
                }
                super::table::CONF_ERROR
            }
        }
    })
}
