//! The configuration: what the directives say, level by level.

mod cache;
mod error;
mod keepalive;
pub mod merge;
mod operate;
mod require;
mod resolve;
pub mod table;
mod target;
mod tls;

use core::cell::RefCell;
use core::ptr::NonNull;
use std::rc::Rc;

use authgear_session::credentials::CookieNames;
use authgear_session::key::KeyPrefix;
use authgear_session::memo::Memo;
use nginx_sys::{ngx_http_upstream_conf_t, ngx_http_upstream_srv_conf_t};

use crate::cache::Zone;
use crate::metrics::{Counters, Meter};
use crate::ngx::keepalive::Connections;
use crate::ngx::module::module;
use crate::ngx::names::Names;
use crate::ngx::request::Request;
use crate::ngx::tls::Tls;
use crate::ngx::value::Value;

pub use cache::Cache;
use cache::CacheConf;
pub use error::DirectiveError;
pub use resolve::SetHeader;
pub use target::{Place, Target};
pub use tls::Merged;

/// The module's configuration of `http {}`.
#[derive(Default)]
pub struct MainConf {
    /// Some directive of the module is used: forged identity headers are removed everywhere.
    pub used: bool,
    /// Indexes of the module's variables that something in the configuration reads.
    pub variables: Vec<usize>,
    /// The pools of idle connections, each shared by all locations that mean the same servers.
    connections: Vec<keepalive::Shared>,
    /// The counters.
    pub counters: Rc<Counters>,
    /// Some location shows the counters.
    pub has_status: bool,
    /// Some location trusts the identity headers it receives.
    pub trusts: bool,
    /// Some location watches responses for Authgear's cookies.
    pub watches: bool,
    /// `authgear_cache_zone`
    pub zones: Vec<Rc<Zone>>,
    /// TLS settings, each shared by all locations that say the same.
    tls: Vec<Rc<Tls>>,
    /// How many resolvers there are.
    resolvers: u32,
    /// Keys of credentials that this worker has seen.
    pub memo: RefCell<Memo>,
    /// Names of resolvers that were looked up at run time.
    names: Names,
}

/// The module's configuration of a location, or of a level above.
#[derive(Default)]
pub struct LocationConf {
    resolve: Option<Resolve>,
    set_headers: Option<Rc<Vec<SetHeader>>>,
    connect_timeout: Option<u64>,
    send_timeout: Option<u64>,
    read_timeout: Option<u64>,
    next_upstream: Option<resolve::NextUpstream>,
    next_upstream_tries: Option<usize>,
    next_upstream_timeout: Option<u64>,
    keepalive: Option<usize>,
    buffer_size: Option<usize>,
    cookie_names: Option<Rc<CookieNames>>,
    pass_identity: Option<bool>,
    pass_set_cookie: Option<bool>,
    trust_identity: Option<bool>,
    on_error: Option<OnError>,
    error_status: Option<u16>,
    require: Option<require::Require>,
    login: Option<Option<Rc<Value>>>,
    cache: CacheConf,
    shows_status: bool,
    answers: Option<operate::Answers>,
    webhook_secret: Option<Rc<Vec<u8>>>,
    merged_cache: Option<Cache>,
    tls: tls::Directives,
    merged: Option<Rc<Resolver>>,
}

/// `authgear_resolve`.
#[derive(Clone)]
enum Resolve {
    Off,
    At(Rc<Target>),
}

/// `authgear_on_error`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The request is refused.
    Deny,
    /// The request goes on as if without a session.
    Anonymous,
}

/// Who keeps connections to the resolver for the next request.
#[derive(Clone, Copy)]
pub enum KeepAlive {
    /// The module.
    Ours(NonNull<Connections>),
    /// The `upstream {}` group, by its own `keepalive`.
    Group,
    /// Nobody: each call ends its connection.
    Off,
}

/// All that a location needs to resolve a request: the merged directives.
pub struct Resolver {
    /// Its own among those of an `http {}`.
    pub number: u32,
    /// Where to ask.
    pub target: Rc<Target>,
    /// Where its servers are found.
    source: target::Source,
    /// How it is reached over TLS.
    pub tls: Option<tls::Merged>,
    /// Changes to the resolver request.
    pub set_headers: Rc<Vec<SetHeader>>,
    /// The names of Authgear's cookies.
    pub cookie_names: Rc<CookieNames>,
    /// The constant part of the cache's key, where all that it depends on is known at start.
    pub key_prefix: Option<KeyPrefix>,
    /// Statuses that let the next server be tried.
    pub retry_statuses: Vec<u16>,
    /// Timeouts and the like for nginx's upstream code.
    pub upstream: ngx_http_upstream_conf_t,
    /// The group by which nginx's upstream code finds the module's choice of servers.
    group: ngx_http_upstream_srv_conf_t,
    /// Who keeps idle connections.
    pub keepalive: KeepAlive,
    /// The counters of this resolver.
    pub meter: Rc<Meter>,
    /// What a failure means.
    pub on_error: OnError,
    /// The status of a denial after a failure.
    pub error_status: u16,
}

impl LocationConf {
    /// The request's location.
    pub fn of(r: Request<'_>) -> &LocationConf {
        // SAFETY: the module's location configuration has this type.
        unsafe { r.loc_conf(module()) }
    }

    /// What resolving takes here; none when it is off.
    pub fn resolver(&self) -> Option<&Rc<Resolver>> {
        self.merged.as_ref()
    }

    /// The cache in force here.
    pub fn cache(&self) -> Option<&Cache> {
        self.merged_cache.as_ref()
    }

    /// The names of Authgear's cookies, where there is a resolver or a cache.
    pub fn cookie_names(&self) -> Option<&CookieNames> {
        self.cookie_names.as_deref()
    }

    /// The secret of `authgear_webhook`.
    pub fn webhook_secret(&self) -> Option<&[u8]> {
        self.webhook_secret.as_ref().map(|secret| secret.as_slice())
    }

    /// `authgear_pass_identity`
    pub fn pass_identity(&self) -> bool {
        self.pass_identity.unwrap_or(true)
    }

    /// `authgear_pass_set_cookie`
    pub fn pass_set_cookie(&self) -> bool {
        self.pass_set_cookie.unwrap_or(true)
    }

    /// `authgear_trust_identity`
    pub fn trust_identity(&self) -> bool {
        self.trust_identity.unwrap_or(false)
    }
}

impl Resolver {
    /// Whether what is asked depends on variables.
    pub fn has_variables(&self) -> bool {
        self.target.has_variables()
            || self
                .set_headers
                .iter()
                .any(|h| h.value.constant().is_none())
    }
}

impl MainConf {
    /// The `http {}` that the request belongs to.
    pub fn of(r: Request<'_>) -> &MainConf {
        // SAFETY: the module's main configuration has this type.
        unsafe { r.main_conf(module()) }
    }
}
