//! The upstreams that nginx speaks to other than by HTTP/1.1.
//!
//! Each answers with the request it received, in a form that [`crate::Seen`] reads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use tempfile::TempDir;

use crate::{eventually, Port};

/// fcgiwrap with a CGI script, which Debian packages as `fcgiwrap`.
#[derive(Debug)]
pub struct FastCgi {
    directory: TempDir,
    server: Server,
}

impl FastCgi {
    /// Starts it.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let script = directory.path().join("environment.cgi");
        // The shell drops variables that it could not name, so print its own start.
        let text =
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\ncat /proc/$$/environ\n";
        std::fs::write(&script, text).expect("script");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&script, executable).expect("executable");

        let port = Port::reserve();
        let mut command = Command::new("fcgiwrap");
        command.args(["-s", &format!("tcp:{}", port.addr())]);
        Self {
            directory,
            server: Server::start(command, port),
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.port.addr()
    }

    /// The script that nginx has to name in `SCRIPT_FILENAME`.
    pub fn script(&self) -> PathBuf {
        self.directory.path().join("environment.cgi")
    }
}

/// uwsgi with a WSGI application, from Debian's `uwsgi-plugin-python3`.
#[derive(Debug)]
pub struct Uwsgi {
    _directory: TempDir,
    server: Server,
}

impl Uwsgi {
    /// Starts it.
    pub fn start() -> Self {
        const APPLICATION: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    lines = [f"{k}={v}" for k, v in environ.items() if isinstance(v, str)]
    return ["\0".join(lines).encode("latin-1", "replace")]
"#;
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("application.py");
        std::fs::write(&file, APPLICATION).expect("application");

        let port = Port::reserve();
        let mut command = Command::new("uwsgi_python3");
        command
            .args(["--socket", &port.addr().to_string(), "--die-on-term"])
            .args(["--buffer-size", "32768", "--need-app", "--wsgi-file"])
            .arg(file);
        Self {
            _directory: directory,
            server: Server::start(command, port),
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.port.addr()
    }
}

/// A process that listens on a port, ended with this value.
#[derive(Debug)]
struct Server {
    child: Child,
    port: Port,
}

impl Server {
    fn start(mut command: Command, port: Port) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e} (run `make deps`)"));
        eventually(&program, || TcpStream::connect(port.addr()).ok());
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An SCGI server.
#[derive(Debug)]
pub struct Scgi {
    addr: SocketAddr,
}

impl Scgi {
    /// Starts it.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let addr = listener.local_addr().expect("address");
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || answer_scgi(stream));
            }
        });
        Self { addr }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Reads `LENGTH:NAME\0VALUE\0...,` and sends the pairs back as `NAME=VALUE\0...`.
fn answer_scgi(mut stream: TcpStream) -> Option<()> {
    let mut length = 0;
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        match byte[0] {
            digit @ b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
            _ => break,
        }
    }
    let mut pairs = vec![0; length + 1];
    stream.read_exact(&mut pairs).ok()?;
    pairs.pop();
    let pairs = String::from_utf8_lossy(&pairs).into_owned();
    let fields: Vec<&str> = pairs.split_terminator('\0').collect();
    let lines: Vec<String> = fields.chunks_exact(2).map(|pair| pair.join("=")).collect();
    let answer = format!(
        "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n{}",
        lines.join("\0")
    );
    stream.write_all(answer.as_bytes()).ok()
}

/// A gRPC server, as far as nginx can tell.
#[derive(Debug)]
pub struct Grpc {
    addr: SocketAddr,
}

impl Grpc {
    /// Starts it.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        listener.set_nonblocking(true).expect("non-blocking");
        let addr = listener.local_addr().expect("address");
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime")
                .block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(answer_grpc(stream));
                    }
                });
        });
        Self { addr }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

async fn answer_grpc(stream: tokio::net::TcpStream) -> Result<(), h2::Error> {
    // Its small frames must not wait for an acknowledgement each.
    stream.set_nodelay(true).expect("nodelay");
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        // The connection moves on only while the next call is waited for.
        tokio::spawn(answer_call(request, respond));
    }
    Ok(())
}

async fn answer_call(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut lines = vec![
        format!("REQUEST_METHOD={}", request.method()),
        format!("REQUEST_URI={}", request.uri().path()),
    ];
    lines.extend(request.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        format!("HTTP_{name}={value}")
    }));
    let mut messages = request.into_body();
    while let Some(piece) = messages.data().await {
        messages.flow_control().release_capacity(piece?.len())?;
    }
    let head = http::Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .expect("response");
    let mut body = respond.send_response(head, false)?;
    body.send_data(Bytes::from(lines.join("\0")), false)?;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    body.send_trailers(trailers)
}
