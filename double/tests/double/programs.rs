//! The two programs, as a shell sees them.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;

const RESOLVER: &str = env!("CARGO_BIN_EXE_authgear-resolver-double");
const ECHO: &str = env!("CARGO_BIN_EXE_echo-app");

struct Program {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Program {
    fn start(path: &str, args: &[&str]) -> Self {
        let mut child = Command::new(path)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Program { child, lines }
    }

    /// The address in the next line, which must begin with that text.
    fn addr(&mut self, beginning: &str) -> SocketAddr {
        let line = self.line();
        let addr = line.strip_prefix(beginning).expect(&line);
        addr.parse().expect("an address")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn stop(mut self, signal: &str) -> ExitStatus {
        let kill = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .status();
        assert!(kill.expect("kill").success());
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Gone already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(path: &str, args: &[&str]) -> Output {
    Command::new(path).args(args).output().expect("run")
}

#[test]
fn the_resolver_serves_a_file_until_it_is_told_to_stop() {
    let directory = std::env::temp_dir().join(format!("double-cli-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("directory");
    let file = directory.join("sessions.json");
    let socket = directory.join("resolver.sock");
    std::fs::write(
        &file,
        r#"{"users":{"u":{}},"sessions":[{"kind":"session","value":"s","user":"u"}]}"#,
    )
    .expect("file");

    let mut program = Program::start(
        RESOLVER,
        &[
            "--listen",
            "127.0.0.1:0",
            "--listen",
            &format!("unix:{}", socket.display()),
            "--control",
            "127.0.0.1:0",
            "--sessions",
            file.to_str().expect("text"),
            "--cookie-prefix",
            "p_",
            "--trust-proxy",
            "--delay",
            "0.5",
        ],
    );
    let addr = program.addr("listening on ");
    assert_eq!(
        program.line(),
        format!("listening on unix:{}", socket.display())
    );
    let control = program.addr("control on ");

    let mut client = Client::new(addr);
    let response = client.get("/resolve", "Cookie: p_session=s\r\n");
    assert_eq!(response.get("x-authgear-user-id"), Some("u"));
    assert_eq!(Client::new(control).get("/stats", "").status, 200);
    assert!(socket.exists());
    assert!(program.stop("TERM").success());
    assert!(!socket.exists());
    std::fs::remove_dir_all(&directory).expect("directory");
}

#[test]
fn without_a_file_the_example_is_served() {
    let mut program = Program::start(RESOLVER, &["--listen", "127.0.0.1:0"]);
    let addr = program.addr("listening on ");
    let response = Client::new(addr).get("/resolve", "Authorization: Bearer alice-token\r\n");
    assert_eq!(response.get("x-authgear-session-valid"), Some("true"));
    assert!(program.stop("INT").success());
}

#[test]
fn the_app_echoes_until_it_is_told_to_stop() {
    let mut program = Program::start(ECHO, &["--listen", "127.0.0.1:0"]);
    let addr = program.addr("listening on ");
    assert!(Client::new(addr)
        .get("/x", "")
        .text()
        .contains("\"target\":\"/x\""));
    assert!(program.stop("TERM").success());
}

#[test]
fn the_log_has_no_credentials() {
    let mut child = Command::new(RESOLVER)
        .args(["--listen", "127.0.0.1:0", "--log"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let mut errors = child.stderr.take().expect("its log");
    let lines = BufReader::new(child.stdout.take().expect("its output"));
    let mut program = Program { child, lines };
    let addr = program.addr("listening on ");
    Client::new(addr).get("/resolve", "Cookie: session=alice.secret\r\n");
    assert!(program.stop("TERM").success());
    let mut log = String::new();
    errors.read_to_string(&mut log).expect("its log");
    assert_eq!(log, "connection 1 request 1: GET /resolve: valid\n");
}

#[test]
fn mistakes_are_explained() {
    for (path, args, status, named) in [
        (
            RESOLVER,
            &["--listen", "nowhere"][..],
            2,
            "--listen nowhere",
        ),
        (RESOLVER, &["--sessions"][..], 2, "--sessions needs a value"),
        (
            RESOLVER,
            &["--sessions", "/nonexistent"][..],
            1,
            "/nonexistent",
        ),
        (RESOLVER, &["--frob"][..], 2, "unknown option --frob"),
        (
            RESOLVER,
            &["--listen", "unix:/nonexistent/a"][..],
            1,
            "cannot listen on unix:",
        ),
        (ECHO, &["--listen"][..], 2, "--listen needs a value"),
    ] {
        let output = run(path, args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {errors}");
        assert!(errors.contains(named), "{errors}");
    }
    for path in [RESOLVER, ECHO] {
        let output = run(path, &["--help"]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("usage: "));
    }
}
