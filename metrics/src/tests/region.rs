//! What attaching makes of what it finds.

use proptest::prelude::*;

use super::*;

#[test]
fn a_region_that_is_too_small_is_refused() {
    let region = Region::of(vec![0; WORDS - 1]);
    assert!(Metrics::attach(&region.0).is_none());
    assert!(Metrics::attach(&[]).is_none());
}

#[test]
fn words_beyond_ours_stay_untouched() {
    let region = Region::of((0..WORDS + 10).map(|word| if word < WORDS { 0 } else { 7 }));
    assert_eq!(region.attach().1, Attached::Fresh);
    everything(region.metrics());
    assert_eq!(region.words()[WORDS..], [7; 10]);
}

#[test]
fn a_reload_keeps_the_numbers() {
    let region = Region::new();
    assert_eq!(region.attach().1, Attached::Fresh);
    everything(region.metrics());

    let (metrics, attached) = region.attach();
    assert_eq!(attached, Attached::Reused);
    metrics.count_request(RequestOutcome::Valid);
    let slot = metrics.resolver(RESOLVER).unwrap();
    let scraped = scrape(&metrics.snapshot(&[(RESOLVER, slot)], &[]));
    assert_eq!(
        scraped.value("requests_total", &[("outcome", "valid")]),
        2.0
    );
    assert_eq!(
        scraped.value("resolver_request_duration_seconds_count", &[]),
        3.0
    );
}

#[test]
fn a_region_of_another_kind_is_emptied() {
    let ours = Region::new();
    everything(ours.metrics());
    let counted = ours.words();
    let with = |word: usize, value: u64| {
        let mut words = counted.clone();
        words[word] = value;
        words
    };
    let empty = {
        let region = Region::new();
        region.metrics();
        region.words()
    };

    for (what, words) in [
        ("another version", with(1, u64::MAX)),
        ("another magic word", with(0, 1)),
        ("a header that was lost", with(0, 0)),
        ("noise", vec![0x5a5a_5a5a_5a5a_5a5a; WORDS]),
        ("a last word", {
            let mut words = vec![0; WORDS];
            words[WORDS - 1] = 1;
            words
        }),
    ] {
        let region = Region::of(words);
        assert_eq!(region.attach().1, Attached::Incompatible, "{what}");
        assert_eq!(region.words(), empty, "{what}");
        assert_eq!(region.attach().1, Attached::Reused, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wrong numbers at worst: still well-formed, still a histogram.
    #[test]
    fn damage_is_told_without_a_panic(
        everywhere in prop_oneof![Just(0), Just(u64::MAX), any::<u64>()],
        here in prop::collection::vec(
            (2..WORDS, prop_oneof![Just(0), Just(u64::MAX), Just(u64::MAX / 2), any::<u64>()]),
            0..200,
        ),
    ) {
        let region = Region::new();
        region.metrics();
        for word in &region.0[2..] {
            word.store(everywhere, Relaxed);
        }
        for (word, value) in here {
            region.0[word].store(value, Relaxed);
        }
        let (metrics, attached) = region.attach();
        prop_assert_eq!(attached, Attached::Reused);
        let slot = metrics.resolver(RESOLVER);
        let named: Vec<_> = slot.map(|slot| (RESOLVER, slot)).into_iter().collect();
        if let Some(slot) = slot {
            metrics.count_call(slot, CallResult::Valid, 200, u64::MAX);
        }
        let snapshot = metrics.snapshot(&named, &[]);
        scrape(&snapshot);
        serde_json::from_str::<serde_json::Value>(&snapshot.to_json()).unwrap();
    }
}
