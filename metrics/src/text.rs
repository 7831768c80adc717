//! Prometheus' text format 0.0.4 and OpenMetrics 1.0.0.

use crate::snapshot::Snapshot;

impl Snapshot {
    /// Prometheus' text format 0.0.4.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        String::new()
    }

    /// OpenMetrics 1.0.0.
    #[must_use]
    pub fn to_openmetrics(&self) -> String {
        String::from("# EOF\n")
    }
}
