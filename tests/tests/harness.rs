//! The harness itself, on an nginx without the module: what the other tests rest on.

use std::panic::{catch_unwind, AssertUnwindSafe};

use authgear_integration::{
    get, post, raw_http2_get, request, FastCgi, Grpc, Nginx, NginxBuilder, Scgi, Seen, Site, Uwsgi,
};
use authgear_resolver_double::fnv1a;

fn plain(directives: &str) -> Site {
    Site::builder()
        .nginx(|nginx| nginx.without_module())
        .location(directives)
        .start()
}

#[test]
fn the_application_tells_what_it_received() {
    let site = plain("proxy_pass http://%app%; proxy_http_version 1.1;");
    let mut http1 = site.nginx.http1();
    let mut http2 = site.nginx.http2();
    let body = vec![b'x'; 100_000];
    for request in [
        get("/a?b=c").header("X-Twice", "1").header("X-Twice", "2"),
        post("/a?b=c", body.clone())
            .header("X-Twice", "1")
            .header("X-Twice", "2"),
        request("PUT", "/a?b=c")
            .chunks([body.clone(), Vec::new(), b"end".to_vec()])
            .header("X-Twice", "1")
            .header("X-Twice", "2"),
    ] {
        let over_http1 = http1.request(request.clone()).seen();
        let over_http2 = http2.request(request).seen();
        for seen in [&over_http1, &over_http2] {
            assert_eq!(seen.target, "/a?b=c");
            assert_eq!(seen.all("x-twice"), ["1", "2"]);
        }
        assert_eq!(over_http1.body_digest, over_http2.body_digest);
        assert_eq!(over_http1.method, over_http2.method);
        match over_http1.body_length {
            0 => assert_eq!(over_http1.method, "GET"),
            100_000 => assert_eq!(over_http1.body_digest, fnv1a(&body)),
            length => assert_eq!((length, over_http1.method.as_str()), (100_003, "PUT")),
        }
    }
    let body = raw_http2_get(site.nginx.addr("http2"), "/", &[("x-raw", "1")]).expect("a response");
    assert_eq!(Seen::parse(&body).get("x-raw"), Some("1"));
}

#[test]
fn every_kind_of_upstream_tells_what_it_received() {
    let (fastcgi, uwsgi) = (FastCgi::start(), Uwsgi::start());
    let (scgi, grpc) = (Scgi::start(), Grpc::start());
    let site = Site::builder()
        .nginx(|nginx| nginx.without_module())
        .place("fastcgi", fastcgi.addr())
        .place("script", fastcgi.script().display())
        .place("uwsgi", uwsgi.addr())
        .place("scgi", scgi.addr())
        .place("grpc", grpc.addr())
        .http("underscores_in_headers on; ignore_invalid_headers off;")
        .server(
            "location /fastcgi { fastcgi_pass %fastcgi%; fastcgi_param REQUEST_METHOD GET; fastcgi_param SCRIPT_FILENAME %script%; }
             location /uwsgi { uwsgi_pass %uwsgi%; uwsgi_param REQUEST_METHOD GET; uwsgi_param SERVER_PROTOCOL HTTP/1.1; uwsgi_param REQUEST_URI $uri; }
             location /scgi { scgi_pass %scgi%; scgi_param REQUEST_METHOD GET; }
             location /grpc { grpc_pass grpc://%grpc%; }
             location /proxy { proxy_pass http://%app%; }",
        )
        .start();
    for kind in ["proxy", "fastcgi", "uwsgi", "scgi", "grpc"] {
        let seen = site.app_saw(
            get(&format!("/{kind}"))
                .header("X-Authgear-User-Id", "1")
                .header("X_Authgear_User_Roles", "2")
                .header("X.Authgear.User.Verified", "3"),
        );
        let values: Vec<_> = seen
            .identity()
            .into_iter()
            .map(|(_, value)| value)
            .collect();
        assert_eq!(values.len(), 3, "{kind}: {seen:?}");
    }
}

#[test]
fn a_bad_line_in_the_error_log_fails_the_test() {
    let run = |builder: NginxBuilder| {
        catch_unwind(AssertUnwindSafe(|| {
            // A socket that is not there is [crit] for nginx.
            let nginx = builder
                .without_module()
                .server("location / { proxy_pass http://unix:%prefix%/nobody.sock; }")
                .start();
            assert_eq!(nginx.send(get("/")).status, 502);
        }))
    };
    assert!(run(Nginx::builder().expect_in_log("nobody.sock")).is_ok());
    assert!(run(Nginx::builder()).is_err());
}

#[test]
fn a_reload_replaces_the_workers() {
    let mut nginx = Nginx::builder().without_module().workers(2).start();
    let before = nginx.worker_pids();
    nginx.reload();
    let after = nginx.worker_pids();
    assert_eq!((before.len(), after.len()), (2, 2));
    assert!(before.iter().all(|pid| !after.contains(pid)));
    assert_eq!(nginx.send(get("/")).status, 403);
}
