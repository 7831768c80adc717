//! Calls of the C library that fail, and clocks that are wrong, in an nginx that runs.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Command;

use tempfile::TempDir;

use crate::{Environment, NginxBuilder};

/// Where what is in the control file; see `preload/faults.c`.
mod at {
    pub const ALLOCATIONS: u64 = 0;
    pub const PROCESS: u64 = 32;
    pub const OWN: u64 = 40;
    pub const FAILED_IN_MODULE: u64 = 48;
    pub const CALLS: u64 = 56;
    pub const KIND: u64 = 88;
    pub const ERROR: u64 = 96;
    pub const PORT: u64 = 104;
    pub const WALL: u64 = 112;
    pub const MONOTONIC: u64 = 120;
    pub const END: u64 = 128;
}

/// A call of the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    /// `connect`
    Connect = 1,
    /// `socket`
    Socket = 2,
    /// `recv`
    Recv = 4,
    /// `writev`
    Writev = 8,
    /// `epoll_ctl`, but not to remove
    EpollCtl = 16,
    /// `accept4`
    Accept = 32,
}

/// What came of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Calls that the plan was for.
    pub seen: u64,
    /// Those that failed.
    pub failed: u64,
    /// Of allocations, those that were the module's own, and not nginx's for it.
    pub failed_in_module: u64,
}

/// Decides what fails in the processes of one nginx.
#[derive(Debug)]
pub struct Faults {
    directory: TempDir,
    control: File,
}

impl Faults {
    /// Ready for an nginx; none where memory is somebody else's, as under valgrind.
    pub fn new() -> Option<Self> {
        if Environment::get().valgrind || std::env::var_os("ASAN_OPTIONS").is_some() {
            return None;
        }
        let directory = tempfile::Builder::new()
            .prefix("authgear-faults-")
            .tempdir()
            .expect("directory");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/preload/faults.c");
        let compiled = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(directory.path().join("faults.so"))
            .arg(source)
            .status();
        assert!(compiled.expect("cc").success(), "{source}");
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(directory.path().join("control"))
            .expect("control");
        control.set_len(at::END).expect("control");
        Some(Self { directory, control })
    }

    /// Puts it into an nginx.
    pub fn preload(&self, nginx: NginxBuilder) -> NginxBuilder {
        let path = |name| self.directory.path().join(name).display().to_string();
        nginx
            .env("LD_PRELOAD", &path("faults.so"))
            .env("AUTHGEAR_FAULTS", &path("control"))
    }

    /// Has allocations fail: `many` from the `from`th on, counted from 1.
    pub fn fail_allocations(&self, from: u64, many: u64) {
        self.fail_own_allocations_of(0, from, many);
        self.set(at::OWN, 0);
    }

    /// The same of one process, or of all for 0, and only of nginx and the module, not of the
    /// libraries that they use.
    pub fn fail_own_allocations_of(&self, process: u32, from: u64, many: u64) {
        self.set(at::ALLOCATIONS, 0);
        self.set(at::OWN, 1);
        self.set(at::PROCESS, process.into());
        self.set(at::FAILED_IN_MODULE, 0);
        self.plan(at::ALLOCATIONS, from, many);
    }

    /// Has calls fail with an error number, `many` from the `from`th on, counted from 1; of those on
    /// connections only the ones to `port`, if that is not 0.
    pub fn fail_calls(&self, call: Libc, port: u16, error: i32, from: u64, many: u64) {
        self.set(at::CALLS, 0);
        self.set(at::KIND, call as u64);
        self.set(at::ERROR, error as u64);
        self.set(at::PORT, port.into());
        self.plan(at::CALLS, from, many);
    }

    /// No call fails any more; what has happened.
    pub fn end_calls(&self) -> Happened {
        self.end(at::CALLS)
    }

    /// No allocation fails any more; what has happened.
    pub fn end_allocations(&self) -> Happened {
        Happened {
            failed_in_module: self.get(at::FAILED_IN_MODULE),
            ..self.end(at::ALLOCATIONS)
        }
    }

    /// How many allocations have failed so far.
    pub fn failed_allocations(&self) -> u64 {
        self.get(at::ALLOCATIONS + 24)
    }

    /// Moves the time of day away from the right one, by milliseconds.
    pub fn move_time_of_day(&self, ms: i64) {
        self.set(at::WALL, ms as u64);
    }

    /// Moves the monotonic clock.
    pub fn move_monotonic_clock(&self, ms: i64) {
        self.set(at::MONOTONIC, ms as u64);
    }

    fn plan(&self, at: u64, from: u64, many: u64) {
        for (word, value) in [(0, 0), (1, many), (2, 0), (3, 0), (0, from)] {
            self.set(at + 8 * word, value);
        }
    }

    fn end(&self, at: u64) -> Happened {
        self.set(at, 0);
        Happened {
            seen: self.get(at + 16),
            failed: self.get(at + 24),
            failed_in_module: 0,
        }
    }

    fn set(&self, at: u64, value: u64) {
        let bytes = value.to_ne_bytes();
        self.control.write_all_at(&bytes, at).expect("control");
    }

    fn get(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, at).expect("control");
        u64::from_ne_bytes(bytes)
    }
}
