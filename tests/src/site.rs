//! Resolver, application and nginx, together.

use std::time::Duration;

use authgear_resolver_double::{EchoApp, Resolver, Session, Store, User};

use crate::{eventually, get, Nginx, NginxBuilder, Request, Response, Scripted, Seen};

/// Cookie of alice, of whom everything is known.
pub const ALICE: &str = "session=alice.secret";
/// Cookie of bob: anonymous, no amr, no time, no roles.
pub const BOB: &str = "session=bob.secret";
/// Cookie of carol, whose account is disabled.
pub const CAROL: &str = "session=carol.secret";
/// Cookie of a session that is over.
pub const GONE: &str = "session=gone.secret";
/// Alice's cookie of a web application.
pub const ALICE_APP_SESSION: &str = "app_session=alice-app";
/// Alice's access token as a cookie.
pub const ALICE_ACCESS_TOKEN: &str = "app_access_token=alice-access";
/// Alice's bearer token.
pub const ALICE_BEARER: &str = "alice-bearer";

/// The identity headers that an application sees of alice, as [`Seen::identity`] sorts them.
pub const ALICE_IDENTITY: [(&str, &str); 8] = [
    ("x-authgear-session-amr", "pwd otp"),
    ("x-authgear-session-authenticated-at", "1750000000"),
    ("x-authgear-session-valid", "true"),
    ("x-authgear-user-anonymous", "false"),
    ("x-authgear-user-can-reauthenticate", "true"),
    ("x-authgear-user-id", "alice"),
    ("x-authgear-user-roles", "editor,reviewer"),
    ("x-authgear-user-verified", "true"),
];

/// The identity headers that an application sees of bob.
pub const BOB_IDENTITY: [(&str, &str); 5] = [
    ("x-authgear-session-valid", "true"),
    ("x-authgear-user-anonymous", "true"),
    ("x-authgear-user-can-reauthenticate", "false"),
    ("x-authgear-user-id", "bob"),
    ("x-authgear-user-verified", "false"),
];

/// The identity headers that an application sees of a session that does not hold.
pub const INVALID_IDENTITY: [(&str, &str); 1] = [("x-authgear-session-valid", "false")];

/// Whom the resolver knows unless a test says otherwise.
pub fn people() -> Store {
    let alices = [
        Session::cookie("alice.secret", "alice"),
        Session::app_session("alice-app", "alice"),
        Session::app_access_token("alice-access", "alice"),
        Session::bearer("alice-bearer", "alice"),
    ];
    let store = Store::new()
        .user(
            User::new("alice")
                .roles(["editor", "reviewer"])
                .verified(true)
                .can_reauthenticate(true),
        )
        .user(
            User::new("bob")
                .anonymous(true)
                .verified(false)
                .can_reauthenticate(false),
        )
        .user(User::new("carol").disabled(true))
        .session(Session::cookie("bob.secret", "bob"))
        .session(Session::cookie("carol.secret", "carol"));
    alices.into_iter().fold(store, |store, session| {
        store.session(session.amr(["pwd", "otp"]).authenticated_at(1_750_000_000))
    })
}

/// A resolver double, an echo application, and an nginx between them and the test.
#[derive(Debug)]
pub struct Site {
    /// nginx; the first to go.
    pub nginx: Nginx,
    /// The resolver, `%resolver%` in snippets.
    pub resolver: Resolver,
    /// The application, `%app%` in snippets.
    pub app: EchoApp,
}

/// Describes a [`Site`] before it starts.
#[derive(Debug)]
pub struct SiteBuilder {
    nginx: NginxBuilder,
    store: Store,
}

impl Site {
    /// A site whose `location / {}` has these directives.
    pub fn serving(directives: &str) -> Self {
        Self::builder().location(directives).start()
    }

    /// A site whose `server {}` has these directives.
    pub fn with_server(directives: &str) -> Self {
        Self::builder().server(directives).start()
    }

    /// The same, with a resolver that follows a script.
    pub fn serving_with(resolver: &Scripted, directives: &str) -> Self {
        Self::builder()
            .place("resolver", resolver.addr())
            .location(directives)
            .start()
    }

    /// Describes one.
    pub fn builder() -> SiteBuilder {
        SiteBuilder {
            nginx: Nginx::builder(),
            store: people(),
        }
    }

    /// Makes one request on a connection of its own.
    pub fn send(&self, request: Request) -> Response {
        self.nginx.send(request)
    }

    /// Makes a request, and tells what the application received.
    pub fn app_saw(&self, request: Request) -> Seen {
        self.send(request).seen()
    }

    /// Counts something of nginx without connections to the resolver and the application, which are
    /// closed until the count stays the same.
    pub fn at_rest(&self, count: impl Fn() -> usize) -> usize {
        let mut last = 0;
        eventually("nginx at rest", || {
            self.resolver.close_connections();
            self.app.close_connections();
            std::thread::sleep(Duration::from_millis(10));
            let now = count();
            let is_same = std::mem::replace(&mut last, now) == now;
            (is_same && self.resolver.connections_open() == 0).then_some(now)
        })
    }

    /// Descriptors of the only worker, [at rest](Site::at_rest).
    pub fn descriptors_at_rest(&self) -> usize {
        self.at_rest(|| self.nginx.worker_descriptors())
    }

    /// The identity headers that the application receives with alice's cookie.
    pub fn identity_of_alice(&self, path: &str) -> Vec<(String, String)> {
        self.app_saw(get(path).cookie(ALICE)).identity()
    }
}

impl SiteBuilder {
    /// Adds lines to `server {}`.
    pub fn server(self, conf: &str) -> Self {
        self.nginx(|nginx| nginx.server(conf))
    }

    /// Adds a `location / {}` with these lines.
    pub fn location(self, conf: &str) -> Self {
        self.server(&format!("location / {{\n{conf}\n}}"))
    }

    /// Adds lines to `http {}`.
    pub fn http(self, conf: &str) -> Self {
        self.nginx(|nginx| nginx.http(conf))
    }

    /// Adds lines to `http {}`, below the `server {}`.
    pub fn http_after(self, conf: &str) -> Self {
        self.nginx(|nginx| nginx.http_after(conf))
    }

    /// Lets the error log hold lines with this text.
    pub fn expect_in_log(self, text: &str) -> Self {
        self.nginx(|nginx| nginx.expect_in_log(text))
    }

    /// Puts an address, or any text, in place of `%name%`; `resolver` and `app` too.
    pub fn place(self, name: &str, text: impl ToString) -> Self {
        self.nginx(|nginx| nginx.place(name, text))
    }

    /// Changes the description of nginx.
    pub fn nginx(mut self, change: impl FnOnce(NginxBuilder) -> NginxBuilder) -> Self {
        self.nginx = change(self.nginx);
        self
    }

    /// Whom the resolver knows.
    pub fn store(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// Starts all three.
    pub fn start(self) -> Site {
        let resolver = Resolver::start(self.store);
        let app = EchoApp::start();
        let nginx = self
            .nginx
            .place_unless_given("resolver", resolver.addr())
            .place_unless_given("resolver_port", resolver.addr().port())
            .place_unless_given("app", app.addr())
            .start();
        Site {
            nginx,
            resolver,
            app,
        }
    }
}
