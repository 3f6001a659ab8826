//! Checks of what a backend makes of its provider's requests: recorded delivery reports, forged ones, and garbage. And
//! of the balance, which is the other thing that a provider says without an SMS.

use phone_verify_plugin_host::Backend;

use crate::{
    kit::{
        bench::{Bench, CALL_LIMIT, Outcome, Stop, call, fail, sentences, skip, warn},
        tape::Receipt,
    },
    model::{FailureClass, IncomingRequest, ReceiptAnswer, SendFailure},
};

/// Where the garbage is sent.
const ADDRESS: &str = "https://verify.example/v1/receipts/default";

/// Hands a request over.
async fn received(
    bench: &Bench,
    backend: &Backend,
    request: IncomingRequest,
) -> Result<ReceiptAnswer, SendFailure> {
    bench.notice(backend.receive(request, call(CALL_LIMIT)).await)
}

/// The failure of a request without anything in it. For the check in a worker process.
pub(super) fn failure(bench: &Bench, backend: &Backend) -> Option<SendFailure> {
    backend.takes_receipts()?;
    bench
        .wait(received(bench, backend, request("POST", ADDRESS, &[])))
        .err()
}

/// The failure of asking for the balance. For the check in a worker process.
pub(super) fn balance_failure(bench: &Bench, backend: &Backend) -> Option<SendFailure> {
    backend
        .tells_balance()
        .then(|| bench.wait(backend.balance(call(CALL_LIMIT))).err())?
}

fn request(method: &str, url: &str, body: &[u8]) -> IncomingRequest {
    IncomingRequest {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_vec(),
    }
}

/// The backend, if it takes reports.
fn taking(bench: &Bench) -> Result<Backend, Stop> {
    let backend = bench.backend()?;
    if backend.takes_receipts().is_some() {
        Ok(backend)
    } else {
        skip("it takes no delivery reports")
    }
}

/// The backend with the options that a recorded report was signed with.
fn taking_as(bench: &Bench, receipt: &Receipt) -> Result<Backend, Stop> {
    let options = bench.options_with(&receipt.options);
    bench.backend_with(&options).or_else(|refusals| {
        fail(format!(
            "with the options of the receipt {:?} it cannot be constructed: {}",
            receipt.name,
            sentences(&refusals)
        ))
    })
}

/// Each recorded report must be answered with 2xx, and be about the message that the author says. No instance has sent
/// that message: after a restart, a daemon gets reports about messages of the process before.
pub(super) fn recorded(bench: &Bench) -> Outcome {
    taking(bench)?;
    if bench.receipts().is_empty() {
        return warn(
            "the tape has no [[receipt]]: record what the provider reports, so that it is known to be read",
        );
    }
    for receipt in bench.receipts() {
        let backend = taking_as(bench, receipt)?;
        let what = format!("the receipt {:?}", receipt.name);
        let answer = match bench.wait(received(bench, &backend, receipt.request())) {
            Ok(answer) => answer,
            Err(failure) => return fail(format!("{what} is an error: {failure}")),
        };
        if !(200..300).contains(&answer.status) {
            return fail(format!(
                "{what} is answered with {}, so its provider would send it again",
                answer.status
            ));
        }
        let reports: Vec<_> = answer
            .reports
            .iter()
            .map(|report| (report.message_id.expose(), report.state))
            .collect();
        let expected: Vec<_> = receipt.report().into_iter().collect();
        if reports != expected {
            let told = |reports: &[(&str, _)]| match reports {
                [] => "nothing".to_owned(),
                reports => format!("{reports:?}"),
            };
            return fail(format!(
                "{what} reports {}, and was taken for {}",
                told(&expected),
                told(&reports)
            ));
        }
    }
    Ok(())
}

/// A recorded report in which one character is another, and one without its headers.
fn forgeries(receipt: &Receipt) -> Vec<IncomingRequest> {
    let genuine = receipt.request();
    let mut changed = genuine.clone();
    let is_changed = if genuine.body.is_empty() {
        let mut url = changed.url.into_bytes();
        let is_changed = turn_last(&mut url);
        changed.url = String::from_utf8_lossy(&url).into_owned();
        is_changed
    } else {
        turn_last(&mut changed.body)
    };
    let mut bare = genuine.clone();
    bare.headers
        .retain(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let mut forgeries = Vec::new();
    if is_changed {
        forgeries.push(changed);
    }
    if bare.headers.len() < genuine.headers.len() {
        forgeries.push(bare);
    }
    forgeries
}

/// Exchanges the last letter or digit for another one.
fn turn_last(bytes: &mut [u8]) -> bool {
    let last = bytes.iter_mut().rev().find(|byte| byte.is_ascii_alphanumeric());
    last.map(|byte| *byte = if *byte == b'7' { b'3' } else { b'7' })
        .is_some()
}

/// Anybody can send requests to the address. Where the manifest says that all are signed, one that is not, or that was
/// changed, must be refused.
pub(super) fn forged(bench: &Bench) -> Outcome {
    let backend = taking(bench)?;
    if backend.takes_receipts().is_none_or(|takes| !takes.are_signed) {
        return skip("its requests need not be signed: the address has a secret part");
    }
    for receipt in bench.receipts() {
        let backend = taking_as(bench, receipt)?;
        for forgery in forgeries(receipt) {
            match bench.wait(received(bench, &backend, forgery)) {
                Ok(answer) if matches!(answer.status, 401 | 403) && answer.reports.is_empty() => {}
                Ok(answer) => {
                    return fail(format!(
                        "the receipt {:?} with a wrong signature is answered with {} and taken for {} reports, and must be \
                         refused with 401 or 403",
                        receipt.name,
                        answer.status,
                        answer.reports.len()
                    ));
                }
                Err(failure) => {
                    return fail(format!(
                        "the receipt {:?} with a wrong signature is an error: {failure}",
                        receipt.name
                    ));
                }
            }
        }
    }
    Ok(())
}

/// What no provider sends must be answered, and be taken for no report. An error would be logged for each such request.
pub(super) fn garbage(bench: &Bench) -> Outcome {
    let backend = taking(bench)?;
    let deep = "[".repeat(10_000);
    let fields = "a=1&".repeat(1000);
    let long = "a".repeat(IncomingRequest::MAX_BODY_BYTES);
    let bodies: [&[u8]; 10] = [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{\"status\":\"delivered\"}",
        b"\xff\xfe\0\x01",
        b"%%%=&&==%ff%00",
        deep.as_bytes(),
        fields.as_bytes(),
        long.as_bytes(),
    ];
    let requests = bodies.iter().flat_map(|body| {
        let mut form = request("POST", ADDRESS, body);
        form.headers = vec![(
            "Content-Type".to_owned(),
            "application/x-www-form-urlencoded".to_owned(),
        )];
        let mut bare = form.clone();
        bare.headers.clear();
        [request("POST", ADDRESS, body), form, bare]
    });
    let queries = ["", "?", "?status=delivered", "?%ff=%zz&&=", "?messageId=&status="];
    let addresses = queries.map(|query| request("GET", &format!("{ADDRESS}{query}"), b""));
    for request in requests.chain(addresses) {
        let what = format!(
            "a {} request with {} bytes of garbage",
            request.method,
            request.body.len()
        );
        match bench.wait(received(bench, &backend, request)) {
            Ok(answer) if answer.reports.is_empty() => {}
            Ok(_) => return fail(format!("{what} is taken for a report")),
            Err(failure) => {
                return fail(format!(
                    "{what} is an error: {failure}; answer it with 400 or 403"
                ));
            }
        }
    }
    Ok(())
}

/// The balance must be read from what the tape answers.
pub(super) fn balance(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    if !backend.tells_balance() {
        return skip("it tells no balance");
    }
    match bench.wait(async { bench.notice(backend.balance(call(CALL_LIMIT)).await) }) {
        Ok(_) => Ok(()),
        Err(failure) if failure.class == FailureClass::Unsupported => {
            fail("the manifest says that it tells its balance, and the library does not")
        }
        Err(failure) => fail(format!(
            "it does not say what is left of its account: {failure}; the tape needs an [[aside]] that answers this request"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgery_differs_in_one_character() {
        let mut bytes = *b"status=delivered&sig=ab7\n";
        assert!(turn_last(&mut bytes));
        assert_eq!(&bytes, b"status=delivered&sig=ab3\n");
        assert!(!turn_last(&mut [b'{', b'}']));
    }
}
