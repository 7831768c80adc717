//! The control listener: faults, delays, sessions and records over HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Core, FaultFile};
use crate::http::{decode, Answer, Connection, Next, Request, Service, Statistics};
use crate::store::Store;

pub(super) struct Control {
    core: Arc<Core>,
    statistics: Statistics,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DelayFile {
    ms: f64,
}

impl Service for Control {
    fn serve(&self, connection: &mut Connection, request: &Request) -> io::Result<Next> {
        let body = connection.read_whole_body(request)?;
        connection.answer(request, &self.answer(request, &body))
    }
}

impl Control {
    pub(super) fn new(core: Arc<Core>, statistics: Statistics) -> Self {
        Control { core, statistics }
    }

    fn answer(&self, request: &Request, body: &[u8]) -> Answer {
        let done = match (request.method(), request.path()) {
            (b"PUT", b"/fault") => self.put_fault(body),
            (b"DELETE", b"/fault") => {
                self.core.faults().clear();
                Ok(())
            }
            (b"PUT", b"/delay") => self.put_delay(body),
            (b"DELETE", b"/delay") => {
                self.core.set_delay(Duration::ZERO);
                Ok(())
            }
            (b"PUT", b"/sessions") => self.put_sessions(body),
            (b"DELETE", b"/requests") => {
                self.core.recorder.clear();
                Ok(())
            }
            (b"DELETE", b"/connections") => {
                self.statistics.close_connections();
                Ok(())
            }
            (b"GET", b"/requests") => return json_answer(&json!(self.core.recorder.requests())),
            (b"GET", b"/stats") => {
                return json_answer(&json!({
                    "connections_accepted": self.statistics.accepted(),
                    "connections_open": self.statistics.open(),
                    "requests": self.core.recorder.count(),
                }))
            }
            (b"DELETE", path) if path.starts_with(b"/sessions/") => {
                let value = crate::http::text(&decode(&path[b"/sessions/".len()..]));
                if !self.core.store_mut().revoke(&value) {
                    return Answer::text(404, "no such session\n");
                }
                Ok(())
            }
            _ => return Answer::text(404, "nothing here; the README lists what is\n"),
        };
        match done {
            Ok(()) => Answer::new(204),
            Err(error) => Answer::text(400, format!("{error}\n")),
        }
    }

    fn put_fault(&self, body: &[u8]) -> Result<(), String> {
        let file: FaultFile = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let fault = file.fault()?;
        match file.times {
            Some(times) => self.core.faults().enqueue(times, fault),
            None => self.core.faults().stand(fault),
        }
        Ok(())
    }

    fn put_delay(&self, body: &[u8]) -> Result<(), String> {
        let file: DelayFile = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let delay = Duration::try_from_secs_f64(file.ms / 1_000.0)
            .map_err(|_| "\"ms\" is not a time".to_owned())?;
        self.core.set_delay(delay);
        Ok(())
    }

    fn put_sessions(&self, body: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
        let store = Store::from_json(text).map_err(|error| error.to_string())?;
        *self.core.store_mut() = store;
        Ok(())
    }
}

fn json_answer(value: &serde_json::Value) -> Answer {
    Answer::new(200)
        .header("Content-Type", "application/json")
        .body(value.to_string().into_bytes())
}
