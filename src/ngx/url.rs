//! Parsing a URL with nginx's own parser.

use nginx_sys::{
    ngx_http_upstream_add, ngx_http_upstream_init_round_robin, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_module, ngx_http_upstream_resolved_t, ngx_http_upstream_srv_conf_t,
    ngx_parse_url, ngx_url_t, NGX_HTTP_UPSTREAM_CREATE,
};

use core::ffi::CStr;
use core::ptr::{self, NonNull};

use super::bits::{URL_NO_PORT, URL_NO_RESOLVE, URL_URI_PART};
use super::conf::Conf;
use super::pool::{bytes, ngx_str, NoMemory, Pool};
use super::request::Request;
use super::status::OK;

/// `host:port/uri` taken apart. All parts live in the pool given, or in the text.
pub struct Url {
    raw: ngx_url_t,
}

impl Url {
    fn new(text: &[u8], default_port: u16) -> Url {
        // SAFETY: all zero is a valid value.
        let mut raw: ngx_url_t = unsafe { core::mem::zeroed() };
        raw.url = ngx_str(text);
        raw.default_port = default_port;
        // SAFETY: a valid struct.
        unsafe {
            URL_URI_PART.set(&mut raw, true);
            URL_NO_RESOLVE.set(&mut raw, true);
        }
        Url { raw }
    }

    /// Parses without looking a name up. The error is nginx's word for what is wrong.
    pub fn parse(pool: Pool<'_>, text: &[u8], default_port: u16) -> Result<Url, String> {
        let mut url = Url::new(text, default_port);
        // SAFETY: both are valid.
        if unsafe { ngx_parse_url(pool.as_ptr(), &mut url.raw) } != OK {
            return Err(url.error());
        }
        Ok(url)
    }

    fn error(&self) -> String {
        if self.raw.err.is_null() {
            return "no memory".into();
        }
        // SAFETY: nginx's messages are C strings in static memory.
        unsafe { CStr::from_ptr(self.raw.err) }
            .to_string_lossy()
            .into_owned()
    }

    /// The host without port, or the path of a unix socket.
    pub fn host(&self) -> &[u8] {
        // SAFETY: nginx points into the text or the pool.
        unsafe { bytes(self.raw.host) }
    }

    /// The part from the path on; empty when there is none.
    pub fn uri(&self) -> &[u8] {
        // SAFETY: as for `host`.
        unsafe { bytes(self.raw.uri) }
    }

    /// The port, the default one when none was given.
    pub fn port(&self) -> u16 {
        if self.no_port() {
            self.raw.default_port
        } else {
            self.raw.port
        }
    }

    /// Whether no port was given.
    pub fn no_port(&self) -> bool {
        // SAFETY: a valid struct.
        unsafe { URL_NO_PORT.get(&self.raw) }
    }

    /// Whether the server is a unix socket.
    pub fn is_unix(&self) -> bool {
        self.raw.family == libc::AF_UNIX
    }

    /// Whether the host is an address, so that nothing has to be looked up.
    pub fn is_address(&self) -> bool {
        self.raw.naddrs > 0
    }

    /// The value of the Host header: the host, and the port unless it is the scheme's.
    pub fn host_header(&self) -> Vec<u8> {
        if self.is_unix() {
            return b"localhost".to_vec();
        }
        let mut value = self.host().to_vec();
        if !self.no_port() && self.raw.port != self.raw.default_port {
            value.extend_from_slice(format!(":{}", self.raw.port).as_bytes());
        }
        value
    }

    /// The address as servers for one call.
    pub fn resolved(
        &self,
        pool: Pool<'_>,
    ) -> Result<NonNull<ngx_http_upstream_resolved_t>, NoMemory> {
        let resolved = pool.zeroed::<ngx_http_upstream_resolved_t>()?;
        // SAFETY: `addrs` has `naddrs` elements, in the pool given to `parse`.
        unsafe {
            let address = self
                .raw
                .addrs
                .as_ref()
                .filter(|_| self.is_address())
                .ok_or(NoMemory)?;
            resolved.sockaddr = address.sockaddr;
            resolved.socklen = address.socklen;
            resolved.name = address.name;
        }
        resolved.naddrs = 1;
        resolved.host = self.raw.host;
        resolved.port = self.port();
        Ok(NonNull::from(resolved))
    }
}

/// Registers the host as an upstream, as `proxy_pass` does: a group of that name, or else the
/// addresses of the name. While locations are merged nginx has initialised the groups it knew, so
/// that a new one is initialised here. nginx has logged an error.
pub fn add_upstream(
    cf: &Conf<'_>,
    text: &[u8],
    default_port: u16,
) -> Result<NonNull<ngx_http_upstream_srv_conf_t>, NoMemory> {
    let mut url = Url::new(text, default_port);
    // SAFETY: both are valid, and the text lives as long as the cycle.
    unsafe {
        let group = ngx_http_upstream_add(cf.as_ptr(), &mut url.raw, 0);
        let group = NonNull::new(group).ok_or(NoMemory)?;
        let new = group.as_ref().peer.init.is_none();
        if new && ngx_http_upstream_init_round_robin(cf.as_ptr(), group.as_ptr()) != OK {
            return Err(NoMemory);
        }
        Ok(group)
    }
}

/// Whether the configuration has an `upstream {}` group of this name.
pub fn is_group(cf: &Conf<'_>, name: &[u8]) -> bool {
    // SAFETY: the upstream module's main configuration has this type.
    let main = unsafe { cf.main_conf(&*ptr::addr_of!(ngx_http_upstream_module)) };
    main.is_some_and(|main| {
        // SAFETY: as for `groups`.
        unsafe { groups(main) }.any(|g| is_written(g) && has_name(g, name))
    })
}

/// The group of this URL's host, as nginx finds it for a URL with variables; `written` as
/// `upstream {}` only, or also one that some other URL has brought about.
pub fn find_group(
    r: Request<'_>,
    url: &Url,
    written: bool,
) -> Option<NonNull<ngx_http_upstream_srv_conf_t>> {
    // SAFETY: the upstream module's main configuration has this type.
    let main = unsafe { r.main_conf(&*ptr::addr_of!(ngx_http_upstream_module)) };
    // SAFETY: as for `groups`.
    let found = unsafe { groups(main) }.find(|group| {
        has_name(group, url.host())
            && ((group.port == 0 && url.no_port()) || group.port == url.port())
            && (!written || is_written(group))
    });
    found.map(NonNull::from)
}

/// # Safety
/// `main` is the upstream module's main configuration. The groups live as long as the cycle.
unsafe fn groups<'c>(
    main: &ngx_http_upstream_main_conf_t,
) -> impl Iterator<Item = &'c ngx_http_upstream_srv_conf_t> + use<'c, '_> {
    // SAFETY: an array of pointers to groups.
    unsafe {
        main.upstreams
            .as_slice::<NonNull<ngx_http_upstream_srv_conf_t>>()
            .iter()
            .map(|group| group.as_ref())
    }
}

fn is_written(group: &ngx_http_upstream_srv_conf_t) -> bool {
    group.flags & NGX_HTTP_UPSTREAM_CREATE as usize != 0
}

fn has_name(group: &ngx_http_upstream_srv_conf_t, name: &[u8]) -> bool {
    // SAFETY: a group's name lives as long as the group.
    unsafe { bytes(group.host) }.eq_ignore_ascii_case(name)
}
