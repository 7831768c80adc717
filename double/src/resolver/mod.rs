//! Authgear's resolver: the listener, its login page and its control listener.

mod answer;
mod control;
mod credentials;
mod fault;
mod pages;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::http::{Connection, Listen, Next, RecordedRequest, Recorder, Request, Server, Service};
use crate::store::Store;

pub(crate) use fault::FaultFile;
pub use fault::{Fault, Then};

use fault::Faults;

/// A running resolver; stops when dropped.
pub struct Resolver {
    core: Arc<Core>,
    server: Server,
    control: Option<Server>,
}

/// What a [`Resolver`] starts from.
#[derive(Clone, Debug)]
pub struct ResolverBuilder {
    store: Store,
    listens: Vec<Listen>,
    control: Option<SocketAddr>,
    cookie_prefix: String,
    trust_proxy: bool,
    delay: Duration,
    record: usize,
    log: bool,
}

/// What the listener and the control listener share.
struct Core {
    settings: Settings,
    store: RwLock<Store>,
    faults: Mutex<Faults>,
    delay_us: AtomicU64,
    recorder: Recorder,
    log: bool,
}

struct Settings {
    cookies: CookieNames,
    trust_proxy: bool,
}

struct CookieNames {
    app_session: String,
    app_access_token: String,
    session: String,
}

impl Resolver {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn start(store: Store) -> Self {
        Resolver::builder()
            .store(store)
            .start()
            .expect("a free port on 127.0.0.1")
    }

    /// Starts on a unix socket.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn start_unix(path: impl Into<PathBuf>, store: Store) -> Self {
        Resolver::builder()
            .store(store)
            .listen(Listen::Unix(path.into()))
            .start()
            .expect("a unix socket at that path")
    }

    /// For everything but the defaults.
    pub fn builder() -> ResolverBuilder {
        ResolverBuilder {
            store: Store::new(),
            listens: Vec::new(),
            control: None,
            cookie_prefix: String::new(),
            trust_proxy: false,
            delay: Duration::ZERO,
            record: 100_000,
            log: false,
        }
    }

    /// Its address.
    ///
    /// # Panics
    /// When it listens on unix sockets only.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr().expect("a TCP listener")
    }

    /// The path of its unix socket, if it has one.
    pub fn unix_path(&self) -> Option<&Path> {
        self.server.unix_path()
    }

    /// All places where it listens, with real ports.
    pub fn listens(&self) -> Vec<Listen> {
        self.server.locals().cloned().collect()
    }

    /// The address of its control listener, if it has one.
    pub fn control_addr(&self) -> Option<SocketAddr> {
        self.control.as_ref().and_then(Server::addr)
    }

    /// A value for `authgear_resolve`, for the first place where it listens.
    pub fn url(&self) -> String {
        match self.server.locals().next() {
            Some(Listen::Unix(path)) => {
                format!("http://unix:{}:/_resolver/resolve", path.display())
            }
            _ => format!("http://{}/_resolver/resolve", self.addr()),
        }
    }

    /// The requests received since the start or the last clearing, oldest first: the last 100,000
    /// or what the builder said. Those for the login page are not among them.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.core.recorder.requests()
    }

    /// How many requests those are, forgotten ones included.
    pub fn request_count(&self) -> usize {
        self.core.recorder.count()
    }

    /// Forgets the requests and counts from 0 again.
    pub fn clear_requests(&self) {
        self.core.recorder.clear();
    }

    /// Waits until [`Resolver::request_count`] reaches that number; whether it did in time.
    /// A request counts once it is read, before it is answered.
    pub fn wait_for_requests(&self, count: usize, timeout: Duration) -> bool {
        self.core.recorder.wait_for(count, timeout)
    }

    /// How many connections were accepted since the start.
    pub fn connections_accepted(&self) -> usize {
        self.server.accepted()
    }

    /// How many connections are open now.
    pub fn connections_open(&self) -> usize {
        self.server.open()
    }

    /// Closes all connections, idle or not, and goes on listening.
    pub fn close_connections(&self) {
        self.server.close_connections();
    }

    /// Every request from now on meets this fault, once those of [`Resolver::fault_times`] are
    /// used up.
    pub fn set_fault(&self, fault: Fault) {
        self.core.faults().stand(fault);
    }

    /// The next request meets this fault.
    pub fn fault_once(&self, fault: Fault) {
        self.fault_times(1, fault);
    }

    /// That many further requests meet this fault; several calls queue up.
    pub fn fault_times(&self, times: usize, fault: Fault) {
        self.core.faults().enqueue(times, fault);
    }

    /// Answers well again.
    pub fn clear_fault(&self) {
        self.core.faults().clear();
    }

    /// Waits that long before each answer.
    pub fn set_delay(&self, delay: Duration) {
        self.core.set_delay(delay);
    }

    /// A copy of its users and sessions.
    pub fn store(&self) -> Store {
        self.core.store().clone()
    }

    /// Replaces its users and sessions.
    pub fn set_store(&self, store: Store) {
        *self.core.store_mut() = store;
    }

    /// Changes its users and sessions in place.
    pub fn update_store<R>(&self, change: impl FnOnce(&mut Store) -> R) -> R {
        change(&mut self.core.store_mut())
    }

    /// Ends the sessions of that credential; whether there was one.
    pub fn revoke(&self, value: &str) -> bool {
        self.core.store_mut().revoke(value)
    }

    /// Stops listening and closes all connections before it returns.
    pub fn stop(self) {}
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Resolver")
            .field("listens", &self.listens())
            .finish_non_exhaustive()
    }
}

impl ResolverBuilder {
    /// Who is who; nobody by default.
    pub fn store(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// Adds a place to listen; a free port of 127.0.0.1 if there is none.
    pub fn listen(mut self, listen: impl Into<Listen>) -> Self {
        self.listens.push(listen.into());
        self
    }

    /// Opens a control listener (see the README) there.
    pub fn control(mut self, addr: SocketAddr) -> Self {
        self.control = Some(addr);
        self
    }

    /// Authgear's `http.cookie_prefix`.
    pub fn cookie_prefix(mut self, prefix: &str) -> Self {
        self.cookie_prefix = prefix.to_owned();
        self
    }

    /// Authgear's `TRUST_PROXY`: X-Forwarded-Host and X-Original-Host win over Host.
    pub fn trust_proxy(mut self, trust: bool) -> Self {
        self.trust_proxy = trust;
        self
    }

    /// Waits that long before each answer.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// How many requests to remember.
    pub fn record(mut self, limit: usize) -> Self {
        self.record = limit;
        self
    }

    /// Writes a line to standard error for each request, without any credential.
    pub fn log(mut self, log: bool) -> Self {
        self.log = log;
        self
    }

    /// Starts it.
    pub fn start(mut self) -> io::Result<Resolver> {
        if self.listens.is_empty() {
            self.listens
                .push(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into());
        }
        let named = |suffix: &str| format!("{}{suffix}", self.cookie_prefix);
        let core = Arc::new(Core {
            settings: Settings {
                cookies: CookieNames {
                    app_session: named("app_session"),
                    app_access_token: named("app_access_token"),
                    session: named("session"),
                },
                trust_proxy: self.trust_proxy,
            },
            store: RwLock::new(self.store),
            faults: Mutex::default(),
            delay_us: AtomicU64::new(0),
            recorder: Recorder::new(self.record),
            log: self.log,
        });
        core.set_delay(self.delay);
        let server = Server::start(&self.listens, Arc::new(Listening(Arc::clone(&core))))?;
        let control = match self.control {
            None => None,
            Some(addr) => {
                let service = control::Control::new(Arc::clone(&core), server.statistics());
                Some(Server::start(&[addr.into()], Arc::new(service))?)
            }
        };
        Ok(Resolver {
            core,
            server,
            control,
        })
    }
}

impl Core {
    fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn store_mut(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delay(&self) -> Duration {
        Duration::from_micros(self.delay_us.load(Ordering::Relaxed))
    }

    fn set_delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delay_us.store(micros, Ordering::Relaxed);
    }
}

struct Listening(Arc<Core>);

impl Service for Listening {
    fn serve(&self, connection: &mut Connection, request: &Request) -> io::Result<Next> {
        let core = &*self.0;
        let body = connection.read_body(request)?;
        if let Some(answer) = pages::answer(core, request, &body) {
            return connection.answer(request, &answer);
        }
        core.recorder.add(connection, request, body);

        let resolved = answer::resolve(&core.store(), &core.settings, request);
        let fault = core.faults().next().or(resolved.fault);
        if core.log {
            let faulty = if fault.is_some() {
                ", with a fault"
            } else {
                ""
            };
            eprintln!(
                "connection {} request {}: {} {}: {}{faulty}",
                connection.id,
                connection.nth,
                crate::http::text(request.method()),
                crate::http::text(request.target()),
                resolved.verdict.name(),
            );
        }
        connection.pause(core.delay() + resolved.delay)?;
        let Some(fault) = fault else {
            return connection.answer(request, &resolved.answer);
        };
        let script = fault.apply(resolved.answer, request.is_head(), request.keeps_alive());
        let (pieces, pause) = script.pieces();
        for (index, piece) in pieces.enumerate() {
            if index > 0 {
                connection.pause(pause)?;
            }
            connection.send(piece)?;
        }
        connection.pause(script.idle)?;
        Ok(script.next)
    }
}
