//! Test builds only: a worker that dies in the middle of a change.
//!
//! `AUTHGEAR_KILL_POINT` names a file. When it is there, the worker that next takes a step in a zone
//! takes it away, and kills itself in place of the write to a zone that the number in it tells, where
//! 0 is the first. Anything but a number takes that back.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use authgear_cache::kill_points::{arm, disarm};

static FILE: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("AUTHGEAR_KILL_POINT").map(PathBuf::from));

/// Before a step: does what the file says, if it is there.
pub fn obey() {
    let Some(file) = &*FILE else { return };
    let taken = file.with_extension(std::process::id().to_string());
    if fs::rename(file, &taken).is_err() {
        return;
    }
    let order = fs::read_to_string(&taken).unwrap_or_default();
    match order.trim().parse() {
        Ok(writes) => arm(writes, die),
        Err(_) => drop(disarm()),
    }
    // The test sees that it was read.
    let _ = fs::remove_file(&taken);
}

fn die() {
    // SAFETY: kills this process, whatever it is doing.
    unsafe { libc::raise(libc::SIGKILL) };
}
