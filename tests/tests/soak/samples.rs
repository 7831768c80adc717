//! What nginx takes of the machine, from time to time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authgear_integration::{descriptors, get, memory_kib, Http1, Nginx, Trend};
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

impl Samples {
    /// Before a reload, when those told to leave by the last one have gone.
    pub(crate) fn take(&mut self, nginx: &Nginx, addr: SocketAddr, start: Instant, steady: bool) {
        let Ok(response) = Http1::connect(addr).try_request(&get("/status")) else {
            return;
        };
        let workers = nginx.worker_pids();
        // Its own memory, and its share of what it has in common with others.
        let pss = |pid| memory_kib(pid, "Pss");
        let memory: Option<u64> = workers.iter().map(|pid| pss(*pid)).sum();
        let open: Option<usize> = workers.iter().map(|pid| descriptors(*pid)).sum();
        let (Some(workers_kib), Some(open)) = (memory, open) else {
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
            descriptors: open as u64,
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
        (values.len() >= 8).then(|| Trend::of(&values))
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
