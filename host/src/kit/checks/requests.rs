//! Checks of what leaves a backend: requests, errors, log lines.

use std::time::Duration;

use phone_verify_plugin_host::{Played, SentRequest};

use crate::{
    kit::{
        bench::{ALICE, BOB, Bench, OTHERS, Outcome, TEXT, answer, fail, phone_number, skip},
        network::Scene,
        wire,
    },
    model::SendFailure,
};

/// How many lines a library may log for one SMS.
const MAX_LOG_LINES: usize = 20;

/// One SMS must be one request: a second one could be a second, paid SMS.
pub(super) fn one_request(bench: &Bench) -> Outcome {
    let (backend, _) = bench.with_provider()?;
    if let Err(failure) = bench.wait(bench.send(&backend, BOB, TEXT)) {
        return fail(format!("the SMS is not sent: {failure}"));
    }
    let requests = bench.network.requests();
    let [request] = requests.as_slice() else {
        return fail(format!("one SMS makes {} requests", requests.len()));
    };
    if !wire::carries(request, phone_number(BOB).e164().trim_start_matches('+')) {
        return fail("the request does not carry the number");
    }
    if !wire::carries(request, TEXT) {
        return fail("the request does not carry the text");
    }
    Ok(())
}

/// Makes all kinds of calls; the host's client records requests to hosts that are not declared.
pub(super) fn declared_hosts(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    for_every_fault(bench, |bench| {
        bench.wait(bench.send_within(&backend, ALICE, TEXT, SHORT)).err()
    });
    match bench.network.denied().first() {
        Some(why) => fail(format!("it asks where it may not: {why}")),
        None => bench.with_provider().map(drop),
    }
}

/// A deadline that only a silent provider reaches.
const SHORT: Duration = Duration::from_millis(300);

/// Calls `send` once for each provider fault (statuses, the tape's refusals, connection faults, silence) and collects
/// the failures.
pub(super) fn for_every_fault(
    bench: &Bench,
    mut send: impl FnMut(&Bench) -> Option<SendFailure>,
) -> Vec<SendFailure> {
    let mut scenes: Vec<Scene> = [
        200, 201, 202, 204, 301, 302, 400, 401, 402, 403, 404, 409, 418, 422, 429, 500, 502, 503, 504, 599,
    ]
    .map(|status| {
        answer(
            status,
            &[("retry-after", "3"), ("location", "https://elsewhere.example/")],
            "<html>no</html>",
        )
    })
    .into();
    scenes.extend(
        bench
            .refusals()
            .iter()
            .map(|refusal| Scene::Plays(refusal.answer())),
    );
    scenes.extend([
        Scene::Plays(Played::NoConnection),
        Scene::Plays(Played::Reset),
        Scene::Silence,
    ]);
    let mut failures = Vec::new();
    for scene in scenes {
        bench.network.always(scene);
        failures.extend(send(bench));
    }
    bench.provider_is_well();
    failures
}

/// Proxies and access logs keep URLs, so a secret belongs in a header or the body.
pub(super) fn secrets_in_urls(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    if bench.canaries().is_empty() {
        return skip("it has no secret option");
    }
    let backend = bench.backend()?;
    let sent = bench.wait(bench.send(&backend, ALICE, TEXT));
    drop(sent);
    let is_leaky = |request: &&SentRequest| bench.canary_in(&request.url).is_some();
    match bench.network.requests().iter().find(is_leaky) {
        Some(request) => fail(format!(
            "a secret is in the URL of a {}, where every proxy and access log keeps it; put it into a header or the body",
            request.method
        )),
        None => Ok(()),
    }
}

/// Searches every error for the secret options: errors go to the log.
pub(super) fn secrets_in_errors(bench: &Bench) -> Outcome {
    let (backend, _) = bench.with_provider()?;
    if bench.canaries().is_empty() {
        return skip("it has no secret option");
    }
    let failures = for_every_fault(bench, |bench| {
        bench.wait(bench.send_within(&backend, ALICE, TEXT, SHORT)).err()
    });
    let is_leaky = |failure: &&SendFailure| {
        bench
            .canary_in(&format!("{} {}", failure.code, failure.message))
            .is_some()
    };
    match failures.iter().find(is_leaky) {
        Some(failure) => fail(format!("an error holds a secret: {failure}")),
        None => Ok(()),
    }
}

/// Searches the log of every fault and of a success for the secret options.
pub(super) fn secrets_in_log(bench: &Bench) -> Outcome {
    if bench.canaries().is_empty() {
        return skip("it has no secret option");
    }
    let backend = bench.backend()?;
    for_every_fault(bench, |bench| {
        bench.wait(bench.send_within(&backend, ALICE, TEXT, SHORT)).err()
    });
    let _ = bench.wait(bench.send(&backend, ALICE, TEXT));
    match bench
        .log
        .take()
        .into_iter()
        .find(|line| bench.canary_in(line).is_some())
    {
        Some(line) => fail(format!("a line of the log holds a secret: {}", line.trim())),
        None => Ok(()),
    }
}

/// Counts the library's own lines for one SMS.
pub(super) fn log_lines(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    bench.log.take();
    let _ = bench.wait(bench.send(&backend, ALICE, TEXT));
    let lines = bench
        .log
        .take()
        .iter()
        .filter(|line| line.contains("phone_verify::plugin"))
        .count();
    if lines > MAX_LOG_LINES {
        return fail(format!("one SMS makes {lines} lines"));
    }
    Ok(())
}

/// Numbers must arrive complete: some are shorter or longer than the author's own.
pub(super) fn numbers(bench: &Bench) -> Outcome {
    let (backend, _) = bench.with_provider()?;
    for number in OTHERS {
        if let Err(failure) = bench.wait(bench.send(&backend, number, TEXT)) {
            return fail(format!(
                "an SMS to a number of {} digits is not sent: {failure}",
                number.len() - 1
            ));
        }
        let requests = bench.network.requests();
        if !requests
            .iter()
            .any(|request| wire::carries(request, number.trim_start_matches('+')))
        {
            return fail(format!(
                "a number of {} digits does not arrive whole",
                number.len() - 1
            ));
        }
    }
    Ok(())
}
