//! From a request to its session: from the cache, from the resolver, or from someone else's call.

use core::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use authgear_cache::{Absence, Found, Key, Lookup, Policy};
use authgear_session::answer::Answer;
use authgear_session::key;

use super::context::{CacheStatus, CallFacts, Context, Outcome, Pending, Progress, Resolved};
use crate::cache::{decode, wait, Hold, Waited, Waiter};
use crate::conf::{Cache, LocationConf, MainConf, OnError, Resolver};
use crate::ngx::pool::NoMemory;
use crate::ngx::request::{HeaderName, Request};
use crate::ngx::time;
use crate::resolver::{self, is_preflight, Failure, Inquiry, Question, Waiting};

static SET_COOKIE: HeaderName = HeaderName::spelled("Set-Cookie", "set-cookie");

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The context has a result.
    Settled,
    /// The request will be woken.
    Waiting,
}

/// How old a cached answer may be on which a client is refused.
pub const FRESH_ENOUGH: Duration = Duration::from_secs(1);

/// Octets of a cached session that is not unusual.
const USUAL_VALUE: usize = 256;

/// One request being resolved by its location's resolver.
pub struct Resolving<'r, 'c> {
    /// The client's request.
    pub r: Request<'r>,
    /// Its context.
    pub context: &'c mut Context,
    /// Its location's resolver.
    pub resolver: &'r Rc<Resolver>,
}

impl<'r> Resolving<'r, '_> {
    /// Goes on from where the request stands.
    pub fn go_on(&mut self) -> Result<Step, NoMemory> {
        match core::mem::take(&mut self.context.progress) {
            Progress::Asked(waiting, pending) => self.take_answer(waiting, pending),
            Progress::Waits(waiter, pending) => self.take_others_answer(waiter, pending),
            Progress::Answered(question) if question.is_same(self.r, self.resolver) => {
                self.context.progress = Progress::Answered(question);
                Ok(Step::Settled)
            }
            _ => self.begin(None),
        }
    }

    /// Resolves again, as far as the cached answer is not fresh enough to refuse a client on.
    pub fn begin_afresh(&mut self) -> Result<Step, NoMemory> {
        self.begin(Some(FRESH_ENOUGH))
    }

    fn begin(&mut self, at_most: Option<Duration>) -> Result<Step, NoMemory> {
        let (r, resolver) = (self.r, self.resolver);
        let cache = LocationConf::of(r).cache();
        let preflight = is_preflight(r);
        let memo = &MainConf::of(r).memo;
        let seen = cache.filter(|_| !preflight);
        let seen = seen.and_then(|_| resolver::fingerprint(r, resolver));
        let known = seen.and_then(|seen| memo.borrow().get(seen));
        if let (Some(key), Some(cache), None) = (known, cache, at_most) {
            if self.use_fresh(&cached(key), cache) {
                return Ok(Step::Settled);
            }
        }
        let inquiry = match preflight {
            true => Ok(None),
            false => Inquiry::prepare(r, resolver),
        };
        let inquiry = match inquiry {
            Ok(Some(inquiry)) => inquiry,
            Ok(None) => {
                self.context.progress = Progress::Answered(Question::nothing(resolver));
                let status = cache.map(|_| CacheStatus::None);
                self.settle(Resolved::of(Answer::None, status, Duration::ZERO));
                return Ok(Step::Settled);
            }
            Err(failure) => {
                let pending = Pending::uncached(Question::nothing(resolver));
                self.give_up(pending, failure, None);
                return Ok(Step::Settled);
            }
        };
        let question = inquiry.question();
        match cache {
            Some(cache) => {
                let key = known.unwrap_or_else(|| inquiry.key());
                if let (Some(seen), None) = (seen, known) {
                    memo.borrow_mut().insert(seen, key);
                }
                self.look_up(inquiry, question, cached(key), cache, at_most)
            }
            None => self.ask(&inquiry, Pending::uncached(question), None),
        }
    }

    /// The usual case: a worker that has seen these credentials before, and a cached answer that is
    /// good.
    fn use_fresh(&mut self, key: &Key, cache: &Cache) -> bool {
        if cache.is_bypassed(self.r) {
            return false;
        }
        let mut value = Vec::with_capacity(USUAL_VALUE);
        let found = cache.zone.fresh(key, &cache.policy, &mut value);
        let question = Question::as_configured(self.resolver);
        found.is_some_and(|found| {
            self.use_found(question, &found, value, CacheStatus::Hit)
                .is_ok()
        })
    }

    fn look_up(
        &mut self,
        inquiry: Inquiry<'r>,
        question: Question,
        key: Key,
        cache: &'r Cache,
        at_most: Option<Duration>,
    ) -> Result<Step, NoMemory> {
        let zone = &cache.zone;
        let facts = || inquiry.credential_facts();
        let pending = |question, status| Pending {
            question,
            key: Some(key),
            status: Some(status),
        };

        if cache.is_bypassed(self.r) {
            let hold = zone.begin(&key).map(|flight| facts().hold(zone, flight));
            // Without the key: what is in the cache is no answer, even if the resolver fails.
            let pending = Pending {
                question,
                key: None,
                status: Some(CacheStatus::Bypass),
            };
            return self.ask(&inquiry, pending, hold);
        }
        let policy = policy(cache, at_most);
        let mut value = Vec::new();
        let (status, hold) = match zone.lookup(&key, &policy, &mut value) {
            Some(Lookup::Hit(found)) => {
                match self.use_found(question, &found, value, CacheStatus::Hit) {
                    Ok(()) => return Ok(Step::Settled),
                    Err(again) => return self.replace(&inquiry, pending(again, CacheStatus::Miss)),
                }
            }
            Some(Lookup::Stale(found)) => {
                match self.use_found(question, &found, value, CacheStatus::Stale) {
                    Ok(()) => return Ok(Step::Settled),
                    Err(again) => return self.replace(&inquiry, pending(again, CacheStatus::Miss)),
                }
            }
            Some(Lookup::Refresh(found, flight)) => {
                let hold = facts().hold(zone, flight);
                match self.use_found(question, &found, value, CacheStatus::Refresh) {
                    Ok(()) => {
                        if let Err(failure) = inquiry.refresh(hold.for_refresh()) {
                            let log = self.r.log();
                            log.error(format_args!("authgear: resolver {failure}, not refreshed"));
                        }
                        return Ok(Step::Settled);
                    }
                    Err(again) => {
                        let pending = pending(again, CacheStatus::Miss);
                        return self.ask(&inquiry, pending, Some(hold));
                    }
                }
            }
            Some(Lookup::Wait(ticket)) => {
                let suspended = self.r.suspend()?;
                let timeout = cache.lock_timeout_ms;
                let waiter = wait(zone, ticket, policy, facts(), timeout, suspended);
                let pending = pending(question, CacheStatus::Wait);
                self.context.progress = Progress::Waits(waiter, pending);
                return Ok(Step::Waiting);
            }
            Some(Lookup::Resolve(flight, absence)) => {
                let status = match absence {
                    Absence::Missing => CacheStatus::Miss,
                    Absence::Expired => CacheStatus::Expired,
                };
                (status, Some(facts().hold(zone, flight)))
            }
            None => (CacheStatus::Miss, None),
        };
        self.ask(&inquiry, pending(question, status), hold)
    }

    /// Resolves in place of an entry that can't be read.
    fn replace(&mut self, inquiry: &Inquiry<'r>, pending: Pending) -> Result<Step, NoMemory> {
        let hold = self.begin_for(inquiry, &pending);
        self.ask(inquiry, pending, hold)
    }

    /// A flight that nobody waits for.
    fn begin_for(&self, inquiry: &Inquiry<'r>, pending: &Pending) -> Option<Hold> {
        let zone = &LocationConf::of(self.r).cache()?.zone;
        let flight = zone.begin(pending.key.as_ref()?)?;
        Some(inquiry.credential_facts().hold(zone, flight))
    }

    fn ask(
        &mut self,
        inquiry: &Inquiry<'r>,
        pending: Pending,
        hold: Option<Hold>,
    ) -> Result<Step, NoMemory> {
        match inquiry.ask(hold) {
            Ok(waiting) => {
                self.context.progress = Progress::Asked(waiting, pending);
                Ok(Step::Waiting)
            }
            Err(failure) => {
                self.fall_back(pending, failure, None);
                Ok(Step::Settled)
            }
        }
    }

    /// The own call may be over.
    fn take_answer(&mut self, waiting: Waiting, pending: Pending) -> Result<Step, NoMemory> {
        let resolution = match Rc::try_unwrap(waiting).map(OnceCell::into_inner) {
            Ok(Some(resolution)) => resolution,
            // The call ended without a word.
            Ok(None) => return Err(NoMemory),
            Err(waiting) => {
                self.context.progress = Progress::Asked(waiting, pending);
                return Ok(Step::Waiting);
            }
        };
        if LocationConf::of(self.r).pass_set_cookie() {
            for value in &resolution.set_cookies {
                let relayed = self.r.push_header_out(&SET_COOKIE, value)?;
                self.context.relayed.push(relayed);
            }
        }
        let call = CallFacts {
            status: resolution.status,
            elapsed: resolution.elapsed,
            addr: resolution.peer,
        };
        match resolution.answer {
            Ok(answer) => {
                self.context.progress = Progress::Answered(pending.question);
                let resolved = Resolved::of(answer, pending.status, Duration::ZERO);
                self.settle(Resolved {
                    call: Some(call),
                    ..resolved
                });
            }
            Err(failure) => self.fall_back(pending, failure, Some(call)),
        }
        Ok(Step::Settled)
    }

    /// Someone else's call may be over, or the time to wait for it.
    fn take_others_answer(
        &mut self,
        waiter: Rc<Waiter>,
        pending: Pending,
    ) -> Result<Step, NoMemory> {
        match waiter.take() {
            Some(Waited::Answered(answer)) => {
                self.context.progress = Progress::Answered(pending.question);
                self.settle(Resolved::of(answer, pending.status, Duration::ZERO));
                Ok(Step::Settled)
            }
            Some(Waited::Failed) => {
                self.fall_back(pending, Failure::Others, None);
                Ok(Step::Settled)
            }
            Some(Waited::Resolve(hold)) => self.ask_after_waiting(pending, Some(hold)),
            Some(Waited::Lost) => self.ask_after_waiting(pending, None),
            None if waiter.is_waiting() => {
                self.context.progress = Progress::Waits(waiter, pending);
                Ok(Step::Waiting)
            }
            None => {
                self.r
                    .log()
                    .info(format_args!("authgear: cache lock timed out, resolving"));
                self.ask_after_waiting(pending, None)
            }
        }
    }

    fn ask_after_waiting(
        &mut self,
        pending: Pending,
        hold: Option<Hold>,
    ) -> Result<Step, NoMemory> {
        match Inquiry::prepare(self.r, self.resolver) {
            Ok(Some(inquiry)) => {
                let hold = hold.or_else(|| self.begin_for(&inquiry, &pending));
                self.ask(&inquiry, pending, hold)
            }
            // The request has not lost its credentials while it waited.
            Ok(None) => Err(NoMemory),
            Err(failure) => {
                self.fall_back(pending, failure, None);
                Ok(Step::Settled)
            }
        }
    }

    /// No answer: an old one may do.
    fn fall_back(&mut self, mut pending: Pending, failure: Failure, call: Option<CallFacts>) {
        if let (Some(cache), Some(key)) = (LocationConf::of(self.r).cache(), pending.key) {
            let mut value = Vec::new();
            if let Some(found) = cache.zone.stale(&key, &cache.policy, &mut value) {
                match self.use_found(pending.question, &found, value, CacheStatus::Stale) {
                    Ok(()) => {
                        self.report(&failure, "using a stale answer", call.as_ref());
                        return;
                    }
                    Err(question) => pending.question = question,
                }
            }
        }
        self.give_up(pending, failure, call);
    }

    /// Says why there is no answer, and what follows.
    fn report(&self, failure: &Failure, then: &str, call: Option<&CallFacts>) {
        let log = self.r.log();
        match (failure, call) {
            // Whoever has asked has logged the cause.
            (Failure::Others, _) => log.info(format_args!("authgear: resolver {failure}, {then}")),
            (_, Some(call)) if !call.addr.is_empty() => {
                let peer = String::from_utf8_lossy(&call.addr);
                log.error(format_args!(
                    "authgear: resolver {failure}, {then}, peer: {peer}"
                ));
            }
            _ => log.error(format_args!("authgear: resolver {failure}, {then}")),
        }
    }

    fn give_up(&mut self, pending: Pending, failure: Failure, call: Option<CallFacts>) {
        let then = match self.resolver.on_error {
            OnError::Deny => "denying",
            OnError::Anonymous => "going on without a session",
        };
        self.report(&failure, then, call.as_ref());
        self.context.progress = Progress::Answered(pending.question);
        self.settle(Resolved {
            outcome: Some(Outcome::Error),
            call,
            cache_status: pending.status,
            ..Resolved::default()
        });
    }

    /// Whether the credentials have expired while the entry has not: its end is a moment of the
    /// monotonic clock, and the time of day may have been set ahead since.
    fn are_credentials_over(&self) -> bool {
        let inquiry = || Inquiry::prepare(self.r, self.resolver).ok().flatten();
        time::was_set_ahead()
            && inquiry().is_some_and(|inquiry| inquiry.credential_facts().have_expired())
    }

    /// Uses a cached answer; gives the question back when the entry can't be read, or is no answer
    /// any more.
    fn use_found(
        &mut self,
        question: Question,
        found: &Found,
        value: Vec<u8>,
        status: CacheStatus,
    ) -> Result<(), Question> {
        let Some(answer) = decode(found, value) else {
            return Err(question);
        };
        if matches!(answer, Answer::Valid(_)) && self.are_credentials_over() {
            return Err(question);
        }
        self.context.progress = Progress::Answered(question);
        self.settle(Resolved::of(answer, Some(status), found.age));
        Ok(())
    }

    /// Makes a result known, also to variables that were read before there was one.
    fn settle(&mut self, resolved: Resolved) {
        let (outcome, cache) = (
            resolved.outcome.map_or("-", Outcome::as_str),
            resolved.cache_status,
        );
        let cache = cache.map_or("-", CacheStatus::as_str);
        self.r
            .log()
            .debug(format_args!("authgear: outcome {outcome}, cache {cache}"));
        // A request that is judged again is counted once.
        if !self.context.judged_again {
            let counters = &MainConf::of(self.r).counters;
            counters.count_request(resolved.outcome, resolved.cache_status);
        }
        self.context.set_resolved(resolved);
        self.r.forget_variables(&MainConf::of(self.r).variables);
    }
}

/// The key as the cache has it.
fn cached(key: key::Key) -> Key {
    Key::new(*key.as_bytes())
}

/// The location's policy, with answers of no more than this age.
fn policy(cache: &Cache, at_most: Option<Duration>) -> Policy {
    match at_most {
        None => cache.policy,
        Some(age) => Policy {
            valid: cache.policy.valid.min(age),
            invalid: cache.policy.invalid.min(age),
            refresh: Duration::MAX,
            ..cache.policy
        },
    }
}
