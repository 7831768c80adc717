//! An nginx that runs in the background, as a service does.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};

use crate::nginx::{children_of, workers_of, Prepared};
use crate::{deadline, eventually, NginxBuilder};

/// An nginx whose master is nobody's child, so that another binary can take its place; stopped,
/// and its log judged, when it goes.
#[derive(Debug)]
pub struct Daemon {
    prepared: Prepared,
}

impl NginxBuilder {
    /// Starts it in the background, and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_daemon(self) -> Daemon {
        let prepared = self.prepare();
        let conf = prepared.conf.replace("daemon off;", "daemon on;");
        fs::write(prepared.path("nginx.conf"), conf).expect("nginx.conf");
        let output = prepared.command(false).output().expect("nginx");
        assert!(output.status.success(), "nginx does not start: {output:?}");
        let daemon = Daemon { prepared };
        eventually("workers", || {
            let master = daemon.master()?;
            let accepts = |addr| TcpStream::connect(addr).is_ok();
            let ready = daemon.prepared.listens.values().all(|p| accepts(p.addr()))
                && workers_of(master).len() == daemon.prepared.workers;
            ready.then_some(())
        });
        daemon
    }
}

impl Daemon {
    /// Where it listens: `http1`, `http2` or the NAME of a `%listen:NAME%`.
    pub fn addr(&self, name: &str) -> SocketAddr {
        self.prepared.listens[name].addr()
    }

    /// The master that the pid file names.
    pub fn master(&self) -> Option<u32> {
        self.pid("logs/nginx.pid")
    }

    /// The master of the old binary, while there is one beside that of the new.
    pub fn old_master(&self) -> Option<u32> {
        self.pid("logs/nginx.pid.oldbin")
    }

    /// A master's workers that serve requests.
    pub fn workers_of(&self, master: u32) -> Vec<u32> {
        workers_of(master)
    }

    /// Sends a signal to a master.
    pub fn signal(&self, master: u32, signal: Signal) {
        kill_process(pid(master), signal).expect("signal to a master");
    }

    /// Starts the binary anew beside the running one; the old master and the new.
    pub fn start_new_binary(&self) -> (u32, u32) {
        let old = self.master().expect("a master");
        self.signal(old, Signal::USR2);
        let new = eventually("a new master with its workers", || {
            let new = self.master().filter(|new| *new != old)?;
            let complete = workers_of(new).len() == self.prepared.workers;
            (complete && self.old_master() == Some(old)).then_some(new)
        });
        (old, new)
    }

    /// Waits until a master has this number of workers, those that leave not counted.
    pub fn wait_for_workers(&self, master: u32, workers: usize) {
        eventually("the number of workers", || {
            (workers_of(master).len() == workers).then_some(())
        });
    }

    /// Waits until a process is gone.
    pub fn wait_for_end(&self, pid: u32) {
        eventually("the end of a process", || is_gone(pid).then_some(()));
    }

    /// The error log so far.
    pub fn error_log(&self) -> String {
        self.prepared.read("logs/error.log")
    }

    fn pid(&self, file: &str) -> Option<u32> {
        self.prepared.read(file).trim().parse().ok()
    }

    /// Asks nicely, then less so; whether all went in time.
    fn stop(&self) -> bool {
        let masters: Vec<u32> = [self.master(), self.old_master()]
            .into_iter()
            .flatten()
            .collect();
        let processes: Vec<u32> = masters
            .iter()
            .flat_map(|master| children_of(*master).chain([*master]))
            .collect();
        for signal in [Signal::QUIT, Signal::TERM] {
            for master in &masters {
                let _ = kill_process(pid(*master), signal);
            }
            let end = Instant::now() + deadline() / 3;
            while Instant::now() < end {
                if processes.iter().all(|pid| is_gone(*pid)) {
                    return signal == Signal::QUIT;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        for process in processes {
            let _ = kill_process(pid(process), Signal::KILL);
        }
        false
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let stopped = self.stop();
        let log = self.error_log();
        let bad_lines = self.prepared.bad_lines(&log);
        if std::thread::panicking() {
            eprintln!(
                "--- nginx.conf\n{}--- error.log\n{log}---",
                self.prepared.conf
            );
        } else {
            assert!(stopped, "nginx had to be killed");
            assert!(bad_lines.is_empty(), "{}", bad_lines.join("\n"));
        }
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number as i32).expect("a pid")
}

/// Whether a process has ended; one that nobody has asked about since is a zombie.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    state.is_empty() || state.starts_with('Z')
}
