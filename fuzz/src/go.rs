//! Cookies and bearer tokens by Go's rules once more: text of one character per byte, whole lists,
//! no early end.

/// `Request.Cookie(name)`.
pub fn cookie(lines: &[&[u8]], name: &str) -> Option<Vec<u8>> {
    pairs(lines)
        .into_iter()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.chars().map(|c| c as u8).collect())
}

/// `Request.Cookies()`.
pub fn pairs(lines: &[&[u8]]) -> Vec<(String, String)> {
    let lines: Vec<String> = lines.iter().map(|line| text(line)).collect();
    let parts: Vec<&str> = lines.iter().flat_map(|line| line.split(';')).collect();
    if parts.len() > 3000 {
        return Vec::new();
    }
    parts.into_iter().filter_map(pair).collect()
}

/// `parseAuthorizationHeader` of Authgear, on a value that Go's server has trimmed.
pub fn bearer(line: &[u8]) -> Option<Vec<u8>> {
    let line = text(line);
    let parts: Vec<&str> = line.trim_matches(SPACES).splitn(2, ' ').collect();
    match parts[..] {
        [scheme, token] if scheme.eq_ignore_ascii_case("bearer") => {
            Some(token.chars().map(|c| c as u8).collect())
        }
        _ => None,
    }
}

fn pair(part: &str) -> Option<(String, String)> {
    let part = part.trim_matches(SPACES);
    let (name, value) = match part.find('=') {
        Some(at) => (&part[..at], &part[at + 1..]),
        None => (part, ""),
    };
    let name = name.trim_matches(SPACES);
    let is_token = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c));
    let value = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    let is_value = value
        .chars()
        .all(|c| (' '..'\u{7f}').contains(&c) && !"\";\\".contains(c));
    (is_token && is_value).then(|| (name.to_owned(), value.to_owned()))
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}
