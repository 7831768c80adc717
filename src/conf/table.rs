//! The table of directives, and how each reads its parameters.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::rc::Rc;

use authgear_session::credentials::CookieNames;
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_str_t, ngx_uint_t, NGX_CONF_1MORE, NGX_CONF_FLAG,
    NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE2, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET,
    NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
};

use super::require::{login, require};
use super::resolve::NextUpstream;
use super::{
    cache, operate, tls, DirectiveError, LocationConf, MainConf, OnError, Resolve, SetHeader,
    Target,
};
use crate::ngx::conf::{parse_msec, parse_number, parse_size, Conf};
use crate::ngx::guard::guard;
use crate::ngx::module::module;
use crate::ngx::pool::Pool;
use crate::ngx::value::Value;

/// nginx's `NGX_CONF_ERROR`.
pub const CONF_ERROR: *mut c_char = usize::MAX as *mut c_char;

const ANYWHERE: ngx_uint_t =
    (NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF) as ngx_uint_t;
const ONE: ngx_uint_t = NGX_CONF_TAKE1 as ngx_uint_t;
const TWO: ngx_uint_t = NGX_CONF_TAKE2 as ngx_uint_t;
const SOME: ngx_uint_t = NGX_CONF_1MORE as ngx_uint_t;
const FLAG: ngx_uint_t = NGX_CONF_FLAG as ngx_uint_t;
const ONE_OR_TWO: ngx_uint_t = (NGX_CONF_TAKE1 | NGX_CONF_TAKE2) as ngx_uint_t;
const LOCATION: ngx_uint_t = NGX_HTTP_LOC_CONF as ngx_uint_t;
const NONE: ngx_uint_t = NGX_CONF_NOARGS as ngx_uint_t;
const MAIN: ngx_uint_t = NGX_HTTP_MAIN_CONF as ngx_uint_t;

/// Reads one directive into the configuration of its level.
pub type Reader<T> = fn(&mut T, &Conf<'_>) -> Result<(), DirectiveError>;

/// A row of the table: a directive whose level's configuration is a `$conf`.
macro_rules! directive {
    ($name:literal, $type:expr, $conf:ty, $offset:expr, $reader:expr) => {{
        unsafe extern "C" fn set(
            cf: *mut ngx_conf_t,
            cmd: *mut ngx_command_t,
            conf: *mut c_void,
        ) -> *mut c_char {
            // SAFETY: called by nginx for this row, with the configuration that its offset tells.
            unsafe { read_directive::<$conf>(cf, cmd, conf, $reader) }
        }
        ngx_command_t {
            // nginx compares names as C strings.
            name: ngx_str_t {
                len: $name.len(),
                data: concat!($name, "\0").as_ptr().cast_mut(),
            },
            type_: $type,
            set: Some(set),
            conf: $offset,
            offset: 0,
            post: ptr::null_mut(),
        }
    }};
}

/// A directive of `http`, `server` and `location`.
macro_rules! location {
    ($name:literal, $params:expr, $reader:expr) => {
        directive!(
            $name,
            ANYWHERE | $params,
            LocationConf,
            NGX_HTTP_LOC_CONF_OFFSET,
            $reader
        )
    };
}

/// A directive of `http` only.
macro_rules! main {
    ($name:literal, $params:expr, $reader:expr) => {
        directive!(
            $name,
            MAIN | $params,
            MainConf,
            NGX_HTTP_MAIN_CONF_OFFSET,
            $reader
        )
    };
}

/// A directive of `location` only.
macro_rules! own {
    ($name:literal, $params:expr, $reader:expr) => {
        directive!(
            $name,
            LOCATION | $params,
            LocationConf,
            NGX_HTTP_LOC_CONF_OFFSET,
            $reader
        )
    };
}

/// All directives, for nginx.
pub static mut COMMANDS: [ngx_command_t; 42] = [
    location!("authgear_resolve", ONE, resolve),
    location!("authgear_set_header", TWO, set_header),
    location!("authgear_connect_timeout", ONE, |c, cf| time(
        &mut c.connect_timeout,
        cf
    )),
    location!("authgear_send_timeout", ONE, |c, cf| time(
        &mut c.send_timeout,
        cf
    )),
    location!("authgear_read_timeout", ONE, |c, cf| time(
        &mut c.read_timeout,
        cf
    )),
    location!("authgear_next_upstream", SOME, next_upstream),
    location!("authgear_next_upstream_tries", ONE, |c, cf| number(
        &mut c.next_upstream_tries,
        cf
    )),
    location!("authgear_next_upstream_timeout", ONE, |c, cf| time_or_zero(
        &mut c.next_upstream_timeout,
        cf
    )),
    location!("authgear_keepalive", ONE, |c, cf| number(
        &mut c.keepalive,
        cf
    )),
    location!("authgear_buffer_size", ONE, buffer_size),
    location!("authgear_cookie_prefix", ONE, cookie_prefix),
    location!("authgear_pass_identity", FLAG, |c, cf| flag(
        &mut c.pass_identity,
        cf
    )),
    location!("authgear_pass_set_cookie", FLAG, |c, cf| flag(
        &mut c.pass_set_cookie,
        cf
    )),
    location!("authgear_trust_identity", FLAG, |c, cf| flag(
        &mut c.trust_identity,
        cf
    )),
    location!("authgear_on_error", ONE, on_error),
    location!("authgear_error_status", ONE, error_status),
    location!("authgear_require", SOME, require),
    location!("authgear_login", ONE, login),
    main!("authgear_cache_zone", ONE, cache::cache_zone),
    location!("authgear_cache", ONE, cache::cache),
    location!("authgear_cache_valid", ONE_OR_TWO, cache::cache_valid),
    location!("authgear_cache_lock", FLAG, |c, cf| flag(
        &mut c.cache.lock,
        cf
    )),
    location!("authgear_cache_lock_timeout", ONE, |c, cf| time(
        &mut c.cache.lock_timeout,
        cf
    )),
    location!("authgear_cache_use_stale", ONE, |c, cf| time_or_off(
        &mut c.cache.use_stale,
        cf
    )),
    location!("authgear_cache_refresh", ONE, |c, cf| time_or_off(
        &mut c.cache.refresh,
        cf
    )),
    location!("authgear_cache_bypass", SOME, cache::cache_bypass),
    location!("authgear_cache_watch", FLAG, |c, cf| flag(
        &mut c.cache.watch,
        cf
    )),
    own!("authgear_webhook", ONE, operate::webhook),
    own!("authgear_purge", NONE, operate::purge),
    own!("authgear_status", NONE, operate::status),
    location!("authgear_ssl_verify", FLAG, |c, cf| flag(
        &mut c.tls()?.verify,
        cf
    )),
    location!("authgear_ssl_verify_depth", ONE, |c, cf| number(
        &mut c.tls()?.verify_depth,
        cf
    )),
    location!("authgear_ssl_trusted_certificate", ONE, |c, cf| text(
        &mut c.tls()?.trusted_certificate,
        cf
    )),
    location!("authgear_ssl_crl", ONE, |c, cf| text(&mut c.tls()?.crl, cf)),
    location!("authgear_ssl_name", ONE, |c, cf| value(
        &mut c.tls()?.name,
        cf
    )),
    location!("authgear_ssl_server_name", FLAG, |c, cf| flag(
        &mut c.tls()?.server_name,
        cf
    )),
    location!("authgear_ssl_protocols", SOME, |c, cf| once(
        &mut c.tls()?.protocols,
        || tls::protocols(cf)
    )),
    location!("authgear_ssl_ciphers", ONE, |c, cf| text(
        &mut c.tls()?.ciphers,
        cf
    )),
    location!("authgear_ssl_certificate", ONE, |c, cf| text(
        &mut c.tls()?.certificate,
        cf
    )),
    location!("authgear_ssl_certificate_key", ONE, |c, cf| text(
        &mut c.tls()?.certificate_key,
        cf
    )),
    location!("authgear_ssl_session_reuse", FLAG, |c, cf| flag(
        &mut c.tls()?.session_reuse,
        cf
    )),
    ngx_command_t::empty(),
];

/// Runs a reader and reports its error the way nginx does.
///
/// # Safety
/// The arguments are nginx's, for a directive whose configuration is a `T`.
unsafe fn read_directive<T>(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
    reader: Reader<T>,
) -> *mut c_char {
    guard(CONF_ERROR, || {
        // SAFETY: the caller's promise.
        let (cf, name, conf) = unsafe {
            let name = crate::ngx::pool::bytes((*cmd).name);
            (Conf::from_ptr(cf), name, &mut *conf.cast::<T>())
        };
        match reader(conf, &cf) {
            Ok(()) => {
                // SAFETY: the module's main configuration has this type; the reader is done with it.
                if let Some(main) = unsafe { cf.main_conf::<MainConf>(module()) } {
                    main.used = true;
                }
                ptr::null_mut()
            }
            Err(error) => {
                error.log(&cf, &String::from_utf8_lossy(name));
                CONF_ERROR
            }
        }
    })
}

/// Puts the value in its place, which must be empty.
pub(super) fn once<T>(
    place: &mut Option<T>,
    value: impl FnOnce() -> Result<T, DirectiveError>,
) -> Result<(), DirectiveError> {
    if place.is_some() {
        return Err(DirectiveError::Duplicate);
    }
    *place = Some(value()?);
    Ok(())
}

fn resolve(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(&mut conf.resolve, || match cf.arg() {
        b"off" => Ok(Resolve::Off),
        url => Ok(Resolve::At(Rc::new(Target::parse(cf, url)?))),
    })
}

fn set_header(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    let args = cf.args();
    let header = SetHeader::parse(cf, args[1], args[2])?;
    let list = Rc::get_mut(conf.set_headers.get_or_insert_default())
        .ok_or_else(|| DirectiveError::Other("is read after its level was merged".into()))?;
    if list
        .iter()
        .any(|h| h.name.eq_ignore_ascii_case(&header.name))
    {
        let name = String::from_utf8_lossy(&header.name).into_owned();
        return Err(DirectiveError::Other(format!("sets \"{name}\" twice")));
    }
    list.push(header);
    Ok(())
}

fn next_upstream(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(&mut conf.next_upstream, || {
        NextUpstream::parse(&cf.args()[1..])
    })
}

const A_TIME: &str = "a time of at least 1ms, like \"500ms\" or \"5s\"";

pub(super) fn time(place: &mut Option<u64>, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(place, || parse_time(cf.arg()))
}

/// A time above zero.
pub(super) fn parse_time(text: &[u8]) -> Result<u64, DirectiveError> {
    parse_msec(text)
        .filter(|t| *t > 0)
        .ok_or_else(|| DirectiveError::invalid(text, A_TIME))
}

fn time_or_off(place: &mut Option<Option<u64>>, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    if cf.arg() == b"off" {
        return once(place, || Ok(None));
    }
    let mut at = None;
    time(&mut at, cf)?;
    once(place, || Ok(at))
}

fn time_or_zero(place: &mut Option<u64>, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(place, || {
        parse_msec(cf.arg())
            .ok_or_else(|| DirectiveError::invalid(cf.arg(), "a time, like \"500ms\", \"5s\" or 0"))
    })
}

fn number(place: &mut Option<usize>, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(place, || {
        parse_number(cf.arg())
            .filter(|n| *n <= 65_535)
            .ok_or_else(|| DirectiveError::invalid(cf.arg(), "a number from 0 to 65535"))
    })
}

fn flag(place: &mut Option<bool>, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(place, || {
        if cf.arg().eq_ignore_ascii_case(b"on") {
            Ok(true)
        } else if cf.arg().eq_ignore_ascii_case(b"off") {
            Ok(false)
        } else {
            Err(DirectiveError::invalid(cf.arg(), "\"on\" or \"off\""))
        }
    })
}

fn text(place: &mut Option<Rc<[u8]>>, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(place, || Ok(Rc::from(cf.arg())))
}

fn value(place: &mut Option<Rc<Value>>, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(place, || Ok(Rc::new(Value::compile(cf, cf.arg())?)))
}

/// Room for a status line and the identity headers.
const LEAST_BUFFER: usize = 512;

fn buffer_size(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(&mut conf.buffer_size, || {
        parse_size(cf.arg())
            .filter(|s| (LEAST_BUFFER..=1024 * 1024).contains(s))
            .ok_or_else(|| DirectiveError::invalid(cf.arg(), "a size from 512 to 1m"))
    })
}

fn cookie_prefix(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(&mut conf.cookie_names, || {
        let names = CookieNames::new(cf.arg());
        Ok(Rc::new(names.map_err(|_| {
            DirectiveError::invalid(cf.arg(), "characters that a cookie name may have")
        })?))
    })
}

fn on_error(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(&mut conf.on_error, || match cf.arg() {
        b"deny" => Ok(OnError::Deny),
        b"anonymous" => Ok(OnError::Anonymous),
        other => Err(DirectiveError::invalid(other, "\"deny\" or \"anonymous\"")),
    })
}

fn error_status(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    once(&mut conf.error_status, || {
        parse_number(cf.arg())
            .filter(|s| (400..=599).contains(s))
            .map(|s| s as u16)
            .ok_or_else(|| DirectiveError::invalid(cf.arg(), "a status from 400 to 599"))
    })
}

/// nginx's callback that makes the configuration of `http {}`.
pub unsafe extern "C" fn create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: called by nginx.
    unsafe { create::<MainConf>(cf) }
}

/// nginx's callback that makes the configuration of a location, or of a level above.
pub unsafe extern "C" fn create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: called by nginx.
    unsafe { create::<LocationConf>(cf) }
}

/// # Safety
/// `cf` is valid.
unsafe fn create<T: Default>(cf: *mut ngx_conf_t) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: the configuration lives in the cycle's pool, which drops it.
        let pool: Pool<'_> = unsafe { Pool::from_ptr((*cf).pool) };
        match pool.store(T::default()) {
            Ok(conf) => ptr::from_mut(conf).cast(),
            Err(_) => ptr::null_mut(),
        }
    })
}
