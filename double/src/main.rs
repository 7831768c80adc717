//! Authgear's resolver on a port of this machine; see the README.

fn main() -> std::process::ExitCode {
    authgear_resolver_double::run_resolver(std::env::args().skip(1))
}
