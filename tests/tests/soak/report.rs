//! The report of a long run.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use authgear_integration::{workspace, Environment};

use crate::samples::MEASURES;
use crate::Outcome;

pub(crate) fn markdown(outcome: &Outcome) -> String {
    let Outcome {
        plan,
        tally,
        events,
        ..
    } = outcome;
    let seconds = outcome.took.as_secs_f64();
    let percent = |count: usize| 100.0 * count as f64 / tally.requests.max(1) as f64;
    let verdict = match outcome.complaints.is_empty() {
        true => "It passed.",
        false => "**It failed**, see the end.",
    };
    let mut out = format!(
        "# Soak\n\n\
         Written by `make soak`; what it does and judges is in [tests/soak](tests/soak/main.rs).\n\n\
         {} requests in {} min {:02} s, {:.0}/s. {verdict}\n\n\
         ## What must be 0\n\n\
         | | |\n| --- | --: |\n\
         | wrong identities: the app saw another's, one that had ended, roles that were over, or nobody for somebody | {} |\n\
         | 5xx while the resolver was there, and other answers that nothing explains | {} |\n\
         | requests without an answer for 10 s | {} |\n\
         | connections that ended without a reload | {} |\n\n\
         A 5xx is excused while the resolver is away and {:?} after that, a connection that ends within 2 s of a reload; \
         in the last fifth there is no reload.\n\n",
        tally.requests,
        outcome.took.as_secs() / 60,
        outcome.took.as_secs() % 60,
        tally.requests as f64 / seconds,
        tally.wrong_identities,
        tally.wrong_statuses,
        tally.hangs,
        tally.lost_unexplained,
        plan.aftermath,
    );
    out += "## What happened\n\n| | |\n| --- | --- |\n";
    let mut row = |name: &str, text: String| {
        let _ = writeln!(out, "| {name} | {text} |");
    };
    row(
        "sessions",
        format!(
            "{} of {} users, in a zone of {}",
            plan.sessions,
            plan.sessions.div_ceil(2),
            plan.zone
        ),
    );
    row(
        "clients",
        format!(
            "{} connections, {} requests pipelined, {} more requests whose client left",
            plan.clients, tally.pipelined, tally.left_early
        ),
    );
    row(
        "answers",
        format!(
            "{} with an identity, {} without, {} refused (401), {} forbidden (403), {} 5xx while the resolver was away",
            tally.valid, tally.nobody, tally.refused, tally.forbidden, tally.excused
        ),
    );
    let cache: Vec<String> = tally
        .cache
        .iter()
        .map(|(status, count)| format!("{status} {:.2} %", percent(*count)))
        .collect();
    row("cache", cache.join(", "));
    row(
        "times",
        format!(
            "half within {:?}, 99 % within {:?}, 99.9 % within {:?}, slowest {:.0?}; client, app and resolver on the same cores",
            tally.within(0.5),
            tally.within(0.99),
            tally.within(0.999),
            tally.slowest
        ),
    );
    row(
        "events",
        format!(
            "{} role changes with a webhook, {} with a purge, {} untold; {} log-outs, {} log-ins by the page; {} sessions revoked and purged; {} requests for all that, judged too",
            events.webhooks, events.purges, events.told_nobody, events.log_outs, events.log_ins, events.revocations, tally.apart
        ),
    );
    row(
        "reloads",
        format!(
            "{}, one each {:?} in the first four fifths; {} tries ended with their connection and were made again",
            outcome.reloads, plan.reload_every, tally.lost
        ),
    );
    row(
        "resolver",
        format!(
            "killed {} times, for {:?} each {:?}; {}",
            outcome.outages,
            plan.down_for,
            plan.restart_every,
            calls(outcome)
        ),
    );
    row("app", format!("{} requests", outcome.app_requests));
    let zone = &outcome.status["zones"]["auth"];
    row(
        "zone",
        format!(
            "{} evictions, {} recoveries, {} entries purged",
            zone["evictions"], zone["recoveries"], outcome.status["purged_entries"]
        ),
    );

    out += "\n## What it took\n\n\
            The median of the second quarter of a phase and of its last, which may be greater by 5 % and what chance \
            does. Four fifths of the requests meet reloads, in the last fifth the workers live on.\n\n\
            | | with reloads, early | late | without, early | late |\n| --- | --: | --: | --: | --: |\n";
    for (name, of, _) in MEASURES {
        let _ = write!(out, "| {name} |");
        for steady in [false, true] {
            match outcome.samples.trend(steady, of) {
                Some(trend) => _ = write!(out, " {} | {} |", trend.early, trend.late),
                None => out += " | |",
            }
        }
        out += "\n";
    }
    out += "\n| after | master, KiB | workers, KiB | descriptors | zone, KiB | entries |\n\
            | --: | --: | --: | --: | --: | --: |\n";
    let all = &outcome.samples.all;
    for sample in all.iter().step_by(all.len().div_ceil(24).max(1)) {
        let _ = writeln!(
            out,
            "| {:.0} s | {} | {} | {} | {} | {} |",
            sample.at.as_secs_f64(),
            sample.master_kib,
            sample.workers_kib,
            sample.descriptors,
            sample.zone_kib,
            sample.entries
        );
    }
    out += "\n## On what\n\n| | |\n| --- | --- |\n";
    for (name, text) in machine() {
        let _ = writeln!(out, "| {name} | {text} |");
    }
    if !outcome.complaints.is_empty() {
        out += "\n## What went wrong\n\n```\n";
        out += &outcome.complaints.join("\n");
        out += "\n```\n";
    }
    out
}

/// The resolver's side as nginx counted it.
fn calls(outcome: &Outcome) -> String {
    let resolvers = outcome.status["resolvers"].as_object();
    let requests = resolvers
        .into_iter()
        .flat_map(|resolvers| resolvers.values())
        .filter_map(|resolver| resolver["requests"].as_object());
    let counts: Vec<String> = requests
        .flatten()
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(name, count)| format!("{} {count}", name.replace('_', " ")))
        .collect();
    format!("calls: {}", counts.join(", "))
}

/// What a result depends on besides the code.
fn machine() -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once([':', '=']));
        value.map_or_else(String::new, |(_, value)| {
            value.trim().trim_matches('"').to_owned()
        })
    };
    let kib: u64 = value(&memory, "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let environment = Environment::get();
    let built = output(&environment.nginx.to_string_lossy(), &["-V"]);
    let built = built
        .lines()
        .find_map(|line| line.strip_prefix("built by "));
    let (major, minor, patch) = environment.version;
    let root = workspace().to_string_lossy().into_owned();
    let git = |arguments: &[&str]| output("git", &[&["-C", &root], arguments].concat());
    let changed = match git(&["status", "--porcelain", "--untracked-files=no"])
        .trim()
        .is_empty()
    {
        true => "",
        false => " with changes",
    };
    vec![
        (
            "processor",
            format!(
                "{} (family {}, model {}){}",
                value(&cpu, "model name"),
                value(&cpu, "cpu family"),
                value(&cpu, "model\t"),
                if cpu.contains(" hypervisor") {
                    ", virtual machine"
                } else {
                    ""
                }
            ),
        ),
        ("cores", format!("{cores}, for everything")),
        (
            "memory",
            format!("{} GiB", (kib + 512 * 1024) / 1024 / 1024),
        ),
        (
            "system",
            format!(
                "{}, Linux {}",
                value(&read("/etc/os-release"), "PRETTY_NAME"),
                read("/proc/sys/kernel/osrelease").trim()
            ),
        ),
        (
            "nginx",
            format!(
                "{major}.{minor}.{patch}, built by {}, 4 workers",
                built.unwrap_or("?")
            ),
        ),
        (
            "module",
            format!(
                "{}{changed}, {}",
                git(&["rev-parse", "--short", "HEAD"]).trim(),
                output("rustc", &["--version"]).trim()
            ),
        ),
        ("date", output("date", &["-u", "+%F"]).trim().to_owned()),
    ]
}

fn output(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return String::new();
    };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}
