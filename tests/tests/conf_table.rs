//! Every directive of the module, what it accepts, and where: a table, in which none is missing.
//!
//! More values of each are in `conf_errors.rs`, `cache_conf.rs`, `require.rs`, `tls.rs` and
//! `operate.rs`.

use std::collections::BTreeSet;

use authgear_integration::{
    get, nginx_t, workspace, Http1, Nginx, NginxBuilder, Port, Site, ALICE,
};

/// Where a directive may stand.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    /// `http`, `server` and `location`.
    Anywhere,
    Http,
    Location,
}
use Where::{Anywhere, Http, Location};

/// A second one at the same level.
#[derive(Clone, Copy, PartialEq)]
enum Twice {
    Refused,
    Accepted,
}
use Twice::{Accepted, Refused};

struct Row {
    name: &'static str,
    place: Where,
    twice: Twice,
    right: &'static [&'static str],
    /// What is refused, and what the refusal says.
    wrong: &'static [(&'static str, &'static str)],
}

const fn row(
    name: &'static str,
    place: Where,
    twice: Twice,
    right: &'static [&'static str],
    wrong: &'static [(&'static str, &'static str)],
) -> Row {
    Row {
        name,
        place,
        twice,
        right,
        wrong,
    }
}

const FLAG: &[&str] = &["on", "off"];
const NO_FLAG: &[(&str, &str)] = &[("1", "expected \"on\" or \"off\""), NONE, TWO];
const NONE: (&str, &str) = ("", "invalid number of arguments");
const TWO: (&str, &str) = ("1 2", "invalid number of arguments");
const TIME: &[&str] = &["1ms", "5s", "1h30m"];
const NO_TIME: &[(&str, &str)] = &[
    ("soon", "expected a time"),
    ("-1", "expected a time"),
    NONE,
    TWO,
];
const NUMBER: &[&str] = &["0", "1", "65535"];
const NO_NUMBER: &[(&str, &str)] = &[
    ("many", "expected a number"),
    ("-1", "expected a number"),
    ("65536", "expected a number"),
    NONE,
    TWO,
];

/// The files that some of them name are those of [`nginx`].
const TABLE: &[Row] = &[
    row(
        "authgear_resolve",
        Anywhere,
        Refused,
        &[
            "off",
            "http://127.0.0.1:1",
            "https://127.0.0.1:1/resolve",
            "http://unix:/a:/b",
        ],
        &[
            ("127.0.0.1:1", "expected"),
            ("ftp://a", "expected"),
            NONE,
            TWO,
        ],
    ),
    row(
        "authgear_set_header",
        Anywhere,
        Accepted,
        &["X-A a", "X-A ''", "X-A \"$host b\""],
        &[
            ("'X A' a", "expected a header field name"),
            ("Connection close", "belongs to the connection"),
            ("X-A", "invalid number of arguments"),
            ("X-A b c", "invalid number of arguments"),
        ],
    ),
    row("authgear_connect_timeout", Anywhere, Refused, TIME, NO_TIME),
    row("authgear_send_timeout", Anywhere, Refused, TIME, NO_TIME),
    row("authgear_read_timeout", Anywhere, Refused, TIME, NO_TIME),
    row(
        "authgear_next_upstream",
        Anywhere,
        Refused,
        &[
            "off",
            "error timeout",
            "http_500 http_403 http_429 invalid_header",
        ],
        &[("http_200", "expected error, timeout"), NONE],
    ),
    row(
        "authgear_next_upstream_tries",
        Anywhere,
        Refused,
        NUMBER,
        NO_NUMBER,
    ),
    row(
        "authgear_next_upstream_timeout",
        Anywhere,
        Refused,
        &["0", "5s"],
        NO_TIME,
    ),
    row("authgear_keepalive", Anywhere, Refused, NUMBER, NO_NUMBER),
    row(
        "authgear_buffer_size",
        Anywhere,
        Refused,
        &["512", "4k", "1m"],
        &[
            ("1", "expected a size"),
            ("2m", "expected a size"),
            NONE,
            TWO,
        ],
    ),
    row(
        "authgear_cookie_prefix",
        Anywhere,
        Refused,
        &["shop_", "''"],
        &[("a=b", "expected characters"), NONE, TWO],
    ),
    row("authgear_pass_identity", Anywhere, Refused, FLAG, NO_FLAG),
    row("authgear_pass_set_cookie", Anywhere, Refused, FLAG, NO_FLAG),
    row("authgear_trust_identity", Anywhere, Refused, FLAG, NO_FLAG),
    row(
        "authgear_on_error",
        Anywhere,
        Refused,
        &["deny", "anonymous"],
        &[("allow", "expected \"deny\" or \"anonymous\""), NONE, TWO],
    ),
    row(
        "authgear_error_status",
        Anywhere,
        Refused,
        &["400", "503", "599"],
        &[
            ("200", "expected a status"),
            ("600", "expected a status"),
            NONE,
            TWO,
        ],
    ),
    row(
        "authgear_require",
        Anywhere,
        Accepted,
        &[
            "off",
            "session",
            "user verified role=a,b role=c amr=mfa max_age=5m",
        ],
        &[
            ("admin", "is wrong"),
            ("off session", "beside other conditions"),
            NONE,
        ],
    ),
    row(
        "authgear_login",
        Anywhere,
        Refused,
        &[
            "off",
            "https://auth.example/?rd=$authgear_return_url",
            "/login",
        ],
        &[("''", "expected a URL"), NONE, TWO],
    ),
    row(
        "authgear_cache_zone",
        Http,
        Accepted,
        &["zone=a:64k", "zone=b:10m"],
        &[
            ("a:64k", "expected"),
            ("zone=a", "expected"),
            ("zone=a:1k", "authgear_cache_zone"),
            NONE,
            TWO,
        ],
    ),
    row(
        "authgear_cache",
        Anywhere,
        Refused,
        &["off", "auth"],
        &[("''", "expected the name of a zone"), NONE, TWO],
    ),
    row(
        "authgear_cache_valid",
        Anywhere,
        Refused,
        &["1m", "valid 5m", "invalid 0"],
        &[
            ("soon", "expected a time"),
            ("maybe 1m", "expected"),
            NONE,
            ("valid 1 2", NONE.1),
        ],
    ),
    row("authgear_cache_lock", Anywhere, Refused, FLAG, NO_FLAG),
    row(
        "authgear_cache_lock_timeout",
        Anywhere,
        Refused,
        TIME,
        NO_TIME,
    ),
    row(
        "authgear_cache_use_stale",
        Anywhere,
        Refused,
        &["off", "1h"],
        NO_TIME,
    ),
    row(
        "authgear_cache_refresh",
        Anywhere,
        Refused,
        &["off", "30s"],
        NO_TIME,
    ),
    row(
        "authgear_cache_bypass",
        Anywhere,
        Refused,
        &["$http_pragma", "$arg_a $arg_b"],
        &[NONE],
    ),
    row("authgear_cache_watch", Anywhere, Refused, FLAG, NO_FLAG),
    row(
        "authgear_webhook",
        Location,
        Refused,
        &["secret"],
        &[
            ("missing", "can't read"),
            ("empty", "empty secret"),
            NONE,
            TWO,
        ],
    ),
    row(
        "authgear_purge",
        Location,
        Refused,
        &[""],
        &[("on", NONE.1)],
    ),
    row(
        "authgear_status",
        Location,
        Refused,
        &[""],
        &[("on", NONE.1)],
    ),
    row("authgear_ssl_verify", Anywhere, Refused, FLAG, NO_FLAG),
    row(
        "authgear_ssl_verify_depth",
        Anywhere,
        Refused,
        NUMBER,
        NO_NUMBER,
    ),
    row(
        "authgear_ssl_trusted_certificate",
        Anywhere,
        Refused,
        &["ca.pem"],
        &[NONE, TWO],
    ),
    row(
        "authgear_ssl_crl",
        Anywhere,
        Refused,
        &["crl.pem"],
        &[NONE, TWO],
    ),
    row(
        "authgear_ssl_name",
        Anywhere,
        Refused,
        &["auth.example", "$host"],
        &[NONE, TWO],
    ),
    row("authgear_ssl_server_name", Anywhere, Refused, FLAG, NO_FLAG),
    row(
        "authgear_ssl_protocols",
        Anywhere,
        Refused,
        &["TLSv1.2", "TLSv1.2 TLSv1.3"],
        &[("TLSv9", "expected"), NONE],
    ),
    row(
        "authgear_ssl_ciphers",
        Anywhere,
        Refused,
        &["HIGH:!aNULL"],
        &[NONE, TWO],
    ),
    row(
        "authgear_ssl_certificate",
        Anywhere,
        Refused,
        &["client.pem"],
        &[NONE, TWO],
    ),
    row(
        "authgear_ssl_certificate_key",
        Anywhere,
        Refused,
        &["client.key"],
        &[NONE, TWO],
    ),
    row(
        "authgear_ssl_session_reuse",
        Anywhere,
        Refused,
        FLAG,
        NO_FLAG,
    ),
];

/// One in which each directive can stand, with what some of them need.
fn nginx(row: &Row, level: Where, directive: &str) -> NginxBuilder {
    let builder = Nginx::builder()
        .file("secret", "secret\n")
        .file("empty", "\n");
    let builder = match row.name {
        "authgear_cache" => builder.http("authgear_cache_zone zone=auth:64k;"),
        _ => builder,
    };
    let needed = match row.name {
        "authgear_require" => "authgear_resolve http://127.0.0.1:1;\n",
        _ => "",
    };
    let lines = format!("{needed}{directive}");
    match level {
        Http => builder.http(&lines),
        Location => builder.server(&format!("location / {{\n{lines}\n}}")),
        Anywhere => builder.server(&lines),
    }
}

/// The levels at which a directive may stand; `server` is called `Anywhere`.
fn levels(row: &Row) -> &'static [Where] {
    match row.place {
        Anywhere => &[Http, Anywhere, Location],
        Http => &[Http],
        Location => &[Location],
    }
}

fn directive(row: &Row, value: &str) -> String {
    format!("{} {value};", row.name).replace(" ;", ";")
}

/// What is wrong with a refusal: it has to name the line of `text`, and say `said`.
fn fault(builder: NginxBuilder, text: &str, said: &[&str]) -> Option<String> {
    let line = format!("nginx.conf:{}", builder.line_of(text));
    let Err(log) = nginx_t(builder) else {
        return Some(format!("{text}: is accepted"));
    };
    let refusal = log.lines().find(|line| line.contains("[emerg]"));
    let refusal = refusal.unwrap_or_default();
    let complete = refusal.contains(&line) && said.iter().all(|said| refusal.contains(said));
    (!complete).then(|| format!("{text}: {line} {said:?}: {refusal}"))
}

fn check(faults: Vec<String>) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_directive_is_missing() {
    let file = workspace().join("src/conf/table.rs");
    let source = std::fs::read_to_string(file).expect("the table of directives");
    let known: BTreeSet<&str> = source
        .split('"')
        .filter(|text| text.starts_with("authgear_") && !text.contains(' '))
        .collect();
    let tested: BTreeSet<&str> = TABLE.iter().map(|row| row.name).collect();
    assert_eq!(tested, known);
}

#[test]
fn right_values_are_accepted_where_they_may_stand() {
    let mut faults = Vec::new();
    for row in TABLE {
        for level in levels(row) {
            for value in row.right {
                let directive = directive(row, value);
                if let Err(said) = nginx_t(nginx(row, *level, &directive)) {
                    faults.push(format!("{directive}: {said}"));
                }
            }
        }
    }
    check(faults);
}

#[test]
fn wrong_values_are_refused_with_what_is_expected() {
    let mut faults = Vec::new();
    for row in TABLE {
        let level = levels(row)[0];
        for (value, said) in row.wrong {
            let directive = directive(row, value);
            faults.extend(fault(
                nginx(row, level, &directive),
                &directive,
                &[row.name, said],
            ));
        }
    }
    check(faults);
}

#[test]
fn duplicates_are_refused_unless_they_add_up() {
    let mut faults = Vec::new();
    for row in TABLE {
        let first = directive(row, row.right[0]);
        let last = directive(row, row.right[row.right.len() - 1]);
        let level = levels(row)[0];
        match row.twice {
            Refused => {
                let second = format!("{first} # again");
                let both = format!("{first}\n{second}");
                faults.extend(fault(nginx(row, level, &both), &second, &[row.name]));
            }
            Accepted => {
                let both = match row.name {
                    "authgear_require" => "authgear_require session; authgear_require user;",
                    "authgear_set_header" => {
                        "authgear_set_header X-A a; authgear_set_header X-B b;"
                    }
                    _ => &format!("{first}\n{last}"),
                };
                if let Err(said) = nginx_t(nginx(row, level, both)) {
                    faults.push(format!("{both}: {said}"));
                }
            }
        }
    }
    check(faults);
}

#[test]
fn wrong_contexts_are_refused() {
    let mut faults = Vec::new();
    for row in TABLE {
        let text = directive(row, row.right[0]);
        let new = Nginx::builder;
        let mut contexts = vec![
            new().main(&text),
            new().http(&format!(
                "upstream group {{\nserver 127.0.0.1:1;\n{text}\n}}"
            )),
            new().server(&format!("if ($arg_a) {{\n{text}\n}}")),
            new().server(&format!("location / {{\nif ($arg_a) {{\n{text}\n}}\n}}")),
            new().server(&format!(
                "location / {{\nlimit_except GET {{\n{text}\n}}\n}}"
            )),
        ];
        contexts.extend(match row.place {
            Anywhere => vec![],
            Http => vec![
                new().server(&text),
                new().server(&format!("location / {{\n{text}\n}}")),
            ],
            Location => vec![new().http(&text), new().server(&text)],
        });
        for context in contexts {
            faults.extend(fault(context, &text, &[row.name]));
        }
    }
    check(faults);
}

#[test]
fn what_a_level_does_not_say_the_one_above_says() {
    let nobody = Port::reserve();
    let site = Site::builder()
        .place("resolver", nobody.addr())
        .http("authgear_resolve http://%resolver%; authgear_error_status 500;")
        .server(
            "authgear_error_status 502;
             location / { proxy_pass http://%app%; }
             location /own {
                 authgear_error_status 504;
                 location /own/nested { proxy_pass http://%app%; }
                 location /own/none { authgear_resolve off; proxy_pass http://%app%; }
                 proxy_pass http://%app%;
             }
             location /anonymous {
                 authgear_on_error anonymous;
                 location /anonymous/deny { authgear_on_error deny; proxy_pass http://%app%; }
                 proxy_pass http://%app%;
             }",
        )
        .http_after(
            "server { listen %listen:silent%; location / { proxy_pass http://%app%; } }
             server {
                 listen %listen:off%; authgear_resolve off;
                 location / { proxy_pass http://%app%; }
                 location /on { authgear_resolve http://%resolver%; proxy_pass http://%app%; }
             }",
        )
        .start();
    for (server, path, status) in [
        ("http1", "/", 502),
        ("http1", "/own", 504),
        ("http1", "/own/nested", 504),
        ("http1", "/own/none", 200),
        ("http1", "/anonymous", 200),
        ("http1", "/anonymous/deny", 502),
        ("silent", "/", 500),
        ("off", "/", 200),
        ("off", "/on", 500),
    ] {
        let mut client = Http1::connect(site.nginx.addr(server));
        let response = client.request(get(path).cookie(ALICE));
        assert_eq!(response.status, status, "{server} {path}");
    }
}
