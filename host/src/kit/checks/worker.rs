//! The check of a backend in a worker process with its sandbox, where the daemon runs it by default.
//!
//! A library that uses threads, files, sockets, processes or the environment works in the process of a check, but the
//! sandbox refuses it. So this check makes each call in both places and compares the outcomes.

use phone_verify_plugin_host::{Backend, Isolation, Refusal};
use serde_json::Map;

use super::{bulk, overrides, receipts};
use crate::{
    kit::bench::{ALICE, Bench, Outcome, TEXT, fail, sentences, skip},
    model::SendFailure,
};

/// Advice for a library that the sandbox refuses something to.
const CURE: &str = "a worker process has no network, files, threads, child processes or environment of its own: use the \
                    host's HTTP client, clock, randomness, sleep and log, and the options instead";

/// Makes a call and returns its failure.
type FailureOf = fn(&Bench, &Backend) -> Option<SendFailure>;

pub(super) fn same_in_a_worker(bench: &Bench) -> Outcome {
    let here = bench.backend()?;
    let there = match bench.backend_isolated(Isolation::Worker, bench.options()) {
        Ok(backend) => backend,
        Err(refusals) if refusals.iter().all(Refusal::is_of_the_system) => {
            return skip(format!(
                "no worker process can be started here: {}",
                sentences(&refusals)
            ));
        }
        Err(refusals) => {
            if let Some(sanitizer) = bench.report.sanitizer {
                return skip(format!(
                    "it is built with {sanitizer}, whose runtime no worker process has: check it also as you deliver it"
                ));
            }
            return fail(format!(
                "constructed in a worker process it is refused: {}; {CURE}",
                sentences(&refusals)
            ));
        }
    };
    let calls: [(&str, FailureOf); 7] = [
        ("send_sms", |bench, backend| {
            bench.wait(bench.send(backend, ALICE, TEXT)).err()
        }),
        ("send_bulk_sms", bulk::failure),
        ("generate_security_code", |bench, backend| {
            bench.wait(overrides::generated(bench, backend)).err()
        }),
        ("generate_message", |bench, backend| {
            bench.wait(overrides::worded(bench, backend, &Map::new())).err()
        }),
        ("validate_security_code", |bench, backend| {
            bench.wait(overrides::judged(bench, backend)).err()
        }),
        ("receive", receipts::failure),
        ("balance", receipts::balance_failure),
    ];
    for (name, call) in calls {
        let Some(failure) = call(bench, &there) else {
            continue;
        };
        if let Some(same) = call(bench, &here)
            && (same.class, &same.code) == (failure.class, &failure.code)
        {
            continue;
        }
        return fail(format!("{name} in a worker process fails: {failure}; {CURE}"));
    }
    Ok(())
}
