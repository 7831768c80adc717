//! A zone and the steps that requests take in it.

use core::cell::OnceCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authgear_cache::{
    Answer, Asker, Attached, Flight, Found, Key, Locked, Lookup, Owner, Policy, Poll, Recovery,
    Seed, SessionTag, Stats, Ticket, Time, UserTag, Validity,
};
use authgear_session::answer;
use authgear_session::key::tag;
use authgear_session::memo::secrets;

use super::waiters;
use crate::ngx::log;
use crate::ngx::process;
use crate::ngx::shm::{Attach, Region};
use crate::ngx::time;

/// `authgear_cache_zone`.
pub struct Zone {
    name: String,
    place: OnceCell<(Region, authgear_cache::Zone<'static>)>,
}

impl Attach for Zone {
    fn attach(&self, region: Region) -> bool {
        time::note_clocks();
        let seed = Seed(secrets());
        // On a reload, workers are at it.
        let attached = region.locked(|| authgear_cache::Zone::attach(region.words(), seed, now()));
        let log = log::cycle();
        match attached {
            Ok((zone, how)) => {
                if how == Attached::Incompatible {
                    log.notice(format_args!(
                        "authgear: zone \"{}\" has another version's layout and starts empty",
                        self.name
                    ));
                }
                self.place.set((region, zone)).is_ok()
            }
            Err(error) => {
                log.emerg(format_args!("authgear: zone \"{}\" {error}", self.name));
                false
            }
        }
    }
}

fn now() -> Time {
    Time::from_millis(time::monotonic_ms())
}

/// How far nginx's clock, a coarse one, may be behind.
const CLOCK_LAG: Duration = Duration::from_millis(20);

/// Whether a process that resolves still lives.
fn alive(owner: Owner) -> bool {
    process::is_alive(owner.pid)
}

fn me() -> Owner {
    Owner {
        pid: process::id(),
        slot: 0,
    }
}

impl Zone {
    /// A zone of this name, not yet mapped.
    pub fn new(name: &[u8]) -> Zone {
        Zone {
            name: String::from_utf8_lossy(name).into_owned(),
            place: OnceCell::new(),
        }
    }

    /// The zone's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a step with the lock held. None when there is no zone to be had: the request goes on
    /// without a cache.
    fn step<T>(&self, step: impl FnOnce(&mut Locked<'_>) -> T) -> Option<T> {
        let (region, zone) = self.place.get()?;
        #[cfg(feature = "kill-points")]
        super::kill_points::obey();
        let (done, recovery) = region.locked(|| {
            let mut locked = zone.enter(now()).ok()?;
            let done = step(&mut locked);
            Some((done, locked.recovery()))
        })?;
        if let Some(recovery) = recovery {
            let why = match recovery {
                Recovery::Interrupted => "a process died while changing it",
                Recovery::Corrupt => "it was damaged",
            };
            log::cycle().warn(format_args!(
                "authgear: zone \"{}\" was emptied: {why}",
                self.name
            ));
        }
        Some(done)
    }

    /// Looks a key up.
    pub fn lookup(&self, key: &Key, policy: &Policy, value: &mut Vec<u8>) -> Option<Lookup> {
        let asker = Asker {
            owner: me(),
            alive: &alive,
        };
        self.step(|zone| zone.lookup(key, policy, &asker, value))
    }

    /// Looks up what is good for now.
    pub fn fresh(&self, key: &Key, policy: &Policy, value: &mut Vec<u8>) -> Option<Found> {
        self.step(|zone| zone.fresh(key, policy, value)).flatten()
    }

    /// Asks what became of a flight.
    pub fn poll(&self, ticket: &Ticket, policy: &Policy, value: &mut Vec<u8>) -> Option<Poll> {
        let asker = Asker {
            owner: me(),
            alive: &alive,
        };
        self.step(|zone| zone.poll(ticket, policy, &asker, value))
    }

    /// An old answer to use although the resolver fails.
    pub fn stale(&self, key: &Key, policy: &Policy, value: &mut Vec<u8>) -> Option<Found> {
        self.step(|zone| zone.stale(key, policy, value)).flatten()
    }

    /// A resolve that nobody waits for.
    pub fn begin(&self, key: &Key) -> Option<Flight> {
        self.step(|zone| zone.begin(key))
    }

    /// Ended flights so far; while it stands still, nobody needs to poll.
    pub fn completions(&self) -> u64 {
        self.place.get().map_or(0, |(_, zone)| zone.completions())
    }

    /// What is in the zone.
    pub fn stats(&self) -> Option<Stats> {
        self.place.get().map(|(_, zone)| zone.stats())
    }

    /// Removes a user's entries.
    pub fn purge_user(&self, user: &[u8]) -> usize {
        self.step(|zone| zone.purge_user(UserTag::new(tag(user))))
            .unwrap_or(0)
    }

    /// Removes the entries of a session, or of credentials without a known session: see
    /// `authgear_session::credentials`.
    pub fn purge_session(&self, session: u64) -> usize {
        self.step(|zone| zone.purge_session(SessionTag::new(session)))
            .unwrap_or(0)
    }

    /// Removes the entries of the session with this id.
    pub fn purge_session_id(&self, id: &[u8]) -> usize {
        self.purge_session(tag(id))
    }

    /// Says that the zone is full, once a minute at most.
    fn mention_full(&self, evicted: Option<authgear_cache::Evicted>) {
        if let Some(evicted) = evicted {
            log::cycle().warn(format_args!(
                "authgear: zone \"{}\" is full, evicted {} entries",
                self.name, evicted.0
            ));
        }
    }
}

/// What a zone needs to know of the credentials that an answer is about.
#[derive(Clone, Copy)]
pub struct CredentialFacts {
    /// The tag of their session.
    pub session: u64,
    /// The Unix second at which they expire by themselves, if they say so.
    pub expires: Option<i64>,
}

impl CredentialFacts {
    /// Holds a flight for these credentials.
    pub fn hold(self, zone: &Rc<Zone>, flight: Flight) -> Hold {
        Hold {
            zone: zone.clone(),
            flight: Some(flight),
            credentials: self,
            purpose: Purpose::Request,
        }
    }

    /// Whether they have expired by themselves.
    pub fn have_expired(self) -> bool {
        self.expires.is_some_and(|at| at <= time::now())
    }

    /// The time from which on no answer about them is used: to the millisecond, as nginx's own
    /// clock of whole seconds would be up to one too late.
    fn use_until(self) -> Option<Time> {
        self.expires.map(|at| {
            time::note_clocks();
            let at = Duration::from_secs(u64::try_from(at).unwrap_or(0));
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
            let left = at.saturating_sub(since_1970.unwrap_or_default());
            now().after(left.saturating_sub(CLOCK_LAG))
        })
    }
}

/// The duty to end a flight. Dropped, the flight is given up and someone else resolves.
pub struct Hold {
    zone: Rc<Zone>,
    flight: Option<Flight>,
    credentials: CredentialFacts,
    purpose: Purpose,
}

/// What a flight is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A request has no answer yet.
    Request,
    /// An answer in use is to be made new.
    Refresh,
}

impl Hold {
    /// The same, for a refresh.
    pub fn for_refresh(mut self) -> Hold {
        self.purpose = Purpose::Refresh;
        self
    }

    /// Ends the flight with the resolver's answer.
    pub fn answer(mut self, answer: &answer::Answer) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        let facts = self.credentials;
        let evicted = match answer {
            answer::Answer::Valid(session) => {
                let answer = Answer::Valid {
                    value: session.as_bytes(),
                    user: UserTag::new(tag(session.user_id())),
                    session: Some(SessionTag::new(facts.session)),
                    use_until: facts.use_until(),
                };
                self.settle(flight, answer)
            }
            answer::Answer::Invalid => self.settle(flight, Answer::Invalid { value: b"" }),
            // Authgear says this also when its database fails: tell those who wait, store nothing.
            // It is no failure either, which would make an old answer of a session that has ended
            // do; but there is no point in trying to refresh that with each request.
            answer::Answer::None if self.purpose == Purpose::Refresh => {
                self.tell(flight, NO_SESSION);
                None
            }
            answer::Answer::None => {
                let answer = Answer::Valid {
                    value: NO_SESSION,
                    user: UserTag::new(tag(b"")),
                    session: Some(SessionTag::new(facts.session)),
                    // So that it is told and not stored.
                    use_until: Some(Time::from_millis(0)),
                };
                self.settle(flight, answer)
            }
        };
        self.zone.mention_full(evicted);
    }

    /// Ends the flight without an answer.
    pub fn fail(mut self) {
        if let Some(flight) = self.flight.take() {
            self.tell(flight, FAILED);
        }
    }

    fn settle(&self, flight: Flight, answer: Answer<'_>) -> Option<authgear_cache::Evicted> {
        let evicted = self.zone.step(|zone| {
            zone.settle(flight, answer);
            zone.full()
        });
        waiters::look_again();
        evicted.flatten()
    }

    fn tell(&self, flight: Flight, words: &[u8]) {
        self.zone.step(|zone| zone.fail(flight, words));
        waiters::look_again();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.zone.step(|zone| zone.abandon(flight));
            waiters::look_again();
        }
    }
}

/// What those who wait are told when there is no session.
const NO_SESSION: &[u8] = b"none"; // too short for a session
/// What those who wait are told when the resolver failed.
const FAILED: &[u8] = b"error";

/// What a flight without an answer came to.
pub fn told(words: &[u8]) -> Option<answer::Answer> {
    (words == NO_SESSION).then_some(answer::Answer::None)
}

/// The answer of an entry, or one that was only told.
pub fn decode(found: &Found, value: Vec<u8>) -> Option<answer::Answer> {
    match found.validity {
        Validity::Valid if value == NO_SESSION => Some(answer::Answer::None),
        Validity::Valid => answer::Session::from_encoded(value).map(answer::Answer::Valid),
        Validity::Invalid => Some(answer::Answer::Invalid),
    }
}
