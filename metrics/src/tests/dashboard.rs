//! The Grafana dashboard asks for what there is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;

const DASHBOARD: &str = include_str!("../../../nginx-conf/grafana-dashboard.json");

/// Labels that Prometheus adds.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).unwrap()
}

/// All panels but the headings.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["panels"])
        .iter()
        .filter(|panel| panel["type"] != "row")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The expressions of the panels and the queries of the variables.
fn expressions(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard).flat_map(|panel| list(&panel["targets"]));
    let variables = list(&dashboard["templating"]["list"])
        .iter()
        .filter(|variable| variable["type"] == "query");
    targets
        .map(|target| text(&target["expr"]))
        .chain(variables.map(|variable| text(&variable["query"]["query"])))
        .collect()
}

/// The words of an expression, without what is quoted.
fn words(expression: &str) -> Vec<&str> {
    expression
        .split('"')
        .step_by(2)
        .flat_map(|part| part.split(|c: char| !(c.is_ascii_alphanumeric() || "_:$".contains(c))))
        .filter(|word| !word.is_empty())
        .collect()
}

/// Everything that is told, and the labels of each.
fn told() -> BTreeMap<String, BTreeSet<String>> {
    let region = Region::new();
    let mut told = BTreeMap::<String, BTreeSet<String>>::new();
    for sample in scrape(&everything(region.metrics())).samples() {
        told.entry(sample.name.clone())
            .or_default()
            .extend(sample.labels.keys().cloned());
    }
    told
}

#[test]
fn every_expression_names_metrics_and_labels_that_there_are() {
    const PROMQL: [&str; 12] = [
        "sum",
        "rate",
        "increase",
        "max",
        "by",
        "histogram_quantile",
        "label_values",
        "count",
        "clamp_min",
        "or",
        "on",
        "vector",
    ];
    let told = told();
    let dashboard = dashboard();
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 10);
    for expression in expressions {
        let (metrics, others): (Vec<_>, Vec<_>) = words(expression)
            .into_iter()
            .partition(|word| word.starts_with("nginx_authgear_"));
        assert!(!metrics.is_empty(), "{expression}");
        let mut labels = BTreeSet::from(TARGET_LABELS.map(str::to_owned));
        for metric in metrics {
            let of_metric = told.get(metric);
            labels.extend(
                of_metric
                    .unwrap_or_else(|| panic!("{metric}: {expression}"))
                    .clone(),
            );
        }
        for word in others {
            let known = PROMQL.contains(&word)
                || labels.contains(word)
                || word.starts_with(|c: char| c.is_ascii_digit() || c == '$');
            assert!(known, "{word}: {expression}");
        }
    }
}

#[test]
fn everything_that_is_told_is_on_it() {
    let dashboard = dashboard();
    let shown: BTreeSet<_> = expressions(&dashboard)
        .into_iter()
        .flat_map(words)
        .collect();
    for name in told().keys() {
        // averages are no concern of a dashboard that has quantiles
        if !name.ends_with("_seconds_sum") && !name.ends_with("_seconds_count") {
            assert!(shown.contains(name.as_str()), "{name}");
        }
    }
}

#[test]
fn it_can_be_imported_anywhere() {
    let dashboard = dashboard();
    assert!(dashboard["id"].is_null());
    assert!(dashboard["schemaVersion"].as_u64() >= Some(41));
    let variables = list(&dashboard["templating"]["list"]);
    assert_eq!(variables[0]["name"], "datasource");
    assert_eq!(variables[0]["type"], "datasource");
    assert_eq!(variables[0]["query"], "prometheus");
    let of_panels = panels(&dashboard).flat_map(|panel| {
        let targets = list(&panel["targets"]).iter();
        targets
            .map(|target| &target["datasource"])
            .chain([&panel["datasource"]])
    });
    let of_variables = variables[1..]
        .iter()
        .map(|variable| &variable["datasource"]);
    for source in of_panels.chain(of_variables) {
        assert_eq!(source["type"], "prometheus");
        assert_eq!(source["uid"], "${datasource}");
    }
}

#[test]
fn its_panels_have_room() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in list(&dashboard["panels"]) {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(!text(&panel["title"]).is_empty());
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        for column in x..x + w {
            for line in y..y + h {
                assert!(taken.insert((column, line)), "{panel}");
            }
        }
    }
}
