//! One text to many numbers: each is settled once, whatever happens to the others.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    backends::{Backend, Settled},
    kit::{
        bench::{Bench, CALL_LIMIT, Outcome, Stop, TEXT, answer, call, fail, phone_number, polled, skip},
        network::Scene,
    },
    model::{PhoneNumber, Receipt, SendFailure},
};

type Outcomes = Arc<Mutex<Vec<Vec<Result<Receipt, SendFailure>>>>>;

const MAX_POLLS: usize = 500;

fn overriding(bench: &Bench) -> Result<Backend, Stop> {
    let backend = bench.backend()?;
    if backend.overrides_send_bulk_sms() {
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
    bench.wait(backend.send_bulk_sms(&numbers(count), TEXT, call(CALL_LIMIT), settled));
    taken(&outcomes)
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
    bench.network.next(refused);
    let outcomes = send(bench, &backend, 4);
    let requests = bench.network.requests().len();
    let failed = outcomes
        .iter()
        .filter(|outcome| matches!(outcome.as_slice(), [Err(_)]))
        .count();
    let is_silence = |outcome: &&Vec<Result<Receipt, SendFailure>>| matches!(outcome.as_slice(), [Err(failure)] if failure.code == "not_reported");
    let silent = outcomes.iter().filter(is_silence).count();
    if silent > 0 {
        return fail(format!(
            "one number of 4 is refused, and of {silent} nothing is heard"
        ));
    }
    // One request for all of them may be refused as a whole.
    if failed != 1 && requests > 1 {
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
