//! From a client's request to a question to the resolver.

use std::rc::Rc;

use authgear_session::credentials::{CookieKind, Credentials};
use authgear_session::jwt::jwt_expiry;
use authgear_session::key::{session_tag, Key};

use super::call::{self, Failure, Waiting};
use super::question::{key, Question};
use super::request::{build, credentials, Changes};
use crate::cache::{CredentialFacts, Hold};
use crate::conf::{Place, Resolver};
use crate::ngx::request::Request;
use crate::ngx::upstream::Servers;

/// A question ready to be asked.
pub struct Inquiry<'r> {
    r: Request<'r>,
    resolver: &'r Rc<Resolver>,
    servers: Servers,
    place: &'r Place,
    credentials: Credentials<'r>,
    changes: Changes<'r>,
}

impl<'r> Inquiry<'r> {
    /// The question about a request; none if it has no credentials, so that there is nothing to ask.
    pub fn prepare(
        r: Request<'r>,
        resolver: &'r Rc<Resolver>,
    ) -> Result<Option<Inquiry<'r>>, Failure> {
        let changes = Changes::evaluate(r, &resolver.set_headers)?;
        let credentials = credentials(r, resolver, &changes);
        if credentials.is_empty() {
            return Ok(None);
        }
        let (servers, place) = resolver.servers(r).map_err(Failure::Url)?;
        Ok(Some(Inquiry {
            r,
            resolver,
            servers,
            place,
            credentials,
            changes,
        }))
    }

    /// What its answer belongs to.
    pub fn question(&self) -> Question {
        Question::new(self.resolver, self.place, &self.credentials, &self.changes)
    }

    /// The cache's key of its answer.
    pub fn key(&self) -> Key {
        key(self.resolver, self.place, &self.credentials, &self.changes)
    }

    /// What the cache must know of the credentials.
    pub fn credential_facts(&self) -> CredentialFacts {
        let tokens = [
            self.credentials.bearer(),
            // Authgear takes the same tokens in this cookie.
            self.credentials.cookie(CookieKind::AppAccessToken),
        ];
        CredentialFacts {
            session: session_tag(&self.credentials),
            expires: tokens.into_iter().flatten().filter_map(jwt_expiry).min(),
        }
    }

    /// Asks the resolver. The request is woken when the result is there.
    pub fn ask(&self, hold: Option<Hold>) -> Result<Waiting, Failure> {
        let waiting = Waiting::default();
        self.call(hold, Some(waiting.clone()))?;
        Ok(waiting)
    }

    /// Asks the resolver for the cache's sake, while the request goes on.
    pub fn refresh(&self, hold: Hold) -> Result<(), Failure> {
        self.call(Some(hold), None)
    }

    fn call(&self, hold: Option<Hold>, result: Option<Waiting>) -> Result<(), Failure> {
        let (r, resolver) = (self.r, self.resolver);
        let request = build(r, resolver, self.place, &self.credentials, &self.changes)
            .map_err(|_| Failure::NoMemory)?;
        call::start(r, resolver, self.servers, self.place, request, hold, result)
    }
}
