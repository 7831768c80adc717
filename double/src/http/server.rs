//! Listeners, the connections they accept, and their end.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::stream::Listener;
use super::{Answer, Connection, Listen, Request, Stream};

/// What answers the requests of a server.
pub(crate) trait Service: Send + Sync + 'static {
    /// Reads the request's body, answers, and says what becomes of the connection.
    fn serve(&self, connection: &mut Connection, request: &Request) -> io::Result<Next>;
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Keep,
    Close,
    Reset,
    Hang,
}

/// Stops when dropped: no listener, connection or thread of it is left then.
pub(crate) struct Server {
    shared: Arc<Shared>,
    acceptors: Vec<Acceptor>,
}

struct Acceptor {
    listener: Arc<Listener>,
    local: Listen,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    service: Arc<dyn Service>,
    stopping: AtomicBool,
    accepted: AtomicUsize,
    open: Mutex<HashMap<u64, Arc<Stream>>>,
    closed: Condvar,
}

impl Server {
    pub(crate) fn start(listens: &[Listen], service: Arc<dyn Service>) -> io::Result<Self> {
        let mut server = Server {
            shared: Arc::new(Shared {
                service,
                stopping: AtomicBool::new(false),
                accepted: AtomicUsize::new(0),
                open: Mutex::default(),
                closed: Condvar::new(),
            }),
            acceptors: Vec::new(),
        };
        for listen in listens {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}"))
            };
            let listener = Arc::new(Listener::bind(listen).map_err(named)?);
            let local = listener.local()?;
            let thread = {
                let listener = Arc::clone(&listener);
                let shared = Arc::clone(&server.shared);
                thread::Builder::new()
                    .name(format!("accept {local}"))
                    .spawn(move || accept(&listener, &shared))?
            };
            server.acceptors.push(Acceptor {
                listener,
                local,
                thread: Some(thread),
            });
        }
        Ok(server)
    }

    /// Where it listens, with real ports, in the order asked for.
    pub(crate) fn locals(&self) -> impl Iterator<Item = &Listen> {
        self.acceptors.iter().map(|acceptor| &acceptor.local)
    }

    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.locals().find_map(|local| match local {
            Listen::Tcp(addr) => Some(*addr),
            Listen::Unix(_) => None,
        })
    }

    pub(crate) fn unix_path(&self) -> Option<&Path> {
        self.locals().find_map(|local| match local {
            Listen::Unix(path) => Some(path.as_path()),
            Listen::Tcp(_) => None,
        })
    }

    pub(crate) fn statistics(&self) -> Statistics {
        Statistics(Arc::clone(&self.shared))
    }

    pub(crate) fn accepted(&self) -> usize {
        self.statistics().accepted()
    }

    pub(crate) fn open(&self) -> usize {
        self.statistics().open()
    }

    pub(crate) fn close_connections(&self) {
        self.statistics().close_connections();
    }
}

/// A server's connections, for somebody who does not own it.
pub(crate) struct Statistics(Arc<Shared>);

impl Statistics {
    pub(crate) fn accepted(&self) -> usize {
        self.0.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.0.open().len()
    }

    pub(crate) fn close_connections(&self) {
        for stream in self.0.open().values() {
            stream.shut_down();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for acceptor in &mut self.acceptors {
            acceptor.listener.shut_down();
            if let Some(thread) = acceptor.thread.take() {
                let _ = thread.join();
            }
        }
        self.close_connections();
        let patience = Duration::from_secs(10);
        let none_open =
            self.shared
                .closed
                .wait_timeout_while(self.shared.open(), patience, |open| !open.is_empty());
        drop(none_open);
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Stream>>> {
        self.open.lock().expect("no thread panics with it")
    }
}

fn accept(listener: &Listener, shared: &Arc<Shared>) {
    while !shared.stopping.load(Ordering::SeqCst) {
        let Ok(stream) = listener.accept() else {
            // Out of descriptors, or the peer is gone already.
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let id = shared.accepted.fetch_add(1, Ordering::SeqCst) as u64 + 1;
        let stream = Arc::new(stream);
        shared.open().insert(id, Arc::clone(&stream));
        let entry = Entry {
            id,
            shared: Arc::clone(shared),
        };
        // When no thread can be had, dropping the closure closes the connection.
        let _ = thread::Builder::new()
            .name(format!("connection {id}"))
            .stack_size(256 * 1024)
            .spawn(move || converse(Connection::new(id, stream), &entry));
    }
}

/// A connection's entry among the open ones, for as long as its thread runs.
struct Entry {
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.open().remove(&self.id);
        self.shared.closed.notify_all();
    }
}

fn converse(mut connection: Connection, entry: &Entry) {
    let next = loop {
        let Ok(Some(request)) = connection.read_request() else {
            break Next::Close;
        };
        let served = entry.shared.service.serve(&mut connection, &request);
        match served {
            Ok(Next::Keep) => {}
            Ok(next) => break next,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let answer = Answer::text(400, format!("400 Bad Request: {error}"));
                let _ = connection.send(&answer.render(request.is_head(), true));
                break Next::Close;
            }
            Err(_) => break Next::Close,
        }
    };
    match next {
        Next::Keep | Next::Close => {}
        Next::Reset => connection.reset_on_close(),
        Next::Hang => connection.hang(),
    }
}
