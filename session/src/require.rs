//! What a location demands of a session, and the verdict on one request.
//!
//! Source of the rules: design, "Enforcing".

use std::fmt;

use crate::answer::Session;

/// How far Authgear's clock may run ahead of ours, in seconds.
///
/// An authentication that lies further in the future than this comes from a broken clock and says
/// nothing about when it happened, so it fails `max_age`; a nearer one counts as just made.
pub const CLOCK_SKEW: i64 = 60;

/// The conditions of `authgear_require`; without any, everybody passes.
///
/// All conditions must hold, and each of them implies a valid session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    session: bool,
    user: bool,
    verified: bool,
    /// Each `role=` is a set of alternatives; one of every set is needed.
    roles: Vec<Vec<Vec<u8>>>,
    amr: Vec<Vec<u8>>,
    /// The shortest `max_age=`, in seconds.
    max_age: Option<u64>,
}

/// Why a condition of `authgear_require` is not accepted.
///
/// The messages are written to follow the directive's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequireError {
    /// No condition of this name exists.
    #[error(
        "invalid condition \"{0}\", expected session, user, verified, role=, amr= or max_age="
    )]
    Unknown(String),
    /// `off` clears inherited conditions and makes no sense next to others.
    #[error("\"off\" must be the only parameter")]
    Off,
    /// The list of roles has an empty or impossible name.
    #[error("invalid role in \"{0}\", expected role=NAME or role=NAME,NAME without spaces")]
    Role(String),
    /// The value is empty, or a list.
    #[error("invalid value in \"{0}\", expected amr=VALUE with one value, repeat amr= for more")]
    Amr(String),
    /// The value is no time in nginx's notation, or too long to be counted.
    #[error("invalid time in \"{0}\", expected max_age=T in seconds or as in 30s, 5m, 1h30m, 1d")]
    MaxAge(String),
    /// No authentication can be younger than this.
    #[error("\"{0}\" can never be met, expected at least max_age=1s")]
    ZeroMaxAge(String),
}

impl Requirements {
    /// Adds one condition, as written in the configuration.
    ///
    /// # Errors
    /// When it is none of `session`, `user`, `verified`, `role=A[,B]`, `amr=VALUE`, `max_age=T`.
    pub fn add(&mut self, condition: &[u8]) -> Result<(), RequireError> {
        let written = || String::from_utf8_lossy(condition).into_owned();
        match condition {
            b"session" => self.session = true,
            b"user" => self.user = true,
            b"verified" => self.verified = true,
            b"off" => return Err(RequireError::Off),
            _ => {
                if let Some(names) = condition.strip_prefix(b"role=") {
                    let alternatives: Vec<_> =
                        names.split(|&b| b == b',').map(<[u8]>::to_vec).collect();
                    if !alternatives.iter().all(|name| is_value(name)) {
                        return Err(RequireError::Role(written()));
                    }
                    self.roles.push(alternatives);
                } else if let Some(value) = condition.strip_prefix(b"amr=") {
                    if !is_value(value) || value.contains(&b',') {
                        return Err(RequireError::Amr(written()));
                    }
                    self.amr.push(value.to_vec());
                } else if let Some(time) = condition.strip_prefix(b"max_age=") {
                    let seconds =
                        parse_seconds(time).ok_or_else(|| RequireError::MaxAge(written()))?;
                    if seconds == 0 {
                        return Err(RequireError::ZeroMaxAge(written()));
                    }
                    self.max_age = Some(self.max_age.map_or(seconds, |t| t.min(seconds)));
                } else {
                    return Err(RequireError::Unknown(written()));
                }
            }
        }
        Ok(())
    }

    /// Whether nothing is required, not even a session.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The first condition that the session does not meet.
    ///
    /// What reauthentication cannot mend comes before what it can, so that nobody is asked to sign
    /// in again only to be forbidden afterwards.
    fn unmet(&self, session: &Session, now: i64) -> Option<Reason> {
        let has_role = |name: &Vec<u8>| session.roles().any(|role| role == name.as_slice());
        let has_amr = |value: &Vec<u8>| session.amr().any(|amr| amr == value.as_slice());

        // Not said to be one is not enough.
        if self.user && !session.is_known_user() {
            return Some(Reason::User);
        }
        if self.verified && !session.is_verified() {
            return Some(Reason::Verified);
        }
        if !self.roles.iter().all(|names| names.iter().any(has_role)) {
            return Some(Reason::Role);
        }
        if !self.amr.iter().all(has_amr) {
            return Some(Reason::Amr);
        }
        if self
            .max_age
            .is_some_and(|t| !is_recent(session.authenticated_at(), t, now))
        {
            return Some(Reason::MaxAge);
        }
        None
    }
}

/// A role or amr value that a response header can carry: visible ASCII.
fn is_value(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_graphic)
}

/// A time as nginx writes it, in seconds: units from long to short, the last one optional.
///
/// Stricter than nginx in one point: a unit needs a number (`1hm` is refused).
fn parse_seconds(time: &[u8]) -> Option<u64> {
    const UNITS: [(u8, u64); 7] = [
        (b'y', 365 * 24 * 60 * 60),
        (b'M', 30 * 24 * 60 * 60),
        (b'w', 7 * 24 * 60 * 60),
        (b'd', 24 * 60 * 60),
        (b'h', 60 * 60),
        (b'm', 60),
        (b's', 1),
    ];

    let mut units = UNITS.iter();
    let mut total = 0_u64;
    let mut rest = time;
    loop {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let number: u64 = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let unit = rest.get(digits).copied().unwrap_or(b's');
        let &(_, scale) = units.find(|&&(name, _)| name == unit)?;
        total = total.checked_add(number.checked_mul(scale)?)?;
        rest = rest
            .get(digits + 1..)
            .unwrap_or_default()
            .trim_ascii_start();
        if rest.is_empty() {
            // nginx and Authgear count in signed 64-bit seconds
            return i64::try_from(total).is_ok().then_some(total);
        }
    }
}

fn is_recent(authenticated_at: Option<i64>, max_age: u64, now: i64) -> bool {
    let Some(at) = authenticated_at else {
        return false;
    };
    let age = now.saturating_sub(at);
    age >= -CLOCK_SKEW && u64::try_from(age).unwrap_or(0) <= max_age
}

/// What a request was denied for, as in `$authgear_deny_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There is no valid session.
    Session,
    /// The user is anonymous.
    User,
    /// The user is not verified.
    Verified,
    /// A role is missing.
    Role,
    /// An authentication method is missing.
    Amr,
    /// The last authentication is too long ago, or its time is not known.
    MaxAge,
    /// The session could not be resolved, and `authgear_on_error` denies.
    Error,
}

impl Reason {
    /// The value of `$authgear_deny_reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::User => "user",
            Self::Verified => "verified",
            Self::Role => "role",
            Self::Amr => "amr",
            Self::MaxAge => "max_age",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the verdict needs to know of the request and its location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// A browser shows the answer as a page ([`is_navigation`](crate::refusal::is_navigation)).
    pub navigation: bool,
    /// The request carried a bearer token.
    pub bearer: bool,
    /// A CORS preflight ([`is_preflight`](crate::refusal::is_preflight)).
    pub preflight: bool,
    /// `authgear_login` is set.
    pub login: bool,
    /// The time, in Unix seconds.
    pub now: i64,
}

/// The verdict on one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Every requirement is met.
    Pass,
    /// 302 to `authgear_login`.
    Login(Reason),
    /// 401 with a challenge.
    Unauthorized {
        /// The requirement that failed.
        reason: Reason,
        /// The value of `WWW-Authenticate`.
        challenge: Challenge,
    },
    /// 403.
    Forbidden(Reason),
}

impl Decision {
    /// The requirement that failed; none when the request passes.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match *self {
            Self::Pass => None,
            Self::Login(reason) | Self::Unauthorized { reason, .. } | Self::Forbidden(reason) => {
                Some(reason)
            }
        }
    }
}

/// A `WWW-Authenticate` challenge; `Display` gives the header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// No bearer token came (RFC 6750, 3.1: then no error code is given).
    Bearer,
    /// The bearer token is expired, revoked or otherwise no session (RFC 6750, 3.1).
    InvalidToken,
    /// The session is valid, its authentication not strong or recent enough (RFC 9470, 3).
    InsufficientUserAuthentication {
        /// The location's `max_age`, in seconds, whichever condition failed.
        max_age: Option<u64>,
    },
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("Bearer"),
            Self::InvalidToken => f.write_str("Bearer error=\"invalid_token\""),
            Self::InsufficientUserAuthentication { max_age } => {
                f.write_str("Bearer error=\"insufficient_user_authentication\"")?;
                match max_age {
                    Some(seconds) => write!(f, ", max_age=\"{seconds}\""),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Judges a request by its valid session, or by having none.
///
/// Conditions are judged in the order session, user, verified, role, amr, max_age, and the first
/// that fails gives the reason. Only `now` changes between two judgements of the same answer, so a
/// cached one is judged anew each time it is used.
#[must_use]
pub fn judge(
    session: Option<&Session>,
    requirements: &Requirements,
    facts: &RequestFacts,
) -> Decision {
    if facts.preflight || requirements.is_none() {
        return Decision::Pass;
    }

    let Some(session) = session else {
        return if facts.navigation && facts.login {
            Decision::Login(Reason::Session)
        } else {
            Decision::Unauthorized {
                reason: Reason::Session,
                challenge: if facts.bearer {
                    Challenge::InvalidToken
                } else {
                    Challenge::Bearer
                },
            }
        };
    };

    match requirements.unmet(session, facts.now) {
        None => Decision::Pass,
        Some(reason @ (Reason::Amr | Reason::MaxAge)) => {
            if facts.navigation && facts.login && session.can_reauthenticate() {
                Decision::Login(reason)
            } else {
                Decision::Unauthorized {
                    reason,
                    challenge: Challenge::InsufficientUserAuthentication {
                        max_age: requirements.max_age,
                    },
                }
            }
        }
        Some(reason) => Decision::Forbidden(reason),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::answer::{Answer, AnswerBuilder};

    const NOW: i64 = 1_700_000_000;

    fn requirements(conditions: &[&str]) -> Requirements {
        let mut requirements = Requirements::default();
        for condition in conditions {
            requirements.add(condition.as_bytes()).unwrap();
        }
        requirements
    }

    fn session(headers: &[(&str, &str)]) -> Session {
        let mut answer = AnswerBuilder::new();
        answer.header(b"x-authgear-session-valid", b"true");
        answer.header(b"x-authgear-user-id", b"alice");
        for (name, value) in headers {
            answer.header(name.as_bytes(), value.as_bytes());
        }
        match answer.finish(200) {
            Ok(Answer::Valid(session)) => session,
            other => panic!("no session: {other:?}"),
        }
    }

    #[test]
    fn conditions_that_nginx_t_rejects() {
        let unknown = |condition| {
            format!(
                "invalid condition \"{condition}\", \
                 expected session, user, verified, role=, amr= or max_age="
            )
        };
        let role = |condition| {
            format!(
                "invalid role in \"{condition}\", \
                 expected role=NAME or role=NAME,NAME without spaces"
            )
        };
        let amr = |condition| {
            format!(
                "invalid value in \"{condition}\", \
                 expected amr=VALUE with one value, repeat amr= for more"
            )
        };
        let time = |condition| {
            format!(
                "invalid time in \"{condition}\", \
                 expected max_age=T in seconds or as in 30s, 5m, 1h30m, 1d"
            )
        };
        let zero =
            |condition| format!("\"{condition}\" can never be met, expected at least max_age=1s");

        for (condition, message) in [
            ("", unknown("")),
            ("foo", unknown("foo")),
            ("Session", unknown("Session")),
            ("session=", unknown("session=")),
            ("role", unknown("role")),
            ("amr", unknown("amr")),
            ("max_age", unknown("max_age")),
            ("role =a", unknown("role =a")),
            ("off", "\"off\" must be the only parameter".to_owned()),
            ("role=", role("role=")),
            ("role=a,", role("role=a,")),
            ("role=,a", role("role=,a")),
            ("role=a,,b", role("role=a,,b")),
            ("role=a, b", role("role=a, b")),
            ("role=é", role("role=é")),
            ("amr=", amr("amr=")),
            ("amr=pwd,otp", amr("amr=pwd,otp")),
            ("amr=pwd otp", amr("amr=pwd otp")),
            ("max_age=", time("max_age=")),
            ("max_age=s", time("max_age=s")),
            ("max_age=-1", time("max_age=-1")),
            ("max_age=+1", time("max_age=+1")),
            ("max_age=1.5h", time("max_age=1.5h")),
            ("max_age=500ms", time("max_age=500ms")),
            ("max_age=30m1h", time("max_age=30m1h")),
            ("max_age=1h1h", time("max_age=1h1h")),
            ("max_age=1hm", time("max_age=1hm")),
            ("max_age=1s1", time("max_age=1s1")),
            ("max_age=1H", time("max_age=1H")),
            ("max_age=1 h", time("max_age=1 h")),
            (
                "max_age=9223372036854775808",
                time("max_age=9223372036854775808"),
            ),
            (
                "max_age=18446744073709551616",
                time("max_age=18446744073709551616"),
            ),
            ("max_age=300000000000y", time("max_age=300000000000y")),
            ("max_age=999999999999y", time("max_age=999999999999y")),
            ("max_age=0", zero("max_age=0")),
            ("max_age=0h0s", zero("max_age=0h0s")),
        ] {
            let mut requirements = Requirements::default();
            let error = requirements.add(condition.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(requirements.is_none(), "{condition} left something behind");
        }
    }

    #[test]
    fn max_age_is_written_as_nginx_writes_times() {
        for (time, seconds) in [
            ("1", 1),
            ("30", 30),
            ("30s", 30),
            ("5m", 300),
            ("1h", 3_600),
            ("1h30m", 5_400),
            ("1h30", 3_630),
            ("1h 30m", 5_400),
            ("1h ", 3_600),
            ("1d", 86_400),
            ("1w", 604_800),
            ("1M", 2_592_000),
            ("1y", 31_536_000),
            (
                "1y2M3w4d5h6m7s",
                31_536_000 + 5_184_000 + 1_814_400 + 345_600 + 18_000 + 360 + 7,
            ),
            ("007", 7),
            ("9223372036854775807", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(parse_seconds(time.as_bytes()), Some(seconds), "{time}");
        }
    }

    #[test]
    fn any_condition_requires_a_session() {
        assert!(Requirements::default().is_none());
        for condition in [
            "session",
            "user",
            "verified",
            "role=a",
            "amr=pwd",
            "max_age=1h",
        ] {
            let requirements = requirements(&[condition]);
            assert!(!requirements.is_none());
            let decision = judge(None, &requirements, &RequestFacts::default());
            assert_eq!(decision.reason(), Some(Reason::Session), "{condition}");
        }
    }

    #[test]
    fn roles_are_any_of_each_and_all_of_several() {
        for (conditions, roles, passes) in [
            (&["role=a"][..], "a", true),
            (&["role=a"], "b,a", true),
            (&["role=a"], "b", false),
            (&["role=a"], "A", false),
            (&["role=a"], "ab", false),
            (&["role=a"], "", false),
            (&["role=a,b"], "b", true),
            (&["role=a,b"], "c", false),
            (&["role=a", "role=b"], "a", false),
            (&["role=a", "role=b"], "a,b", true),
            (&["role=a,b", "role=c,d"], "b,c", true),
            (&["role=a,b", "role=c,d"], "a,b", false),
        ] {
            let session = session(&[("x-authgear-user-roles", roles)]);
            let decision = judge(
                Some(&session),
                &requirements(conditions),
                &RequestFacts::default(),
            );
            let expected = if passes {
                Decision::Pass
            } else {
                Decision::Forbidden(Reason::Role)
            };
            assert_eq!(decision, expected, "{conditions:?} of {roles:?}");
        }
    }

    #[test]
    fn every_amr_must_be_among_the_sessions() {
        for (conditions, amr, passes) in [
            (&["amr=otp"][..], "otp", true),
            (&["amr=otp"], "pwd otp", true),
            (&["amr=otp"], "pwd,otp", true),
            (&["amr=otp"], "pwd", false),
            (&["amr=otp"], "", false),
            (&["amr=otp", "amr=pwd"], "pwd otp mfa", true),
            (&["amr=otp", "amr=pwd"], "otp", false),
        ] {
            let session = session(&[("x-authgear-session-amr", amr)]);
            let decision = judge(
                Some(&session),
                &requirements(conditions),
                &RequestFacts::default(),
            );
            let expected = (!passes).then_some(Reason::Amr);
            assert_eq!(decision.reason(), expected, "{conditions:?} of {amr:?}");
        }
    }

    #[test]
    fn max_age_bounds_the_time_since_authentication() {
        for (authenticated_at, passes) in [
            (None, false),
            (Some(NOW), true),
            (Some(NOW - 299), true),
            (Some(NOW - 300), true),
            (Some(NOW - 301), false),
            (Some(0), false),
            (Some(NOW + 1), true),
            (Some(NOW + CLOCK_SKEW), true),
            (Some(NOW + CLOCK_SKEW + 1), false),
            (Some(i64::MAX), false),
            (Some(i64::MIN), false),
        ] {
            assert_eq!(
                is_recent(authenticated_at, 300, NOW),
                passes,
                "{authenticated_at:?}"
            );
        }
    }

    #[test]
    fn the_shortest_max_age_holds() {
        let session = session(&[("x-authgear-session-authenticated-at", "1699999000")]);
        let facts = RequestFacts {
            now: NOW,
            ..RequestFacts::default()
        };
        for conditions in [["max_age=1h", "max_age=10m"], ["max_age=10m", "max_age=1h"]] {
            assert_eq!(
                judge(Some(&session), &requirements(&conditions), &facts),
                Decision::Unauthorized {
                    reason: Reason::MaxAge,
                    challenge: Challenge::InsufficientUserAuthentication { max_age: Some(600) },
                }
            );
        }
    }

    #[test]
    fn challenges_as_the_rfcs_write_them() {
        for (challenge, value) in [
            (Challenge::Bearer, "Bearer"),
            (Challenge::InvalidToken, "Bearer error=\"invalid_token\""),
            (
                Challenge::InsufficientUserAuthentication { max_age: None },
                "Bearer error=\"insufficient_user_authentication\"",
            ),
            (
                Challenge::InsufficientUserAuthentication { max_age: Some(300) },
                "Bearer error=\"insufficient_user_authentication\", max_age=\"300\"",
            ),
        ] {
            assert_eq!(challenge.to_string(), value);
        }
    }

    #[test]
    fn reasons_as_the_deny_reason_variable_gives_them() {
        let reasons = [
            Reason::Session,
            Reason::User,
            Reason::Verified,
            Reason::Role,
            Reason::Amr,
            Reason::MaxAge,
            Reason::Error,
        ];
        assert_eq!(
            reasons.map(|reason| reason.to_string()),
            ["session", "user", "verified", "role", "amr", "max_age", "error"]
        );
    }

    /// The conditions beyond `session`, each with the headers of a session that meets it and of one that doesn't.
    const CONDITIONS: [(&str, Reason, (&str, &str, &str)); 5] = [
        (
            "user",
            Reason::User,
            ("x-authgear-user-anonymous", "false", "true"),
        ),
        (
            "verified",
            Reason::Verified,
            ("x-authgear-user-verified", "true", "false"),
        ),
        (
            "role=admin",
            Reason::Role,
            ("x-authgear-user-roles", "admin", "guest"),
        ),
        (
            "amr=otp",
            Reason::Amr,
            ("x-authgear-session-amr", "pwd otp", "pwd"),
        ),
        (
            "max_age=5m",
            Reason::MaxAge,
            (
                "x-authgear-session-authenticated-at",
                "1699999900",
                "1699990000",
            ),
        ),
    ];

    fn all_facts() -> impl Iterator<Item = RequestFacts> {
        (0..16).map(|bits| RequestFacts {
            navigation: bits & 1 != 0,
            bearer: bits & 2 != 0,
            preflight: bits & 4 != 0,
            login: bits & 8 != 0,
            now: NOW,
        })
    }

    /// All sets of required conditions x of met conditions x can-reauthenticate x request facts,
    /// against the table of design's "Enforcing", written as one row per outcome.
    #[test]
    fn every_requirement_session_and_request() {
        let mut judged = 0;
        for required in 0..1_u32 << (CONDITIONS.len() + 1) {
            let is_required = |i: usize| required >> (i + 1) & 1 != 0;
            let mut wanted = if required & 1 != 0 {
                vec!["session"]
            } else {
                vec![]
            };
            wanted.extend(
                (0..CONDITIONS.len())
                    .filter(|&i| is_required(i))
                    .map(|i| CONDITIONS[i].0),
            );
            // in any order, the verdict is the same
            wanted.reverse();
            let requirements = requirements(&wanted);
            let max_age = is_required(4).then_some(300);

            for facts in all_facts() {
                let expected = match (facts.preflight, required, facts.navigation && facts.login) {
                    (true, _, _) | (_, 0, _) => Decision::Pass,
                    (_, _, true) => Decision::Login(Reason::Session),
                    _ => Decision::Unauthorized {
                        reason: Reason::Session,
                        challenge: match facts.bearer {
                            true => Challenge::InvalidToken,
                            false => Challenge::Bearer,
                        },
                    },
                };
                assert_eq!(
                    judge(None, &requirements, &facts),
                    expected,
                    "{wanted:?} {facts:?}"
                );
                judged += 1;
            }

            for met in 0..1_u32 << CONDITIONS.len() {
                for reauthenticate in [false, true] {
                    let is_met = |i: usize| met >> i & 1 != 0;
                    let mut headers: Vec<_> = CONDITIONS
                        .iter()
                        .enumerate()
                        .map(|(i, (_, _, (name, good, bad)))| {
                            (*name, if is_met(i) { *good } else { *bad })
                        })
                        .collect();
                    headers.push((
                        "x-authgear-user-can-reauthenticate",
                        if reauthenticate { "true" } else { "false" },
                    ));
                    let session = session(&headers);
                    let failed = (0..CONDITIONS.len())
                        .find(|&i| is_required(i) && !is_met(i))
                        .map(|i| CONDITIONS[i].1);

                    for facts in all_facts() {
                        let login = facts.navigation && facts.login && reauthenticate;
                        let expected = match (facts.preflight, failed, login) {
                            (true, _, _) | (_, None, _) => Decision::Pass,
                            (_, Some(reason @ (Reason::Amr | Reason::MaxAge)), true) => {
                                Decision::Login(reason)
                            }
                            (_, Some(reason @ (Reason::Amr | Reason::MaxAge)), false) => {
                                Decision::Unauthorized {
                                    reason,
                                    challenge: Challenge::InsufficientUserAuthentication {
                                        max_age,
                                    },
                                }
                            }
                            (_, Some(reason), _) => Decision::Forbidden(reason),
                        };
                        assert_eq!(
                            judge(Some(&session), &requirements, &facts),
                            expected,
                            "{wanted:?} {headers:?} {facts:?}"
                        );
                        judged += 1;
                    }
                }
            }
        }
        assert_eq!(judged, 64 * 16 * (1 + 32 * 2));
    }

    /// The sentences of the design, read row by row.
    #[test]
    fn verdicts_as_the_design_tells_them() {
        let fetch = RequestFacts {
            now: NOW,
            login: true,
            ..RequestFacts::default()
        };
        let visit = RequestFacts {
            navigation: true,
            ..fetch
        };
        let visit_without_login = RequestFacts {
            login: false,
            ..visit
        };
        let token = RequestFacts {
            bearer: true,
            ..fetch
        };
        let preflight = RequestFacts {
            preflight: true,
            ..fetch
        };

        let guest = session(&[("x-authgear-user-anonymous", "true")]);
        let unknown = session(&[]);
        let old = session(&[("x-authgear-session-authenticated-at", "1600000000")]);
        let renewable = session(&[
            ("x-authgear-session-authenticated-at", "1600000000"),
            ("x-authgear-user-can-reauthenticate", "true"),
        ]);

        let unauthorized = |reason, challenge| Decision::Unauthorized { reason, challenge };
        let no_session = |challenge| unauthorized(Reason::Session, challenge);
        let step_up = |max_age| {
            unauthorized(
                Reason::MaxAge,
                Challenge::InsufficientUserAuthentication { max_age },
            )
        };

        for (session, conditions, facts, expected) in [
            (None, &[][..], fetch, Decision::Pass),
            (None, &["session"], visit, Decision::Login(Reason::Session)),
            (
                None,
                &["session"],
                visit_without_login,
                no_session(Challenge::Bearer),
            ),
            (None, &["session"], fetch, no_session(Challenge::Bearer)),
            (
                None,
                &["session"],
                token,
                no_session(Challenge::InvalidToken),
            ),
            (None, &["session"], preflight, Decision::Pass),
            (Some(&guest), &["session"], fetch, Decision::Pass),
            (
                Some(&unknown),
                &["user"],
                fetch,
                Decision::Forbidden(Reason::User),
            ),
            (
                Some(&guest),
                &["user"],
                visit,
                Decision::Forbidden(Reason::User),
            ),
            (
                Some(&guest),
                &["user", "max_age=1h"],
                visit,
                Decision::Forbidden(Reason::User),
            ),
            (Some(&guest), &["user"], preflight, Decision::Pass),
            (Some(&old), &["max_age=1h"], visit, step_up(Some(3_600))),
            (
                Some(&old),
                &["max_age=1h", "role=a"],
                visit,
                Decision::Forbidden(Reason::Role),
            ),
            (
                Some(&renewable),
                &["max_age=1h"],
                visit,
                Decision::Login(Reason::MaxAge),
            ),
            (
                Some(&renewable),
                &["max_age=1h"],
                fetch,
                step_up(Some(3_600)),
            ),
            (
                Some(&renewable),
                &["max_age=1h"],
                visit_without_login,
                step_up(Some(3_600)),
            ),
            (
                Some(&renewable),
                &["max_age=1h"],
                token,
                step_up(Some(3_600)),
            ),
        ] {
            let decision = judge(session, &requirements(conditions), &facts);
            assert_eq!(decision, expected, "{session:?} {conditions:?} {facts:?}");
        }
    }

    proptest! {
        #[test]
        fn no_condition_panics(condition: Vec<u8>) {
            let mut requirements = Requirements::default();
            let added = requirements.add(&condition);
            prop_assert_eq!(added.is_ok(), !requirements.is_none());
        }

        #[test]
        fn no_time_panics(time in "max_age=[0-9yMwdhms ]{0,40}") {
            let _ = Requirements::default().add(time.as_bytes());
        }

        #[test]
        fn no_time_of_authentication_panics(at: i64, now: i64, max_age: u64) {
            let _ = is_recent(Some(at), max_age, now);
        }
    }
}
