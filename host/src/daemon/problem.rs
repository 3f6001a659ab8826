//! Why the daemon, or a command, cannot start, from whatever part found it.

use phone_verify_plugin_host::{Refusal, files::Fault};

use crate::{
    http::Unbound,
    settings,
    store::{key_file::KeyFileError, sqlite::OpenError},
};

/// Why the daemon, or a command, cannot start.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What was found, what was needed, what to do.
    pub sentence: String,
    /// Whether it may be otherwise a while later, without a change by anybody.
    pub may_pass: bool,
}

impl Problem {
    /// One that only somebody's change can end.
    pub(crate) fn lasting(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            may_pass: false,
        }
    }
}

impl From<Unbound> for Problem {
    fn from(unbound: Unbound) -> Self {
        Self {
            sentence: unbound.sentence,
            may_pass: unbound.may_pass,
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            sentence: refusal.to_string(),
            may_pass: refusal.may_pass,
        }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self {
            sentence: fault.to_string(),
            may_pass: fault.may_pass(),
        }
    }
}

impl From<settings::Problem> for Problem {
    fn from(problem: settings::Problem) -> Self {
        Self {
            sentence: problem.to_string(),
            may_pass: problem.may_pass,
        }
    }
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        Self {
            sentence: error.to_string(),
            may_pass: error.may_pass(),
        }
    }
}

impl From<KeyFileError> for Problem {
    fn from(error: KeyFileError) -> Self {
        Self {
            sentence: error.to_string(),
            may_pass: error.may_pass(),
        }
    }
}
