//! Checks of bulk sends (one text to many numbers): each number gets exactly one result, whatever happens to the
//! others.

use std::sync::{Arc, Mutex, PoisonError};

use phone_verify_plugin_host::{Backend, Settled};

use crate::{
    kit::{
        bench::{Bench, CALL_LIMIT, Outcome, Stop, TEXT, answer, call, fail, phone_number, polled, skip},
        network::Scene,
        tape::Bulk,
    },
    model::{PhoneNumber, Receipt, SendFailure},
};

/// Per number, every result that was reported for it: more or fewer than one is a fault.
type Outcomes = Arc<Mutex<Vec<Vec<Result<Receipt, SendFailure>>>>>;

/// A bulk send that needs more polls than this never ends.
const MAX_POLLS: usize = 500;
/// Index of the number that the provider refuses.
const REFUSED: usize = 1;

/// The backend, if it implements bulk sends itself. Otherwise the host sends one by one, and there is nothing to check.
fn overriding(bench: &Bench) -> Result<Backend, Stop> {
    let backend = bench.backend()?;
    if backend.overrides_send_bulk_sms() {
        if let Some(bulk) = bench.bulk() {
            bench.network.takes_bulk_of(&numbers(100), bulk.clone());
        }
        Ok(backend)
    } else {
        skip("it leaves bulk sends to the host")
    }
}

fn numbers(count: usize) -> Vec<PhoneNumber> {
    (0..count)
        .map(|index| phone_number(&format!("+120255501{:02}", index % 100)))
        .collect()
}

/// A record for the results of this many numbers, and the callback that fills it.
fn listener(count: usize) -> (Outcomes, Settled) {
    let outcomes: Outcomes = Arc::new(Mutex::new(vec![Vec::new(); count]));
    let kept = Arc::clone(&outcomes);
    let settled: Settled = Arc::new(move |index, outcome| {
        kept.lock().unwrap_or_else(PoisonError::into_inner)[index].push(outcome);
    });
    (outcomes, settled)
}

fn taken(outcomes: &Outcomes) -> Vec<Vec<Result<Receipt, SendFailure>>> {
    std::mem::take(&mut outcomes.lock().unwrap_or_else(PoisonError::into_inner))
}

fn send(bench: &Bench, backend: &Backend, count: usize) -> Vec<Vec<Result<Receipt, SendFailure>>> {
    let (outcomes, settled) = listener(count);
    // A backend may send one by one even within its own bulk call, and this machine may be busy.
    let limit = CALL_LIMIT * u32::try_from(1 + count / 200).unwrap_or(1);
    let before = bench.stopwatch.elapsed();
    bench.wait(backend.send_bulk_sms(&numbers(count), TEXT, call(limit), settled));
    if bench.stopwatch.elapsed().saturating_sub(before) >= limit {
        bench.hangs();
    }
    taken(&outcomes)
}

/// The first failure of a bulk send to two numbers. `None` too for a backend without a bulk call.
pub(super) fn failure(bench: &Bench, backend: &Backend) -> Option<SendFailure> {
    if !backend.overrides_send_bulk_sms() {
        return None;
    }
    if let Some(bulk) = bench.bulk() {
        bench.network.takes_bulk_of(&numbers(100), bulk.clone());
    }
    let mut outcomes = send(bench, backend, 2).into_iter().flatten();
    outcomes.find_map(Result::err)
}

/// Fails if the host logged a wrong report. The host uses the first result of a number and logs any further one, so the
/// record alone does not show them.
fn no_breach(bench: &Bench) -> Outcome {
    match bench
        .log
        .take()
        .into_iter()
        .find(|line| line.contains("reported a number twice"))
    {
        Some(_) => fail("it reports a number twice, or one that it was not given"),
        None => Ok(()),
    }
}

/// Fails if the send to any number failed.
fn all_sent(outcomes: &[Vec<Result<Receipt, SendFailure>>]) -> Outcome {
    for (index, outcome) in outcomes.iter().enumerate() {
        if let [Err(failure)] = outcome.as_slice() {
            return fail(format!(
                "number {index} of {} is not sent to: {failure}",
                outcomes.len()
            ));
        }
    }
    Ok(())
}

/// Sends to one, two and seven numbers.
pub(super) fn each_once(bench: &Bench) -> Outcome {
    let backend = overriding(bench)?;
    for count in [1, 2, 7] {
        all_sent(&send(bench, &backend, count))?;
        no_breach(bench)?;
    }
    Ok(())
}

/// Refuses one number of four. That number must fail, and only that one, unless the provider refuses the request as a
/// whole.
pub(super) fn one_fails(bench: &Bench) -> Outcome {
    let backend = overriding(bench)?;
    bench.with_provider()?;
    // A refusal of another kind, such as one of the account, would be true of all numbers.
    let mut refusals = bench.refusals().iter();
    let of_a_number = refusals.find(|refusal| refusal.class().blames_number());
    let refused = of_a_number.map_or_else(
        || answer(400, &[], "no"),
        |refusal| Scene::Plays(refusal.answer()),
    );
    bench.network.refuse_number(&numbers(4)[REFUSED], refused);
    let outcomes = send(bench, &backend, 4);
    let requests = bench.network.requests().len();
    let is_silence = |outcome: &&Vec<Result<Receipt, SendFailure>>| matches!(outcome.as_slice(), [Err(failure)] if failure.code == "not_reported");
    let silent = outcomes.iter().filter(is_silence).count();
    if silent > 0 {
        return fail(format!(
            "one number of 4 is refused, and of {silent} nothing is heard"
        ));
    }
    let has_failed = |outcome: &[Result<Receipt, SendFailure>]| matches!(outcome, [Err(_)]);
    let failed = outcomes.iter().filter(|outcome| has_failed(outcome)).count();
    if !has_failed(&outcomes[REFUSED]) {
        return fail("the number that is refused is taken for one that was sent to");
    }
    // A provider without results per number refuses the one request for all of them, and the backend cannot know which
    // number was the reason.
    let is_whole = requests == 1 && !bench.bulk().is_some_and(Bulk::tells_each);
    if failed != 1 && !is_whole {
        return fail(format!("one number of 4 is refused, and {failed} fail"));
    }
    no_breach(bench)
}

/// Sends to more numbers than fit into one request of most providers.
pub(super) fn thousand(bench: &Bench) -> Outcome {
    let backend = overriding(bench)?;
    all_sent(&send(bench, &backend, 1000))?;
    no_breach(bench)
}

/// Drops a bulk send at each await point in turn. Every number must still have one result, or the host would not know
/// whether an SMS was sent.
pub(super) fn cancelled(bench: &Bench) -> Outcome {
    let backend = overriding(bench)?;
    for at in 1..MAX_POLLS {
        let (outcomes, settled) = listener(3);
        let (outcome, _) = bench.wait(polled(
            backend.send_bulk_sms(&numbers(3), TEXT, call(CALL_LIMIT), settled),
            at,
        ));
        let heard = taken(&outcomes);
        if let Some(index) = heard.iter().position(|outcomes| outcomes.len() != 1) {
            return fail(format!(
                "dropped at await point {at}, number {index} is heard of {} times",
                heard[index].len()
            ));
        }
        all_sent(&send(bench, &backend, 2))?;
        if outcome.is_some() {
            return no_breach(bench);
        }
    }
    fail(format!(
        "a bulk send to 3 numbers is not over after {MAX_POLLS} steps"
    ))
}
