//! `nginx -t`: what is accepted, and what is refused with file, line and reason.

use authgear_integration::{nginx_t, Nginx, NginxBuilder};

fn at_each_level(directive: &str) -> [(&'static str, NginxBuilder); 3] {
    let new = || Nginx::builder().http("upstream group { server 127.0.0.1:1; }");
    [
        ("http", new().http(directive)),
        ("server", new().server(directive)),
        (
            "location",
            new().server(&format!("location / {{\n{directive}\n}}")),
        ),
    ]
}

/// The refusal names the file, the line of `text`, and one of these culprits.
fn check_refusal(builder: NginxBuilder, text: &str, culprits: &[&str]) -> Result<(), String> {
    let line = builder.line_of(text);
    let said = match nginx_t(builder) {
        Ok(()) => return Err("is accepted".into()),
        Err(said) => said,
    };
    let place = format!("nginx.conf:{line}");
    let first = said
        .lines()
        .find(|line| line.contains("[emerg]"))
        .unwrap_or_default();
    if first.contains(&place) && culprits.iter().any(|culprit| first.contains(culprit)) {
        Ok(())
    } else {
        Err(format!("{place} expected: {said}"))
    }
}

fn refused(rows: &[&str]) {
    let mut wrong = Vec::new();
    for row in rows {
        let directive = row.split([' ', ';']).next().unwrap_or_default();
        // nginx names the faulty part of a URL, when it is the one that reads it.
        let host = row
            .split_once("http://")
            .and_then(|(_, url)| url.split([';', '/']).next());
        let culprits = [
            directive,
            host.filter(|host| !host.is_empty()).unwrap_or(directive),
        ];
        for (level, builder) in at_each_level(row) {
            if let Err(why) = check_refusal(builder, row, &culprits) {
                wrong.push(format!("{level}: {row}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn accepted(rows: &[&str]) {
    let mut wrong = Vec::new();
    for row in rows {
        for (level, builder) in at_each_level(row) {
            if let Err(said) = nginx_t(builder) {
                wrong.push(format!("{level}: {row}: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn right_values_are_accepted_at_each_level() {
    accepted(&[
        "authgear_resolve http://127.0.0.1:3001;",
        "authgear_resolve http://127.0.0.1;",
        "authgear_resolve http://127.0.0.1:3001/_resolver/resolve;",
        "authgear_resolve HTTP://127.0.0.1/resolve?x=1;",
        "authgear_resolve http://[::1]:3001/resolve;",
        "authgear_resolve http://localhost:3001/resolve;",
        "authgear_resolve http://group;",
        "authgear_resolve http://unix:/tmp/x.sock;",
        "authgear_resolve http://unix:/tmp/x.sock:/resolve;",
        "authgear_resolve http://$host/resolve;",
        "authgear_resolve off;",
        "authgear_set_header X-A a;",
        "authgear_set_header X-A '';",
        "authgear_set_header X-A \"a $host b\";",
        "authgear_set_header X-A a; authgear_set_header X-B b;",
        "authgear_connect_timeout 5s;",
        "authgear_connect_timeout 100ms;",
        "authgear_send_timeout 1m;",
        "authgear_read_timeout 1h;",
        "authgear_next_upstream error timeout invalid_header http_500 http_502 http_503 http_504 http_403 http_404 http_429;",
        "authgear_next_upstream off;",
        "authgear_next_upstream_tries 3;",
        "authgear_next_upstream_tries 0;",
        "authgear_next_upstream_timeout 3s;",
        "authgear_next_upstream_timeout 0;",
        "authgear_keepalive 0;",
        "authgear_keepalive 100;",
        "authgear_buffer_size 8k;",
        "authgear_cookie_prefix shop_;",
        "authgear_cookie_prefix __Host-;",
        "authgear_cookie_prefix '';",
        "authgear_pass_identity on;",
        "authgear_pass_identity off;",
        "authgear_pass_set_cookie on;",
        "authgear_pass_set_cookie off;",
        "authgear_trust_identity on;",
        "authgear_trust_identity off;",
        "authgear_on_error deny;",
        "authgear_on_error anonymous;",
        "authgear_error_status 400;",
        "authgear_error_status 599;",
    ]);
}

#[test]
fn wrong_urls_are_refused() {
    refused(&[
        "authgear_resolve '';",
        "authgear_resolve 127.0.0.1:3001;",
        "authgear_resolve group;",
        "authgear_resolve ftp://127.0.0.1;",
        "authgear_resolve http:127.0.0.1;",
        "authgear_resolve http:/127.0.0.1;",
        "authgear_resolve http://;",
        "authgear_resolve http:///resolve;",
        "authgear_resolve http://:3001;",
        "authgear_resolve http://127.0.0.1:;",
        "authgear_resolve http://127.0.0.1:99999;",
        "authgear_resolve http://127.0.0.1:0;",
        "authgear_resolve http://127.0.0.1:port;",
        "authgear_resolve http://[::1;",
        "authgear_resolve http://unix:;",
        "authgear_resolve on;",
        "authgear_resolve 'http://127.0.0.1/a b';",
    ]);
}

#[test]
fn unknown_names_are_refused() {
    let row = "authgear_resolve http://no-such-name.invalid;";
    let builder = Nginx::builder().server(row);
    assert_eq!(
        check_refusal(builder, row, &["no-such-name.invalid"]),
        Ok(())
    );

    // nginx finds this out after it has read the file, and names no line for its own either.
    let builder = Nginx::builder().server("authgear_resolve http://$no_such_variable;");
    let said = nginx_t(builder).unwrap_err();
    assert!(said.contains("no_such_variable"), "{said}");
}

#[test]
fn wrong_values_are_refused() {
    refused(&[
        "authgear_set_header '' a;",
        "authgear_set_header 'X A' a;",
        "authgear_set_header X:A a;",
        "authgear_connect_timeout soon;",
        "authgear_connect_timeout -1;",
        "authgear_send_timeout 5x;",
        "authgear_read_timeout '';",
        "authgear_next_upstream http_200;",
        "authgear_next_upstream timeouts;",
        "authgear_next_upstream error sometimes;",
        "authgear_next_upstream_tries many;",
        "authgear_next_upstream_tries -1;",
        "authgear_next_upstream_timeout later;",
        "authgear_keepalive on;",
        "authgear_keepalive -1;",
        "authgear_keepalive 1.5;",
        "authgear_buffer_size large;",
        "authgear_buffer_size -1;",
        "authgear_buffer_size 0;",
        "authgear_cookie_prefix 'a b';",
        "authgear_cookie_prefix 'a;b';",
        "authgear_cookie_prefix a=b;",
        "authgear_cookie_prefix 'a\"b';",
        "authgear_pass_identity yes;",
        "authgear_pass_identity 1;",
        "authgear_pass_set_cookie true;",
        "authgear_trust_identity maybe;",
        "authgear_on_error allow;",
        "authgear_on_error off;",
        "authgear_error_status 200;",
        "authgear_error_status 399;",
        "authgear_error_status 600;",
        "authgear_error_status 5xx;",
        "authgear_error_status -503;",
    ]);
}

#[test]
fn wrong_numbers_of_values_are_refused() {
    let mut rows = Vec::new();
    for directive in [
        "authgear_resolve",
        "authgear_set_header",
        "authgear_connect_timeout",
        "authgear_send_timeout",
        "authgear_read_timeout",
        "authgear_next_upstream",
        "authgear_next_upstream_tries",
        "authgear_next_upstream_timeout",
        "authgear_keepalive",
        "authgear_buffer_size",
        "authgear_cookie_prefix",
        "authgear_pass_identity",
        "authgear_pass_set_cookie",
        "authgear_trust_identity",
        "authgear_on_error",
        "authgear_error_status",
    ] {
        rows.push(format!("{directive};"));
        if directive != "authgear_next_upstream" {
            rows.push(format!("{directive} 1 2 3;"));
        }
    }
    rows.push("authgear_set_header X-A;".into());
    refused(&rows.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn duplicates_are_refused() {
    for directive in [
        "authgear_resolve off;",
        "authgear_connect_timeout 1s;",
        "authgear_send_timeout 1s;",
        "authgear_read_timeout 1s;",
        "authgear_next_upstream error;",
        "authgear_next_upstream_tries 1;",
        "authgear_next_upstream_timeout 1s;",
        "authgear_keepalive 1;",
        "authgear_buffer_size 8k;",
        "authgear_cookie_prefix a;",
        "authgear_pass_identity on;",
        "authgear_pass_set_cookie on;",
        "authgear_trust_identity on;",
        "authgear_on_error deny;",
        "authgear_error_status 503;",
    ] {
        let name = directive.split(' ').next().unwrap_or_default();
        let second = format!("{directive} # again");
        for (level, builder) in at_each_level(&format!("{directive}\n{second}")) {
            let checked = check_refusal(builder, &second, &[name]);
            assert_eq!(checked, Ok(()), "{level}: {directive}");
        }
    }
}

#[test]
fn wrong_contexts_are_refused() {
    let row = "authgear_resolve http://127.0.0.1;";
    let contexts = [
        Nginx::builder().main(row),
        Nginx::builder().http(&format!("upstream group {{\n{row}\nserver 127.0.0.1; }}")),
        Nginx::builder().server(&format!("if ($arg_a) {{\n{row}\n}}")),
        Nginx::builder().server(&format!("location / {{ if ($arg_a) {{\n{row}\n}} }}")),
        Nginx::builder().server(&format!("location / {{ limit_except GET {{\n{row}\n}} }}")),
    ];
    for (number, builder) in contexts.into_iter().enumerate() {
        let line = builder.line_of(row);
        let said = nginx_t(builder).expect_err(&format!("context {number}"));
        assert!(
            said.contains(&format!("nginx.conf:{line}")),
            "context {number}: {said}"
        );
    }
}

#[test]
fn a_group_that_comes_later_is_accepted() {
    let builder = Nginx::builder()
        .server("authgear_resolve http://later;")
        .http_after("upstream later { server 127.0.0.1:1; }");
    assert_eq!(nginx_t(builder), Ok(()));
}
