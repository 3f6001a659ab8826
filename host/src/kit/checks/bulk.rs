//! One text to many numbers: each is settled once, whatever happens to the others.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    backends::{Backend, Settled},
    kit::{
        bench::{Bench, CALL_LIMIT, Outcome, Stop, TEXT, answer, call, fail, phone_number, polled, skip},
        network::Scene,
        tape::Bulk,
    },
    model::{PhoneNumber, Receipt, SendFailure},
};

type Outcomes = Arc<Mutex<Vec<Vec<Result<Receipt, SendFailure>>>>>;

const MAX_POLLS: usize = 500;
/// The place of the number that is refused.
const REFUSED: usize = 1;

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

/// Where the outcomes of so many numbers are kept, each as often as it is heard.
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
    // Whoever has no call for many sends one by one, on a machine that may be busy.
    let limit = CALL_LIMIT * u32::try_from(1 + count / 200).unwrap_or(1);
    let before = bench.stopwatch.elapsed();
    bench.wait(backend.send_bulk_sms(&numbers(count), TEXT, call(limit), settled));
    if bench.stopwatch.elapsed().saturating_sub(before) >= limit {
        bench.hangs();
    }
    taken(&outcomes)
}

/// The first failure of a send to two numbers, where the backend has a call for many.
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

/// The host hears the first report of each number, and says in its log that there was another.
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

pub(super) fn each_once(bench: &Bench) -> Outcome {
    let backend = overriding(bench)?;
    for count in [1, 2, 7] {
        all_sent(&send(bench, &backend, count))?;
        no_breach(bench)?;
    }
    Ok(())
}

pub(super) fn one_fails(bench: &Bench) -> Outcome {
    let backend = overriding(bench)?;
    bench.with_provider()?;
    let refused = bench.refusals().first().map_or_else(
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
    // One request for all of them may be refused as a whole, where the provider does not say which number it was.
    let is_whole = requests == 1 && !bench.bulk().is_some_and(Bulk::tells_each);
    if failed != 1 && !is_whole {
        return fail(format!("one number of 4 is refused, and {failed} fail"));
    }
    no_breach(bench)
}

pub(super) fn thousand(bench: &Bench) -> Outcome {
    let backend = overriding(bench)?;
    all_sent(&send(bench, &backend, 1000))?;
    no_breach(bench)
}

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
