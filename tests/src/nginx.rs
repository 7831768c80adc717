//! One nginx: its directory, its process and its logs.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};
use tempfile::TempDir;

use crate::{
    deadline, descriptors, eventually, workspace, Environment, Http1, Http2, Port, Request,
    Response,
};

/// What is in every credential that the tests use.
const CREDENTIALS: [&str; 4] = [".secret", "-bearer", "alice-app", "alice-access"];

/// What no test's error log may hold, unless the test expects it.
const FORBIDDEN: [&str; 6] = [
    "[alert]",
    "[crit]",
    "[emerg]",
    "panicked",
    "exited on signal",
    "open socket",
];

/// Describes an nginx before it starts.
///
/// In every snippet, `%NAME%` stands for an address given with [`place`](Self::place),
/// `%listen:NAME%` for a further port, and `%prefix%` for nginx's own directory.
#[derive(Debug)]
pub struct NginxBuilder {
    whole: Option<String>,
    main: String,
    http: String,
    http_after: String,
    server: String,
    log_format: String,
    log_level: String,
    workers: usize,
    module: bool,
    expected: Vec<String>,
    places: BTreeMap<String, String>,
    files: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl NginxBuilder {
    fn new() -> Self {
        Self {
            whole: None,
            main: String::new(),
            http: String::new(),
            http_after: String::new(),
            server: String::new(),
            log_format: "$request_method $request_uri $status".into(),
            log_level: "info".into(),
            workers: 1,
            module: true,
            expected: Vec::new(),
            places: BTreeMap::new(),
            files: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// A file of `nginx-conf/` instead of the snippets below, which listens on `port`.
    ///
    /// Only what ties it to one place is replaced.
    pub fn shipped(mut self, file: &str, port: u16) -> Self {
        let environment = Environment::get();
        let path = workspace().join("nginx-conf").join(file);
        let conf = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let conf = conf.replace(
            "load_module modules/ngx_http_authgear_module.so;",
            &environment.load_module(),
        );
        let user = if is_root() { "user root;" } else { "" };
        let (http2_parameter, http2_directive) = environment.http2();

        self.whole = Some(conf);
        self.replace(
            "error_log logs/error.log;",
            &format!("error_log logs/error.log info; daemon off; {user}"),
        )
        .replace(
            &format!("listen 127.0.0.1:{port};"),
            &format!(
                "listen %listen:http1%; listen %listen:http2%{http2_parameter}; {http2_directive}"
            ),
        )
    }

    /// Replaces text of a shipped configuration.
    ///
    /// # Panics
    /// When it is not there: the file has changed, and the test must follow.
    pub fn replace(mut self, text: &str, by: &str) -> Self {
        let conf = self.whole.take().expect("a shipped configuration");
        assert!(conf.contains(text), "{text:?} is not in\n{conf}");
        self.whole = Some(conf.replace(text, by));
        self
    }

    /// Adds lines outside of `http {}`.
    pub fn main(mut self, conf: &str) -> Self {
        push_line(&mut self.main, conf);
        self
    }

    /// Adds lines to `http {}`.
    pub fn http(mut self, conf: &str) -> Self {
        push_line(&mut self.http, conf);
        self
    }

    /// Adds lines to `http {}`, below the `server {}`.
    pub fn http_after(mut self, conf: &str) -> Self {
        push_line(&mut self.http_after, conf);
        self
    }

    /// Adds lines to the `server {}` that listens for HTTP/1.1 and HTTP/2.
    pub fn server(mut self, conf: &str) -> Self {
        push_line(&mut self.server, conf);
        self
    }

    /// The format of the access log.
    pub fn log_format(mut self, format: &str) -> Self {
        self.log_format = format.into();
        self
    }

    /// The level of the error log.
    pub fn log_level(mut self, level: &str) -> Self {
        self.log_level = level.into();
        self
    }

    /// The number of worker processes.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Leaves the module out.
    pub fn without_module(mut self) -> Self {
        self.module = false;
        self
    }

    /// Lets the error log hold lines with this text.
    pub fn expect_in_log(mut self, text: &str) -> Self {
        self.expected.push(text.into());
        self
    }

    /// Puts an address, or any text, in place of `%name%`.
    pub fn place(mut self, name: &str, text: impl ToString) -> Self {
        self.places.insert(name.into(), text.to_string());
        self
    }

    /// The same, unless the name has one already.
    pub fn place_unless_given(mut self, name: &str, text: impl ToString) -> Self {
        self.places
            .entry(name.into())
            .or_insert_with(|| text.to_string());
        self
    }

    /// Adds a file below nginx's directory; static files are served from `html/`.
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.into(), text.into()));
        self
    }

    /// Sets an environment variable of nginx; `%prefix%` in it is nginx's directory.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The line of the configuration on which this text is.
    ///
    /// # Panics
    /// When it is on none, or on several.
    pub fn line_of(&self, text: &str) -> usize {
        let conf = self.conf(Environment::get());
        let lines: Vec<usize> = (1..)
            .zip(conf.lines())
            .filter(|(_, line)| line.contains(text))
            .map(|(number, _)| number)
            .collect();
        let [line] = lines[..] else {
            panic!("{text:?} is on the lines {lines:?}");
        };
        line
    }

    /// Starts it, and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(self) -> Nginx {
        let environment = Environment::get();
        let prepared = self.prepare();
        let stderr = fs::File::create(prepared.path("logs/stderr.log")).expect("stderr.log");
        let mut command = prepared.command(environment.valgrind);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));

        let mut nginx = Nginx {
            prepared,
            child,
            started_with: Vec::new(),
            workers_may_change: false,
        };
        nginx.wait_until_it_serves();
        nginx.started_with = nginx.worker_pids();
        nginx
    }

    /// Writes the directory and the configuration.
    pub(crate) fn prepare(mut self) -> Prepared {
        let environment = Environment::get();
        let directory = tempfile::Builder::new()
            .prefix("authgear-nginx-")
            .tempdir()
            .expect("directory");
        let prefix = directory.path().to_owned();
        self.places
            .insert("prefix".into(), prefix.display().to_string());

        for folder in ["html", "logs", "temp"] {
            fs::create_dir(prefix.join(folder)).expect("folder");
        }
        for (path, text) in &self.files {
            let path = prefix.join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, text).expect("file");
        }

        let conf = self.conf(environment);
        let mut listens = BTreeMap::new();
        let conf = fill_in(&conf, &self.places, &mut listens);
        fs::write(prefix.join("nginx.conf"), &conf).expect("nginx.conf");
        Prepared {
            directory,
            conf,
            listens,
            workers: self.workers,
            expected: self.expected,
            environment: self
                .environment
                .into_iter()
                .map(|(name, value)| (name, value.replace("%prefix%", &self.places["prefix"])))
                .collect(),
        }
    }

    fn conf(&self, environment: &Environment) -> String {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let mut main = String::new();
        if self.module {
            push_line(&mut main, &environment.load_module());
        }
        if is_root() {
            main += "user root;\n";
        }
        let (http2_parameter, http2_directive) = environment.http2();
        let Self {
            main: main_snippet,
            http,
            http_after,
            server,
            log_format,
            log_level,
            workers,
            ..
        } = self;
        format!(
            "{main}\
             daemon off;\n\
             worker_processes {workers};\n\
             error_log logs/error.log {log_level};\n\
             pid logs/nginx.pid;\n\
             events {{ worker_connections 1024; }}\n\
             {main_snippet}\
             http {{\n\
             log_format test '{log_format}';\n\
             access_log logs/access.log test;\n\
             client_body_temp_path %prefix%/temp/body;\n\
             proxy_temp_path %prefix%/temp/proxy;\n\
             fastcgi_temp_path %prefix%/temp/fastcgi;\n\
             uwsgi_temp_path %prefix%/temp/uwsgi;\n\
             scgi_temp_path %prefix%/temp/scgi;\n\
             root %prefix%/html;\n\
             keepalive_requests 100000;\n\
             {http}\
             server {{\n\
             listen %listen:http1%;\n\
             listen %listen:http2%{http2_parameter};\n\
             {http2_directive}\n\
             {server}\
             }}\n\
             {http_after}\
             }}\n"
        )
    }
}

/// A directory with a configuration, ready for nginx.
#[derive(Debug)]
pub(crate) struct Prepared {
    directory: TempDir,
    pub(crate) conf: String,
    pub(crate) listens: BTreeMap<String, Port>,
    pub(crate) workers: usize,
    expected: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Prepared {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The lines of these logs that must never be there.
    pub(crate) fn bad_lines(&self, log: &str) -> Vec<String> {
        let expected = |line: &str| self.expected.iter().any(|text| line.contains(text));
        log.lines()
            .filter(|line| FORBIDDEN.iter().any(|text| line.contains(text)))
            .filter(|line| !expected(line))
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn command(&self, valgrind: bool) -> Command {
        let nginx = &Environment::get().nginx;
        let mut command = if valgrind {
            let suppressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("valgrind.supp");
            let mut command = Command::new("valgrind");
            command
                .args([
                    "--quiet",
                    "--trace-children=yes",
                    "--num-callers=30",
                    "--leak-check=full",
                    "--show-leak-kinds=definite",
                    "--errors-for-leak-kinds=definite",
                ])
                .arg(format!("--suppressions={}", suppressions.display()))
                .arg(format!(
                    "--log-file={}",
                    self.path("valgrind.%p.log").display()
                ))
                .arg(nginx);
            command
        } else {
            Command::new(nginx)
        };
        command
            .arg("-p")
            .arg(self.directory.path())
            .arg("-c")
            .arg(self.path("nginx.conf"))
            .envs(self.environment.iter().cloned());
        command
    }
}

/// A running nginx; stopped, and its logs judged, when it goes.
#[derive(Debug)]
pub struct Nginx {
    prepared: Prepared,
    child: Child,
    started_with: Vec<u32>,
    workers_may_change: bool,
}

impl Nginx {
    /// Describes one.
    pub fn builder() -> NginxBuilder {
        NginxBuilder::new()
    }

    /// Where it listens: `http1`, `http2` or the NAME of a `%listen:NAME%`.
    pub fn addr(&self, name: &str) -> SocketAddr {
        self.prepared.listens[name].addr()
    }

    /// Opens an HTTP/1.1 connection.
    pub fn http1(&self) -> Http1 {
        Http1::connect(self.addr("http1"))
    }

    /// Opens an HTTP/2 connection.
    pub fn http2(&self) -> Http2 {
        Http2::connect(self.addr("http2"))
    }

    /// Makes one request on a connection of its own.
    pub fn send(&self, request: Request) -> Response {
        self.http1().request(request)
    }

    /// Its directory.
    pub fn prefix(&self) -> &Path {
        self.prepared.directory.path()
    }

    /// The error log so far.
    pub fn error_log(&self) -> String {
        self.read("logs/error.log")
    }

    /// The access log so far.
    pub fn access_log(&self) -> String {
        self.read("logs/access.log")
    }

    /// Waits for a line of the error log that contains this text.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_line("logs/error.log", text)
    }

    /// Waits for a line of the access log that contains this text.
    pub fn wait_for_access(&self, text: &str) -> String {
        self.wait_for_line("logs/access.log", text)
    }

    /// The master.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes that serve requests, not those that a reload tells to go.
    pub fn worker_pids(&self) -> Vec<u32> {
        workers_of(self.child.id())
    }

    /// The processes that serve what they have begun, and then go.
    pub fn leaving_pids(&self) -> Vec<u32> {
        titled(self.child.id(), LEAVING)
    }

    /// The descriptors that the only worker has open.
    pub fn worker_descriptors(&self) -> usize {
        let [worker] = self.worker_pids()[..] else {
            panic!("one worker expected");
        };
        descriptors(worker).expect("descriptors")
    }

    /// Loads the configuration anew, and waits for the change of workers.
    pub fn reload(&mut self) {
        let before = self.worker_pids();
        self.workers_may_change = true;
        self.signal(Signal::HUP);
        eventually("workers after reload", || {
            let now = self.worker_pids();
            let fresh = now.len() == self.prepared.workers;
            (fresh && now.iter().all(|pid| !before.contains(pid))).then_some(())
        });
    }

    /// Tells it to end, with a signal that says how.
    pub fn end(&mut self, signal: Signal) {
        self.workers_may_change = true;
        self.signal(signal);
    }

    /// Waits until it has ended.
    pub fn wait_for_end(&mut self) {
        eventually("nginx's end", || self.child.try_wait().ok().flatten());
    }

    /// Sends a signal to the master.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("signal to the master");
    }

    fn read(&self, name: &str) -> String {
        self.prepared.read(name)
    }

    fn wait_for_line(&self, file: &str, text: &str) -> String {
        let what = format!("{text:?} in {file}");
        eventually(&what, || {
            let log = self.read(file);
            let whole_lines = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
            let line = whole_lines.lines().find(|line| line.contains(text));
            line.map(str::to_owned)
        })
    }

    fn wait_until_it_serves(&mut self) {
        let addrs: Vec<SocketAddr> = self.prepared.listens.values().map(Port::addr).collect();
        let end = Instant::now() + deadline();
        loop {
            let running = self.child.try_wait().expect("nginx's status").is_none();
            if !running || Instant::now() > end {
                panic!(
                    "nginx does not start:\n{}{}\n{}",
                    self.read("logs/stderr.log"),
                    self.error_log(),
                    self.prepared.conf
                );
            }
            let accepts = addrs.iter().all(|addr| TcpStream::connect(addr).is_ok());
            if accepts && self.worker_pids().len() == self.prepared.workers {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks nicely, then less so; whether it went in time.
    fn stop(&mut self) -> bool {
        for (signal, patience) in [
            (Signal::QUIT, deadline() / 3),
            (Signal::TERM, deadline() / 3),
        ] {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return signal == Signal::QUIT;
            }
            self.signal(signal);
            let end = Instant::now() + patience;
            while Instant::now() < end {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        for worker in children_of(self.child.id()).collect::<Vec<_>>() {
            if let Some(pid) = Pid::from_raw(worker as i32) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        false
    }

    /// What is wrong with the way this nginx lived, if anything.
    fn complaints(&mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        if !self.workers_may_change && self.worker_pids() != self.started_with {
            complaints.push(format!(
                "workers were {:?}, are {:?}",
                self.started_with,
                self.worker_pids()
            ));
        }
        if !self.stop() {
            complaints.push("nginx had to be killed".into());
        }
        let log = self.error_log() + &self.read("logs/stderr.log");
        complaints.extend(self.prepared.bad_lines(&log));
        // nginx's own debug lines show headers; none of the module's may, at any level.
        complaints.extend(
            log.lines()
                .filter_map(|line| line.split_once(" authgear: ").map(|(_, said)| said))
                .map(|said| said.split(", client: ").next().unwrap_or(said))
                .filter(|said| CREDENTIALS.iter().any(|text| said.contains(text)))
                .map(|said| format!("a credential in the log: {said}")),
        );
        for entry in fs::read_dir(self.prefix()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("valgrind.") {
                let log = self.read(&name);
                if !log.is_empty() {
                    complaints.push(log);
                }
            }
        }
        complaints
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let complaints = self.complaints();
        if std::thread::panicking() {
            eprintln!(
                "--- nginx.conf\n{}--- error.log\n{}--- access.log\n{}---",
                self.prepared.conf,
                tail(&self.error_log(), 60),
                tail(&self.access_log(), 20)
            );
            for complaint in complaints {
                eprintln!("{complaint}");
            }
        } else {
            assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        }
    }
}

/// Tests a configuration as `nginx -t` does; what it says when it refuses.
///
/// # Panics
/// When it does not end in time, or is ended by a signal.
pub fn nginx_t(builder: NginxBuilder) -> Result<(), String> {
    let prepared = builder.prepare();
    let stderr = fs::File::create(prepared.path("stderr")).expect("stderr");
    let mut child = prepared
        .command(false)
        .arg("-t")
        .stderr(stderr)
        .spawn()
        .expect("nginx -t");
    let status = eventually("the end of nginx -t", || child.try_wait().ok().flatten());
    let said = prepared.read("stderr");
    assert!(status.code().is_some(), "nginx -t: {status}: {said}");
    if status.success() {
        Ok(())
    } else {
        Err(said)
    }
}

/// Replaces each `%name%`, reserving a port for each `%listen:NAME%`.
fn fill_in(
    conf: &str,
    places: &BTreeMap<String, String>,
    listens: &mut BTreeMap<String, Port>,
) -> String {
    let mut filled = String::new();
    let mut rest = conf;
    while let Some((before, after)) = rest.split_once('%') {
        filled += before;
        let place = after.split_once('%').filter(|(name, _)| is_name(name));
        rest = match place {
            None => {
                filled.push('%');
                after
            }
            Some((name, after)) => {
                match name.strip_prefix("listen:") {
                    Some(port) => {
                        let port = listens.entry(port.to_owned()).or_insert_with(Port::reserve);
                        filled += &port.addr().to_string();
                    }
                    None => {
                        filled += places
                            .get(name)
                            .unwrap_or_else(|| panic!("nothing to put in place of %{name}%"));
                    }
                }
                after
            }
        };
    }
    filled + rest
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b':' | b'_'))
        && text.bytes().any(|b| b.is_ascii_lowercase())
}

fn push_line(conf: &mut String, line: &str) {
    conf.push_str(line);
    conf.push('\n');
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let mut tail = all[all.len().saturating_sub(lines)..].join("\n");
    tail.push('\n');
    tail
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

const WORKER: &str = "nginx: worker process";
const LEAVING: &str = "nginx: worker process is shutting down";

/// A master's processes that serve requests.
pub(crate) fn workers_of(master: u32) -> Vec<u32> {
    titled(master, WORKER)
}

/// The children of a master with this title, all of them under valgrind, where a process can't
/// change the title that others see.
fn titled(master: u32, wanted: &str) -> Vec<u32> {
    let valgrind = Environment::get().valgrind;
    let mut pids: Vec<u32> = children_of(master)
        .filter(|pid| {
            let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let title = String::from_utf8_lossy(&title);
            valgrind || title.trim_end_matches('\0') == wanted
        })
        .collect();
    pids.sort_unstable();
    pids
}

pub(crate) fn children_of(parent: u32) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(move |pid| parent_of(*pid) == Some(parent))
}

/// The fourth field of `/proc/PID/stat`; the second is in parentheses and may hold spaces.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
