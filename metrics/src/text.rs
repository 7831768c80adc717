//! Prometheus' text format 0.0.4 and OpenMetrics 1.0.0.

use std::fmt::{self, Display, Write};

use crate::labels::Label;
use crate::snapshot::{Histogram, Snapshot, ZoneSnapshot, VERSION};

impl Snapshot {
    /// Prometheus' text format 0.0.4.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        self.expose(Dialect::Prometheus)
    }

    /// OpenMetrics 1.0.0: the same series under the same names.
    #[must_use]
    pub fn to_openmetrics(&self) -> String {
        let mut text = self.expose(Dialect::OpenMetrics);
        text.push_str("# EOF\n");
        text
    }

    fn expose(&self, dialect: Dialect) -> String {
        let mut text = Exposition {
            dialect,
            text: String::with_capacity(8 * 1024),
        };
        // a String never refuses what is written to it
        let _ = self.write_to(&mut text);
        text.text
    }

    fn write_to(&self, text: &mut Exposition) -> fmt::Result {
        text.family(&BUILD)?;
        text.sample(&BUILD, "", &[("version", VERSION)], 1)?;

        text.counts(&REQUESTS, "outcome", &self.requests)?;
        text.counts(&CACHE_REQUESTS, "status", &self.cache)?;
        text.counts(&DENIALS, "reason", &self.denials)?;
        text.count(&FORGED_HEADERS, self.forged)?;
        text.counts(&WEBHOOK_EVENTS, "result", &self.webhooks)?;
        text.count(&PURGED_ENTRIES, self.purged)?;

        self.write_resolvers(text)?;
        self.write_zones(text)
    }

    fn write_resolvers(&self, text: &mut Exposition) -> fmt::Result {
        if self.resolvers.is_empty() {
            return Ok(());
        }
        text.family(&RESOLVER_REQUESTS)?;
        for resolver in &self.resolvers {
            let of = ("resolver", resolver.name.as_str());
            for &(result, count) in &resolver.results {
                let labels = [of, ("result", result.as_str())];
                text.sample(&RESOLVER_REQUESTS, "", &labels, count)?;
            }
        }
        text.family(&RESOLVER_RESPONSES)?;
        for resolver in &self.resolvers {
            let of = ("resolver", resolver.name.as_str());
            for &(class, count) in &resolver.classes {
                let labels = [of, ("class", class.as_str())];
                text.sample(&RESOLVER_RESPONSES, "", &labels, count)?;
            }
        }
        text.family(&RESOLVER_DURATION)?;
        for resolver in &self.resolvers {
            text.histogram(
                &RESOLVER_DURATION,
                ("resolver", &resolver.name),
                &resolver.duration,
            )?;
        }
        Ok(())
    }

    fn write_zones(&self, text: &mut Exposition) -> fmt::Result {
        type Value = fn(&ZoneSnapshot) -> u64;
        const VALUES: [(&Family, Value); 5] = [
            (&ZONE_BYTES_USED, |zone| zone.used_bytes),
            (&ZONE_SIZE_BYTES, |zone| zone.total_bytes),
            (&ZONE_EVICTIONS, |zone| zone.evictions),
            (&ZONE_RECOVERIES, |zone| zone.recoveries),
            (&ZONE_IN_FLIGHT, |zone| zone.flights),
        ];

        if self.zones.is_empty() {
            return Ok(());
        }
        text.family(&ZONE_ENTRIES)?;
        for zone in &self.zones {
            let of = ("zone", zone.name.as_str());
            text.sample(
                &ZONE_ENTRIES,
                "",
                &[of, ("kind", "valid")],
                zone.valid_entries,
            )?;
            text.sample(
                &ZONE_ENTRIES,
                "",
                &[of, ("kind", "invalid")],
                zone.invalid_entries,
            )?;
        }
        for (family, value) in VALUES {
            text.family(family)?;
            for zone in &self.zones {
                text.sample(family, "", &[("zone", &zone.name)], value(zone))?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Prometheus,
    OpenMetrics,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// A gauge that is always one and tells by its labels.
    Info,
}

/// Samples that belong together. The texts for help contain nothing that would need escaping.
struct Family {
    /// Without the prefix of all, and without the suffix that the kind demands.
    name: &'static str,
    kind: Kind,
    help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        help,
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Gauge,
        help,
    }
}

const BUILD: Family = Family {
    name: "build",
    kind: Kind::Info,
    help: "The version of the module.",
};
const REQUESTS: Family = counter(
    "requests",
    "Client requests that were resolved, by outcome.",
);
const CACHE_REQUESTS: Family = counter("cache_requests", "Client requests, by what the cache did.");
const DENIALS: Family = counter(
    "denials",
    "Refused client requests, by the requirement that was not met.",
);
const FORGED_HEADERS: Family = counter(
    "forged_headers",
    "Identity headers sent by clients and removed.",
);
const WEBHOOK_EVENTS: Family = counter("webhook_events", "Webhook requests, by result.");
const PURGED_ENTRIES: Family = counter(
    "purged_entries",
    "Cache entries removed by webhooks and purge calls.",
);
const RESOLVER_REQUESTS: Family = counter("resolver_requests", "Resolver calls, by result.");
const RESOLVER_RESPONSES: Family = counter(
    "resolver_responses",
    "Responses of the resolver, by status class.",
);
const RESOLVER_DURATION: Family = Family {
    name: "resolver_request_duration_seconds",
    kind: Kind::Histogram,
    help: "Time of resolver calls, however they ended.",
};
const ZONE_ENTRIES: Family = gauge("zone_entries", "Answers in the cache zone, by kind.");
const ZONE_BYTES_USED: Family = gauge("zone_bytes_used", "Bytes in use in the cache zone.");
const ZONE_SIZE_BYTES: Family = gauge("zone_size_bytes", "Bytes there are in the cache zone.");
const ZONE_EVICTIONS: Family = counter(
    "zone_evictions",
    "Answers that had to leave the cache zone for others.",
);
const ZONE_RECOVERIES: Family = counter(
    "zone_recoveries",
    "How often the cache zone was emptied because of a crash or damage.",
);
const ZONE_IN_FLIGHT: Family = gauge(
    "zone_resolves_in_flight",
    "Resolver calls under way whose answers the cache zone waits for.",
);

/// The text as far as it is written.
struct Exposition {
    dialect: Dialect,
    text: String,
}

impl Exposition {
    /// What introduces the samples of a family.
    fn family(&mut self, family: &Family) -> fmt::Result {
        // Prometheus names in TYPE what the samples are called, OpenMetrics what they have in common
        let suffix = match self.dialect {
            Dialect::Prometheus => family.kind.suffix(),
            Dialect::OpenMetrics => "",
        };
        let kind = match (family.kind, self.dialect) {
            (Kind::Counter, _) => "counter",
            (Kind::Histogram, _) => "histogram",
            (Kind::Gauge, _) | (Kind::Info, Dialect::Prometheus) => "gauge",
            (Kind::Info, Dialect::OpenMetrics) => "info",
        };
        let Family { name, help, .. } = family;
        writeln!(self.text, "# HELP nginx_authgear_{name}{suffix} {help}")?;
        writeln!(self.text, "# TYPE nginx_authgear_{name}{suffix} {kind}")
    }

    /// `part` is what the name of a histogram's sample ends in.
    fn sample(
        &mut self,
        family: &Family,
        part: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) -> fmt::Result {
        let suffix = family.kind.suffix();
        write!(self.text, "nginx_authgear_{}{suffix}{part}", family.name)?;
        let mut before = '{';
        for &(name, value) in labels {
            write!(self.text, "{before}{name}=\"{}\"", Escaped(value))?;
            before = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        writeln!(self.text, " {value}")
    }

    /// A family of a single counter.
    fn count(&mut self, family: &Family, count: u64) -> fmt::Result {
        self.family(family)?;
        self.sample(family, "", &[], count)
    }

    /// A family of one counter for each value of a label.
    fn counts<L: Label>(
        &mut self,
        family: &Family,
        label: &str,
        counts: &[(L, u64)],
    ) -> fmt::Result {
        self.family(family)?;
        for &(value, count) in counts {
            self.sample(family, "", &[(label, value.as_str())], count)?;
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        family: &Family,
        of: (&str, &str),
        histogram: &Histogram,
    ) -> fmt::Result {
        for (bound, count) in histogram.buckets() {
            self.sample(family, "_bucket", &[of, ("le", bound)], count)?;
        }
        self.sample(family, "_sum", &[of], histogram.seconds())?;
        self.sample(family, "_count", &[of], histogram.count())
    }
}

impl Kind {
    fn suffix(self) -> &'static str {
        match self {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        }
    }
}

/// A label's value as both formats quote it.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
