//! The tape: what the provider answers, as its author knows it. A TOML file beside the crate or the library.
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
//! [[aside]]                       # requests that are no SMS, by a part of their URL
//! url = "/oauth/token"
//! status = 200
//! body = '{"access_token": "t"}'
//! ```

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{backends::Played, model::FailureClass};

/// What one provider answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tape {
    pub(super) success: Success,
    #[serde(default)]
    pub(super) refusal: Vec<Refusal>,
    #[serde(default)]
    pub(super) aside: Vec<Aside>,
}

/// The provider takes the SMS.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Success {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// The message id that the backend must find in it.
    pub(super) message_id: Option<String>,
}

/// The provider refuses the SMS.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    pub(super) name: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// The name of a [`FailureClass`].
    pub(super) class: String,
}

/// The provider answers what is no SMS.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Aside {
    pub(super) url: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

/// Reads a tape; the error names the file and the line.
pub(super) fn read(file: &Path) -> Result<Tape, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("the tape {} cannot be read: {error}", file.display()))?;
    let tape: Tape = toml::from_str(&text)
        .map_err(|error| format!("the tape {} cannot be read: {error}", file.display()))?;
    for refusal in &tape.refusal {
        if FailureClass::parse(&refusal.class).is_none() {
            let names = FailureClass::ALL.map(|(_, name)| name).join(", ");
            return Err(format!(
                "the tape {} puts {:?} into the class {:?}, and there are only {names}",
                file.display(),
                refusal.name,
                refusal.class
            ));
        }
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

    /// Checked when the tape was read.
    pub(super) fn class(&self) -> FailureClass {
        FailureClass::parse(&self.class).unwrap_or(FailureClass::Internal)
    }
}

impl Aside {
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
    fn a_slip_in_a_tape_is_told() {
        for (text, expected) in [
            ("", "missing field `success`"),
            ("[success]\nstatus = 202\nbodi = \"\"\n", "unknown field `bodi`"),
            (
                "[success]\nstatus = 202\n[[refusal]]\nname = \"n\"\nstatus = 401\nclass = \"auth\"\n",
                "puts \"n\" into the class \"auth\", and there are only config, invalid_number",
            ),
        ] {
            let problem = read_text(text).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
