//! What a library does to its process, under load on another: the host stays, the other loses nothing, and the failure
//! says what happened.

use std::time::Duration;

use phone_verify::model::{FailureClass, SendFailure};
use phone_verify_plugin_host::code;
use serde_json::json;

use super::{
    calls::Log,
    shelf::{Bystander, Shelf, alice, call_within, rewritten, send},
};

/// A villain and a bystander from one loader; the villain gets this message.
async fn under_load(message: &str, limit: Duration) -> SendFailure {
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    assert_eq!(send(&villain, "hello").await.unwrap(), "sms-1");
    let call = call_within(limit);
    let failure = villain.send_sms(&alice(), message, call).await.unwrap_err();
    assert_eq!(send(&villain, "hello").await.unwrap(), "sms-1", "it serves again");
    bystander.lost_nothing().await;
    failure
}

/// The attack ends the process, twice, for the call is made again: the failure says how.
async fn ends_the_process(attack: &str, code: &str, how: &str) {
    let failure = under_load(&format!("attack {attack}"), Duration::from_secs(30)).await;
    assert_eq!(failure.class, FailureClass::Internal, "{failure}");
    assert_eq!(failure.code, code, "{failure}");
    let beginning = format!("villain's worker process {how}");
    assert!(failure.message.starts_with(&beginning), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_aborts() {
    ends_the_process("abort", code::WORKER_DIED, "was killed by SIGABRT (abort)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_exits() {
    let how = "exited with code 3: the library ended the process";
    ends_the_process("exit", code::WORKER_DIED, how).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_writes_to_where_nothing_is() {
    let how = "was killed by SIGSEGV (invalid memory access)";
    ends_the_process("segfault", code::WORKER_DIED, how).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_overflows_its_stack() {
    let how = "was killed by SIGABRT (abort); it last wrote: ";
    ends_the_process("overflow", code::WORKER_DIED, how).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_allocates_without_end() {
    let how = "ran out of memory, of which a worker process has 512 MiB; it last wrote: memory allocation of *** bytes";
    ends_the_process("allocate", code::WORKER_MEMORY, how).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_writes_nonsense_to_the_host() {
    let how = "was killed: it broke the protocol: what it sent is no frame";
    ends_the_process("scribble", code::WORKER_CONTRACT, how).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_of_a_call_that_it_was_told_to_stop_it() {
    let how = "was killed: it broke the protocol: it stopped a call that nobody gave up";
    ends_the_process("desert", code::WORKER_CONTRACT, how).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_loops_for_ever() {
    let failure = under_load("attack spin", Duration::from_millis(500)).await;
    assert_eq!(failure.class, FailureClass::OutcomeUnknown);
    assert_eq!(failure.code, "deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_logs_for_ever() {
    let failure = under_load("flood-for-ever", Duration::from_millis(500)).await;
    assert_eq!(failure.code, "deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_host_reading() {
    let failure = under_load("attack frames", Duration::from_millis(500)).await;
    assert_eq!(failure.code, "deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_hoards_requests() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", nobody.local_addr().unwrap());
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let villain = shelf
        .load("villain.VillainBackend", &json!({ "base_url": base_url }))
        .unwrap();
    // That many megabytes take their time on a busy machine.
    let call = call_within(Duration::from_secs(60));
    let failure = villain.send_sms(&alice(), "hoard", call).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::OutcomeUnknown, "{failure}");
    assert_eq!(failure.code, code::WORKER_CONTRACT, "{failure}");
    let rule = "it broke the protocol: its requests hold more than 64 MiB at once";
    assert!(failure.message.contains(rule), "{failure}");
    assert_eq!(send(&villain, "hello").await.unwrap(), "sms-1");
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_blocks_its_thread() {
    let failure = under_load("attack block", Duration::from_millis(500)).await;
    assert_eq!(failure.code, "deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_elf_constructor_crashes() {
    let shelf = Shelf::with(&["noop"]);
    let bystander = Bystander::of(&shelf);
    shelf.put(
        "villain",
        &rewritten("villain", "constructor:calm", "constructor:boom"),
    );
    let (code, sentence) = shelf.refusal("villain.VillainBackend");
    assert_eq!(code, code::WORKER_DIED);
    assert_eq!(
        sentence,
        "libvillain.so cannot be opened: its worker process was killed by SIGABRT (abort); this is for the author of \
         the library"
    );
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_elf_constructor_never_ends() {
    let shelf = Shelf::with(&["noop"]);
    let bystander = Bystander::of(&shelf);
    shelf.put(
        "villain",
        &rewritten("villain", "constructor:calm", "constructor:spin"),
    );
    let (code, sentence) = tokio::task::block_in_place(|| shelf.refusal("villain.VillainBackend"));
    assert_eq!(code, code::TOO_SLOW);
    let how = "its worker process was killed: it took longer than 10 s to open the library";
    assert!(sentence.contains(how), "{sentence}");
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_floods_the_standard_output() {
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    let call = call_within(Duration::from_secs(120));
    villain.send_sms(&alice(), "attack flood", call).await.unwrap();
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_for_ever() {
    let failure = under_load("attack flood-for-ever", Duration::from_millis(500)).await;
    assert_eq!(failure.code, "deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_destructor_ends_the_process() {
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let options = json!({ "destructor": "abort" });
    let villain = shelf.load("villain.VillainBackend", &options).unwrap();
    let other = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    drop(villain);
    // Whether the process is gone by now, or goes with this call in it: the call is made again.
    assert_eq!(send(&other, "hello").await.unwrap(), "sms-1");
    bystander.lost_nothing().await;
}

#[tokio::test]
async fn its_destructor_never_ends() {
    let (log, _guard) = Log::of_this_thread();
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let options = json!({ "destructor": "spin" });
    let villain = shelf.load("villain.VillainBackend", &options).unwrap();
    let other = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    drop(villain);
    let told = "its worker process was killed: it took longer than 10 s to drop a backend";
    let is_told = async {
        while !log.text().contains(told) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(60), is_told)
            .await
            .is_ok()
    );
    assert_eq!(send(&other, "hello").await.unwrap(), "sms-1");
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_backends_constructor_ends_the_process() {
    let bystander = Bystander::of(&Shelf::with(&["noop"]));
    for (constructor, how) in [
        ("abort", "was killed by SIGABRT (abort)"),
        ("segfault", "was killed by SIGSEGV (invalid memory access)"),
        ("exit", "exited with code 3: the library ended the process"),
    ] {
        // A shelf of its own: with the same bytes on one, the third would have to wait.
        let refusals = Shelf::with(&["villain"])
            .load("villain.VillainBackend", &json!({ "constructor": constructor }))
            .unwrap_err();
        assert_eq!(refusals[0].code, code::WORKER_DIED);
        let told = format!("villain.VillainBackend could not be constructed: villain's worker process {how}");
        assert_eq!(refusals[0].sentence, told);
    }
    bystander.lost_nothing().await;
}
