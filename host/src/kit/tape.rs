//! The tape: a TOML file in which the author of a backend records what the provider answers. The kit replays it, so
//! that no check needs an account or a network.
//!
//! ```toml
//! [success]                       # the answer to an SMS that the provider takes
//! status = 202
//! headers = { content-type = "application/json" }
//! body = '{"id": "acme-1"}'
//! message_id = "acme-1"           # what the backend must make of it
//!
//! [[refusal]]                     # each refusal, with the class that the backend must put it into
//! name = "a wrong key"
//! status = 401
//! class = "auth_failed"
//!
//! [bulk]                          # the answer to one request for several numbers
//! status = 202
//! body = '{"messages": [{each}]}' # {each} stands for an entry of each number, in the order of the send
//! each = '{"to": "{number}", "id": "{id}"}'
//! refused = '{"to": "{number}", "error": 7}'
//!
//! [[aside]]                       # requests that are no SMS: by their method, a part of their URL, and what they carry
//! method = "POST"
//! url = "/oauth/token"
//! carries = "grant_type=refresh"
//! status = 200
//! body = '{"access_token": "t"}'
//!
//! [[receipt]]                     # each kind of delivery report, as it comes in from the provider
//! name = "delivered"
//! url = "https://verify.example/v1/receipts/default"
//! headers = { content-type = "application/json", x-signature = "…" }
//! body = '{"id": "acme-1", "status": "delivered"}'
//! options = { KEY = "Fake Key" }  # those that it was signed with, on 2026-01-01T00:00:00Z if the time is in it
//! message_id = "acme-1"           # what the backend must make of it; left out: it reports nothing
//! state = "delivered"
//! ```
//!
//! The tape is a file next to the crate or the library, or part of the library's manifest.

use std::{collections::BTreeMap, path::Path};

use phone_verify_plugin_host::{
    Played, SentRequest,
    files::{self, Subject},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{FailureClass, IncomingRequest, ReportedState};

/// All answers of one provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tape {
    pub(super) success: Success,
    #[serde(default)]
    pub(super) refusal: Vec<Refusal>,
    #[serde(default)]
    pub(super) aside: Vec<Aside>,
    pub(super) bulk: Option<Bulk>,
    #[serde(default)]
    pub(super) receipt: Vec<Receipt>,
}

/// The answer to one request for several numbers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bulk {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body, with `{each}` in the place of the entries.
    body: String,
    /// The entry of a number that the provider accepts, with `{number}` and `{id}` replaced.
    each: String,
    /// The entry of a refused number. `None`: this provider refuses the whole request.
    refused: Option<String>,
    /// The text between two entries.
    #[serde(default = "comma")]
    separator: String,
}

fn comma() -> String {
    ",".to_owned()
}

/// The answer to an SMS that the provider accepts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Success {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// The message id that the backend must read from this answer.
    pub(super) message_id: Option<String>,
}

/// The answer to an SMS that the provider refuses.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    pub(super) name: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// The name of the [`FailureClass`] that the backend must report.
    pub(super) class: String,
}

/// The answer to a request that sends no SMS, such as one for an access token.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Aside {
    #[serde(default)]
    method: String,
    #[serde(default)]
    url: String,
    /// A text that must occur in its headers or body.
    #[serde(default)]
    carries: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

/// A request of the provider, which reports about one message or none.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipt {
    pub(super) name: String,
    #[serde(default = "post")]
    method: String,
    /// With its query. Signatures are over it.
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// The options that it was signed with.
    #[serde(default)]
    pub(super) options: Map<String, Value>,
    message_id: Option<String>,
    /// The name of a [`ReportedState`].
    state: Option<String>,
}

fn post() -> String {
    "POST".to_owned()
}

/// Reads a tape from a file. The error names the file and the line.
pub(super) fn read(file: &Path) -> Result<Tape, String> {
    let text = files::read_text(file, Subject::Tape)
        .map_err(|fault| format!("the tape {} cannot be read: {fault}", file.display()))?;
    parse(&text, &format!("the tape {}", file.display()))
}

/// Parses and validates a tape. `what` names it in errors.
pub(super) fn parse(text: &str, what: &str) -> Result<Tape, String> {
    let tape: Tape = toml::from_str(text).map_err(|error| format!("{what} cannot be read: {error}"))?;
    for refusal in &tape.refusal {
        if FailureClass::parse(&refusal.class).is_none() {
            let names = FailureClass::ALL.map(|(_, name)| name).join(", ");
            return Err(format!(
                "{what} puts {:?} into the class {:?}, and there are only {names}",
                refusal.name, refusal.class
            ));
        }
    }
    let is_any = |aside: &&Aside| aside.method.is_empty() && aside.url.is_empty() && aside.carries.is_empty();
    if tape.aside.iter().any(|aside| is_any(&aside)) {
        return Err(format!(
            "{what} has an [[aside]] that every request is: give it a method, a part of the url or what the request carries"
        ));
    }
    for receipt in &tape.receipt {
        let is_state = |name: &String| ReportedState::parse(name).is_some();
        if receipt.message_id.is_some() != receipt.state.is_some() || !receipt.state.iter().all(is_state) {
            let names = ReportedState::ALL.map(|(_, name)| name).join(", ");
            return Err(format!(
                "{what} has a [[receipt]] {:?} that says not well what it reports: give it both message_id and state, one of \
                 {names}, or neither",
                receipt.name
            ));
        }
    }
    if let Some(bulk) = &tape.bulk
        && !bulk.body.contains("{each}")
    {
        return Err(format!(
            "{what} has a [bulk] whose body does not say where the numbers are: write {{each}} there"
        ));
    }
    Ok(tape)
}

impl Success {
    pub(super) fn answer(&self) -> Played {
        answer(self.status, &self.headers, &self.body)
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn body(&self) -> &str {
        &self.body
    }
}

impl Refusal {
    pub(super) fn answer(&self) -> Played {
        answer(self.status, &self.headers, &self.body)
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// The class. [`parse`] has refused names that do not exist.
    pub(super) fn class(&self) -> FailureClass {
        FailureClass::parse(&self.class).unwrap_or(FailureClass::Internal)
    }
}

impl Bulk {
    /// Whether the provider reports a refusal per number, rather than refusing the whole request.
    pub(super) fn tells_each(&self) -> bool {
        self.refused.is_some()
    }

    /// The answer to a request for these numbers, one of which may be refused. Numbers are digits without a plus.
    pub(super) fn answer(&self, numbers: &[&String], refused: Option<&str>) -> Played {
        let entries: Vec<String> = numbers
            .iter()
            .map(|number| {
                let is_refused = refused == Some(number.as_str());
                let entry = self.refused.as_ref().filter(|_| is_refused).unwrap_or(&self.each);
                entry
                    .replace("{number}", number)
                    .replace("{id}", &format!("bulk-{number}"))
            })
            .collect();
        let body = self.body.replace("{each}", &entries.join(&self.separator));
        answer(self.status, &self.headers, &body)
    }
}

impl Receipt {
    pub(super) fn request(&self) -> IncomingRequest {
        let headers = self.headers.iter();
        IncomingRequest {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: headers
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            body: self.body.as_bytes().to_vec(),
        }
    }

    /// What the backend must make of it.
    pub(super) fn report(&self) -> Option<(&str, ReportedState)> {
        let state = ReportedState::parse(self.state.as_deref()?)?;
        Some((self.message_id.as_deref()?, state))
    }
}

impl Aside {
    /// Whether the request matches. An empty field matches everything; [`parse`] refuses an aside with three empty
    /// ones.
    pub(super) fn is_for(&self, request: &SentRequest) -> bool {
        let holds = |what: &str| {
            let mut headers = request.headers.iter();
            headers.any(|(name, value)| format!("{name}: {value}").contains(what))
                || String::from_utf8_lossy(&request.body).contains(what)
        };
        (self.method.is_empty() || request.method.eq_ignore_ascii_case(&self.method))
            && request.url.contains(&self.url)
            && (self.carries.is_empty() || holds(&self.carries))
    }

    pub(super) fn answer(&self) -> Played {
        answer(self.status, &self.headers, &self.body)
    }
}

fn answer(status: u16, headers: &BTreeMap<String, String>, body: &str) -> Played {
    Played::Answer {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        body: body.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Tape, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("acme.tape.toml");
        std::fs::write(&file, text).unwrap();
        read(&file)
    }

    #[test]
    fn a_tape_is_a_success_and_refusals() {
        let tape = read_text(
            "[success]\nstatus = 202\nmessage_id = \"1\"\n[[refusal]]\nname = \"n\"\nstatus = 401\nclass = \"auth_failed\"\n\
             [[aside]]\nurl = \"/token\"\nstatus = 200\n",
        )
        .unwrap();
        assert_eq!(tape.success.status(), 202);
        assert_eq!(tape.refusal[0].class(), FailureClass::AuthFailed);
        assert!(matches!(
            tape.aside[0].answer(),
            Played::Answer { status: 200, .. }
        ));
    }

    #[test]
    fn one_request_for_several_numbers_is_answered_number_by_number() {
        let tape = read_text(
            "[success]\nstatus = 202\n[bulk]\nstatus = 207\nbody = '[{each}]'\neach = '\"{id}\"'\nrefused = '\"no {number}\"'\n",
        )
        .unwrap();
        let bulk = tape.bulk.unwrap();
        let numbers = ["1".to_owned(), "2".to_owned()];
        let answered = bulk.answer(&numbers.iter().collect::<Vec<_>>(), Some("2"));
        let Played::Answer { status, body, .. } = answered else {
            panic!("{answered:?}");
        };
        assert_eq!((status, body.as_slice()), (207, &b"[\"bulk-1\",\"no 2\"]"[..]));
    }

    #[test]
    fn an_aside_is_told_by_method_address_and_what_it_carries() {
        let tape = read_text(
            "[success]\nstatus = 202\n[[aside]]\nmethod = \"post\"\nurl = \"/token\"\ncarries = \"refresh\"\nstatus = 200\n",
        )
        .unwrap();
        let request = |method: &str, url: &str, body: &str| SentRequest {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        };
        let aside = &tape.aside[0];
        assert!(aside.is_for(&request("POST", "https://a.example/token", "grant=refresh")));
        assert!(!aside.is_for(&request("GET", "https://a.example/token", "grant=refresh")));
        assert!(!aside.is_for(&request("POST", "https://a.example/sms", "grant=refresh")));
        assert!(!aside.is_for(&request("POST", "https://a.example/token", "grant=code")));
    }

    #[test]
    fn a_slip_in_a_tape_is_told() {
        for (text, expected) in [
            ("", "missing field `success`"),
            ("[success]\nstatus = 202\nbodi = \"\"\n", "unknown field `bodi`"),
            (
                "[success]\nstatus = 202\n[[refusal]]\nname = \"n\"\nstatus = 401\nclass = \"auth\"\n",
                "puts \"n\" into the class \"auth\", and there are only config, invalid_number",
            ),
            (
                "[success]\nstatus = 202\n[[aside]]\nstatus = 200\n",
                "has an [[aside]] that every request is",
            ),
            (
                "[success]\nstatus = 202\n[bulk]\nstatus = 202\nbody = \"\"\neach = \"\"\n",
                "write {each} there",
            ),
            (
                "[success]\nstatus = 202\n[[receipt]]\nname = \"r\"\nurl = \"u\"\nstate = \"delivered\"\n",
                "has a [[receipt]] \"r\" that says not well what it reports",
            ),
            (
                "[success]\nstatus = 202\n[[receipt]]\nname = \"r\"\nurl = \"u\"\nmessage_id = \"1\"\nstate = \"failed\"\n",
                "one of sent, delivered, undelivered, unknown",
            ),
        ] {
            let problem = read_text(text).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
