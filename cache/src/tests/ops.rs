//! What can happen to a zone.

use super::ms;
use crate::{Lock, Policy};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Lookup(u64, usize, usize),
    Fresh(u64, usize),
    Poll(usize, usize, usize),
    Stale(u64, usize),
    Begin(u64, usize),
    Settle(usize, Said),
    Fail(usize, usize),
    Abandon(usize),
    PurgeUser(u64),
    PurgeSession(u64),
    PurgeKey(u64),
    Advance(u64),
    SetBack(u64),
    KillOwner(usize),
    Attach,
    Full,
    /// The owner dies in place of the nth write.
    DieAt(u64, Box<Op>),
}

/// What a resolver says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) valid: bool,
    pub(super) user: u64,
    pub(super) session: Option<u64>,
    pub(super) until: Option<u64>,
    pub(super) len: usize,
}

pub(super) const OWNERS: usize = 3;
pub(super) const POLICIES: usize = 5;

pub(super) fn policy(index: usize) -> Policy {
    let default = Policy {
        lease: ms(5_000),
        ..Policy::default()
    };
    let eager = Policy {
        refresh: ms(5_000),
        use_stale: ms(60_000),
        ..default
    };
    match index {
        0 => default,
        1 => eager,
        2 => Policy {
            backoff: ms(1_000),
            ..eager
        },
        3 => Policy {
            lock: Lock::Off,
            ..eager
        },
        _ => Policy {
            valid: ms(1_000),
            ..default
        },
    }
}
