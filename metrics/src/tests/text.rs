//! The text formats.

use proptest::prelude::*;

use super::*;

#[test]
fn prometheus_text() {
    let region = Region::new();
    let text = everything(region.metrics()).to_prometheus();
    for line in [
        "# HELP nginx_authgear_requests_total Client requests that were resolved, by outcome.",
        "# TYPE nginx_authgear_requests_total counter",
        "nginx_authgear_requests_total{outcome=\"valid\"} 1",
        "nginx_authgear_requests_total{outcome=\"error\"} 0",
        "nginx_authgear_cache_requests_total{status=\"miss\"} 1",
        "nginx_authgear_denials_total{reason=\"max_age\"} 1",
        "nginx_authgear_forged_headers_total 3",
        "nginx_authgear_webhook_events_total{result=\"bad_signature\"} 1",
        "nginx_authgear_purged_entries_total 12",
        "# TYPE nginx_authgear_resolver_request_duration_seconds histogram",
        "nginx_authgear_zone_entries{zone=\"auth\",kind=\"valid\"} 20",
        "nginx_authgear_zone_entries{zone=\"auth\",kind=\"invalid\"} 3",
        "nginx_authgear_zone_bytes_used{zone=\"auth\"} 8832",
        "nginx_authgear_zone_size_bytes{zone=\"auth\"} 1048576",
        "nginx_authgear_zone_evictions_total{zone=\"auth\"} 7",
        "nginx_authgear_zone_recoveries_total{zone=\"auth\"} 1",
        "nginx_authgear_zone_resolves_in_flight{zone=\"auth\"} 2",
        "# TYPE nginx_authgear_build_info gauge",
        &format!(
            "nginx_authgear_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        ),
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    for (sample, value) in [
        ("requests_total{resolver=\"R\",result=\"timeout\"}", "1"),
        ("responses_total{resolver=\"R\",class=\"5xx\"}", "1"),
        (
            "request_duration_seconds_bucket{resolver=\"R\",le=\"0.005\"}",
            "1",
        ),
        (
            "request_duration_seconds_bucket{resolver=\"R\",le=\"1.0\"}",
            "2",
        ),
        (
            "request_duration_seconds_bucket{resolver=\"R\",le=\"+Inf\"}",
            "3",
        ),
        ("request_duration_seconds_sum{resolver=\"R\"}", "5.038"),
        ("request_duration_seconds_count{resolver=\"R\"}", "3"),
    ] {
        let sample = sample.replace("\"R\"", &format!("\"{RESOLVER}\""));
        let line = format!("nginx_authgear_resolver_{sample} {value}");
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

/// What Prometheus stores must not depend on the format that it happens to choose.
#[test]
fn openmetrics_tells_the_same_series() {
    let region = Region::new();
    let snapshot = everything(region.metrics());
    let text = snapshot.to_openmetrics();
    let open = Exposition::parse(&text, Dialect::OpenMetrics)
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let series = |exposition: &Exposition| -> Vec<String> {
        exposition
            .samples()
            .map(|sample| format!("{sample:?}"))
            .collect()
    };
    assert_eq!(series(&open), series(&scrape(&snapshot)));
}

#[test]
fn without_resolvers_and_zones_their_families_are_absent() {
    let region = Region::new();
    let scraped = scrape(&region.metrics().snapshot(&[], &[]));
    assert_eq!(scraped.families.len(), 7);
}

#[test]
fn what_is_named_twice_is_told_once() {
    let region = Region::new();
    let metrics = region.metrics();
    let one = ("one", metrics.resolver("one").unwrap());
    let two = ("two", metrics.resolver("two").unwrap());
    // the reader refuses a series that comes twice
    let scraped = scrape(&metrics.snapshot(&[one, two, one], &[zone("a"), zone("b"), zone("a")]));
    scraped.value(
        "resolver_request_duration_seconds_count",
        &[("resolver", "two")],
    );
    scraped.value("zone_size_bytes", &[("zone", "b")]);
}

proptest! {
    #[test]
    fn any_name_survives_the_text(name in ".*|[\\\\\"\n{},= ]{0,8}") {
        let region = Region::new();
        let metrics = region.metrics();
        let slot = metrics.resolver(&name).unwrap();
        let snapshot = metrics.snapshot(&[(&name, slot)], &[zone(&name)]);
        let open = Exposition::parse(&snapshot.to_openmetrics(), Dialect::OpenMetrics).unwrap();
        for exposition in [scrape(&snapshot), open] {
            exposition.value("zone_size_bytes", &[("zone", &name)]);
            exposition.value("resolver_request_duration_seconds_sum", &[("resolver", &name)]);
        }
    }
}
