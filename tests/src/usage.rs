//! What a process takes of the machine, and whether that grows.

use std::fs;

/// How many descriptors a process has open; none if it is gone.
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// A line of a process's memory, `Pss` and the like (`/proc/PID/smaps_rollup`), in KiB.
pub fn memory_kib(pid: u32, line: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let value = text
        .lines()
        .find_map(|l| l.strip_prefix(line)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

/// The medians of the second quarter of some samples, and of the last.
#[derive(Clone, Copy, Debug)]
pub struct Trend {
    /// Of the second quarter.
    pub early: u64,
    /// Of the last.
    pub late: u64,
}

impl Trend {
    /// Of two samples or more.
    pub fn of(samples: &[u64]) -> Self {
        let quarter = (samples.len() / 4).max(1);
        Self {
            early: median(&samples[quarter..2 * quarter]),
            late: median(&samples[samples.len() - quarter..]),
        }
    }
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values[values.len() / 2]
}
