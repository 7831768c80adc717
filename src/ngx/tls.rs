//! TLS towards the resolver, by nginx's own code.
//!
//! Sessions are kept here and not by the balancer, which keeps one for each server, whoever asked
//! for it: a session begun by a `proxy_pass` that verifies nothing, or trusts another authority,
//! must not be resumed by a call that does.

#[cfg(ngx_feature = "http_ssl")]
use core::cell::RefCell;
#[cfg(ngx_feature = "http_ssl")]
use core::ptr::{self, NonNull};

use nginx_sys::ngx_http_upstream_conf_t;
#[cfg(ngx_feature = "http_ssl")]
use nginx_sys::{
    ngx_atomic_uint_t, ngx_connection_t, ngx_log_error_core, ngx_pool_cleanup_add,
    ngx_ssl_certificate, ngx_ssl_ciphers, ngx_ssl_cleanup_ctx, ngx_ssl_client_session_cache,
    ngx_ssl_create, ngx_ssl_crl, ngx_ssl_get_session, ngx_ssl_set_session, ngx_ssl_t,
    ngx_ssl_trusted_certificate, ngx_str_t, SSL_CTX_set_default_verify_paths, SSL_SESSION_free,
    NGX_LOG_EMERG, SSL_SESSION,
};

use super::conf::Conf;
use super::pool::NoMemory;
#[cfg(ngx_feature = "http_ssl")]
use super::pool::{ngx_str, Pool};
#[cfg(ngx_feature = "http_ssl")]
use super::status::OK;

/// Whether this nginx has TLS.
pub const AVAILABLE: bool = cfg!(ngx_feature = "http_ssl");

/// The protocols by name.
#[cfg(ngx_feature = "http_ssl")]
pub const PROTOCOLS: &[(&str, usize)] = &[
    ("TLSv1", nginx_sys::NGX_SSL_TLSv1 as usize),
    ("TLSv1.1", nginx_sys::NGX_SSL_TLSv1_1 as usize),
    ("TLSv1.2", nginx_sys::NGX_SSL_TLSv1_2 as usize),
    ("TLSv1.3", nginx_sys::NGX_SSL_TLSv1_3 as usize),
];
/// The protocols by name.
#[cfg(not(ngx_feature = "http_ssl"))]
pub const PROTOCOLS: &[(&str, usize)] = &[];

/// Settings of a location, merged.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The server's certificate is verified.
    pub verify: bool,
    /// Intermediate certificates allowed.
    pub verify_depth: usize,
    /// A file of trusted authorities; empty: the system's.
    pub trusted_certificate: Vec<u8>,
    /// A file of revocations, or empty.
    pub crl: Vec<u8>,
    /// The name is told to the server (SNI).
    pub server_name: bool,
    /// Mask of the protocols allowed.
    pub protocols: usize,
    /// OpenSSL's list of ciphers.
    pub ciphers: Vec<u8>,
    /// Files of the client certificate and its key.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// Sessions are resumed.
    pub session_reuse: bool,
}

/// Settings ready for use.
pub struct Tls {
    settings: Settings,
    #[cfg(ngx_feature = "http_ssl")]
    ssl: NonNull<ngx_ssl_t>,
    #[cfg(ngx_feature = "http_ssl")]
    sessions: RefCell<Vec<Session>>,
    /// Connections of ours among a group's idle ones: nginx's number of each, and its server.
    #[cfg(ngx_feature = "http_ssl")]
    lent: RefCell<Vec<(ngx_atomic_uint_t, Vec<u8>)>>,
}

impl Tls {
    /// What it was made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

#[cfg(not(ngx_feature = "http_ssl"))]
impl Tls {
    /// Never made: `AVAILABLE` is false.
    pub fn new(_cf: &Conf<'_>, _settings: Settings) -> Result<Tls, NoMemory> {
        Err(NoMemory)
    }

    /// Puts the settings where nginx's upstream code looks for them.
    pub fn apply(&self, _upstream: &mut ngx_http_upstream_conf_t) {}
}

#[cfg(ngx_feature = "http_ssl")]
impl Tls {
    /// Reads the files and makes what nginx needs. nginx has logged what is wrong.
    pub fn new(cf: &Conf<'_>, settings: Settings) -> Result<Tls, NoMemory> {
        let pool = cf.pool();
        let ssl = NonNull::from(pool.zeroed::<ngx_ssl_t>()?);
        let s = ssl.as_ptr();
        let c = cf.as_ptr();
        let check = |rc| if rc == OK { Ok(()) } else { Err(NoMemory) };
        let depth = isize::try_from(settings.verify_depth).map_err(|_| NoMemory)?;

        // SAFETY: the configuration and the zeroed struct are valid and live as long as the cycle,
        // whose pool frees what nginx puts into it.
        unsafe {
            (*s).log = (*c).log;
            check(ngx_ssl_create(s, settings.protocols, ptr::null_mut()))?;
            let cleanup = ngx_pool_cleanup_add(pool.as_ptr(), 0);
            let Some(cleanup) = cleanup.as_mut() else {
                ngx_ssl_cleanup_ctx(s.cast());
                return Err(NoMemory);
            };
            cleanup.handler = Some(ngx_ssl_cleanup_ctx);
            cleanup.data = s.cast();

            check(ngx_ssl_ciphers(
                c,
                s,
                &mut text(pool, &settings.ciphers)?,
                0,
            ))?;
            if let Some((certificate, key)) = &settings.certificate {
                check(ngx_ssl_certificate(
                    c,
                    s,
                    &mut text(pool, certificate)?,
                    &mut text(pool, key)?,
                    ptr::null_mut(),
                ))?;
            }
            if settings.verify {
                // Without a file it sets the depth only.
                let mut trusted = text(pool, &settings.trusted_certificate)?;
                check(ngx_ssl_trusted_certificate(c, s, &mut trusted, depth))?;
                if trusted.len == 0 && SSL_CTX_set_default_verify_paths((*s).ctx) == 0 {
                    ngx_log_error_core(
                        NGX_LOG_EMERG as usize,
                        (*c).log,
                        0,
                        c"authgear: OpenSSL can't load the system's certificates".as_ptr(),
                    );
                    return Err(NoMemory);
                }
                nginx_sys::ERR_clear_error();
                check(ngx_ssl_crl(c, s, &mut text(pool, &settings.crl)?))?;
            }
            check(ngx_ssl_client_session_cache(
                c,
                s,
                settings.session_reuse.into(),
            ))?;
        }
        Ok(Tls {
            settings,
            ssl,
            sessions: RefCell::default(),
            lent: RefCell::default(),
        })
    }

    /// Puts the settings where nginx's upstream code looks for them.
    pub fn apply(&self, upstream: &mut ngx_http_upstream_conf_t) {
        upstream.ssl = self.ssl.as_ptr();
        upstream.ssl_verify = self.settings.verify.into();
        upstream.ssl_server_name = self.settings.server_name.into();
        upstream.ssl_session_reuse = self.settings.session_reuse.into();
    }

    /// Offers the server a session begun earlier, if there is one.
    ///
    /// # Safety
    /// `c` is a connection to `server` whose handshake has not begun.
    pub unsafe fn offer_session(&self, server: &[u8], c: *mut ngx_connection_t) -> bool {
        let sessions = self.sessions.borrow();
        match sessions.iter().find(|s| s.server == server) {
            // SAFETY: the caller's promise; OpenSSL counts its reference.
            Some(session) => unsafe { ngx_ssl_set_session(c, session.ssl.as_ptr()) == OK },
            None => true,
        }
    }

    /// Keeps the connection's session for the next one to this server.
    ///
    /// # Safety
    /// `c` is a connection to `server` with TLS.
    pub unsafe fn keep_session(&self, server: &[u8], c: *mut ngx_connection_t) {
        // SAFETY: the caller's promise.
        let Some(ssl) = NonNull::new(unsafe { ngx_ssl_get_session(c) }) else {
            return;
        };
        self.forget_session(server);
        let mut sessions = self.sessions.borrow_mut();
        if sessions.len() >= SESSIONS {
            sessions.remove(0);
        }
        sessions.push(Session {
            server: server.to_vec(),
            ssl,
        });
    }

    /// Begins anew with this server: the session may be what failed.
    pub fn forget_session(&self, server: &[u8]) {
        self.sessions.borrow_mut().retain(|s| s.server != server);
    }

    /// Remembers a connection that goes among the idle ones of a group.
    ///
    /// # Safety
    /// `c` is a valid connection to `server`, made with these settings.
    pub unsafe fn lend(&self, server: &[u8], c: *const ngx_connection_t) {
        let mut lent = self.lent.borrow_mut();
        if lent.len() >= LENT {
            lent.remove(0);
        }
        // SAFETY: the caller's promise.
        lent.push((unsafe { (*c).number }, server.to_vec()));
    }

    /// Whether a connection from among a group's idle ones is one of those.
    ///
    /// # Safety
    /// `c` is a valid connection.
    pub unsafe fn take_back(&self, server: &[u8], c: *const ngx_connection_t) -> bool {
        // SAFETY: the caller's promise.
        let number = unsafe { (*c).number };
        let mut lent = self.lent.borrow_mut();
        match lent.iter().position(|l| l.0 == number && l.1 == server) {
            Some(at) => {
                lent.remove(at);
                true
            }
            None => false,
        }
    }
}

/// Sessions kept, the newest last. More servers than these have to do without.
#[cfg(ngx_feature = "http_ssl")]
const SESSIONS: usize = 64;

/// Connections lent that are remembered; one that is forgotten is not used again.
#[cfg(ngx_feature = "http_ssl")]
const LENT: usize = 256;

/// A session to resume.
#[cfg(ngx_feature = "http_ssl")]
struct Session {
    /// Address and name of the server.
    server: Vec<u8>,
    /// OpenSSL's session, of which this holds one reference.
    ssl: NonNull<SSL_SESSION>,
}

#[cfg(ngx_feature = "http_ssl")]
impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { SSL_SESSION_free(self.ssl.as_ptr()) }
    }
}

/// A copy that nginx may keep, and end with a zero as it reads file names as C strings.
#[cfg(ngx_feature = "http_ssl")]
fn text(pool: Pool<'_>, text: &[u8]) -> Result<ngx_str_t, NoMemory> {
    if text.is_empty() {
        return Ok(ngx_str(&[]));
    }
    let copy = pool.concat(&[text, b"\0"])?;
    Ok(ngx_str(&copy[..text.len()]))
}
