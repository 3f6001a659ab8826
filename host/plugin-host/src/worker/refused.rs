//! What a library says when the sandbox has refused it something, explained to whoever reads it.
//!
//! A library sees `EPERM` from a system call, and says so in its own words, such as "Operation not permitted" or
//! "Temporary failure in name resolution". Neither says that there is a sandbox, nor what to use instead.
//!
//! Invariant: an explanation stands before the library's words, which are masked and cut off as a whole.

use phone_verify_plugin_abi::RawError;

/// What C libraries, Rust's and those of other languages call the errors that the sandbox gives, in small letters.
const SIGNS: [&str; 13] = [
    "operation not permitted",
    "permission denied",
    "permissiondenied",
    "access is denied",
    "os error 1)",
    "os error 13)",
    "temporary failure in name resolution",
    "name or service not known",
    "failed to lookup address information",
    // musl
    "name does not resolve",
    // curl, by its versions
    "could not resolve host",
    "couldn't resolve host",
    // c-ares
    "could not contact dns servers",
];

/// What musl says of a name that it could not look up now. Others mean something else by it, within a sentence.
const MUSLS_WORDS: &str = "try again";

/// What follows from it.
pub(super) const EXPLANATION: &str = "a worker process has no network, files, threads or processes of its own; \
     use the host's HTTP, clock and random numbers, or set isolation = \"inline\" for a library that you trust";

/// Whether a text speaks of what the sandbox refuses.
pub(super) fn speaks_of_it(text: &str) -> bool {
    let text = text.to_lowercase();
    let is_musls = || {
        let before = text.trim_end_matches('.').strip_suffix(MUSLS_WORDS);
        before.is_some_and(|before| before.is_empty() || before.ends_with(": "))
    };
    SIGNS.iter().any(|sign| text.contains(sign)) || is_musls()
}

/// Says so in an error that speaks of it. What a provider has answered, which may use the same words, has a status; and
/// a request that the host made for the library, such as one whose host name has no address, has a code of the host's.
pub(super) fn explained(mut error: RawError) -> RawError {
    let is_of_a_request = error.http_status != 0 || error.code.starts_with("http_");
    if !is_of_a_request && speaks_of_it(&error.message) {
        error.message = format!("{EXPLANATION}: {}", error.message).into();
    }
    error
}

#[cfg(test)]
mod tests {
    use phone_verify_plugin_abi::kind;

    use super::*;
    use crate::convert::raw_error;

    #[test]
    fn what_the_sandbox_refused_is_explained_and_what_a_provider_refused_is_not() {
        for words in [
            "connect: Operation not permitted",
            "cannot open /etc/acme.conf: Permission denied (os error 13)",
            "failed to lookup address information: Temporary failure in name resolution",
            "Could not resolve host: api.acme.example",
            "curl_easy_perform() failed: Couldn't resolve host name",
            "getaddrinfo: Try again",
            "Try again",
            "Name does not resolve",
            "api.acme.example: Name or service not known",
            "failed to spawn thread: Os { code: 1, kind: PermissionDenied, message: \"Operation not permitted\" }",
        ] {
            let error = explained(raw_error(kind::INTERNAL, "acme", words));
            assert_eq!(error.message.as_str(), format!("{EXPLANATION}: {words}"));
        }
        let mut answered = raw_error(kind::AUTH_FAILED, "403", "Permission denied");
        answered.http_status = 403;
        assert_eq!(explained(answered).message.as_str(), "Permission denied");
        let of_the_host = "no connection: failed to lookup address information: Name or service not known";
        let error = explained(raw_error(kind::TRANSIENT, "http_connect", of_the_host));
        assert_eq!(error.message.as_str(), of_the_host);
        for words in [
            "no sender (os error 113)",
            "the queue is full, try again",
            "try again later",
        ] {
            let error = explained(raw_error(kind::INTERNAL, "acme", words));
            assert_eq!(error.message.as_str(), words);
        }
    }
}
