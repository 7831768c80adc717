//! A client that leaves, at any stage, takes everything with it.

use std::time::Duration;

use authgear_integration::{deadline, eventually, get, post, Http1, Request, Site, ALICE};
use authgear_resolver_double::Fault;

fn alice() -> Request {
    get("/").cookie(ALICE)
}

fn site() -> Site {
    Site::serving("authgear_resolve http://%resolver%; proxy_pass http://%app%;")
}

/// Waits until the worker holds no more descriptors than before.
fn back_to(site: &Site, before: usize) {
    eventually("the worker's descriptors are closed", || {
        site.resolver.close_connections();
        site.app.close_connections();
        (site.nginx.worker_descriptors() <= before).then_some(())
    });
}

/// Descriptors of a worker that has served, and rests.
fn at_rest(site: &Site) -> usize {
    assert_eq!(site.send(alice()).status, 200);
    site.resolver.close_connections();
    eventually("the worker rests", || {
        let now = site.nginx.worker_descriptors();
        let settled = authgear_integration::holds_for(Duration::from_millis(50), || {
            site.nginx.worker_descriptors() == now
        });
        (settled && site.resolver.connections_open() == 0).then_some(now)
    })
}

#[test]
fn leaving_while_the_resolver_hangs_closes_its_connection() {
    type Leave = fn(Http1);
    let leave: [(&str, Leave); 3] = [
        ("reset", Http1::reset),
        ("close", |client| drop(client)),
        ("half-close", |mut client| {
            client.finish_sending();
            assert!(client.is_closed(), "nginx closes in turn");
        }),
    ];
    let site = site();
    let before = at_rest(&site);
    site.resolver.set_delay(Duration::from_secs(600));
    for (name, leave) in leave {
        for request in [alice(), post("/", "body").cookie(ALICE)] {
            let asked = site.resolver.request_count();
            let mut client = site.nginx.http1();
            client.send(request.head());
            client.send(request.wire_body());
            assert!(
                site.resolver.wait_for_requests(asked + 1, deadline()),
                "{name}"
            );
            leave(client);
            back_to(&site, before);
        }
    }
    let ended = site.nginx.access_log();
    assert_eq!(ended.matches(" 499").count(), 6, "{ended}");
}

#[test]
fn leaving_in_the_middle_of_an_upload_frees_everything() {
    let site = site();
    let before = at_rest(&site);
    let upload = post("/", vec![b'x'; 500_000]).cookie(ALICE);
    for delay in [Duration::ZERO, Duration::from_secs(600)] {
        site.resolver.set_delay(delay);
        let asked = site.resolver.request_count();
        let mut client = site.nginx.http1();
        client.send(upload.head());
        client.send(vec![b'x'; 100_000]);
        assert!(site.resolver.wait_for_requests(asked + 1, deadline()));
        client.reset();
        back_to(&site, before);
    }
}

#[test]
fn leaving_while_the_application_answers_frees_everything() {
    let site = site();
    let before = at_rest(&site);
    let asked = site.app.request_count();
    let mut client = site.nginx.http1();
    client.send(get("/slow?ms=600000").cookie(ALICE).head());
    assert!(site.app.wait_for_requests(asked + 1, deadline()));
    client.reset();
    back_to(&site, before);
}

#[test]
fn cancelling_a_stream_closes_only_its_resolve() {
    let site = site();
    let before = at_rest(&site);
    site.resolver.set_delay(Duration::from_millis(300));
    let mut client = site.nginx.http2();
    for round in 0..5 {
        let asked = site.resolver.request_count();
        let (stays, leaves) = (client.start(alice()), client.start(alice()));
        let upload = client.start(post("/", vec![b'x'; 200_000]).cookie(ALICE));
        assert!(
            site.resolver.wait_for_requests(asked + 3, deadline()),
            "{round}"
        );
        client.cancel(leaves);
        client.cancel(upload);
        assert_eq!(
            client.finish(stays).seen().get("x-authgear-user-id"),
            Some("alice")
        );
    }
    drop(client);
    back_to(&site, before);
}

#[test]
fn dropping_an_http2_connection_closes_all_its_resolves() {
    let site = site();
    let before = at_rest(&site);
    site.resolver.set_delay(Duration::from_secs(600));
    let asked = site.resolver.request_count();
    let mut client = site.nginx.http2();
    let pending: Vec<_> = (0..20).map(|_| client.start(alice())).collect();
    assert!(site.resolver.wait_for_requests(asked + 20, deadline()));
    drop((pending, client));
    back_to(&site, before);
}

#[test]
fn leaving_in_a_subrequest_frees_everything() {
    let site = Site::builder()
        .server(
            "location / { ssi on; authgear_resolve http://%resolver%; root %prefix%/html; }
             location /slow { authgear_resolve http://%resolver%; proxy_pass http://%app%; }",
        )
        .nginx(|nginx| {
            nginx.file(
                "html/index.html",
                "<!--# include virtual='/slow?ms=600000' -->",
            )
        })
        .start();
    let before = at_rest_of_page(&site);
    let mut client = site.nginx.http1();
    client.send(alice().head());
    eventually("the subrequest", || {
        (site
            .app
            .requests()
            .iter()
            .any(|r| r.target.ends_with("ms=600000")))
        .then_some(())
    });
    client.reset();
    back_to(&site, before);
}

/// As [`at_rest`], for a page that would never end.
fn at_rest_of_page(site: &Site) -> usize {
    assert_eq!(site.send(get("/missing").cookie(ALICE)).status, 404);
    site.resolver.close_connections();
    eventually("the worker rests", || {
        (site.resolver.connections_open() == 0).then(|| site.nginx.worker_descriptors())
    })
}

#[test]
fn ten_thousand_who_leave_cost_no_descriptor() {
    let count = if authgear_integration::Environment::get().valgrind {
        300
    } else {
        10_000
    };
    let site = Site::serving(
        "authgear_resolve http://%resolver%; authgear_keepalive 4; proxy_pass http://%app%;",
    );
    let before = at_rest(&site);
    site.resolver.set_delay(Duration::from_millis(2));

    let upload = post("/", vec![b'x'; 2000]).cookie(ALICE);
    for n in 0..count {
        let mut client = site.nginx.http1();
        match n % 8 {
            0 => client.send(&alice().head()[..20]),
            1 => client.send(upload.head()),
            2 => {
                client.send(upload.head());
                client.send(&upload.wire_body()[..1000]);
            }
            3 => {
                client.send(alice().head());
                client.send(alice().head());
            }
            4 => {
                client.send(alice().head());
                client.is_silent_for(Duration::from_micros(1500));
            }
            _ => client.send(alice().head()),
        }
        if n % 2 == 0 {
            client.reset();
        } else {
            drop(client);
        }
        // Not more at once than the worker has connections for.
        if n % 100 == 99 {
            assert_eq!(site.send(alice()).status, 200);
        }
    }
    site.resolver.set_delay(Duration::ZERO);
    back_to(&site, before);
    assert_eq!(
        site.send(alice()).seen().get("x-authgear-user-id"),
        Some("alice")
    );
}

#[test]
fn leaving_while_the_resolver_fails_is_no_error_of_another() {
    let site = site();
    site.resolver.set_delay(Duration::from_millis(50));
    site.resolver.fault_times(10, Fault::status(500));
    for _ in 0..10 {
        let asked = site.resolver.request_count();
        let mut client = site.nginx.http1();
        client.send(alice().head());
        assert!(site.resolver.wait_for_requests(asked + 1, deadline()));
        client.reset();
    }
    site.resolver.clear_fault();
    assert_eq!(
        site.app_saw(alice()).get("x-authgear-user-id"),
        Some("alice")
    );
}
