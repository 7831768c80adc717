//! `https://`: the resolver over TLS.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use authgear_integration::{
    answer, eventually, get, nginx_t, people, Authority, Environment, Http1, Identity, Nginx,
    Scripted, Site, SiteBuilder, TlsServer, ALICE, ALICE_IDENTITY,
};
use authgear_resolver_double::Resolver;
use rustix::process::{kill_process, Pid, Signal};

const NAME: &str = "auth.example";
/// What follows nginx's own line about a call that has failed.
const DENIED: &str = "authgear: resolver could not be reached or gave no usable response, denying";

/// nginx's versions go on to say it in different words.
const UNTRUSTED: &str = "upstream SSL certificate verify error: (2";

/// An authority, and a resolver that speaks TLS in front of one that does not.
struct Tls {
    authority: Authority,
    server: TlsServer,
    resolver: Resolver,
}

impl Tls {
    fn start() -> Self {
        let authority = Authority::new("Authority");
        let identity = authority.issue(NAME);
        Self::with(authority, &identity)
    }

    fn with(authority: Authority, identity: &Identity) -> Self {
        let resolver = Resolver::start(people());
        let server = TlsServer::builder(identity).start(resolver.addr());
        Self {
            authority,
            server,
            resolver,
        }
    }

    /// A site that knows the resolver as a group of its name, and the authority as `ca.pem`.
    fn site(&self) -> SiteBuilder {
        site(self.server.addr(), &self.authority)
    }

    fn handshakes(&self) -> usize {
        self.server.handshakes().len()
    }
}

fn site(server: SocketAddr, authority: &Authority) -> SiteBuilder {
    Site::builder()
        .place("tls", server)
        .http(&format!("upstream {NAME} {{ server %tls%; }}"))
        .nginx(|nginx| nginx.file("ca.pem", &authority.pem()))
}

const TRUST: &str = "authgear_ssl_trusted_certificate %prefix%/ca.pem;";

/// A location with these directives, over TLS.
fn location(path: &str, directives: &str) -> String {
    format!(
        "location {path} {{ authgear_resolve https://{NAME}; {directives} proxy_pass http://%app%; }}"
    )
}

fn sees_alice(site: &Site, path: &str) -> bool {
    let response = site.send(get(path).cookie(ALICE));
    response.status == 200
        && response
            .seen()
            .identity()
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .eq(ALICE_IDENTITY)
}

/// The request is denied, and the log says why in nginx's words and then in ours.
fn is_denied_for(site: &Site, path: &str, why: &str) {
    let response = site.send(get(path).cookie(ALICE));
    assert_eq!(response.status, 503);
    site.nginx.wait_for_log(DENIED);
    let log = site.nginx.error_log();
    let (nginx, ours) = (log.find(why), log.find(DENIED));
    assert!(nginx.is_some() && nginx < ours, "{why:?} not in\n{log}");
}

#[test]
fn a_resolver_with_the_right_certificate_is_believed() {
    let tls = Tls::start();
    let site = tls.site().server(&location("/", TRUST)).start();
    assert!(sees_alice(&site, "/"));

    let handshakes = tls.server.handshakes();
    assert_eq!(handshakes.len(), 1);
    assert_eq!(handshakes[0].server_name.as_deref(), Some(NAME));
    assert_eq!(handshakes[0].version, "TLSv1.3");
    let request = &tls.resolver.requests()[0];
    assert_eq!(request.header("Host"), Some(NAME));
    assert_eq!(request.target, "/_resolver/resolve");
}

#[test]
fn a_resolver_with_a_wrong_certificate_is_not_asked() {
    let authority = Authority::new("Authority");
    let stranger = Authority::new("Stranger");
    let rows = [
        (
            authority.issue("other.example"),
            "upstream SSL certificate does not match \"auth.example\"",
        ),
        (authority.issue_expired(NAME), "certificate has expired"),
        (stranger.issue(NAME), UNTRUSTED),
    ];
    for (identity, why) in rows {
        let tls = Tls::with(authority.clone(), &identity);
        let site = tls
            .site()
            .server(&location("/", TRUST))
            .server(&location("/unverified", "authgear_ssl_verify off;"))
            .start();
        is_denied_for(&site, "/", why);
        assert_eq!(tls.resolver.request_count(), 0, "{why}");
        assert_eq!(site.app.request_count(), 0, "{why}");

        // Not even after others have, with less verification, been successful there.
        assert!(sees_alice(&site, "/unverified"), "{why}");
        assert_eq!(site.send(get("/").cookie(ALICE)).status, 503, "{why}");
        assert_eq!(tls.resolver.request_count(), 1, "{why}");
    }
}

#[test]
fn the_system_is_trusted_by_default() {
    let tls = Tls::start();
    let site = tls.site().server(&location("/", "")).start();
    is_denied_for(&site, "/", UNTRUSTED);

    let site = tls
        .site()
        .server(&location("/", ""))
        .nginx(|nginx| nginx.env("SSL_CERT_FILE", "%prefix%/ca.pem"))
        .start();
    assert!(sees_alice(&site, "/"));
}

#[test]
fn a_chain_is_verified_to_its_depth() {
    let authority = Authority::new("Authority");
    let intermediate = authority.intermediate("Intermediate");
    let resolver = Resolver::start(people());
    let server = TlsServer::builder(&intermediate.issue(NAME))
        .chain(&intermediate)
        .start(resolver.addr());
    let site = site(server.addr(), &authority)
        .server(&location("/", TRUST))
        .server(&location(
            "/shallow",
            &format!("{TRUST} authgear_ssl_verify_depth 0;"),
        ))
        .start();
    assert!(sees_alice(&site, "/"));
    is_denied_for(&site, "/shallow", "upstream SSL certificate verify error");
}

#[test]
fn a_revoked_certificate_is_refused() {
    let authority = Authority::new("Authority");
    let revoked = authority.issue(NAME);
    let tls = Tls::with(authority.clone(), &revoked);
    let crl = |serials: &[&Identity]| revocations(&authority, serials);
    let directives = |file| format!("{TRUST} authgear_ssl_crl %prefix%/{file};");
    let site = tls
        .site()
        .nginx(|nginx| nginx.file("none.pem", &crl(&[])))
        .nginx(|nginx| nginx.file("revoked.pem", &crl(&[&revoked])))
        .server(&location("/", &directives("none.pem")))
        .server(&location("/revoked", &directives("revoked.pem")))
        .start();
    assert!(sees_alice(&site, "/"));
    is_denied_for(&site, "/revoked", "certificate revoked");
}

/// A revocation list of this authority.
fn revocations(authority: &Authority, revoked: &[&Identity]) -> String {
    let directory = tempfile::tempdir().expect("directory");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("file");
    };
    let lines: Vec<String> = revoked
        .iter()
        .map(|identity| {
            let serial = identity.certificate.serial_number().to_bn();
            let serial = serial.and_then(|s| s.to_hex_str()).expect("serial");
            format!("R\t391231235959Z\t200101000000Z\t{serial}\tunknown\t/CN=revoked\n")
        })
        .collect();
    write("index", &lines.concat());
    write("ca.pem", &authority.pem());
    write("ca.key", &authority.identity().key_pem());
    write(
        "ca.conf",
        "[ca]\ndefault_ca=it\n[it]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=30\n",
    );
    let output = Command::new("openssl")
        .args(["ca", "-gencrl", "-config", "ca.conf"])
        .args(["-cert", "ca.pem", "-keyfile", "ca.key"])
        .current_dir(&directory)
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("PEM")
}

#[test]
fn a_client_certificate_is_shown_where_demanded() {
    let authority = Authority::new("Authority");
    let client = authority.issue("nginx.example");
    let resolver = Resolver::start(people());
    // nginx holds this alert to be critical.
    const REQUIRED: &str = "alert certificate required";
    let server = TlsServer::builder(&authority.issue(NAME))
        .demand(&authority)
        .start(resolver.addr());
    let site = site(server.addr(), &authority)
        .expect_in_log(REQUIRED)
        .nginx(|nginx| nginx.file("client.pem", &client.pem()))
        .nginx(|nginx| nginx.file("client.key", &client.key_pem()))
        .server(&location("/", TRUST))
        .server(&location(
            "/client",
            &format!(
                "{TRUST} authgear_ssl_certificate client.pem; authgear_ssl_certificate_key client.key;"
            ),
        ))
        .start();
    is_denied_for(&site, "/", REQUIRED);
    assert_eq!(resolver.request_count(), 0);
    assert!(sees_alice(&site, "/client"));
    let handshakes = server.handshakes();
    assert_eq!(handshakes[0].client.as_deref(), Some("nginx.example"));
}

#[test]
fn the_name_is_configurable() {
    let tls = Tls::start();
    let url = "authgear_resolve https://%tls%;";
    let by_address = |path: &str, directives: &str| {
        format!("location {path} {{ {url} {TRUST} {directives} proxy_pass http://%app%; }}")
    };
    let site = tls
        .site()
        .server(&by_address("/address", ""))
        .server(&by_address("/named", "authgear_ssl_name auth.example;"))
        .server(&by_address("/asked", "authgear_ssl_name $arg_name;"))
        .server(&by_address(
            "/quiet",
            "authgear_ssl_name auth.example; authgear_ssl_server_name off; authgear_keepalive 0;",
        ))
        .start();
    let names = || -> Vec<Option<String>> {
        let handshakes = tls.server.handshakes();
        handshakes.into_iter().map(|h| h.server_name).collect()
    };
    is_denied_for(&site, "/address", "does not match \"127.0.0.1\"");
    assert!(sees_alice(&site, "/named"));
    assert!(sees_alice(&site, "/quiet"));
    let name = Some(NAME.to_owned());
    assert_eq!(names(), [None, name.clone(), None]);

    // A connection kept for one name is not used for another.
    assert!(sees_alice(&site, "/asked?name=auth.example"));
    assert!(sees_alice(&site, "/asked?name=auth.example"));
    let asked = tls.resolver.request_count();
    for other in ["other.example", ""] {
        let response = site.send(get(&format!("/asked?name={other}")).cookie(ALICE));
        assert_eq!(response.status, 503, "{other:?}");
    }
    assert_eq!(tls.resolver.request_count(), asked);
}

#[test]
fn connections_are_kept() {
    let tls = Tls::start();
    let site = tls.site().server(&location("/", TRUST)).start();
    for _ in 0..5 {
        assert!(sees_alice(&site, "/"));
    }
    assert_eq!(tls.handshakes(), 1);
    assert_eq!(tls.resolver.connections_accepted(), 1);
}

#[test]
fn connections_are_shared_by_locations_that_say_the_same() {
    let tls = Tls::start();
    let site = tls
        .site()
        .http(&format!("{TRUST} authgear_resolve https://{NAME};"))
        .server(
            "location /a { proxy_pass http://%app%; }
             location /b { authgear_ssl_verify on; proxy_pass http://%app%; }
             location /c { authgear_ssl_verify off; proxy_pass http://%app%; }",
        )
        .start();
    for (path, handshakes) in [("/a", 1), ("/b", 1), ("/c", 2), ("/a", 2)] {
        assert!(sees_alice(&site, path));
        assert_eq!(tls.handshakes(), handshakes, "{path}");
    }
}

#[test]
fn sessions_are_resumed() {
    for old in [false, true] {
        let authority = Authority::new("Authority");
        let resolver = Resolver::start(people());
        let builder = TlsServer::builder(&authority.issue(NAME));
        let builder = if old { builder.old() } else { builder };
        let server = builder.start(resolver.addr());
        let no_keepalive = |directives| format!("{TRUST} authgear_keepalive 0; {directives}");
        let site = site(server.addr(), &authority)
            .server(&location("/", &no_keepalive("")))
            .server(&location(
                "/anew",
                &no_keepalive("authgear_ssl_session_reuse off;"),
            ))
            .start();
        for path in ["/", "/", "/", "/anew", "/anew"] {
            assert!(sees_alice(&site, path));
        }
        let resumed: Vec<bool> = server.handshakes().iter().map(|h| h.resumed).collect();
        assert_eq!(resumed, [false, true, true, false, false], "old: {old}");
    }
}

#[test]
fn sessions_of_others_are_not_resumed() {
    // nginx keeps a session for each server of a group, for whoever asks it next. It never frees
    // them, which memcheck does not like.
    if Environment::get().valgrind {
        return;
    }
    let tls = Tls::start();
    let site = tls
        .site()
        .server(&location("/", &format!("{TRUST} authgear_keepalive 0;")))
        .server(&format!(
            "location /proxy {{ proxy_pass https://{NAME}/resolve; proxy_set_header Connection close; }}"
        ))
        .start();
    for path in ["/proxy", "/", "/proxy", "/"] {
        assert_eq!(site.send(get(path).cookie(ALICE)).status, 200, "{path}");
    }
    let resumed: Vec<bool> = tls.server.handshakes().iter().map(|h| h.resumed).collect();
    assert_eq!(resumed, [false, false, true, true]);
}

#[test]
fn connections_of_others_in_a_group_are_not_used() {
    let stranger = Authority::new("Stranger");
    let tls = Tls::with(Authority::new("Authority"), &stranger.issue(NAME));
    let site = Site::builder()
        .place("tls", tls.server.addr())
        .http(&format!("upstream {NAME} {{ server %tls%; keepalive 4; }}"))
        .nginx(|nginx| nginx.file("ca.pem", &tls.authority.pem()))
        .server(&location("/", TRUST))
        .server(&format!(
            "location /proxy {{
                proxy_pass https://{NAME}/resolve;
                proxy_ssl_session_reuse off;
                proxy_http_version 1.1;
                proxy_set_header Connection '';
            }}"
        ))
        .start();
    for _ in 0..2 {
        assert_eq!(site.send(get("/proxy")).status, 200);
    }
    assert_eq!(tls.handshakes(), 1, "the proxy's connection is kept");
    let before = tls.resolver.request_count();
    is_denied_for(&site, "/", UNTRUSTED);
    assert_eq!(tls.resolver.request_count(), before);
}

#[test]
fn an_unverified_answer_in_the_cache_is_none_of_a_location_that_verifies() {
    let tls = Tls::start();
    let cache = "authgear_cache auth; add_header cache $authgear_cache_status;";
    let site = tls
        .site()
        .http("authgear_cache_zone zone=auth:1m;")
        .server(&location(
            "/unverified",
            &format!("authgear_ssl_verify off; {cache}"),
        ))
        .server(&location("/verified", &format!("{TRUST} {cache}")))
        .start();
    let cache = |path: &str| {
        let response = site.send(get(path).cookie(ALICE));
        response.header("cache").unwrap_or_default().to_owned()
    };
    let seen = ["/unverified", "/unverified", "/verified", "/verified"].map(cache);
    assert_eq!(seen, ["MISS", "HIT", "MISS", "HIT"]);
}

#[test]
fn surplus_bytes_of_a_record_never_answer_another_request() {
    // The answer fills the buffer: what follows stays in TLS, where no event tells of it.
    const BUFFER: usize = 4096;
    let nobody = |padding| answer(200, &[("X-Padding", padding)]);
    let padding = "x".repeat(BUFFER - nobody("").len());
    let mut wire = nobody(&padding);
    assert_eq!(wire.len(), BUFFER);
    wire.extend(answer(
        200,
        &[
            ("X-Authgear-Session-Valid", "true"),
            ("X-Authgear-User-Id", "mallory"),
        ],
    ));

    let authority = Authority::new("Authority");
    let server = TlsServer::builder(&authority.issue(NAME)).answering(wire);
    for own in ["", "keepalive 4;"] {
        let before = server.handshakes().len();
        let site = Site::builder()
            .place("tls", server.addr())
            .http(&format!("upstream {NAME} {{ server %tls%; {own} }}"))
            .nginx(|nginx| nginx.file("ca.pem", &authority.pem()))
            .server(&location(
                "/",
                &format!("{TRUST} authgear_buffer_size 4k; add_header outcome $authgear_outcome;"),
            ))
            .start();
        for _ in 0..3 {
            let response = site.send(get("/").cookie(ALICE));
            assert_eq!(response.header("outcome"), Some("none"), "{own}");
            assert!(!response.text().contains("mallory"), "{own}");
        }
        // Each on a connection of its own, as the one before was of no more use.
        assert_eq!(server.handshakes().len() - before, 3, "{own}");
    }
}

#[test]
fn a_groups_own_keepalive_keeps_connections() {
    let tls = Tls::start();
    let site = Site::builder()
        .place("tls", tls.server.addr())
        .http(&format!("upstream {NAME} {{ server %tls%; keepalive 4; }}"))
        .nginx(|nginx| nginx.file("ca.pem", &tls.authority.pem()))
        .server(&location("/", TRUST))
        .start();
    for _ in 0..5 {
        assert!(sees_alice(&site, "/"));
    }
    assert_eq!(tls.handshakes(), 1);
}

#[test]
fn another_server_is_tried_when_one_has_the_wrong_certificate() {
    let tls = Tls::start();
    let wrong =
        TlsServer::builder(&Authority::new("Stranger").issue(NAME)).start(tls.resolver.addr());
    let site = Site::builder()
        .place("right", tls.server.addr())
        .place("wrong", wrong.addr())
        .http(&format!(
            "upstream {NAME} {{ server %wrong% max_fails=0; server %right%; }}"
        ))
        .nginx(|nginx| nginx.file("ca.pem", &tls.authority.pem()))
        .server(&location("/", &format!("{TRUST} authgear_keepalive 0;")))
        .start();
    for _ in 0..4 {
        assert!(sees_alice(&site, "/"));
    }
    assert_eq!(tls.resolver.request_count(), 4);
}

#[test]
fn protocols_and_ciphers_are_configurable() {
    let tls = Tls::start();
    let site = tls
        .site()
        .server(&location(
            "/",
            &format!(
                "{TRUST} authgear_ssl_protocols TLSv1.2;
                 authgear_ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;"
            ),
        ))
        .start();
    assert!(sees_alice(&site, "/"));
    assert_eq!(tls.server.handshakes()[0].version, "TLSv1.2");
}

#[test]
fn a_url_with_variables_may_be_https() {
    let tls = Tls::start();
    let with_url = |path: &str, url: &str| {
        format!("location {path} {{ authgear_resolve {url}; {TRUST} proxy_pass http://%app%; }}")
    };
    let site = tls
        .site()
        .place("plain", tls.resolver.addr())
        .server(&with_url("/host", "https://$arg_to"))
        .server(&with_url("/url", "$arg_to"))
        .server(&with_url("/fixed", "http://$arg_to"))
        .start();
    let plain = tls.resolver.addr();
    for (path, handshakes) in [
        ("/host?to=auth.example".to_owned(), 1),
        ("/host?to=auth.example".to_owned(), 1),
        ("/url?to=https://auth.example".to_owned(), 2),
        (format!("/url?to=http://{plain}"), 2),
        (format!("/fixed?to={plain}"), 2),
        ("/url?to=https://auth.example".to_owned(), 2),
    ] {
        assert!(sees_alice(&site, &path), "{path}");
        assert_eq!(tls.handshakes(), handshakes, "{path}");
    }
}

#[test]
fn an_answer_in_plain_text_is_not_believed() {
    let valid = answer(
        200,
        &[
            ("X-Authgear-Session-Valid", "true"),
            ("X-Authgear-User-Id", "mallory"),
        ],
    );
    let plain = Scripted::new(move |conversation| {
        conversation.send(&valid);
        conversation.wait_until_closed();
    });
    let site = site(plain.addr(), &Authority::new("Authority"))
        .server(&location("/", TRUST))
        .start();
    for _ in 0..20 {
        assert_eq!(site.send(get("/").cookie(ALICE)).status, 503);
    }
    assert_eq!(site.app.request_count(), 0);
}

/// CVE-2026-1642: what comes before the handshake has begun is the most dangerous.
#[test]
fn an_answer_before_the_handshake_is_not_believed() {
    // Nobody accepts for now: further connections wait, without being established.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("bind");
    socket.listen(0).expect("listen");
    let listener = TcpListener::from(socket);
    let addr = listener.local_addr().expect("address");
    let first = TcpStream::connect(addr).expect("a connection that fills the queue");

    let site = site(addr, &Authority::new("Authority"))
        .server(&location("/", TRUST))
        .start();
    let mut client = Http1::connect(site.nginx.addr("http1"));
    client.send(get("/").cookie(ALICE).head());
    eventually("nginx is connecting", || is_connecting(addr).then_some(()));

    // While nginx sleeps the connection is established and the answer arrives.
    let worker = Pid::from_raw(site.nginx.worker_pids()[0] as i32).expect("a worker");
    kill_process(worker, Signal::STOP).expect("stop");
    drop((listener.accept().expect("the first"), first));
    let (mut peer, _) = listener.accept().expect("nginx's connection");
    let valid = answer(
        200,
        &[
            ("X-Authgear-Session-Valid", "true"),
            ("X-Authgear-User-Id", "mallory"),
        ],
    );
    std::io::Write::write_all(&mut peer, &valid).expect("send");
    std::thread::sleep(Duration::from_millis(100));
    kill_process(worker, Signal::CONT).expect("continue");

    assert_eq!(client.read_response().status, 503);
    assert_eq!(site.app.request_count(), 0);
    let log = site.nginx.error_log();
    let said = [
        "in plain text over https",
        "upstream prematurely sent response",
    ];
    assert!(said.iter().any(|text| log.contains(text)), "{log}");
    assert!(log.contains(DENIED), "{log}");
}

/// Whether a connection to this address is not established yet.
fn is_connecting(addr: SocketAddr) -> bool {
    const SYN_SENT: &str = "02";
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's sockets");
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        let remote = fields.next().and_then(|remote| remote.split_once(':'));
        remote.is_some_and(|(_, port)| port == format!("{:04X}", addr.port()))
            && fields.next() == Some(SYN_SENT)
    })
}

#[test]
fn wrong_settings_are_refused() {
    let authority = Authority::new("Authority");
    let https = "authgear_resolve https://127.0.0.1:1;";
    let rows = [
        ("authgear_ssl_verify yes;", "authgear_ssl_verify"),
        ("authgear_ssl_verify_depth x;", "authgear_ssl_verify_depth"),
        ("authgear_ssl_verify_depth -1;", "authgear_ssl_verify_depth"),
        ("authgear_ssl_server_name 1;", "authgear_ssl_server_name"),
        ("authgear_ssl_session_reuse;", "authgear_ssl_session_reuse"),
        ("authgear_ssl_protocols SSLv3;", "TLSv1.3"),
        ("authgear_ssl_protocols;", "authgear_ssl_protocols"),
        ("authgear_ssl_ciphers a b;", "authgear_ssl_ciphers"),
        ("authgear_ssl_name;", "authgear_ssl_name"),
        (
            "authgear_ssl_crl a; authgear_ssl_crl b;",
            "\"authgear_ssl_crl\" directive is duplicate",
        ),
        ("authgear_ssl_ciphers NONE;", https),
        ("authgear_ssl_trusted_certificate none.pem;", https),
        ("authgear_ssl_crl none.pem;", https),
        (
            "authgear_ssl_certificate ca.pem;",
            "\"authgear_ssl_certificate ca.pem\" without \"authgear_ssl_certificate_key\"",
        ),
        (
            "authgear_ssl_certificate ca.pem; authgear_ssl_certificate_key none.key;",
            https,
        ),
    ];
    for (row, expected) in rows {
        let builder = Nginx::builder()
            .file("ca.pem", &authority.pem())
            .server(https)
            .server(row);
        // What a setting comes to is found out for the directive that needs it.
        let (line, expected) = match expected == https || row.contains("certificate ca.pem") {
            true => (builder.line_of(https), expected.trim_start_matches(https)),
            false => (builder.line_of(row), expected),
        };
        let said = nginx_t(builder).expect_err(row);
        assert!(
            said.contains(&format!("nginx.conf:{line}")),
            "{row}: {said}"
        );
        assert!(said.contains(expected), "{row}: {said}");
    }
}

#[test]
fn settings_without_https_cost_nothing() {
    let builder = Nginx::builder()
        .server("authgear_resolve http://127.0.0.1:1;")
        .server("authgear_ssl_trusted_certificate none.pem;");
    assert_eq!(nginx_t(builder), Ok(()));
}
