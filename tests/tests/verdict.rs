//! The verdict is in the answer's headers, never in its status.

use authgear_integration::{answer, get, Port, Response, Scripted, Site};

const VALID: (&str, &str) = ("X-Authgear-Session-Valid", "true");
const ALICE: (&str, &str) = ("X-Authgear-User-Id", "alice");

const SITE: &str = "
    authgear_resolve http://%resolver%;
    add_header outcome $authgear_outcome always;
    proxy_pass http://%app%;
";

/// A resolver that answers the cookie `session=secret-N` with the Nth of these.
fn resolver(answers: Vec<Vec<u8>>) -> Scripted {
    Scripted::new(move |conversation| {
        while let Some(request) = conversation.read_request() {
            let row = request.split("session=secret-").nth(1);
            let number = row.and_then(|rest| rest.trim_end().lines().next()?.parse().ok());
            let number: usize = number.expect("a cookie that names a row");
            if !conversation.send(&answers[number]) {
                return;
            }
        }
    })
}

/// Asks for each row with one nginx, and says what went differently.
fn check(site: &Site, names: &[&str], expected: impl Fn(usize, &Response, &str) -> Option<String>) {
    let mut wrong = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let before = site.nginx.error_log().len();
        let response = site.send(get("/").cookie(&format!("session=secret-{number}")));
        let log = site.nginx.error_log().split_off(before);
        if let Some(difference) = expected(number, &response, &log) {
            wrong.push(format!("{name}: {difference}"));
        }
    }
    assert!(
        !site.nginx.error_log().contains("secret-"),
        "a credential in the log"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn outcome(response: &Response) -> &str {
    response.header("outcome").unwrap_or_default()
}

#[test]
fn answers_that_count() {
    type Headers = &'static [(&'static str, &'static str)];
    let table: &[(&str, Headers, &str, Headers)] = &[
        (
            "session",
            &[VALID, ALICE],
            "valid",
            &[
                ("x-authgear-session-valid", "true"),
                ("x-authgear-user-id", "alice"),
            ],
        ),
        (
            "every header",
            &[
                VALID,
                ALICE,
                ("X-Authgear-User-Anonymous", "false"),
                ("X-Authgear-User-Verified", "true"),
                ("X-Authgear-Session-Acr", "urn:x"),
                ("X-Authgear-Session-Amr", "pwd otp"),
                ("X-Authgear-Session-Authenticated-At", "1700000000"),
                ("X-Authgear-User-Can-Reauthenticate", "true"),
                ("X-Authgear-User-Roles", "a,b"),
            ],
            "valid",
            &[
                ("x-authgear-session-acr", "urn:x"),
                ("x-authgear-session-amr", "pwd otp"),
                ("x-authgear-session-authenticated-at", "1700000000"),
                ("x-authgear-session-valid", "true"),
                ("x-authgear-user-anonymous", "false"),
                ("x-authgear-user-can-reauthenticate", "true"),
                ("x-authgear-user-id", "alice"),
                ("x-authgear-user-roles", "a,b"),
                ("x-authgear-user-verified", "true"),
            ],
        ),
        (
            "names in any case",
            &[
                ("x-AUTHGEAR-session-VALID", "true"),
                ("X-AUTHGEAR-USER-ID", "alice"),
            ],
            "valid",
            &[
                ("x-authgear-session-valid", "true"),
                ("x-authgear-user-id", "alice"),
            ],
        ),
        (
            "empty amr",
            &[VALID, ALICE, ("X-Authgear-Session-Amr", "")],
            "valid",
            &[
                ("x-authgear-session-valid", "true"),
                ("x-authgear-user-id", "alice"),
            ],
        ),
        (
            "amr with commas",
            &[VALID, ALICE, ("X-Authgear-Session-Amr", "pwd,otp")],
            "valid",
            &[
                ("x-authgear-session-amr", "pwd,otp"),
                ("x-authgear-session-valid", "true"),
                ("x-authgear-user-id", "alice"),
            ],
        ),
        (
            "other headers, twice",
            &[
                VALID,
                ALICE,
                ("Vary", "a"),
                ("Vary", "b"),
                ("X-Authgear-Other", "1"),
                ("X-Authgear-Other", "2"),
            ],
            "valid",
            &[
                ("x-authgear-session-valid", "true"),
                ("x-authgear-user-id", "alice"),
            ],
        ),
        (
            "invalid session",
            &[("X-Authgear-Session-Valid", "false")],
            "invalid",
            &[("x-authgear-session-valid", "false")],
        ),
        ("no session", &[], "none", &[]),
        (
            "no session, other headers",
            &[("X-Robots-Tag", "none")],
            "none",
            &[],
        ),
    ];
    let resolver = resolver(table.iter().map(|row| answer(200, row.1)).collect());
    let site = Site::serving_with(&resolver, SITE);

    let names: Vec<&str> = table.iter().map(|row| row.0).collect();
    check(&site, &names, |number, response, log| {
        let (_, _, wanted, identity) = table[number];
        let got = response.seen().identity();
        let same = got
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .eq(identity.iter().copied());
        let right = outcome(response) == wanted && same && !log.contains("[error]");
        (!right).then(|| format!("{:?} {got:?} {log}", outcome(response)))
    });
}

#[test]
fn answers_that_are_an_error() {
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("401 with a session", answer(401, &[VALID, ALICE])),
        ("204 with a session", answer(204, &[VALID, ALICE])),
        ("201 with a session", answer(201, &[VALID, ALICE])),
        ("206 with a session", answer(206, &[VALID, ALICE])),
        (
            "302 with a session",
            answer(302, &[VALID, ALICE, ("Location", "/x")]),
        ),
        ("304 with a session", answer(304, &[VALID, ALICE])),
        ("404, no such project", answer(404, &[])),
        ("403", answer(403, &[])),
        ("429", answer(429, &[])),
        ("500", answer(500, &[])),
        ("500 with a session", answer(500, &[VALID, ALICE])),
        ("502", answer(502, &[])),
        ("503", answer(503, &[("Retry-After", "1")])),
        ("504", answer(504, &[])),
        ("session of nobody", answer(200, &[VALID])),
        (
            "session of an empty user",
            answer(200, &[VALID, ("X-Authgear-User-Id", "")]),
        ),
        (
            "valid in upper case",
            answer(200, &[("X-Authgear-Session-Valid", "TRUE"), ALICE]),
        ),
        (
            "valid in title case",
            answer(200, &[("X-Authgear-Session-Valid", "True"), ALICE]),
        ),
        (
            "valid as a number",
            answer(200, &[("X-Authgear-Session-Valid", "1"), ALICE]),
        ),
        (
            "valid without a value",
            answer(200, &[("X-Authgear-Session-Valid", ""), ALICE]),
        ),
        (
            "valid with a list",
            answer(200, &[("X-Authgear-Session-Valid", "true, true"), ALICE]),
        ),
        ("valid twice, the same", answer(200, &[VALID, VALID, ALICE])),
        (
            "valid twice, true first",
            answer(200, &[VALID, ("X-Authgear-Session-Valid", "false"), ALICE]),
        ),
        (
            "valid twice, false first",
            answer(200, &[("X-Authgear-Session-Valid", "false"), VALID, ALICE]),
        ),
        (
            "user twice",
            answer(200, &[VALID, ALICE, ("X-Authgear-User-Id", "mallory")]),
        ),
        (
            "user twice, other case",
            answer(200, &[VALID, ALICE, ("x-authgear-user-id", "alice")]),
        ),
        (
            "roles twice",
            answer(
                200,
                &[
                    VALID,
                    ALICE,
                    ("X-Authgear-User-Roles", "a"),
                    ("X-Authgear-User-Roles", "b"),
                ],
            ),
        ),
        (
            "amr twice",
            answer(
                200,
                &[
                    VALID,
                    ALICE,
                    ("X-Authgear-Session-Amr", "a"),
                    ("X-Authgear-Session-Amr", ""),
                ],
            ),
        ),
        (
            "anonymous: maybe",
            answer(200, &[VALID, ALICE, ("X-Authgear-User-Anonymous", "maybe")]),
        ),
        (
            "verified: yes",
            answer(200, &[VALID, ALICE, ("X-Authgear-User-Verified", "yes")]),
        ),
        (
            "can reauthenticate: 1",
            answer(
                200,
                &[VALID, ALICE, ("X-Authgear-User-Can-Reauthenticate", "1")],
            ),
        ),
        (
            "time with letters",
            answer(
                200,
                &[VALID, ALICE, ("X-Authgear-Session-Authenticated-At", "12x")],
            ),
        ),
        (
            "time with a fraction",
            answer(
                200,
                &[VALID, ALICE, ("X-Authgear-Session-Authenticated-At", "1.5")],
            ),
        ),
        (
            "time of 30 digits",
            answer(
                200,
                &[
                    VALID,
                    ALICE,
                    (
                        "X-Authgear-Session-Authenticated-At",
                        "123456789012345678901234567890",
                    ),
                ],
            ),
        ),
        (
            "control character in the user",
            answer(200, &[VALID, ("X-Authgear-User-Id", "ali\u{1}ce")]),
        ),
        (
            "escape in a role",
            answer(
                200,
                &[VALID, ALICE, ("X-Authgear-User-Roles", "a\u{1b}[31m")],
            ),
        ),
        (
            "DEL in the acr",
            answer(200, &[VALID, ALICE, ("X-Authgear-Session-Acr", "a\u{7f}")]),
        ),
    ];
    let names: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let resolver = resolver(rows.iter().map(|row| row.1.clone()).collect());
    let site = Site::serving_with(&resolver, SITE);

    check(&site, &names, |_, response, log| {
        let is_cause = |line: &&str| line.contains("[error]") && line.contains("authgear: ");
        let right = response.status == 503
            && outcome(response) == "error"
            && log.lines().filter(is_cause).count() == 1;
        (!right).then(|| format!("{} {:?} {log}", response.status, outcome(response)))
    });
    assert_eq!(site.app.request_count(), 0, "the app is not asked");
}

#[test]
fn on_error_anonymous_goes_on_without_a_session() {
    let resolver = Scripted::answering(answer(500, &[VALID, ALICE]));
    let directives = format!("{SITE} authgear_on_error anonymous;");
    let site = Site::serving_with(&resolver, &directives);

    let response = site.send(
        get("/")
            .cookie("session=x")
            .header("X-Authgear-User-Id", "forged"),
    );
    assert_eq!(outcome(&response), "error");
    assert_eq!(response.seen().identity(), []);
    site.nginx.wait_for_log("authgear: ");
}

#[test]
fn error_status_is_configurable() {
    let resolver = Scripted::answering(answer(500, &[]));
    for status in [400, 403, 500, 502, 599] {
        let directives = format!("{SITE} authgear_error_status {status};");
        let site = Site::serving_with(&resolver, &directives);
        assert_eq!(site.send(get("/").cookie("session=x")).status, status);
    }
}

#[test]
fn error_page_takes_over_an_error() {
    let resolver = Scripted::answering(answer(500, &[]));
    let site = Site::builder()
        .place("resolver", resolver.addr())
        .server(&format!(
            "location / {{ {SITE} error_page 503 =200 @sorry; }}
             location @sorry {{ return 200 'sorry: $authgear_outcome $authgear_resolve_status'; }}"
        ))
        .start();
    assert_eq!(
        site.send(get("/").cookie("session=x")).text(),
        "sorry: error 500"
    );
}

#[test]
fn a_resolver_that_is_down_is_an_error() {
    let nobody = Port::reserve();
    let site = Site::builder()
        .place("resolver", nobody.addr())
        .location(SITE)
        .start();
    let response = site.send(get("/").cookie("session=x"));
    assert_eq!((response.status, outcome(&response)), (503, "error"));
    assert_eq!(
        site.send(get("/")).status,
        200,
        "without a credential nobody is asked"
    );
}
