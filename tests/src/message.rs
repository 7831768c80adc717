//! Requests and responses, the same for HTTP/1.1 and HTTP/2.

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use crate::Seen;

/// A request that a test makes.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// How the body goes out.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    None,
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
}

/// A request with this method.
pub fn request(method: &str, path: &str) -> Request {
    Request {
        method: method.into(),
        path: path.into(),
        headers: Vec::new(),
        body: Body::None,
    }
}

/// A GET request.
pub fn get(path: &str) -> Request {
    request("GET", path)
}

/// A POST request whose body has a length.
pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Request {
    let mut post = request("POST", path);
    post.body = Body::Length(body.into());
    post
}

/// Authgear's signature of a webhook's body, for `x-authgear-body-signature`.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let key = PKey::hmac(secret.as_bytes()).expect("a key");
    let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("a signer");
    let mac = signer.sign_oneshot_to_vec(body).expect("a signature");
    mac.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds each of these headers.
    pub fn headers<N: AsRef<str>, V: AsRef<str>>(
        self,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        headers.into_iter().fold(self, |request, (name, value)| {
            request.header(name.as_ref(), value.as_ref())
        })
    }

    /// Adds a Cookie header.
    pub fn cookie(self, cookie: &str) -> Self {
        self.header("Cookie", cookie)
    }

    /// Adds an Authorization header with a bearer token.
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sends the body in these chunks (as DATA frames without a length over HTTP/2).
    pub fn chunks(mut self, chunks: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.body = Body::Chunked(chunks.into_iter().collect());
        self
    }

    /// The request as HTTP/1.1 puts it on the wire, up to the body.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let has = |wanted: &str| {
            self.headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        if !has("host") {
            head.push_str("Host: site.example\r\n");
        }
        match &self.body {
            Body::Length(body) if !has("content-length") => {
                head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            Body::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
            _ => {}
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The body as HTTP/1.1 puts it on the wire.
    pub fn wire_body(&self) -> Vec<u8> {
        match &self.body {
            Body::None => Vec::new(),
            Body::Length(body) => body.clone(),
            Body::Chunked(chunks) => {
                let mut wire = Vec::new();
                for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                    wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    wire.extend_from_slice(chunk);
                    wire.extend_from_slice(b"\r\n");
                }
                wire.extend_from_slice(b"0\r\n\r\n");
                wire
            }
        }
    }
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers in order, names as received, values byte for character.
    pub headers: Vec<(String, String)>,
    /// Body, its transfer coding removed.
    pub body: Vec<u8>,
    /// Statuses of the interim responses before it, such as 100.
    pub interim: Vec<u16>,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The request that the application behind nginx says it received.
    ///
    /// # Panics
    /// When the response is not the application's.
    pub fn seen(&self) -> Seen {
        assert_eq!(self.status, 200, "the application's answer: {self:?}");
        Seen::parse(&self.body)
    }
}
