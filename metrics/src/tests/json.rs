//! The JSON object.

use serde_json::{json, Value};

use super::*;

#[test]
fn the_whole_object() {
    let region = Region::new();
    let text = everything(region.metrics()).to_json();
    assert!(text.ends_with("}\n"));
    let page: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        page,
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "requests": {"valid": 1, "invalid": 0, "none": 0, "error": 0},
            "cache_requests": {
                "hit": 0, "miss": 1, "expired": 0, "stale": 0,
                "refresh": 0, "bypass": 0, "wait": 0, "none": 0,
            },
            "denials": {
                "session": 0, "user": 0, "verified": 0, "role": 0,
                "amr": 0, "max_age": 1, "error": 0,
            },
            "forged_headers": 3,
            "webhook_events": {"purged": 0, "ignored": 0, "bad_signature": 1, "malformed": 0},
            "purged_entries": 12,
            "resolvers": {
                RESOLVER: {
                    "requests": {
                        "valid": 1, "invalid": 0, "none": 0, "bad_status": 1,
                        "malformed": 0, "timeout": 1, "unreachable": 0, "client_closed": 0,
                    },
                    "responses": {"1xx": 0, "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 1, "other": 0},
                    "request_duration_seconds": {
                        "count": 3,
                        "sum": 5.038,
                        "buckets": {
                            "0.001": 0, "0.002": 0, "0.005": 1, "0.01": 1, "0.02": 1,
                            "0.05": 2, "0.1": 2, "0.2": 2, "0.5": 2,
                            "1.0": 2, "2.0": 2, "5.0": 2, "10.0": 3, "+Inf": 3,
                        },
                    },
                },
            },
            "zones": {
                "auth": {
                    "entries": {"valid": 20, "invalid": 3},
                    "bytes_used": 8_832,
                    "size_bytes": 1_048_576,
                    "evictions": 7,
                    "recoveries": 1,
                    "resolves_in_flight": 2,
                },
            },
        })
    );
}

#[test]
fn its_members_come_in_the_order_of_a_request() {
    let region = Region::new();
    let text = everything(region.metrics()).to_json();
    let at = |member: &str| text.find(&format!("\"{member}\":")).unwrap();
    let members = [
        "version",
        "requests",
        "cache_requests",
        "denials",
        "resolvers",
        "zones",
    ];
    assert!(members.is_sorted_by_key(|member| at(member)), "{text}");
}

#[test]
fn without_resolvers_and_zones_they_are_empty() {
    let region = Region::new();
    let text = region.metrics().snapshot(&[], &[]).to_json();
    let page: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&page["resolvers"], &page["zones"]),
        (&json!({}), &json!({}))
    );
}
