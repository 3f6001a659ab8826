//! Checks of a backend over its life: concurrent calls, cancelled calls, slow polls, memory over many calls.

use std::{fs, sync::Arc, time::Duration};

use phone_verify_plugin_host::{Backend, SentRequest};

use crate::{
    kit::{
        bench::{
            ALICE, Bench, CALL_LIMIT, Outcome, Stop, TEXT, answer, call, fail, phone_number, polled, skip,
            warn,
        },
        network::Scene,
        pace::{self, Step},
        wire,
    },
    model::quantity,
};

/// Concurrent sends.
const AT_ONCE: usize = 64;
/// A call that needs more polls than this never ends.
const MAX_POLLS: usize = 500;
/// The longest poll. During a poll, no other call of the same thread can proceed.
const SLOW_POLL: Duration = Duration::from_millis(50);
/// How often [`constructed_often`] constructs the backend.
const CONSTRUCTIONS: usize = 1000;
/// Sends before the memory is first measured, so that caches and pools have grown.
const WARM_UP: usize = 2000;
/// Sends between the two measurements.
const SENDS: usize = 10_000;
/// Growth that the allocator and the captured log may cause in total. A leak of 210 bytes per SMS exceeds it.
const MAX_GROWTH_BYTES: usize = 2 << 20;
/// The share of a check's time limit that is used for sending.
const SHARE_OF_TIME: f64 = 0.75;
const NOT_READABLE: &str = "the memory of a process cannot be read on this system";

/// Sends 64 SMS from four threads. Each text must go to its own number: a backend with shared state could send a code
/// to another person.
pub(super) fn concurrent(bench: &Bench) -> Outcome {
    let backend = Arc::new(bench.backend()?);
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build();
    let threads = threads.map_err(|error| Stop::Fail(error.to_string()))?;
    let numbers: Vec<String> = (0..AT_ONCE)
        .map(|index| format!("+120255501{index:02}"))
        .collect();
    let text = |index: usize| format!("The code of message {index:02} is 482913.");
    let sent: Vec<_> = numbers
        .iter()
        .enumerate()
        .map(|(index, number)| {
            let (backend, number) = (Arc::clone(&backend), phone_number(number));
            threads.spawn(async move { backend.send_sms(&number, &text(index), call(CALL_LIMIT)).await })
        })
        .collect();
    for (index, sent) in sent.into_iter().enumerate() {
        let Ok(outcome) = threads.block_on(sent) else {
            return fail("it panics");
        };
        if let Err(failure) = bench.notice(outcome) {
            return fail(format!("of {AT_ONCE} at once, SMS {index} fails: {failure}"));
        }
    }
    let requests = bench.network.requests();
    if requests.is_empty() {
        return Ok(());
    }
    for (index, number) in numbers.iter().enumerate() {
        let own = |request: &&SentRequest| wire::carries(request, &text(index));
        let own: Vec<_> = requests.iter().filter(own).collect();
        let digits = number.trim_start_matches('+');
        if own.len() != 1 || !wire::carries(own[0], digits) {
            return fail(format!(
                "of {AT_ONCE} at once, the text of SMS {index} makes {} to others than its number",
                quantity(own.len(), "request", "requests")
            ));
        }
    }
    Ok(())
}

/// Drops a send after each number of polls, and sends another SMS each time, which must succeed.
fn cancel(bench: &Bench, backend: &Backend, scene: Option<&Scene>) -> Outcome {
    let mut at = 1;
    loop {
        if let Some(scene) = scene {
            bench.network.always(scene.clone());
        }
        let (outcome, _) = bench.wait(polled(bench.send(backend, ALICE, TEXT), at));
        bench.provider_is_well();
        if let Err(failure) = bench.wait(bench.send(backend, ALICE, TEXT)) {
            return fail(format!(
                "after a send that was dropped at await point {at}, the next fails: {failure}"
            ));
        }
        if outcome.is_some() {
            return Ok(());
        }
        at += 1;
        if at > MAX_POLLS {
            return fail(format!("a send is not over after {MAX_POLLS} steps"));
        }
    }
}

/// The host drops a send at its deadline and on shutdown, at any await point.
pub(super) fn cancelled(bench: &Bench) -> Outcome {
    cancel(bench, &bench.backend()?, None)
}

/// The same while the provider fails, where a backend's error handling runs.
pub(super) fn cancelled_while_failing(bench: &Bench) -> Outcome {
    let (backend, _) = bench.with_provider()?;
    for scene in [answer(429, &[("retry-after", "0")], ""), answer(503, &[], "")] {
        cancel(bench, &backend, Some(&scene))?;
    }
    // The provider never answers, so each of these sends is dropped while it waits.
    bench.network.always(Scene::Silence);
    for polls in 1..8 {
        bench.wait(polled(
            bench.send_within(&backend, ALICE, TEXT, Duration::from_millis(100)),
            polls,
        ));
    }
    bench.provider_is_well();
    match bench.wait(bench.send(&backend, ALICE, TEXT)) {
        Ok(_) => Ok(()),
        Err(failure) => fail(format!(
            "after sends that were dropped while they waited, the next fails: {failure}"
        )),
    }
}

/// Measures the longest poll of a send. Takes the best of three rounds and allows for a slow machine.
pub(super) fn poll_time(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    let _ = bench.wait(bench.send(&backend, ALICE, TEXT));
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let mut slowest = Duration::ZERO;
        bench.wait(async {
            let mut send = std::pin::pin!(bench.send(&backend, ALICE, TEXT));
            std::future::poll_fn(|context| {
                let (polled, step) = Step::of(&bench.stopwatch, || send.as_mut().poll(context));
                slowest = slowest.max(step.held());
                polled.map(drop)
            })
            .await;
        });
        best = best.min(slowest);
    }
    if best >= SLOW_POLL && best >= SLOW_POLL.mul_f64(pace::slowness(&bench.stopwatch)) {
        let sleep = bench.in_their_words("Host::sleep", "host->sleep");
        return fail(format!(
            "one step of a send takes {} ms, in which no other call of its thread goes on; wait with {sleep}, and never \
             with a lock or the thread",
            best.as_millis()
        ));
    }
    Ok(())
}

/// The daemon constructs backends again on each reload, so a constructor must not leak.
pub(super) fn constructed_often(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    let mut before = None;
    for round in 0..CONSTRUCTIONS {
        if let Err(failure) = backend.renew() {
            return fail(format!("the {round}th time it cannot be constructed: {failure}"));
        }
        if round % 10 == 0
            && let Err(failure) = bench.wait(bench.send(&backend, ALICE, TEXT))
        {
            return fail(format!(
                "constructed for the {round}th time, it does not send: {failure}"
            ));
        }
        bench.network.requests();
        bench.log.take();
        if round == CONSTRUCTIONS / 5 {
            before = resident_bytes();
        }
    }
    grown(before, "constructions")
}

/// Measures memory over many SMS. Warns when the time limit allows only a part of them.
pub(super) fn memory(bench: &Bench) -> Outcome {
    if resident_bytes().is_none() {
        return skip(NOT_READABLE);
    }
    let backend = bench.backend()?;
    let (begin, time) = (
        bench.stopwatch.elapsed(),
        bench.time_limit().mul_f64(SHARE_OF_TIME),
    );
    let mut before = None;
    let mut sent = 0;
    for round in 0..WARM_UP + SENDS {
        if bench.stopwatch.elapsed().saturating_sub(begin) > time {
            break;
        }
        sent = round;
        if let Err(failure) = bench.wait(bench.send(&backend, ALICE, TEXT)) {
            return fail(format!("SMS {round} is not sent: {failure}"));
        }
        // Empties the bench's own records, so that only the library's memory is measured.
        bench.network.requests();
        if round % 100 == 0 {
            bench.log.take();
        }
        if round == WARM_UP {
            before = resident_bytes();
        }
    }
    if before.is_none() {
        return warn(format!(
            "{sent} SMS are all that it sends within {} s, so nothing is known of its memory: give it more with --time-limit",
            time.as_secs()
        ));
    }
    grown(before, "SMS")?;
    let counted = sent.saturating_sub(WARM_UP) + 1;
    if counted < SENDS {
        return warn(format!(
            "its memory stays flat over {counted} SMS, and {SENDS} are more than it sends within {} s: give it more with \
             --time-limit",
            time.as_secs()
        ));
    }
    Ok(())
}

/// Fails if resident memory grew by more than [`MAX_GROWTH_BYTES`] since `before`.
fn grown(before: Option<usize>, over: &str) -> Outcome {
    let (Some(before), Some(after)) = (before, resident_bytes()) else {
        return skip(NOT_READABLE);
    };
    let grown = after.saturating_sub(before);
    if grown > MAX_GROWTH_BYTES {
        return fail(format!(
            "the process grows by {} KiB over the {over}",
            grown / 1024
        ));
    }
    Ok(())
}

/// Resident memory of this process, in bytes. `None`: the system has no `/proc`.
fn resident_bytes() -> Option<usize> {
    // Not by `statm`, which counts pages: these are of 4 to 64 KiB.
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
