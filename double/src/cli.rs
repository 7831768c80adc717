//! The two programs: their options, their ready lines, their end.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::http::Listen;
use crate::{EchoApp, Resolver, Store};

const RESOLVER_USAGE: &str = "\
usage: authgear-resolver-double [OPTION]...
  --listen ADDRESS:PORT|unix:/PATH  where to answer, several allowed (127.0.0.1:3001)
  --sessions FILE                   users and sessions, JSON (a built-in example)
  --cookie-prefix PREFIX            Authgear's http.cookie_prefix (none)
  --trust-proxy                     X-Forwarded-Host and X-Original-Host win over Host
  --delay MS                        wait before each answer (0)
  --control ADDRESS:PORT            faults, delays, sessions and records over HTTP (off)
  --record N                        how many requests to remember (1000)
  --log                             a line for each request on standard error
  --help                            this text
";

const ECHO_USAGE: &str = "\
usage: echo-app [OPTION]...
  --listen ADDRESS:PORT|unix:/PATH  where to answer, several allowed (127.0.0.1:8000)
  --help                            this text
";

/// Runs the resolver until SIGTERM or SIGINT.
pub fn run_resolver(args: impl Iterator<Item = String>) -> ExitCode {
    run("authgear-resolver-double", RESOLVER_USAGE, || {
        resolver(args)
    })
}

/// Runs the echo app until SIGTERM or SIGINT.
pub fn run_echo_app(args: impl Iterator<Item = String>) -> ExitCode {
    run("echo-app", ECHO_USAGE, || echo_app(args))
}

fn run(name: &str, usage: &str, program: impl FnOnce() -> Result<(), Stop>) -> ExitCode {
    match program() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Help) => {
            print!("{usage}");
            ExitCode::SUCCESS
        }
        Err(Stop::Usage(error)) => {
            eprint!("{name}: {error}\n{usage}");
            ExitCode::from(2)
        }
        Err(Stop::Failed(error)) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Stop {
    Help,
    Usage(String),
    Failed(String),
}

fn failed(error: impl ToString) -> Stop {
    Stop::Failed(error.to_string())
}

fn resolver(mut args: impl Iterator<Item = String>) -> Result<(), Stop> {
    let mut builder = Resolver::builder().record(1_000);
    let mut store = None;
    let mut listens = 0;
    while let Some(option) = args.next() {
        let option = option.as_str();
        builder = match option {
            "--listen" => {
                listens += 1;
                builder.listen(parsed::<Listen>(option, &mut args)?)
            }
            "--sessions" => {
                let path = value(option, &mut args)?;
                store = Some(Store::load(path).map_err(failed)?);
                builder
            }
            "--cookie-prefix" => builder.cookie_prefix(&value(option, &mut args)?),
            "--trust-proxy" => builder.trust_proxy(true),
            "--delay" => {
                let ms: f64 = parsed(option, &mut args)?;
                let delay = Duration::try_from_secs_f64(ms / 1_000.0);
                builder.delay(delay.map_err(|_| Stop::Usage(format!("--delay {ms}")))?)
            }
            "--control" => builder.control(parsed(option, &mut args)?),
            "--record" => builder.record(parsed(option, &mut args)?),
            "--log" => builder.log(true),
            other => return Err(unknown(other)),
        };
    }
    if listens == 0 {
        builder = builder.listen(SocketAddr::from(([127, 0, 0, 1], 3001)));
    }
    let signals = signals()?;
    let resolver = builder
        .store(store.unwrap_or_else(Store::example))
        .start()
        .map_err(failed)?;
    announce(&resolver.listens(), resolver.control_addr());
    wait(signals);
    resolver.stop();
    Ok(())
}

fn echo_app(mut args: impl Iterator<Item = String>) -> Result<(), Stop> {
    let mut builder = EchoApp::builder().record(0);
    let mut listens = 0;
    while let Some(option) = args.next() {
        builder = match option.as_str() {
            "--listen" => {
                listens += 1;
                builder.listen(parsed::<Listen>(&option, &mut args)?)
            }
            other => return Err(unknown(other)),
        };
    }
    if listens == 0 {
        builder = builder.listen(SocketAddr::from(([127, 0, 0, 1], 8000)));
    }
    let signals = signals()?;
    let app = builder.start().map_err(failed)?;
    announce(&app.listens(), None);
    wait(signals);
    app.stop();
    Ok(())
}

fn unknown(option: &str) -> Stop {
    match option {
        "--help" | "-h" => Stop::Help,
        other => Stop::Usage(format!("unknown option {other}")),
    }
}

fn value(option: &str, args: &mut impl Iterator<Item = String>) -> Result<String, Stop> {
    args.next()
        .ok_or_else(|| Stop::Usage(format!("{option} needs a value")))
}

fn parsed<T: std::str::FromStr>(
    option: &str,
    args: &mut impl Iterator<Item = String>,
) -> Result<T, Stop>
where
    T::Err: std::fmt::Display,
{
    let text = value(option, args)?;
    text.parse()
        .map_err(|error| Stop::Usage(format!("{option} {text}: {error}")))
}

/// A line for each listener, for whoever waits for them.
fn announce(listens: &[Listen], control: Option<SocketAddr>) {
    let mut lines = String::new();
    for listen in listens {
        lines += &format!("listening on {listen}\n");
    }
    if let Some(addr) = control {
        lines += &format!("control on {addr}\n");
    }
    // Whoever does not read them goes without.
    let mut out = io::stdout();
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

fn signals() -> Result<Signals, Stop> {
    Signals::new([SIGTERM, SIGINT]).map_err(failed)
}

fn wait(mut signals: Signals) {
    signals.forever().next();
}
