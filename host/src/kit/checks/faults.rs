//! Checks of provider faults, and of the failure class that the backend reports for each.
//!
//! Two mistakes are the most expensive. An SMS whose answer was lost, reported as a transient failure, is sent and paid
//! for twice. An SMS that was not sent, reported as a success, leaves its user without a code.

use std::time::Duration;

use phone_verify_plugin_host::Played;

use crate::{
    entropy::Entropy,
    kit::{
        bench::{ALICE, Bench, Outcome, TEXT, answer, fail, skip},
        network::Scene,
    },
    model::{FailureClass as Class, quantity},
};

/// The outcome when the SMS may or may not have been sent.
const OPEN: [Option<Class>; 1] = [Some(Class::OutcomeUnknown)];
/// The outcomes when the answer has the status of a success but no usable content.
const OPEN_OR_TAKEN: [Option<Class>; 2] = [None, Some(Class::OutcomeUnknown)];
const RANDOM_ANSWERS: usize = 300;

/// HTTP 429 must be [`Class::Throttled`] whatever its body: only that class makes the host wait and try again.
pub(super) fn throttled(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    for body in ["", "slow down", "{\"error\": \"slow down\"}"] {
        bench.expect(answer(429, &[], body), "HTTP 429", &[Some(Class::Throttled)])?;
    }
    Ok(())
}

/// The wait that a provider asks for must reach the host. Only [`Class::Throttled`] has one: a tape may document that
/// HTTP 429 means something else, such as an account without credit.
pub(super) fn retry_after(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    // Retry-After is a number of seconds or a date (RFC 9110, section 10.2.3).
    let date = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    for until in ["7", "Sun, 06 Nov 1994 08:49:44 GMT"] {
        let sent = bench.outcome(
            answer(429, &[date, ("Retry-After", until)], ""),
            "HTTP 429",
            &[Some(Class::Throttled)],
        )?;
        let failure = sent.err();
        if let Some(other) = failure
            .as_ref()
            .filter(|failure| failure.class != Class::Throttled)
        {
            return skip(format!("the tape says that HTTP 429 is {}", other.class.as_str()));
        }
        match failure.and_then(|failure| failure.retry_after) {
            Some(wait) if wait == Duration::from_secs(7) => {}
            found => return fail(format!("Retry-After: {until} becomes a wait of {found:?}")),
        }
    }
    Ok(())
}

/// An invalid or extreme Retry-After must neither panic nor change the class.
pub(super) fn odd_retry_after(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    for odd in [
        "",
        "-1",
        "soon",
        "1e9",
        "18446744073709551616",
        "Fri, 01 Jan 2100 00:00:00 GMT",
        "7, 8",
        "\u{661}",
    ] {
        let scene = answer(429, &[("retry-after", odd)], "");
        bench.expect(
            scene,
            &format!("HTTP 429 with Retry-After: {odd:?}"),
            &[Some(Class::Throttled)],
        )?;
    }
    Ok(())
}

/// A server error must be one that the host may try again, or one with an unknown outcome; a final class would give up
/// on a short outage.
pub(super) fn server_error(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    for status in [500, 502, 503, 599] {
        let what = format!("HTTP {status}");
        let passes = [
            Some(Class::Transient),
            Some(Class::OutcomeUnknown),
            Some(Class::Throttled),
        ];
        bench.expect(answer(status, &[], "<html>sorry</html>"), &what, &passes)?;
    }
    Ok(())
}

/// Behind a gateway that timed out, the provider may still send the SMS.
pub(super) fn gateway_timeout(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    bench.expect(
        answer(504, &[], ""),
        "HTTP 504, a gateway that gave up waiting,",
        &OPEN,
    )
}

/// Rejected credentials need the operator, so the class must say so.
pub(super) fn credentials(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    for status in [401, 403] {
        let refused = [Some(Class::AuthFailed), Some(Class::Config)];
        bench.expect(answer(status, &[], ""), &format!("HTTP {status}"), &refused)?;
    }
    Ok(())
}

/// Other 4xx answers must be final: trying again would get the same answer.
pub(super) fn unknown_refusal(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    let is_final = |class: Class| !matches!(class, Class::Transient | Class::Throttled);
    let finals: Vec<_> = Class::ALL
        .iter()
        .filter(|(class, _)| is_final(*class))
        .map(|(class, _)| Some(*class))
        .collect();
    for status in [400, 404, 409, 418, 422, 451] {
        bench.expect(answer(status, &[], "no"), &format!("HTTP {status}"), &finals)?;
    }
    Ok(())
}

/// The backend must report a missing answer before the call's deadline. It has three tries, because on a busy machine a
/// correct backend may be late.
pub(super) fn silence(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    for _ in 0..3 {
        let sent = bench.outcome(Scene::Silence, "no answer in time", &OPEN)?;
        if sent.err().is_none_or(|failure| failure.code != "deadline") {
            return Ok(());
        }
    }
    fail(
        "it does not answer by the call's deadline, though the host ends the request in time; return its error",
    )
}

/// A connection that breaks after the request was sent leaves the outcome unknown.
pub(super) fn reset(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    bench.expect(Scene::Plays(Played::Reset), "a broken connection", &OPEN)
}

/// Without a connection nothing was sent, so the host may try again.
pub(super) fn no_connection(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    let nothing_sent = [Some(Class::Transient)];
    bench.expect(Scene::Plays(Played::NoConnection), "no connection", &nothing_sent)
}

/// A backend must use the deadline of the call, not a short one of its own.
pub(super) fn slow(bench: &Bench) -> Outcome {
    let (_, success) = bench.with_provider()?;
    let late = Scene::Late(success.answer(), Duration::from_millis(200));
    bench.expect(late, "an answer after 200 ms", &[None])
}

/// Cuts the body of a success after its first byte, in the middle, and before its last. Only for JSON and XML: other
/// text looks complete wherever it is cut, and noticing that is the job of the host's HTTP client, which counts the
/// bytes.
pub(super) fn broken_body(bench: &Bench) -> Outcome {
    let (_, success) = bench.with_provider()?;
    let whole = success.body().as_bytes();
    if !success.body().trim_start().starts_with(['{', '[', '<']) {
        return skip("the provider answers in plain text, which looks whole wherever it is cut");
    }
    for part in [1, whole.len() / 2, whole.len().saturating_sub(1)] {
        let cut = &whole[..part.min(whole.len())];
        let scene = answer(success.status(), &[("content-type", "application/json")], cut);
        let what = format!(
            "a success whose body breaks off after {}",
            quantity(part, "byte", "bytes")
        );
        let sent = bench.outcome(scene, &what, &OPEN_OR_TAKEN)?;
        // The status is that of a success, so a backend that found the complete id may report one.
        if let Ok(receipt) = sent
            && success.message_id.is_some()
            && receipt.message_id != success.message_id
        {
            return fail(format!(
                "{what} is taken for a sent SMS with the id {:?}",
                receipt.message_id
            ));
        }
    }
    Ok(())
}

/// A captive portal answers any request with a page of its own and the status 200.
pub(super) fn wrong_content(bench: &Bench) -> Outcome {
    let (_, success) = bench.with_provider()?;
    let page = "<!doctype html><html><title>Welcome to the hotel's network</title></html>";
    let scene = answer(success.status(), &[("content-type", "text/html")], page);
    let allowed: &[_] = if success.message_id.is_some() {
        &OPEN
    } else {
        &OPEN_OR_TAKEN
    };
    bench.expect(scene, "a web page with the status of a success", allowed)
}

/// One byte more than the host's HTTP client accepts.
pub(super) fn huge_body(bench: &Bench) -> Outcome {
    let (_, success) = bench.with_provider()?;
    let body = vec![b' '; (1 << 20) + 1];
    let scene = answer(success.status(), &[("content-type", "application/json")], body);
    bench.expect(scene, "an answer of more than 1 MiB", &OPEN)
}

/// A success without a body must not become a class that the host tries again: the SMS is probably sent.
pub(super) fn empty_body(bench: &Bench) -> Outcome {
    let (_, success) = bench.with_provider()?;
    bench.expect(
        answer(success.status(), &[], ""),
        "a success without a body",
        &OPEN_OR_TAKEN,
    )
}

/// Following a redirect would send keys and codes to a host that the manifest does not declare.
pub(super) fn redirect(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    for status in [301, 302, 307, 308] {
        let scene = answer(status, &[("location", "https://elsewhere.example/sms")], "");
        let allowed = [
            Some(Class::Config),
            Some(Class::AuthFailed),
            Some(Class::OutcomeUnknown),
        ];
        bench.expect(scene, &format!("a redirect (HTTP {status})"), &allowed)?;
    }
    match bench.network.denied().first() {
        Some(why) => fail(format!("it follows a redirect: {why}")),
        None => Ok(()),
    }
}

/// Bodies that break careless parsers: deep nesting, many members, invalid UTF-8, wrong types.
pub(super) fn hostile_bodies(bench: &Bench) -> Outcome {
    let (_, success) = bench.with_provider()?;
    let deep = "[".repeat(500_000);
    let wide = format!("{{{}\"a\":1}}", "\"a\":1,".repeat(50_000));
    let bodies: [&[u8]; 8] = [
        deep.as_bytes(),
        wide.as_bytes(),
        &[0xff, 0xfe, 0x00, 0xd8],
        b"\0",
        b"null",
        b"123456789012345678901234567890",
        b"\"\\ud800\"",
        b"{\"id\": {\"id\": [null]}, \"sid\": 7, \"messages\": {}}",
    ];
    for body in bodies {
        let scene = answer(success.status(), &[("content-type", "application/json")], body);
        let start: String = String::from_utf8_lossy(body).chars().take(20).collect();
        bench.expect(
            scene,
            &format!("a success with the body {start:?}…"),
            &OPEN_OR_TAKEN,
        )?;
    }
    Ok(())
}

/// A backend must keep no state from a fault: after each one the next SMS must be sent.
pub(super) fn recovery(bench: &Bench) -> Outcome {
    let (backend, _) = bench.with_provider()?;
    let mut lasting = None;
    super::requests::for_every_fault(bench, |bench| {
        let failure = bench
            .wait(bench.send_within(&backend, ALICE, TEXT, Duration::from_millis(300)))
            .err();
        bench.provider_is_well();
        if let Err(next) = bench.wait(bench.send(&backend, ALICE, TEXT)) {
            lasting.get_or_insert((failure.clone(), next));
        }
        failure
    });
    match lasting {
        Some((fault, next)) => fail(format!(
            "after the fault {} the next SMS fails too: {next}",
            fault.map_or_else(|| "of a success".to_owned(), |fault| fault.to_string())
        )),
        None => Ok(()),
    }
}

/// Mutates the tape's success with a seeded generator, so each run tries the same answers.
pub(super) fn random(bench: &Bench) -> Outcome {
    let (backend, success) = bench.with_provider()?;
    let entropy = Entropy::seeded(48);
    let statuses = [
        200,
        201,
        202,
        204,
        299,
        300,
        399,
        400,
        401,
        429,
        499,
        500,
        503,
        504,
        599,
        success.status(),
    ];
    for _ in 0..RANDOM_ANSWERS {
        let Ok(dice) = entropy.array::<12>() else {
            return fail("no randomness");
        };
        let mut body = success.body().as_bytes().to_vec();
        for throw in dice[..8].chunks_exact(2) {
            let at = usize::from(throw[0]) % (body.len() + 1);
            match throw[1] % 4 {
                0 => body.truncate(at),
                1 => body.insert(at, throw[1]),
                2 => body.extend_from_within(..at),
                _ => body.get_mut(at).into_iter().for_each(|byte| *byte = throw[1]),
            }
        }
        let status = statuses[usize::from(dice[8]) % statuses.len()];
        bench.network.always(answer(
            status,
            &[("retry-after", &dice[9].to_string())],
            body.clone(),
        ));
        let sent = bench.wait(bench.send(&backend, ALICE, TEXT));
        if sent.is_ok() && !(200..300).contains(&status) {
            return fail(format!(
                "HTTP {status} passes for a sent SMS, with the body {:?}",
                String::from_utf8_lossy(&body)
            ));
        }
    }
    Ok(())
}
