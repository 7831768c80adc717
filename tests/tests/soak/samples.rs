//! What nginx takes of the machine, from time to time.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authgear_integration::{get, Http1, Nginx};
use serde_json::Value;

/// One look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    /// Whether workers live on, for reloads are over.
    pub(crate) steady: bool,
    pub(crate) master_kib: u64,
    pub(crate) workers_kib: u64,
    pub(crate) descriptors: u64,
    pub(crate) zone_kib: u64,
    pub(crate) entries: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub(crate) all: Vec<Sample>,
    status: Value,
}

/// What is not to grow, and how much it may differ by chance.
pub(crate) type Measure = (&'static str, fn(&Sample) -> u64, u64);
pub(crate) const MEASURES: [Measure; 4] = [
    ("PSS of the master, KiB", |sample| sample.master_kib, 512),
    (
        "PSS of the 4 workers, KiB",
        |sample| sample.workers_kib,
        1_024,
    ),
    (
        "descriptors of the 4 workers",
        |sample| sample.descriptors,
        24,
    ),
    ("zone, KiB used", |sample| sample.zone_kib, 64),
];

/// The medians of the second quarter of some samples, and of the last.
#[derive(Debug)]
pub(crate) struct Trend {
    pub(crate) early: u64,
    pub(crate) late: u64,
}

impl Samples {
    /// Before a reload, when those told to leave by the last one have gone.
    pub(crate) fn take(&mut self, nginx: &Nginx, addr: SocketAddr, start: Instant, steady: bool) {
        let Ok(response) = Http1::connect(addr).try_request(&get("/status")) else {
            return;
        };
        let workers = nginx.worker_pids();
        let sum = |of: fn(u32) -> Option<u64>| workers.iter().map(|pid| of(*pid)).sum();
        let (Some(workers_kib), Some(descriptors)) = (sum(pss), sum(descriptors)) else {
            return;
        };
        self.status = serde_json::from_slice(&response.body).expect("JSON");
        let zone = &self.status["zones"]["auth"];
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        self.all.push(Sample {
            at: start.elapsed(),
            steady,
            master_kib: pss(nginx.pid()).unwrap_or_default(),
            workers_kib,
            descriptors,
            zone_kib: number(&zone["bytes_used"]) / 1024,
            entries: number(&zone["entries"]["valid"]) + number(&zone["entries"]["invalid"]),
        });
    }

    pub(crate) fn last_status(&self) -> Value {
        self.status.clone()
    }

    /// None where there are too few to tell.
    pub(crate) fn trend(&self, steady: bool, of: fn(&Sample) -> u64) -> Option<Trend> {
        let samples = self.all.iter().filter(|sample| sample.steady == steady);
        let values: Vec<u64> = samples.map(of).collect();
        let quarter = values.len() / 4;
        (quarter >= 2).then(|| Trend {
            early: median(&values[quarter..2 * quarter]),
            late: median(&values[values.len() - quarter..]),
        })
    }

    /// Whatever has grown by more than a twentieth and chance.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (name, of, chance) in MEASURES {
            for steady in [false, true] {
                if let Some(Trend { early, late }) = self.trend(steady, of) {
                    if late > early + early / 20 + chance {
                        complaints.push(format!("{name} grew from {early} to {late}"));
                    }
                }
            }
        }
        complaints
    }
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Its own memory, and its share of what it has in common with others.
fn pss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn descriptors(pid: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}
