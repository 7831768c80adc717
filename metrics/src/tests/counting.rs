//! What a call of each function changes, and that it changes nothing else.

use super::*;
use crate::labels::Label;

/// The samples that are not zero, without those that never are.
fn counted(metrics: Metrics<'_>, resolvers: &[(&str, ResolverSlot)]) -> Vec<String> {
    scrape(&metrics.snapshot(resolvers, &[]))
        .samples()
        .filter(|sample| sample.value != 0.0 && !sample.name.ends_with("build_info"))
        .map(|sample| {
            let labels: Vec<_> = sample
                .labels
                .iter()
                .filter(|(label, _)| *label != "resolver")
                .map(|(_, value)| value.as_str())
                .collect();
            let name = sample.name.trim_start_matches("nginx_authgear_");
            format!("{name}{{{}}} {}", labels.join(","), sample.value)
        })
        .collect()
}

#[test]
fn nothing_is_counted_at_first() {
    let region = Region::new();
    let metrics = region.metrics();
    let slot = metrics.resolver(RESOLVER).unwrap();
    assert!(counted(metrics, &[(RESOLVER, slot)]).is_empty());
}

#[test]
fn each_thing_is_counted_as_itself() {
    fn each<L: Label>(name: &str, count: impl Fn(Metrics<'_>, L)) {
        for &value in L::ALL {
            let region = Region::new();
            let metrics = region.metrics();
            count(metrics, value);
            count(metrics, value);
            let expected = format!("{name}{{{}}} 2", value.as_str());
            assert_eq!(counted(metrics, &[]), [expected]);
        }
    }
    each("requests_total", |metrics, it| metrics.count_request(it));
    each("cache_requests_total", |metrics, it| {
        metrics.count_cache(it)
    });
    each("denials_total", |metrics, it| metrics.count_denial(it));
    each("webhook_events_total", |metrics, it| {
        metrics.count_webhook(it)
    });

    let region = Region::new();
    let metrics = region.metrics();
    metrics.add_forged(3);
    metrics.add_purged(500);
    assert_eq!(
        counted(metrics, &[]),
        ["forged_headers_total{} 3", "purged_entries_total{} 500"]
    );
}

#[test]
fn calls_are_counted_by_result_class_and_time() {
    for &result in CallResult::ALL {
        for (status, class) in [
            (0, None),
            (99, Some("other")),
            (100, Some("1xx")),
            (200, Some("2xx")),
            (299, Some("2xx")),
            (302, Some("3xx")),
            (404, Some("4xx")),
            (500, Some("5xx")),
            (599, Some("5xx")),
            (600, Some("other")),
            (u16::MAX, Some("other")),
        ] {
            let region = Region::new();
            let metrics = region.metrics();
            let slot = metrics.resolver(RESOLVER).unwrap();
            metrics.count_call(slot, result, status, 10_001);

            let mut expected = vec![format!("resolver_requests_total{{{}}} 1", result.as_str())];
            expected.extend(class.map(|class| format!("resolver_responses_total{{{class}}} 1")));
            expected.extend(
                ["_bucket{+Inf} 1", "_sum{} 10.001", "_count{} 1"]
                    .map(|sample| format!("resolver_request_duration_seconds{sample}")),
            );
            assert_eq!(counted(metrics, &[(RESOLVER, slot)]), expected);
        }
    }
}

#[test]
fn a_call_falls_into_the_first_bucket_that_is_not_below_it() {
    for (elapsed_ms, first_bound) in [
        (0, "0.001"),
        (1, "0.001"),
        (2, "0.002"),
        (3, "0.005"),
        (5, "0.005"),
        (6, "0.01"),
        (999, "1.0"),
        (1_000, "1.0"),
        (1_001, "2.0"),
        (5_004, "10.0"),
        (10_000, "10.0"),
        (10_001, "+Inf"),
        (u64::MAX, "+Inf"),
    ] {
        let region = Region::new();
        let metrics = region.metrics();
        let slot = metrics.resolver(RESOLVER).unwrap();
        metrics.count_call(slot, CallResult::Valid, 200, elapsed_ms);
        let scraped = scrape(&metrics.snapshot(&[(RESOLVER, slot)], &[]));
        let first = scraped
            .samples()
            .find(|sample| sample.labels.contains_key("le") && sample.value == 1.0)
            .unwrap();
        assert_eq!(first.labels["le"], first_bound, "{elapsed_ms} ms");
    }
}

#[test]
fn resolvers_are_counted_apart() {
    let region = Region::new();
    let metrics = region.metrics();
    let names = ["http://one/", "http://two/"];
    let slots = names.map(|name| metrics.resolver(name).unwrap());
    metrics.count_call(slots[0], CallResult::Valid, 200, 1);
    metrics.count_call(slots[1], CallResult::Invalid, 200, 2);
    metrics.count_call(slots[1], CallResult::Invalid, 200, 3);

    let scraped = scrape(&metrics.snapshot(&[(names[0], slots[0]), (names[1], slots[1])], &[]));
    for (name, result, count) in [
        ("http://one/", "valid", 1.0),
        ("http://one/", "invalid", 0.0),
        ("http://two/", "valid", 0.0),
        ("http://two/", "invalid", 2.0),
    ] {
        let labels = [("resolver", name), ("result", result)];
        assert_eq!(scraped.value("resolver_requests_total", &labels), count);
    }
}

#[test]
fn a_resolver_keeps_its_slot_until_all_are_taken() {
    let region = Region::new();
    let metrics = region.metrics();
    let name = |number: usize| format!("http://authgear-{number}:3001/");
    let slots: Vec<_> = (0..64)
        .map(|number| metrics.resolver(&name(number)).unwrap())
        .collect();

    assert_eq!(metrics.resolver("one too many"), None);
    let again = region.metrics();
    for (number, &slot) in slots.iter().enumerate() {
        assert_eq!(again.resolver(&name(number)), Some(slot));
        assert_eq!(slots.iter().filter(|&&other| other == slot).count(), 1);
    }
}

/// A build with another hash would count a resolver twice after a reload.
#[test]
fn the_hash_of_a_name_is_fnv_1a() {
    let region = Region::new();
    region.metrics().resolver("foobar").unwrap();
    assert!(region.words().contains(&0x8594_4171_f739_67e8));
}
