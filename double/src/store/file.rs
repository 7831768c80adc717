//! The store's JSON.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::{now, Kind, Project, Session, Store, User};
use crate::resolver::FaultFile;

/// Why a file of sessions cannot be used.
#[derive(Debug)]
pub struct StoreError(String);

impl StoreError {
    pub(super) fn new(text: String) -> Self {
        StoreError(text)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Error for StoreError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreFile {
    #[serde(default)]
    projects: BTreeMap<String, ProjectFile>,
    #[serde(default)]
    users: BTreeMap<String, UserFile>,
    #[serde(default)]
    sessions: Vec<SessionFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectFile {
    #[serde(default)]
    users: BTreeMap<String, UserFile>,
    #[serde(default)]
    sessions: Vec<SessionFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserFile {
    id: Option<String>,
    #[serde(default)]
    anonymous: bool,
    #[serde(default = "yes")]
    verified: bool,
    #[serde(default = "yes")]
    can_reauthenticate: bool,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionFile {
    kind: KindFile,
    value: String,
    user: String,
    #[serde(default)]
    amr: Amr,
    acr: Option<String>,
    authenticated_at: Option<Time>,
    #[serde(default)]
    expired: bool,
    #[serde(default)]
    set_cookie: Vec<String>,
    fault: Option<FaultFile>,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindFile {
    Bearer,
    AppSession,
    AppAccessToken,
    Session,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "amr is a list of strings or one string")]
enum Amr {
    List(Vec<String>),
    Text(String),
}

impl Default for Amr {
    fn default() -> Self {
        Amr::Text(String::new())
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "authenticated_at is Unix seconds or a text like \"-300s\""
)]
enum Time {
    Seconds(i64),
    Relative(String),
}

fn yes() -> bool {
    true
}

pub(super) fn read(json: &str) -> Result<Store, StoreError> {
    let file: StoreFile =
        serde_json::from_str(json).map_err(|error| StoreError::new(error.to_string()))?;
    let outside = ProjectFile {
        users: file.users,
        sessions: file.sessions,
    };
    let any_outside = !outside.users.is_empty() || !outside.sessions.is_empty();
    if any_outside && !file.projects.is_empty() {
        return Err(StoreError::new(
            "with \"projects\", users and sessions belong inside of them".to_owned(),
        ));
    }
    let mut store = Store {
        everywhere: project(outside)?,
        ..Store::default()
    };
    for (host, file) in file.projects {
        let host = host.to_ascii_lowercase();
        store.projects.insert(host, project(file)?);
    }
    Ok(store)
}

fn project(file: ProjectFile) -> Result<Project, StoreError> {
    let mut project = Project::default();
    for (name, user) in file.users {
        project.add_user(User {
            id: user.id.unwrap_or_else(|| name.clone()),
            name,
            anonymous: user.anonymous,
            verified: user.verified,
            can_reauthenticate: user.can_reauthenticate,
            roles: user.roles,
            disabled: user.disabled,
        });
    }
    for (index, file) in file.sessions.into_iter().enumerate() {
        let session = session(file)
            .map_err(|error| StoreError::new(format!("session {}: {error}", index + 1)))?;
        let of_kind = project.sessions.get(&session.kind);
        if of_kind.is_some_and(|known| known.contains_key(&session.value)) {
            return Err(StoreError::new(format!(
                "session {}: another of this kind has the same value",
                index + 1
            )));
        }
        project.add_session(session);
    }
    Ok(project)
}

fn session(file: SessionFile) -> Result<Session, String> {
    Ok(Session {
        kind: match file.kind {
            KindFile::Bearer => Kind::Bearer,
            KindFile::AppSession => Kind::AppSession,
            KindFile::AppAccessToken => Kind::AppAccessToken,
            KindFile::Session => Kind::Session,
        },
        value: file.value,
        user: file.user,
        amr: match file.amr {
            Amr::List(list) => list.join(" "),
            Amr::Text(text) => text,
        },
        acr: file.acr,
        authenticated_at: match file.authenticated_at {
            None => None,
            Some(Time::Seconds(seconds)) => Some(seconds),
            Some(Time::Relative(text)) => Some(now() + offset(&text)?),
        },
        expired: file.expired,
        set_cookie: file.set_cookie,
        fault: file.fault.as_ref().map(FaultFile::fault).transpose()?,
        delay: Duration::from_millis(file.delay_ms),
    })
}

/// `now`, or seconds, minutes, hours or days from now: `-300s`, `-2h`, `+1d`.
fn offset(text: &str) -> Result<i64, String> {
    let wrong = || format!("\"{text}\" is not a time like \"-300s\", \"-2h\" or \"now\"");
    if text == "now" {
        return Ok(0);
    }
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    text[..text.len() - 1]
        .parse::<i64>()
        .ok()
        .and_then(|count| count.checked_mul(unit))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative() {
        assert_eq!(offset("-300s"), Ok(-300));
        assert_eq!(offset("+2h"), Ok(7_200));
        assert_eq!(offset("1d"), Ok(86_400));
        assert_eq!(offset("now"), Ok(0));
        for text in ["", "s", "300", "-1w", "1.5h"] {
            assert!(offset(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (json, named) in [
            ("{", "EOF"),
            (r#"{"user":{}}"#, "unknown field `user`"),
            (
                r#"{"sessions":[{"kind":"cookie","value":"a","user":"u"}]}"#,
                "unknown variant `cookie`",
            ),
            (
                r#"{"sessions":[{"kind":"session","value":"a","user":"u","authenticated_at":"soon"}]}"#,
                "session 1: \"soon\" is not a time",
            ),
            (
                r#"{"sessions":[{"kind":"session","value":"a","user":"u","fault":{"kind":"sulk"}}]}"#,
                "session 1: unknown kind",
            ),
            (
                r#"{"sessions":[{"kind":"bearer","value":"a","user":"u"},{"kind":"bearer","value":"a","user":"v"}]}"#,
                "session 2: another",
            ),
            (
                r#"{"projects":{"a":{}},"users":{"u":{}}}"#,
                "inside of them",
            ),
        ] {
            let error = Store::from_json(json).expect_err(json).to_string();
            assert!(error.contains(named), "{json}: {error}");
        }
    }
}
