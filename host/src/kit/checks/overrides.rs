//! Checks of overrides: the code, the message and the verdict, which a backend may decide instead of the host.

use std::sync::Arc;

use phone_verify_plugin_host::Backend;
use serde_json::{Map, Value, json};

use crate::{
    kit::bench::{
        ALICE, Base, Bench, CALL_LIMIT, Outcome, Stop, call, call_with, fail, phone_number, polled, skip,
    },
    model::{FailureClass, IncomingRequest, ReceiptAnswer, SecurityCode, SendFailure, SessionToken, Verdict},
};

/// The host's code on the bench.
const CODE: &str = "482913";
/// A call that needs more polls than this never ends.
const MAX_POLLS: usize = 500;

fn code(text: &str) -> SecurityCode {
    SecurityCode::from_client(text)
}

/// Has the backend judge a code while the host would judge it as `opinion`.
async fn validated(
    bench: &Bench,
    backend: &Backend,
    text: &str,
    opinion: Option<Result<Verdict, SendFailure>>,
) -> Result<Verdict, SendFailure> {
    let call = call_with(CALL_LIMIT, Arc::new(Base { opinion }));
    let token = SessionToken::from_client("a-session-token");
    bench.notice(
        backend
            .validate_security_code(&code(text), &phone_number(ALICE), &token, call)
            .await,
    )
}

/// Has the backend judge a code that the host finds wrong.
pub(super) async fn judged(bench: &Bench, backend: &Backend) -> Result<Verdict, SendFailure> {
    validated(bench, backend, CODE, Some(Ok(Verdict::Invalid))).await
}

/// Has the backend generate a code.
pub(super) async fn generated(bench: &Bench, backend: &Backend) -> Result<SecurityCode, SendFailure> {
    bench.notice(backend.generate_security_code(call(CALL_LIMIT)).await)
}

/// Has the backend compose a message. `None`: it leaves this one to the host.
pub(super) async fn worded(
    bench: &Bench,
    backend: &Backend,
    context: &Map<String, Value>,
) -> Result<Option<String>, SendFailure> {
    bench.notice(
        backend
            .generate_message(&code(CODE), context, call(CALL_LIMIT))
            .await,
    )
}

/// Hands over a request of the provider.
async fn received(bench: &Bench, backend: &Backend) -> Result<ReceiptAnswer, SendFailure> {
    let request = IncomingRequest {
        method: "POST".to_owned(),
        url: "https://verify.example/v1/receipts/default".to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    bench.notice(backend.receive(request, call(CALL_LIMIT)).await)
}

/// Calls each method whether or not the manifest declares it: the host never calls one that is not declared, so an
/// override would silently do nothing.
pub(super) fn declared(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    let is_unsupported = |failure: Option<SendFailure>| {
        failure.is_some_and(|failure| failure.class == FailureClass::Unsupported)
    };
    let opinion = Some(Ok(Verdict::Invalid));
    let answers = [
        (
            "generate_security_code",
            backend.overrides_generate_security_code(),
            !is_unsupported(bench.wait(generated(bench, &backend)).err()),
        ),
        (
            "generate_message",
            backend.overrides_generate_message(),
            !is_unsupported(bench.wait(worded(bench, &backend, &Map::new())).err()),
        ),
        (
            "validate_security_code",
            backend.overrides_validate_security_code(),
            !is_unsupported(bench.wait(validated(bench, &backend, CODE, opinion)).err()),
        ),
        (
            "receive",
            backend.takes_receipts().is_some(),
            !is_unsupported(bench.wait(received(bench, &backend)).err()),
        ),
        (
            "feedback",
            backend.takes_feedback(),
            !is_unsupported(
                bench
                    .wait(backend.feedback("check", true, call(CALL_LIMIT)))
                    .err(),
            ),
        ),
        (
            "balance",
            backend.tells_balance(),
            !is_unsupported(bench.wait(backend.balance(call(CALL_LIMIT))).err()),
        ),
    ];
    for (method, is_declared, is_there) in answers {
        if is_declared != is_there {
            let (says, does) = if is_declared {
                ("says", "does not")
            } else {
                ("does not say", "does")
            };
            return fail(format!(
                "the manifest {says} that {method} is overridden, and the library {does} answer it"
            ));
        }
    }
    Ok(())
}

/// Generates 20 codes. Only a sandbox may repeat one.
pub(super) fn codes(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    if !backend.overrides_generate_security_code() {
        return skip("it leaves the code to the host");
    }
    let mut codes = Vec::new();
    for _ in 0..20 {
        match bench.wait(generated(bench, &backend)) {
            Ok(code) => codes.push(code.expose().to_owned()),
            Err(failure) => return fail(format!("it makes no code: {failure}")),
        }
    }
    let is_fixed = codes.iter().all(|code| *code == codes[0]);
    // A backend that asks the host for its code gets the bench's, which is always the same.
    if is_fixed && codes[0] != CODE && !backend.is_sandbox() {
        return fail("it makes the same code each time, and is no sandbox; a code must not be guessed");
    }
    Ok(())
}

/// The backend, if it composes messages itself.
fn overriding_message(bench: &Bench) -> Result<Backend, Stop> {
    let backend = bench.backend()?;
    if backend.overrides_generate_message() {
        Ok(backend)
    } else {
        skip("it leaves the message to the host")
    }
}

/// Fails if the message for this context lacks the code.
fn holds_code(bench: &Bench, backend: &Backend, context: &Value) -> Outcome {
    let context = context.as_object().cloned().unwrap_or_default();
    match bench.wait(worded(bench, backend, &context)) {
        Ok(Some(text)) if !text.contains(CODE) => fail("its message does not hold the code"),
        Ok(_) => Ok(()),
        Err(failure) => fail(format!("it makes no message: {failure}")),
    }
}

fn messages_hold(bench: &Bench, contexts: &[Value]) -> Outcome {
    let backend = overriding_message(bench)?;
    contexts
        .iter()
        .try_for_each(|context| holds_code(bench, &backend, context))
}

/// Ordinary contexts: none, and names.
pub(super) fn message(bench: &Bench) -> Outcome {
    messages_hold(
        bench,
        &[
            json!({}),
            json!({ "username": "Ann" }),
            json!({ "name": "Ann", "app": "Shop", "user": "ann" }),
        ],
    )
}

/// Contexts that try to break a template: placeholders, markup, direction marks, empty and long values.
pub(super) fn hostile_context(bench: &Bench) -> Outcome {
    let names = ["username", "name", "user", "app", "as", "first_name"];
    let table = |value: Value| {
        Value::Object(
            names
                .iter()
                .map(|name| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    };
    messages_hold(
        bench,
        &[
            table(json!("{security_code} {} %s ${x} \"'<>&")),
            table(json!("\u{202e}קוד 😀")),
            table(json!("")),
            table(json!("Ann\u{301} ".repeat(40))),
        ],
    )
}

/// The backend, if it judges codes itself.
fn overriding_verdict(bench: &Bench) -> Result<Backend, Stop> {
    let backend = bench.backend()?;
    if backend.overrides_validate_security_code() {
        Ok(backend)
    } else {
        skip("it leaves the verdict to the host")
    }
}

/// The code that the host finds right must be valid.
pub(super) fn right_code(bench: &Bench) -> Outcome {
    let backend = overriding_verdict(bench)?;
    match bench.wait(validated(bench, &backend, CODE, Some(Ok(Verdict::Valid)))) {
        Ok(Verdict::Valid) => Ok(()),
        other => fail(format!("the code that was sent is {}", told(&other))),
    }
}

/// Codes that an attacker would try, and one that the backend itself generates.
fn guesses(bench: &Bench, backend: &Backend) -> Vec<String> {
    let mut guesses: Vec<String> = [
        "000000",
        "123456",
        "1",
        "",
        " ",
        "null",
        "true",
        "\0",
        "open-sesame",
        "482914",
    ]
    .map(str::to_owned)
    .into();
    if backend.overrides_generate_security_code()
        && let Ok(code) = bench.wait(generated(bench, backend))
    {
        guesses.push(code.expose().to_owned());
    }
    guesses
}

/// No guess may be valid when the host finds it wrong.
pub(super) fn wrong_code(bench: &Bench) -> Outcome {
    let backend = overriding_verdict(bench)?;
    let own = bench
        .wait(generated(bench, &backend))
        .ok()
        .map(|code| code.expose().to_owned());
    for guess in guesses(bench, &backend) {
        // A sandbox exists to accept its own fixed code.
        if backend.is_sandbox() && Some(&guess) == own.as_ref() {
            continue;
        }
        if bench.wait(validated(bench, &backend, &guess, Some(Ok(Verdict::Invalid)))) == Ok(Verdict::Valid) {
            return fail(format!("the wrong code {guess:?} is valid"));
        }
    }
    Ok(())
}

/// No code may be valid in a session that the host refuses. This holds for a sandbox too.
pub(super) fn no_session(bench: &Bench) -> Outcome {
    let backend = overriding_verdict(bench)?;
    for base in [
        Verdict::SessionTokenInvalid,
        Verdict::Expired,
        Verdict::AlreadyVerified,
        Verdict::TooManyAttempts,
    ] {
        for guess in guesses(bench, &backend) {
            if bench.wait(validated(bench, &backend, &guess, Some(Ok(base)))) == Ok(Verdict::Valid) {
                return fail(format!(
                    "where the host says {base:?}, a code is valid all the same"
                ));
            }
        }
    }
    Ok(())
}

/// No code may be valid when the host cannot judge it, as during a store outage.
pub(super) fn failing_base(bench: &Bench) -> Outcome {
    let backend = overriding_verdict(bench)?;
    let busy = || {
        Err(SendFailure::new(
            FailureClass::Transient,
            "store_busy",
            "the store is busy",
        ))
    };
    for guess in guesses(bench, &backend) {
        for opinion in [Some(busy()), None] {
            if bench.wait(validated(bench, &backend, &guess, opinion)) == Ok(Verdict::Valid) {
                return fail("where the host cannot judge a code, it is valid");
            }
        }
    }
    Ok(())
}

/// Drops each override at every await point in turn. The later calls must still succeed.
pub(super) fn cancelled(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    let overrides = [
        backend.overrides_generate_security_code(),
        backend.overrides_generate_message(),
        backend.overrides_validate_security_code(),
    ];
    if overrides == [false; 3] {
        return skip("it overrides nothing of this");
    }
    for at in 1..MAX_POLLS {
        let mut outcomes = Vec::new();
        if overrides[0] {
            outcomes.push(dropped_at(bench, generated(bench, &backend), at));
        }
        if overrides[1] {
            outcomes.push(dropped_at(bench, worded(bench, &backend, &Map::new()), at));
        }
        if overrides[2] {
            let valid = Some(Ok(Verdict::Valid));
            outcomes.push(dropped_at(bench, validated(bench, &backend, CODE, valid), at));
        }
        if let Some(failure) = outcomes
            .iter()
            .flatten()
            .find_map(|outcome| outcome.as_ref().err())
        {
            return fail(format!(
                "after calls that were dropped at the await points before, one fails: {failure}"
            ));
        }
        if outcomes.iter().all(Option::is_some) {
            return Ok(());
        }
    }
    fail(format!("an override is not over after {MAX_POLLS} steps"))
}

/// Polls the call `at` times and drops it. Returns its outcome, if it completed.
fn dropped_at<T>(
    bench: &Bench,
    call: impl Future<Output = Result<T, SendFailure>>,
    at: usize,
) -> Option<Result<(), SendFailure>> {
    bench.wait(polled(call, at)).0.map(|outcome| outcome.map(drop))
}

fn told(outcome: &Result<Verdict, SendFailure>) -> String {
    match outcome {
        Ok(verdict) => format!("{verdict:?}"),
        Err(failure) => format!("an error: {failure}"),
    }
}
