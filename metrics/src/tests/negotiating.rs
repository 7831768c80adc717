//! Which form is chosen.

use proptest::prelude::*;

use super::*;

const JSON: Option<Format> = Some(Format::Json);
const TEXT: Option<Format> = Some(Format::Prometheus);
const OPEN: Option<Format> = Some(Format::OpenMetrics);

/// As browsers and scrapers send them.
const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
                      image/apng,*/*;q=0.8";
const AXIOS: &str = "application/json, text/plain, */*";
const PROMETHEUS_2_30: &str =
    "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const PROMETHEUS_2_42: &str = "application/openmetrics-text;version=1.0.0,\
     application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
     application/openmetrics-text;version=0.0.1;q=0.4,\
     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
const PROMETHEUS_PROTO: &str = "application/vnd.google.protobuf;\
     proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;\
     q=0.3,*/*;q=0.1";

#[test]
fn accept_decides() {
    for (accept, expected) in [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/*", JSON),
        ("text/html", JSON),
        (CHROME, JSON),
        (AXIOS, JSON),
        ("text/plain", TEXT),
        ("TEXT/PLAIN; charset=utf-8", TEXT),
        ("text/*", TEXT),
        ("text/plain, */*", TEXT),
        ("*/*, text/plain", TEXT),
        ("text/plain;q=0.5, */*;q=0.1", TEXT),
        ("text/plain;q=0.5, application/json;q=0.4", TEXT),
        ("text/plain;q=0.4, application/json;q=0.5", JSON),
        ("text/plain;q=0", JSON),
        ("text/plain;q=0, */*;q=0.1", JSON),
        ("application/json;q=0, */*", OPEN),
        ("application/json;q=0", JSON),
        ("application/openmetrics-text", OPEN),
        ("application/openmetrics-text; version=1.0.0", OPEN),
        (
            "application/openmetrics-text; version=2.0.0, text/plain;q=0.1",
            TEXT,
        ),
        ("text/plain;q=0.5, application/openmetrics-text;q=0.5", OPEN),
        ("x/y;z=\",text/plain\", application/json", JSON),
        ("x/y;z=\"\\\",text/plain\", application/json;q=0.1", JSON),
        ("text/plain;q=2", JSON),
        ("text/plain;q=0.1234", JSON),
        ("text/plain;q=", JSON),
        (" , ;;, text/plain;;q=1.000", TEXT),
        (PROMETHEUS_2_30, TEXT),
        (PROMETHEUS_2_42, OPEN),
        (PROMETHEUS_3, OPEN),
        (PROMETHEUS_PROTO, TEXT),
    ] {
        assert_eq!(
            negotiate(Some(accept.as_bytes()), None),
            expected,
            "{accept}"
        );
    }
    assert_eq!(negotiate(None, None), JSON);
}

#[test]
fn the_argument_wins() {
    for accept in [None, Some("text/plain"), Some("application/json")] {
        let chosen = |format: &str| negotiate(accept.map(str::as_bytes), Some(format.as_bytes()));
        assert_eq!(chosen("json"), JSON);
        assert_eq!(chosen("prometheus"), TEXT);
        assert_eq!(chosen("openmetrics"), OPEN);
        for unknown in ["", "xml", "JSON", "json ", "text/plain"] {
            assert_eq!(chosen(unknown), None, "{unknown}");
        }
    }
}

#[test]
fn content_types_name_their_versions() {
    for (format, expected) in [
        (Format::Json, "application/json"),
        (
            Format::Prometheus,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            Format::OpenMetrics,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        assert_eq!(format.content_type(), expected);
    }
}

#[test]
fn each_form_is_rendered_as_itself() {
    let region = Region::new();
    let snapshot = everything(region.metrics());
    assert_eq!(snapshot.render(Format::Json), snapshot.to_json());
    assert_eq!(
        snapshot.render(Format::Prometheus),
        snapshot.to_prometheus()
    );
    assert_eq!(
        snapshot.render(Format::OpenMetrics),
        snapshot.to_openmetrics()
    );
}

proptest! {
    #[test]
    fn any_accept_gets_an_answer(
        accept in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            "[a-z*/;,=q0-9.\" \\\\]{0,64}".prop_map(String::into_bytes),
        ],
    ) {
        prop_assert!(negotiate(Some(&accept), None).is_some());
    }
}
