//! An app that answers with the request it received; see the README.

fn main() -> std::process::ExitCode {
    authgear_resolver_double::run_echo_app(std::env::args().skip(1))
}
