//! HTTP/2 without TLS ("prior knowledge"): a correct client, and a raw one.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::runtime::Runtime;

use crate::message::Body;
use crate::{deadline, Request, Response};

/// One connection.
#[derive(Debug)]
pub struct Http2 {
    runtime: Runtime,
    connection: SendRequest<Bytes>,
}

/// A request whose response is still to be read.
#[derive(Debug)]
pub struct Pending {
    request: String,
    response: ResponseFuture,
}

impl Http2 {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Self {
        // The connection is served by a thread of its own, also while the test waits.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("runtime");
        let connection = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(addr)
                .await
                .expect("connect to nginx");
            let (requests, connection) = h2::client::handshake(stream).await.expect("handshake");
            tokio::spawn(connection);
            requests
        });
        Self {
            runtime,
            connection,
        }
    }

    /// Sends a request and reads its response.
    pub fn request(&mut self, request: Request) -> Response {
        let pending = self.start(request);
        self.finish(pending)
    }

    /// Opens a stream, sends the request's headers, and its body as the windows allow.
    pub fn start(&mut self, request: Request) -> Pending {
        let head = head_of(&request);
        let (chunks, ends_at_once) = match request.body {
            Body::None => (Vec::new(), true),
            Body::Length(body) => (vec![body], false),
            Body::Chunked(chunks) => (chunks, false),
        };
        let connection = &mut self.connection;
        let ready = poll_fn(|context| connection.poll_ready(context));
        self.runtime.block_on(ready).expect("connection is open");
        let (response, stream) = connection
            .send_request(head, ends_at_once)
            .expect("send request");
        // Not awaited: the server may answer, and refuse the rest, before the body is out.
        self.runtime.spawn(send_body(stream, chunks, ends_at_once));
        Pending {
            request: format!("{} {}", request.method, request.path),
            response,
        }
    }

    /// Reads the response of a started request.
    pub fn finish(&mut self, pending: Pending) -> Response {
        let Pending { request, response } = pending;
        self.runtime.block_on(async {
            tokio::time::timeout(deadline(), read_response(response))
                .await
                .unwrap_or_else(|_| panic!("no response in time: {request}"))
                .unwrap_or_else(|e| panic!("{request}: {e}"))
        })
    }

    /// Resets the stream of a started request; the connection lives on.
    pub fn cancel(&mut self, pending: Pending) {
        drop(pending);
    }
}

fn head_of(request: &Request) -> http::Request<()> {
    let authority = request
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map_or("site.example", |(_, value)| value.as_str());
    let mut builder = http::Request::builder()
        .method(request.method.as_str())
        .uri(format!("http://{authority}{}", request.path));
    if let Body::Length(body) = &request.body {
        builder = builder.header("content-length", body.len());
    }
    for (name, value) in &request.headers {
        if !name.eq_ignore_ascii_case("host") {
            builder = builder.header(name.to_ascii_lowercase(), value);
        }
    }
    builder.body(()).expect("valid request")
}

async fn send_body(
    mut stream: SendStream<Bytes>,
    chunks: Vec<Vec<u8>>,
    has_ended: bool,
) -> Result<(), h2::Error> {
    if has_ended {
        return Ok(());
    }
    for chunk in chunks {
        let mut rest = Bytes::from(chunk);
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let Some(capacity) = poll_fn(|context| stream.poll_capacity(context)).await else {
                return Ok(());
            };
            let capacity = capacity?;
            stream.send_data(rest.split_to(capacity.min(rest.len())), false)?;
        }
    }
    stream.send_data(Bytes::new(), true)
}

async fn read_response(response: ResponseFuture) -> Result<Response, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    Ok(Response {
        status: head.status.as_u16(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                let value = value.as_bytes().iter().copied().map(char::from).collect();
                (name.as_str().to_owned(), value)
            })
            .collect(),
        body: read_body(&mut body).await?,
        interim: Vec::new(),
    })
}

async fn read_body(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = match piece {
            // nginx answers, then says that it does not want the rest of the body.
            Err(e) if e.reason() == Some(h2::Reason::NO_ERROR) => break,
            piece => piece?,
        };
        body.extend_from_slice(&piece);
        stream.flow_control().release_capacity(piece.len())?;
    }
    Ok(body)
}

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A GET request with header names that no library would send; the response's body.
///
/// `None` when nginx refuses the request as a protocol error.
pub fn raw_http2_get(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(addr).expect("connect to nginx");
    stream
        .set_read_timeout(Some(deadline()))
        .expect("read timeout");

    // :method GET and :scheme http from the table, :authority and :path as literals.
    let mut block = vec![0x82, 0x86, 0x01];
    push_string(&mut block, "site.example");
    block.push(0x04);
    push_string(&mut block, path);
    for (name, value) in headers {
        block.push(0x00);
        push_string(&mut block, name);
        push_string(&mut block, value);
    }
    let mut wire = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    wire.extend(frame(SETTINGS, 0, 0, &[]));
    wire.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block));
    stream.write_all(&wire).expect("send");

    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).ok()?;
        let (kind, flags) = (head[3], head[4]);
        match kind {
            SETTINGS if flags & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, 0, &[])).ok()?;
            }
            RST_STREAM | GOAWAY => return None,
            DATA => body.extend(payload),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return Some(body);
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A string literal of HPACK, not Huffman-coded.
fn push_string(block: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 127, "short strings only");
    block.push(text.len() as u8);
    block.extend(text.as_bytes());
}
