//! Many requests at once for one answer: one asks, the others wait for it.

use std::time::{Duration, Instant};

use authgear_integration::{
    deadline, eventually, get, people, Environment, Http1, Request, Response, Site, SiteBuilder,
    ALICE,
};
use authgear_resolver_double::{Fault, Session};
use rustix::process::{kill_process, Pid, Signal};

const HTTP: &str = "
    authgear_cache_zone zone=auth:1m;
    authgear_resolve http://%resolver%; authgear_cache auth;
    add_header cache $authgear_cache_status always;
    add_header user $authgear_user_id always;
    add_header worker $pid always;
";

/// A server of its own, whose workers share new connections evenly.
const SERVER: &str = "
    server {
        listen %listen:many% reuseport;
        root %prefix%/html; error_page 405 =200 $uri;
        location / { try_files /file =404; }
        location /short { authgear_cache_valid 300ms; try_files /file =404; }
        location /stale {
            authgear_cache_valid 300ms; authgear_cache_use_stale 1m; try_files /file =404;
        }
    }
";

/// Two hundred; fewer where nginx runs so slowly that the last would come after the answer.
fn many() -> usize {
    match Environment::get().valgrind {
        true => 20,
        false => 200,
    }
}

/// That long, on a machine that may have other things to do.
fn patience(ms: u64) -> Duration {
    match Environment::get().valgrind {
        true => deadline(),
        false => Duration::from_millis(ms),
    }
}

fn builder(workers: usize, directives: &str) -> SiteBuilder {
    Site::builder()
        .http(HTTP)
        .http(directives)
        .http_after(SERVER)
        .nginx(|nginx| nginx.workers(workers).file("html/file", "text"))
}

fn site(workers: usize, directives: &str) -> Site {
    builder(workers, directives).start()
}

/// Connections to the server of many.
fn connect(site: &Site, count: usize) -> Vec<Http1> {
    let addr = site.nginx.addr("many");
    (0..count).map(|_| Http1::connect(addr)).collect()
}

/// Sends the request on each connection before it reads the first response; with each response, how
/// long its client waited for it.
fn at_once(clients: &mut [Http1], request: &Request) -> Vec<(Response, Duration)> {
    let head = request.head();
    let sent: Vec<Instant> = clients
        .iter_mut()
        .map(|client| {
            client.send(&head);
            Instant::now()
        })
        .collect();
    let responses = clients.iter_mut().zip(sent);
    responses
        .map(|(client, sent)| (client.read_response(), sent.elapsed()))
        .collect()
}

fn alice(path: &str) -> Request {
    get(path).cookie(ALICE)
}

fn count(responses: &[(Response, Duration)], status: &str) -> usize {
    let matching = responses
        .iter()
        .filter(|(response, _)| response.header("cache") == Some(status));
    matching.count()
}

fn median(responses: &[(Response, Duration)]) -> Duration {
    let mut times: Vec<Duration> = responses.iter().map(|(_, time)| *time).collect();
    times.sort();
    times[times.len() / 2]
}

fn all_are_alices(responses: &[(Response, Duration)]) {
    for (response, _) in responses {
        let user = response.header("user");
        assert_eq!(
            (response.status, user),
            (200, Some("alice")),
            "{response:?}"
        );
    }
}

fn workers_of(responses: &[(Response, Duration)]) -> usize {
    let workers: std::collections::BTreeSet<_> = responses
        .iter()
        .map(|(response, _)| response.header("worker"))
        .collect();
    workers.len()
}

#[test]
fn two_hundred_at_once_with_a_new_session_ask_once() {
    for workers in [1, 4] {
        let site = site(workers, "");
        site.resolver.set_delay(Duration::from_millis(20));
        let responses = at_once(&mut connect(&site, many()), &alice("/"));
        all_are_alices(&responses);
        assert_eq!(workers_of(&responses), workers);
        assert_eq!(site.resolver.request_count(), 1, "{workers} workers");
        assert_eq!(count(&responses, "MISS"), 1);
        assert_eq!(
            count(&responses, "WAIT") + count(&responses, "HIT"),
            many() - 1
        );
        // A machine with more to do is slow; a poll every half second would show all the same.
        let median = median(&responses);
        assert!(median < patience(400), "{median:?}, {workers} workers");
    }
}

#[test]
fn two_hundred_at_once_on_an_expired_answer_ask_once() {
    for workers in [1, 4] {
        let site = site(workers, "");
        all_are_alices(&at_once(&mut connect(&site, 1), &alice("/short")));
        std::thread::sleep(Duration::from_millis(350));
        site.resolver.set_delay(Duration::from_millis(100));
        let responses = at_once(&mut connect(&site, many()), &alice("/short"));
        all_are_alices(&responses);
        assert_eq!(site.resolver.request_count(), 2, "{workers} workers");
        assert_eq!(count(&responses, "EXPIRED"), 1);
        assert_eq!(
            count(&responses, "WAIT") + count(&responses, "HIT"),
            many() - 1
        );
    }
}

/// Prints what the clients waited: `cargo test -- --ignored --nocapture waits`.
#[test]
#[ignore = "a measurement, for a machine with nothing else to do"]
fn what_two_hundred_clients_wait() {
    let delay = Duration::from_millis(20);
    for (name, workers, path) in [
        ("new session", 1, "/"),
        ("new session", 4, "/"),
        ("expired answer", 1, "/short"),
        ("expired answer", 4, "/short"),
    ] {
        let site = site(workers, "");
        let mut clients = connect(&site, many());
        let mut medians = Vec::new();
        for round in 0..11 {
            let request = if path == "/" {
                site.resolver.set_store(
                    people().session(Session::cookie(&format!("r{round}.secret"), "alice")),
                );
                get("/").cookie(&format!("session=r{round}.secret"))
            } else {
                alice(path)
            };
            if path == "/short" {
                site.resolver.set_delay(Duration::ZERO);
                all_are_alices(&at_once(&mut clients[..1], &request));
                std::thread::sleep(Duration::from_millis(400));
            }
            site.resolver.set_delay(delay);
            let before = site.resolver.request_count();
            let responses = at_once(&mut clients, &request);
            all_are_alices(&responses);
            assert_eq!(site.resolver.request_count(), before + 1);
            medians.push(median(&responses));
        }
        medians.sort();
        println!(
            "{name}, {workers} workers: median wait {:?} to {:?}, middle {:?}, resolver {delay:?}",
            medians[0], medians[10], medians[5]
        );
    }
}

#[test]
fn when_the_one_who_asks_leaves_another_asks() {
    for workers in [1, 4] {
        let site = site(workers, "");
        site.resolver.set_delay(Duration::from_millis(300));
        let mut owner = connect(&site, 1).remove(0);
        owner.send(alice("/").head());
        assert!(site.resolver.wait_for_requests(1, deadline()));
        let mut clients = connect(&site, 50);
        for client in &mut clients {
            client.send(alice("/").head());
        }
        std::thread::sleep(Duration::from_millis(100));
        owner.reset();
        let left = Instant::now();
        for client in &mut clients {
            let response = client.read_response();
            assert_eq!(response.header("user"), Some("alice"), "{response:?}");
        }
        assert!(left.elapsed() < patience(1500), "{:?}", left.elapsed());
        assert_eq!(site.resolver.request_count(), 2, "{workers} workers");
    }
}

#[test]
fn when_all_who_ask_leave_one_after_the_other_the_last_one_asks() {
    let site = site(4, "");
    site.resolver.set_delay(Duration::from_millis(300));
    let mut clients = connect(&site, 12);
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(alice("/").head());
        if n == 0 {
            assert!(site.resolver.wait_for_requests(1, deadline()));
        }
    }
    let mut last = clients.pop().expect("a client");
    for client in clients {
        std::thread::sleep(Duration::from_millis(30));
        client.reset();
    }
    assert_eq!(last.read_response().header("user"), Some("alice"));
    // Whoever asked may have been none of those who left.
    let calls = site.resolver.request_count();
    assert!((1..=12).contains(&calls), "{calls}");
}

#[test]
fn waiters_that_leave_are_no_loss() {
    let site = site(2, "");
    site.resolver.set_delay(Duration::from_millis(300));
    let mut owner = connect(&site, 1).remove(0);
    owner.send(alice("/").head());
    assert!(site.resolver.wait_for_requests(1, deadline()));
    for client in &mut connect(&site, 60) {
        client.send(alice("/").head());
    }
    std::thread::sleep(Duration::from_millis(50));
    let mut left = connect(&site, 20);
    for client in &mut left {
        client.send(alice("/").head());
    }
    for client in left.drain(10..) {
        client.reset();
    }
    for client in &mut left {
        assert_eq!(client.read_response().header("user"), Some("alice"));
    }
    assert_eq!(owner.read_response().header("user"), Some("alice"));
    assert_eq!(site.resolver.request_count(), 1);
}

#[test]
fn when_the_one_who_asks_is_killed_another_asks() {
    let mut site = builder(4, "").expect_in_log("exited on signal 9").start();
    site.resolver.set_delay(Duration::from_millis(500));
    let mut clients = connect(&site, many() / 2);
    for client in &mut clients {
        client.send(alice("/").head());
    }
    assert!(site.resolver.wait_for_requests(1, deadline()));
    std::thread::sleep(Duration::from_millis(100));
    let owner = owner_of_the_call(&site);
    kill_process(owner, Signal::KILL).expect("kill the worker");
    let killed = Instant::now();
    let mut served = 0;
    for client in &mut clients {
        // Those of the worker that is gone have lost their connection.
        let Ok(response) = client.read_response_to("GET") else {
            continue;
        };
        assert_eq!(response.header("user"), Some("alice"), "{response:?}");
        served += 1;
    }
    assert!(served >= many() / 10, "{served} were served");
    assert!(killed.elapsed() < patience(3000), "{:?}", killed.elapsed());
    assert_eq!(site.resolver.request_count(), 2);
    site.nginx.reload();
}

/// The worker that has a connection to the resolver.
fn owner_of_the_call(site: &Site) -> Pid {
    let port = format!(":{:04X}", site.resolver.addr().port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("connections");
    let inode = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields[2].ends_with(&port) && fields[3] == "01")
        .map(|fields| format!("socket:[{}]", fields[9]))
        .expect("a connection to the resolver");
    let holds = |pid: &u32| {
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        let mut links = descriptors
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.any(|link| link.to_string_lossy() == inode)
    };
    let pids = site.nginx.worker_pids();
    let owner = pids.iter().find(|pid| holds(pid)).expect("its worker");
    Pid::from_raw(*owner as i32).expect("a pid")
}

#[test]
fn those_who_wait_share_a_failure() {
    let faults: [(&str, Fault); 3] = [
        ("500", Fault::status(500)),
        ("closed", Fault::close()),
        ("garbage", Fault::garbage()),
    ];
    for (name, fault) in faults {
        for workers in [1, 4] {
            let site = site(workers, "authgear_next_upstream off;");
            site.resolver.set_delay(Duration::from_millis(300));
            site.resolver.set_fault(fault.clone());
            let responses = at_once(&mut connect(&site, many()), &alice("/"));
            for (response, _) in &responses {
                assert_eq!(response.status, 503, "{name}");
            }
            assert_eq!(
                site.resolver.request_count(),
                1,
                "{name}, {workers} workers"
            );
            let log = site.nginx.error_log();
            let ours = log
                .lines()
                .filter(|line| line.contains("[error]") && line.contains("authgear:"));
            assert_eq!(ours.count(), 1, "{name}");
        }
    }
}

#[test]
fn those_who_wait_share_an_answer_without_a_session() {
    for fault in [Fault::no_identity(), Fault::answer()] {
        let site = site(4, "");
        site.resolver.set_delay(Duration::from_millis(300));
        site.resolver.set_fault(fault);
        let responses = at_once(&mut connect(&site, many() / 2), &get("/").bearer("unknown"));
        for (response, _) in &responses {
            assert_eq!((response.status, response.header("user")), (200, None));
        }
        assert_eq!(site.resolver.request_count(), 1);
    }
}

#[test]
fn when_the_resolver_hangs_all_are_told_at_the_read_timeout() {
    for workers in [1, 4] {
        // As by default, the time to wait is that of the read.
        let site = site(
            workers,
            "authgear_read_timeout 2s; authgear_cache_lock_timeout 2s;",
        );
        site.resolver.set_fault(Fault::hang());
        let responses = at_once(&mut connect(&site, many()), &alice("/"));
        for (response, time) in &responses {
            assert_eq!(response.status, 503);
            assert!(*time < patience(4000), "{time:?}");
        }
        assert_eq!(site.resolver.request_count(), 1, "{workers} workers");
    }
}

#[test]
fn a_herd_on_a_stale_answer_asks_once() {
    let site = site(4, "");
    all_are_alices(&at_once(&mut connect(&site, 1), &alice("/stale")));
    std::thread::sleep(Duration::from_millis(350));
    site.resolver.set_fault(Fault::status(500));
    site.resolver.set_delay(Duration::from_millis(300));
    let responses = at_once(&mut connect(&site, many()), &alice("/stale"));
    all_are_alices(&responses);
    assert_eq!(count(&responses, "STALE"), many());
    assert_eq!(site.resolver.request_count(), 2);
}

#[test]
fn an_answer_wakes_other_workers_within_milliseconds() {
    let site = site(4, "");
    site.resolver.set_delay(Duration::from_millis(300));
    let mut clients = connect(&site, 40);
    // The best of several tries: the machine may have other things to do.
    let best = (0..5)
        .map(|round| {
            site.resolver
                .set_store(people().session(Session::cookie(&format!("w{round}.secret"), "alice")));
            let request = get("/").cookie(&format!("session=w{round}.secret"));
            let started = Instant::now();
            let responses = at_once(&mut clients, &request);
            all_are_alices(&responses);
            assert_eq!(workers_of(&responses), 4);
            started.elapsed()
        })
        .min();
    assert!(best < Some(patience(400)), "{best:?} for a call of 300 ms");
}

#[test]
fn many_sessions_at_once_ask_once_each() {
    let sessions = many() / 5;
    let store = (0..sessions).fold(people(), |store, n| {
        store.session(Session::cookie(&format!("m{n}.secret"), "alice"))
    });
    let site = builder(4, "").store(store).start();
    site.resolver.set_delay(Duration::from_millis(100));
    let mut clients = connect(&site, many());
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(
            get("/")
                .cookie(&format!("session=m{}.secret", n % sessions))
                .head(),
        );
    }
    for client in &mut clients {
        assert_eq!(client.read_response().header("user"), Some("alice"));
    }
    assert_eq!(site.resolver.request_count(), sessions);
    // The calls' connections are kept, as far as they may be.
    eventually("idle connections", || {
        (site.resolver.connections_open() <= 4 * 32).then_some(())
    });
}
