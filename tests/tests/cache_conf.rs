//! The cache's directives: what is accepted, what is refused where, and what is inherited.

use authgear_integration::{get, nginx_t, Nginx, NginxBuilder, Site, ALICE};

const ZONE: &str = "authgear_cache_zone zone=auth:1m;";

fn with_zone() -> NginxBuilder {
    Nginx::builder().http(ZONE)
}

/// A directive at each level at which it is known.
fn at_each_level(directive: &str) -> [NginxBuilder; 3] {
    [
        with_zone().http(directive),
        with_zone().server(directive),
        with_zone().server(&format!("location / {{\n{directive}\n}}")),
    ]
}

/// What is wrong with a refusal: it has to name the file, the line and each of these words.
fn complaint(builder: NginxBuilder, line: &str, words: &[&str]) -> Option<String> {
    let place = format!("nginx.conf:{}", builder.line_of(line));
    let said = match nginx_t(builder) {
        Ok(()) => return Some(format!("{line}: is accepted")),
        Err(said) => said,
    };
    let first = said.lines().find(|line| line.contains("[emerg]"));
    let first = first.unwrap_or_default();
    let missing: Vec<&str> = [place.as_str()]
        .iter()
        .chain(words)
        .copied()
        .filter(|word| !first.contains(word))
        .collect();
    (!missing.is_empty()).then(|| format!("{line}: no {missing:?} in {said}"))
}

#[test]
fn wrong_zones_are_refused_where_they_stand() {
    let rows: &[(&str, &[&str])] = &[
        ("authgear_cache_zone zone=x:28k;", &["x:28k", "8 pages"]),
        ("authgear_cache_zone zone=x:0;", &["8 pages"]),
        ("authgear_cache_zone zone=x:-1m;", &["zone=NAME:SIZE"]),
        ("authgear_cache_zone zone=x:1x;", &["zone=NAME:SIZE"]),
        ("authgear_cache_zone zone=x:10mm;", &["zone=NAME:SIZE"]),
        ("authgear_cache_zone zone=x:;", &["zone=NAME:SIZE"]),
        ("authgear_cache_zone zone=x;", &["zone=NAME:SIZE"]),
        ("authgear_cache_zone zone=:1m;", &["zone=NAME:SIZE"]),
        ("authgear_cache_zone x:1m;", &["zone=NAME:SIZE"]),
        (
            "authgear_cache_zone zone=x:1m 2m;",
            &["authgear_cache_zone"],
        ),
        ("authgear_cache_zone;", &["authgear_cache_zone"]),
        ("authgear_cache_zone  zone=auth:2m;", &["\"auth\" twice"]),
        ("authgear_cache_zone  zone=auth:1m;", &["\"auth\" twice"]),
    ];
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(row, words)| complaint(with_zone().http(row), row, words))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for builder in at_each_level("authgear_cache_zone zone=x:1m;")
        .into_iter()
        .skip(1)
    {
        let said = nginx_t(builder).expect_err("only in http");
        assert!(said.contains("not allowed here"), "{said}");
    }
}

#[test]
fn a_zone_of_another_module_is_not_taken() {
    let line = "authgear_cache_zone zone=theirs:1m;";
    let builder = with_zone()
        .http("limit_req_zone $binary_remote_addr zone=theirs:1m rate=1r/s;")
        .http(line);
    let said = nginx_t(builder).expect_err("one name, two modules");
    assert!(said.contains("theirs"), "{said}");
}

#[test]
fn wrong_values_are_refused_at_each_level() {
    let rows: &[(&str, &[&str])] = &[
        (
            "authgear_cache nowhere;",
            &["\"nowhere\"", "authgear_cache_zone"],
        ),
        ("authgear_cache '';", &["authgear_cache"]),
        ("authgear_cache auth auth;", &["authgear_cache"]),
        ("authgear_cache auth; authgear_cache auth;", &["duplicate"]),
        ("authgear_cache auth; authgear_cache off;", &["duplicate"]),
        ("authgear_cache_valid;", &["authgear_cache_valid"]),
        ("authgear_cache_valid soon;", &["\"soon\"", "a time"]),
        ("authgear_cache_valid -1s;", &["a time"]),
        ("authgear_cache_valid valid;", &["a time"]),
        (
            "authgear_cache_valid none 1s;",
            &["\"none\"", "\"valid\" or \"invalid\""],
        ),
        (
            "authgear_cache_valid 200 1s;",
            &["\"valid\" or \"invalid\""],
        ),
        (
            "authgear_cache_valid valid 1s 2s;",
            &["authgear_cache_valid"],
        ),
        (
            "authgear_cache_valid 1s; authgear_cache_valid valid 2s;",
            &["duplicate"],
        ),
        (
            "authgear_cache_valid invalid 1s; authgear_cache_valid invalid 2s;",
            &["duplicate"],
        ),
        (
            "authgear_cache_lock maybe;",
            &["authgear_cache_lock", "on", "off"],
        ),
        (
            "authgear_cache_lock_timeout never;",
            &["authgear_cache_lock_timeout", "a time"],
        ),
        (
            "authgear_cache_use_stale error timeout;",
            &["authgear_cache_use_stale"],
        ),
        (
            "authgear_cache_use_stale on;",
            &["authgear_cache_use_stale", "a time"],
        ),
        (
            "authgear_cache_refresh on;",
            &["authgear_cache_refresh", "a time"],
        ),
        (
            "authgear_cache_refresh 1s; authgear_cache_refresh off;",
            &["duplicate"],
        ),
        ("authgear_cache_bypass;", &["authgear_cache_bypass"]),
        (
            "authgear_cache_watch maybe;",
            &["authgear_cache_watch", "on", "off"],
        ),
    ];
    let mut wrong = Vec::new();
    for (row, words) in rows {
        for builder in at_each_level(row) {
            wrong.extend(complaint(builder, row, words));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn right_values_are_accepted_at_each_level() {
    let rows = [
        "authgear_cache auth;",
        "authgear_cache off;",
        "authgear_cache_valid 5m;",
        "authgear_cache_valid 5m; authgear_cache_valid invalid 1s;",
        "authgear_cache_valid valid 500ms; authgear_cache_valid invalid 0;",
        "authgear_cache_lock off;",
        "authgear_cache_lock_timeout 100ms;",
        "authgear_cache_use_stale 1h;",
        "authgear_cache_use_stale off;",
        "authgear_cache_refresh 30s;",
        "authgear_cache_refresh off;",
        "authgear_cache_bypass $http_pragma $arg_nocache;",
        "authgear_cache_watch off;",
    ];
    let mut wrong = Vec::new();
    for row in rows {
        for builder in at_each_level(row) {
            if let Err(said) = nginx_t(builder) {
                wrong.push(format!("{row}: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_zone_may_be_made_below_its_use_and_not_be_used() {
    for conf in [
        "authgear_cache later; authgear_cache_zone zone=later:32k;",
        "authgear_cache_zone zone=idle:32k;",
    ] {
        nginx_t(Nginx::builder().http(conf)).unwrap_or_else(|said| panic!("{conf}: {said}"));
    }
}

#[test]
fn the_cache_and_its_times_are_inherited_and_can_be_left() {
    let site = Site::builder()
        .http(
            "authgear_cache_zone zone=auth:1m; authgear_cache_zone zone=other:1m;
             authgear_cache auth; authgear_resolve http://%resolver%;
             add_header cache $authgear_cache_status always;
             add_header outcome $authgear_outcome always;",
        )
        .server(
            "location / {
                 proxy_pass http://%app%;
                 location /off {
                     authgear_cache off; proxy_pass http://%app%;
                     location /off/on { authgear_cache auth; proxy_pass http://%app%; }
                     location /off/deep { proxy_pass http://%app%; }
                 }
                 location /other { authgear_cache other; proxy_pass http://%app%; }
                 location /unresolved { authgear_resolve off; proxy_pass http://%app%; }
             }",
        )
        .start();
    let cache = |path: &str| {
        let response = site.send(get(path).cookie(ALICE));
        response.header("cache").unwrap_or_default().to_owned()
    };
    for (path, expected) in [
        ("/", "MISS"),
        ("/", "HIT"),
        ("/off", ""),
        ("/off/deep", ""),
        ("/off/on", "HIT"),
        ("/other", "MISS"),
        ("/other", "HIT"),
        ("/unresolved", ""),
    ] {
        assert_eq!(cache(path), expected, "{path}");
    }
    assert_eq!(site.resolver.request_count(), 4);
}
