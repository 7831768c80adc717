//! Who is who: users and sessions, by project where there are several.

mod file;
mod token;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::resolver::Fault;

pub use file::StoreError;
pub use token::jwt;
pub(crate) use token::{decode_access_token, random_hex};

/// The users and sessions that a resolver knows.
///
/// Without projects every Host gets the same answers; with them the Host chooses the project, and
/// an unknown one gets 404.
#[derive(Clone, Debug, Default)]
pub struct Store {
    everywhere: Project,
    projects: BTreeMap<String, Project>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Project {
    users: BTreeMap<String, User>,
    sessions: HashMap<Kind, HashMap<String, Session>>,
}

/// The kind of credential a session belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `Authorization: Bearer`
    Bearer,
    /// The cookie `app_session`.
    AppSession,
    /// The cookie `app_access_token`.
    AppAccessToken,
    /// The cookie `session`.
    Session,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What sessions refer to.
    pub name: String,
    /// `x-authgear-user-id`.
    pub id: String,
    /// `x-authgear-user-anonymous`.
    pub anonymous: bool,
    /// `x-authgear-user-verified`.
    pub verified: bool,
    /// `x-authgear-user-can-reauthenticate`.
    pub can_reauthenticate: bool,
    /// `x-authgear-user-roles`, left out when empty.
    pub roles: Vec<String>,
    /// Whether sessions of this user are answered as invalid.
    pub disabled: bool,
}

/// A session, found by the credential that carries it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Where the credential is read from.
    pub kind: Kind,
    /// The credential. For access tokens also the `jti` of a JWT.
    pub value: String,
    /// The name of its user; one that the store does not know is a deleted user.
    pub user: String,
    /// `x-authgear-session-amr`, verbatim.
    pub amr: String,
    /// `x-authgear-session-acr`, which only older servers send.
    pub acr: Option<String>,
    /// `x-authgear-session-authenticated-at`.
    pub authenticated_at: Option<i64>,
    /// Whether it has ended.
    pub expired: bool,
    /// Set-Cookie lines of its answers.
    pub set_cookie: Vec<String>,
    /// How its answers go wrong, unless the resolver as a whole has a fault.
    pub fault: Option<Fault>,
    /// How long its answers take, on top of the resolver's own delay.
    pub delay: Duration,
}

impl Store {
    /// Nobody.
    pub fn new() -> Self {
        Store::default()
    }

    /// What `sessions.example.json` beside the README says.
    pub fn example() -> Self {
        Store::from_json(include_str!("../../sessions.example.json"))
            .expect("the example is well formed")
    }

    /// Reads the JSON that the README describes.
    pub fn from_json(json: &str) -> Result<Self, StoreError> {
        file::read(json)
    }

    /// Reads a file of that JSON.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        std::fs::read_to_string(path)
            .map_err(|error| StoreError::new(format!("{}: {error}", path.display())))
            .and_then(|json| Store::from_json(&json))
    }

    /// Adds a user, or replaces the one of that name.
    pub fn user(mut self, user: User) -> Self {
        self.everywhere.add_user(user);
        self
    }

    /// Adds a session, or replaces the one of that credential.
    pub fn session(mut self, session: Session) -> Self {
        self.everywhere.add_session(session);
        self
    }

    /// Gives a host a project of its own, with the users and sessions of `store`. From the first
    /// project on, users and sessions outside of any are not seen.
    pub fn project(mut self, host: &str, store: Store) -> Self {
        let host = host.to_ascii_lowercase();
        self.projects.insert(host, store.everywhere);
        self
    }

    /// Changes a user in all projects; whether there was one of that name.
    pub fn update_user(&mut self, name: &str, mut change: impl FnMut(&mut User)) -> bool {
        let mut found = false;
        for user in self.all_mut().filter_map(|all| all.users.get_mut(name)) {
            change(user);
            found = true;
        }
        found
    }

    /// Changes the sessions of that credential, of whatever kind and project; whether there was
    /// one.
    pub fn update_session(&mut self, value: &str, mut change: impl FnMut(&mut Session)) -> bool {
        let mut found = false;
        let kinds = self.all_mut().flat_map(|all| all.sessions.values_mut());
        for session in kinds.filter_map(|kind| kind.get_mut(value)) {
            change(session);
            found = true;
        }
        found
    }

    /// Forgets the sessions of that credential, of whatever kind and project; whether there was
    /// one.
    pub fn revoke(&mut self, value: &str) -> bool {
        let mut found = false;
        for kind in self.all_mut().flat_map(|all| all.sessions.values_mut()) {
            found |= kind.remove(value).is_some();
        }
        found
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Project> {
        std::iter::once(&mut self.everywhere).chain(self.projects.values_mut())
    }

    /// The project of a Host: as given, else without its port.
    pub(crate) fn project_of(&self, host: &str) -> Option<&Project> {
        match self.project_key(host) {
            Some(key) => self.projects.get(&key),
            None if self.projects.is_empty() => Some(&self.everywhere),
            None => None,
        }
    }

    pub(crate) fn project_of_mut(&mut self, host: &str) -> Option<&mut Project> {
        match self.project_key(host) {
            Some(key) => self.projects.get_mut(&key),
            None if self.projects.is_empty() => Some(&mut self.everywhere),
            None => None,
        }
    }

    fn project_key(&self, host: &str) -> Option<String> {
        if self.projects.is_empty() {
            return None;
        }
        let host = host.to_ascii_lowercase();
        if self.projects.contains_key(&host) {
            return Some(host);
        }
        let (name, port) = host.rsplit_once(':')?;
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        (is_port && self.projects.contains_key(name)).then(|| name.to_owned())
    }
}

impl Project {
    pub(crate) fn add_user(&mut self, user: User) {
        self.users.insert(user.name.clone(), user);
    }

    pub(crate) fn add_session(&mut self, session: Session) {
        self.sessions
            .entry(session.kind)
            .or_default()
            .insert(session.value.clone(), session);
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    pub(crate) fn find_user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// The session of that credential, as long as it has not ended.
    pub(crate) fn find(&self, kind: Kind, value: &str) -> Option<&Session> {
        self.sessions
            .get(&kind)?
            .get(value)
            .filter(|session| !session.expired)
    }

    pub(crate) fn find_mut(&mut self, kind: Kind, value: &str) -> Option<&mut Session> {
        self.sessions
            .get_mut(&kind)?
            .get_mut(value)
            .filter(|session| !session.expired)
    }

    pub(crate) fn remove(&mut self, kind: Kind, value: &str) {
        if let Some(sessions) = self.sessions.get_mut(&kind) {
            sessions.remove(value);
        }
    }
}

impl User {
    /// A verified user who can reauthenticate, with no roles; the id is the name.
    pub fn new(name: &str) -> Self {
        User {
            name: name.to_owned(),
            id: name.to_owned(),
            anonymous: false,
            verified: true,
            can_reauthenticate: true,
            roles: Vec::new(),
            disabled: false,
        }
    }

    /// Sets the id.
    pub fn id(mut self, id: &str) -> Self {
        self.id = id.to_owned();
        self
    }

    /// Sets whether it is an anonymous user.
    pub fn anonymous(mut self, anonymous: bool) -> Self {
        self.anonymous = anonymous;
        self
    }

    /// Sets whether it is verified.
    pub fn verified(mut self, verified: bool) -> Self {
        self.verified = verified;
        self
    }

    /// Sets whether it can reauthenticate.
    pub fn can_reauthenticate(mut self, can: bool) -> Self {
        self.can_reauthenticate = can;
        self
    }

    /// Sets the roles.
    pub fn roles<'a>(mut self, roles: impl IntoIterator<Item = &'a str>) -> Self {
        self.roles = roles.into_iter().map(str::to_owned).collect();
        self
    }

    /// Sets whether it is disabled.
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }
}

impl Session {
    /// A session with an empty amr, no acr and no authenticated-at.
    pub fn new(kind: Kind, value: &str, user: &str) -> Self {
        Session {
            kind,
            value: value.to_owned(),
            user: user.to_owned(),
            amr: String::new(),
            acr: None,
            authenticated_at: None,
            expired: false,
            set_cookie: Vec::new(),
            fault: None,
            delay: Duration::ZERO,
        }
    }

    /// A session of the cookie `session`.
    pub fn cookie(value: &str, user: &str) -> Self {
        Session::new(Kind::Session, value, user)
    }

    /// A session of the cookie `app_session`.
    pub fn app_session(value: &str, user: &str) -> Self {
        Session::new(Kind::AppSession, value, user)
    }

    /// A session of the cookie `app_access_token`.
    pub fn app_access_token(value: &str, user: &str) -> Self {
        Session::new(Kind::AppAccessToken, value, user)
    }

    /// A session of a bearer token.
    pub fn bearer(value: &str, user: &str) -> Self {
        Session::new(Kind::Bearer, value, user)
    }

    /// Sets the amr, separated by spaces as Authgear does.
    pub fn amr<'a>(mut self, amr: impl IntoIterator<Item = &'a str>) -> Self {
        self.amr = amr.into_iter().collect::<Vec<_>>().join(" ");
        self
    }

    /// Sets the header's value verbatim.
    pub fn amr_text(mut self, amr: &str) -> Self {
        self.amr = amr.to_owned();
        self
    }

    /// Sets the acr.
    pub fn acr(mut self, acr: &str) -> Self {
        self.acr = Some(acr.to_owned());
        self
    }

    /// Sets when the user authenticated, in Unix seconds.
    pub fn authenticated_at(mut self, seconds: i64) -> Self {
        self.authenticated_at = Some(seconds);
        self
    }

    /// Sets when the user authenticated, counted back from now.
    pub fn authenticated_ago(self, ago: Duration) -> Self {
        let seconds = now() - ago.as_secs() as i64;
        self.authenticated_at(seconds)
    }

    /// Sets whether it has ended.
    pub fn expired(mut self, expired: bool) -> Self {
        self.expired = expired;
        self
    }

    /// Adds a Set-Cookie line to its answers.
    pub fn set_cookie(mut self, line: &str) -> Self {
        self.set_cookie.push(line.to_owned());
        self
    }

    /// Makes its answers go wrong.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Makes its answers slow.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// The time in Unix seconds.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}
