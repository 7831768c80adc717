//! `error_page` takes over what the module refuses, as it does for nginx's own refusals.

use authgear_integration::{
    get, post, Request, Response, Seen, Site, SiteBuilder, ALICE, BOB, GONE,
};
use authgear_resolver_double::Fault;

const PAGE_VISIT: (&str, &str) = ("Accept", "text/html");
const JSON: (&str, &str) = ("Accept", "application/json");

/// Everything but `location /page` is for those who have a session, and a role, and so on.
fn builder(error_pages: &str) -> SiteBuilder {
    Site::builder().server(&format!(
        "authgear_resolve http://%resolver%;
         authgear_login https://auth.example/login;
         {error_pages}
         location / {{ authgear_require session; proxy_pass http://%app%; }}
         location /admin {{ authgear_require role=admin; proxy_pass http://%app%; }}
         location = /page {{
             proxy_set_header X-Reason $authgear_deny_reason;
             proxy_set_header X-Outcome $authgear_outcome;
             proxy_set_header X-User $authgear_user_id;
             authgear_resolve off;
             proxy_pass http://%app%;
         }}"
    ))
}

/// What the error page's application saw of reason, outcome and user.
fn told(response: &Response) -> [String; 3] {
    let seen = Seen::parse(&response.body);
    ["X-Reason", "X-Outcome", "X-User"].map(|name| seen.get(name).unwrap_or_default().to_owned())
}

/// One request for each status, with what the page is told.
fn refused() -> [(Request, u16, [&'static str; 3]); 6] {
    [
        (get("/"), 401, ["session", "none", ""]),
        (get("/").cookie(GONE), 401, ["session", "invalid", ""]),
        (
            get("/").header(JSON.0, JSON.1),
            401,
            ["session", "none", ""],
        ),
        (get("/admin").cookie(BOB), 403, ["role", "valid", "bob"]),
        (
            get("/admin").cookie(ALICE).header(JSON.0, JSON.1),
            403,
            ["role", "valid", "alice"],
        ),
        (
            get("/").header(PAGE_VISIT.0, PAGE_VISIT.1),
            302,
            ["session", "none", ""],
        ),
    ]
}

#[test]
fn a_page_for_each_status_sees_the_variables() {
    let site = builder("error_page 302 401 403 503 /page;").start();
    for (request, status, expected) in refused() {
        for response in [
            site.send(request.clone()),
            site.nginx.http2().request(request.clone()),
        ] {
            assert_eq!(response.status, status, "{request:?}");
            assert_eq!(told(&response), expected, "{request:?}");
            assert_eq!(response.all("Cache-Control"), ["no-store"], "{request:?}");
            let challenges = response.all("WWW-Authenticate");
            let expected = if status == 401 { &["Bearer"][..] } else { &[] };
            assert_eq!(challenges, expected, "{request:?}");
            let location = (status == 302).then_some("https://auth.example/login");
            assert_eq!(response.header("Location"), location, "{request:?}");
        }
    }
    site.resolver.set_fault(Fault::status(500));
    for accept in [PAGE_VISIT, JSON] {
        let response = site.send(get("/").cookie(ALICE).header(accept.0, accept.1));
        assert_eq!(response.status, 503);
        assert_eq!(told(&response), ["error", "error", ""]);
    }
}

#[test]
fn the_status_can_be_changed() {
    let site = builder("error_page 302 401 403 503 =200 /page;").start();
    for (request, _, expected) in refused() {
        let response = site.send(request);
        assert_eq!(response.status, 200);
        assert_eq!(told(&response), expected);
        assert_eq!(response.all("Cache-Control"), ["no-store"]);
    }

    // The page's own status, with `=` alone.
    let site = builder("error_page 401 = /page;").start();
    assert_eq!(site.send(get("/")).status, 200);

    // gRPC is no exception.
    let site = builder("error_page 401 =404 /page;").start();
    let grpc = || post("/", "").header("Content-Type", "application/grpc");
    let response = site.nginx.http2().request(grpc());
    assert_eq!(response.status, 404);
    assert_eq!(response.header("grpc-status"), None);
    // Where no page is for that status, it gets its own form.
    let response = site.nginx.http2().request(
        post("/admin", "")
            .cookie(ALICE)
            .header("Content-Type", "application/grpc"),
    );
    assert_eq!(response.header("grpc-status"), Some("7"));
}

#[test]
fn a_named_location_can_answer() {
    let site = builder(
        "error_page 401 = @denied;
         error_page 403 @denied;
         location @denied { return 418 \"$authgear_deny_reason $authgear_user_id\"; }",
    )
    .start();
    let response = site.send(get("/"));
    assert_eq!((response.status, response.text()), (418, "session ".into()));
    let response = site.send(get("/admin").cookie(BOB));
    assert_eq!((response.status, response.text()), (403, "role bob".into()));
}

#[test]
fn a_redirect_elsewhere_can_answer() {
    let site =
        builder("error_page 401 =302 https://other.example/?back=$authgear_return_url;").start();
    for accept in ["*/*", JSON.1] {
        let response = site.send(get("/a?b=c").header("Accept", accept));
        assert_eq!(response.status, 302);
        assert_eq!(
            response.all("Location"),
            ["https://other.example/?back=http%3A%2F%2Fsite.example%2Fa%3Fb%3Dc"]
        );
        assert_eq!(response.all("Cache-Control"), ["no-store"]);
    }
}

/// As with auth_basic in `server {}`: the page is a location like any other, so a requirement that
/// it inherits is judged there too, and nginx's built-in page is what the client gets. The cure is
/// `authgear_require off` in the page's location.
#[test]
fn a_page_that_inherits_the_requirement_is_refused_itself() {
    let both = "error_page 401 403 /page;
                location = /page { proxy_pass http://%app%; }
                location / { proxy_pass http://%app%; }";
    let ours = Site::with_server(&format!(
        "authgear_resolve http://%resolver%; authgear_require session role=admin; {both}"
    ));
    for (request, title) in [
        (get("/"), "<title>401 Authorization Required"),
        (get("/").cookie(ALICE), "<title>403 Forbidden"),
    ] {
        let response = ours.send(request.clone());
        assert!(response.text().contains(title), "{response:?}");
        assert_eq!(response.all("Cache-Control"), ["no-store"]);
        let challenges = response.all("WWW-Authenticate").len();
        assert_eq!(challenges, usize::from(response.status == 401));

        let response = ours.send(request.header(JSON.0, JSON.1));
        let content_type = response.header("Content-Type");
        assert_eq!(content_type, Some("application/problem+json"));
        assert_eq!(response.all("Cache-Control"), ["no-store"]);
    }
    assert_eq!(ours.app.request_count(), 0);

    let basic = Site::builder()
        .nginx(|nginx| nginx.file("passwords", ""))
        .server(&format!(
            "auth_basic site; auth_basic_user_file %prefix%/passwords; {both}"
        ))
        .start();
    let response = basic.send(get("/"));
    assert!(response.text().contains("<title>401 "), "{response:?}");
    assert_eq!(basic.app.request_count(), 0);

    let cured = Site::with_server(
        "authgear_resolve http://%resolver%; authgear_require session; error_page 401 /page;
         location = /page { authgear_require off; proxy_pass http://%app%; }
         location / { proxy_pass http://%app%; }",
    );
    let response = cured.send(get("/"));
    assert_eq!(response.status, 401);
    assert_eq!(Seen::parse(&response.body).target, "/page");
}

/// While the resolver fails, a page that resolves is denied too: with `authgear_resolve` in
/// `server {}` the page for 503 says `authgear_resolve off`.
#[test]
fn a_page_that_inherits_the_resolver_is_denied_while_that_fails() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%; error_page 503 /page;
         location = /page { proxy_pass http://%app%; }
         location / { proxy_pass http://%app%; }
         location /off { error_page 503 /page_off; proxy_pass http://%app%; }
         location = /page_off { authgear_resolve off; proxy_pass http://%app%; }",
    );
    site.resolver.set_fault(Fault::status(500));
    let response = site.send(get("/").cookie(ALICE));
    assert!(response.text().contains("<title>503 "), "{response:?}");
    assert_eq!(response.all("Cache-Control"), ["no-store"]);
    assert_eq!(site.resolver.request_count(), 1);

    let response = site.send(get("/off").cookie(ALICE));
    assert_eq!(response.status, 503);
    assert_eq!(Seen::parse(&response.body).target, "/page_off");
}

#[test]
fn recursive_error_pages_end() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%; authgear_require session;
         recursive_error_pages on;
         error_page 401 /page;
         location / { proxy_pass http://%app%; }",
    );
    for accept in ["*/*", JSON.1] {
        let response = site.send(get("/").header("Accept", accept));
        // nginx stops after ten redirects.
        assert!(matches!(response.status, 401 | 500), "{response:?}");
    }
    assert_eq!(site.app.request_count(), 0);
}

/// A page of the application's for its own errors is reached with the session that it had.
#[test]
fn the_pages_of_other_errors_keep_the_session() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%; authgear_require session;
         proxy_intercept_errors on;
         error_page 404 500 /page;
         location / { proxy_pass http://%app%; }
         location = /page { proxy_pass http://%app%/page; proxy_set_header X-User $authgear_user_id; }",
    );
    for path in ["/status/404", "/status/500"] {
        let response = site.send(get(path).cookie(ALICE));
        let seen = Seen::parse(&response.body);
        assert_eq!(seen.target, "/page", "{path}");
        assert_eq!(seen.get("x-authgear-user-id"), Some("alice"), "{path}");
        assert_eq!(seen.get("X-User"), Some("alice"), "{path}");
    }
    assert_eq!(site.resolver.request_count(), 2);
}

#[test]
fn headers_of_the_location_come_with_a_refusal() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%; authgear_require session; authgear_login /login;
         add_header Access-Control-Allow-Origin http://other.example always;
         add_header X-Success-Only 1;
         expires 1h;
         location / { proxy_pass http://%app%; }",
    );
    for accept in [PAGE_VISIT.1, "*/*", JSON.1] {
        let response = site.send(get("/").header("Accept", accept));
        let allowed = response.header("Access-Control-Allow-Origin");
        assert_eq!(allowed, Some("http://other.example"), "{accept}");
        // `expires` is for a 302 as well; what forbids to store wins.
        let cache_control = response.all("Cache-Control");
        assert!(
            cache_control.contains(&"no-store"),
            "{accept}: {cache_control:?}"
        );
        let success_only = response.header("X-Success-Only").is_some();
        assert_eq!(success_only, response.status == 302, "{accept}");
    }
}
