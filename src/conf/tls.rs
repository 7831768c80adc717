//! `authgear_ssl_...`: how the resolver is reached over TLS.

use std::rc::Rc;

use super::{DirectiveError, LocationConf, MainConf, Place, Resolver, Target};
use crate::ngx::conf::Conf;
use crate::ngx::request::Request;
use crate::ngx::tls::{Settings, Tls, AVAILABLE, PROTOCOLS};
use crate::ngx::upstream::Secure;
use crate::ngx::value::Value;

const VERIFY_DEPTH: usize = 1;
const CIPHERS: &[u8] = b"DEFAULT";
const DEFAULT_PROTOCOLS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

/// What the directives of a level say.
#[derive(Default)]
pub struct Directives {
    pub(super) verify: Option<bool>,
    pub(super) verify_depth: Option<usize>,
    pub(super) trusted_certificate: Option<Rc<[u8]>>,
    pub(super) crl: Option<Rc<[u8]>>,
    pub(super) name: Option<Rc<Value>>,
    pub(super) server_name: Option<bool>,
    pub(super) protocols: Option<usize>,
    pub(super) ciphers: Option<Rc<[u8]>>,
    pub(super) certificate: Option<Rc<[u8]>>,
    pub(super) certificate_key: Option<Rc<[u8]>>,
    pub(super) session_reuse: Option<bool>,
}

/// The merged directives of a location whose URL is `https://`, or may come to be.
pub struct Merged {
    pub(super) tls: Rc<Tls>,
    name: Option<Rc<Value>>,
}

impl Merged {
    /// What an answer owes to these settings: one that came over an unverified connection is none of
    /// a location that verifies.
    pub fn trust(&self) -> Vec<u8> {
        let settings = self.tls.settings();
        match settings.verify {
            true => [b"verified by ", settings.trusted_certificate.as_slice()].concat(),
            false => b"unverified".to_vec(),
        }
    }
}

impl LocationConf {
    /// Where a directive of the family is to be written.
    pub(super) fn tls(&mut self) -> Result<&mut Directives, DirectiveError> {
        match AVAILABLE {
            true => Ok(&mut self.tls),
            false => Err(DirectiveError::Other(
                "requires nginx built with SSL".into(),
            )),
        }
    }
}

/// `authgear_ssl_protocols`
pub fn protocols(cf: &Conf<'_>) -> Result<usize, DirectiveError> {
    let mut mask = 0;
    for name in &cf.args()[1..] {
        let known = PROTOCOLS
            .iter()
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        let expected = "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3";
        mask |= known
            .ok_or_else(|| DirectiveError::invalid(name, expected))?
            .1;
    }
    Ok(mask)
}

impl Directives {
    /// Takes from the level above what this one does not say.
    pub fn inherit(&mut self, parent: &Directives) {
        macro_rules! inherit {
            ($($field:ident),+) => {
                $( if self.$field.is_none() { self.$field = parent.$field.clone(); } )+
            };
        }
        // A certificate and its key belong together.
        if self.certificate.is_none() && self.certificate_key.is_none() {
            inherit!(certificate, certificate_key);
        }
        inherit!(
            verify,
            verify_depth,
            trusted_certificate,
            crl,
            name,
            server_name,
            protocols,
            ciphers,
            session_reuse
        );
    }

    /// Makes what a location with this target needs; nothing if it never uses TLS.
    pub fn merged(
        &self,
        cf: &Conf<'_>,
        main: &mut MainConf,
        target: &Target,
    ) -> Result<Option<Merged>, DirectiveError> {
        if !AVAILABLE || !target.may_be_tls() {
            return Ok(None);
        }
        Ok(Some(Merged {
            tls: main.tls(cf, self.settings()?)?,
            name: self.name.clone(),
        }))
    }

    fn settings(&self) -> Result<Settings, DirectiveError> {
        let text = |place: &Option<Rc<[u8]>>| place.as_deref().unwrap_or_default().to_vec();
        let certificate = match (text(&self.certificate), text(&self.certificate_key)) {
            (certificate, _) if certificate.is_empty() => None,
            (certificate, key) if key.is_empty() => {
                return Err(DirectiveError::Other(format!(
                    "has \"authgear_ssl_certificate {}\" without \"authgear_ssl_certificate_key\"",
                    String::from_utf8_lossy(&certificate)
                )))
            }
            pair => Some(pair),
        };
        let default_protocols = || {
            let chosen = |name: &&(&str, usize)| DEFAULT_PROTOCOLS.contains(&name.0);
            PROTOCOLS.iter().filter(chosen).map(|(_, bit)| bit).sum()
        };
        Ok(Settings {
            verify: self.verify.unwrap_or(true),
            verify_depth: self.verify_depth.unwrap_or(VERIFY_DEPTH),
            trusted_certificate: text(&self.trusted_certificate),
            crl: text(&self.crl),
            server_name: self.server_name.unwrap_or(true),
            protocols: self.protocols.unwrap_or_else(default_protocols),
            ciphers: self.ciphers.as_deref().unwrap_or(CIPHERS).to_vec(),
            certificate,
            session_reuse: self.session_reuse.unwrap_or(true),
        })
    }
}

impl MainConf {
    /// Settings made ready once, for all locations that say the same.
    fn tls(&mut self, cf: &Conf<'_>, settings: Settings) -> Result<Rc<Tls>, DirectiveError> {
        if let Some(same) = self.tls.iter().find(|t| *t.settings() == settings) {
            return Ok(same.clone());
        }
        // nginx has said what, but not where.
        let tls = Tls::new(cf, settings)
            .map_err(|_| DirectiveError::Other("can't use its TLS settings".into()))?;
        let tls = Rc::new(tls);
        self.tls.push(tls.clone());
        Ok(tls)
    }
}

impl Resolver {
    /// TLS for one call, if its URL asks for it. The error completes "authgear: resolver ...".
    pub fn secure<'r>(
        &'r self,
        r: Request<'r>,
        place: &'r Place,
    ) -> Result<Option<Secure<'r>>, String> {
        if !place.tls {
            return Ok(None);
        }
        let merged = self
            .tls
            .as_ref()
            .ok_or("URL is https://, for which nginx is not built")?;
        let name = match &merged.name {
            Some(name) => name
                .evaluate(r)
                .map_err(|_| "authgear_ssl_name can't be evaluated".to_string())?,
            None => place.tls_name(),
        };
        Ok(Some(Secure {
            tls: &merged.tls,
            name,
        }))
    }
}
