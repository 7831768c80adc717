//! Credentials as Authgear reads them, from the client to the resolver.
//!
//! The full table of cookie headers is beside the parser; these show that nginx hands
//! it what the client sent, over both protocols, and that the resolver gets the result.

use authgear_integration::{get, Request, Site, ALICE, ALICE_ACCESS_TOKEN, ALICE_APP_SESSION};

const SITE: &str = "authgear_resolve http://%resolver%; proxy_pass http://%app%;";

/// The pairs of a Cookie header, in the order of the names; quotes make no difference to Go.
fn pairs(cookie: Option<&str>) -> Vec<String> {
    let pairs = cookie.into_iter().flat_map(|cookie| cookie.split("; "));
    let mut pairs: Vec<String> = pairs.map(|pair| pair.replace('"', "")).collect();
    pairs.sort_unstable();
    pairs
}

fn with_cookies(lines: &[&str]) -> Request {
    lines
        .iter()
        .fold(get("/"), |request, line| request.cookie(line))
}

#[test]
fn the_resolver_gets_the_cookies_that_go_would_read() {
    // Cookie lines, and the pairs that the resolver gets; none: it is not asked.
    let table: &[(&[&str], &[&str])] = &[
        (&["session=a"], &["session=a"]),
        (&["app_session=a"], &["app_session=a"]),
        (&["app_access_token=a"], &["app_access_token=a"]),
        (
            &["session=a; app_session=b; app_access_token=c"],
            &["app_access_token=c", "app_session=b", "session=a"],
        ),
        (
            &["session=a", "app_session=b"],
            &["app_session=b", "session=a"],
        ),
        (&["theme=dark; session=a; lang=de"], &["session=a"]),
        (&["theme=dark"], &[]),
        (&["Session=a"], &[]),
        (&["SESSION=a; session=b"], &["session=b"]),
        (&["session=a; session=b"], &["session=a"]),
        (&["session=a", "session=b"], &["session=a"]),
        (&["my_session=a; session2=b; xsession=c"], &[]),
        (&["session=\"a\""], &["session=a"]),
        (&["session=\"a"], &[]),
        (&["session=a\\b; session=c"], &["session=c"]),
        (&["session=a\"b; session=c"], &["session=c"]),
        (&["session=a,b"], &["session=a,b"]),
        (&["a=1,session=b"], &[]),
        (&["session=a=b=="], &["session=a=b=="]),
        (
            &["  session=a  ;\tapp_session=b\t"],
            &["app_session=b", "session=a"],
        ),
        (&[";;session=a;;"], &["session=a"]),
        (&["session=a.b-c_d~e%20+/"], &["session=a.b-c_d~e%20+/"]),
    ];
    let site = Site::serving(SITE);
    let mut http2 = site.nginx.http2();
    for (lines, wanted) in table {
        for over_http2 in [false, true] {
            let before = site.resolver.request_count();
            let request = with_cookies(lines);
            let response = if over_http2 {
                http2.request(request)
            } else {
                site.send(request)
            };
            assert_eq!(response.status, 200, "{lines:?}");

            let requests = site.resolver.requests().split_off(before);
            let got: Vec<String> = requests
                .iter()
                .flat_map(|r| pairs(r.header("Cookie")))
                .collect();
            assert_eq!(got, *wanted, "{lines:?}");
            assert_eq!(requests.len(), usize::from(!wanted.is_empty()), "{lines:?}");
            assert!(
                requests.iter().all(|r| r.values("Cookie").len() == 1),
                "{lines:?}"
            );
        }
    }
}

#[test]
fn the_resolver_gets_authorization_as_received() {
    // The value, and whether it is a credential.
    let table = [
        ("Bearer token", true),
        ("bearer token", true),
        ("BEARER token", true),
        ("Bearer  two-spaces", true),
        ("Bearer a b c", true),
        ("Bearer eyJhbGciOiJub25lIn0.eyJqdGkiOiJ4In0.", true),
        ("Basic dXNlcjpwYXNz", false),
        ("Digest username=x", false),
        ("Bearer", false),
        ("token", false),
    ];
    let site = Site::serving(SITE);
    for (value, is_credential) in table {
        let before = site.resolver.request_count();
        site.app_saw(get("/").header("Authorization", value));
        let requests = site.resolver.requests().split_off(before);
        let got: Vec<_> = requests.iter().map(|r| r.header("Authorization")).collect();
        let wanted: &[_] = if is_credential { &[Some(value)] } else { &[] };
        assert_eq!(got, wanted, "{value:?}");
    }
}

#[test]
fn only_the_first_authorization_counts() {
    let site = Site::serving(SITE);
    let response = site.send(get("/").bearer("nobody").bearer("alice-bearer"));
    // nginx from 1.23 on refuses it itself.
    if response.status != 400 {
        assert_eq!(response.seen().identity(), []);
        assert_eq!(
            site.resolver.requests()[0].values("Authorization"),
            ["Bearer nobody"]
        );
    }
}

#[test]
fn each_credential_is_good_for_a_session() {
    let site = Site::serving(SITE);
    for cookie in [ALICE, ALICE_APP_SESSION, ALICE_ACCESS_TOKEN] {
        let seen = site.app_saw(get("/").cookie(cookie));
        assert_eq!(seen.get("x-authgear-user-id"), Some("alice"), "{cookie}");
    }
    let seen = site.app_saw(get("/").bearer("alice-bearer"));
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
}

#[test]
fn an_invalid_credential_falls_through_to_the_next() {
    let site = Site::serving(SITE);
    let seen = site.app_saw(
        get("/")
            .bearer("gone")
            .cookie("app_session=gone; session=alice.secret"),
    );
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
}

#[test]
fn cookie_prefix_is_in_front_of_all_names() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%;
         location / { authgear_cookie_prefix shop_; proxy_pass http://%app%; }
         location /simple { proxy_pass http://%app%; }",
    );
    let all = "session=a; app_session=b; shop_session=c; shop_app_session=d; shop_app_access_token=e; shop_shop_session=f";
    site.app_saw(get("/").cookie(all));
    site.app_saw(get("/").cookie("session=a"));
    site.app_saw(get("/simple").cookie(all));

    let requests = site.resolver.requests();
    let got: Vec<_> = requests.iter().map(|r| pairs(r.header("Cookie"))).collect();
    assert_eq!(
        got[0],
        [
            "shop_app_access_token=e",
            "shop_app_session=d",
            "shop_session=c"
        ]
    );
    assert_eq!(got[1], ["app_session=b", "session=a"]);
    assert_eq!(got.len(), 2);
}

#[test]
fn the_app_gets_its_cookies_and_authorization_untouched() {
    let site = Site::serving(SITE);
    let cookie = "theme=dark; session=\"alice.secret\";odd";
    let seen = site.app_saw(
        get("/")
            .cookie(cookie)
            .header("Authorization", "Basic eDp5"),
    );
    assert_eq!(seen.get("Cookie"), Some(cookie));
    assert_eq!(seen.get("Authorization"), Some("Basic eDp5"));
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
}
