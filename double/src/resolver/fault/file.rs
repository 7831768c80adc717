//! A fault as JSON.

use std::time::Duration;

use serde::Deserialize;

use super::{Fault, Say, Then};

/// As in a file of sessions and on the control listener.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultFile {
    kind: String,
    /// How many requests it is for; all until it is cleared, without.
    pub(crate) times: Option<usize>,
    status: Option<u16>,
    text: Option<String>,
    bytes: Option<usize>,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    add: Vec<(String, String)>,
    piece: Option<usize>,
    #[serde(default)]
    pause_ms: u64,
    cut: Option<usize>,
    then: Option<ThenFile>,
    #[serde(default)]
    after_ms: u64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ThenFile {
    Keep,
    Close,
    Reset,
    Hang,
}

impl FaultFile {
    pub(crate) fn fault(&self) -> Result<Fault, String> {
        let text = || self.text.clone().unwrap_or_default();
        let pairs = || {
            let pair = |(name, value): &(String, String)| (name.clone(), value.clone());
            self.add.iter().map(pair).collect::<Vec<_>>()
        };
        let needed = |field: &str| format!("kind \"{}\" needs \"{field}\"", self.kind);
        let mut fault = match self.kind.as_str() {
            "answer" => match self.status {
                Some(status) => Fault::answer_as(status),
                None => Fault::answer(),
            },
            "status" => Fault::status(self.status.ok_or_else(|| needed("status"))?),
            "no_identity" => Fault::no_identity(),
            "raw" => Fault::raw(self.text.clone().ok_or_else(|| needed("text"))?),
            "close" => Fault::close(),
            "reset" => Fault::reset(),
            "hang" => Fault::hang(),
            "close_mid_header" => Fault::close_mid_header(),
            "hang_mid_header" => Fault::hang_mid_header(),
            "garbage" => Fault::garbage(),
            "headers" => Fault::headers(self.remove.iter().map(String::as_str), pairs()),
            "big_headers" => Fault::big_headers(self.bytes.unwrap_or(100 * 1024)),
            "body" => Fault::body(text()),
            "chunked" => Fault::chunked(text()),
            "until_close" => Fault::until_close(text()),
            "early_hints" => Fault::new(Say::EarlyHints(pairs())),
            "connection_close" => Fault::connection_close(),
            "close_idle" => Fault::close_idle(),
            "surplus" => Fault::surplus(text()),
            other => return Err(format!("unknown kind \"{other}\" of fault")),
        };
        let after = Duration::from_millis(self.after_ms);
        fault.then = match (self.then, fault.then) {
            (Some(ThenFile::Keep), _) => Then::Keep,
            (Some(ThenFile::Reset), _) => Then::Reset,
            (Some(ThenFile::Hang), _) => Then::Hang,
            (Some(ThenFile::Close), _) | (None, Then::Close) if !after.is_zero() => {
                Then::CloseAfter(after)
            }
            (Some(ThenFile::Close), _) => Then::Close,
            (None, then) => then,
        };
        if let Some(size) = self.piece {
            fault = fault.in_pieces(size, Duration::from_millis(self.pause_ms));
        }
        if let Some(bytes) = self.cut {
            fault = fault.cut(bytes);
        }
        Ok(fault)
    }
}
