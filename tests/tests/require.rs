//! `authgear_require`: which sessions pass, which requirements are in force, and what `nginx -t`
//! refuses.

use std::time::Duration;

use authgear_integration::{
    answer, get, nginx_t, people, request, Nginx, NginxBuilder, Request, Response, Scripted, Site,
    ALICE,
};
use authgear_resolver_double::{Fault, Session, Store, User};

/// Tells in every response why it was denied.
const TELL: &str = "add_header X-Reason $authgear_deny_reason always;";

const HOUR: u64 = 3_600;

/// What a client met: a status, and the reason of a refusal.
fn met(response: &Response) -> (u16, &str) {
    let reason = response.header("X-Reason").unwrap_or_default();
    (response.status, reason)
}

/// Each session is its own user's, of the same name.
fn sessions() -> Store {
    let ago = Duration::from_secs;
    let user = |name| User::new(name).roles(["editor", "reviewer"]);
    let session = |name: &str| {
        Session::cookie(name, name)
            .amr(["pwd", "otp"])
            .authenticated_ago(ago(60))
    };
    Store::new()
        .user(user("fresh"))
        .session(session("fresh"))
        .user(user("unverified").verified(false))
        .session(session("unverified"))
        .user(user("guest").anonymous(true).verified(false))
        .session(session("guest"))
        .user(User::new("no-roles"))
        .session(session("no-roles"))
        .user(User::new("other-roles").roles(["edit", "editors", "Editor", "a editor b"]))
        .session(session("other-roles"))
        .user(user("commas"))
        .session(session("commas").amr_text("pwd,otp"))
        .user(user("no-amr"))
        .session(session("no-amr").amr_text(""))
        .user(user("other-amr"))
        .session(session("other-amr").amr(["OTP", "otps", "pwd otp2"]))
        .user(user("old"))
        .session(session("old").authenticated_ago(ago(2 * HOUR)))
        .user(user("no-time"))
        .session(Session::cookie("no-time", "no-time").amr(["pwd", "otp"]))
        .user(user("disabled").disabled(true))
        .session(session("disabled"))
}

#[test]
fn each_condition_by_each_session() {
    const PASSES: (u16, &str) = (200, "");
    const NO_SESSION: (u16, &str) = (401, "session");
    // The condition, the sessions that meet it, those that don't, and what they meet instead.
    type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], (u16, &'a str));
    let table: [Row; 15] = [
        ("session", &["fresh", "guest", "old"], &[], NO_SESSION),
        ("user", &["fresh", "unverified"], &["guest"], (403, "user")),
        (
            "verified",
            &["fresh", "no-roles"],
            &["unverified", "guest"],
            (403, "verified"),
        ),
        (
            "role=editor",
            &["fresh", "guest"],
            &["no-roles", "other-roles"],
            (403, "role"),
        ),
        ("role=reviewer", &["fresh"], &["no-roles"], (403, "role")),
        (
            "role=admin,editor",
            &["fresh"],
            &["no-roles"],
            (403, "role"),
        ),
        (
            "role=editor,admin",
            &["fresh"],
            &["no-roles"],
            (403, "role"),
        ),
        ("role=admin", &[], &["fresh", "no-roles"], (403, "role")),
        ("role=Editor", &["other-roles"], &["fresh"], (403, "role")),
        (
            "amr=otp",
            &["fresh", "commas"],
            &["no-amr", "other-amr"],
            (401, "amr"),
        ),
        ("amr=pwd", &["fresh", "commas"], &["no-amr"], (401, "amr")),
        ("amr=mfa", &[], &["fresh", "commas"], (401, "amr")),
        (
            "max_age=1h",
            &["fresh", "guest"],
            &["old", "no-time"],
            (401, "max_age"),
        ),
        (
            "max_age=3h",
            &["fresh", "old"],
            &["no-time"],
            (401, "max_age"),
        ),
        ("max_age=30s", &[], &["fresh", "old"], (401, "max_age")),
    ];
    let locations: String = (0..)
        .zip(&table)
        .map(|(n, (condition, ..))| {
            format!(
                "location = /{n} {{ authgear_require {condition}; proxy_pass http://%app%; }}\n"
            )
        })
        .collect();
    let site = Site::builder()
        .store(sessions())
        .server(&format!(
            "{TELL} authgear_resolve http://%resolver%; {locations}"
        ))
        .start();
    let mut client = site.nginx.http1();
    let mut send = |n: usize, credential: Option<&str>| {
        let request = get(&format!("/{n}"));
        let request = match credential {
            Some(session) => request.cookie(&format!("session={session}")),
            None => request,
        };
        client.request(request)
    };
    for (n, (condition, meeting, others, denial)) in table.iter().enumerate() {
        for session in *meeting {
            let response = send(n, Some(session));
            assert_eq!(met(&response), PASSES, "{condition} with {session}");
        }
        for session in *others {
            let response = send(n, Some(session));
            assert_eq!(met(&response), *denial, "{condition} with {session}");
        }
        for session in [None, Some("gone"), Some("disabled")] {
            let response = send(n, session);
            assert_eq!(met(&response), NO_SESSION, "{condition} with {session:?}");
        }
    }
}

/// A resolver that answers every request with the header lines of the cookie's name, so that a
/// test can leave any of them out.
fn answers_without(left_out: &[&str]) -> Scripted {
    let headers: Vec<_> = [
        ("X-Authgear-Session-Valid", "true"),
        ("X-Authgear-User-Id", "alice"),
        ("X-Authgear-User-Anonymous", "false"),
        ("X-Authgear-User-Verified", "true"),
        ("X-Authgear-Session-Amr", "pwd"),
        ("X-Authgear-Session-Authenticated-At", "1750000000"),
        ("X-Authgear-User-Roles", "editor"),
    ]
    .into_iter()
    .filter(|(name, _)| !left_out.contains(name))
    .collect();
    Scripted::answering(answer(200, &headers))
}

#[test]
fn a_missing_header_fails_its_condition() {
    let old = "max_age=100y";
    for (header, condition, denial) in [
        ("X-Authgear-Session-Valid", "session", (401, "session")),
        ("X-Authgear-User-Verified", "verified", (403, "verified")),
        ("X-Authgear-User-Roles", "role=editor", (403, "role")),
        ("X-Authgear-Session-Amr", "amr=pwd", (401, "amr")),
        ("X-Authgear-Session-Authenticated-At", old, (401, "max_age")),
    ] {
        let directives = format!(
            "{TELL} authgear_resolve http://%resolver%; authgear_require {condition};
             proxy_pass http://%app%;"
        );
        let whole = answers_without(&[]);
        let site = Site::serving_with(&whole, &directives);
        let response = site.send(get("/").cookie("session=x"));
        assert_eq!(met(&response), (200, ""), "{condition}");

        let lacking = answers_without(&[header, "X-Authgear-User-Anonymous"]);
        let site = Site::serving_with(&lacking, &directives);
        let response = site.send(get("/").cookie("session=x"));
        assert_eq!(met(&response), denial, "{condition} without {header}");
    }
}

/// One site with `location`s by number, of which each has these lines.
fn locations(bodies: &[&str]) -> Site {
    let locations: String = (0..)
        .zip(bodies)
        .map(|(n, body)| format!("location /{n} {{ {body} proxy_pass http://%app%; }}\n"))
        .collect();
    Site::builder()
        .server(&format!(
            "{TELL} authgear_resolve http://%resolver%; {locations}"
        ))
        .start()
}

#[test]
fn all_conditions_of_all_lines_must_hold() {
    // alice: verified, editor and reviewer, pwd and otp, authenticated in 2025
    let table = [
        ("authgear_require session user verified;", (200, "")),
        (
            "authgear_require role=editor; authgear_require role=reviewer;",
            (200, ""),
        ),
        (
            "authgear_require role=editor; authgear_require role=admin;",
            (403, "role"),
        ),
        ("authgear_require role=editor role=admin;", (403, "role")),
        (
            "authgear_require role=admin,editor role=owner,reviewer;",
            (200, ""),
        ),
        ("authgear_require amr=pwd amr=otp;", (200, "")),
        (
            "authgear_require amr=pwd; authgear_require amr=mfa;",
            (401, "amr"),
        ),
        (
            "authgear_require max_age=100y max_age=1h;",
            (401, "max_age"),
        ),
        (
            "authgear_require max_age=1h max_age=100y;",
            (401, "max_age"),
        ),
        ("authgear_require max_age=100y;", (200, "")),
        // What another sign-in can't mend is told first.
        (
            "authgear_require max_age=1h; authgear_require role=admin;",
            (403, "role"),
        ),
    ];
    let bodies: Vec<_> = table.iter().map(|(body, _)| *body).collect();
    let site = locations(&bodies);
    for (n, (body, expected)) in table.iter().enumerate() {
        let response = site.send(get(&format!("/{n}")).cookie(ALICE));
        assert_eq!(met(&response), *expected, "{body}");
    }
}

#[test]
fn a_level_takes_the_requirements_of_the_one_above_or_replaces_them() {
    let site = Site::builder()
        .http("authgear_require role=admin;")
        .server(&format!(
            "{TELL}
             authgear_resolve http://%resolver%;
             location /inherited {{ proxy_pass http://%app%; }}
             location /replaced {{ authgear_require session; proxy_pass http://%app%; }}
             location /off {{
                 authgear_require off;
                 proxy_pass http://%app%;
                 location /off/nested {{ proxy_pass http://%app%; }}
             }}
             location /stays_out {{ authgear_resolve off; proxy_pass http://%app%; }}
             location /outer {{
                 authgear_require session;
                 location /outer/inherited {{ proxy_pass http://%app%; }}
                 location /outer/off {{ authgear_require off; proxy_pass http://%app%; }}
                 location /outer/stricter {{ authgear_require session role=admin; proxy_pass http://%app%; }}
             }}"
        ))
        .start();
    for (path, alice, visitor) in [
        ("/inherited", (403, "role"), (401, "session")),
        ("/replaced", (200, ""), (401, "session")),
        ("/off", (200, ""), (200, "")),
        ("/off/nested", (200, ""), (200, "")),
        ("/stays_out", (200, ""), (200, "")),
        ("/outer/inherited", (200, ""), (401, "session")),
        ("/outer/off", (200, ""), (200, "")),
        ("/outer/stricter", (403, "role"), (401, "session")),
    ] {
        assert_eq!(met(&site.send(get(path).cookie(ALICE))), alice, "{path}");
        assert_eq!(met(&site.send(get(path))), visitor, "{path}");
    }
}

#[test]
fn a_requirement_where_nobody_resolves_lets_nobody_in() {
    let site = Site::with_server(&format!(
        "{TELL}
         authgear_require session;
         location / {{ proxy_pass http://%app%; }}
         location /resolves {{ authgear_resolve http://%resolver%; proxy_pass http://%app%; }}"
    ));
    for request in [get("/"), get("/").cookie(ALICE)] {
        assert_eq!(met(&site.send(request)), (401, "session"));
    }
    site.nginx
        .wait_for_log("authgear_require without authgear_resolve");
    assert_eq!(site.app.request_count(), 0);
    assert_eq!(site.resolver.request_count(), 0);
    assert_eq!(site.send(get("/resolves").cookie(ALICE)).status, 200);
}

#[test]
fn preflights_pass_without_being_resolved() {
    let site = locations(&["authgear_require session role=admin max_age=1s;"]);
    let preflight = || {
        request("OPTIONS", "/0")
            .header("Origin", "http://other.example")
            .header("Access-Control-Request-Method", "PUT")
            .cookie(ALICE)
    };
    for response in [
        site.send(preflight()),
        site.nginx.http2().request(preflight()),
        site.send(preflight().bearer("wrong")),
    ] {
        assert_eq!(response.seen().identity(), []);
    }
    assert_eq!(site.resolver.request_count(), 0);

    // Whatever only looks like one is judged as any request.
    for not_quite in [
        request("OPTIONS", "/0"),
        request("OPTIONS", "/0").header("Origin", "http://other.example"),
        request("OPTIONS", "/0").header("Access-Control-Request-Method", "PUT"),
        get("/0")
            .header("Origin", "http://other.example")
            .header("Access-Control-Request-Method", "PUT"),
    ] {
        assert_eq!(met(&site.send(not_quite)), (401, "session"));
    }
}

#[test]
fn an_error_taken_as_anonymous_is_no_session() {
    let site = Site::with_server(&format!(
        "{TELL}
         authgear_resolve http://%resolver%;
         authgear_on_error anonymous;
         location / {{ proxy_pass http://%app%; }}
         location /required {{ authgear_require session; proxy_pass http://%app%; }}"
    ));
    site.resolver.set_fault(Fault::status(500));
    let response = site.send(get("/required").cookie(ALICE));
    assert_eq!(met(&response), (401, "session"));
    assert_eq!(response.all("WWW-Authenticate"), ["Bearer"]);
    assert_eq!(site.app.request_count(), 0);
    assert_eq!(site.app_saw(get("/").cookie(ALICE)).identity(), []);

    site.resolver.clear_fault();
    assert_eq!(site.send(get("/required").cookie(ALICE)).status, 200);
}

#[test]
fn an_error_denies_with_its_status_before_a_requirement_is_judged() {
    for (directive, status) in [("", 503), ("authgear_error_status 429;", 429)] {
        let site = locations(&[&format!("authgear_require role=admin; {directive}")]);
        site.resolver.set_fault(Fault::status(500));
        let response = site.send(get("/0").cookie(ALICE));
        assert_eq!(met(&response), (status, "error"));
        assert_eq!(response.header("WWW-Authenticate"), None);
        assert_eq!(response.all("Cache-Control"), ["no-store"]);
        // Nobody is asked about a visitor, and nothing fails.
        assert_eq!(met(&site.send(get("/0"))), (401, "session"));
    }
}

/// The requirement is judged in the location in which the request ends, and once per location.
#[test]
fn internal_redirects_are_judged_where_they_lead() {
    let site = Site::builder()
        .nginx(|nginx| nginx.file("html/index.html", "index"))
        .server(&format!(
            "{TELL}
             authgear_resolve http://%resolver%;
             location /rewritten {{ rewrite ^ /strict/x last; }}
             location /tried {{ try_files /missing @strict; }}
             location /accel {{ proxy_pass http://%app%; }}
             location @strict {{ authgear_require role=admin; proxy_pass http://%app%; }}
             location /strict {{ authgear_require role=admin; proxy_pass http://%app%; }}
             location /lenient {{ authgear_require session; proxy_pass http://%app%; }}"
        ))
        .start();
    for (path, expected) in [
        ("/rewritten", (403, "role")),
        ("/tried", (403, "role")),
        ("/accel?to=/strict", (403, "role")),
        ("/accel?to=/lenient", (200, "")),
    ] {
        site.resolver.clear_requests();
        let response = site.send(get(path).cookie(ALICE));
        assert_eq!(met(&response), expected, "{path}");
        assert_eq!(site.resolver.request_count(), 1, "{path}");
    }
}

fn at_each_level(lines: &str) -> [(&'static str, NginxBuilder); 3] {
    let resolve = "authgear_resolve http://127.0.0.1:1;";
    [
        ("http", Nginx::builder().http(lines)),
        ("server", Nginx::builder().server(lines)),
        (
            "location",
            Nginx::builder().server(&format!("location / {{\n{resolve}\n{lines}\n}}")),
        ),
    ]
}

/// What `nginx -t` says of the line that ends in `# here`.
fn emerg(builder: NginxBuilder, mark: &str) -> String {
    let line = builder.line_of(mark);
    let said = nginx_t(builder).expect_err("accepted");
    let emerg = said.lines().find(|line| line.contains("[emerg]"));
    let emerg = emerg.unwrap_or_else(|| panic!("no [emerg]: {said}"));
    let place = format!("nginx.conf:{line}");
    let named = emerg.ends_with(&place) || emerg.contains(&format!("{place} in "));
    assert!(named, "{place} expected: {emerg}");
    emerg.to_owned()
}

#[test]
fn wrong_conditions_are_refused_where_they_stand() {
    let unknown = "expected session, user, verified, role=, amr= or max_age=";
    let role = "expected role=NAME or role=NAME,NAME without spaces";
    let amr = "expected amr=VALUE with one value";
    let time = "expected max_age=T in seconds or as in 30s, 5m, 1h30m, 1d";
    let beside = "\"off\" beside other conditions";
    for (lines, expected) in [
        ("authgear_require sesion; # here", ["\"sesion\"", unknown]),
        ("authgear_require ''; # here", ["\"\"", unknown]),
        ("authgear_require Session; # here", ["\"Session\"", unknown]),
        ("authgear_require user on; # here", ["\"on\"", unknown]),
        ("authgear_require roles=a; # here", ["\"roles=a\"", unknown]),
        ("authgear_require role=; # here", ["\"role=\"", role]),
        ("authgear_require role=a,; # here", ["\"role=a,\"", role]),
        (
            "authgear_require 'role=a, b'; # here",
            ["\"role=a, b\"", role],
        ),
        ("authgear_require amr=; # here", ["\"amr=\"", amr]),
        (
            "authgear_require amr=pwd,otp; # here",
            ["\"amr=pwd,otp\"", amr],
        ),
        ("authgear_require max_age=; # here", ["\"max_age=\"", time]),
        (
            "authgear_require max_age=soon; # here",
            ["\"max_age=soon\"", time],
        ),
        (
            "authgear_require max_age=-1; # here",
            ["\"max_age=-1\"", time],
        ),
        (
            "authgear_require max_age=500ms; # here",
            ["\"max_age=500ms\"", time],
        ),
        (
            "authgear_require max_age=0; # here",
            ["\"max_age=0\"", "can never be met"],
        ),
        ("authgear_require off session; # here", [beside, ""]),
        ("authgear_require session off; # here", [beside, ""]),
        ("authgear_require off off; # here", [beside, ""]),
        (
            "authgear_require session;\nauthgear_require off; # here",
            [beside, ""],
        ),
        (
            "authgear_require off;\nauthgear_require session; # here",
            [beside, ""],
        ),
        (
            "authgear_require off;\nauthgear_require off; # here",
            [beside, ""],
        ),
        (
            "authgear_require; # here",
            ["invalid number of arguments", ""],
        ),
        (
            "authgear_login; # here",
            ["invalid number of arguments", ""],
        ),
        (
            "authgear_login /a /b; # here",
            ["invalid number of arguments", ""],
        ),
        ("authgear_login ''; # here", ["authgear_login", "URL"]),
        (
            "authgear_login /a;\nauthgear_login /b; # here",
            ["is duplicate", ""],
        ),
        ("authgear_login /a?x=${y; # here", ["variable", ""]),
    ] {
        for (level, builder) in at_each_level(lines) {
            let said = emerg(builder, "# here");
            for part in expected {
                assert!(said.contains(part), "{level}: {lines}: {said}");
            }
            let directive = lines.rsplit('\n').next().unwrap_or_default();
            let name = directive.split([' ', ';']).next().unwrap_or_default();
            assert!(
                said.contains(name) || said.contains("variable"),
                "{level}: {lines}: {said}"
            );
        }
    }
}

#[test]
fn right_conditions_are_accepted_at_each_level() {
    for lines in [
        "authgear_require session;",
        "authgear_require user verified role=a role=b,c amr=otp amr=pwd max_age=1h30m;",
        "authgear_require session;\nauthgear_require role=a;\nauthgear_require max_age=300;",
        "authgear_require off;",
        "authgear_login https://auth.example/;",
        "authgear_login \"https://auth.example/?rd=$authgear_return_url&x=$host\";",
        "authgear_login $scheme://auth.$host/;",
    ] {
        for (level, builder) in at_each_level(lines) {
            assert_eq!(nginx_t(builder), Ok(()), "{level}: {lines}");
        }
    }
}

#[test]
fn a_location_that_requires_must_resolve() {
    let vain = "\"authgear_require\" in a location without \"authgear_resolve\"";
    for server in [
        "location / {\nauthgear_require session; # here\n}",
        "authgear_resolve http://127.0.0.1:1;
         location / {\nauthgear_resolve off;\nauthgear_require session; # here\n}",
        "location / {
             authgear_resolve off;
             location /a {\nauthgear_require session; # here\n}
         }",
    ] {
        let said = emerg(Nginx::builder().server(server), "# here");
        assert!(said.contains(vain), "{said}");
    }
    for server in [
        "authgear_resolve http://127.0.0.1:1; location / { authgear_require session; }",
        "location / { authgear_resolve http://127.0.0.1:1; authgear_require session; }",
        "location / { authgear_resolve http://127.0.0.1:1; location /a { authgear_require session; } }",
        "location / { authgear_require off; }",
        // Above the locations it may be meant for those that resolve.
        "authgear_require session; location / { authgear_resolve http://127.0.0.1:1; }",
    ] {
        assert_eq!(nginx_t(Nginx::builder().server(server)), Ok(()), "{server}");
    }
    let in_http = Nginx::builder()
        .http("authgear_resolve http://127.0.0.1:1;")
        .server("location / { authgear_require session; }");
    assert_eq!(nginx_t(in_http), Ok(()));
}

#[test]
fn wrong_contexts_are_refused() {
    for row in ["authgear_require session;", "authgear_login /login;"] {
        let contexts = [
            Nginx::builder().main(row),
            Nginx::builder().http(&format!("upstream group {{\n{row}\nserver 127.0.0.1; }}")),
            Nginx::builder().server(&format!("if ($arg_a) {{\n{row}\n}}")),
            Nginx::builder().server(&format!("location / {{ if ($arg_a) {{\n{row}\n}} }}")),
            Nginx::builder().server(&format!("location / {{ limit_except GET {{\n{row}\n}} }}")),
        ];
        for builder in contexts {
            assert!(emerg(builder, row).contains("not allowed here"));
        }
    }
}

/// `if` and `limit_except` are locations inside: what is in force outside is in force there.
#[test]
fn requirements_hold_inside_if_and_limit_except() {
    let site = locations(&[
        "authgear_require session; if ($arg_a) { add_header X-If 1; }",
        "authgear_require session; limit_except GET { deny all; }",
    ]);
    for (path, method, alice, visitor) in [
        ("/0?a=1", "GET", 200, 401),
        ("/0", "GET", 200, 401),
        ("/1", "GET", 200, 401),
        ("/1", "POST", 403, 403),
    ] {
        let send = |request: Request| site.send(request).status;
        assert_eq!(send(request(method, path).cookie(ALICE)), alice, "{path}");
        assert_eq!(send(request(method, path)), visitor, "{method} {path}");
    }
}

/// What is required of people is required on every method, version and connection.
#[test]
fn a_connection_is_judged_request_by_request() {
    let site = Site::builder()
        .store(people())
        .location(&format!(
            "{TELL} authgear_resolve http://%resolver%; authgear_require session; proxy_pass http://%app%;"
        ))
        .start();
    let mut http1 = site.nginx.http1();
    let mut http2 = site.nginx.http2();
    for method in [
        "GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "MADE-UP",
    ] {
        for _ in 0..2 {
            for (request, expected) in [
                (request(method, "/").cookie(ALICE), (200, "")),
                (request(method, "/"), (401, "session")),
            ] {
                assert_eq!(met(&http1.request(request.clone())), expected, "{method}");
                assert_eq!(met(&http2.request(request)), expected, "{method}");
            }
        }
    }
}
