//! Resolvers in an `upstream {}` group.

use std::time::{Duration, Instant};

use authgear_integration::{
    answer, eventually, get, nginx_t, people, Nginx, Port, Request, Scripted, Site, SiteBuilder,
    ALICE,
};
use authgear_resolver_double::Resolver;

/// Two resolvers, `%first%` and `%second%`, and a port where nobody listens, `%nobody%`.
struct Servers {
    first: Resolver,
    second: Resolver,
    nobody: Port,
}

impl Servers {
    fn start() -> Self {
        Self {
            first: Resolver::start(people()),
            second: Resolver::start(people()),
            nobody: Port::reserve(),
        }
    }

    /// A site whose location resolves at a group with these lines.
    fn site(&self, group: &str, directives: &str) -> Site {
        self.builder(directives)
            .http(&format!("upstream group {{ {group} }}"))
            .start()
    }

    fn builder(&self, directives: &str) -> SiteBuilder {
        Site::builder()
            .place("first", self.first.addr())
            .place("second", self.second.addr())
            .place("nobody", self.nobody.addr())
            .location(&format!(
                "authgear_resolve http://group; {directives} proxy_pass http://%app%;"
            ))
    }

    /// How many requests each has answered.
    fn asked(&self) -> (usize, usize) {
        (self.first.request_count(), self.second.request_count())
    }
}

fn alice() -> Request {
    get("/").cookie(ALICE)
}

fn is_served(site: &Site, times: usize) {
    for _ in 0..times {
        assert_eq!(site.send(alice()).status, 200);
    }
}

#[test]
fn servers_take_turns() {
    // The group, and how ten requests are shared.
    let table = [
        ("server %first%; server %second%;", (5, 5)),
        ("server %first% weight=4; server %second%;", (8, 2)),
        ("server %first%; server %second% down;", (10, 0)),
        ("server %first%; server %second% backup;", (10, 0)),
        ("least_conn; server %first%; server %second%;", (5, 5)),
        ("hash $uri; server %first% down; server %second%;", (0, 10)),
        ("zone group 64k; server %first%; server %second%;", (5, 5)),
    ];
    for (group, asked) in table {
        for keepalive in ["", "keepalive 4;"] {
            let servers = Servers::start();
            let site = servers.site(&format!("{group} {keepalive}"), "");
            is_served(&site, 10);
            assert_eq!(servers.asked(), asked, "{group} {keepalive}");
            for server in [&servers.first, &servers.second] {
                assert!(server.connections_accepted() <= 1, "{group} {keepalive}");
            }
        }
    }
}

#[test]
fn connections_are_kept_as_said_unless_the_group_says_it_itself() {
    // The group's lines, the location's, the connections that six requests at once and six one after
    // the other take, and those that are kept.
    let table = [
        ("", "", 6, 6),
        ("", "authgear_keepalive 2;", 6, 2),
        ("", "authgear_keepalive 0;", 12, 0),
        ("keepalive 3;", "authgear_keepalive 2;", 6, 3),
        ("keepalive 3;", "authgear_keepalive 0;", 6, 3),
    ];
    for (group, directives, connections, kept) in table {
        let servers = Servers::start();
        let site = servers.site(&format!("server %first%; {group}"), directives);
        servers.first.set_delay(Duration::from_millis(100));
        let mut clients: Vec<_> = (0..6).map(|_| site.nginx.http1()).collect();
        for client in &mut clients {
            client.send(alice().head());
        }
        for client in &mut clients {
            assert_eq!(client.read_response().status, 200);
        }
        servers.first.set_delay(Duration::ZERO);
        is_served(&site, 6);
        let at = format!("{group} {directives}");
        assert_eq!(servers.first.connections_accepted(), connections, "{at}");
        eventually(&at, || {
            (servers.first.connections_open() == kept).then_some(())
        });
    }
}

#[test]
fn a_group_of_the_application_too_keeps_its_connections_apart() {
    // The application is the resolver here, so that both could use a connection.
    for own in ["", "keepalive 4;"] {
        let servers = Servers::start();
        let site = servers
            .builder("")
            .http(&format!("upstream group {{ server %first%; {own} }}"))
            .server(
                "location /again { authgear_resolve http://group; proxy_pass http://%app%; }
                 location /proxy {
                     proxy_pass http://group/_resolver/resolve; proxy_http_version 1.1;
                     proxy_set_header Connection '';
                 }",
            )
            .start();
        for path in ["/", "/again", "/", "/again"] {
            assert_eq!(site.send(get(path).cookie(ALICE)).status, 200);
        }
        // Locations that say the same share what they keep.
        assert_eq!(servers.first.connections_accepted(), 1, "{own}");
        for path in ["/proxy", "/", "/proxy", "/again"] {
            assert_eq!(site.send(get(path).cookie(ALICE)).status, 200);
        }
        assert!(servers.first.connections_accepted() <= 3, "{own}");
    }
}

#[test]
fn the_same_client_meets_the_same_server() {
    for balancer in ["ip_hash;", "hash $remote_addr consistent;", "hash $scheme;"] {
        let servers = Servers::start();
        let site = servers.site(&format!("{balancer} server %first%; server %second%;"), "");
        is_served(&site, 6);
        assert!(
            [(6, 0), (0, 6)].contains(&servers.asked()),
            "{balancer} {:?}",
            servers.asked()
        );
    }
}

#[test]
fn least_conn_avoids_the_busy_server() {
    let servers = Servers::start();
    servers.first.set_delay(Duration::from_secs(1));
    let site = servers.site("least_conn; server %first%; server %second%;", "");
    let mut slow = site.nginx.http1();
    slow.send(alice().head());
    assert!(servers.first.wait_for_requests(1, Duration::from_secs(5)));
    is_served(&site, 5);
    assert_eq!(servers.asked(), (1, 5));
    assert_eq!(slow.read_response().status, 200);
}

#[test]
fn a_dead_server_costs_no_client_an_error_and_is_left_alone() {
    let servers = Servers::start();
    let site = servers.site("server %nobody%; server %first%;", "authgear_keepalive 0;");
    is_served(&site, 20);
    assert_eq!(servers.asked(), (20, 0));
    // With max_fails=1 it is tried once in ten seconds.
    let log = site.nginx.error_log();
    let refused = log.matches("connect() failed").count();
    assert!((1..=2).contains(&refused), "tried {refused} times");
}

#[test]
fn a_server_that_dies_costs_no_client_an_error() {
    for keepalive in ["", "keepalive 4;"] {
        let Servers { first, second, .. } = Servers::start();
        let site = Site::builder()
            .place("first", first.addr())
            .place("second", second.addr())
            .http(&format!(
                "upstream group {{ server %first%; server %second%; {keepalive} }}"
            ))
            .location("authgear_resolve http://group; proxy_pass http://%app%;")
            .start();
        is_served(&site, 4);
        first.stop();
        is_served(&site, 10);
        assert!(second.request_count() >= 12, "{keepalive}");
    }
}

#[test]
fn a_backup_serves_while_the_others_are_dead() {
    let servers = Servers::start();
    let site = servers.site("server %nobody%; server %second% backup;", "");
    is_served(&site, 5);
    assert_eq!(servers.asked(), (0, 5));
}

#[test]
fn without_a_living_server_requests_are_denied() {
    let servers = Servers::start();
    let site = servers.site("server %nobody%; server %nobody% backup;", "");
    for _ in 0..3 {
        assert_eq!(site.send(alice()).status, 503);
    }
    assert_eq!(site.app.request_count(), 0);
    site.nginx.wait_for_log("no live upstreams");
    site.nginx
        .wait_for_log("authgear: resolver could not be reached");
}

#[test]
fn a_server_that_does_not_answer_is_followed_by_the_next() {
    let deaf = Scripted::new(|conversation| conversation.wait_until_closed());
    let servers = Servers::start();
    let with_deaf = |directives: &str| {
        servers
            .builder(directives)
            .place("deaf", deaf.addr())
            .http("upstream group { server %deaf% max_fails=0; server %first% backup; }")
            .start()
    };
    let site = with_deaf("authgear_read_timeout 200ms;");
    is_served(&site, 2);
    assert_eq!(servers.asked(), (2, 0));

    // Not when there is no time left.
    let site = with_deaf("authgear_read_timeout 200ms; authgear_next_upstream_timeout 100ms;");
    let start = Instant::now();
    assert_eq!(site.send(alice()).status, 503);
    assert!(start.elapsed() < Duration::from_secs(2));
    site.nginx.wait_for_log("authgear: resolver timed out");

    let site = with_deaf("authgear_read_timeout 200ms; authgear_next_upstream error;");
    assert_eq!(site.send(alice()).status, 503);
    assert_eq!(servers.asked(), (2, 0));
}

#[test]
fn servers_may_be_unix_sockets() {
    let directory = tempfile::tempdir().expect("directory");
    let socket = directory.path().join("resolver.sock");
    let by_socket = Resolver::start_unix(&socket, people());
    let servers = Servers::start();
    let site = servers
        .builder("")
        .place("socket", socket.display())
        .http("upstream group { server unix:%socket%; server %first%; }")
        .start();
    is_served(&site, 6);
    assert_eq!(by_socket.request_count(), 3);
    assert_eq!(by_socket.connections_accepted(), 1);
    assert_eq!(servers.asked(), (3, 0));
}

#[test]
fn a_group_may_serve_the_app_too() {
    // An application that is its own resolver, on the connections of one group.
    let resolver = Scripted::answering(answer(
        200,
        &[
            ("X-Authgear-Session-Valid", "true"),
            ("X-Authgear-User-Id", "alice"),
        ],
    ));
    let site = Site::builder()
        .place("both", resolver.addr())
        .http("upstream group { server %both%; keepalive 4; }")
        .location(
            "authgear_resolve http://group; proxy_pass http://group;
             proxy_http_version 1.1; proxy_set_header Connection '';",
        )
        .start();
    is_served(&site, 5);
    assert_eq!(resolver.requests().len(), 10);
    assert!(resolver.connections() <= 2);
}

#[test]
fn a_group_may_be_defined_after_and_has_no_port() {
    let after = |url: &str| {
        Nginx::builder()
            .server(&format!("authgear_resolve {url};"))
            .http_after("upstream group { server 127.0.0.1:1; }")
    };
    assert_eq!(nginx_t(after("http://group")), Ok(()));
    assert_eq!(nginx_t(after("http://GROUP/resolve")), Ok(()));
    let builder = after("http://group:3001");
    let line = builder.line_of("authgear_resolve");
    let said = nginx_t(builder).expect_err("a port");
    assert!(
        said.contains("upstream \"group\" may not have port 3001"),
        "{said}"
    );
    assert!(said.contains(&format!("nginx.conf:{line}")), "{said}");
}
