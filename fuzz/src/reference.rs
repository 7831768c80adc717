//! What a resolver's response means, by a second reader that shares nothing with the module's.
//!
//! It sees the whole wire at once, line by line. RFC 9112, with these liberties, which the module
//! takes too: a line may end in a bare LF, and the reason phrase and its space may be missing.

type Grammar = fn(&[u8]) -> bool;

/// The name of each identity header, and what its value may be.
const IDENTITY: [(&str, Grammar); 9] = [
    ("x-authgear-session-valid", is_boolean),
    ("x-authgear-user-id", is_text),
    ("x-authgear-user-anonymous", is_boolean),
    ("x-authgear-user-verified", is_boolean),
    ("x-authgear-session-acr", is_text),
    ("x-authgear-session-amr", is_text),
    ("x-authgear-session-authenticated-at", is_integer),
    ("x-authgear-user-can-reauthenticate", is_boolean),
    ("x-authgear-user-roles", is_text),
];

const MEBIBYTE: u64 = 1024 * 1024;

/// Headers with lower-case names, in the order received.
pub type Headers = Vec<(String, Vec<u8>)>;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A session, and its identity headers.
    Valid(Headers),
    /// `false`.
    Invalid,
    /// Nothing.
    None,
    /// It is no answer of Authgear's, but where it ends is known.
    Error,
}

/// One response at the beginning of a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All of it.
    Whole {
        /// What it says.
        verdict: Verdict,
        /// All Set-Cookie values.
        cookies: Vec<Vec<u8>>,
        /// The length of its largest head; interim ones count too.
        head: usize,
        /// Where it ends on the wire.
        end: usize,
        /// Whether another may follow.
        keep: bool,
    },
    /// More must come.
    Unfinished,
    /// Nobody knows what it is.
    Broken,
}

/// Reads the first response.
pub fn read(wire: &[u8]) -> Reading {
    match whole(&mut Wire { wire, at: 0 }) {
        Ok(reading) => reading,
        Err(Stop::Unfinished) => Reading::Unfinished,
        Err(Stop::Broken) => Reading::Broken,
    }
}

enum Stop {
    Unfinished,
    Broken,
}

struct Wire<'w> {
    wire: &'w [u8],
    at: usize,
}

impl<'w> Wire<'w> {
    /// The next line, of text only, without its end.
    fn line(&mut self) -> Result<&'w [u8], Stop> {
        let rest = &self.wire[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or(Stop::Unfinished)?;
        self.at += length + 1;
        let line = rest[..length]
            .strip_suffix(b"\r")
            .unwrap_or(&rest[..length]);
        let is_line = line.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f));
        is_line.then_some(line).ok_or(Stop::Broken)
    }

    fn skip(&mut self, length: u64) -> Result<(), Stop> {
        if ((self.wire.len() - self.at) as u64) < length {
            return Err(Stop::Unfinished);
        }
        self.at += length as usize;
        Ok(())
    }

    fn expect(&mut self, text: &[u8]) -> Result<(), Stop> {
        let rest = &self.wire[self.at..];
        if rest.starts_with(text) {
            self.at += text.len();
            Ok(())
        } else if text.starts_with(rest) {
            Err(Stop::Unfinished)
        } else {
            Err(Stop::Broken)
        }
    }

    /// Header lines up to an empty one.
    fn headers(&mut self) -> Result<Headers, Stop> {
        let mut headers = Headers::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let colon = line.iter().position(|&byte| byte == b':');
            let colon = colon.filter(|&at| is_token(&line[..at]));
            let colon = colon.ok_or(Stop::Broken)?;
            let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
            headers.push((name, trim(&line[colon + 1..]).to_vec()));
            if headers.len() > 128 {
                return Err(Stop::Broken);
            }
        }
    }
}

fn whole(wire: &mut Wire) -> Result<Reading, Stop> {
    let mut interim = 0;
    let mut head = 0;
    let (minor, status, headers) = loop {
        let start = wire.at;
        let (minor, status) = status_line(wire.line()?).ok_or(Stop::Broken)?;
        let headers = wire.headers()?;
        head = head.max(wire.at - start);
        match status {
            101 => return Err(Stop::Broken),
            100..=199 => interim += 1,
            _ => break (minor, status, headers),
        }
        if interim > 8 {
            return Err(Stop::Broken);
        }
    };
    let all = |name: &str| -> Vec<&[u8]> {
        let of_name = headers.iter().filter(|(n, _)| n == name);
        of_name.map(|(_, value)| value.as_slice()).collect()
    };
    let closes = all("connection").iter().any(|value| {
        let text = String::from_utf8_lossy(value).to_lowercase();
        text.split(',')
            .any(|token| token.trim_matches(SPACES) == "close")
    });
    let mut keep = minor == 1 && !closes;

    let lengths = all("content-length");
    let codings = all("transfer-encoding");
    let length = match lengths[..] {
        [] => None,
        [value] if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
            let text = String::from_utf8_lossy(value);
            Some(text.parse::<u64>().map_err(|_| Stop::Broken)?)
        }
        _ => return Err(Stop::Broken),
    };
    let chunked = match codings[..] {
        [] => false,
        [coding] if coding.eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Stop::Broken),
    };
    if chunked && length.is_some() {
        return Err(Stop::Broken);
    }
    match length {
        _ if status == 204 || status == 304 => keep &= !chunked && length.is_none(),
        Some(length) if length > MEBIBYTE => keep = false,
        Some(length) => wire.skip(length)?,
        None if chunked => keep &= chunks(wire)?,
        None => keep = false,
    }
    Ok(Reading::Whole {
        verdict: verdict(status, &headers),
        cookies: all("set-cookie").into_iter().map(<[u8]>::to_vec).collect(),
        head,
        end: wire.at,
        keep,
    })
}

/// `HTTP/1.x SP 3DIGIT [SP reason]`
fn status_line(line: &[u8]) -> Option<(u8, u16)> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (&[minor, b' ', a, b, c], rest) = rest.split_first_chunk()? else {
        return None;
    };
    let status = [a, b, c].map(char::from).into_iter().collect::<String>();
    let is_one = matches!(minor, b'0' | b'1') && matches!(rest, [] | [b' ', ..]);
    let is_number = status.bytes().all(|digit| digit.is_ascii_digit());
    if !is_one || !is_number {
        return None;
    }
    Some((minor - b'0', status.parse().ok()?))
}

/// Skips chunks and trailers; whether all of them were read.
fn chunks(wire: &mut Wire) -> Result<bool, Stop> {
    loop {
        let start = wire.at;
        let line = wire.line()?;
        // Here a bare LF could hide a line from another reader.
        if !wire.wire[start..wire.at].ends_with(b"\r\n") {
            return Err(Stop::Broken);
        }
        let (size, rest) = line.split_at(line.iter().take_while(|b| b.is_ascii_hexdigit()).count());
        let rest = trim(rest);
        if size.is_empty() || size.len() > 15 || !(rest.is_empty() || rest[0] == b';') {
            return Err(Stop::Broken);
        }
        let size = u64::from_str_radix(&String::from_utf8_lossy(size), 16);
        match size.map_err(|_| Stop::Broken)? {
            0 => {
                wire.headers()?;
                return Ok(true);
            }
            size if size > MEBIBYTE => return Ok(false),
            size => wire.skip(size)?,
        }
        wire.expect(b"\r\n")?;
    }
}

fn verdict(status: u16, headers: &Headers) -> Verdict {
    if status != 200 {
        return Verdict::Error;
    }
    let mut identity = Headers::new();
    for (name, value) in headers {
        let Some((_, is_right)) = IDENTITY.iter().find(|(known, _)| known == name) else {
            continue;
        };
        let is_second = identity.iter().any(|(seen, _)| seen == name);
        if is_second || !is_right(value) {
            return Verdict::Error;
        }
        identity.push((name.clone(), value.clone()));
    }
    identity.sort_by_key(|(name, _)| IDENTITY.iter().position(|(known, _)| known == name));
    let get = |wanted| identity.iter().find(|(name, _)| name == wanted);
    match get("x-authgear-session-valid") {
        None => Verdict::None,
        Some((_, value)) if value != b"true" => Verdict::Invalid,
        Some(_) => match get("x-authgear-user-id") {
            Some((_, id)) if !id.is_empty() => Verdict::Valid(identity),
            _ => Verdict::Error,
        },
    }
}

fn is_boolean(value: &[u8]) -> bool {
    value == b"true" || value == b"false"
}

fn is_text(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte >= b' ' && byte != 0x7f)
}

/// A decimal number that fits 64 bits with a sign.
fn is_integer(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let significant = &digits[zeros..];
    let largest: &[u8] = match value.first() {
        Some(b'-') => b"9223372036854775808",
        _ => b"9223372036854775807",
    };
    !digits.is_empty()
        && digits.iter().all(u8::is_ascii_digit)
        && (significant.len(), significant) <= (largest.len(), largest)
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|&b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b))
}

const SPACES: [char; 2] = [' ', '\t'];

fn trim(value: &[u8]) -> &[u8] {
    let is_text = |b: &u8| !matches!(b, b' ' | b'\t');
    match (
        value.iter().position(is_text),
        value.iter().rposition(is_text),
    ) {
        (Some(first), Some(last)) => &value[first..=last],
        _ => &[],
    }
}
