//! What is true, since when, and since when everybody has to know.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use authgear_integration::{get, Port, Random, Request, Response};
use authgear_resolver_double::{jwt, Kind, Resolver, Session, Store, User};

/// How long after a reload a connection may end without an answer.
const RELOAD: Duration = Duration::from_secs(2);
/// Sessions to which something happens, for the clients to look at.
const RECENT: usize = 64;
/// Access tokens are made anew that often, and live half as long again.
const TOKEN_SECONDS: i64 = 60;

/// The resolver with its users and sessions, and their past.
///
/// A user's roles have a version, and a session's credential has a generation; both only grow. What
/// *may* be seen grows before the resolver is told, what *must* be seen after nginx has acknowledged
/// that it was told. In between, either is right.
pub(crate) struct World {
    port: Port,
    /// Written to by whoever restarts it, so that no change gets lost.
    resolver: RwLock<Option<Resolver>>,
    roles: Vec<Versions>,
    sessions: Vec<Slot>,
    recent: Vec<AtomicUsize>,
    outages: Mutex<Vec<(Instant, Option<Instant>)>>,
    aftermath: Duration,
    reloads: Mutex<Vec<Instant>>,
}

#[derive(Default)]
struct Versions {
    may: AtomicU32,
    must: AtomicU32,
}

struct Slot {
    held: Mutex<Held>,
    /// The last generation that may have ended, and the last of whose end everybody has to know.
    ended: Versions,
}

/// The credential of a session.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) generation: u32,
    pub(crate) value: String,
    pub(crate) amr: String,
    /// The value of the generation before.
    before: Option<String>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Open,
    Members,
    Staff,
}

/// A request, and all that was known before it went.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) request: Request,
    place: Place,
    whose: Option<Whose>,
    at: Instant,
}

#[derive(Debug)]
struct Whose {
    n: usize,
    generation: u32,
    /// Unless it was the real sign-in page's.
    amr: Option<String>,
    roles: u32,
    has_ended: bool,
    /// The token's end, and when it was sent.
    expires: Option<(i64, i64)>,
}

/// What an answer was, if there is nothing wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Valid,
    Nobody,
    Refused,
    Forbidden,
    /// 5xx, and the resolver was away.
    Excused,
}

/// What must not be.
#[derive(Debug)]
pub(crate) enum Wrong {
    Identity(String),
    Status(String),
}

impl World {
    pub(crate) fn new(sessions: usize, aftermath: Duration) -> Self {
        let held = |n| Held {
            generation: 1,
            value: value_of(n, 1),
            amr: amr_of(n, 1),
            before: None,
        };
        let mut store = (0..sessions.div_ceil(2)).fold(Store::new(), |store, user| {
            store.user(User::new(&name_of(user)).roles(roles_of(user, 0).split(',')))
        });
        for n in 0..sessions {
            store = store.session(session_of(n, &held(n)));
        }
        let port = Port::reserve();
        World {
            resolver: RwLock::new(Some(resolver(&port, store))),
            port,
            roles: (0..sessions.div_ceil(2))
                .map(|_| Versions::default())
                .collect(),
            sessions: (0..sessions)
                .map(|n| Slot {
                    held: Mutex::new(held(n)),
                    ended: Versions::default(),
                })
                .collect(),
            recent: (0..RECENT).map(AtomicUsize::new).collect(),
            outages: Mutex::default(),
            aftermath,
            reloads: Mutex::default(),
        }
    }

    pub(crate) fn resolver_addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Kills the resolver with all its connections, and starts it again with what it knew.
    pub(crate) fn restart_resolver(&self, down_for: Duration) {
        let mut resolver = self.resolver.write().expect("nobody panics with it");
        let store = resolver.as_ref().map(Resolver::store).unwrap_or_default();
        let down = Instant::now();
        self.outages.lock().expect("outages").push((down, None));
        *resolver = None;
        std::thread::sleep(down_for);
        *resolver = Some(self::resolver(&self.port, store));
        if let Some(outage) = self.outages.lock().expect("outages").last_mut() {
            outage.1 = Some(Instant::now());
        }
    }

    /// Does something while the resolver is there, and stays.
    pub(crate) fn with_resolver<R>(&self, change: impl FnOnce(&Resolver) -> R) -> R {
        let resolver = self.resolver.read().expect("nobody panics with it");
        change(resolver.as_ref().expect("it is back when the lock is"))
    }

    pub(crate) fn outages(&self) -> usize {
        self.outages.lock().expect("outages").len()
    }

    /// nginx is told to reload now.
    pub(crate) fn reloads(&self) {
        self.reloads.lock().expect("reloads").push(Instant::now());
    }

    /// Whether the resolver was away, or had just been, at some time between sending and now.
    pub(crate) fn is_excused(&self, sent: Instant) -> bool {
        let outages = self.outages.lock().expect("outages");
        let ends = outages
            .iter()
            .rev()
            .map(|(_, up)| up.map(|up| up + self.aftermath));
        ends.take(2).any(|end| end.is_none_or(|end| sent <= end))
    }

    /// Whether a reload explains that a connection ends.
    pub(crate) fn has_reloaded(&self, sent: Instant) -> bool {
        let reloads = self.reloads.lock().expect("reloads");
        reloads.last().is_some_and(|last| sent < *last + RELOAD)
    }

    pub(crate) fn held(&self, n: usize) -> Held {
        self.sessions[n].held.lock().expect("held").clone()
    }

    /// Something is about to happen to this session.
    pub(crate) fn look_at(&self, n: usize, random: &mut Random) {
        self.recent[random.below(RECENT)].store(n, Ordering::Relaxed);
    }

    /// Some are asked for more often than others.
    pub(crate) fn pick(&self, random: &mut Random) -> usize {
        let sessions = self.sessions.len();
        let n = random.below(sessions) + random.below(sessions) * random.below(2);
        n % sessions
    }

    /// Gives the user other roles; which version that is.
    pub(crate) fn change_roles(&self, user: usize) -> u32 {
        let version = self.roles[user].may.fetch_add(1, Ordering::SeqCst) + 1;
        let roles = roles_of(user, version);
        self.with_resolver(|resolver| {
            resolver.update_store(|store| {
                store.update_user(&name_of(user), |user| {
                    user.roles = roles.split(',').map(str::to_owned).collect();
                })
            })
        });
        version
    }

    /// From now on nobody may be told older ones.
    pub(crate) fn roles_are_known(&self, user: usize, version: u32) {
        self.roles[user].must.fetch_max(version, Ordering::SeqCst);
    }

    pub(crate) fn may_end(&self, n: usize, generation: u32) {
        self.sessions[n]
            .ended
            .may
            .store(generation, Ordering::SeqCst);
    }

    pub(crate) fn end_is_known(&self, n: usize, generation: u32) {
        self.sessions[n]
            .ended
            .must
            .store(generation, Ordering::SeqCst);
    }

    /// Makes the resolver forget a session.
    pub(crate) fn revoke(&self, held: &Held) {
        self.with_resolver(|resolver| resolver.revoke(&held.value));
    }

    /// The same person signs in again, by other means than the page.
    pub(crate) fn sign_in(&self, n: usize, old: &Held) {
        let generation = old.generation + 1;
        let held = Held {
            generation,
            value: value_of(n, generation),
            amr: amr_of(n, generation),
            before: Some(old.value.clone()),
        };
        let session = session_of(n, &held);
        self.with_resolver(|resolver| {
            resolver.update_store(|store| *store = std::mem::take(store).session(session));
        });
        *self.sessions[n].held.lock().expect("held") = held;
    }

    /// The same person has signed in again, and got this cookie.
    pub(crate) fn signed_in(&self, n: usize, old: &Held, value: String) {
        *self.sessions[n].held.lock().expect("held") = Held {
            generation: old.generation + 1,
            value,
            amr: "pwd".into(),
            before: Some(old.value.clone()),
        };
    }

    /// Any request that a client makes.
    pub(crate) fn any(&self, random: &mut Random) -> Sent {
        let place = match random.below(10) {
            0..=5 => Place::Open,
            6..=8 => Place::Members,
            _ => Place::Staff,
        };
        let n = match random.once_in(10) {
            true => self.recent[random.below(RECENT)].load(Ordering::Relaxed),
            false => self.pick(random),
        };
        match random.below(50) {
            0 | 1 => self.nobody(place, get(place.path())),
            // Nonsense, and someone's value in the wrong place.
            2 => {
                let nonsense = format!("x{n}.{}", random.next_u64());
                self.nobody(place, carrying(get(place.path()), kind_of(n), &nonsense))
            }
            3 => {
                let other = kind_of(n + 1 + random.below(3) * 2);
                let value = self.held(n).value;
                match other == kind_of(n) {
                    true => self.of(n, place, random),
                    false => self.nobody(place, carrying(get(place.path()), other, &value)),
                }
            }
            _ => self.of(n, place, random),
        }
    }

    fn nobody(&self, place: Place, request: Request) -> Sent {
        Sent {
            request,
            place,
            whose: None,
            at: Instant::now(),
        }
    }

    /// A request of this session, seldom with a credential that has ended.
    pub(crate) fn of(&self, n: usize, place: Place, random: &mut Random) -> Sent {
        let held = self.held(n);
        match held.before.as_ref().filter(|_| random.once_in(8)) {
            Some(before) => {
                let (value, generation) = (before.clone(), held.generation - 1);
                self.with(n, place, &value, generation, None, random)
            }
            None => {
                let amr = Some(held.amr.clone());
                self.with(n, place, &held.value, held.generation, amr, random)
            }
        }
    }

    /// A request of this session with this credential.
    pub(crate) fn with(
        &self,
        n: usize,
        place: Place,
        value: &str,
        generation: u32,
        amr: Option<String>,
        random: &mut Random,
    ) -> Sent {
        let kind = kind_of(n);
        let mut request = get(place.path());
        let mut expires = None;
        if matches!(kind, Kind::Bearer | Kind::AppAccessToken) {
            let now = unix_time();
            // Seldom one that is over.
            let back = if random.once_in(25) { 2 } else { 0 };
            let end = (now / TOKEN_SECONDS + 1 - back) * TOKEN_SECONDS + TOKEN_SECONDS / 2;
            expires = Some((end, now));
            request = carrying(request, kind, &jwt(value, Some(end)));
        } else {
            if random.once_in(40) {
                // Authgear falls through to what works.
                request = request.bearer("nobody-knows-it");
            }
            request = carrying(request, kind, value);
        }
        Sent {
            request,
            place,
            whose: Some(Whose {
                n,
                generation,
                amr,
                roles: self.roles[n / 2].must.load(Ordering::SeqCst),
                has_ended: self.sessions[n].ended.must.load(Ordering::SeqCst) >= generation,
                expires,
            }),
            at: Instant::now(),
        }
    }

    /// Whether that was right.
    pub(crate) fn judge(&self, sent: &Sent, response: &Response) -> Result<Judged, Wrong> {
        let wrong = |what: &str| {
            let body = String::from_utf8_lossy(&response.body);
            let body = if response.status == 200 { &*body } else { "" };
            let headers = &response.headers;
            Wrong::Identity(format!("{what}: {sent:?}: {headers:?} {body}"))
        };
        match response.status {
            200 => {
                let identity = response.seen().identity();
                let of = |name: &str| {
                    let found = identity.iter().find(|(n, _)| n == name);
                    found.map(|(_, value)| value.as_str())
                };
                if of("x-authgear-session-valid") == Some("true") {
                    self.judge_valid(sent, of).map_err(|what| wrong(&what))?;
                    return Ok(Judged::Valid);
                }
                if sent.place != Place::Open {
                    return Err(wrong("passes a requirement without a session"));
                }
                let none = matches!(of("x-authgear-session-valid"), None | Some("false"));
                if !none || identity.len() > 1 || !self.may_be_nobody(sent) {
                    return Err(wrong("is taken for nobody"));
                }
                Ok(Judged::Nobody)
            }
            401 if sent.place != Place::Open => match self.may_be_nobody(sent) {
                true => Ok(Judged::Refused),
                false => Err(wrong("is refused")),
            },
            403 if sent.place == Place::Staff => {
                let Some(whose) = &sent.whose else {
                    return Err(wrong("nobody is forbidden"));
                };
                if whose.has_ended {
                    return Err(wrong("a session that has ended is forbidden"));
                }
                match self.versions(whose).any(|version| !is_staff(version)) {
                    true => Ok(Judged::Forbidden),
                    false => Err(wrong("is of the staff, and forbidden")),
                }
            }
            500.. if self.is_excused(sent.at) => Ok(Judged::Excused),
            status => Err(Wrong::Status(format!("{status}: {sent:?}: {response:?}"))),
        }
    }

    fn judge_valid<'s>(
        &self,
        sent: &Sent,
        of: impl Fn(&str) -> Option<&'s str>,
    ) -> Result<(), String> {
        let Some(whose) = &sent.whose else {
            return Err("nobody is taken for somebody".into());
        };
        let user = whose.n / 2;
        if of("x-authgear-user-id") != Some(&name_of(user)) {
            return Err("someone else's identity".into());
        }
        if whose.has_ended {
            return Err("the session has ended".into());
        }
        if whose.expires.is_some_and(|(end, at)| end < at) {
            return Err("the token has expired".into());
        }
        if whose.amr.is_some() && of("x-authgear-session-amr") != whose.amr.as_deref() {
            return Err("another session's amr".into());
        }
        let roles = of("x-authgear-user-roles").unwrap_or_default();
        let version = self
            .versions(whose)
            .find(|version| roles_of(user, *version) == roles);
        match version {
            None => Err(format!("roles {roles}, not {:?}", self.versions(whose))),
            Some(version) if sent.place == Place::Staff && !is_staff(version) => {
                Err("is not of the staff, and passes".into())
            }
            Some(_) => Ok(()),
        }
    }

    /// The roles that may be seen.
    fn versions(&self, whose: &Whose) -> RangeInclusive<u32> {
        whose.roles..=self.roles[whose.n / 2].may.load(Ordering::SeqCst)
    }

    fn may_be_nobody(&self, sent: &Sent) -> bool {
        let Some(whose) = &sent.whose else {
            return true;
        };
        let ended = self.sessions[whose.n].ended.may.load(Ordering::SeqCst);
        ended >= whose.generation || whose.expires.is_some_and(|(end, _)| end <= unix_time() + 1)
    }
}

impl Place {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Place::Open => "/open",
            Place::Members => "/members",
            Place::Staff => "/staff",
        }
    }
}

/// Half of them browsers'.
pub(crate) fn kind_of(n: usize) -> Kind {
    match n % 8 {
        0..=3 => Kind::Session,
        4 => Kind::AppSession,
        5 => Kind::AppAccessToken,
        _ => Kind::Bearer,
    }
}

pub(crate) fn name_of(user: usize) -> String {
    format!("u{user}")
}

fn value_of(n: usize, generation: u32) -> String {
    format!("s{n}-{generation}.secret")
}

fn amr_of(n: usize, generation: u32) -> String {
    format!("amr-{n}-{generation}")
}

fn roles_of(user: usize, version: u32) -> String {
    let staff = if is_staff(version) { ",staff" } else { "" };
    format!("r{user}.{version}{staff}")
}

fn is_staff(version: u32) -> bool {
    version % 2 == 0
}

fn session_of(n: usize, held: &Held) -> Session {
    Session::new(kind_of(n), &held.value, &name_of(n / 2))
        .amr_text(&held.amr)
        .authenticated_at(1_700_000_000 + n as i64)
}

fn carrying(request: Request, kind: Kind, value: &str) -> Request {
    match kind {
        Kind::Session => request.cookie(&format!("session={value}")),
        Kind::AppSession => request.cookie(&format!("app_session={value}")),
        Kind::AppAccessToken => request.cookie(&format!("app_access_token={value}")),
        Kind::Bearer => request.bearer(value),
    }
}

fn resolver(port: &Port, store: Store) -> Resolver {
    Resolver::builder()
        .listen(port.addr())
        .store(store)
        .record(0)
        .start()
        .expect("a resolver")
}

fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}
