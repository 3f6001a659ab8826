//! The table of all checks. Each group has its own file.
//!
//! Invariant: an id never changes its meaning, as authors name ids in their scripts. The number of a removed
//! check is not used again.

mod bulk;
mod faults;
mod file;
mod life;
mod manners;
mod options;
mod overrides;
mod receipts;
mod requests;
mod sending;
mod text;
mod worker;

use super::bench::{Bench, Outcome};

/// One check: a promise, and the function that tests it.
pub(super) struct Check {
    /// The stable id, such as `PV001`.
    pub(super) id: &'static str,
    /// The promise, in one sentence.
    pub(super) title: &'static str,
    pub(super) scope: Scope,
    pub(super) runs: Runs,
    pub(super) run: fn(&Bench) -> Outcome,
}

/// What a check runs for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Once for the file.
    Library,
    /// Once for each backend in it.
    Backend,
}

/// How a check is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    /// In one process.
    Once,
    /// In one process, which must print nothing on its standard output.
    Silently,
    /// In two processes with different environment variables, which must leave the same evidence.
    InTwoEnvironments,
}

/// The id and the title of every check, for the author's guide.
pub fn about() -> impl Iterator<Item = (&'static str, &'static str)> {
    CHECKS.iter().map(|check| (check.id, check.title))
}

const fn library(id: &'static str, title: &'static str, run: fn(&Bench) -> Outcome) -> Check {
    Check {
        id,
        title,
        scope: Scope::Library,
        runs: Runs::Once,
        run,
    }
}

const fn backend(id: &'static str, title: &'static str, run: fn(&Bench) -> Outcome) -> Check {
    Check {
        id,
        title,
        scope: Scope::Backend,
        runs: Runs::Once,
        run,
    }
}

impl Check {
    const fn run_as(self, runs: Runs) -> Self {
        Self { runs, ..self }
    }
}

/// The check that must pass before a check of a backend can run.
pub(super) const LOADABLE: &str = "PV001";

/// All checks, in the order of the report.
pub(super) const CHECKS: &[Check] = &[
    library(LOADABLE, "a host can load the file", file::is_loadable),
    library(
        "PV002",
        "the manifest tells version, licence and what each backend does",
        file::is_described,
    ),
    library(
        "PV003",
        "each backend has a name of its own that settings can say",
        file::names,
    ),
    library(
        "PV004",
        "each option has a name of its own, in any case, and says what it is for",
        file::option_names,
    ),
    library("PV005", "the hosts that it declares are hosts", file::hosts),
    library("PV006", "the file has at most 32 MiB", file::size),
    library(
        "PV007",
        "the manifest names the library as its file does",
        file::library_name,
    ),
    library(
        "PV008",
        "the manifest has no key that hosts do not know",
        file::known_keys,
    ),
    backend(
        "PV010",
        "it is constructed from its options",
        options::constructed,
    ),
    backend(
        "PV011",
        "a required option that is missing is refused by its name, an optional one is not missed",
        options::missing,
    ),
    backend(
        "PV012",
        "options are matched in any case, and refused when they are written twice",
        options::any_case,
    ),
    backend(
        "PV014",
        "a misspelt option is refused, with the right name",
        options::misspelt,
    ),
    backend(
        "PV015",
        "an option of a wrong type is refused by its name",
        options::wrong_type,
    ),
    backend(
        "PV016",
        "an odd text in an option is taken, or refused by the option's name",
        options::odd,
    ),
    backend(
        "PV017",
        "no secret is repeated when options are refused",
        options::secrets_in_refusals,
    ),
    backend(
        "PV018",
        "the constructor asks nobody, and takes no time",
        options::constructor,
    ),
    backend(
        "PV020",
        "an SMS that the provider takes is sent, with the provider's id",
        sending::success,
    ),
    backend(
        "PV021",
        "each refusal of the tape is put into its class",
        sending::refusals,
    ),
    backend(
        "PV022",
        "one SMS is one request, with the number and the text",
        requests::one_request,
    ),
    backend("PV023", "only declared hosts are asked", requests::declared_hosts),
    backend("PV024", "no secret is in a URL", requests::secrets_in_urls),
    backend("PV025", "no secret is in an error", requests::secrets_in_errors),
    backend("PV026", "no secret is in the log", requests::secrets_in_log),
    backend(
        "PV027",
        "an SMS is worth a few lines of log at most",
        requests::log_lines,
    ),
    backend(
        "PV028",
        "numbers of all lengths and countries are carried whole",
        requests::numbers,
    ),
    backend("PV030", "429 is throttling", faults::throttled),
    backend("PV031", "how long to wait is handed on", faults::retry_after),
    backend(
        "PV032",
        "a Retry-After that is nonsense does no harm",
        faults::odd_retry_after,
    ),
    backend(
        "PV033",
        "5xx passes, or leaves the outcome open",
        faults::server_error,
    ),
    backend("PV034", "504 leaves the outcome open", faults::gateway_timeout),
    backend(
        "PV035",
        "401 and 403 are refused credentials",
        faults::credentials,
    ),
    backend(
        "PV036",
        "a refusal that nobody knows is final",
        faults::unknown_refusal,
    ),
    backend(
        "PV037",
        "no answer in time leaves the outcome open, and is told in time",
        faults::silence,
    ),
    backend(
        "PV038",
        "a broken connection leaves the outcome open",
        faults::reset,
    ),
    backend(
        "PV039",
        "no connection means that nothing was sent",
        faults::no_connection,
    ),
    backend("PV040", "a slow answer is waited for", faults::slow),
    backend(
        "PV041",
        "a success that breaks off leaves the outcome open",
        faults::broken_body,
    ),
    backend(
        "PV042",
        "a success of another content type leaves the outcome open",
        faults::wrong_content,
    ),
    backend(
        "PV043",
        "a huge answer leaves the outcome open",
        faults::huge_body,
    ),
    backend(
        "PV044",
        "an empty answer is no error that would be tried again",
        faults::empty_body,
    ),
    backend(
        "PV045",
        "a redirect is an error, and not followed",
        faults::redirect,
    ),
    backend("PV046", "hostile bodies do no harm", faults::hostile_bodies),
    backend("PV047", "after each fault the next SMS is sent", faults::recovery),
    backend(
        "PV048",
        "answers at random never panic it, and never pass for a success without its status",
        faults::random,
    ),
    backend("PV050", "GSM-7 text arrives as it was written", text::gsm),
    backend(
        "PV051",
        "text beyond GSM-7 arrives as it was written",
        text::unicode,
    ),
    backend(
        "PV052",
        "1600 characters arrive, or are refused for their content",
        text::long,
    ),
    backend(
        "PV053",
        "text from right to left arrives as it was written",
        text::right_to_left,
    ),
    backend(
        "PV054",
        "NUL and control characters arrive, or are refused for their content",
        text::control,
    ),
    backend(
        "PV055",
        "text that looks like markup changes nothing but the text",
        text::markup,
    ),
    backend(
        "PV060",
        "64 at once are sent, each to its number",
        life::concurrent,
    ),
    backend(
        "PV061",
        "a send may be cancelled at every await point",
        life::cancelled,
    ),
    backend(
        "PV062",
        "a failing send may be cancelled at every await point",
        life::cancelled_while_failing,
    ),
    backend("PV063", "no step of a call takes 50 ms", life::poll_time),
    backend(
        "PV064",
        "it is constructed and dropped 1000 times",
        life::constructed_often,
    ),
    backend("PV065", "memory stays flat over 10000 SMS", life::memory),
    backend(
        "PV070",
        "it prints nothing on the standard output",
        manners::silent,
    )
    .run_as(Runs::Silently),
    backend(
        "PV071",
        "it starts no thread and opens no file or socket",
        manners::threads_and_files,
    ),
    backend(
        "PV072",
        "it needs no file descriptor",
        manners::without_descriptors,
    ),
    backend(
        "PV073",
        "the environment does not matter to it",
        manners::environment,
    )
    .run_as(Runs::InTwoEnvironments),
    backend(
        "PV074",
        "the same SMS makes the same request",
        manners::deterministic,
    ),
    backend(
        "PV075",
        "in a worker process it does what it does here",
        worker::same_in_a_worker,
    ),
    backend(
        "PV080",
        "each number of a bulk send is reported once",
        bulk::each_once,
    ),
    backend(
        "PV081",
        "the failure of one number does not stop the rest",
        bulk::one_fails,
    ),
    backend("PV082", "1000 numbers are sent to", bulk::thousand),
    backend(
        "PV083",
        "a bulk send may be cancelled at every await point",
        bulk::cancelled,
    ),
    backend(
        "PV090",
        "it overrides what its manifest says, and nothing else",
        overrides::declared,
    ),
    backend("PV091", "its security codes are codes", overrides::codes),
    backend("PV092", "its message holds the code", overrides::message),
    backend(
        "PV093",
        "a hostile context does no harm to its message",
        overrides::hostile_context,
    ),
    backend("PV094", "the right code is valid", overrides::right_code),
    backend("PV095", "a wrong code is not", overrides::wrong_code),
    backend(
        "PV096",
        "no code opens a session that is unknown, over, used or used up",
        overrides::no_session,
    ),
    backend(
        "PV097",
        "when the host cannot judge, no code is valid",
        overrides::failing_base,
    ),
    backend(
        "PV098",
        "its overrides may be cancelled at every await point",
        overrides::cancelled,
    ),
    backend(
        "PV100",
        "each delivery report of the tape is read, also by one that did not send the message",
        receipts::recorded,
    ),
    backend(
        "PV101",
        "a delivery report with a wrong signature is refused",
        receipts::forged,
    ),
    backend(
        "PV102",
        "garbage in the place of a delivery report is answered, and reports nothing",
        receipts::garbage,
    ),
    backend("PV103", "what is left of the account is read", receipts::balance),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_there_are_enough_checks() {
        assert!(CHECKS.len() >= 40);
        assert!(CHECKS.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(
            CHECKS
                .iter()
                .all(|check| check.id.len() == 5 && check.id.starts_with("PV"))
        );
    }
}
