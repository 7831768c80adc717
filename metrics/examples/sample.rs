//! Prints what `authgear_status` could show: `cargo run -p authgear-metrics --example sample [FORMAT]`.

use std::sync::atomic::AtomicU64;

use authgear_metrics::{
    negotiate, CacheStatus, CallResult, DenialReason, Format, Metrics, RequestOutcome,
    WebhookResult, ZoneSnapshot, WORDS,
};

fn main() {
    let argument = std::env::args().nth(1);
    let format = match &argument {
        Some(name) => negotiate(None, Some(name.as_bytes())),
        None => Some(Format::Prometheus),
    };
    let Some(format) = format else {
        eprintln!("expected json, prometheus or openmetrics");
        std::process::exit(2);
    };

    let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
    let (metrics, _) = Metrics::attach(&words).expect("it has the room that is needed");
    let name = "http://authgear:3001/_resolver/resolve";
    let slot = metrics.resolver(name).expect("it is the first one");
    metrics.count_request(RequestOutcome::Valid);
    metrics.count_cache(CacheStatus::Miss);
    metrics.count_denial(DenialReason::Role);
    metrics.add_forged(2);
    metrics.count_webhook(WebhookResult::Purged);
    metrics.add_purged(1);
    metrics.count_call(slot, CallResult::Valid, 200, 4);
    metrics.count_call(slot, CallResult::Timeout, 0, 5_002);
    let zone = ZoneSnapshot {
        name: "auth".to_owned(),
        valid_entries: 1,
        used_bytes: 384,
        total_bytes: 1 << 20,
        ..ZoneSnapshot::default()
    };
    print!(
        "{}",
        metrics.snapshot(&[(name, slot)], &[zone]).render(format)
    );
}
