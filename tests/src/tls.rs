//! A server that speaks TLS in front of one that does not.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use openssl::ssl::{
    HandshakeError, NameType, SslAcceptor, SslAcceptorBuilder, SslMethod, SslStream, SslVerifyMode,
    SslVersion,
};

use crate::{Authority, Identity};

/// TLS on a port of 127.0.0.1; what comes through it goes on to another server.
#[derive(Debug)]
pub struct TlsServer {
    addr: SocketAddr,
    record: Arc<Record>,
}

#[derive(Debug, Default)]
struct Record {
    handshakes: Mutex<Vec<Handshake>>,
    failures: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

/// A handshake that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The name the client asked for (SNI).
    pub server_name: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The client's certificate: its common name.
    pub client: Option<String>,
    /// `TLSv1.3`
    pub version: &'static str,
}

/// Describes a [`TlsServer`].
pub struct TlsServerBuilder {
    acceptor: SslAcceptorBuilder,
}

impl TlsServer {
    /// One with this certificate.
    pub fn builder(identity: &Identity) -> TlsServerBuilder {
        let mut acceptor =
            SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("acceptor");
        acceptor
            .set_certificate(&identity.certificate)
            .expect("certificate");
        acceptor.set_private_key(&identity.key).expect("key");
        acceptor
            .set_session_id_context(b"test")
            .expect("session context");
        TlsServerBuilder { acceptor }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The handshakes that succeeded, in order.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.record.handshakes.lock().expect("record").clone()
    }

    /// What went wrong with the others.
    pub fn failures(&self) -> Vec<String> {
        self.record.failures.lock().expect("record").clone()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.record.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.addr));
    }
}

impl TlsServerBuilder {
    /// Sends a certificate of an authority in between along.
    pub fn chain(mut self, authority: &Authority) -> Self {
        let certificate = authority.certificate().clone();
        self.acceptor
            .add_extra_chain_cert(certificate)
            .expect("chain");
        self
    }

    /// Demands a client certificate by this authority.
    pub fn demand(mut self, authority: &Authority) -> Self {
        let certificate = authority.certificate().clone();
        self.acceptor
            .cert_store_mut()
            .add_cert(certificate)
            .expect("authority");
        self.acceptor
            .set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        self
    }

    /// Speaks nothing newer than TLS 1.2.
    pub fn old(mut self) -> Self {
        self.acceptor
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .expect("version");
        self
    }

    /// Starts it in front of a server at `backend`.
    pub fn start(self, backend: SocketAddr) -> TlsServer {
        self.serve(move |client| relay(client, backend))
    }

    /// Starts it alone, to answer each request with these bytes, in one TLS record if they are at
    /// most 16 KB.
    pub fn answering(self, response: impl Into<Vec<u8>>) -> TlsServer {
        let response = response.into();
        self.serve(move |mut client| loop {
            read_head(&mut client)?;
            client.write_all(&response)?;
        })
    }

    fn serve(
        self,
        conversation: impl Fn(SslStream<TcpStream>) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> TlsServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let addr = listener.local_addr().expect("address");
        let record = Arc::new(Record::default());
        let acceptor = self.acceptor.build();
        let conversation = Arc::new(conversation);
        std::thread::spawn({
            let record = Arc::clone(&record);
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if record.stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let (acceptor, record) = (acceptor.clone(), Arc::clone(&record));
                    let conversation = Arc::clone(&conversation);
                    std::thread::spawn(move || match acceptor.accept(stream) {
                        Ok(stream) => {
                            record.note(&stream);
                            let _ = conversation(stream);
                        }
                        Err(error) => {
                            let said = error.to_string();
                            record.failures.lock().expect("record").push(said);
                            linger(error);
                        }
                    });
                }
            }
        });
        TlsServer { addr, record }
    }
}

impl Record {
    fn note(&self, stream: &SslStream<TcpStream>) {
        let ssl = stream.ssl();
        let name = |certificate: openssl::x509::X509| {
            let entry = certificate.subject_name().entries().next()?;
            String::from_utf8(entry.data().as_slice().to_vec()).ok()
        };
        self.handshakes.lock().expect("record").push(Handshake {
            server_name: ssl.servername(NameType::HOST_NAME).map(str::to_owned),
            resumed: ssl.session_reused(),
            client: ssl.peer_certificate().and_then(name),
            version: ssl.version_str(),
        });
    }
}

/// Lets the client read the alert: a close with unread bytes would be a reset.
fn linger(error: HandshakeError<TcpStream>) {
    if let HandshakeError::Failure(mut stream) = error {
        let stream = stream.get_mut();
        let _ = stream.shutdown(Shutdown::Write);
        let _ = std::io::copy(stream, &mut std::io::sink());
    }
}

/// Passes requests without a body on, and the responses back, until one side ends it.
fn relay(mut client: SslStream<TcpStream>, backend: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(backend)?;
    loop {
        let request = read_head(&mut client)?;
        server.write_all(&request)?;
        let mut response = read_head(&mut server)?;
        let head = String::from_utf8_lossy(&response).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        server.read_exact(&mut body)?;
        response.extend(body);
        client.write_all(&response)?;
    }
}

fn read_head(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}
