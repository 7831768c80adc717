//! Identity towards the application: ours always, the client's never.

use authgear_integration::{
    eventually, get, is_identity, raw_http2_get, FastCgi, Grpc, Request, Scgi, Seen, Site, Uwsgi,
    ALICE, ALICE_IDENTITY, BOB, BOB_IDENTITY, CAROL, INVALID_IDENTITY,
};

/// Header names that an application could take for identity.
const NAMES: [&str; 8] = [
    "x-authgear-session-valid",
    "x-authgear-user-id",
    "x-authgear-user-roles",
    "x-authgear-user-verified",
    "x-authgear-session-amr",
    // nginx handles names of more than 32 characters differently.
    "x-authgear-session-authenticated-at",
    "x-authgear-user-can-reauthenticate",
    "x-authgear-user-of-tomorrow",
];

/// Ways to write a name that mean the same to some upstream.
const SPELLINGS: [fn(&str) -> String; 10] = [
    |name| name.to_owned(),
    |name| name.to_ascii_uppercase(),
    |name| name.replace("x-authgear", "X-AuthGear"),
    |name| name.replace('-', "_"),
    |name| name.replacen('-', "_", 1),
    |name| name.replace('-', "."),
    |name| {
        name.replace("user-", "user_")
            .replace("session-", "session_")
    },
    |name| name.replace('-', "_").to_ascii_uppercase(),
    |name| name.replace('-', "!"),
    |name| name.replace('-', "~"),
];

/// Ways that a polite client library doesn't know.
const RUDE_SPELLINGS: [fn(&str) -> String; 4] = [
    |name| name.replace('-', " "),
    |name| format!("{name} "),
    |name| name.replace('-', "\t"),
    |name| name.replace('-', "\u{7f}"),
];

fn same(seen: &[(String, String)], wanted: &[(&str, &str)]) -> bool {
    seen.iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .eq(wanted.iter().copied())
}

fn polite_forgeries() -> impl Iterator<Item = String> {
    SPELLINGS.into_iter().flat_map(|spell| NAMES.map(spell))
}

fn rude_forgeries() -> impl Iterator<Item = String> {
    RUDE_SPELLINGS
        .into_iter()
        .flat_map(|spell| NAMES.map(spell))
}

/// All upstreams, each with and without `authgear_resolve`.
struct Upstreams {
    site: Site,
    _fastcgi: FastCgi,
    _uwsgi: Uwsgi,
    _scgi: Scgi,
    _grpc: Grpc,
}

const KINDS: [&str; 5] = ["proxy", "fastcgi", "uwsgi", "scgi", "grpc"];

impl Upstreams {
    fn start() -> Self {
        let (fastcgi, uwsgi) = (FastCgi::start(), Uwsgi::start());
        let (scgi, grpc) = (Scgi::start(), Grpc::start());
        let parameters = "REQUEST_METHOD $request_method; CONTENT_LENGTH $content_length; REQUEST_URI $request_uri; SERVER_PROTOCOL $server_protocol";
        let with = |directive: &str| {
            parameters
                .split("; ")
                .map(|p| format!("{directive} {p};"))
                .collect::<String>()
        };
        let pass = [
            "proxy_pass http://%app%;".to_owned(),
            format!(
                "fastcgi_pass %fastcgi%; fastcgi_param SCRIPT_FILENAME %script%; {}",
                with("fastcgi_param")
            ),
            format!("uwsgi_pass %uwsgi%; {}", with("uwsgi_param")),
            format!("scgi_pass %scgi%; {}", with("scgi_param")),
            "grpc_pass grpc://%grpc%;".to_owned(),
        ];
        let locations: String = KINDS
            .iter()
            .zip(&pass)
            .map(|(kind, pass)| {
                format!(
                    "location /{kind} {{ authgear_resolve http://%resolver%; {pass} }}
                     location /{kind}/off {{ {pass} }}
                     location /{kind}/no-identity {{ authgear_resolve http://%resolver%; authgear_pass_identity off; {pass} }}
                     location /{kind}/trust {{ authgear_trust_identity on; {pass} }}\n"
                )
            })
            .collect();
        let site = Site::builder()
            .place("fastcgi", fastcgi.addr())
            .place("script", fastcgi.script().display())
            .place("uwsgi", uwsgi.addr())
            .place("scgi", scgi.addr())
            .place("grpc", grpc.addr())
            .http("underscores_in_headers on; ignore_invalid_headers off;")
            .server(&locations)
            .start();
        Self {
            site,
            _fastcgi: fastcgi,
            _uwsgi: uwsgi,
            _scgi: scgi,
            _grpc: grpc,
        }
    }
}

#[test]
fn every_kind_of_upstream_receives_it() {
    let upstreams = Upstreams::start();
    let site = &upstreams.site;
    let mut http2 = site.nginx.http2();
    for kind in KINDS {
        let path = format!("/{kind}");
        for seen in [
            site.app_saw(get(&path).cookie(ALICE)),
            http2.request(get(&path).cookie(ALICE)).seen(),
        ] {
            assert!(same(&seen.identity(), &ALICE_IDENTITY), "{kind}: {seen:?}");
        }
        let seen = site.app_saw(get(&path).cookie(BOB));
        assert!(same(&seen.identity(), &BOB_IDENTITY), "{kind}: {seen:?}");
        let seen = site.app_saw(get(&path).cookie(CAROL));
        assert!(
            same(&seen.identity(), &INVALID_IDENTITY),
            "{kind}: {seen:?}"
        );
        for nobody in [get(&path), get(&path).bearer("gone")] {
            let seen = site.app_saw(nobody);
            assert!(seen.identity().is_empty(), "{kind}: {seen:?}");
        }
        for other in ["off", "no-identity"] {
            let seen = site.app_saw(get(&format!("/{kind}/{other}")).cookie(ALICE));
            assert!(seen.identity().is_empty(), "{kind}/{other}: {seen:?}");
        }
    }
}

#[test]
fn forged_headers_never_arrive_over_http1() {
    let upstreams = Upstreams::start();
    let site = &upstreams.site;
    let mut client = site.nginx.http1();
    for kind in KINDS {
        for name in polite_forgeries() {
            for (path, cookie, wanted) in [
                (format!("/{kind}"), BOB, &BOB_IDENTITY[..]),
                (format!("/{kind}"), "a=b", &[]),
                (format!("/{kind}/off"), BOB, &[]),
            ] {
                let forged = get(&path)
                    .cookie(cookie)
                    .header(&name, "forged")
                    .header("Last", "1");
                let seen = client.request(forged).seen();
                assert!(same(&seen.identity(), wanted), "{path} {name:?}: {seen:?}");
                assert_eq!(seen.get("Last"), Some("1"), "{path} {name:?}: {seen:?}");
            }
        }
        // nginx may refuse these itself.
        for name in rude_forgeries() {
            for path in [format!("/{kind}"), format!("/{kind}/off")] {
                let response = site.send(get(&path).cookie(BOB).header(&name, "forged"));
                let text = response.text();
                assert!(!text.contains("forged"), "{path} {name:?}: {text}");
                assert!(
                    matches!(response.status, 200 | 400),
                    "{path} {name:?}: {response:?}"
                );
            }
        }
    }
}

#[test]
fn forged_headers_never_arrive_over_http2() {
    let upstreams = Upstreams::start();
    let site = &upstreams.site;
    let mut client = site.nginx.http2();
    for kind in KINDS {
        for name in polite_forgeries() {
            for (path, cookie, wanted) in [
                (format!("/{kind}"), BOB, &BOB_IDENTITY[..]),
                (format!("/{kind}/off"), BOB, &[]),
            ] {
                let forged = get(&path)
                    .cookie(cookie)
                    .header(&name, "forged")
                    .header("Last", "1");
                let seen = client.request(forged).seen();
                assert!(same(&seen.identity(), wanted), "{path} {name:?}: {seen:?}");
                assert_eq!(seen.get("Last"), Some("1"), "{path} {name:?}: {seen:?}");
            }
        }
    }
}

#[test]
fn forged_headers_that_no_library_sends_never_arrive_over_http2() {
    let site = Site::builder()
        .http("underscores_in_headers on; ignore_invalid_headers off;")
        .server("location /off { proxy_pass http://%app%; }")
        .location("authgear_resolve http://%resolver%; proxy_pass http://%app%;")
        .start();
    let mut arrived = 0;
    for name in polite_forgeries().chain(rude_forgeries()) {
        for path in ["/", "/off"] {
            let headers = [("cookie", BOB), (name.as_str(), "forged"), ("last", "1")];
            if let Some(body) = raw_http2_get(site.nginx.addr("http2"), path, &headers) {
                let text = String::from_utf8_lossy(&body);
                assert!(!text.contains("forged"), "{path} {name:?}: {text}");
                arrived += usize::from(text.contains(r#"["last","1"]"#));
            }
        }
    }
    assert!(arrived > 2 * NAMES.len(), "well-formed requests are served");
}

#[test]
fn many_forged_headers_among_many_others_are_removed() {
    let site = Site::builder()
        .http("large_client_header_buffers 8 16k;")
        .location("authgear_resolve http://%resolver%; proxy_pass http://%app%;")
        .start();
    // More than one part of nginx's header list, in several mixes.
    for step in [1, 2, 3, 7] {
        let headers: Vec<(String, String)> = (0..60)
            .map(|n| {
                let name = if n % step == 0 {
                    format!("X-Authgear-User-{n}")
                } else {
                    format!("X-Other-{n}")
                };
                (name, format!("value-{n}"))
            })
            .collect();
        let seen = site.app_saw(
            get("/")
                .headers(headers.clone())
                .cookie(BOB)
                .header("X-Forwarded-For", "10.0.0.1"),
        );
        assert!(same(&seen.identity(), &BOB_IDENTITY), "{seen:?}");
        for (name, value) in headers.iter().filter(|(name, _)| !is_identity(name)) {
            assert_eq!(seen.get(name), Some(value.as_str()), "{name}");
        }
    }
}

#[test]
fn any_number_of_headers_is_rebuilt_right() {
    let site = Site::serving("authgear_resolve http://%resolver%; proxy_pass http://%app%;");
    let mut client = site.nginx.http1();
    // nginx keeps headers in parts of 20.
    for others in 0..=45 {
        for forged_at in [0, others / 2, others] {
            let mut headers: Vec<(String, String)> = (0..others)
                .map(|n| (format!("X-Other-{n}"), format!("value-{n}")))
                .collect();
            headers.insert(forged_at, ("X-Authgear-User-Id".into(), "forged".into()));
            for (cookie, wanted) in [(ALICE, &ALICE_IDENTITY[..]), ("a=b", &[])] {
                let request = get("/").headers(headers.clone()).cookie(cookie);
                let seen = client.request(request).seen();
                assert!(
                    same(&seen.identity(), wanted),
                    "{others} {forged_at}: {seen:?}"
                );
                let arrived = seen
                    .headers
                    .iter()
                    .filter(|(name, _)| name.starts_with("X-Other"));
                let arrived: Vec<_> = arrived.cloned().collect();
                headers.retain(|(name, _)| name.starts_with("X-Other"));
                assert_eq!(arrived, headers, "{others} {forged_at}");
                headers.insert(forged_at, ("X-Authgear-User-Id".into(), "forged".into()));
            }
        }
    }
}

#[test]
fn headers_that_only_resemble_identity_are_kept() {
    let site = Site::builder()
        .http("underscores_in_headers on; ignore_invalid_headers off;")
        .location("authgear_resolve http://%resolver%; proxy_pass http://%app%;")
        .start();
    for name in [
        "X-Authgear-Other",
        "X-Authgear-Users",
        "X-Authgear-User",
        "X-Authgear-Sessions-Id",
        "X-Authgear",
        "My-X-Authgear-User-Id",
        "Authgear-User-Id",
        "X-Authgearuser-Id",
    ] {
        let seen = site.app_saw(get("/").cookie(ALICE).header(name, "kept"));
        assert_eq!(seen.get(name), Some("kept"), "{name}");
    }
}

#[test]
fn nginx_itself_never_reads_a_forged_header() {
    let site = Site::builder()
        .http("map $http_x_authgear_user_id $mapped { '' nobody; default forged; }")
        .http("underscores_in_headers on;")
        .nginx(|nginx| nginx.log_format("$uri log=<$http_x_authgear_user_id>"))
        .server(
            "set $early $http_x_authgear_user_id;
             if ($http_x_authgear_user_verified = true) { return 403; }
             add_header early <$early>; add_header mapped $mapped; add_header read <$http_x_authgear_user_id>;
             location / { authgear_resolve http://%resolver%; proxy_pass http://%app%; }
             location /if { if ($http_x_authgear_session_valid) { return 403; } proxy_pass http://%app%; }
             location /rewrite { rewrite ^ /rewritten/$http_x_authgear_user_id break; proxy_pass http://%app%; }
             location /set { proxy_set_header Copy <$http_x_authgear_user_id>; proxy_pass http://%app%; }",
        )
        .start();
    let forged = |path: &str| {
        get(path)
            .header("X-Authgear-User-Id", "forged")
            .header("X_Authgear_User_Id", "forged")
            .header("X-Authgear-User-Verified", "true")
            .header("X-Authgear-Session-Valid", "true")
    };
    for path in ["/", "/if", "/rewrite", "/set"] {
        for response in [
            site.send(forged(path)),
            site.nginx.http2().request(forged(path)),
        ] {
            assert_eq!(response.header("early"), Some("<>"), "{path}");
            assert_eq!(response.header("mapped"), Some("nobody"), "{path}");
            assert_eq!(response.header("read"), Some("<>"), "{path}");
            let seen = response.seen();
            assert!(!format!("{seen:?}").contains("forged"), "{path}: {seen:?}");
        }
    }
    assert_eq!(site.nginx.wait_for_access("/set "), "/set log=<->");
}

#[test]
fn subrequests_never_carry_a_forged_header() {
    let page = "<!--# include virtual='/one' -->|<!--# include virtual='/two' -->";
    let site = Site::builder()
        .server(
            "location / { ssi on; root %prefix%/html; }
             location /one { authgear_resolve http://%resolver%; proxy_pass http://%app%; }
             location /two { proxy_pass http://%app%; }
             location /mirrored { mirror /mirror; proxy_pass http://%app%; }
             location = /mirror { internal; proxy_pass http://%app%; }",
        )
        .nginx(|nginx| nginx.file("html/page.html", page))
        .start();
    let forged = |path: &str| get(path).cookie(BOB).header("X-Authgear-User-Id", "forged");
    let text = site.send(forged("/page.html")).text();
    assert!(text.contains('|') && !text.contains("forged"), "{text}");

    let before = site.app.request_count();
    site.app_saw(forged("/mirrored"));
    eventually("the mirrored request", || {
        (site.app.request_count() == before + 2).then_some(())
    });
    assert!(site
        .app
        .requests()
        .iter()
        .all(|r| !format!("{r:?}").contains("forged")));
}

#[test]
fn a_subrequest_is_resolved_where_its_parent_was_not() {
    let page = "<!--# include virtual='/one' -->";
    let site = Site::builder()
        .server(
            "location / { ssi on; root %prefix%/html; }
             location /one { authgear_resolve http://%resolver%; proxy_pass http://%app%; }",
        )
        .nginx(|nginx| nginx.file("html/page.html", page))
        .start();
    let seen = Seen::parse(&site.send(get("/page.html").cookie(ALICE)).body);
    // auth_request does not run for subrequests either: no identity is right, another's is not.
    let right = seen.identity().is_empty() || same(&seen.identity(), &ALICE_IDENTITY);
    assert!(right, "{seen:?}");
}

#[test]
fn an_http_block_that_uses_the_module_anywhere_strips_everywhere() {
    let site = Site::builder()
        .http("server { listen %listen:other%; location / { proxy_pass http://%app%; } }")
        .server("location /used { authgear_resolve http://%resolver%; } location / { proxy_pass http://%app%; }")
        .start();
    let forged = || get("/").header("X-Authgear-User-Id", "forged");
    assert_eq!(site.app_saw(forged()).identity(), []);
    let mut other = authgear_integration::Http1::connect(site.nginx.addr("other"));
    assert_eq!(other.request(forged()).seen().identity(), []);
}

#[test]
fn a_module_that_is_loaded_but_not_used_changes_nothing() {
    let site = Site::serving("proxy_pass http://%app%;");
    let seen = site.app_saw(get("/").header("X-Authgear-User-Id", "from a gateway"));
    assert_eq!(seen.get("X-Authgear-User-Id"), Some("from a gateway"));
}

#[test]
fn trust_identity_lets_the_headers_of_a_gateway_through() {
    let upstreams = Upstreams::start();
    for kind in KINDS {
        let gateway = get(&format!("/{kind}/trust")).header("X-Authgear-User-Id", "from-gateway");
        let seen = upstreams.site.app_saw(gateway);
        assert_eq!(
            seen.get("x-authgear-user-id"),
            Some("from-gateway"),
            "{kind}"
        );
    }
}

#[test]
fn trust_identity_ends_where_it_is_off_again() {
    let site = Site::with_server(
        "authgear_trust_identity on;
         location / { proxy_pass http://%app%; add_header read <$http_x_authgear_user_id>; }
         location /strict { authgear_trust_identity off; proxy_pass http://%app%; add_header read <$http_x_authgear_user_id>; }
         location /resolves { authgear_trust_identity off; authgear_resolve http://%resolver%; proxy_pass http://%app%; }
         location /then { try_files $uri /strict; }",
    );
    let from = |path: &str| {
        site.send(
            get(path)
                .cookie(BOB)
                .header("X-Authgear-User-Id", "gateway"),
        )
    };
    assert_eq!(from("/").seen().get("x-authgear-user-id"), Some("gateway"));
    assert_eq!(from("/").header("read"), Some("<gateway>"));
    assert_eq!(from("/strict").seen().identity(), []);
    assert_eq!(from("/strict").header("read"), Some("<>"));
    assert!(same(&from("/resolves").seen().identity(), &BOB_IDENTITY));
    assert_eq!(from("/then").seen().identity(), []);
}

#[test]
fn a_location_that_trusts_and_resolves_passes_one_identity() {
    let site = Site::serving(
        "authgear_trust_identity on; authgear_resolve http://%resolver%; proxy_pass http://%app%;",
    );
    let seen = site.app_saw(
        get("/")
            .cookie(ALICE)
            .header("X-Authgear-User-Id", "gateway"),
    );
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
}

#[test]
fn pass_identity_off_keeps_the_variables() {
    let site = Site::serving(
        "authgear_resolve http://%resolver%; authgear_pass_identity off;
         proxy_set_header X-User $authgear_user_id; proxy_pass http://%app%;",
    );
    let seen = site.app_saw(
        get("/")
            .cookie(ALICE)
            .header("X-Authgear-User-Id", "forged"),
    );
    assert_eq!(seen.identity(), []);
    assert_eq!(seen.get("X-User"), Some("alice"));
}

#[test]
fn proxy_set_header_overrides_without_a_duplicate() {
    let site = Site::serving(
        "authgear_resolve http://%resolver%; proxy_pass http://%app%;
         proxy_set_header X-Authgear-User-Id <$authgear_user_id>;
         proxy_set_header X-Authgear-User-Roles '';",
    );
    let seen = site.app_saw(get("/").cookie(ALICE));
    assert_eq!(seen.get("x-authgear-user-id"), Some("<alice>"));
    assert_eq!(seen.get("x-authgear-user-roles"), None);
    assert_eq!(seen.get("x-authgear-user-verified"), Some("true"));
}

#[test]
fn proxy_pass_request_headers_off_drops_ours_too() {
    let site = Site::serving(
        "authgear_resolve http://%resolver%; proxy_pass_request_headers off; proxy_pass http://%app%;",
    );
    assert_eq!(site.identity_of_alice("/"), []);
}

#[test]
fn the_other_headers_arrive_unchanged() {
    let request = |path: &str| -> Request {
        get(path)
            .cookie(ALICE)
            .cookie("second=1")
            .header("Accept", "text/html")
            .header("X-Forwarded-For", "10.0.0.1")
            .header("X-Twice", "1")
            .header("X-Twice", "2")
            .header("Range", "bytes=0-1")
            .header("If-None-Match", "\"x\"")
    };
    let site = Site::with_server(
        "location / { authgear_resolve http://%resolver%; proxy_pass http://%app%; }
         location /simple { proxy_pass http://%app%; }",
    );
    let ours = site.app_saw(request("/"));
    let plain = site.app_saw(request("/simple"));
    let others: Vec<_> = ours
        .headers
        .iter()
        .filter(|(name, _)| !is_identity(name))
        .collect();
    assert_eq!(others, plain.headers.iter().collect::<Vec<_>>());
}
