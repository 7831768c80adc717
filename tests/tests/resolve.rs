//! `authgear_resolve`: where a request is resolved, and how the resolver is reached.

use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use authgear_integration::{
    answer, deadline, eventually, get, people, Conversation, Http1, Port, Request, Scripted, Site,
    ALICE, ALICE_IDENTITY,
};
use authgear_resolver_double::Resolver;

const VALID: [(&str, &str); 2] = [
    ("X-Authgear-Session-Valid", "true"),
    ("X-Authgear-User-Id", "alice"),
];

fn alice() -> Request {
    get("/").cookie(ALICE)
}

fn sees_alice(site: &Site, path: &str) -> bool {
    let seen = site.identity_of_alice(path);
    seen.iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .eq(ALICE_IDENTITY)
}

#[test]
fn one_directive_authenticates_a_location() {
    let site = Site::serving("authgear_resolve http://%resolver%; proxy_pass http://%app%;");
    assert!(sees_alice(&site, "/"));
    assert_eq!(site.resolver.request_count(), 1);
}

#[test]
fn each_form_of_url_reaches_the_resolver() {
    // The URL, what is asked for, and of which host.
    let table = [
        ("http://%resolver%", "/_resolver/resolve", "%resolver%"),
        (
            "http://%resolver%/_resolver/resolve",
            "/_resolver/resolve",
            "%resolver%",
        ),
        ("http://%resolver%/resolve", "/resolve", "%resolver%"),
        (
            "http://localhost:%resolver_port%",
            "/_resolver/resolve",
            "localhost:%resolver_port%",
        ),
        ("http://before", "/_resolver/resolve", "before"),
        ("http://before/resolve", "/resolve", "before"),
        ("http://after", "/_resolver/resolve", "after"),
        (
            "http://own_keepalive",
            "/_resolver/resolve",
            "own_keepalive",
        ),
        ("http://$addr", "/_resolver/resolve", "%resolver%"),
        ("http://$addr/resolve", "/resolve", "%resolver%"),
        ("http://$addr$path", "/resolve", "%resolver%"),
        ("http://$group", "/_resolver/resolve", "before"),
        ("$url", "/resolve", "%resolver%"),
    ];
    let locations: Vec<String> = table
        .iter()
        .enumerate()
        .map(|(n, (url, ..))| {
            format!("location = /{n} {{ authgear_resolve {url}; proxy_pass http://%app%; }}")
        })
        .collect();
    let nobody = Port::reserve();
    let site = Site::builder()
        .place("nobody", nobody.addr())
        .http("upstream before { server %resolver%; }")
        .http("upstream own_keepalive { server %resolver%; keepalive 4; }")
        .http("map '' $addr { default %resolver%; }")
        .http("map '' $path { default /resolve; }")
        .http("map '' $group { default before; }")
        .http("map '' $url { default http://%resolver%/resolve; }")
        .server(&locations.join("\n"))
        .http("server { listen %listen:other%; return 204; }")
        .http_after("upstream after { server %resolver%; server %nobody% backup; }")
        .start();

    let resolver = site.resolver.addr();
    for (number, (url, target, host)) in table.iter().enumerate() {
        let host = host
            .replace("%resolver%", &resolver.to_string())
            .replace("%resolver_port%", &resolver.port().to_string());
        assert!(sees_alice(&site, &format!("/{number}")), "{url}");
        let requests = site.resolver.requests();
        let request = requests.last().expect("a request");
        assert_eq!(request.target, *target, "{url}");
        assert_eq!(request.header("Host"), Some(host.as_str()), "{url}");
        assert_eq!(requests.len(), number + 1, "{url}");
    }
}

#[test]
fn a_unix_socket_reaches_the_resolver() {
    let directory = tempfile::tempdir().expect("directory");
    let socket = directory.path().join("resolver.sock");
    let resolver = Resolver::start_unix(&socket, people());
    let site = Site::builder()
        .place("socket", socket.display())
        .server(
            "location /path { authgear_resolve http://unix:%socket%:/resolve; proxy_pass http://%app%; }
             location /no-path { authgear_resolve http://unix:%socket%; proxy_pass http://%app%; }",
        )
        .start();
    assert!(sees_alice(&site, "/path"));
    assert!(sees_alice(&site, "/no-path"));
    let requests = resolver.requests();
    let targets: Vec<&str> = requests.iter().map(|r| r.target.as_str()).collect();
    assert_eq!(targets, ["/resolve", "/_resolver/resolve"]);
    assert!(requests
        .iter()
        .all(|request| request.header("Host").is_some()));
}

#[test]
fn it_is_inherited_and_can_be_turned_off() {
    let site = Site::builder()
        .http("authgear_resolve http://%resolver%;")
        .server(
            "location /inherits { proxy_pass http://%app%; }
             location /off { authgear_resolve off; proxy_pass http://%app%;
                 location /off/on { authgear_resolve http://%resolver%/resolve; proxy_pass http://%app%; } }
             location /if { if ($arg_a) { proxy_pass http://%app%; } proxy_pass http://%app%; }",
        )
        .http("server { listen %listen:off%; authgear_resolve off; location / { proxy_pass http://%app%; } }")
        .http("server { listen %listen:on%; location / { proxy_pass http://%app%; } }")
        .start();

    for path in ["/inherits", "/off/on", "/if", "/if?a=1"] {
        assert!(sees_alice(&site, path), "{path}");
    }
    let calls = site.resolver.request_count();
    assert_eq!(calls, 4);
    assert_eq!(site.identity_of_alice("/off"), []);

    let at = |name: &str| {
        let mut client = Http1::connect(site.nginx.addr(name));
        client.request(alice()).seen().identity().len()
    };
    assert_eq!((at("off"), at("on")), (0, ALICE_IDENTITY.len()));
    assert_eq!(site.resolver.request_count(), calls + 1);
}

#[test]
fn static_files_are_resolved_too() {
    let site = Site::builder()
        .location("authgear_resolve http://%resolver%; add_header user $authgear_user_id;")
        .nginx(|nginx| nginx.file("html/page.html", "hello"))
        .start();
    let response = site.send(get("/page.html").cookie(ALICE));
    assert_eq!(
        (response.text().as_str(), response.header("user")),
        ("hello", Some("alice"))
    );
    let response = site.send(get("/").cookie(ALICE));
    assert_eq!(response.status, 403, "no index file");
    assert_eq!(site.resolver.request_count(), 2);
}

#[test]
fn a_request_without_credentials_is_not_resolved() {
    let site = Site::serving(
        "authgear_resolve http://%resolver%; proxy_pass http://%app%;
         add_header outcome '<$authgear_outcome>';",
    );
    let response = site.send(get("/").cookie("theme=dark"));
    assert_eq!(response.header("outcome"), Some("<none>"));
    assert_eq!(response.seen().identity(), []);
    assert_eq!(site.resolver.request_count(), 0);
}

#[test]
fn the_resolve_is_logged_as_a_subrequest_only_when_asked() {
    for (log_subrequest, lines) in [("off", 1), ("on", 2)] {
        let site = Site::builder()
            .location(&format!(
                "log_subrequest {log_subrequest};
                 authgear_resolve http://%resolver%; proxy_pass http://%app%;"
            ))
            .start();
        site.app_saw(alice());
        // The client's line is the last.
        let log = eventually("the line of the client's request", || {
            let log = site.nginx.access_log();
            (log.lines().count() >= lines).then_some(log)
        });
        let ended_well = log.lines().filter(|line| line.ends_with(" 200")).count();
        assert_eq!((ended_well, log.lines().count()), (lines, lines), "{log}");
    }
}

#[test]
fn set_header_adds_overrides_and_removes() {
    let site = Site::serving(
        "authgear_resolve http://%resolver%;
         authgear_set_header Host auth.example;
         authgear_set_header X-Forwarded-Host $host;
         authgear_set_header X-Forwarded-For $remote_addr;
         authgear_set_header user-agent '';
         authgear_set_header X-Empty $arg_nothing;
         authgear_set_header X-New 'one $request_method';
         proxy_pass http://%app%;",
    );
    let request = alice()
        .header("User-Agent", "browser")
        .header("X-Forwarded-For", "10.1.1.1")
        .header("Host", "shop.example");
    site.app_saw(request);

    let requests = site.resolver.requests();
    assert_eq!(requests[0].values("Host"), ["auth.example"]);
    assert_eq!(requests[0].values("X-Forwarded-Host"), ["shop.example"]);
    assert_eq!(requests[0].values("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(requests[0].values("X-New"), ["one GET"]);
    assert_eq!(requests[0].values("Cookie"), [ALICE]);
    assert_eq!(requests[0].header("User-Agent"), None);
    assert_eq!(requests[0].header("X-Empty"), None);
}

#[test]
fn set_header_is_inherited_only_by_a_level_that_sets_none() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%;
         authgear_set_header X-A server;
         location /inherits { proxy_pass http://%app%; }
         location /own { authgear_set_header X-B location; proxy_pass http://%app%; }",
    );
    site.app_saw(get("/inherits").cookie(ALICE));
    site.app_saw(get("/own").cookie(ALICE));

    let requests = site.resolver.requests();
    assert_eq!(
        (requests[0].header("X-A"), requests[0].header("X-B")),
        (Some("server"), None)
    );
    assert_eq!(
        (requests[1].header("X-A"), requests[1].header("X-B")),
        (None, Some("location"))
    );
    assert!(requests
        .iter()
        .all(|request| request.header("Cookie") == Some(ALICE)));
}

#[test]
fn connect_timeout_ends_the_wait_for_a_connection() {
    // Nobody accepts, and the queue is full: further connections stay half open.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    full.listen(0).unwrap();
    let addr = full.local_addr().unwrap().as_socket().unwrap();
    let queued: Vec<TcpStream> = (0..4)
        .map_while(|_| TcpStream::connect_timeout(&addr, Duration::from_millis(200)).ok())
        .collect();

    let site = Site::builder()
        .place("resolver", addr)
        .location(
            "authgear_resolve http://%resolver%; authgear_connect_timeout 300ms;
             authgear_read_timeout 60s; proxy_pass http://%app%;",
        )
        .start();
    let start = Instant::now();
    assert_eq!(site.send(alice()).status, 503);
    assert!(start.elapsed() >= Duration::from_millis(250));
    drop(queued);
}

#[test]
fn read_timeout_ends_the_wait_for_an_answer() {
    let resolver = Scripted::new(|conversation| {
        conversation.read_request();
        conversation.wait_until_closed();
    });
    let site = Site::serving_with(
        &resolver,
        "authgear_resolve http://%resolver%; authgear_read_timeout 300ms; proxy_pass http://%app%;",
    );
    let start = Instant::now();
    assert_eq!(site.send(alice()).status, 503);
    assert!(start.elapsed() >= Duration::from_millis(250));
}

#[test]
fn send_timeout_ends_the_wait_for_a_resolver_that_does_not_read() {
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.set_recv_buffer_size(4096).unwrap();
    deaf.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    deaf.listen(16).unwrap();
    let addr = deaf.local_addr().unwrap().as_socket().unwrap();

    // More than the kernel buffers on the way.
    let site = Site::builder()
        .place("resolver", addr)
        .http("large_client_header_buffers 10 1m;")
        .location(
            "authgear_resolve http://%resolver%; authgear_send_timeout 300ms;
             authgear_read_timeout 60s; proxy_pass http://%app%;
             authgear_set_header Big $http_a$http_b$http_c$http_d$http_e$http_f$http_g$http_h;",
        )
        .start();
    let big = "x".repeat(1_000_000);
    let request = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .iter()
        .fold(alice(), |request, name| request.header(name, &big));
    assert_eq!(site.send(request).status, 503);
    site.nginx.wait_for_log("while sending request to upstream");
}

#[test]
fn it_survives_reloads() {
    let mut site = Site::builder()
        .http("upstream group { server %resolver%; keepalive 4; }")
        .location("authgear_resolve http://%resolver%; proxy_pass http://%app%;")
        .server("location /group { authgear_resolve http://group; proxy_pass http://%app%; }")
        .nginx(|nginx| nginx.workers(2))
        .start();
    for _ in 0..3 {
        assert!(sees_alice(&site, "/"));
        assert!(sees_alice(&site, "/group"));
        site.nginx.reload();
    }
    assert!(sees_alice(&site, "/"));
}

#[test]
fn a_resolve_in_flight_outlives_a_reload() {
    let mut site = Site::serving("authgear_resolve http://%resolver%; proxy_pass http://%app%;");
    site.resolver.set_delay(Duration::from_millis(500));
    let mut client = site.nginx.http1();
    client.send(alice().head());
    assert!(site.resolver.wait_for_requests(1, deadline()));
    site.nginx.reload();
    let seen = client.read_response().seen();
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
}

#[test]
fn a_thousand_requests_share_the_connections_of_a_plain_url() {
    let site = Site::serving("authgear_resolve http://%resolver%; proxy_pass http://%app%;");
    let mut client = site.nginx.http1();
    for _ in 0..1000 {
        assert_eq!(client.request(alice()).status, 200);
    }
    assert_eq!(site.resolver.request_count(), 1000);
    assert!(site.resolver.connections_accepted() <= 2);
}

#[test]
fn a_group_keeps_its_connections() {
    for group in ["server %resolver%;", "server %resolver%; keepalive 2;"] {
        let site = Site::builder()
            .http(&format!("upstream group {{ {group} }}"))
            .location("authgear_resolve http://group; proxy_pass http://%app%;")
            .start();
        for _ in 0..50 {
            site.app_saw(alice());
        }
        assert!(site.resolver.connections_accepted() <= 2, "{group}");
    }
}

#[test]
fn keepalive_zero_makes_a_connection_for_each_request() {
    let site = Site::serving(
        "authgear_resolve http://%resolver%; authgear_keepalive 0; proxy_pass http://%app%;",
    );
    for _ in 0..5 {
        site.app_saw(alice());
    }
    assert_eq!(site.resolver.connections_accepted(), 5);
}

#[test]
fn keepalive_bounds_the_idle_connections() {
    let resolver = Scripted::new(|conversation| {
        while conversation.read_request().is_some() {
            // Long enough for the requests of the test to be here at once.
            std::thread::sleep(Duration::from_millis(100));
            conversation.send(answer(200, &VALID));
        }
    });
    let site = Site::serving_with(
        &resolver,
        "authgear_resolve http://%resolver%; authgear_keepalive 2; proxy_pass http://%app%;",
    );
    let mut clients: Vec<Http1> = (0..6).map(|_| site.nginx.http1()).collect();
    for client in &mut clients {
        client.send(alice().head());
    }
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
    eventually("the others are closed", || {
        (resolver.open_connections() == 2).then_some(())
    });
}

#[test]
fn a_stale_connection_from_the_pool_is_tried_again() {
    let ends: [fn(&mut Conversation); 2] = [Conversation::close, Conversation::reset];
    for end in ends {
        let resolver = Scripted::new(move |conversation| {
            conversation.read_request();
            conversation.send(answer(200, &VALID));
            // The next request meets a server that has just given up on the connection.
            conversation.read_request();
            end(conversation);
        });
        let site = Site::serving_with(
            &resolver,
            "authgear_resolve http://%resolver%; proxy_pass http://%app%;",
        );
        for _ in 0..4 {
            let seen = site.app_saw(alice());
            assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
        }
        assert_eq!(resolver.connections(), 4);
        assert_eq!(
            resolver.requests().len(),
            7,
            "each later request was sent twice"
        );
    }
}

#[test]
fn what_a_first_try_said_is_forgotten_by_the_second() {
    let resolver = Scripted::new(|conversation| {
        conversation.read_request();
        if conversation.number == 1 {
            conversation.send(answer(200, &VALID));
            conversation.read_request();
            conversation.send("HTTP/1.1 200 OK\r\nX-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: mallory\r\nX-Authgear-User-Roles: admin\r\nSet-Cookie: a=first\r\n");
            conversation.reset();
        } else {
            conversation.send(answer(200, &[VALID[0], ("X-Authgear-User-Id", "bob")]));
        }
    });
    let site = Site::serving_with(
        &resolver,
        "authgear_resolve http://%resolver%; proxy_pass http://%app%;",
    );
    site.app_saw(alice());
    let response = site.send(alice());
    assert_eq!(response.header("Set-Cookie"), None);
    let seen = response.seen();
    assert_eq!(seen.get("x-authgear-user-id"), Some("bob"));
    assert_eq!(seen.get("x-authgear-user-roles"), None);
}

#[test]
fn one_dead_server_of_two_costs_no_client_an_error() {
    let nobody = Port::reserve();
    let site = Site::builder()
        .place("nobody", nobody.addr())
        .http("upstream group { server %nobody% fail_timeout=0; server %resolver%; }")
        .location("authgear_resolve http://group; authgear_keepalive 0; proxy_pass http://%app%;")
        .start();
    for _ in 0..10 {
        assert!(sees_alice(&site, "/"));
    }
}

#[test]
fn next_upstream_decides_when_the_other_server_is_asked() {
    // The directives, what the first server says, and whether the second one is asked.
    let table = [
        ("", "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", false),
        (
            "authgear_next_upstream http_500;",
            "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        (
            "authgear_next_upstream http_502 http_503;",
            "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        (
            "authgear_next_upstream http_502 http_503;",
            "HTTP/1.1 504 X\r\nContent-Length: 0\r\n\r\n",
            false,
        ),
        (
            "authgear_next_upstream http_404;",
            "HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\nno",
            true,
        ),
        (
            "authgear_next_upstream http_403;",
            "HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        (
            "authgear_next_upstream http_429;",
            "HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        ("", "nonsense\r\n\r\n", false),
        (
            "authgear_next_upstream invalid_header;",
            "nonsense\r\n\r\n",
            true,
        ),
        ("", "", true),
        ("authgear_next_upstream off;", "", false),
        ("authgear_next_upstream_tries 1;", "", false),
        ("authgear_next_upstream_tries 2;", "", true),
    ];
    for (directives, first, second_is_asked) in table {
        let primary = Scripted::new(move |conversation| {
            conversation.read_request();
            conversation.send(first);
            conversation.close();
        });
        let site = Site::builder()
            .place("first", primary.addr())
            .http("upstream group { server %first% max_fails=0; server %resolver% backup; }")
            .location(&format!(
                "authgear_resolve http://group; {directives} proxy_pass http://%app%;"
            ))
            .start();
        let status = site.send(alice()).status;
        let wanted = if second_is_asked { 200 } else { 503 };
        assert_eq!(status, wanted, "{directives} {first:?}");
        let calls = usize::from(second_is_asked);
        assert_eq!(
            site.resolver.request_count(),
            calls,
            "{directives} {first:?}"
        );
    }
}

#[test]
fn a_name_is_resolved_at_start() {
    let builder = authgear_integration::Nginx::builder()
        .server("location / { authgear_resolve http://no-such-host.invalid; }");
    let refusal = authgear_integration::nginx_t(builder).unwrap_err();
    assert!(refusal.contains("no-such-host.invalid"), "{refusal}");
}
