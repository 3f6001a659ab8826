//! Checks against the tape: the backend must understand the provider's answers as the author recorded them.

use crate::kit::{
    bench::{ALICE, Bench, Outcome, TEXT, fail, skip},
    network::Scene,
};

/// An accepted SMS, with the provider's message id. Fails if the backend makes requests and there is no tape.
pub(super) fn success(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    let sent = bench.wait(bench.send(&backend, ALICE, TEXT));
    let asks = !bench.network.requests().is_empty();
    if asks && !bench.has_tape() {
        return fail(format!(
            "it asks a provider, and no tape says what that answers: write {}.tape.toml beside Cargo.toml or \
             the library, or name it with --tape",
            bench.report.library
        ));
    }
    let receipt = match sent {
        Ok(receipt) => receipt,
        Err(failure) => return fail(format!("the SMS is not sent: {failure}")),
    };
    if !asks {
        return Ok(());
    }
    let (_, success) = bench.with_provider()?;
    match (&success.message_id, &receipt.message_id) {
        (Some(expected), found) if found.as_ref() != Some(expected) => fail(format!(
            "the provider's id is {expected:?}, and the receipt has {found:?}"
        )),
        _ => Ok(()),
    }
}

/// Each recorded refusal must get the class that the author gave it.
pub(super) fn refusals(bench: &Bench) -> Outcome {
    bench.with_provider()?;
    if bench.refusals().is_empty() {
        return skip("the tape has no refusal");
    }
    for refusal in bench.refusals() {
        let scene = Scene::Plays(refusal.answer());
        bench.expect(
            scene,
            &format!("the refusal {:?}", refusal.name),
            &[Some(refusal.class())],
        )?;
    }
    Ok(())
}
