//! Checks of what a library must not touch, as it shares a process with others: standard output, threads, files,
//! sockets, the environment, randomness.

use std::{collections::BTreeSet, fs, time::Duration};

use crate::kit::{
    bench::{ALICE, BOB, Bench, Outcome, TEXT, fail, polled, skip, written},
    checks::requests::for_every_fault,
};

/// Time for a thread that has finished its work to disappear.
const ENDING: Duration = Duration::from_millis(200);

/// Only makes calls. The supervising process examines what was printed (`Runs::Silently`).
pub(super) fn silent(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    let _ = bench.wait(bench.send(&backend, ALICE, TEXT));
    for_every_fault(bench, |bench| {
        bench
            .wait(bench.send_within(&backend, ALICE, TEXT, Duration::from_millis(100)))
            .err()
    });
    Ok(())
}

/// The threads and open files of this process. `None`: the system does not show them.
fn belongings() -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let names = |folder: &str| -> Option<Vec<String>> {
        let entries = fs::read_dir(folder).ok()?.flatten();
        Some(
            entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect(),
        )
    };
    let threads = names("/proc/self/task")?.into_iter().collect();
    let files = names("/proc/self/fd")?
        .into_iter()
        .filter_map(|number| {
            let target = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
            Some(format!("{} (descriptor {number})", target.display()))
        })
        // The descriptor that reads this list.
        .filter(|file| !file.starts_with("/proc/"))
        .collect();
    Some((threads, files))
}

/// Compares threads and files before and after construction and at several points of a send. In a worker process the
/// sandbox refuses them.
pub(super) fn threads_and_files(bench: &Bench) -> Outcome {
    // Constructs once before the comparison, so that what the host starts and opens for its first library is not
    // counted.
    drop(bench.backend()?);
    bench.wait(async { tokio::time::sleep(ENDING).await });
    let Some((threads, files)) = belongings() else {
        return skip("threads and files of a process cannot be seen on this system");
    };
    let compare = |when: &str| {
        let Some((threads_now, files_now)) = belongings() else {
            return Ok(());
        };
        if let Some(file) = files_now.difference(&files).next() {
            return fail(format!(
                "{when} it has opened {file}; HTTP is {}, and a library needs no file",
                bench.in_their_words("Host::http", "host->http")
            ));
        }
        if threads_now.difference(&threads).next().is_some() {
            return fail(format!(
                "{when} it has started a thread; {}",
                bench.in_their_words(
                    "the host runs its futures",
                    "the host calls it, and answers its questions through `done`"
                )
            ));
        }
        Ok(())
    };
    let backend = bench.backend()?;
    bench.wait(async { tokio::time::sleep(ENDING).await });
    compare("when it is constructed,")?;
    for polls in 1..6 {
        let mut call = Box::pin(bench.send(&backend, ALICE, TEXT));
        let (outcome, _) = bench.wait(polled(&mut call, polls));
        compare("during a send,")?;
        if outcome.is_none() {
            let _ = bench.wait(call);
        }
    }
    compare("after a send,")
}

/// Sends while no descriptor can be opened, as in a worker process.
#[cfg(unix)]
pub(super) fn without_descriptors(bench: &Bench) -> Outcome {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let backend = bench.backend()?;
    if let Err(failure) = bench.wait(bench.send(&backend, ALICE, TEXT)) {
        return fail(format!("the SMS is not sent: {failure}"));
    }
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        maximum: before.maximum,
    };
    if setrlimit(Resource::Nofile, none).is_err() {
        return skip("descriptors cannot be limited on this system");
    }
    let sent = bench.wait(bench.send(&backend, ALICE, TEXT));
    let _ = setrlimit(Resource::Nofile, before);
    match sent {
        Ok(_) => Ok(()),
        Err(failure) => fail(format!(
            "where no file or socket can be opened, as in a worker process, it fails: {failure}"
        )),
    }
}

#[cfg(not(unix))]
pub(super) fn without_descriptors(_bench: &Bench) -> Outcome {
    skip("descriptors cannot be limited on this system")
}

/// Records outcomes and requests. The supervising process compares them with those of a run in another environment.
pub(super) fn environment(bench: &Bench) -> Outcome {
    let backend = bench.backend()?;
    for number in [ALICE, BOB] {
        let sent = bench.wait(bench.send(&backend, number, TEXT));
        bench.testify(&format!("{sent:?}"));
    }
    for request in bench.network.requests() {
        bench.testify(&written(&request));
    }
    Ok(())
}

/// Repeats the same SMS with the same clock and randomness. A different request means that the backend has a source of
/// its own, and that a retry would not carry the same idempotency key.
pub(super) fn deterministic(bench: &Bench) -> Outcome {
    let round = || -> Result<Vec<String>, crate::kit::bench::Stop> {
        let backend = bench.backend()?;
        let mut requests = Vec::new();
        for number in [ALICE, BOB] {
            let sent = bench.wait(bench.send(&backend, number, TEXT));
            requests.push(format!("{}", sent.is_ok()));
        }
        requests.extend(bench.network.requests().iter().map(written));
        Ok(requests)
    };
    let first = round()?;
    for _ in 0..3 {
        let next = round()?;
        if let Some((one, _)) = first.iter().zip(&next).find(|(one, other)| one != other) {
            let start: String = one.chars().take(60).collect();
            return fail(format!(
                "the same SMS makes another request the next time ({start}…); take time and chance from the Host, and the \
                 key against doubles from Call::idempotency_key"
            ));
        }
    }
    Ok(())
}
