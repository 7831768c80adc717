//! Takes from nginx's own C compiler what bindgen cannot be trusted with.
//!
//! Bindgen 0.72, which `nginx-sys` uses, lays many bit-fields of `ngx_http_request_t` wrongly from
//! nginx 1.29.3 on, and no size check notices. So every bit-field that the module touches is found
//! by a C program compiled with nginx's headers (it sets the field and looks which bit changed), and
//! every plain field is compared with the C compiler's offset when the module is compiled.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bit-fields the module reads or writes: type and field.
const BITS: &[(&str, &str)] = &[
    ("ngx_http_request_t", "internal"),
    ("ngx_http_request_t", "filter_finalize"),
    ("ngx_http_request_t", "error_page"),
    ("ngx_http_request_t", "expect_tested"),
    ("ngx_http_upstream_t", "keepalive"),
    ("ngx_http_upstream_t", "request_body_sent"),
    ("ngx_http_upstream_t", "ssl"),
    ("ngx_peer_connection_t", "cached"),
    ("ngx_connection_t", "idle"),
    ("ngx_connection_t", "close"),
    ("ngx_event_t", "ready"),
    ("ngx_event_t", "eof"),
    ("ngx_event_t", "error"),
    ("ngx_event_t", "timedout"),
    ("ngx_event_t", "timer_set"),
    ("ngx_event_t", "delayed"),
    ("ngx_event_t", "posted"),
    ("ngx_buf_t", "temporary"),
    ("ngx_buf_t", "last_buf"),
    ("ngx_buf_t", "in_file"),
    ("ngx_variable_value_t", "valid"),
    ("ngx_variable_value_t", "no_cacheable"),
    ("ngx_variable_value_t", "not_found"),
    ("ngx_url_t", "uri_part"),
    ("ngx_url_t", "no_resolve"),
    ("ngx_url_t", "no_port"),
    ("ngx_resolver_ctx_t", "async"),
    ("ngx_resolver_ctx_t", "cancelable"),
];

/// Bit-fields of an nginx built with TLS.
const SSL_BITS: &[(&str, &str)] = &[
    ("ngx_ssl_connection_t", "handshaked"),
    ("ngx_ssl_connection_t", "no_wait_shutdown"),
    ("ngx_ssl_connection_t", "no_send_shutdown"),
];

/// Plain fields the module reads or writes through the bindings: type and fields.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "ngx_http_request_t",
        &[
            "connection",
            "ctx",
            "main_conf",
            "srv_conf",
            "loc_conf",
            "read_event_handler",
            "write_event_handler",
            "upstream",
            "upstream_states",
            "pool",
            "headers_in",
            "headers_out",
            "request_body",
            "method",
            "uri",
            "args",
            "unparsed_uri",
            "host_start",
            "host_end",
            "main",
            "parent",
            "post_subrequest",
            "variables",
            "schema",
        ],
    ),
    (
        "ngx_http_headers_in_t",
        &["headers", "host", "server", "content_length_n"],
    ),
    (
        "ngx_http_headers_out_t",
        &["headers", "status", "content_type", "content_length_n"],
    ),
    (
        "ngx_http_upstream_t",
        &[
            "peer",
            "request_bufs",
            "conf",
            "upstream",
            "headers_in",
            "resolved",
            "buffer",
            "create_request",
            "reinit_request",
            "process_header",
            "abort_request",
            "finalize_request",
            "state",
            "schema",
            "uri",
        ],
    ),
    ("ngx_http_upstream_state_t", &["status"]),
    ("ngx_http_upstream_headers_in_t", &["headers", "status_n"]),
    (
        "ngx_http_upstream_conf_t",
        &[
            "upstream",
            "connect_timeout",
            "send_timeout",
            "read_timeout",
            "next_upstream_timeout",
            "buffer_size",
            "next_upstream",
            "next_upstream_tries",
            "module",
        ],
    ),
    (
        "ngx_http_upstream_srv_conf_t",
        &[
            "peer",
            "srv_conf",
            "servers",
            "flags",
            "host",
            "file_name",
            "line",
            "port",
            "no_port",
        ],
    ),
    (
        "ngx_http_upstream_peer_t",
        &["init_upstream", "init", "data"],
    ),
    (
        "ngx_peer_connection_t",
        &[
            "connection",
            "sockaddr",
            "socklen",
            "name",
            "tries",
            "get",
            "free",
            "data",
            "log",
        ],
    ),
    (
        "ngx_http_upstream_resolved_t",
        &[
            "host", "port", "no_port", "naddrs", "addrs", "sockaddr", "socklen", "name",
        ],
    ),
    (
        "ngx_connection_t",
        &[
            "data",
            "read",
            "write",
            "fd",
            "log",
            "pool",
            "requests",
            "sent",
            "number",
            "addr_text",
        ],
    ),
    ("ngx_event_t", &["data", "handler", "log", "timer", "queue"]),
    (
        "ngx_buf_t",
        &[
            "pos",
            "last",
            "start",
            "end",
            "file_pos",
            "file_last",
            "file",
        ],
    ),
    (
        "ngx_url_t",
        &[
            "url",
            "host",
            "port_text",
            "uri",
            "port",
            "default_port",
            "family",
            "naddrs",
            "addrs",
            "err",
        ],
    ),
    ("ngx_table_elt_t", &["hash", "key", "value", "lowcase_key"]),
    ("ngx_list_t", &["last", "part", "size", "nalloc", "pool"]),
    ("ngx_variable_value_t", &["data"]),
    ("ngx_http_phase_t", &["handlers"]),
    ("ngx_http_core_main_conf_t", &["phases", "variables"]),
    (
        "ngx_http_core_loc_conf_t",
        &["handler", "resolver", "resolver_timeout", "error_pages"],
    ),
    ("ngx_http_upstream_main_conf_t", &["upstreams"]),
    ("ngx_pool_t", &["cleanup", "log"]),
    ("ngx_pool_cleanup_t", &["handler", "data", "next"]),
    ("ngx_http_post_subrequest_t", &["handler", "data"]),
    (
        "ngx_conf_t",
        &[
            "args",
            "cycle",
            "pool",
            "temp_pool",
            "conf_file",
            "log",
            "ctx",
        ],
    ),
    ("ngx_conf_file_t", &["file", "line"]),
    ("ngx_file_t", &["fd", "name"]),
    ("ngx_log_t", &["log_level", "data", "action"]),
    ("ngx_http_log_ctx_t", &["current_request"]),
    ("ngx_resolver_t", &["connections"]),
    (
        "ngx_resolver_ctx_t",
        &[
            "resolver", "state", "name", "naddrs", "addrs", "handler", "data", "timeout",
        ],
    ),
    ("ngx_resolver_addr_t", &["sockaddr", "socklen"]),
    (
        "ngx_cycle_t",
        &[
            "conf_ctx",
            "log",
            "modules",
            "pool",
            "connections",
            "connection_n",
        ],
    ),
    ("ngx_shm_zone_t", &["data", "shm", "init"]),
    ("ngx_shm_t", &["addr", "size"]),
    ("ngx_slab_pool_t", &["mutex", "pfree", "data"]),
    ("ngx_module_t", &["ctx_index", "index", "name", "type_"]),
];

/// Plain fields of an nginx built with TLS, or with a place for it.
const COMPAT_FIELDS: &[(&str, &[&str])] = &[("ngx_connection_t", &["ssl"])];

/// Plain fields of an nginx built with TLS.
const SSL_FIELDS: &[(&str, &[&str])] = &[
    ("ngx_http_upstream_t", &["ssl_name"]),
    (
        "ngx_http_upstream_conf_t",
        &[
            "ssl",
            "ssl_session_reuse",
            "ssl_name",
            "ssl_server_name",
            "ssl_verify",
        ],
    ),
    ("ngx_peer_connection_t", &["set_session", "save_session"]),
    ("ngx_ssl_t", &["ctx", "log"]),
    ("ngx_ssl_connection_t", &["connection", "handler"]),
];

/// Versions of nginx at which something the module uses changed.
const VERSIONS: &[(u64, &str)] = &[
    // Every group keeps connections, whether it says so or not.
    (1_029_007, "nginx1_29_7"),
];

/// What `conf/keepalive.rs` believes of a struct that is in no header.
const KEEPALIVE: &str = r#"
#define AT(field, words) _Static_assert( \
    offsetof(ngx_http_upstream_keepalive_srv_conf_t, field) == (words) * sizeof(void *), \
    "ngx_http_upstream_keepalive_srv_conf_t." #field " is elsewhere than src/conf/keepalive.rs has it")
AT(max_cached, 0);
#if nginx_version >= 1029007
AT(local, 9);
#endif
"#;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let include = env::var("DEP_NGINX_INCLUDE").expect("DEP_NGINX_INCLUDE from nginx-sys");
    let cflags = env::var("DEP_NGINX_CFLAGS").unwrap_or_default();
    let features = env::var("DEP_NGINX_FEATURES").unwrap_or_default();
    let version: u64 = env::var("DEP_NGINX_VERSION_NUMBER")
        .expect("DEP_NGINX_VERSION_NUMBER from nginx-sys")
        .parse()
        .expect("a number of nginx's version");

    println!(
        "cargo::rustc-check-cfg=cfg(ngx_feature, values({}))",
        env::var("DEP_NGINX_FEATURES_CHECK").unwrap_or("any()".into())
    );
    for feature in features.split(',') {
        println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
    }
    for (since, name) in VERSIONS {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if version >= *since {
            println!("cargo::rustc-cfg={name}");
        }
    }

    let out = PathBuf::from(env::var("OUT_DIR").expect("OUT_DIR"));
    let has = |feature| features.split(',').any(|f| f == feature);
    let mut bits = BITS.to_vec();
    let mut fields = FIELDS.to_vec();
    if has("ssl") || has("compat") {
        fields.extend(COMPAT_FIELDS);
    }
    if has("http_ssl") {
        bits.extend(SSL_BITS);
        fields.extend(SSL_FIELDS);
    }
    check_keepalive(&out, &include, &cflags);
    let answer = run_probe(&out, &include, &cflags, &probe(&bits, &fields));
    fs::write(out.join("layout.rs"), layout(&answer)).expect("write layout.rs");
}

/// Holds `KEEPALIVE` against nginx's source, which is not in a tree that has only the headers.
fn check_keepalive(out: &Path, include: &str, cflags: &str) {
    let module = env::split_paths(include)
        .map(|dir| dir.join("ngx_http_upstream_keepalive_module.c"))
        .find(|file| file.exists());
    let Some(module) = module else { return };
    let source = out.join("keepalive.c");
    fs::write(
        &source,
        format!("#include \"{}\"\n{KEEPALIVE}", module.display()),
    )
    .expect("write keepalive.c");
    let mut compile = compiler(include, cflags);
    let output = compile
        .arg("-fsyntax-only")
        .arg(&source)
        .output()
        .expect("a C compiler");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// nginx's C compiler with its flags and headers.
fn compiler(include: &str, cflags: &str) -> Command {
    let mut compile: Command = cc::Build::new()
        .cargo_metadata(false)
        .get_compiler()
        .to_command();
    for dir in env::split_paths(include) {
        compile.arg("-I").arg(dir);
    }
    compile.args(cflags.split_whitespace()).arg("-w");
    compile
}

/// Compiles and runs the C program that knows nginx's layout, and returns what it prints.
fn run_probe(out: &Path, include: &str, cflags: &str, text: &str) -> String {
    let source = out.join("layout.c");
    let program = out.join("layout");
    fs::write(&source, text).expect("write layout.c");

    let mut compile = compiler(include, cflags);
    compile.args(["-O0", "-o"]).arg(&program).arg(&source);
    let status = compile.status().expect("a C compiler");
    assert!(
        status.success(),
        "nginx's headers, or what is asked of them, do not compile: see above"
    );

    let run = Command::new(&program)
        .output()
        .expect("run the layout program");
    assert!(run.status.success(), "the layout program failed");
    String::from_utf8(run.stdout).expect("ASCII")
}

/// The C program: one line for each bit-field (offset and mask) and each plain field (offset).
fn probe(bits: &[(&str, &str)], fields: &[(&str, &[&str])]) -> String {
    let mut c = String::from(
        "#include <ngx_config.h>\n#include <ngx_core.h>\n#include <ngx_http.h>\n\
         #include <stddef.h>\n#include <stdio.h>\n\
         static void bit(const char *t, const char *f, unsigned char *p, size_t n) {\n\
         size_t i; for (i = 0; i < n; i++) if (p[i]) {\n\
         printf(\"bit %s %s %zu %u\\n\", t, f, i, p[i]); return; } }\n\
         int main(void) {\n",
    );
    for (kind, field) in bits {
        let _ = writeln!(
            c,
            "{{ static {kind} v; memset(&v, 0, sizeof(v)); v.{field} = 1; \
             bit(\"{kind}\", \"{field}\", (unsigned char *) &v, sizeof(v)); }}"
        );
    }
    for (kind, fields) in fields {
        for field in *fields {
            let c_field = if *field == "type_" { "type" } else { field };
            let _ = writeln!(
                c,
                "printf(\"field {kind} {field} %zu\\n\", offsetof({kind}, {c_field}));"
            );
        }
    }
    c.push_str("return 0; }\n");
    c
}

/// Rust from the program's answer: a constant for each bit, an assertion for each field.
fn layout(answer: &str) -> String {
    let mut rust = String::new();
    for line in answer.lines() {
        let word: Vec<&str> = line.split(' ').collect();
        match word[..] {
            ["bit", kind, field, offset, mask] => {
                let _ = writeln!(
                    rust,
                    "/// `{kind}.{field}`\npub const {}: Bit<nginx_sys::{kind}> = Bit::new({offset}, {mask});",
                    format!("{}_{field}", short(kind)).to_uppercase(),
                );
            }
            ["field", kind, field, offset] => {
                let _ = writeln!(
                    rust,
                    "const _: () = assert!(core::mem::offset_of!(nginx_sys::{kind}, {field}) == {offset}, \
                     \"bindgen lays {kind}.{field} elsewhere than the C compiler\");"
                );
            }
            _ => panic!("unexpected line of the layout program: {line}"),
        }
    }
    rust
}

/// `ngx_http_request_t` to `request`.
fn short(kind: &str) -> &str {
    let kind = kind.strip_suffix("_t").unwrap_or(kind);
    kind.strip_prefix("ngx_http_")
        .or(kind.strip_prefix("ngx_"))
        .unwrap_or(kind)
}
