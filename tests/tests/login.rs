//! `authgear_login` and `$authgear_return_url`: to the login page and back to the very page, and
//! never to another server.

use std::process::Command;

use authgear_integration::{
    get, people, post, request, Nginx, Request, Response, Seen, Site, ALICE,
};
use authgear_resolver_double::{EchoApp, Resolver};

const PAGE_VISIT: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");

fn visit(path: &str) -> Request {
    get(path).header(PAGE_VISIT.0, PAGE_VISIT.1)
}

/// The set-up of `nginx-conf/login.conf`; the resolver double serves the login page.
struct LoginConf {
    nginx: Nginx,
    resolver: Resolver,
    _app: EchoApp,
}

impl LoginConf {
    fn start() -> Self {
        let resolver = Resolver::start(people());
        let app = EchoApp::start();
        let nginx = Nginx::builder()
            .place("resolver", resolver.addr())
            .place("app", app.addr())
            .shipped("login.conf", 8080)
            .replace("127.0.0.1:3001", "%resolver%")
            .replace("127.0.0.1:3000", "%resolver%")
            .replace("127.0.0.1:8000", "%app%")
            .start();
        Self {
            nginx,
            resolver,
            _app: app,
        }
    }

    /// Visits a page with this cookie, which is to lead to the login page, signs in as alice, and
    /// gives where the browser is sent then, and the cookie it has then.
    fn sign_in(&self, path: &str, cookie: &str) -> (String, String) {
        let denied = self.nginx.send(visit(path).cookie(cookie));
        assert_eq!(denied.status, 302, "{denied:?}");
        let login_page = denied.header("Location").expect("Location");
        assert!(login_page.starts_with("/oauth2/authorize?response_type=none&client_id=app&"));

        let page = self.nginx.send(visit(login_page).cookie(cookie));
        assert_eq!(page.status, 200, "{page:?}");
        let form = page.text();
        assert!(form.contains("action=\"/login\""), "{form}");
        let (_, encoded) = login_page.rsplit_once("redirect_uri=").expect(login_page);

        let body = format!("user=alice&redirect_uri={encoded}");
        let signed_in = self.nginx.send(
            post("/login", body)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .cookie(cookie),
        );
        assert_eq!(signed_in.status, 302, "{signed_in:?}");
        let cookie = signed_in
            .header("Set-Cookie")
            .and_then(|line| line.split(';').next())
            .unwrap_or(cookie);
        let back = signed_in.header("Location").expect("Location");
        (back.to_owned(), cookie.to_owned())
    }

    fn seen(&self, path: &str, cookie: &str) -> Seen {
        self.nginx.send(visit(path).cookie(cookie)).seen()
    }
}

#[test]
fn a_visit_ends_on_the_page_that_was_asked_for() {
    let site = LoginConf::start();
    for path in [
        "/app/report?x=1&y=2",
        "/app",
        "/app/?",
        "/app/a%20b/%C3%A9?q=%26%3D%3F&x=a+b",
        "/app//two/../slashes?redirect_uri=http://evil.example/",
    ] {
        let (back, cookie) = site.sign_in(path, "theme=dark");
        assert_eq!(back, format!("http://site.example{path}"));
        let seen = site.seen(path, &cookie);
        assert_eq!(seen.target, path);
        assert_eq!(seen.get("x-authgear-user-id"), Some("alice"), "{path}");
    }
}

#[test]
fn a_script_is_told_and_not_sent() {
    let site = LoginConf::start();
    for mode in ["cors", "same-origin", "no-cors"] {
        let response = site.nginx.send(
            get("/app/api")
                .header("Accept", "*/*")
                .header("Sec-Fetch-Mode", mode),
        );
        assert_eq!(response.status, 401, "{mode}");
        assert_eq!(response.header("Location"), None, "{mode}");
    }
}

#[test]
fn an_old_sign_in_is_renewed_and_a_logout_ends_it() {
    let site = LoginConf::start();
    let (_, cookie) = site.sign_in("/app", "theme=dark");
    assert_eq!(site.seen("/app/account", &cookie).target, "/app/account");

    let value = cookie.strip_prefix("session=").expect("a session");
    let is_aged = site.resolver.update_store(|store| {
        store.update_session(value, |session| {
            session.authenticated_at = Some(1_750_000_000)
        })
    });
    assert!(is_aged);
    assert_eq!(site.seen("/app", &cookie).target, "/app");
    let script = get("/app/account").cookie(&cookie);
    let challenge = "Bearer error=\"insufficient_user_authentication\", max_age=\"600\"";
    let response = site.nginx.send(script);
    assert_eq!(response.all("WWW-Authenticate"), [challenge]);

    let (back, renewed) = site.sign_in("/app/account?a=b", &cookie);
    assert_eq!(back, "http://site.example/app/account?a=b");
    assert_eq!(renewed, cookie, "Authgear keeps the cookie");
    assert_eq!(site.seen("/app/account", &cookie).target, "/app/account");

    site.nginx.send(visit("/logout").cookie(&cookie));
    let response = site.nginx.send(visit("/app").cookie(&cookie));
    assert_eq!(response.status, 302);
    site.nginx
        .wait_for_access("- \"GET /app HTTP/1.1\" 302 session");
}

/// Tells the return URL in a header, whatever the request.
fn returning() -> Site {
    Site::builder()
        .http("large_client_header_buffers 4 64k;")
        .server(
            "add_header X-Return $authgear_return_url always;
             authgear_resolve http://%resolver%;
             authgear_require session;
             authgear_login https://auth.example/?rd=$authgear_return_url;
             location / { proxy_pass http://%app%; }",
        )
        .start()
}

/// Sends a request line and headers as they are; Accept makes it a visit.
fn send_raw(site: &Site, head: &str) -> Response {
    let mut client = site.nginx.http1();
    client.send(format!(
        "{head}Accept: text/html\r\nConnection: close\r\n\r\n"
    ));
    client.read_response()
}

#[test]
fn the_return_url_is_as_the_client_wrote_it() {
    let site = returning();
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: site.example\r\n", "http%3A%2F%2Fsite.example%2F"),
        (
            "GET /a?x=1&y=2 HTTP/1.1\r\nHost: site.example:8080\r\n",
            "http%3A%2F%2Fsite.example%3A8080%2Fa%3Fx%3D1%26y%3D2",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: SITE.example\r\n",
            "http%3A%2F%2FSITE.example%2Fa",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: [::1]:8080\r\n",
            "http%3A%2F%2F%5B%3A%3A1%5D%3A8080%2Fa",
        ),
        (
            "GET /a%20b+c%2Fd?%26=%25 HTTP/1.1\r\nHost: a\r\n",
            "http%3A%2F%2Fa%2Fa%2520b%2Bc%252Fd%3F%2526%3D%2525",
        ),
        // What would split a header or a query stays encoded.
        (
            "GET /a%0D%0AX:y?b#c HTTP/1.1\r\nHost: a\r\n",
            "http%3A%2F%2Fa%2Fa%250D%250AX%3Ay%3Fb%23c",
        ),
        (
            "GET /a'\"<>|^`{} HTTP/1.1\r\nHost: a\r\n",
            "http%3A%2F%2Fa%2Fa%27%22%3C%3E%7C%5E%60%7B%7D",
        ),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n", "http%3A%2F%2Fa%2F%C3%A9"),
        // Whatever the target looks like, it is a path of this server.
        (
            "GET //evil.example/x HTTP/1.1\r\nHost: a\r\n",
            "http%3A%2F%2Fa%2F%2Fevil.example%2Fx",
        ),
        (
            "GET /\\evil.example/x HTTP/1.1\r\nHost: a\r\n",
            "http%3A%2F%2Fa%2F%5Cevil.example%2Fx",
        ),
        (
            "GET /@evil.example HTTP/1.1\r\nHost: a\r\n",
            "http%3A%2F%2Fa%2F%40evil.example",
        ),
        (
            "GET /.evil.example/../x HTTP/1.1\r\nHost: a\r\n",
            "http%3A%2F%2Fa%2F.evil.example%2F..%2Fx",
        ),
        // The absolute form, as a proxy would be asked.
        (
            "GET http://a:81/x?y HTTP/1.1\r\nHost: a:81\r\n",
            "http%3A%2F%2Fa%3A81%2Fx%3Fy",
        ),
        (
            "GET http://a HTTP/1.1\r\nHost: a\r\n",
            "http%3A%2F%2Fa%2F",
        ),
        (
            "GET http://evil.example/x HTTP/1.1\r\nHost: a\r\n",
            "http%3A%2F%2Fa%2Fx",
        ),
        // What other servers are told of the client's URL is not believed.
        (
            "GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n\
             X-Original-Host: evil.example\r\nForwarded: host=evil.example\r\n",
            "http%3A%2F%2Fa%2Fx",
        ),
    ] {
        let response = send_raw(&site, head);
        assert_eq!(response.status, 302, "{head:?}");
        assert_eq!(response.all("X-Return"), [expected], "{head:?}");
        let location = format!("https://auth.example/?rd={expected}");
        assert_eq!(response.all("Location"), [location], "{head:?}");
    }
}

#[test]
fn without_a_usable_host_there_is_no_return_url() {
    let site = returning();
    for host in [
        "",
        ":80",
        "a:",
        "a:0",
        "a:99999",
        "a:b",
        "a:80:80",
        "a@evil.example",
        "a:80@evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "a/evil",
        "a\\evil",
        "a?evil",
        "a#evil",
        "a%2eevil",
        "a evil.example",
        "a,evil.example",
        "a;evil",
        "a\tevil",
        "a\u{1}",
        "a\u{7f}",
        "b\u{fc}cher.example",
        "[::1",
        "[]",
        "[evil.example]",
        "[::1]evil",
        "http://evil.example",
    ] {
        for target in ["/x", "http://evil.example/x"] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n");
            let response = send_raw(&site, &head);
            // nginx refuses some of these itself.
            assert!(
                matches!(response.status, 302 | 400),
                "{head:?}: {response:?}"
            );
            assert_eq!(response.header("X-Return"), None, "{head:?}");
            let location = (response.status == 302).then_some("https://auth.example/?rd=");
            assert_eq!(response.header("Location"), location, "{head:?}");
        }
    }
    let without = send_raw(&site, "GET /x HTTP/1.0\r\n");
    assert_eq!(
        without.header("Location"),
        Some("https://auth.example/?rd=")
    );
    let two = send_raw(
        &site,
        "GET /x HTTP/1.1\r\nHost: a\r\nHost: evil.example\r\n",
    );
    let url = two.header("X-Return").unwrap_or("http%3A%2F%2Fa%2Fx");
    assert_eq!(url, "http%3A%2F%2Fa%2Fx", "the first, or a 400");
}

#[test]
fn a_very_long_url_comes_back_whole() {
    let site = returning();
    let query = "%/".repeat(30_000);
    let response = send_raw(&site, &format!("GET /?{query} HTTP/1.1\r\nHost: a\r\n"));
    assert_eq!(response.status, 302);
    let expected = format!("http%3A%2F%2Fa%2F%3F{}", "%25%2F".repeat(30_000));
    assert_eq!(response.all("X-Return"), [&expected]);
    let location = format!("https://auth.example/?rd={expected}");
    assert_eq!(response.all("Location"), [location]);
}

#[test]
fn the_return_url_over_http2() {
    let site = returning();
    let mut client = site.nginx.http2();
    for (authority, path, expected) in [
        (
            "site.example",
            "/a?x=1&y=2",
            "http%3A%2F%2Fsite.example%2Fa%3Fx%3D1%26y%3D2",
        ),
        (
            "site.example:8443",
            "//evil.example/",
            "http%3A%2F%2Fsite.example%3A8443%2F%2Fevil.example%2F",
        ),
        ("[::1]:8443", "/", "http%3A%2F%2F%5B%3A%3A1%5D%3A8443%2F"),
    ] {
        let response = client.request(visit(path).header("Host", authority));
        assert_eq!(response.all("X-Return"), [expected]);
        let location = format!("https://auth.example/?rd={expected}");
        assert_eq!(response.all("Location"), [location]);
    }
}

/// A second server, that speaks TLS, behind the one that the test can reach.
#[test]
fn the_return_url_over_tls_is_https() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (key, certificate) = (path("key.pem"), path("cert.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=site.example"])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl (run `make deps`)");
    assert!(made.status.success(), "{made:?}");

    let site = Site::builder()
        .place("key", &key)
        .place("certificate", &certificate)
        // nginx does not free a session that it keeps for a server when it ends, which is a leak to memcheck.
        .location(
            "proxy_pass https://%listen:tls%; proxy_set_header Host $http_host;
             proxy_ssl_session_reuse off;",
        )
        .http_after(
            "server {
                 listen %listen:tls% ssl;
                 ssl_certificate %certificate%;
                 ssl_certificate_key %key%;
                 authgear_resolve http://%resolver%;
                 authgear_require session;
                 authgear_login https://auth.example/?rd=$authgear_return_url;
             }",
        )
        .start();
    let response = site.send(visit("/a?b").header("Host", "site.example:8443"));
    assert_eq!(
        response.all("Location"),
        ["https://auth.example/?rd=https%3A%2F%2Fsite.example%3A8443%2Fa%3Fb"]
    );
}

/// Subrequests and internal redirects don't change it.
#[test]
fn the_return_url_is_the_clients_after_internal_redirects() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%;
         authgear_login https://auth.example/?rd=$authgear_return_url;
         location /a { rewrite ^ /b?other=1 last; }
         location /b { authgear_require session; proxy_pass http://%app%; }
         location /c { try_files /missing @named; }
         location @named { authgear_require session; proxy_pass http://%app%; }
         location /d { index index.html; authgear_require session; }",
    );
    for path in ["/a?x=1", "/c?x=1", "/d/?x=1"] {
        let response = site.send(visit(path));
        let encoded = path
            .replace('/', "%2F")
            .replace('?', "%3F")
            .replace('=', "%3D");
        let location = format!("https://auth.example/?rd=http%3A%2F%2Fsite.example{encoded}");
        assert_eq!(response.all("Location"), [location], "{path}");
    }
}

#[test]
fn a_relative_login_page_is_on_this_server() {
    let site = |lines: &str| {
        Site::serving(&format!(
            "authgear_resolve http://%resolver%; authgear_require session; {lines}
             authgear_login /login?rd=$authgear_return_url; proxy_pass http://%app%;"
        ))
    };
    let redirected = |lines: &str, request: Request| {
        let site = site(lines);
        let port = site.nginx.addr("http1").port().to_string();
        let response = site.send(request);
        assert_eq!(response.status, 302);
        let location = response.header("Location").expect("Location");
        location.replace(&port, "PORT")
    };
    let to = "/login?rd=http%3A%2F%2Fsite.example%2Fx";
    let with_off = redirected("absolute_redirect off;", visit("/x"));
    assert_eq!(with_off, to);
    // As nginx completes its own.
    let completed = redirected("", visit("/x"));
    assert_eq!(completed, format!("http://site.example:PORT{to}"));
    // A newer nginx refuses such a host itself.
    let hostile = site("absolute_redirect off;").send(visit("/x").header("Host", "a@evil"));
    let to = (hostile.status, hostile.header("Location"));
    assert!(
        [(302, Some("/login?rd=")), (400, None)].contains(&to),
        "{hostile:?}"
    );
}

/// A login URL that can't be a Location is none: 401, and a line in the error log.
#[test]
fn a_login_url_with_control_characters_is_not_sent() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%; authgear_require session;
         location / { authgear_login https://auth.example$uri; proxy_pass http://%app%; }
         location /empty { authgear_login $arg_to; proxy_pass http://%app%; }",
    );
    for path in [
        "/a%0d%0aSet-Cookie:%20a=b",
        "/a%0a",
        "/a%00",
        "/a%7f",
        "/empty",
    ] {
        let response = site.send(visit(path));
        assert!(matches!(response.status, 400 | 401), "{path}: {response:?}");
        assert_eq!(response.header("Location"), None, "{path}");
        assert_eq!(response.header("Set-Cookie"), None, "{path}");
    }
    site.nginx
        .wait_for_log("authgear_login is empty or has a control character");
    let response = site.send(visit("/good"));
    assert_eq!(response.all("Location"), ["https://auth.example/good"]);
}

/// The variable is there wherever nginx evaluates one, with the module in use or not.
#[test]
fn the_return_url_without_a_session_or_a_requirement() {
    let site = Site::with_server(
        "location / { return 200 $authgear_return_url; }
         location /off { authgear_resolve off; proxy_set_header X-Return $authgear_return_url; proxy_pass http://%app%; }
         location /on { authgear_resolve http://%resolver%; proxy_set_header X-Return $authgear_return_url; proxy_pass http://%app%; }",
    );
    assert_eq!(
        site.send(get("/a?b")).text(),
        "http%3A%2F%2Fsite.example%2Fa%3Fb"
    );
    for path in ["/off", "/on"] {
        for request in [get(path), get(path).cookie(ALICE), request("POST", path)] {
            let seen = site.app_saw(request);
            let expected = format!("http%3A%2F%2Fsite.example%2F{}", &path[1..]);
            assert_eq!(seen.get("X-Return"), Some(expected.as_str()));
        }
    }
}
