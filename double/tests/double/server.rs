//! Connections, records and the end of a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use authgear_resolver_double::{Fault, Listen, Resolver, Store};

use crate::client::{Client, End};
use crate::eventually;

#[test]
fn connections_are_kept_and_counted() {
    let resolver = Resolver::start(Store::new());
    assert_eq!(
        (resolver.connections_accepted(), resolver.connections_open()),
        (0, 0)
    );
    let mut first = Client::new(resolver.addr());
    let mut second = Client::new(resolver.addr());
    for _ in 0..50 {
        first.get("/resolve", "");
    }
    second.get("/resolve", "");
    assert_eq!(
        (resolver.connections_accepted(), resolver.connections_open()),
        (2, 2)
    );
    assert_eq!(resolver.request_count(), 51);
    let last = resolver.requests().pop().expect("a request");
    assert_eq!((last.connection, last.nth), (2, 1));

    drop(first);
    eventually("one is closed", || resolver.connections_open() == 1);
    assert_eq!(resolver.connections_accepted(), 2);
    resolver.close_connections();
    assert_eq!(second.end(), End::Closed);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let resolver = Resolver::start(Store::example());
    let mut client = Client::new(resolver.addr());
    let alice = "GET /resolve HTTP/1.1\r\nHost: a\r\nCookie: session=alice.secret\r\n\r\n";
    let nobody = "GET /resolve HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(&format!("{alice}{nobody}{alice}"));
    let valid: Vec<bool> = (0..3)
        .map(|_| client.response().get("x-authgear-session-valid").is_some())
        .collect();
    assert_eq!(valid, [true, false, true]);
}

#[test]
fn a_head_may_come_in_pieces() {
    let resolver = Resolver::start(Store::new());
    let mut client = Client::new(resolver.addr());
    for byte in b"GET /resolve HTTP/1.1\r\nHost: a\r\n\r\n" {
        client.send_bytes(&[*byte]);
        std::thread::sleep(Duration::from_micros(200));
    }
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_large_head_is_read() {
    let resolver = Resolver::start(Store::new());
    let mut client = Client::new(resolver.addr());
    let value = "x".repeat(100_000);
    assert_eq!(
        client
            .get("/resolve", &format!("X-Large: {value}\r\n"))
            .status,
        200
    );
    assert_eq!(
        resolver.requests()[0].header("x-large"),
        Some(value.as_str())
    );
}

#[test]
fn requests_can_be_waited_for_and_forgotten() {
    let resolver = Resolver::start(Store::new());
    resolver.set_fault(Fault::hang());
    assert!(!resolver.wait_for_requests(1, Duration::from_millis(20)));
    let addr = resolver.addr();
    let asking = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        let mut client = Client::new(addr);
        client.send("GET /resolve HTTP/1.1\r\nHost: a\r\n\r\n");
        client
    });
    assert!(resolver.wait_for_requests(1, Duration::from_secs(10)));
    drop(asking.join());
    resolver.clear_requests();
    assert_eq!(
        (resolver.request_count(), resolver.requests().len()),
        (0, 0)
    );
}

#[test]
fn only_the_last_requests_are_remembered() {
    let resolver = Resolver::builder().record(2).start().expect("start");
    let mut client = Client::new(resolver.addr());
    for number in 0..5 {
        client.get(&format!("/resolve?{number}"), "");
    }
    assert_eq!(resolver.request_count(), 5);
    let targets: Vec<String> = resolver
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(targets, ["/resolve?3", "/resolve?4"]);
}

#[test]
fn after_stop_nothing_is_left_and_the_port_is_free() {
    let resolver = Resolver::start(Store::new());
    let addr = resolver.addr();
    resolver.fault_once(Fault::hang());
    let mut hanging = Client::new(addr);
    hanging.send("GET /resolve HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(resolver.wait_for_requests(1, Duration::from_secs(10)));
    resolver.set_delay(Duration::from_secs(60));
    let mut delayed = Client::new(addr);
    delayed.send("GET /resolve HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(resolver.wait_for_requests(2, Duration::from_secs(10)));

    let start = Instant::now();
    resolver.stop();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(hanging.end(), End::Closed);
    assert_eq!(delayed.end(), End::Closed);
    assert!(TcpStream::connect(addr).is_err());

    let again = Resolver::builder()
        .listen(addr)
        .start()
        .expect("the same port");
    assert_eq!(again.addr(), addr);
    assert_eq!(Client::new(addr).get("/resolve", "").status, 200);
}

#[test]
fn unix_sockets_work_alone_and_beside_a_port() {
    let directory = std::env::temp_dir().join(format!("double-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("directory");
    let path = directory.join("resolver.sock");
    let ask = || {
        let mut stream = UnixStream::connect(&path).expect("connect");
        let request = b"GET /resolve HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("send");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    };

    let resolver = Resolver::start_unix(&path, Store::new());
    ask();
    assert_eq!(
        resolver.url(),
        format!("http://unix:{}:/_resolver/resolve", path.display())
    );
    let taken = Resolver::builder()
        .listen(Listen::Unix(path.clone()))
        .start();
    assert!(taken.is_err(), "somebody listens there");
    resolver.stop();
    assert!(!path.exists());

    // One that a crash left behind.
    drop(std::os::unix::net::UnixListener::bind(&path));
    let both = Resolver::builder()
        .listen("127.0.0.1:0".parse::<Listen>().expect("address"))
        .listen(Listen::Unix(path.clone()))
        .start()
        .expect("start");
    ask();
    assert_eq!(Client::new(both.addr()).get("/resolve", "").status, 200);
    assert_eq!(both.unix_path(), Some(path.as_path()));
    drop(both);
    std::fs::remove_dir_all(&directory).expect("directory");
}

#[test]
fn places_to_listen_are_read() {
    for text in ["127.0.0.1:0", "[::1]:80", "unix:/a"] {
        let listen: Listen = text.parse().expect(text);
        assert_eq!(listen.to_string(), text);
    }
    for text in ["", "localhost:80", "127.0.0.1", "/a"] {
        assert!(text.parse::<Listen>().is_err(), "{text}");
    }
}
