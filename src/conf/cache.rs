//! `authgear_cache_...`: where answers are kept, and for how long.

use core::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;

use super::table::once;
use super::{DirectiveError, LocationConf, MainConf};
use crate::cache::Zone;
use crate::ngx::conf::{parse_msec, parse_size, Conf, Line};
use crate::ngx::request::Request;
use crate::ngx::shm;
use crate::ngx::value::Value;
use authgear_cache::{Lock, Policy};

/// The directives of one level, as written.
#[derive(Clone, Default)]
pub struct CacheConf {
    zone: Option<Named>,
    pub(super) valid: Option<u64>,
    pub(super) invalid: Option<u64>,
    pub(super) lock: Option<bool>,
    pub(super) lock_timeout: Option<u64>,
    pub(super) use_stale: Option<Option<u64>>,
    pub(super) refresh: Option<Option<u64>>,
    bypass: Option<Rc<Vec<Value>>>,
    pub(super) watch: Option<bool>,
}

#[derive(Clone)]
enum Named {
    Off,
    /// A zone, and where it is named.
    Zone {
        name: Vec<u8>,
        line: Line,
    },
}

/// What a location does with the cache.
pub struct Cache {
    /// Where.
    pub zone: Rc<Zone>,
    /// For how long, and the like.
    pub policy: Policy,
    /// How long a request waits for another's answer.
    pub lock_timeout_ms: u64,
    /// Entries go when a response sets or clears one of Authgear's cookies.
    pub watch: bool,
    bypass: Rc<Vec<Value>>,
}

impl Cache {
    /// Whether the request wants a fresh answer.
    pub fn is_bypassed(&self, r: Request<'_>) -> bool {
        self.bypass
            .iter()
            .any(|value| !matches!(value.evaluate(r), Ok(b"" | b"0")))
    }
}

/// How long a failure is believed while a stale answer may be used.
const BACKOFF: Duration = Duration::from_secs(1);

impl CacheConf {
    /// Takes from the level above what this one does not say.
    pub fn inherit(&mut self, parent: &CacheConf) {
        macro_rules! inherit {
            ($($field:ident),+) => {
                $( if self.$field.is_none() { self.$field = parent.$field.clone(); } )+
            };
        }
        inherit!(
            zone,
            valid,
            invalid,
            lock,
            lock_timeout,
            use_stale,
            refresh,
            bypass,
            watch
        );
    }

    /// The merged form, if there is a cache. `lease` is the longest that a call to the resolver
    /// takes.
    pub fn finish(
        &self,
        cf: &Conf<'_>,
        zones: &[Rc<Zone>],
        lease: Duration,
    ) -> Result<Option<Cache>, DirectiveError> {
        let Some(Named::Zone { name, line }) = &self.zone else {
            return Ok(None);
        };
        let name = String::from_utf8_lossy(name);
        let Some(zone) = zones.iter().find(|zone| zone.name() == name) else {
            let what = "but no \"authgear_cache_zone\" makes it";
            cf.at(line, || {
                cf.emerg(format_args!(
                    "\"authgear_cache\" directive names zone \"{name}\", {what}"
                ));
            });
            return Err(DirectiveError::Logged);
        };
        let ms = Duration::from_millis;
        let policy = Policy {
            valid: ms(self.valid.unwrap_or(60_000)),
            invalid: ms(self.invalid.unwrap_or(2_000)),
            lock: if self.lock.unwrap_or(true) {
                Lock::On
            } else {
                Lock::Off
            },
            lease,
            refresh: self.refresh.flatten().map_or(Duration::MAX, ms),
            use_stale: self.use_stale.flatten().map_or(Duration::ZERO, ms),
            backoff: BACKOFF,
        };
        Ok(Some(Cache {
            zone: zone.clone(),
            policy,
            lock_timeout_ms: self.lock_timeout.unwrap_or(5_000),
            watch: self.watch.unwrap_or(true),
            bypass: self.bypass.clone().unwrap_or_default(),
        }))
    }
}

const EXPECTED_ZONE: &str =
    "\"zone=NAME:SIZE\" with a size of at least 8 pages, like \"zone=auth:10m\"";

/// Reads `authgear_cache_zone`.
pub fn cache_zone(main: &mut MainConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    let invalid = || DirectiveError::invalid(cf.arg(), EXPECTED_ZONE);
    let rest = cf.arg().strip_prefix(b"zone=").ok_or_else(invalid)?;
    let colon = rest.iter().position(|b| *b == b':').ok_or_else(invalid)?;
    let name = &rest[..colon];
    let size = parse_size(&rest[colon + 1..]).ok_or_else(invalid)?;
    if name.is_empty() || size < 8 * shm::page_size() {
        return Err(invalid());
    }
    if name == crate::metrics::ZONE_NAME {
        return Err("takes the name of the module's own zone".into());
    }
    if main.zones.iter().any(|z| z.name().as_bytes() == name) {
        let name = String::from_utf8_lossy(name);
        return Err(DirectiveError::Other(format!(
            "makes zone \"{name}\" twice"
        )));
    }
    if shm::running_size(cf, name).is_some_and(|running| running != size) {
        let name = String::from_utf8_lossy(name);
        cf.warn(format_args!(
            "authgear: zone \"{name}\" has another size than before and starts empty"
        ));
    }
    let zone = Rc::new(Zone::new(name));
    shm::add(cf, name, size, NonNull::from(&*zone))?;
    main.zones.push(zone);
    Ok(())
}

/// Reads `authgear_cache`.
pub fn cache(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(&mut conf.cache.zone, || match cf.arg() {
        b"off" => Ok(Named::Off),
        b"" => Err(DirectiveError::invalid(
            b"",
            "the name of a zone, or \"off\"",
        )),
        name => Ok(Named::Zone {
            name: name.to_vec(),
            line: cf.line(),
        }),
    })
}

/// Reads `authgear_cache_valid [valid|invalid] T`.
pub fn cache_valid(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    let args = cf.args();
    let (place, text) = match args[1..] {
        [text] | [b"valid", text] => (&mut conf.cache.valid, text),
        [b"invalid", text] => (&mut conf.cache.invalid, text),
        _ => {
            let expected = "\"valid\" or \"invalid\" before the time";
            return Err(DirectiveError::invalid(args[1], expected));
        }
    };
    once(place, || {
        // Zero: such answers are not used again.
        parse_msec(text)
            .ok_or_else(|| DirectiveError::invalid(text, "a time, like \"500ms\", \"5s\" or 0"))
    })
}

/// Reads `authgear_cache_bypass`.
pub fn cache_bypass(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(&mut conf.cache.bypass, || {
        let args = cf.args();
        let values = args[1..].iter().map(|text| Value::compile(cf, text));
        Ok(Rc::new(values.collect::<Result<_, _>>()?))
    })
}
