//! A peer that answers with exactly the bytes it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server whose every connection runs the same script.
#[derive(Debug)]
pub struct Scripted {
    addr: SocketAddr,
    record: Arc<Record>,
}

#[derive(Debug, Default)]
struct Record {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Scripted {
    /// Runs `script` on each connection, which ends with it.
    pub fn new(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let addr = listener.local_addr().expect("address");
        let record = Arc::new(Record::default());
        let script = Arc::new(script);

        std::thread::spawn({
            let record = Arc::clone(&record);
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if record.stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let number = record.connections.fetch_add(1, Ordering::SeqCst) + 1;
                    record.open.fetch_add(1, Ordering::SeqCst);
                    let mut conversation = Conversation {
                        number,
                        stream,
                        record: Arc::clone(&record),
                    };
                    let script = Arc::clone(&script);
                    std::thread::spawn(move || script(&mut conversation));
                }
            }
        });
        Self { addr, record }
    }

    /// Answers every request with these bytes; the connection stays open.
    pub fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::new(move |conversation| {
            while conversation.read_request().is_some() {
                if !conversation.send(&response) {
                    return;
                }
            }
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.record.connections.load(Ordering::SeqCst)
    }

    /// Connections whose script runs.
    pub fn open_connections(&self) -> usize {
        self.record.open.load(Ordering::SeqCst)
    }

    /// The heads of the requests received so far.
    pub fn requests(&self) -> Vec<String> {
        self.record.requests.lock().expect("record").clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.record.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.addr));
    }
}

/// One connection of a [`Scripted`] server.
#[derive(Debug)]
pub struct Conversation {
    /// Its place in the order of accepted connections, from 1.
    pub number: usize,
    stream: TcpStream,
    record: Arc<Record>,
}

impl Conversation {
    /// Reads a request up to the empty line; none when the peer is gone.
    pub fn read_request(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return None,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        self.record
            .requests
            .lock()
            .expect("record")
            .push(head.clone());
        Some(head)
    }

    /// Reads what has come, of whatever protocol; nothing when the peer is gone.
    pub fn read_bytes(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 16 * 1024];
        let length = self.stream.read(&mut bytes).unwrap_or(0);
        bytes.truncate(length);
        bytes
    }

    /// Sends bytes; false when the peer is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends bytes in separate TCP segments of this size.
    pub fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, size: usize) -> bool {
        self.stream.set_nodelay(true).expect("nodelay");
        bytes.as_ref().chunks(size).all(|piece| {
            // A segment is read on its own when the peer had time to wait for it.
            std::thread::sleep(Duration::from_micros(500));
            self.stream.write_all(piece).is_ok()
        })
    }

    /// Waits until the peer closes the connection.
    pub fn wait_until_closed(&mut self) {
        while matches!(self.stream.read(&mut [0; 1024]), Ok(1..)) {}
    }

    /// Whether the peer leaves, or sends more, within this time.
    pub fn is_left_within(&mut self, time: Duration) -> bool {
        let read_timeout = |time| self.stream.set_read_timeout(time).expect("timeout");
        read_timeout(Some(time));
        let read = self.stream.peek(&mut [0]);
        read_timeout(None);
        read.is_ok()
    }

    /// Closes the sending side.
    pub fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a TCP reset.
    pub fn reset(&mut self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket
            .set_linger(Some(Duration::ZERO))
            .expect("linger of zero");
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.record.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A response with these headers and no body.
pub fn answer(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n");
    for (name, value) in headers {
        answer += &format!("{name}: {value}\r\n");
    }
    answer += "\r\n";
    answer.into_bytes()
}
