//! Names of resolvers, looked up while requests are served.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use authgear_integration::{
    eventually, get, holds_for, nginx_t, people, Authority, Dns, Http1, Nginx, Port, Request, Says,
    Site, SiteBuilder, TlsServer, ALICE,
};
use authgear_resolver_double::Resolver;

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// Resolvers at both addresses, on one port.
fn two_resolvers() -> (Port, Resolver, Resolver) {
    let port = Port::reserve();
    let at = |ip: IpAddr| {
        Resolver::builder()
            .store(people())
            .listen(SocketAddr::from((ip, port.addr().port())))
            .start()
            .expect("a loopback address")
    };
    let (first, second) = (at(FIRST), at(SECOND));
    (port, first, second)
}

/// A site that asks `auth.test`, whose addresses this server knows.
fn site(dns: &Dns, port: u16) -> SiteBuilder {
    Site::builder()
        .place("dns", dns.addr())
        .place("port", port)
        .http("resolver %dns%;")
        .location("authgear_resolve http://auth.test:%port%/resolve; proxy_pass http://%app%;")
}

fn alice() -> Request {
    get("/").cookie(ALICE)
}

fn status(site: &Site) -> u16 {
    site.send(alice()).status
}

/// Waits until a request reaches this resolver.
fn eventually_asked(site: &Site, resolver: &Resolver) {
    let before = resolver.request_count();
    eventually("the other address is used", || {
        assert_eq!(status(site), 200);
        (resolver.request_count() > before).then_some(())
    });
}

#[test]
fn a_name_follows_its_time_to_live() {
    let (port, first, second) = two_resolvers();
    let dns = Dns::knowing(FIRST, 2);
    let site = site(&dns, port.addr().port()).start();
    for _ in 0..5 {
        assert_eq!(status(&site), 200);
    }
    assert_eq!(dns.questions(), ["auth.test"]);
    assert_eq!(
        first.requests()[0].header("Host"),
        Some(&*format!("auth.test:{}", port.addr().port()))
    );

    dns.say(Says::Addresses(vec![SECOND], 60));
    eventually_asked(&site, &second);
    let asked = first.request_count();
    for _ in 0..5 {
        assert_eq!(status(&site), 200);
    }
    assert_eq!(first.request_count(), asked);
    assert_eq!(dns.questions().len(), 2);
}

#[test]
fn connections_are_kept() {
    let (port, first, _) = two_resolvers();
    let dns = Dns::knowing(FIRST, 0);
    let site = site(&dns, port.addr().port()).start();
    for _ in 0..5 {
        assert_eq!(status(&site), 200);
    }
    assert_eq!(first.request_count(), 5);
    assert_eq!(first.connections_accepted(), 1);
}

#[test]
fn a_failing_answer_keeps_the_last_address() {
    for failure in [Says::Code(2), Says::Code(3), Says::Silence] {
        let (port, first, second) = two_resolvers();
        let dns = Dns::knowing(FIRST, 1);
        let site = site(&dns, port.addr().port()).start();
        assert_eq!(status(&site), 200);

        dns.say(failure.clone());
        let before = dns.questions().len();
        eventually("the DNS is asked again", || {
            assert_eq!(status(&site), 200, "{failure:?}");
            (dns.questions().len() > before).then_some(())
        });
        site.nginx.wait_for_log("using its last addresses");
        // Now nobody waits for it, which would take two seconds.
        for _ in 0..20 {
            let start = Instant::now();
            assert_eq!(status(&site), 200, "{failure:?}");
            assert!(start.elapsed() < Duration::from_millis(1900), "{failure:?}");
        }
        assert_eq!(second.request_count(), 0);

        dns.say(Says::Addresses(vec![SECOND], 60));
        eventually_asked(&site, &second);
        site.nginx.wait_for_log("is resolved again");
        let asked = first.request_count();
        assert_eq!(status(&site), 200);
        assert_eq!(first.request_count(), asked);
    }
}

#[test]
fn a_name_need_not_be_known_at_start() {
    let (port, first, _) = two_resolvers();
    let dns = Dns::saying(Says::Code(3));
    let site = site(&dns, port.addr().port()).start();
    assert!(dns.questions().is_empty(), "nobody has asked yet");

    assert_eq!(status(&site), 503);
    let log = site.nginx.error_log();
    assert!(
        log.contains("\"auth.test\" could not be resolved (3: Host not found)"),
        "{log}"
    );
    assert!(log.contains("denying"), "{log}");
    assert_eq!(site.app.request_count(), 0);

    dns.say(Says::Addresses(vec![FIRST], 60));
    assert_eq!(status(&site), 200);
    assert_eq!(first.request_count(), 1);
}

#[test]
fn a_silent_dns_denies_in_time() {
    let dns = Dns::saying(Says::Silence);
    let site = site(&dns, 1).http("resolver_timeout 300ms;").start();
    assert_eq!(status(&site), 503);
    site.nginx
        .wait_for_log("could not be resolved (110: Operation timed out)");
}

#[test]
fn without_a_resolver_a_name_must_be_known_at_start() {
    let dns = Dns::knowing(FIRST, 60);
    let row = "authgear_resolve http://no-such-name.invalid:1;";
    let builder = || Nginx::builder().place("dns", dns.addr());
    assert_eq!(
        nginx_t(builder().server("resolver %dns%;").server(row)),
        Ok(())
    );
    // It counts where the directive is in force, not where it stands.
    let location = format!("location / {{\n{row}\n}} location /b {{ resolver %dns%; }}");
    let builder = builder().server(&location);
    let line = builder.line_of(row);
    let said = nginx_t(builder).expect_err("no resolver");
    assert!(
        said.contains("host not found in upstream \"no-such-name.invalid\""),
        "{said}"
    );
    assert!(said.contains(&format!("nginx.conf:{line}")), "{said}");
}

#[test]
fn each_location_has_its_own_resolver() {
    let (port, first, second) = two_resolvers();
    let (one, other) = (Dns::knowing(FIRST, 60), Dns::knowing(SECOND, 60));
    let site = Site::builder()
        .place("one", one.addr())
        .place("other", other.addr())
        .place("port", port.addr().port())
        .server("authgear_resolve http://auth.test:%port%; resolver %one%;")
        .server(
            "location /one { proxy_pass http://%app%; }
             location /other { resolver %other%; proxy_pass http://%app%; }",
        )
        .start();
    for (path, asked) in [("/one", (1, 0)), ("/other", (1, 1)), ("/one", (2, 1))] {
        assert_eq!(site.send(get(path).cookie(ALICE)).status, 200);
        assert_eq!((first.request_count(), second.request_count()), asked);
    }
}

#[test]
fn a_group_and_an_address_are_not_looked_up() {
    let dns = Dns::saying(Says::Silence);
    let site = Site::builder()
        .place("dns", dns.addr())
        .http("resolver %dns%;")
        .server(
            "location /before { authgear_resolve http://before; proxy_pass http://%app%; }
             location /after { authgear_resolve http://after; proxy_pass http://%app%; }
             location /address { authgear_resolve http://%resolver%; proxy_pass http://%app%; }
             location /variable { authgear_resolve http://$arg_to; proxy_pass http://%app%; }",
        )
        .http("upstream before { server %resolver%; }")
        .http_after("upstream after { server %resolver%; }")
        .start();
    let address = format!("/variable?to={}", site.resolver.addr());
    for path in [
        "/before",
        "/after",
        "/address",
        "/variable?to=after",
        &address,
    ] {
        assert_eq!(site.send(get(path).cookie(ALICE)).status, 200, "{path}");
    }
    assert!(dns.questions().is_empty());
}

#[test]
fn a_url_with_variables_may_have_a_name() {
    let (port, first, second) = two_resolvers();
    let dns = Dns::knowing(FIRST, 1);
    let site = Site::builder()
        .place("dns", dns.addr())
        .place("port", port.addr().port())
        .server(
            "location / {
                 resolver %dns%;
                 authgear_resolve http://$arg_to:%port%/resolve;
                 proxy_pass http://%app%;
             }
             location /none { authgear_resolve http://$arg_to:%port%; proxy_pass http://%app%; }",
        )
        .start();
    let to = |path: &str, name: &str| site.send(get(&format!("{path}?to={name}")).cookie(ALICE));
    assert_eq!(to("/", "one.test").status, 200);
    assert_eq!(to("/", "Two.Test").status, 200);
    assert_eq!(first.request_count(), 2);
    assert_eq!(first.connections_accepted(), 1);
    assert_eq!(dns.questions(), ["one.test", "two.test"]);

    dns.say(Says::Addresses(vec![SECOND], 1));
    eventually("the other address is used", || {
        assert_eq!(to("/", "one.test").status, 200);
        (second.request_count() > 0).then_some(())
    });

    assert_eq!(to("/none", "one.test").status, 503);
    site.nginx
        .wait_for_log("no \"resolver\" is defined to look it up");
}

#[test]
fn a_dead_address_costs_no_client_an_error() {
    let (port, first, _) = two_resolvers();
    let dns = Dns::saying(Says::Addresses(vec![NOBODY, FIRST], 60));
    let site = site(&dns, port.addr().port())
        .server("authgear_keepalive 0;")
        .start();
    for _ in 0..10 {
        assert_eq!(status(&site), 200);
    }
    assert_eq!(first.request_count(), 10);
}

#[test]
fn a_name_is_what_the_certificate_is_for() {
    let authority = Authority::new("Authority");
    let resolver = Resolver::start(people());
    let server = TlsServer::builder(&authority.issue("auth.test")).start(resolver.addr());
    let dns = Dns::knowing(FIRST, 60);
    let site = Site::builder()
        .place("dns", dns.addr())
        .place("tls_port", server.addr().port())
        .http("resolver %dns%; authgear_ssl_trusted_certificate %prefix%/ca.pem;")
        .nginx(|nginx| nginx.file("ca.pem", &authority.pem()))
        .location("authgear_resolve https://auth.test:%tls_port%; proxy_pass http://%app%;")
        .server(
            "location /other {
                 authgear_resolve https://other.test:%tls_port%;
                 proxy_pass http://%app%;
             }",
        )
        .start();
    for _ in 0..3 {
        assert_eq!(status(&site), 200);
    }
    assert_eq!(server.handshakes().len(), 1);
    assert_eq!(
        server.handshakes()[0].server_name.as_deref(),
        Some("auth.test")
    );
    assert_eq!(site.send(get("/other").cookie(ALICE)).status, 503);
    site.nginx.wait_for_log("does not match \"other.test\"");
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new("Authority");
    let resolver = Resolver::start(people());
    let server = TlsServer::builder(&authority.issue("auth.test")).start(resolver.addr());
    let dns = Dns::knowing(FIRST, 60);
    let site = Site::builder()
        .place("dns", dns.addr())
        .place("tls_port", server.addr().port())
        .http("resolver %dns%; authgear_ssl_trusted_certificate %prefix%/ca.pem;")
        .http("authgear_keepalive 0;")
        .nginx(|nginx| nginx.file("ca.pem", &authority.pem()))
        .location("authgear_resolve https://auth.test:%tls_port%; proxy_pass http://%app%;")
        .start();
    for _ in 0..3 {
        assert_eq!(status(&site), 200);
    }
    let resumed: Vec<bool> = server.handshakes().iter().map(|h| h.resumed).collect();
    assert_eq!(resumed, [false, true, true]);
}

#[test]
fn many_requests_wait_for_one_answer() {
    let (port, first, _) = two_resolvers();
    let dns = Dns::saying(Says::Silence);
    let site = site(&dns, port.addr().port()).start();
    let mut clients: Vec<Http1> = (0..20)
        .map(|_| Http1::connect(site.nginx.addr("http1")))
        .collect();
    for client in &mut clients {
        client.send(alice().head());
    }
    eventually("the question", || {
        (!dns.questions().is_empty()).then_some(())
    });
    // nginx asks again after five seconds.
    dns.say(Says::Addresses(vec![FIRST], 60));
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
    assert_eq!(first.request_count(), 20);
    assert_eq!(dns.questions().len(), 2);
}

#[test]
fn a_client_that_leaves_withdraws_its_question() {
    let dns = Dns::saying(Says::Silence);
    let site = site(&dns, 1).start();
    let leave = |path: &str, at_once: bool| {
        let mut client = Http1::connect(site.nginx.addr("http1"));
        client.send(get(path).cookie(ALICE).head());
        if !at_once {
            eventually("the question", || {
                (!dns.questions().is_empty()).then_some(())
            });
        }
        let left = Instant::now();
        drop(client);
        site.nginx.wait_for_access(&format!("GET {path} 499"));
        assert!(left.elapsed() < Duration::from_secs(2));
    };
    leave("/first", false);
    // From here on the DNS's own socket is open.
    let before = site.nginx.worker_descriptors();
    for path in ["/second", "/third", "/fourth"] {
        leave(path, true);
    }

    // The answer, when it comes, finds nobody; the worker serves on.
    dns.say(Says::Addresses(vec![NOBODY], 60));
    assert!(holds_for(Duration::from_millis(100), || {
        site.nginx.worker_pids().len() == 1
    }));
    assert_eq!(site.send(get("/")).status, 200);
    eventually("the connections are closed", || {
        (site.nginx.worker_descriptors() <= before).then_some(())
    });
}

#[test]
fn an_http2_client_that_leaves_withdraws_its_question() {
    let dns = Dns::saying(Says::Silence);
    let site = site(&dns, 1).start();
    let mut client = site.nginx.http2();
    let pending = client.start(alice());
    eventually("the question", || {
        (!dns.questions().is_empty()).then_some(())
    });
    client.cancel(pending);
    site.nginx.wait_for_access("GET / 499");
    assert_eq!(client.request(get("/")).status, 200);
}
