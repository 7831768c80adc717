//! Thousands of answers that no resolver should give, each judged by a second, independent reader.
//!
//! `AUTHGEAR_HOSTILE=100000` makes as many of them; `AUTHGEAR_HOSTILE_SEED` makes others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authgear_integration::{
    answer, eventually, get, Conversation, Environment, Http1, Random, Response, Scripted, Site,
};
use rustix::process::{kill_process, Pid, Signal};

#[path = "../../fuzz/src/reference.rs"]
mod reference;

use reference::{Headers, Reading, Verdict};

/// Of the resolver; long enough for a busy machine.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
const CLIENTS: usize = 8;
/// `authgear_buffer_size`; no head that the generator makes is nearly as large as this.
const BUFFER: usize = 4096;

const SITE: &str = "
    authgear_resolve http://%resolver%;
    authgear_read_timeout 3s;
    add_header outcome $authgear_outcome always;
    proxy_pass http://%app%;
";

/// What the resolver does for one request.
struct Case {
    wire: Vec<u8>,
    /// Where the wire is cut into segments.
    cuts: Vec<usize>,
    /// How long all of it takes.
    pause: Duration,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stay,
    Close,
    Reset,
}

impl Case {
    /// The case of this number, always the same.
    fn new(seed: u64, number: usize) -> Case {
        let mut random = Random::new(seed ^ (number as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut wire = response(&mut random, &format!("user-{number}"));
        let reading = reference::read(&wire);

        // Beyond this the bytes come at once, or they could meet the next request.
        let last_cut = match reading {
            Reading::Whole { end, .. } => end.saturating_sub(1),
            _ => wire.len(),
        };
        if random.once_in(15) {
            wire.truncate(random.below(wire.len() + 1));
        }
        let last_cut = last_cut.min(wire.len());
        let mut cuts: Vec<usize> = match random.below(8) {
            0..=4 => Vec::new(),
            5 | 6 => vec![random.below(last_cut + 1)],
            _ => (0..5).map(|_| random.below(last_cut + 1)).collect(),
        };
        cuts.sort_unstable();
        cuts.dedup();
        let pause = match random.below(200) {
            0 => READ_TIMEOUT / 3,
            _ => Duration::ZERO,
        };

        let hangs = random.once_in(150);
        let end = match (reference::read(&wire), random.below(10)) {
            (Reading::Unfinished, _) if hangs => End::Stay,
            (Reading::Unfinished, 0..=5) => End::Close,
            (_, 0) => End::Close,
            (_, 1) => End::Reset,
            (Reading::Unfinished, _) => End::Reset,
            _ => End::Stay,
        };
        Case {
            wire,
            cuts,
            pause,
            end,
        }
    }

    fn expected(&self) -> Expected {
        let verdict = match reference::read(&self.wire) {
            Reading::Whole { verdict, head, .. } if head <= BUFFER => verdict,
            _ => return Expected::error(),
        };
        // A reset may destroy what was sent before.
        let or_error = self.end == End::Reset;
        let (outcome, identity) = match verdict {
            Verdict::Error => return Expected::error(),
            Verdict::None => ("none", Vec::new()),
            Verdict::Invalid => (
                "invalid",
                vec![("x-authgear-session-valid".into(), "false".into())],
            ),
            Verdict::Valid(headers) => ("valid", as_the_app_sees(headers)),
        };
        Expected {
            outcome,
            identity,
            or_error,
        }
    }

    /// Whether the connection may serve another request.
    fn keeps(&self) -> bool {
        match reference::read(&self.wire) {
            Reading::Whole {
                keep, end, head, ..
            } => keep && end == self.wire.len() && head <= BUFFER,
            _ => false,
        }
    }

    fn play(&self, conversation: &mut Conversation) -> bool {
        let mut start = 0;
        for &cut in self.cuts.iter().chain([&self.wire.len()]) {
            let piece = &self.wire[start..cut];
            start = cut;
            if piece.is_empty() {
                continue;
            }
            // nginx waits so long for the whole head.
            std::thread::sleep(self.pause / (1 + self.cuts.len() as u32));
            let is_sent = if self.cuts.is_empty() {
                conversation.send(piece)
            } else {
                conversation.send_in_pieces(piece, piece.len())
            };
            if !is_sent {
                return false;
            }
        }
        match self.end {
            End::Stay => true,
            End::Close => false,
            End::Reset => {
                conversation.reset();
                false
            }
        }
    }
}

struct Expected {
    outcome: &'static str,
    identity: Vec<(String, String)>,
    or_error: bool,
}

impl Expected {
    fn error() -> Expected {
        Expected {
            outcome: "error",
            identity: Vec::new(),
            or_error: true,
        }
    }

    /// What is wrong with the response, if anything.
    fn difference(&self, response: &Response) -> Option<String> {
        let outcome = response.header("outcome").unwrap_or_default();
        if response.status == 503 {
            let right = outcome == "error" && self.or_error;
            return (!right).then(|| format!("denied, {outcome:?}"));
        }
        if response.status != 200 {
            return Some(format!("status {}", response.status));
        }
        let identity = response.seen().identity();
        let right = outcome == self.outcome && identity == self.identity;
        (!right).then(|| format!("{outcome:?} {identity:?}"))
    }
}

fn as_the_app_sees(headers: Headers) -> Vec<(String, String)> {
    let mut seen: Vec<_> = headers
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            let text = String::from_utf8(value);
            // Byte for character, as the app says it.
            let text =
                text.unwrap_or_else(|e| e.as_bytes().iter().map(|b| char::from(*b)).collect());
            (name, text)
        })
        .collect();
    seen.sort();
    seen
}

type Bytes = &'static [u8];

/// A whole answer, more or less.
fn response(random: &mut Random, user: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    // Half of them have one oddity at most, so that not all are errors.
    let calm = [1, 8][random.below(2)];
    if random.once_in(60 * calm) {
        wire.extend(random.pick::<[u8]>(&[b"\r\n", b"\n", b" ", b"\0", b"0\r\n\r\n"]));
    }
    if random.once_in(12 * calm) {
        let times = [1, 1, 1, 2, 8, 9][random.below(6)];
        for _ in 0..times {
            wire.extend(interim(random));
        }
    }
    match random.once_in(calm) {
        true => wire.extend(status_line(random)),
        false => wire.extend(b"HTTP/1.1 200 OK\r\n"),
    }
    let mut lines = identity(random, user);
    let kinds = if random.once_in(calm) { 16 } else { 9 };
    let (framing, body) = framing(random, kinds);
    lines.extend(framing);
    match random.below(40) {
        0 => lines.extend((0..110 + random.below(40)).map(|_| b"A: b".to_vec())),
        1 => {
            lines.push([b"Long: ".as_slice(), &vec![b'x'; 8192]].concat());
        }
        2..=9 => lines.push(other(random).to_vec()),
        _ => {}
    }
    if random.once_in(3) {
        shuffle(random, &mut lines);
    }
    let odd = random
        .once_in(5 * calm)
        .then(|| random.below(lines.len() + 1));
    for (number, line) in lines.iter().enumerate() {
        wire.extend(line);
        let end: Bytes = match odd {
            Some(at) if at == number => random.pick(&[
                b"\n",
                b"\n",
                b"\r",
                b"\r\r\n",
                b"\n\r",
                b"",
                b"\0\r\n",
                b"\r\n \r\n",
            ]),
            _ => b"\r\n",
        };
        wire.extend(end);
    }
    wire.extend(if random.once_in(30) { "\n" } else { "\r\n" }.bytes());
    wire.extend(body);
    if random.once_in(6) {
        wire.extend(surplus(random));
    }
    // A single byte changed anywhere.
    if random.once_in(5 * calm) && !wire.is_empty() {
        let at = random.below(wire.len());
        wire[at] = match random.below(4) {
            0 => b"\0\r\n\t :\x7f\x80\xff"[random.below(9)],
            1 => wire[at] ^ 1 << random.below(8),
            2 => wire[at] ^ 0x20,
            _ => random.next_u64() as u8,
        };
    }
    wire
}

fn shuffle<T>(random: &mut Random, list: &mut [T]) {
    for last in (1..list.len()).rev() {
        list.swap(last, random.below(last + 1));
    }
}

fn interim(random: &mut Random) -> Vec<u8> {
    let line: Bytes = random.pick(&[
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 103 Early Hints",
        b"HTTP/1.1 102 Processing",
        b"HTTP/1.1 199 X",
        b"HTTP/1.1 101 Switching Protocols",
    ]);
    let headers: Bytes = random.pick(&[
        b"",
        b"Link: </a>\r\n",
        b"X-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: mallory\r\n",
        b"Content-Length: 10\r\n",
    ]);
    [line, b"\r\n", headers, b"\r\n"].concat()
}

fn status_line(random: &mut Random) -> Vec<u8> {
    let line: Bytes = match random.below(20) {
        0..=12 => b"HTTP/1.1 200 OK",
        13 => b"HTTP/1.0 200 OK",
        14 => random.pick(&[
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 ",
            b"HTTP/1.1 200 \x80\xff",
            b"HTTP/1.1 200 \tOK",
        ]),
        15 => random.pick(&[
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1\t200 OK",
            b"http/1.1 200 OK",
            b"HTTP/1.2 200 OK",
            b"HTTP/2 200 OK",
            b"HTTP/2.0 200 OK",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 200OK",
            b"HTTP/1.1 200 O\0K",
            b"HTTP/0.9 200 OK",
            b"HTTP/1.10 200 OK",
            b"ICY 200 OK",
            b"",
            b" HTTP/1.1 200 OK",
            b"HTTP/1.1 +20 OK",
            b"HTTP/1.1 200\0",
            b"HTTP/1.1 2OO OK",
            b"HTTP/1.1 200\t",
            b"HTTP/1.1 200 \x7f",
        ]),
        _ => random.pick(&[
            b"HTTP/1.1 000 X",
            b"HTTP/1.1 099 X",
            b"HTTP/1.1 201 Created",
            b"HTTP/1.1 204 No Content",
            b"HTTP/1.1 206 Partial",
            b"HTTP/1.1 301 Moved",
            b"HTTP/1.1 302 Found",
            b"HTTP/1.1 304 Not Modified",
            b"HTTP/1.1 400 Bad",
            b"HTTP/1.1 401 Who",
            b"HTTP/1.1 403 No",
            b"HTTP/1.1 404 Where",
            b"HTTP/1.1 429 Slow",
            b"HTTP/1.1 500 Oops",
            b"HTTP/1.1 502 Bad",
            b"HTTP/1.1 503 Busy",
            b"HTTP/1.1 504 Late",
            b"HTTP/1.1 599 X",
            b"HTTP/1.1 999 X",
        ]),
    };
    [line, b"\r\n"].concat()
}

/// Identity header lines, right ones for the most part.
fn identity(random: &mut Random, user: &str) -> Vec<Vec<u8>> {
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut push = |name: &str, value: &str| fields.push((name.into(), value.into()));
    match random.below(10) {
        0 => push("X-Authgear-Session-Valid", "false"),
        1 => {}
        2 => push("X-Authgear-User-Id", user),
        _ => {
            push("X-Authgear-Session-Valid", "true");
            push("X-Authgear-User-Id", user);
            for (name, value) in [
                ("X-Authgear-User-Anonymous", "false"),
                ("X-Authgear-User-Verified", "true"),
                ("X-Authgear-Session-Acr", "urn:acr"),
                ("X-Authgear-Session-Amr", "pwd otp"),
                ("X-Authgear-Session-Authenticated-At", "1750000000"),
                ("X-Authgear-User-Can-Reauthenticate", "true"),
                ("X-Authgear-User-Roles", "a,b"),
            ] {
                if random.once_in(2) {
                    push(name, value);
                }
            }
        }
    }
    if random.once_in(4) && !fields.is_empty() {
        let at = random.below(fields.len());
        change(random, &mut fields, at);
    }
    let mut lines: Vec<Vec<u8>> = fields
        .iter()
        .map(|(name, value)| {
            let colon: Bytes = match random.below(30) {
                0 => random.pick(&[b":", b":  ", b":\t", b": \t "]),
                1 if random.once_in(4) => random.pick(&[
                    b" : ", b"\t:", b"", b"::", b"\0:", b"=", b":\r\n ", b":\n\t", b":\x0b",
                ]),
                _ => b": ",
            };
            let after: Bytes = match random.below(30) {
                0 => random.pick(&[b" ", b"\t", b" \t "]),
                _ => b"",
            };
            [name, colon, value, after].concat()
        })
        .collect();
    if random.once_in(40) {
        let line: Bytes = random.pick(&[
            b": x",
            b"no colon",
            b" folded",
            b"\tfolded",
            b"a b: c",
            b"\x80: x",
            b"a: \0",
            b"a: \x01",
            b"a: \xff",
        ]);
        let at = random.below(lines.len() + 1);
        lines.insert(at, line.to_vec());
    }
    lines
}

/// Makes one identity header doubtful, or only odd.
fn change(random: &mut Random, fields: &mut Vec<(Vec<u8>, Vec<u8>)>, at: usize) {
    let (name, value) = fields[at].clone();
    match random.below(9) {
        0 => fields.push((name, value)),
        1 => fields.push((name.to_ascii_uppercase(), b"mallory".to_vec())),
        2 => fields.push((name.to_ascii_lowercase(), Vec::new())),
        3 => fields[at].0 = name.to_ascii_uppercase(),
        4 => {
            fields[at].0 = name
                .iter()
                .map(|&b| if b == b'-' { b'_' } else { b })
                .collect()
        }
        5 => fields[at].1.clear(),
        6 => {
            let byte = [
                0, 1, 9, 0x0b, 0x1b, b' ', b',', b'"', 0x7f, 0x80, 0xc3, 0xff, b'\r',
            ][random.below(13)];
            let place = random.below(value.len() + 1);
            fields[at].1.insert(place, byte);
        }
        7 => drop(fields.remove(at)),
        _ => {
            let odd: Bytes = random.pick(&[
                b"TRUE",
                b"True",
                b"1",
                b"yes",
                b"true, true",
                b"true;",
                b"false",
                b"-1",
                b"+1",
                b"1e3",
                b"0x1",
                b"007",
                b"9223372036854775807",
                b"9223372036854775808",
                b"-9223372036854775808",
                b"1.0",
                b"- 1",
                b"mallory,",
                b"\xe2\x80\xae",
                b"a\tb",
                b"%0d%0a",
                b"-",
                b"\"true\"",
            ]);
            fields[at].1 = odd.to_vec();
        }
    }
}

fn other(random: &mut Random) -> Bytes {
    random.pick(&[
        b"Vary: a",
        b"Set-Cookie: session=; Path=/",
        b"Connection: keep-alive",
        b"Connection: close",
        b"Connection: upgrade, CLOSE",
        b"Upgrade: websocket",
        b"X-Authgear-Other: x",
        b"X_Authgear_User_Id: mallory",
        b"X-Authgear-User-Id2: mallory",
        b"Proxy-Connection: close",
        b"Keep-Alive: timeout=0",
        b"X-Accel-Redirect: /x",
        b"Content_Length: 7",
        b"Location: http://evil.example/",
        b"Trailer: X-Authgear-User-Id",
        b"Date: now",
        b"Content-Encoding: gzip",
        b"Status: 500",
        b"HTTP/1.1 500 Oops: x",
    ])
}

/// Headers that tell how long the body is, truly or not, and the body.
fn framing(random: &mut Random, kinds: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let lines = |lines: &[Bytes]| lines.iter().map(|line| line.to_vec()).collect::<Vec<_>>();
    match random.below(kinds) {
        0..=5 => (lines(&[b"Content-Length: 0"]), Vec::new()),
        6 | 7 => {
            let body = vec![b'x'; [1, 5, 100, 4095, 4096, 9000][random.below(6)]];
            (vec![format!("Content-Length: {}", body.len()).into()], body)
        }
        8..=10 => (lines(&[b"Transfer-Encoding: chunked"]), chunks(random)),
        11 => (Vec::new(), random.pick::<[u8]>(&[b"", b"hello"]).to_vec()),
        12 => (
            lines(&[random.pick(&[
                b"Content-Length: 4",
                b"Content-Length: 6",
                b"Content-Length: 005",
                b"Content-Length: 99999999",
            ])]),
            b"hello".to_vec(),
        ),
        13 => (
            lines(&[random.pick(&[
                b"Content-Length: +5",
                b"Content-Length: -5",
                b"Content-Length: 5 5",
                b"Content-Length: 5, 5",
                b"Content-Length: 0x5",
                b"Content-Length:",
                b"Content-Length: five",
                b"Content-Length: 5;",
                b"Content-Length: 99999999999999999999999",
                b"Content-Length: \"5\"",
                b"Content-Length: 5.0",
            ])]),
            b"hello".to_vec(),
        ),
        14 => (
            lines(&[
                random.pick(&[
                    b"Content-Length: 5",
                    b"Content-Length: 0",
                    b"Transfer-Encoding: chunked",
                ]),
                random.pick(&[
                    b"Content-Length: 5",
                    b"content-length: 0",
                    b"TRANSFER-ENCODING: chunked",
                    b"Transfer-Encoding: identity",
                ]),
            ]),
            random
                .pick::<[u8]>(&[b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"])
                .to_vec(),
        ),
        _ => (
            lines(&[random.pick(&[
                b"Transfer-Encoding: Chunked",
                b"Transfer-Encoding: gzip",
                b"Transfer-Encoding: gzip, chunked",
                b"Transfer-Encoding: chunked, chunked",
                b"Transfer-Encoding: chunked;q=1",
                b"Transfer-Encoding: xchunked",
                b"Transfer-Encoding:",
                b"Transfer-Encoding: identity",
                b"Transfer-Encoding: \"chunked\"",
                b"Transfer-Encoding: chunked,",
                b"Transfer-Encoding: ,chunked",
                b"Transfer-Encoding:\tchunked",
            ])]),
            b"5\r\nhello\r\n0\r\n\r\n".to_vec(),
        ),
    }
}

fn chunks(random: &mut Random) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..random.below(4) {
        let chunk: Bytes = match random.below(12) {
            0..=5 => random.pick(&[
                b"5\r\nhello\r\n",
                b"A\r\n0123456789\r\n",
                b"00005\r\nhello\r\n",
            ]),
            6 | 7 => random.pick(&[
                b"5;a=b\r\nhello\r\n",
                b"5 \r\nhello\r\n",
                b"5 ;\r\nhello\r\n",
                b"5;\xff\r\nhello\r\n",
                b"a\r\nhello\r\nabc\r\n",
            ]),
            _ => random.pick(&[
                b"5\nhello\n",
                b"5\nhello\r\n",
                b"5;\nhello\r\n",
                b"\r\nhello\r\n",
                b";\r\n\r\n",
                b"+5\r\nhello\r\n",
                b"-5\r\nhello\r\n",
                b"0x5\r\nhello\r\n",
                b"5\r\nhell\r\n",
                b"5\r\nhelloo\r\n",
                b"5\r\nhello",
                b"5\r\nhello\n",
                b"5\rhello\r\n",
                b"5 5\r\nhello\r\n",
                b"ffffffffffffffff\r\nhello\r\n",
                b"00000000000000005\r\nhello\r\n",
                b"7fffffffffffffff\r\nhello\r\n",
                b"g\r\nhello\r\n",
                b"5\0\r\nhello\r\n",
                b"5;\0\r\nhello\r\n",
                b"5,\r\nhello\r\n",
                b" 5\r\nhello\r\n",
                b"ffffff\r\n",
                b"fffffffffffffffff\r\n",
            ]),
        };
        body.extend(chunk);
    }
    let last: Bytes = match random.below(12) {
        0..=6 => b"0\r\n\r\n",
        7 => random.pick(&[
            b"000\r\n\r\n",
            b"0;x\r\n\r\n",
            b"0\r\nT: v\r\n\r\n",
            b"0\r\nT: v\nU: w\n\n",
        ]),
        8 => b"0\r\nX-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: mallory\r\n\r\n",
        9 => b"0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n",
        10 => b"",
        _ => random.pick(&[
            b"0\r\n",
            b"0\n\n",
            b"0\r\n bad\r\n\r\n",
            b"0\r\nbad\r\n\r\n",
            b"\r\n\r\n",
            b"0\r\nT : v\r\n\r\n",
            b"0\r\nT: \0\r\n\r\n",
        ]),
    };
    body.extend(last);
    body
}

/// What follows an answer that is over.
fn surplus(random: &mut Random) -> Bytes {
    random.pick(&[
        b"HTTP/1.1 200 OK\r\nX-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: mallory\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nX-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: mallory\r\nContent-Length: 0\r\n\r\n",
        b"\r\n",
        b"\0",
        b"0\r\n\r\n",
        b"X-Authgear-User-Id: mallory\r\n\r\n",
    ])
}

/// Serves the case that the request's cookie names; `wrong` gets requests on connections that were to
/// end.
fn hostile(
    case: impl Fn(usize) -> Case + Send + Sync + 'static,
    wrong: Arc<Mutex<Vec<String>>>,
) -> Scripted {
    Scripted::new(move |conversation| {
        let mut ended_with: Option<usize> = None;
        while let Some(request) = conversation.read_request() {
            let number = request
                .split_once("session=case-")
                .and_then(|(_, rest)| rest.split_once('.')?.0.parse().ok());
            let number: usize = number.expect("a cookie that names a case");
            if let Some(before) = ended_with {
                let line = format!("case {number} came on the connection of case {before}");
                wrong.lock().expect("list").push(line);
            }
            let case = case(number);
            if !case.play(conversation) {
                return;
            }
            ended_with = (!case.keeps()).then_some(number);
        }
    })
}

/// Asks for all cases, on several connections at once, and says what was wrong.
fn ask_for_all(site: &Site, cases: usize, case: impl Fn(usize) -> Case + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let outcomes = Mutex::new(HashMap::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Http1::connect(site.nginx.addr("http1"));
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= cases {
                        return;
                    }
                    let request = get("/")
                        .cookie(&format!("session=case-{number}.x"))
                        .header("X-Authgear-User-Id", "forged");
                    let case = case(number);
                    let start = Instant::now();
                    let response = client.request(request);
                    let expected = case.expected();
                    if let Some(difference) = expected.difference(&response) {
                        wrong.lock().expect("list").push(format!(
                            "case {number}: {difference}, not {:?} {:?} ({:?}, cut at {:?})\n{}",
                            expected.outcome,
                            expected.identity,
                            case.end,
                            case.cuts,
                            case.wire.escape_ascii()
                        ));
                    }
                    if start.elapsed() > 2 * READ_TIMEOUT + Duration::from_secs(5) {
                        let line = format!("case {number} took {:?}", start.elapsed());
                        wrong.lock().expect("list").push(line);
                    }
                    let mut outcomes = outcomes.lock().expect("map");
                    *outcomes.entry(expected.outcome).or_insert(0) += 1;
                }
            });
        }
    });
    eprintln!("{cases} answers: {:?}", outcomes.into_inner().expect("map"));
    wrong.into_inner().expect("list")
}

fn check(
    workers: usize,
    cases: usize,
    case: impl Fn(usize) -> Case + Clone + Send + Sync + 'static,
) {
    let wrong_connections = Arc::new(Mutex::new(Vec::new()));
    let resolver = hostile(case.clone(), Arc::clone(&wrong_connections));
    let site = Site::builder()
        .place("resolver", resolver.addr())
        .location(SITE)
        .nginx(|nginx| nginx.workers(workers))
        .start();
    let mut wrong = ask_for_all(&site, cases, case);
    wrong.extend(wrong_connections.lock().expect("list").drain(..));
    let shown = wrong.iter().take(10).cloned().collect::<Vec<_>>();
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        shown.join("\n")
    );
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn answers_are_judged_as_the_reference_judges_them() {
    let few = if Environment::get().valgrind {
        300
    } else {
        3_000
    };
    let cases = variable("AUTHGEAR_HOSTILE").map_or(few, |cases| cases as usize);
    let seed = variable("AUTHGEAR_HOSTILE_SEED").unwrap_or(1);
    check(2, cases, move |number| Case::new(seed, number));
}

#[test]
fn an_answer_may_be_cut_anywhere() {
    let wires: Vec<Vec<u8>> = [
        "HTTP/1.1 200 OK\r\nX-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: USER\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nX-Authgear-User-Id: USER\r\n\
         X-Authgear-Session-Valid: true\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: v\r\n\r\n",
        "HTTP/1.1 200 OK\nX-Authgear-Session-Valid: false\nContent-Length: 0\n\n",
    ]
    .map(|wire| wire.as_bytes().to_vec())
    .into();
    let places: Vec<(usize, usize)> = (0..wires.len())
        .flat_map(|wire| (1..wires[wire].len()).map(move |cut| (wire, cut)))
        .collect();
    let cases = if Environment::get().valgrind {
        50
    } else {
        places.len()
    };
    let case = move |number: usize| {
        let (wire, cut) = places[number];
        let user = format!("{:04}", number);
        let text = String::from_utf8_lossy(&wires[wire]).replace("USER", &user);
        Case {
            wire: text.into_bytes(),
            cuts: vec![cut],
            pause: Duration::ZERO,
            end: End::Stay,
        }
    };
    check(1, cases, case);
}

/// The worker learns in one turn of its loop of a request, and then that the connection which it
/// would use for it has something to say: an answer before the question.
#[test]
fn an_answer_that_waits_on_an_idle_connection_is_nobodys() {
    waits_on_an_idle_connection(|resolver| Site::serving_with(resolver, SITE));
}

/// The same for a connection that nginx's own `keepalive` has kept.
#[test]
fn an_answer_that_waits_on_an_idle_connection_of_a_group_is_nobodys() {
    waits_on_an_idle_connection(|resolver| {
        Site::builder()
            .place("resolver", resolver.addr())
            .http("upstream kept { server %resolver%; keepalive 4; }")
            .location(&SITE.replace("http://%resolver%", "http://kept"))
            .start()
    });
}

fn waits_on_an_idle_connection(site: impl FnOnce(&Scripted) -> Site) {
    let speak = Arc::new(AtomicBool::new(false));
    let spoken = Arc::new(AtomicBool::new(false));
    let resolver = Scripted::new({
        let (speak, spoken) = (Arc::clone(&speak), Arc::clone(&spoken));
        move |conversation| {
            while conversation.read_request().is_some() {
                conversation.send(answer(200, &[]));
                if conversation.number > 1 {
                    continue;
                }
                while !speak.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let mallory = [
                    ("X-Authgear-Session-Valid", "true"),
                    ("X-Authgear-User-Id", "mallory"),
                ];
                conversation.send(answer(200, &mallory));
                spoken.store(true, Ordering::SeqCst);
            }
        }
    });
    let site = site(&resolver);
    let mut client = site.nginx.http1();
    let asking = || get("/").cookie("session=x");
    assert_eq!(client.request(asking()).header("outcome"), Some("none"));

    let [worker] = site.nginx.worker_pids()[..] else {
        panic!("one worker expected");
    };
    let worker = Pid::from_raw(worker as i32).expect("a pid");
    kill_process(worker, Signal::STOP).expect("stop");
    client.send(asking().head());
    std::thread::sleep(Duration::from_millis(20));
    speak.store(true, Ordering::SeqCst);
    eventually("the surplus is sent", || {
        spoken.load(Ordering::SeqCst).then_some(())
    });
    std::thread::sleep(Duration::from_millis(20));
    kill_process(worker, Signal::CONT).expect("go on");

    let response = client.read_response();
    assert_eq!(response.header("outcome"), Some("none"), "{response:?}");
    assert!(response.seen().identity().is_empty());
}
