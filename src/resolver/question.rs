//! What an answer belongs to. After an internal redirect the answer holds in the new location only
//! if that would ask the same: same resolver, same tenant, same credentials.

use std::rc::Rc;

use authgear_session::credentials::{CredentialHeader, Credentials};
use authgear_session::key::{Hosts, Key, KeyPrefix};
use authgear_session::memo::Fingerprint;

use super::request::{credentials, Changes};
use crate::conf::{MainConf, Merged, Place, Resolver};
use crate::ngx::request::Request;

/// A question that was put to a resolver, or needed not be.
pub struct Question {
    resolver: Rc<Resolver>,
    asked: Asked,
}

enum Asked {
    /// Nothing, for want of credentials.
    Nothing,
    /// What the configuration and the client's headers say, which do not change.
    AsConfigured,
    /// What variables have said.
    Evaluated(Key),
}

impl Question {
    /// The question of a request without credentials.
    pub fn nothing(resolver: &Rc<Resolver>) -> Question {
        Question {
            resolver: resolver.clone(),
            asked: Asked::Nothing,
        }
    }

    /// The question of a request of which configuration and client say all.
    pub fn as_configured(resolver: &Rc<Resolver>) -> Question {
        Question {
            resolver: resolver.clone(),
            asked: Asked::AsConfigured,
        }
    }

    /// The question about these credentials.
    pub fn new(
        resolver: &Rc<Resolver>,
        place: &Place,
        credentials: &Credentials<'_>,
        changes: &Changes<'_>,
    ) -> Question {
        match resolver.has_variables() {
            true => Question {
                resolver: resolver.clone(),
                asked: Asked::Evaluated(key(resolver, place, credentials, changes)),
            },
            false => Question::as_configured(resolver),
        }
    }

    /// Whether this location would ask the same now.
    pub fn is_same(&self, r: Request<'_>, resolver: &Rc<Resolver>) -> bool {
        if Rc::ptr_eq(&self.resolver, resolver) && !resolver.has_variables() {
            return true;
        }
        match &self.asked {
            Asked::Nothing => false,
            Asked::AsConfigured => key_now(r, &self.resolver)
                .is_some_and(|before| key_now(r, resolver) == Some(before)),
            Asked::Evaluated(before) => key_now(r, resolver).as_ref() == Some(before),
        }
    }
}

/// The key of an answer to the question as sent.
pub fn key<'r>(
    resolver: &Resolver,
    place: &'r Place,
    credentials: &Credentials<'_>,
    changes: &Changes<'r>,
) -> Key {
    if let Some(prefix) = &resolver.key_prefix {
        return prefix.key(credentials);
    }
    let hosts = Hosts {
        host: changes.host(place),
        forwarded: changes.get("X-Forwarded-Host"),
        original: changes.get("X-Original-Host"),
    };
    key_prefix(place, resolver.tls.as_ref(), hosts).key(credentials)
}

/// The fingerprint of a request whose key is decided by its location's resolver and the credentials
/// as received, and by nothing else.
pub fn fingerprint(r: Request<'_>, resolver: &Rc<Resolver>) -> Option<Fingerprint> {
    if resolver.key_prefix.is_none() || !resolver.set_headers.is_empty() {
        return None;
    }
    let headers = r.headers_in();
    let headers = headers.filter_map(|h| Some((CredentialHeader::of(h.name())?, h.value())));
    MainConf::of(r)
        .memo
        .borrow()
        .fingerprint(resolver.number, headers)
}

/// The part of a key that says whom was asked, for which project.
pub fn key_prefix(place: &Place, tls: Option<&Merged>, hosts: Hosts<'_>) -> KeyPrefix {
    let mut url = place.schema().to_vec();
    url.extend_from_slice(&place.host_header);
    // Of a unix socket the Host header does not tell which.
    url.extend_from_slice(&place.host);
    url.extend_from_slice(&place.uri);
    // No URI has a blank.
    if let Some(tls) = tls.filter(|_| place.tls) {
        url.push(b' ');
        url.extend_from_slice(&tls.trust());
    }
    KeyPrefix::new(&url, hosts)
}

fn key_now(r: Request<'_>, resolver: &Resolver) -> Option<Key> {
    let changes = Changes::evaluate(r, &resolver.set_headers).ok()?;
    let credentials = credentials(r, resolver, &changes);
    let (_, place) = resolver.servers(r).ok()?;
    (!credentials.is_empty()).then(|| key(resolver, place, &credentials, &changes))
}
