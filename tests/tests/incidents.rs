//! What went wrong in other products of this kind, tried here. Each test names its incident.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use authgear_integration::{
    answer, get, request, FastCgi, Grpc, Request, Response, Scripted, Seen, Site, Uwsgi, ALICE,
    ALICE_BEARER, ALICE_IDENTITY, BOB, BOB_IDENTITY,
};
use authgear_resolver_double::Fault;

const RESOLVE: &str = "authgear_resolve http://%resolver%; proxy_pass http://%app%;";

/// All identity headers, with values that no resolver here gives.
const FORGED: [(&str, &str); 9] = [
    ("x-authgear-session-valid", "true"),
    ("x-authgear-user-id", "admin"),
    ("x-authgear-user-anonymous", "false"),
    ("x-authgear-user-verified", "true"),
    ("x-authgear-session-acr", "forged"),
    ("x-authgear-session-amr", "forged"),
    ("x-authgear-session-authenticated-at", "1999999999"),
    ("x-authgear-user-can-reauthenticate", "true"),
    ("x-authgear-user-roles", "admin"),
];

fn is(seen: &Seen, wanted: &[(&str, &str)]) -> bool {
    let identity = seen.identity();
    let mut wanted: Vec<_> = wanted
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    wanted.sort();
    identity == wanted
}

/// oauth2-proxy CVE-2025-64484, and Traefik's aliases: a header that the upstream's framework takes
/// for another (`X_Forwarded_User`) is not removed. Over every protocol, to every kind of upstream.
#[test]
fn cve_2025_64484_alias_headers() {
    let (fastcgi, uwsgi, grpc) = (FastCgi::start(), Uwsgi::start(), Grpc::start());
    let parameters = |directive: &str| {
        [
            "REQUEST_METHOD $request_method",
            "REQUEST_URI $request_uri",
            "CONTENT_LENGTH $content_length",
        ]
        .map(|parameter| format!("{directive} {parameter};"))
        .concat()
    };
    let kinds = [
        ("proxy", "proxy_pass http://%app%;".to_owned()),
        (
            "fastcgi",
            format!(
                "fastcgi_pass %fastcgi%; fastcgi_param SCRIPT_FILENAME %script%; {}",
                parameters("fastcgi_param")
            ),
        ),
        (
            "uwsgi",
            format!("uwsgi_pass %uwsgi%; {}", parameters("uwsgi_param")),
        ),
        ("grpc", "grpc_pass grpc://%grpc%;".to_owned()),
    ];
    let locations: String = kinds
        .iter()
        .map(|(kind, pass)| {
            format!(
                "location /{kind} {{ authgear_resolve http://%resolver%; {pass} }}
                 location /{kind}/open {{ {pass} }}"
            )
        })
        .collect();
    let site = Site::builder()
        .place("fastcgi", fastcgi.addr())
        .place("script", fastcgi.script().display())
        .place("uwsgi", uwsgi.addr())
        .place("grpc", grpc.addr())
        .http("underscores_in_headers on; ignore_invalid_headers off; large_client_header_buffers 8 16k;")
        .server(&locations)
        .start();
    let spellings: [fn(&str) -> String; 7] = [
        str::to_owned,
        |name| name.replace('-', "_"),
        |name| name.replacen('-', "_", 2),
        |name| name.replace('-', "."),
        |name| name.replace('-', "_").to_uppercase(),
        |name| name.replace("x-", "X_"),
        |name| name.replace('-', "+"),
    ];
    let mut http2 = site.nginx.http2();
    for (kind, _) in &kinds {
        for spell in spellings {
            let forged = |path: String| {
                let headers = FORGED.map(|(name, value)| (spell(name), value));
                get(&path).cookie(BOB).headers(headers)
            };
            for (path, wanted) in [
                (format!("/{kind}"), &BOB_IDENTITY[..]),
                (format!("/{kind}/open"), &[]),
            ] {
                let seen = site.app_saw(forged(path.clone()));
                assert!(is(&seen, wanted), "{path} {}: {seen:?}", spell("x-y"));
                let seen = http2.request(forged(path.clone())).seen();
                assert!(
                    is(&seen, wanted),
                    "{path} {} over HTTP/2: {seen:?}",
                    spell("x-y")
                );
            }
        }
    }
}

/// Caddy's `forward_auth` and APISIX's `forward-auth`: a header that the answer does not have is
/// left as the client sent it. Each subset of them.
#[test]
fn caddy_and_apisix_headers_that_the_answer_lacks() {
    let optional = [
        ("x-authgear-user-anonymous", "false"),
        ("x-authgear-user-verified", "false"),
        ("x-authgear-session-acr", "a"),
        ("x-authgear-session-amr", "pwd"),
        ("x-authgear-session-authenticated-at", "1"),
        ("x-authgear-user-can-reauthenticate", "false"),
        ("x-authgear-user-roles", "r"),
    ];
    let subset = move |bits: usize| {
        let mut headers = vec![
            ("x-authgear-session-valid", "true"),
            ("x-authgear-user-id", "alice"),
        ];
        let chosen = (0..optional.len()).filter(|bit| bits & 1 << bit != 0);
        headers.extend(chosen.map(|bit| optional[bit]));
        headers
    };
    let resolver = Scripted::new(move |conversation| {
        while let Some(head) = conversation.read_request() {
            let number = head.split_once("session=s").expect("a cookie").1;
            let digits = number.split('\r').next().unwrap_or_default();
            let headers = match digits.parse() {
                Ok(bits) => subset(bits),
                Err(_) if digits == "invalid" => vec![("x-authgear-session-valid", "false")],
                Err(_) => Vec::new(),
            };
            conversation.send(answer(200, &headers));
        }
    });
    let site = Site::builder()
        .place("resolver", resolver.addr())
        .http("authgear_cache_zone zone=auth:1m;")
        .server(&format!(
            "location / {{ {RESOLVE} }} location /cached {{ {RESOLVE} authgear_cache auth; }}"
        ))
        .start();
    let ask = |path: &str, who: &str| {
        let cookie = format!("session=s{who}");
        site.app_saw(get(path).cookie(&cookie).headers(FORGED))
    };
    for path in ["/", "/cached", "/cached"] {
        for bits in 0..1 << optional.len() {
            let seen = ask(path, &bits.to_string());
            assert!(is(&seen, &subset(bits)), "{path} {bits:b}: {seen:?}");
        }
        let seen = ask(path, "invalid");
        assert!(
            is(&seen, &[("x-authgear-session-valid", "false")]),
            "{path}: {seen:?}"
        );
        let seen = ask(path, "none");
        assert!(is(&seen, &[]), "{path}: {seen:?}");
    }
}

/// oauth2-proxy CVE-2026-34457: a 200 that says nothing, from a health check or the wrong service,
/// counts as signed in.
#[test]
fn cve_2026_34457_a_bare_200_from_the_wrong_service() {
    let html = "<html><title>Welcome to nginx!</title></html>";
    let page = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{html}",
        html.len()
    );
    for bare in [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
        "HTTP/1.1 200 OK\r\nX-Auth-Request-User: admin\r\nRemote-User: admin\r\nContent-Length: 0\r\n\r\n".into(),
        "HTTP/1.0 200 OK\r\n\r\n".into(),
        page,
    ] {
        let resolver = Scripted::answering(bare.clone());
        let site = Site::builder()
            .place("resolver", resolver.addr())
            .http("authgear_cache_zone zone=auth:1m;")
            .server(&format!(
                "location / {{ {RESOLVE} }}
                 location /private {{ {RESOLVE} authgear_require session; }}
                 location /cached {{ {RESOLVE} authgear_require session; authgear_cache auth; }}"
            ))
            .start();
        for agent in ["kube-probe/1.30", "GoogleHC/1.0", "curl"] {
            let asking = |path: &str| {
                get(path)
                    .cookie(ALICE)
                    .header("User-Agent", agent)
                    .headers(FORGED)
            };
            for path in ["/private", "/cached", "/cached"] {
                assert_eq!(site.send(asking(path)).status, 401, "{path} {bare}");
            }
            assert!(is(&site.app_saw(asking("/")), &[]), "{bare}");
        }
        assert_eq!(site.app.request_count(), 3);
    }
}

/// ingress-nginx CVE-2026-24513: the resolver fails, an error page answers 200, and that counts.
#[test]
fn cve_2026_24513_an_error_page_that_answers_200() {
    let site = Site::builder()
        .http("error_page 401 403 404 500 502 503 504 =200 /error;")
        .server(&format!(
            "location /error {{ internal; return 200 'an error page'; }}
             location / {{ {RESOLVE} authgear_require session; proxy_intercept_errors on; }}
             location /own {{ {RESOLVE} error_page 503 =200 @own; }}
             location @own {{ return 200 'an error page'; }}
             location /passed {{ {RESOLVE} error_page 503 =200 @default_backend; }}
             location @default_backend {{ proxy_pass http://%app%; }}"
        ))
        .start();
    let asking = |path: &str| {
        get(path)
            .cookie(ALICE)
            .header("X-Code", "503")
            .headers(FORGED)
    };
    for status in [401, 403, 404, 500, 502, 503, 504] {
        site.resolver.set_fault(Fault::status(status));
        for path in ["/", "/own"] {
            let response = site.send(asking(path));
            assert_eq!(response.text(), "an error page", "{status} {path}");
        }
        assert_eq!(site.app.request_count(), 0, "{status}");
        // The application as its own error page is not told of anybody.
        let seen = site.app_saw(asking("/passed"));
        assert!(is(&seen, &[]), "{status}: {seen:?}");
        site.app.clear_requests();
    }
    site.resolver.clear_fault();

    // The other way round: a gateway before the resolver turns its errors into pages.
    let resolver =
        Scripted::answering("HTTP/1.1 200 OK\r\nX-Code: 500\r\nContent-Length: 5\r\n\r\nsorry");
    let site = Site::serving_with(&resolver, &format!("{RESOLVE} authgear_require session;"));
    assert_eq!(site.send(asking("/")).status, 401);
    assert_eq!(site.app.request_count(), 0);
}

/// authentik CVE-2026-25748: a malformed cookie is answered without identity, and let through.
#[test]
fn cve_2026_25748_a_malformed_cookie() {
    let site = Site::builder()
        .server(&format!(
            "location / {{ {RESOLVE} }} location /private {{ {RESOLVE} authgear_require session; }}"
        ))
        .start();
    let long = format!("session={}", "a".repeat(4000));
    for cookie in [
        "session",
        "session=",
        "session==",
        "session=;",
        "=session",
        ";",
        "session=\"",
        "session=\"alice.secret",
        "session=alice.secret\\",
        "session=alice.secret\u{e9}",
        "session=alice.secret\u{1}",
        "session=alice,secret",
        "session=alice%2esecret",
        "session= alice.secret",
        "session=alice.secret.",
        "session=.secret",
        "session=alice",
        "session=alice.",
        "session=eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",
        "app_session=",
        "app_access_token=eyJ",
        "Session=alice.secret",
        "session[]=alice.secret",
        "session=null",
        "session=../../alice",
        &long,
    ] {
        let asking = |path: &str| get(path).cookie(cookie).headers(FORGED);
        assert_eq!(site.send(asking("/private")).status, 401, "{cookie}");
        let seen = site.app_saw(asking("/"));
        let identity = seen.identity();
        let is_nobody = identity.is_empty() || is(&seen, &[("x-authgear-session-valid", "false")]);
        assert!(is_nobody, "{cookie}: {identity:?}");
    }
    assert!(site
        .app
        .requests()
        .iter()
        .all(|request| request.target == "/"));
    for token in [
        "",
        " ",
        "alice-bearer ,",
        "\"alice-bearer\"",
        "eyJ",
        "eyJ..",
        "alice-bearer\u{e9}",
        " alice-bearer",
    ] {
        let asking = get("/private").bearer(token).headers(FORGED);
        assert_eq!(site.send(asking).status, 401, "{token:?}");
    }
}

/// Pingora CVE-2026-2836: a key that leaves out an input gives one tenant's answer to another. The
/// resolver says who asked by all that it was sent.
#[test]
fn cve_2026_2836_each_input_of_the_key_alone() {
    let resolver = Scripted::new(|conversation| {
        while let Some(head) = conversation.read_request() {
            let user = user_of(&head);
            let headers = [
                ("x-authgear-session-valid", "true"),
                ("x-authgear-user-id", &user),
            ];
            conversation.send(answer(200, &headers));
        }
    });
    let location = |path: &str, lines: &str| {
        format!(
            "location /{path} {{
                 authgear_resolve http://%resolver%/$arg_uri; authgear_cache auth; {lines}
                 add_header cache $authgear_cache_status always; proxy_pass http://%app%;
             }}"
        )
    };
    let hosts =
        "authgear_set_header Host $arg_host; authgear_set_header X-Forwarded-Host $arg_forwarded;
                 authgear_set_header X-Original-Host $arg_original;";
    let site = Site::builder()
        .place("resolver", resolver.addr())
        .http("authgear_cache_zone zone=auth:1m;")
        .server(&location("a", hosts))
        .server(&location(
            "prefix",
            &format!("{hosts} authgear_cookie_prefix p_;"),
        ))
        .start();

    // Query, Authorization, Cookie: each differs from the first in one input, or says the same bytes
    // in another place.
    let base = "uri=u&host=one&forwarded=f&original=o";
    let all = "app_session=1; app_access_token=2; session=3";
    let rows: Vec<(&str, String, &str, &str)> = vec![
        ("a", base.into(), "t", all),
        ("a", base.replace("uri=u", "uri=v"), "t", all),
        ("a", base.replace("one", "two"), "t", all),
        ("a", base.replace("forwarded=f", "forwarded=two"), "t", all),
        ("a", base.replace("forwarded=f", "forwarded="), "t", all),
        ("a", base.replace("original=o", "original=two"), "t", all),
        ("a", base.replace("original=o", "original="), "t", all),
        (
            "a",
            "uri=u&host=one&forwarded=o&original=f".into(),
            "t",
            all,
        ),
        ("a", "uri=u&host=one&forwarded=&original=f".into(), "t", all),
        (
            "a",
            "uri=u&host=f&forwarded=one&original=o".into(),
            "t",
            all,
        ),
        ("a", base.into(), "T", all),
        (
            "a",
            base.into(),
            "t ",
            "app_session=1; app_access_token=2; session=33",
        ),
        ("a", base.into(), "", all),
        ("a", base.into(), "1", all),
        (
            "a",
            base.into(),
            "t",
            "app_session=2; app_access_token=1; session=3",
        ),
        (
            "a",
            base.into(),
            "t",
            "app_session=1; app_access_token=3; session=2",
        ),
        (
            "a",
            base.into(),
            "t",
            "app_session=3; app_access_token=2; session=1",
        ),
        ("a", base.into(), "t", "app_session=1; app_access_token=2"),
        ("a", base.into(), "t", "app_session=1; session=3"),
        ("a", base.into(), "t", "app_access_token=2; session=3"),
        (
            "a",
            base.into(),
            "t",
            "app_session=1; app_access_token=2; session=",
        ),
        ("a", base.into(), "t", "app_session=12; session=3"),
        ("a", base.into(), "t", "app_session=1; app_access_token=23"),
        ("a", base.into(), "t", ""),
        ("prefix", base.into(), "t", all),
        (
            "prefix",
            base.into(),
            "t",
            "p_app_session=1; p_app_access_token=2; p_session=4",
        ),
    ];
    let ask = |(path, query, token, cookie): &(&str, String, &str, &str)| -> Response {
        let mut asking = get(&format!("/{path}?{query}"));
        if !token.is_empty() {
            asking = asking.bearer(token);
        }
        if !cookie.is_empty() {
            asking = asking.cookie(cookie);
        }
        site.send(asking)
    };
    let mut users = Vec::new();
    for round in 0..3 {
        for (number, row) in rows.iter().enumerate() {
            let response = ask(row);
            let user = response.seen().get("x-authgear-user-id").map(str::to_owned);
            let user = user.unwrap_or_else(|| panic!("{row:?}"));
            if round == 0 {
                users.push(user);
                continue;
            }
            assert_eq!(response.header("cache"), Some("HIT"), "{row:?}");
            assert_eq!(user, users[number], "{row:?}");
        }
    }
    // The users are what the requests were: all different, but those that ask for the same.
    for (number, user) in users.iter().enumerate() {
        let twin = users.iter().position(|other| other == user);
        let twin = twin.expect("itself");
        let same = twin == number || rows[number].0 == "prefix" && rows[twin].3.is_empty();
        assert!(same, "{:?} and {:?}: {user}", rows[number], rows[twin]);
    }
    assert_eq!(
        resolver.requests().len(),
        users.iter().collect::<std::collections::HashSet<_>>().len()
    );
}

/// What decides an answer of Authgear's, of a resolver request.
fn user_of(head: &str) -> String {
    let mut lines = head.split("\r\n");
    let target = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut user = format!("user {}", target.unwrap_or_default());
    let lines: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    for name in [
        "host",
        "x-forwarded-host",
        "x-original-host",
        "authorization",
        "cookie",
    ] {
        let value = lines.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        user += &match value {
            Some((_, value)) => format!(" <{}>", value.trim_end()),
            None => " -".into(),
        };
    }
    user
}

/// Pingora CVE-2026-2833: what follows an `Upgrade` is taken for another request, or answer, than it
/// is.
#[test]
fn cve_2026_2833_upgrades_on_kept_connections() {
    // The client's side: its Upgrade is not the resolver's, and what follows has its own identity.
    let site = Site::serving(&format!("{RESOLVE} proxy_http_version 1.1;"));
    for upgrade in ["websocket", "h2c", "TLS/1.0", "foo"] {
        let mut client = site.nginx.http1();
        let asking =
            |cookie: &str, path: &str| -> Request { get(path).cookie(cookie).headers(FORGED) };
        let first = asking(BOB, "/first")
            .header("Connection", "Upgrade, keep-alive")
            .header("Upgrade", upgrade);
        let second = asking("a=b", "/second");
        client.send([first.head(), second.head(), asking(ALICE, "/third").head()].concat());
        for (path, wanted) in [
            ("/first", &BOB_IDENTITY[..]),
            ("/second", &[]),
            ("/third", &ALICE_IDENTITY),
        ] {
            let seen = client.read_response().seen();
            assert_eq!(seen.target, path);
            assert!(is(&seen, wanted), "{upgrade}: {seen:?}");
        }
        let asked = site.resolver.requests();
        assert!(asked
            .iter()
            .all(|request| request.header("upgrade").is_none()));
    }

    // The resolver's side: it changes the protocol unasked, and goes on with an answer for the next.
    let resolver = Scripted::new(|conversation| {
        while let Some(head) = conversation.read_request() {
            let mallory = [
                ("X-Authgear-Session-Valid", "true"),
                ("X-Authgear-User-Id", "mallory"),
            ];
            let mut wire =
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n"
                    .to_vec();
            if !head.contains("session=first") {
                wire = answer(200, &[]);
            }
            wire.extend(answer(200, &mallory));
            conversation.send(wire);
        }
    });
    let site = Site::serving_with(&resolver, RESOLVE);
    for round in 0..5 {
        assert_eq!(
            site.send(get("/").cookie("session=first")).status,
            503,
            "{round}"
        );
        assert!(
            is(&site.app_saw(get("/").cookie("session=second")), &[]),
            "{round}"
        );
    }
    assert_eq!(resolver.connections(), 10, "none served twice");
}

/// Cookie tossing: a sibling site sets cookies that another reader takes for the session's, so that
/// the victim's session is stored under a key of the attacker's choice.
#[test]
fn cookie_tossing_does_not_choose_the_key() {
    let tossed = [
        "SESSION=evil.secret",
        "Session=evil.secret",
        "session=evil\\secret",
        "session=\"evil.secret",
        "session=evil\"secret",
        "session=evil.secret\u{7f}",
        "session=evil.secret\u{e9}",
        "\"session\"=evil.secret",
        "session[]=evil.secret",
        "session.=evil.secret",
        "sess ion=evil.secret",
        "$session=evil.secret",
        "APP_SESSION=evil",
        "app_session=evil\\",
        "app_access_token=\"evil",
        "other=x, session=evil.secret",
    ];
    for cookie in tossed {
        for victim in [ALICE, BOB] {
            let site = Site::builder()
                .http("authgear_cache_zone zone=auth:1m;")
                .location(&format!(
                    "{RESOLVE} authgear_cache auth; authgear_cache_valid invalid 1m;"
                ))
                .start();
            let wanted = if victim == ALICE {
                &ALICE_IDENTITY[..]
            } else {
                &BOB_IDENTITY
            };
            for line in [format!("{cookie}; {victim}"), format!("{victim}; {cookie}")] {
                for _ in 0..2 {
                    let seen = site.app_saw(get("/").cookie(&line));
                    assert!(is(&seen, wanted), "{line}: {seen:?}");
                }
            }
            // It is stored as what it is, and the attacker's cookie alone leads to nobody.
            assert_eq!(site.resolver.request_count(), 1, "{cookie}");
            let seen = site.app_saw(get("/").cookie(cookie));
            let is_nobody = is(&seen, &[]) || is(&seen, &[("x-authgear-session-valid", "false")]);
            assert!(is_nobody, "{cookie}: {seen:?}");
            let both = get("/").cookie(cookie).cookie(victim);
            assert!(is(&site.app_saw(both), wanted), "{cookie}");
        }
    }

    // A duplicate that Go does accept wins, for the resolver and for the key.
    let site = Site::builder()
        .http("authgear_cache_zone zone=auth:1m;")
        .location(&format!("{RESOLVE} authgear_cache auth;"))
        .start();
    for _ in 0..2 {
        for (first, second, wanted) in [
            (ALICE, BOB, &ALICE_IDENTITY[..]),
            (BOB, ALICE, &BOB_IDENTITY),
        ] {
            let seen = site.app_saw(get("/").cookie(&format!("{first}; {second}")));
            assert!(is(&seen, wanted), "{seen:?}");
        }
    }
}

/// njs #1077: the client goes at the very moment at which the subrequest ends.
#[test]
fn njs_1077_the_client_goes_while_the_subrequest_ends() {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let resolver = Scripted::new(|conversation| {
        while conversation.read_request().is_some() {
            let turn = TURN.fetch_add(1, Ordering::Relaxed) as u64;
            std::thread::sleep(Duration::from_micros(turn * 97 % 2_000));
            let alice = [
                ("X-Authgear-Session-Valid", "true"),
                ("X-Authgear-User-Id", "alice"),
            ];
            if !conversation.send(answer(200, &alice)) {
                return;
            }
        }
    });
    let site = Site::builder()
        .place("resolver", resolver.addr())
        .http("authgear_cache_zone zone=auth:1m;")
        .server(&format!(
            "location / {{ {RESOLVE} }}
             location /cached {{ {RESOLVE} authgear_cache auth; authgear_cache_valid 1ms; }}"
        ))
        .start();
    for round in 0..400_u64 {
        let mut client = site.nginx.http1();
        let path = ["/", "/cached"][round as usize % 2];
        let method = ["GET", "POST"][round as usize / 2 % 2];
        client.send(
            request(method, path)
                .cookie("session=x")
                .header("Content-Length", "0")
                .head(),
        );
        std::thread::sleep(Duration::from_micros(round * 61 % 2_500));
        if round % 3 == 0 {
            drop(client);
        } else {
            client.reset();
        }
    }
    // And the streams of a connection that others use.
    let mut http2 = site.nginx.http2();
    for round in 0..100_u64 {
        let pending = http2.start(get("/").cookie("session=x"));
        std::thread::sleep(Duration::from_micros(round * 61 % 2_500));
        http2.cancel(pending);
    }
    // That the worker is the same one is checked where nginx stops.
    let seen = http2.request(get("/").cookie("session=x")).seen();
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
}

/// Open redirects through the address to come back to, as oauth2-proxy (CVE-2020-4037 and others) and
/// vouch-proxy had.
#[test]
fn open_redirects_through_the_return_url() {
    let site = Site::builder()
        .http("large_client_header_buffers 4 128k;")
        .server(
            "authgear_resolve http://%resolver%; authgear_require session;
             authgear_login /login?rd=$authgear_return_url;
             location / { proxy_pass http://%app%; }",
        )
        .start();
    let long = format!("/{}", "/".repeat(64 * 1024));
    for target in [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "/\\/evil.example",
        "\\\\evil.example",
        "/%2fevil.example",
        "/%5cevil.example",
        "/.evil.example",
        "/@evil.example",
        "/:80@evil.example",
        "/\tevil",
        "/%09/evil.example",
        "/%0d%0aLocation:%20http://evil.example",
        "/%00",
        "/?rd=//evil.example",
        "/#//evil.example",
        "/..//evil.example",
        "/;@evil.example",
        "http://evil.example",
        "http://evil.example/",
        "http://site.example@evil.example/",
        "http://evil.example\\@site.example/",
        "javascript:alert(1)",
        "/javascript:alert(1)",
        "//\u{ff0f}evil.example",
        "/\u{1}//evil.example",
        "/\u{7f}",
        "&rd=http://evil.example",
        "/&rd=http://evil.example",
        "/x\"><script>",
        &long,
    ] {
        let mut client = site.nginx.http1();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: site.example\r\nAccept: text/html\r\nConnection: close\r\n\r\n"));
        let response = client.read_response();
        let shown: String = target.chars().take(60).collect();
        if response.status == 400 {
            continue;
        }
        assert_eq!(response.status, 302, "{shown}");
        let location = response.all("Location");
        let [location] = location[..] else {
            panic!("{shown}: {location:?}")
        };
        // nginx makes it absolute by the host of the target, or else of Host, and its own port.
        let port = site.nginx.addr("http1").port();
        let asked = ["site.example", "evil.example"];
        let asked = &asked[..1 + usize::from(target.starts_with("http:"))];
        let encoded = asked.iter().find_map(|host| {
            let here = format!("http://{host}:{port}/login?rd=");
            location.strip_prefix(&*here)
        });
        let encoded = encoded.unwrap_or_else(|| panic!("{shown}: {location}"));
        let is_unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
        assert!(
            encoded.bytes().all(is_unreserved),
            "{shown}: {encoded:.200}"
        );
        assert!(
            encoded.starts_with("http%3A%2F%2Fsite.example%2F"),
            "{shown}: {encoded:.200}"
        );
    }
    // A Host that would be somebody else's URL is none.
    for host in [
        "evil.example/",
        "site.example@evil.example",
        "evil.example\\",
        "evil.example#",
        "evil.example?",
        "site.example:80@evil.example",
    ] {
        let response = site.send(get("/").header("Host", host).header("Accept", "text/html"));
        if response.status != 400 {
            let location = response.header("Location").unwrap_or_default();
            assert!(location.ends_with("/login?rd="), "{host}: {location}");
        }
        assert_eq!(
            site.send(get("/").header("Host", "site.example").bearer(ALICE_BEARER))
                .status,
            200
        );
    }
}
