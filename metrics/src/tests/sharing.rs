//! Several processes at once, played by threads: each attaches for itself.

use std::sync::Barrier;
use std::thread;

use super::*;

const PROCESSES: usize = 4;
const CALLS: u64 = 5_000;

#[test]
fn no_count_is_lost_and_every_scrape_is_sound() {
    let region = Region::new();
    region.metrics();
    let start = Barrier::new(PROCESSES + 1);
    thread::scope(|scope| {
        let counting: Vec<_> = (0..PROCESSES)
            .map(|_| {
                scope.spawn(|| {
                    let metrics = region.metrics();
                    start.wait();
                    let slot = metrics.resolver(RESOLVER).unwrap();
                    for call in 0..CALLS {
                        metrics.count_request(RequestOutcome::Valid);
                        metrics.count_cache(CacheStatus::Miss);
                        metrics.add_purged(2);
                        metrics.count_call(slot, CallResult::Valid, 200, call % 50);
                    }
                })
            })
            .collect();

        start.wait();
        let metrics = region.metrics();
        let slot = metrics.resolver(RESOLVER).unwrap();
        let mut before = 0.0;
        while !counting.iter().all(|thread| thread.is_finished()) {
            // the reader checks that the histogram agrees with itself
            let scraped = scrape(&metrics.snapshot(&[(RESOLVER, slot)], &[]));
            let count = scraped.value("resolver_request_duration_seconds_count", &[]);
            assert!(count >= before, "{count} after {before}");
            before = count;
        }
    });

    let metrics = region.metrics();
    let slot = metrics.resolver(RESOLVER).unwrap();
    let scraped = scrape(&metrics.snapshot(&[(RESOLVER, slot)], &[]));
    let calls = (PROCESSES as u64 * CALLS) as f64;
    for (name, labels, expected) in [
        ("requests_total", ("outcome", "valid"), calls),
        ("cache_requests_total", ("status", "miss"), calls),
        ("resolver_requests_total", ("result", "valid"), calls),
        ("resolver_responses_total", ("class", "2xx"), calls),
        (
            "resolver_request_duration_seconds_count",
            ("resolver", RESOLVER),
            calls,
        ),
        // 0 to 49 ms, 24.5 on average
        (
            "resolver_request_duration_seconds_sum",
            ("resolver", RESOLVER),
            calls * 0.0245,
        ),
    ] {
        assert_eq!(scraped.value(name, &[labels]), expected, "{name}");
    }
    assert_eq!(scraped.value("purged_entries_total", &[]), calls * 2.0);
}

#[test]
fn all_processes_find_the_same_slots() {
    for round in 0..50 {
        let region = Region::new();
        region.metrics();
        let start = Barrier::new(PROCESSES);
        let found = thread::scope(|scope| {
            let processes: Vec<_> = (0..PROCESSES)
                .map(|process| {
                    let (region, start) = (&region, &start);
                    scope.spawn(move || {
                        let metrics = region.metrics();
                        let mut slots = vec![None; 64];
                        start.wait();
                        // each begins elsewhere
                        for step in 0..64 {
                            let number = (step + process * 16) % 64;
                            slots[number] = metrics.resolver(&format!("{round} {number}"));
                        }
                        slots
                    })
                })
                .collect();
            processes
                .into_iter()
                .map(|process| process.join().unwrap())
                .collect::<Vec<_>>()
        });
        for slots in &found {
            assert_eq!(slots, &found[0]);
            assert!(slots.iter().all(Option::is_some));
        }
        let mut slots = found[0].clone();
        slots.sort_by_key(|slot| format!("{slot:?}"));
        slots.dedup();
        assert_eq!(slots.len(), 64);
    }
}
