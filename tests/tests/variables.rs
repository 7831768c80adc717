//! The variables: right wherever nginx reads variables, at the cost of one resolve.

use authgear_integration::{eventually, get, Request, Response, Seen, Site, ALICE, BOB, CAROL};
use serde_json::{json, Value};

/// Each header variable, and what it says of alice.
const OF_ALICE: [(&str, &str); 9] = [
    ("session_valid", "true"),
    ("user_id", "alice"),
    ("user_anonymous", "false"),
    ("user_verified", "true"),
    ("session_acr", ""),
    ("session_amr", "pwd otp"),
    ("session_authenticated_at", "1750000000"),
    ("user_can_reauthenticate", "true"),
    ("user_roles", "editor,reviewer"),
];

/// Lines with `NAME` once for each header variable.
fn for_each_variable(line: &str) -> String {
    OF_ALICE
        .map(|(name, _)| line.replace("NAME", name))
        .join("\n")
}

fn alice(path: &str) -> Request {
    get(path).cookie(ALICE)
}

/// What the response headers `v-NAME`, made with add_header, say.
fn told(response: &Response, name: &str) -> String {
    let header = format!("v-{}", name.replace('_', "-"));
    response.header(&header).unwrap_or_default().to_owned()
}

/// What the request headers `v-NAME`, made with proxy_set_header, say.
fn received(seen: &Seen, name: &str) -> String {
    let header = format!("v-{}", name.replace('_', "-"));
    seen.get(&header).unwrap_or_default().to_owned()
}

fn dashed(line: &str) -> String {
    // Header names with dashes, variable names with underscores.
    OF_ALICE
        .map(|(name, _)| {
            line.replace("DASHED", &name.replace('_', "-"))
                .replace("NAME", name)
        })
        .join("\n")
}

#[test]
fn add_header_and_proxy_set_header_see_them() {
    let site = Site::serving(&format!(
        "authgear_resolve http://%resolver%;
         {} {} proxy_pass http://%app%;",
        dashed("add_header v-DASHED $authgear_NAME;"),
        dashed("proxy_set_header v-DASHED $authgear_NAME;"),
    ));
    let over_http1 = site.send(alice("/"));
    let over_http2 = site.nginx.http2().request(alice("/"));
    for response in [over_http1, over_http2] {
        for (name, value) in OF_ALICE {
            assert_eq!(told(&response, name), value, "{name} in add_header");
            assert_eq!(
                received(&response.seen(), name),
                value,
                "{name} in proxy_set_header"
            );
        }
    }
}

#[test]
fn the_access_log_sees_them() {
    let format = for_each_variable("NAME=<$authgear_NAME>").replace('\n', " ");
    let site = Site::builder()
        .nginx(|nginx| {
            nginx.log_format(&format!(
                "$uri {format} outcome=<$authgear_outcome> status=<$authgear_resolve_status> \
                 time=<$authgear_resolve_time> addr=<$authgear_resolve_addr>"
            ))
        })
        .location("authgear_resolve http://%resolver%; proxy_pass http://%app%;")
        .start();
    site.send(alice("/alice"));
    let line = site.nginx.wait_for_access("/alice ");
    for (name, value) in OF_ALICE {
        let shown = if value.is_empty() { "-" } else { value };
        assert!(
            line.contains(&format!("{name}=<{shown}>")),
            "{name}: {line}"
        );
    }
    let addr = site.resolver.addr();
    assert!(line.contains("outcome=<valid> status=<200>"), "{line}");
    assert!(line.contains(&format!("addr=<{addr}>")), "{line}");
    let time = line
        .split_once("time=<")
        .unwrap()
        .1
        .split_once('>')
        .unwrap()
        .0;
    let (seconds, milliseconds) = time.split_once('.').expect("seconds with a fraction");
    assert!(
        seconds.parse::<u32>().is_ok() && milliseconds.len() == 3,
        "{line}"
    );

    site.send(get("/visitor"));
    let line = site.nginx.wait_for_access("/visitor ");
    assert!(line.contains("user_id=<->"), "{line}");
    assert!(
        line.contains("outcome=<none> status=<-> time=<-> addr=<->"),
        "{line}"
    );
}

#[test]
fn a_map_sees_them() {
    let site = Site::builder()
        .http("map $authgear_user_id $tier { alice gold; '' nobody; default other; }")
        .location(
            "authgear_resolve http://%resolver%; add_header tier $tier; proxy_pass http://%app%;",
        )
        .start();
    let tier = |request| {
        site.send(request)
            .header("tier")
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(tier(alice("/")), "gold");
    assert_eq!(tier(get("/").cookie(BOB)), "other");
    assert_eq!(tier(get("/")), "nobody");
}

#[test]
fn absent_headers_are_empty_variables() {
    let site = Site::serving(&format!(
        "authgear_resolve http://%resolver%; {} proxy_pass http://%app%;",
        dashed("proxy_set_header v-DASHED <$authgear_NAME>;"),
    ));
    let seen = site.app_saw(get("/").cookie(BOB));
    for name in [
        "session_acr",
        "session_amr",
        "session_authenticated_at",
        "user_roles",
    ] {
        assert_eq!(received(&seen, name), "<>", "{name}");
    }
    assert_eq!(received(&seen, "user_id"), "<bob>");

    let seen = site.app_saw(get("/").cookie(CAROL));
    assert_eq!(received(&seen, "session_valid"), "<false>");
    assert_eq!(received(&seen, "user_id"), "<>");
}

#[test]
fn a_client_cannot_set_them() {
    let site = Site::serving(
        "authgear_resolve http://%resolver%; proxy_set_header v-user-id <$authgear_user_id>;
         proxy_pass http://%app%;",
    );
    let forged = get("/?authgear_user_id=mallory")
        .header("X-Authgear-User-Id", "mallory")
        .header("Authgear-User-Id", "mallory")
        .cookie("authgear_user_id=mallory");
    assert_eq!(received(&site.app_saw(forged), "user_id"), "<>");
}

#[test]
fn outcome_says_how_the_resolve_ended() {
    let site = Site::with_server(
        "add_header outcome <$authgear_outcome> always;
         location / { authgear_resolve http://%resolver%; proxy_pass http://%app%; }
         location /off { proxy_pass http://%app%; }",
    );
    let outcome = |request| {
        site.send(request)
            .header("outcome")
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(outcome(alice("/")), "<valid>");
    assert_eq!(outcome(get("/").cookie(CAROL)), "<invalid>");
    assert_eq!(outcome(get("/").bearer("gone")), "<none>");
    assert_eq!(outcome(get("/")), "<none>");
    assert_eq!(outcome(alice("/off")), "<>");
}

#[test]
fn session_is_one_typed_json_object() {
    let site = Site::serving(
        "authgear_resolve http://%resolver%; proxy_set_header v-session $authgear_session;
         proxy_pass http://%app%;",
    );
    let session = |request| {
        let seen = site.app_saw(request);
        seen.get("v-session")
            .map(|json| serde_json::from_str::<Value>(json).expect("JSON"))
    };
    assert_eq!(
        session(alice("/")),
        Some(json!({
            "session_valid": true,
            "user_id": "alice",
            "user_anonymous": false,
            "user_verified": true,
            "session_amr": ["pwd", "otp"],
            "session_authenticated_at": 1_750_000_000,
            "user_can_reauthenticate": true,
            "user_roles": ["editor", "reviewer"],
        }))
    );
    let bob = session(get("/").cookie(BOB)).expect("a session");
    assert_eq!(bob["user_id"], "bob");
    assert_eq!(bob["user_anonymous"], true);
    assert_eq!(bob.get("session_authenticated_at"), None);
    assert_eq!(bob.get("user_roles"), None);

    assert_eq!(session(get("/").cookie(CAROL)), None);
    assert_eq!(session(get("/")), None);
}

#[test]
fn reading_them_too_early_does_not_spoil_them() {
    let site = Site::serving(
        "set $early <$authgear_user_id>;
         if ($authgear_session_valid) { return 500; }
         add_header early $early; add_header late <$authgear_user_id>;
         authgear_resolve http://%resolver%; proxy_pass http://%app%;",
    );
    let response = site.send(alice("/"));
    assert_eq!(response.header("early"), Some("<>"));
    assert_eq!(response.header("late"), Some("<alice>"));
}

#[test]
fn a_refusal_of_nginx_is_resolved_where_its_error_page_is() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%; error_page 403 /refused;
         location / { deny all; proxy_pass http://%app%; }
         location = /refused { allow all; proxy_pass http://%app%; }",
    );
    let response = site.send(alice("/"));
    assert_eq!(response.status, 403);
    assert_eq!(
        Seen::parse(&response.body).get("x-authgear-user-id"),
        Some("alice")
    );
    assert_eq!(site.resolver.request_count(), 1);
}

#[test]
fn they_survive_error_page() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%;
         error_page 404 /not-found;
         error_page 502 @broken;
         location / { root %prefix%/html; }
         location /broken { proxy_pass http://127.0.0.1:1; }
         location @broken { add_header user $authgear_user_id always; return 200 'b:$authgear_user_id'; }
         location = /not-found { internal; proxy_set_header v-user-id $authgear_user_id; proxy_pass http://%app%; }",
    );
    let seen = Seen::parse(&site.send(alice("/missing")).body);
    assert_eq!(received(&seen, "user_id"), "alice");
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
    assert_eq!(
        site.resolver.request_count(),
        1,
        "one resolve per client request"
    );

    assert_eq!(site.send(alice("/broken")).text(), "b:alice");
    assert_eq!(site.resolver.request_count(), 2);
}

#[test]
fn they_survive_an_intercepted_error() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%;
         location / { proxy_pass http://%listen:backend%; proxy_intercept_errors on; error_page 418 = /teapot; }
         location = /teapot { return 200 'teapot of $authgear_user_id'; }
         }
         server { listen %listen:backend%; return 418;",
    );
    assert_eq!(site.send(alice("/")).text(), "teapot of alice");
    assert_eq!(site.resolver.request_count(), 1);
}

#[test]
fn they_survive_try_files_and_named_locations() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%;
         location / { try_files $uri @app; }
         location /uri { try_files $uri /fallback; }
         location = /fallback { proxy_pass http://%app%; proxy_set_header v-user-id $authgear_user_id; }
         location @app { proxy_pass http://%app%; proxy_set_header v-user-id $authgear_user_id; }",
    );
    for (path, calls) in [("/missing", 1), ("/uri/missing", 2)] {
        let seen = site.app_saw(alice(path));
        assert_eq!(received(&seen, "user_id"), "alice", "{path}");
        assert_eq!(seen.get("x-authgear-user-id"), Some("alice"), "{path}");
        assert_eq!(site.resolver.request_count(), calls, "{path}");
    }
}

#[test]
fn they_survive_x_accel_redirect() {
    let site = Site::with_server(
        "location / { authgear_resolve http://%resolver%; proxy_pass http://%listen:backend%; }
         location /files/ { internal; add_header user $authgear_user_id; root %prefix%/html; }
         location /inner/ { internal; authgear_resolve http://%resolver%; proxy_pass http://%app%; }
         location @named { proxy_pass http://%app%; authgear_resolve http://%resolver%; }
         }
         server { listen %listen:backend%;
             location /file { add_header X-Accel-Redirect /files/secret.txt; return 204; }
             location /app { add_header X-Accel-Redirect /inner/x; return 204; }
             location /named { add_header X-Accel-Redirect @named; return 204; }",
    );
    std::fs::create_dir(site.nginx.prefix().join("html/files")).unwrap();
    std::fs::write(site.nginx.prefix().join("html/files/secret.txt"), "secret").unwrap();

    let response = site.send(alice("/file"));
    assert_eq!(
        (response.text().as_str(), response.header("user")),
        ("secret", Some("alice"))
    );
    for path in ["/app", "/named"] {
        assert_eq!(
            site.app_saw(alice(path)).get("x-authgear-user-id"),
            Some("alice"),
            "{path}"
        );
    }
    assert_eq!(
        site.resolver.request_count(),
        3,
        "one resolve per client request"
    );
}

#[test]
fn an_internal_redirect_keeps_the_resolve_and_its_absence() {
    let site = Site::with_server(
        "location / { authgear_resolve http://%resolver%; try_files $uri /simple; }
         location = /simple { authgear_resolve off; proxy_pass http://%app%; proxy_set_header v-user-id <$authgear_user_id>; }
         location /late { try_files $uri /protected; }
         location = /protected { authgear_resolve http://%resolver%; proxy_pass http://%app%; }",
    );
    // Resolved first, then where nothing is resolved: the variables are still known.
    let seen = site.app_saw(alice("/missing"));
    assert_eq!(received(&seen, "user_id"), "<alice>");
    // Not resolved first, then where it is.
    let seen = site.app_saw(alice("/late/missing"));
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
    assert_eq!(site.resolver.request_count(), 2);
}

#[test]
fn ssi_subrequests_share_them() {
    let page = "<!--# echo var='authgear_user_id' -->|<!--# include virtual='/app/one' -->|<!--# include virtual='/app/two' wait='yes' -->|<!--# include virtual='/text' -->";
    let site = Site::builder()
        .server(
            "location / { authgear_resolve http://%resolver%; ssi on; ssi_types text/simple; root %prefix%/html; }
             location /app { authgear_resolve http://%resolver%; proxy_pass http://%app%; proxy_set_header v-user-id $authgear_user_id; }
             location /text { return 200 'text of $authgear_user_id'; }",
        )
        .nginx(|nginx| nginx.file("html/page.html", page))
        .start();
    let over_http1 = site.send(alice("/page.html"));
    let over_http2 = site.nginx.http2().request(alice("/page.html"));
    for response in [over_http1, over_http2] {
        let text = response.text();
        let parts: Vec<&str> = text.split('|').collect();
        let [echo, one, two, text] = parts[..] else {
            panic!("{text}");
        };
        assert_eq!((echo, text), ("alice", "text of alice"));
        for part in [one, two] {
            let seen = Seen::parse(part.as_bytes());
            assert_eq!(received(&seen, "user_id"), "alice");
            assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
        }
    }
    assert_eq!(
        site.resolver.request_count(),
        2,
        "one resolve per client request"
    );
}

#[test]
fn mirrored_requests_share_them() {
    let site = Site::with_server(
        "location / { authgear_resolve http://%resolver%; mirror /mirror; proxy_pass http://%app%; }
         location = /mirror { internal; proxy_pass http://%app%/mirrored; proxy_set_header v-user-id $authgear_user_id; }
         location /inherits { authgear_resolve http://%resolver%; mirror /mirror2; proxy_pass http://%app%; }
         location = /mirror2 { internal; authgear_resolve http://%resolver%; proxy_pass http://%app%/mirrored2; }",
    );
    site.app_saw(alice("/"));
    site.app_saw(alice("/inherits"));
    eventually("both mirrored requests", || {
        (site.app.request_count() == 4).then_some(())
    });
    let requests = site.app.requests();
    let mirrored = |path: &str| {
        let request = requests.iter().find(|request| request.target == path);
        request.expect("a mirrored request")
    };
    assert_eq!(mirrored("/mirrored").header("v-user-id"), Some("alice"));
    assert_eq!(
        mirrored("/mirrored2").header("x-authgear-user-id"),
        Some("alice")
    );
    assert_eq!(site.resolver.request_count(), 2);
}

#[test]
fn requests_of_one_connection_do_not_share_them() {
    let site = Site::serving(
        "authgear_resolve http://%resolver%; proxy_set_header v-user-id <$authgear_user_id>;
         proxy_pass http://%app%;",
    );
    let people = [
        (ALICE, "<alice>"),
        ("a=b", "<>"),
        (BOB, "<bob>"),
        (CAROL, "<>"),
    ];
    let mut http1 = site.nginx.http1();
    let mut http2 = site.nginx.http2();
    for (cookie, user) in people.iter().cycle().take(40) {
        let seen = http1.request(get("/").cookie(cookie)).seen();
        assert_eq!(received(&seen, "user_id"), *user);
    }
    let pending: Vec<_> = people
        .iter()
        .cycle()
        .take(40)
        .map(|(cookie, user)| (http2.start(get("/").cookie(cookie)), user))
        .collect();
    for (pending, user) in pending {
        let seen = http2.finish(pending).seen();
        assert_eq!(received(&seen, "user_id"), **user);
    }
}
