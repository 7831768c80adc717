//! From a client's request to a question to the resolver.

use std::rc::Rc;

use super::call::{self, Failure, Waiting};
use super::question::Question;
use super::request::{build, credentials, Changes};
use crate::conf::Resolver;
use crate::ngx::request::Request;

/// What was asked about a request.
pub enum Asked {
    /// The resolver was asked; the result will come.
    Resolver(Waiting, Question),
    /// The request has no credentials: there is no session, and nothing to ask.
    Nothing(Question),
}

/// Asks the resolver about the request, if it has credentials.
pub fn ask<'r>(r: Request<'r>, resolver: &'r Rc<Resolver>) -> Result<Asked, Failure> {
    let changes = Changes::evaluate(r, &resolver.set_headers)?;
    let credentials = credentials(r, resolver, &changes);
    if credentials.is_empty() {
        return Ok(Asked::Nothing(Question::nothing(resolver)));
    }
    let (servers, place) = resolver.target.servers(r).map_err(Failure::Url)?;
    let question = Question::new(resolver, place, &credentials, &changes);
    let request =
        build(r, resolver, place, &credentials, &changes).map_err(|_| Failure::NoMemory)?;
    let waiting = call::start(r, resolver, servers, place, request)?;
    Ok(Asked::Resolver(waiting, question))
}
