//! The right answer to a resolve.

use std::time::Duration;

use super::credentials::{bearer, cookie};
use super::{Fault, Settings};
use crate::http::{Answer, Request};
use crate::store::{decode_access_token, Kind, Project, Session, Store, User};

/// An answer, with what the session that it is about adds.
pub(super) struct Resolved {
    pub(super) answer: Answer,
    pub(super) verdict: Verdict,
    pub(super) fault: Option<Fault>,
    pub(super) delay: Duration,
}

/// For the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Valid,
    Invalid,
    None,
    Refused,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Verdict::Valid => "valid",
            Verdict::Invalid => "invalid",
            Verdict::None => "no session",
            Verdict::Refused => "refused",
        }
    }
}

impl Resolved {
    fn refused(answer: Answer) -> Self {
        Resolved {
            answer,
            verdict: Verdict::Refused,
            fault: None,
            delay: Duration::ZERO,
        }
    }
}

pub(super) fn resolve(store: &Store, settings: &Settings, request: &Request) -> Resolved {
    if let Some(complaint) = request.complaint() {
        let text = format!("400 Bad Request: {complaint}");
        return Resolved::refused(Answer::text(400, text));
    }
    if !matches!(request.path(), b"/resolve" | b"/_resolver/resolve") {
        return Resolved::refused(Answer::text(404, "404 page not found\n"));
    }
    if !matches!(request.method(), b"GET" | b"HEAD") {
        let answer = Answer::text(405, "Method Not Allowed\n").header("Allow", "GET, HEAD");
        return Resolved::refused(answer);
    }
    let Some(project) = store.project_of(&tenant(settings, request)) else {
        return Resolved::refused(Answer::text(404, "Not Found\n"));
    };

    let found = find(project, settings, request);
    let (verdict, user) = match found {
        Found::Session(session) => match project.find_user(&session.user) {
            Some(user) if !user.disabled => (Verdict::Valid, Some((session, user))),
            _ => (Verdict::Invalid, None),
        },
        Found::Invalid => (Verdict::Invalid, None),
        Found::Nothing => (Verdict::None, None),
    };
    let session = match found {
        Found::Session(session) => Some(session),
        _ => None,
    };

    // Headers in alphabetical order, as Go writes them.
    let mut answer = Answer::new(200).header("Permissions-Policy", PERMISSIONS);
    if verdict == Verdict::Invalid && session_cookie(settings, request).is_some() {
        answer = answer.header("Set-Cookie", clearing_cookie(settings, request));
    }
    for line in session.iter().flat_map(|session| &session.set_cookie) {
        answer = answer.header("Set-Cookie", line.clone());
    }
    answer = match (verdict, user) {
        (_, Some((session, user))) => identity(answer, session, user),
        (Verdict::Invalid, _) => answer.header("X-Authgear-Session-Valid", "false"),
        _ => answer,
    };
    Resolved {
        answer: answer
            .header("X-Content-Type-Options", "nosniff")
            .header("X-Robots-Tag", "none"),
        verdict,
        fault: session.and_then(|session| session.fault.clone()),
        delay: session.map_or(Duration::ZERO, |session| session.delay),
    }
}

const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=()";

/// The answer without any identity header.
pub(super) fn without_identity() -> Answer {
    Answer::new(200)
        .header("Permissions-Policy", PERMISSIONS)
        .header("X-Content-Type-Options", "nosniff")
        .header("X-Robots-Tag", "none")
}

fn identity(answer: Answer, session: &Session, user: &User) -> Answer {
    let flag = |flag: bool| if flag { "true" } else { "false" };
    let mut answer = answer;
    if let Some(acr) = &session.acr {
        answer = answer.header("X-Authgear-Session-Acr", acr.clone());
    }
    answer = answer.header("X-Authgear-Session-Amr", session.amr.clone());
    if let Some(seconds) = session.authenticated_at {
        answer = answer.header("X-Authgear-Session-Authenticated-At", seconds.to_string());
    }
    answer = answer
        .header("X-Authgear-Session-Valid", "true")
        .header("X-Authgear-User-Anonymous", flag(user.anonymous))
        .header(
            "X-Authgear-User-Can-Reauthenticate",
            flag(user.can_reauthenticate),
        )
        .header("X-Authgear-User-Id", user.id.clone());
    if !user.roles.is_empty() {
        answer = answer.header("X-Authgear-User-Roles", user.roles.join(","));
    }
    answer.header("X-Authgear-User-Verified", flag(user.verified))
}

#[derive(Clone, Copy)]
enum Found<'a> {
    Session(&'a Session),
    Invalid,
    Nothing,
}

/// The first credential that works. A bad access token or app session only counts as absent.
fn find<'a>(project: &'a Project, settings: &Settings, request: &Request) -> Found<'a> {
    let access_token = |kind, token: Option<&[u8]>| {
        let token = decode_access_token(std::str::from_utf8(token?).ok()?)?;
        project.find(kind, &token)
    };
    let cookies = &settings.cookies;

    if let Some(session) = access_token(Kind::Bearer, bearer(request)) {
        return Found::Session(session);
    }
    let app_session = text_cookie(request, &cookies.app_session);
    if let Some(session) = app_session.and_then(|value| project.find(Kind::AppSession, value)) {
        return Found::Session(session);
    }
    let token = cookie(request, &cookies.app_access_token);
    if let Some(session) = access_token(Kind::AppAccessToken, token) {
        return Found::Session(session);
    }
    match session_cookie(settings, request) {
        None => Found::Nothing,
        Some(value) => match project.find(Kind::Session, value) {
            Some(session) => Found::Session(session),
            None => Found::Invalid,
        },
    }
}

/// The value of the cookie `session`.
pub(super) fn session_cookie<'a>(settings: &Settings, request: &'a Request) -> Option<&'a str> {
    text_cookie(request, &settings.cookies.session)
}

fn text_cookie<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    std::str::from_utf8(cookie(request, name)?).ok()
}

/// The Set-Cookie that ends a cookie session.
pub(super) fn clearing_cookie(settings: &Settings, request: &Request) -> String {
    format!(
        "{}=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly;{} SameSite=Lax",
        settings.cookies.session,
        secure(settings, request),
    )
}

/// The Set-Cookie attribute `Secure`, if the client came over https.
pub(super) fn secure(settings: &Settings, request: &Request) -> &'static str {
    let https = settings.trust_proxy && request.value("x-forwarded-proto") == Some(b"https");
    if https {
        " Secure;"
    } else {
        ""
    }
}

/// The host that chooses the project.
pub(super) fn tenant(settings: &Settings, request: &Request) -> String {
    let forwarded = || {
        let value = request.value("x-forwarded-host")?;
        value.split(|&byte| byte == b',').next()
    };
    let trusted = settings
        .trust_proxy
        .then(|| {
            forwarded()
                .map(<[u8]>::trim_ascii)
                .filter(|host| !host.is_empty())
                .or_else(|| request.value("x-original-host"))
                .filter(|host| !host.is_empty())
        })
        .flatten();
    let host = trusted.or_else(|| request.value("host"));
    crate::http::text(host.unwrap_or_default())
}
