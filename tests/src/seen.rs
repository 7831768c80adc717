//! What the application behind nginx received.

use std::collections::BTreeSet;

use serde_json::Value;

/// A request as an upstream of any kind saw it.
///
/// Headers that came as CGI variables have their names turned back: lower case, with
/// `-` for `_`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The method; empty when the upstream doesn't tell.
    pub method: String,
    /// Path and query; empty when the upstream doesn't tell.
    pub target: String,
    /// The headers in order, names as received.
    pub headers: Vec<(String, String)>,
    /// The length of the body.
    pub body_length: u64,
    /// A digest of the body, see `authgear_resolver_double::fnv1a`.
    pub body_digest: u64,
}

impl Seen {
    /// Reads the echo application's JSON, or variables of a CGI kind.
    pub fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(json) => Self::from_json(&json),
            Err(_) => Self::from_variables(&String::from_utf8_lossy(body)),
        }
    }

    fn from_json(json: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pairs = json["headers"].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            method: text(&json["method"]),
            target: text(&json["target"]),
            headers: pairs
                .iter()
                .map(|pair| (text(&pair[0]), text(&pair[1])))
                .collect(),
            body_length: json["body_length"].as_u64().unwrap_or_default(),
            body_digest: json["body_fnv"].as_u64().unwrap_or_default(),
        }
    }

    fn from_variables(variables: &str) -> Self {
        assert!(
            variables.contains("REQUEST_METHOD="),
            "not an upstream's answer: {variables:?}"
        );
        let mut seen = Self::default();
        for variable in variables.split_terminator('\0') {
            let Some((name, value)) = variable.split_once('=') else {
                continue;
            };
            match name {
                "REQUEST_METHOD" => seen.method = value.into(),
                "REQUEST_URI" => seen.target = value.into(),
                _ => {
                    if let Some(header) = name.strip_prefix("HTTP_") {
                        let header = header.to_ascii_lowercase().replace('_', "-");
                        seen.headers.push((header, value.into()));
                    }
                }
            }
        }
        seen
    }

    /// The only value of a header.
    ///
    /// # Panics
    /// When it came more than once.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// All identity headers in any spelling, sorted, with lower-case names.
    pub fn identity(&self) -> Vec<(String, String)> {
        let mut identity: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| is_identity(name))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        identity.sort();
        identity
    }

    /// The names of all headers, in lower case.
    pub fn names(&self) -> BTreeSet<String> {
        self.headers
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect()
    }
}

/// Whether an application may take a header of this name for an identity header.
pub fn is_identity(name: &str) -> bool {
    let folded: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    folded.starts_with("x-authgear-session-") || folded.starts_with("x-authgear-user-")
}
