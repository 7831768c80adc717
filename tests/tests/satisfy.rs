//! `satisfy any`, with `allow`, `deny` and `auth_basic`: a met requirement satisfies, an unmet one
//! lets the others decide, and without a requirement the module satisfies nothing.

use authgear_integration::{get, request, Request, Response, Site, ALICE, BOB};
use authgear_resolver_double::Fault;

const ALLOW: &str = "allow 127.0.0.0/8; deny all;";
const DENY: &str = "deny all;";
const BASIC: &str = "auth_basic site; auth_basic_user_file %prefix%/passwords;";

const BASIC_CHALLENGE: &str = "Basic realm=\"site\"";
const OURS: &str = "Bearer";

const LOGIN: &str = "https://auth.example/login";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Address {
    NotAsked,
    Allowed,
    Denied,
}
use Address::{Allowed, Denied, NotAsked};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Password {
    NotAsked,
    Missing,
    Wrong,
    Right,
}

/// What the requirement, `role=editor`, says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Requirement {
    /// There is none, though there is a session.
    NotThere,
    Met,
    NoSession,
    Unmet,
}

/// Each combination is a location of its own.
fn location(address: Address, password: bool, requirement: bool) -> String {
    let path = format!("/{address:?}-{password}-{requirement}");
    let address = match address {
        NotAsked => "",
        Allowed => ALLOW,
        Denied => DENY,
    };
    let basic = if password { BASIC } else { "" };
    let require = if requirement {
        "authgear_require role=editor;"
    } else {
        ""
    };
    format!("location {path} {{ {address} {basic} {require} proxy_pass http://%app%; }}\n")
}

fn site(lines: &str) -> Site {
    let mut locations = String::new();
    for address in [NotAsked, Allowed, Denied] {
        for password in [false, true] {
            for requirement in [false, true] {
                locations += &location(address, password, requirement);
            }
        }
    }
    Site::builder()
        .nginx(|nginx| nginx.file("passwords", "user:{PLAIN}pass\n"))
        .server(&format!(
            "authgear_resolve http://%resolver%; {lines}
             add_header X-Reason $authgear_deny_reason always;
             {locations}"
        ))
        .start()
}

fn ask(address: Address, password: Password, requirement: Requirement) -> Request {
    let path = format!(
        "/{address:?}-{}-{}",
        password != Password::NotAsked,
        requirement != Requirement::NotThere
    );
    let request = match password {
        Password::Wrong => get(&path).header("Authorization", "Basic dXNlcjp3cm9uZw=="),
        Password::Right => get(&path).header("Authorization", "Basic dXNlcjpwYXNz"),
        _ => get(&path),
    };
    match requirement {
        Requirement::NoSession => request,
        Requirement::Unmet => request.cookie(BOB),
        _ => request.cookie(ALICE),
    }
}

/// Every combination, and whether the client is let in, or with which status and challenges not.
fn each_combination(mut check: impl FnMut(Address, Password, Requirement, Result<(), u16>)) {
    use Requirement::{Met, NoSession, NotThere, Unmet};

    for address in [NotAsked, Allowed, Denied] {
        for password in [
            Password::NotAsked,
            Password::Missing,
            Password::Wrong,
            Password::Right,
        ] {
            for requirement in [NotThere, Met, NoSession, Unmet] {
                let nobody_decides = address == NotAsked
                    && password == Password::NotAsked
                    && requirement == NotThere;
                let satisfied = nobody_decides
                    || address == Allowed
                    || password == Password::Right
                    || requirement == Met;
                let says_401 = matches!(password, Password::Missing | Password::Wrong)
                    || requirement == NoSession;
                let expected = match (satisfied, says_401) {
                    (true, _) => Ok(()),
                    (false, true) => Err(401),
                    (false, false) => Err(403),
                };
                check(address, password, requirement, expected);
            }
        }
    }
}

/// Both challenges of a 401, if both modules have one.
fn challenges(password: Password, requirement: Requirement, status: u16) -> Vec<&'static str> {
    let mut challenges = Vec::new();
    if matches!(password, Password::Missing | Password::Wrong) {
        challenges.push(BASIC_CHALLENGE);
    }
    if requirement == Requirement::NoSession {
        challenges.push(OURS);
    }
    assert_eq!(challenges.is_empty(), status == 403);
    challenges
}

fn check_refusal(
    what: &str,
    response: &Response,
    password: Password,
    requirement: Requirement,
    status: u16,
) {
    assert_eq!(response.status, status, "{what}");
    let expected = challenges(password, requirement, status);
    assert_eq!(response.all("WWW-Authenticate"), expected, "{what}");
    let reason = match requirement {
        Requirement::NoSession => Some("session"),
        Requirement::Unmet => Some("role"),
        _ => None,
    };
    assert_eq!(response.header("X-Reason"), reason, "{what}");
}

#[test]
fn all_combinations() {
    let site = site("satisfy any;");
    let mut client = site.nginx.http1();
    each_combination(|address, password, requirement, expected| {
        for json in [false, true] {
            let what = format!("{address:?}, {password:?}, {requirement:?}, JSON: {json}");
            let mut request = ask(address, password, requirement);
            if json {
                request = request.header("Accept", "application/json");
            }
            let response = client.request(request);
            match expected {
                Ok(()) => {
                    assert_eq!(response.status, 200, "{what}");
                    assert_eq!(response.header("WWW-Authenticate"), None, "{what}");
                    assert_eq!(response.header("Cache-Control"), None, "{what}");
                    let user = match requirement {
                        Requirement::NoSession => None,
                        Requirement::Unmet => Some("bob"),
                        _ => Some("alice"),
                    };
                    assert_eq!(response.seen().get("x-authgear-user-id"), user, "{what}");
                }
                Err(status) => {
                    check_refusal(&what, &response, password, requirement, status);
                    let is_ours = requirement != Requirement::NotThere;
                    let form = match json && is_ours {
                        true => "application/problem+json",
                        false => "text/html",
                    };
                    assert_eq!(response.header("Content-Type"), Some(form), "{what}");
                    if json && is_ours {
                        let told = format!("\"status\":{status},");
                        assert!(response.text().contains(&told), "{what}");
                    }
                }
            }
        }
    });
}

/// A page visit is sent to the login page where our 401 would be the last word.
#[test]
fn all_combinations_with_a_login_page() {
    let site = site(&format!("satisfy any; authgear_login {LOGIN};"));
    let mut client = site.nginx.http1();
    each_combination(|address, password, requirement, expected| {
        let what = format!("{address:?}, {password:?}, {requirement:?}");
        let visit = ask(address, password, requirement).header("Accept", "text/html");
        let response = client.request(visit);
        match expected {
            Ok(()) => assert_eq!(response.status, 200, "{what}"),
            Err(_) if requirement == Requirement::NoSession => {
                assert_eq!(response.status, 302, "{what}");
                assert_eq!(response.all("Location"), [LOGIN], "{what}");
            }
            Err(status) => check_refusal(&what, &response, password, requirement, status),
        }
    });
}

#[test]
fn satisfy_all_asks_one_after_the_other() {
    let site = site("satisfy all;");
    each_combination(|address, password, requirement, _| {
        let what = format!("{address:?}, {password:?}, {requirement:?}");
        let response = site.send(ask(address, password, requirement));
        let expected = match (address, password, requirement) {
            (Denied, ..) => (403, vec![]),
            (_, Password::Missing | Password::Wrong, _) => (401, vec![BASIC_CHALLENGE]),
            (.., Requirement::NoSession) => (401, vec![OURS]),
            (.., Requirement::Unmet) => (403, vec![]),
            _ => (200, vec![]),
        };
        let met = (response.status, response.all("WWW-Authenticate"));
        assert_eq!(met, expected, "{what}");
    });
}

/// Who is let in by another module is still somebody or nobody: when that can't be found out, the
/// app is not to take somebody for a visitor, unless the configuration says so.
#[test]
fn a_failing_resolver_denies_those_whom_others_let_in() {
    use Requirement::Met;

    let site = site("satisfy any;");
    site.resolver.set_fault(Fault::status(500));
    for (address, password) in [
        (Allowed, Password::NotAsked),
        (NotAsked, Password::Right),
        (Denied, Password::Missing),
    ] {
        let response = site.send(ask(address, password, Met));
        assert_eq!(response.status, 503, "{address:?}, {password:?}");
    }
    drop(site);

    let site = self::site("satisfy any; authgear_on_error anonymous;");
    site.resolver.set_fault(Fault::status(500));
    for (address, password, status) in [
        (Allowed, Password::NotAsked, 200),
        (NotAsked, Password::Right, 200),
        (Denied, Password::NotAsked, 401),
        (Denied, Password::Missing, 401),
    ] {
        let response = site.send(ask(address, password, Met));
        assert_eq!(response.status, status, "{address:?}, {password:?}");
        if status == 200 {
            assert_eq!(response.seen().identity(), []);
        }
    }
}

/// A preflight has met no requirement: it opens nothing that another module keeps closed.
#[test]
fn a_preflight_satisfies_nothing() {
    let site = site("satisfy any;");
    for (address, password, status) in [
        (NotAsked, Password::NotAsked, 200),
        (Allowed, Password::NotAsked, 200),
        (Denied, Password::NotAsked, 403),
        (NotAsked, Password::Missing, 401),
        (Denied, Password::Missing, 401),
    ] {
        let path = format!("/{address:?}-{}-true", password != Password::NotAsked);
        let preflight = request("OPTIONS", &path)
            .header("Origin", "http://other.example")
            .header("Access-Control-Request-Method", "PUT");
        let response = site.send(preflight);
        assert_eq!(response.status, status, "{address:?}, {password:?}");
        assert_eq!(response.header("X-Reason"), None);
    }
}
