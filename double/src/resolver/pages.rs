//! Authgear's pages as far as a browser needs them to sign in and out: a stand-in on the same
//! listener, so that one `location /` serves both.

use super::answer::{clearing_cookie, secure, session_cookie, tenant};
use super::Core;
use crate::http::{form_fields, Answer, BodyDigest, Request};
use crate::store::{now, random_hex, Kind, Project, Session};

/// The answer to a request for a page, or none if it is for something else.
pub(super) fn answer(core: &Core, request: &Request, body: &BodyDigest) -> Option<Answer> {
    let is_form = request.method() == b"POST";
    let text = if is_form {
        &body.start
    } else {
        request.query()
    };
    let fields = Fields(form_fields(text));
    match request.path() {
        b"/healthz" => Some(Answer::text(200, "OK")),
        b"/login" if is_form => Some(sign_in(core, request, &fields)),
        b"/oauth2/authorize" | b"/login" => Some(login_page(core, request, &fields)),
        b"/logout" => Some(sign_out(core, request, &fields)),
        _ => None,
    }
}

struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        let (_, value) = fields.find(|(found, _)| found == name)?;
        Some(value)
    }

    /// Where to go back to, or what is wrong with it.
    fn redirect_uri(&self) -> Result<&str, Answer> {
        let uri = self.get("redirect_uri").unwrap_or_default();
        let web = uri.starts_with("http://") || uri.starts_with("https://");
        if web && uri.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
            Ok(uri)
        } else {
            Err(Answer::text(400, "redirect_uri is no http or https URL\n"))
        }
    }

    /// Whether a session from then is good enough for whoever asks to authorize.
    fn accept(&self, authenticated_at: Option<i64>) -> bool {
        let asks_again = self.get("prompt").is_some_and(|prompt| prompt == "login");
        let max_age: Option<i64> = self.get("max_age").and_then(|text| text.parse().ok());
        let fresh = match (max_age, authenticated_at) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(max_age), Some(at)) => now() - at <= max_age,
        };
        fresh && !asks_again
    }
}

fn login_page(core: &Core, request: &Request, fields: &Fields) -> Answer {
    let redirect_uri = match fields.redirect_uri() {
        Ok(uri) => uri,
        Err(answer) => return answer,
    };
    let store = core.store();
    let Some(project) = store.project_of(&tenant(&core.settings, request)) else {
        return unknown_host();
    };
    let current = session_cookie(&core.settings, request)
        .and_then(|value| project.find(Kind::Session, value))
        .filter(|session| is_usable(project, session));
    if current.is_some_and(|session| fields.accept(session.authenticated_at)) {
        return redirect(redirect_uri);
    }
    let page = page(project, redirect_uri, fields.get("auto"));
    Answer::new(200)
        .header("Content-Type", "text/html; charset=utf-8")
        .header("Cache-Control", "no-store")
        .body(page.into_bytes())
}

fn is_usable(project: &Project, session: &Session) -> bool {
    let user = project.find_user(&session.user);
    user.is_some_and(|user| !user.disabled)
}

/// A button for each user; with `auto` the form sends itself for that one.
fn page(project: &Project, redirect_uri: &str, auto: Option<&str>) -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <title>Sign in</title>\n<h1>Sign in</h1>\n\
         <form method=\"post\" action=\"/login\">\n",
    );
    page += &format!(
        "<input type=\"hidden\" name=\"redirect_uri\" value=\"{}\">\n",
        escape(redirect_uri)
    );
    match auto {
        Some(name) => {
            page += &format!(
                "<input type=\"hidden\" name=\"user\" value=\"{0}\">\n\
                 <p><button>Sign in as {0}</button></p>\n",
                escape(name)
            );
        }
        None => {
            page += "<p><label><input type=\"checkbox\" name=\"otp\" value=\"1\"> \
                     with a one-time code</label></p>\n";
            for user in project.users() {
                page += &format!(
                    "<p><button name=\"user\" value=\"{0}\">Sign in as {0}</button></p>\n",
                    escape(&user.name)
                );
            }
        }
    }
    page += "</form>\n";
    if auto.is_some() {
        page += "<script>document.forms[0].submit()</script>\n";
    }
    page
}

/// A new session, or the same one reauthenticated: that keeps the cookie.
fn sign_in(core: &Core, request: &Request, fields: &Fields) -> Answer {
    let redirect_uri = match fields.redirect_uri() {
        Ok(uri) => uri,
        Err(answer) => return answer,
    };
    let amr = match fields.get("otp") {
        Some(_) => "pwd otp mfa",
        None => "pwd",
    };
    let mut store = core.store_mut();
    let Some(project) = store.project_of_mut(&tenant(&core.settings, request)) else {
        return unknown_host();
    };
    let name = fields.get("user").unwrap_or_default();
    match project.find_user(name) {
        None => return Answer::text(403, "no such user\n"),
        Some(user) if user.disabled => return Answer::text(403, "this user is disabled\n"),
        Some(_) => {}
    }

    let current = session_cookie(&core.settings, request)
        .and_then(|value| project.find_mut(Kind::Session, value))
        .filter(|session| session.user == name);
    if let Some(session) = current {
        session.authenticated_at = Some(now());
        session.amr = amr.to_owned();
        return redirect(redirect_uri);
    }
    let value = format!("{name}-{}.{}", random_hex(), random_hex());
    project.add_session(
        Session::cookie(&value, name)
            .amr_text(amr)
            .authenticated_at(now()),
    );
    let cookie = format!(
        "{}={value}; Path=/; HttpOnly;{} SameSite=Lax",
        core.settings.cookies.session,
        secure(&core.settings, request),
    );
    redirect(redirect_uri).header("Set-Cookie", cookie)
}

fn sign_out(core: &Core, request: &Request, fields: &Fields) -> Answer {
    let host = tenant(&core.settings, request);
    if let (Some(value), Some(project)) = (
        session_cookie(&core.settings, request),
        core.store_mut().project_of_mut(&host),
    ) {
        project.remove(Kind::Session, value);
    }
    let answer = match fields.redirect_uri() {
        Ok(uri) => redirect(uri),
        Err(_) => Answer::text(200, "signed out\n"),
    };
    answer.header("Set-Cookie", clearing_cookie(&core.settings, request))
}

fn redirect(uri: &str) -> Answer {
    Answer::new(302)
        .header("Location", uri.to_owned())
        .header("Cache-Control", "no-store")
}

fn unknown_host() -> Answer {
    Answer::text(404, "Not Found\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
