//! Ports that no other test takes, in this process or another.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::fs::{flock, FlockOperation};

/// Below Linux's ephemeral range, so that no outgoing connection takes one either.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// A loopback port, reserved while this value lives.
///
/// nginx binds the port itself, so a listener of ours can't hold it: a lock on a
/// file that all test processes share does.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a port on which nobody listens.
    pub fn reserve() -> Self {
        static TURN: AtomicU16 = AtomicU16::new(0);

        let directory = std::env::temp_dir().join("authgear-ports");
        std::fs::create_dir_all(&directory).expect("directory of port locks");
        let start = (std::process::id() % u32::from(COUNT)) as u16;

        for _ in 0..COUNT {
            let turn = TURN.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + (start.wrapping_mul(7).wrapping_add(turn)) % COUNT;
            let lock = File::create(directory.join(number.to_string())).expect("port lock");
            let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self {
                    number,
                    _lock: lock,
                };
            }
        }
        panic!("no free port");
    }

    /// Its address on the loopback interface.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
