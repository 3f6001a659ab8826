//! The second door: a library in C is loaded, called and refused as any other, and one that breaks the header's rules
//! harms nobody. It is compiled with the header as it was released.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, http::HeaderMap, routing::post};
use phone_verify::model::{FailureClass, SendFailure, SessionToken, Verdict};
use phone_verify_plugin_host::{Backend, code};
use phone_verify_tests::artifacts::workspace;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    calls::Log,
    shelf::{Shelf, Shelves, alice, call, call_within, code as security_code, number},
};

/// Puts `tests/rogue` on the shelf, compiled with these definitions and the first header that was released.
pub(crate) fn compile<const WORKER: bool>(shelf: &Shelves<WORKER>, definitions: &[&str]) {
    compile_with("tests/abi/1.0", shelf, definitions);
}

fn compile_with<const WORKER: bool>(header: &str, shelf: &Shelves<WORKER>, definitions: &[&str]) {
    let source = std::fs::read_to_string(workspace().join("tests/rogue/rogue.c")).unwrap();
    let header = workspace().join(header);
    let arguments = [
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-pthread",
        "-Wno-unused-function",
        "-I",
        header.to_str().unwrap(),
    ];
    shelf.compile("rogue", &source, &[&arguments, definitions].concat());
}

fn rogue_of<const WORKER: bool>(shelf: &Shelves<WORKER>, options: &Value) -> Backend {
    compile(shelf, &[]);
    shelf.load("rogue.RogueBackend", options).unwrap()
}

fn rogue() -> Backend {
    rogue_of(&Shelf::empty(), &json!({}))
}

async fn send(backend: &Backend, message: &str) -> Result<String, SendFailure> {
    let call = call_within(Duration::from_secs(30));
    let receipt = backend.send_sms(&alice(), message, call).await?;
    Ok(receipt.message_id.unwrap_or_default())
}

/// A provider that says what it was sent, or nothing for a long time.
async fn provider() -> String {
    async fn take(headers: HeaderMap, body: String) -> String {
        format!("{body} {}", headers["x-rogue"].to_str().unwrap())
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let service = Router::new()
        .route("/", post(take))
        .route("/silence", post(std::future::pending::<String>));
    tokio::spawn(async move { axum::serve(listener, service).await });
    url
}

#[tokio::test]
async fn a_library_in_c_is_given_all_that_a_call_has() {
    let backend = rogue_of(&Shelf::empty(), &json!({ "Count": 12 }));
    assert!(backend.is_sandbox());
    assert_eq!(send(&backend, "names").await.unwrap(), "r-1 i-1 de-AT 1 1 1");
    assert_eq!(send(&backend, "options").await.unwrap(), "count=12;");
    assert_eq!(send(&backend, "sleep").await.unwrap(), "");

    let failure = send(&backend, "my number is +13478379634").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::NoCredit);
    assert_eq!(
        (failure.code.as_str(), failure.http_status),
        ("rogue_402", Some(402))
    );
    assert_eq!(failure.retry_after, Some(Duration::from_secs(5)));
    assert!(!failure.message.contains("3478379634"), "{failure}");

    let (log, _guard) = Log::of_this_thread();
    assert_eq!(send(&backend, "log").await.unwrap(), "logged");
    let lines = log.text();
    assert!(
        lines.contains("rogue says") && lines.contains("+13****34"),
        "{lines}"
    );
}

#[tokio::test]
async fn a_library_in_c_overrides_and_asks_the_base() {
    let backend = rogue();
    let made = backend.generate_security_code(call()).await.unwrap();
    assert_eq!(made.expose(), "424242");

    let code = security_code("777777");
    let write = async |context: Value| {
        let context = context.as_object().unwrap();
        backend.generate_message(&code, context, call()).await.unwrap()
    };
    assert_eq!(write(json!({})).await, None);
    assert_eq!(
        write(json!({"other": "888888"})).await.as_deref(),
        Some("Your code is 888888.")
    );

    for (token, text, expected) in [
        ("open-sesame", "000000", Verdict::Valid),
        ("token-12345", "424242", Verdict::Valid),
        ("token-12345", "000000", Verdict::Expired),
    ] {
        let token = SessionToken::from_client(token);
        let verdict = backend
            .validate_security_code(&security_code(text), &alice(), &token, call())
            .await;
        assert_eq!(verdict.unwrap(), expected, "{text}");
    }

    let numbers = ["+13478379634", "+442079460018"].map(number);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let outcomes = Arc::clone(&heard);
    let settled = Arc::new(move |index, outcome: Result<phone_verify::model::Receipt, _>| {
        let receipt = outcome.unwrap();
        // An id that is the number itself is kept, and shown masked.
        outcomes
            .lock()
            .unwrap()
            .push((index, receipt.message_id.unwrap(), receipt.exact_id.unwrap()));
    });
    backend.send_bulk_sms(&numbers, "hello", call(), settled).await;
    let expected = [
        (0, "+13****34".to_owned(), "+13478379634".to_owned()),
        (1, "+44****18".to_owned(), "+442079460018".to_owned()),
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

async fn fetches<const WORKER: bool>() -> Backend {
    let shelf = Shelves::<WORKER>::trusting();
    let backend = rogue_of(&shelf, &json!({ "BASE_URL": provider().await }));
    assert_eq!(send(&backend, "fetch").await.unwrap(), "200 hello 1");

    let without = rogue_of(&shelf, &json!({}));
    let failure = send(&without, "fetch").await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Internal, "http_invalid_request")
    );
    backend
}

#[tokio::test]
async fn a_library_in_c_sends_through_the_hosts_http() {
    let backend = fetches::<false>().await;
    // And from threads of its own, which a worker does not let it have.
    let together = futures_util::future::join_all((0..32).map(|_| send(&backend, "thread"))).await;
    assert!(together.iter().all(|sent| sent.as_deref() == Ok("200 hello 1")));
}

#[tokio::test]
async fn a_library_in_c_works_in_a_worker() {
    fetches::<true>().await;
}

#[tokio::test]
async fn an_answer_too_many_is_told_in_the_log_and_changes_nothing() {
    let (log, _guard) = Log::of_this_thread();
    let backend = rogue();
    for (message, expected, told) in [
        ("again", "once", "the backend completed a call twice"),
        ("nobody's", "mine", "the backend completed a call that never was"),
    ] {
        assert_eq!(send(&backend, message).await.unwrap(), expected);
        assert!(log.text().contains(told), "{}", log.text());
    }
    // An answer, and a question, for the call before.
    assert_eq!(send(&backend, "last").await.unwrap(), "refused");
    assert_eq!(
        log.text().matches("completed a call twice").count(),
        2,
        "{}",
        log.text()
    );

    for message in ["short", "nothing"] {
        let failure = send(&backend, message).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Internal, "bad_outcome")
        );
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_is_closed_before_its_backend_is_destroyed() {
    let (log, _guard) = Log::of_this_thread();
    let url = format!("{}silence", provider().await);
    let backend = rogue_of(&Shelf::trusting(), &json!({ "BASE_URL": url }));
    for (message, then) in [("sleep long", "call_over"), ("never", "cancelled")] {
        let call = call_within(Duration::from_millis(50));
        let failure = backend.send_sms(&alice(), message, call).await.unwrap_err();
        assert_eq!(failure.code, "deadline");
        assert_eq!(send(&backend, "cancelled?").await.unwrap(), then);
    }
    let call = call_within(Duration::from_millis(50));
    let failure = backend.send_sms(&alice(), "fetch", call).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::OutcomeUnknown);

    assert!(!log.text().contains("rogue is destroyed"));
    drop(backend);
    assert_eq!(
        log.text().matches("rogue is destroyed").count(),
        1,
        "{}",
        log.text()
    );
    assert!(!log.text().contains("completed a call"), "{}", log.text());
}

/// Whatever the library is doing just then: asking, waiting, answering from a thread of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_may_be_given_up_at_any_moment() {
    let backend = rogue_of(&Shelf::trusting(), &json!({ "BASE_URL": provider().await }));
    let messages = ["fetch", "thread", "sleep", "never"];
    let limits = (0..100).map(|at| Duration::from_micros(at * 100));
    let sent = limits
        .zip(messages.into_iter().cycle())
        .map(async |(limit, message)| {
            let call = call_within(limit);
            (message, backend.send_sms(&alice(), message, call).await)
        });
    for (message, outcome) in futures_util::future::join_all(sent).await {
        match outcome.map_err(|failure| failure.code) {
            Ok(_) => assert_ne!(message, "never"),
            Err(code) => assert!(["deadline", "http_timeout"].contains(&code.as_str()), "{code}"),
        }
    }
    // Some of its threads are still at work; it is destroyed after the last of them.
    assert_eq!(send(&backend, "thread").await.unwrap(), "200 hello 1");
}

/// C++ keeps a constant to itself unless it was declared before; all else is hidden.
#[tokio::test]
async fn a_library_in_cpp_is_loaded() {
    let source = r#"
        #include "phone_verify_plugin.h"
        PV_MANIFEST({"schema": 1, "library": "modern", "version": "0.1.0", "abi": {"major": 1, "minor": 0},
                     "backends": [{"name": "ModernBackend"}]});
        struct pv_backend { const pv_host *host; };
        static pv_backend backend;
        static pv_backend *create(pv_text, const pv_host *host, const pv_pair *, size_t) {
            backend.host = host;
            return &backend;
        }
        static void destroy(pv_backend *) {}
        static void send_sms(pv_backend *backend, const pv_call *call, const pv_sms *) {
            pv_outcome sent = {sizeof sent, 0, nullptr, PV_TEXT("sent by C++")};
            backend->host->complete(backend->host, call->id, &sent);
        }
        const pv_plugin_entry pv_plugin_entry_v1 = {
            sizeof(pv_plugin_entry), PV_ABI_MAJOR, PV_ABI_MINOR, create, destroy, send_sms,
            nullptr, nullptr, nullptr, nullptr, nullptr};
    "#;
    let header = workspace().join("plugin-api/include");
    let shelf = Shelf::empty();
    let file = shelf.folder().join("modern.cpp");
    std::fs::write(&file, source).unwrap();
    let [header, file] = [&header, &file].map(|path| path.to_str().unwrap());
    let arguments = [file, "-shared", "-fPIC", "-fvisibility=hidden", "-I", header];
    shelf.compile("modern", "", &arguments);
    let backend = shelf.load("modern.ModernBackend", &json!({})).unwrap();
    assert_eq!(send(&backend, "hello").await.unwrap(), "sent by C++");
}

/// Its table has members that this host does not know, which it does not read.
#[tokio::test]
async fn a_library_of_a_later_header_works() {
    let shelf = Shelf::empty();
    compile_with(
        "plugin-api/include",
        &shelf,
        &["-DSIZE=sizeof(pv_plugin_entry)+64"],
    );
    let backend = shelf.load("rogue.RogueBackend", &json!({})).unwrap();
    assert_eq!(send(&backend, "options").await.unwrap(), "count=7;");
}

#[test]
fn a_table_that_is_not_whole_is_refused() {
    let refusal = |definition: &str| {
        let shelf = Shelf::empty();
        compile(&shelf, &[definition]);
        shelf.refusal("rogue.RogueBackend")
    };
    let wrong = |what: &str| {
        let sentence =
            format!("librogue.so exports pv_plugin_entry_v1 {what}; rebuild it with phone_verify_plugin.h");
        (code::WRONG_ENTRY, sentence)
    };
    assert_eq!(
        refusal("-DSIZE=16"),
        wrong("with a size of 16 bytes, and it has at least 72")
    );
    assert_eq!(refusal("-DSEND=NULL"), wrong("without send_sms"));
    assert_eq!(
        refusal("-DMAJOR=2"),
        (
            code::ABI_MAJOR,
            "librogue.so speaks version 2.0 of the backend ABI, this host speaks 1.1; set abi_major of pv_plugin_entry_v1 to \
             PV_ABI_MAJOR, and rebuild the library with the phone_verify_plugin.h of 1.x"
                .to_owned()
        )
    );
    assert_eq!(
        refusal("-DENTRY=pv_plugin_entry_v9"),
        (
            code::NO_HEADER,
            "librogue.so has a manifest but exports neither a root module nor pv_plugin_entry_v1; rebuild it with \
             export_backends! or with phone_verify_plugin.h, and do not hide its symbols"
                .to_owned()
        )
    );
}

/// The manifest says which functions the host calls, so each of them must be there; in a worker as here.
fn an_override_without_its_function_is_refused<const WORKER: bool>() {
    let refusal = |definitions: &[&str]| {
        let shelf = Shelves::<WORKER>::empty();
        compile(&shelf, definitions);
        shelf.refusal("rogue.RogueBackend")
    };
    let wrong = |names: &str, bits: &str| {
        let sentence = format!(
            "librogue.so exports pv_plugin_entry_v1 without {names}, which overrides in PV_MANIFEST says that it has \
             ({bits}); fill in the table, or correct overrides; rebuild it with phone_verify_plugin.h"
        );
        (code::WRONG_ENTRY, sentence)
    };
    assert_eq!(refusal(&["-DBULK=NULL"]), wrong("send_bulk_sms", "1"));
    assert_eq!(
        refusal(&["-DGENERATE=NULL"]),
        wrong("generate_security_code", "2")
    );
    assert_eq!(refusal(&["-DWRITE=NULL"]), wrong("generate_message", "4"));
    assert_eq!(
        refusal(&["-DVALIDATE=NULL"]),
        wrong("validate_security_code", "8")
    );
    assert_eq!(
        refusal(&["-DBULK=NULL", "-DWRITE=NULL"]),
        wrong("send_bulk_sms and generate_message", "1 and 4")
    );
    // What is there and not declared is not called.
    let shelf = Shelves::<WORKER>::empty();
    compile(&shelf, &["-DOVERRIDES=2", "-DBULK=NULL"]);
    assert!(shelf.load("rogue.RogueBackend", &json!({})).is_ok());
}

#[test]
fn an_override_without_its_function_is_refused_here() {
    an_override_without_its_function_is_refused::<false>();
}

#[test]
fn an_override_without_its_function_is_refused_in_a_worker() {
    an_override_without_its_function_is_refused::<true>();
}

#[test]
fn a_backend_in_c_refuses_with_its_own_words_or_without() {
    let shelf = Shelf::empty();
    compile(&shelf, &[]);
    for (why, expected) in [
        ("the key is no key", "the key is no key"),
        ("silently", "the backend could not be made, and does not say why"),
    ] {
        let refusals = shelf
            .load("rogue.RogueBackend", &json!({ "REFUSE": why }))
            .unwrap_err();
        assert_eq!(refusals[0].code, code::NOT_CONSTRUCTED);
        assert_eq!(
            refusals[0].sentence,
            format!("rogue.RogueBackend could not be constructed: {expected}")
        );
    }
}

/// The system keeps one of them for a process, whatever the libraries are called.
#[test]
#[cfg(target_os = "linux")]
fn libraries_of_two_names_do_not_share_a_variable_in_one_process() {
    let shelf = Shelf::empty();
    for (library, variable) in [("first", "common"), ("second", "own"), ("third", "common")] {
        let unique = shelf.folder().join(format!("{library}_unique.c"));
        let text = format!("int {variable} = 1;\n__asm__(\".type {variable}, @gnu_unique_object\");\n");
        std::fs::write(&unique, text).unwrap();
        compile(&shelf, &[unique.to_str().unwrap()]);
        std::fs::rename(shelf.path("rogue"), shelf.path(library)).unwrap();
    }
    let _first = shelf.load("first.RogueBackend", &json!({})).unwrap();
    let _second = shelf.load("second.RogueBackend", &json!({})).unwrap();
    let (code, sentence) = shelf.refusal("third.RogueBackend");
    assert_eq!(code, code::SHARED_STATICS);
    let told = "libthird.so would share variables, such as common, with the library first, since";
    assert!(sentence.starts_with(told), "{sentence}");
    // Where each has a process of its own, there is nothing to share.
    let apart = Shelves::<true>::empty();
    for library in ["first", "third"] {
        std::fs::copy(shelf.path(library), apart.path(library)).unwrap();
        apart
            .load(&format!("{library}.RogueBackend"), &json!({}))
            .unwrap();
    }
}
