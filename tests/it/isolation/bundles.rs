//! What is kept of a crash for the library's author, and what never is.
#![cfg(target_os = "linux")]

use std::{fs, process::Command};

use phone_verify_tests::{artifacts, site::Site};
use serde_json::{Value, json};

use super::daemon::{kill, workers};
use crate::loading::shelf::rewritten;

const NUMBER: &str = "+13478379634";
const KEPT: &str = "is kept: phone-verify plugin crashes";

fn kept(site: &Site) -> Vec<Value> {
    let listed = site.run(&["plugin", "crashes", "--json"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    listed.json()["crashes"].as_array().unwrap().clone()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_kept_with_its_cause_its_versions_and_where_it_was_in_the_library() {
    let mut site = Site::with_backend("villain.VillainBackend", &json!({}));
    site.set("phone_verification", "MESSAGE", "attack segfault {security_code}");
    let daemon = site.serve();
    daemon.register(NUMBER).await;
    daemon.wait_for_log(KEPT);
    let crashes = kept(&site);
    // The first: the send is made again, and may have crashed by now too.
    let crash = crashes.last().unwrap();
    let listed = site.run(&["backends", "--json"]).json()["libraries"].clone();
    assert_eq!(crash["library"]["name"], "villain");
    assert_eq!(crash["library"]["sha256"], listed[0]["sha256"]);
    assert_eq!(crash["library"]["version"], listed[0]["version"]);
    assert_eq!(
        (&crash["code"], &crash["signal"]),
        (&json!("P704"), &json!(11)),
        "{crash:#}"
    );
    assert_eq!(crash["what"], "was killed by SIGSEGV (invalid memory access)");
    assert_eq!(crash["host"]["arch"], std::env::consts::ARCH);
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        let counter = if cfg!(target_arch = "x86_64") { "rip" } else { "pc" };
        let state = &crash["state"];
        assert_eq!(state["fault"], "near-null", "{crash:#}");
        assert!(
            text_of(&state["registers"][counter]).starts_with("library+0x"),
            "{crash:#}"
        );
        let returns = state["return_addresses"].as_array().unwrap();
        assert!(
            returns
                .iter()
                .any(|place| text_of(place).starts_with("library+0x")),
            "{crash:#}"
        );
        assert!(
            returns.iter().any(|place| text_of(place).starts_with("host+0x")),
            "{crash:#}"
        );
    }

    // What the author is sent.
    let written = site.run(&["plugin", "crashes", "1", "--write", "crash.json"]);
    assert_eq!(written.code, Some(0), "{written:?}");
    let file: Value = serde_json::from_str(&fs::read_to_string(site.path("crash.json")).unwrap()).unwrap();
    assert_eq!(file, *crash);
    let one = site.run(&["plugin", "crashes", "1", "--json"]).json();
    let mut expected = crash.clone();
    expected["ok"] = true.into();
    assert_eq!(one, expected);
    let none = site.run(&["plugin", "crashes", "99"]);
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("there are "), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_did_to_a_worker_and_a_mere_look_are_not_kept() {
    let site = Site::with_backend("noop.NoopBackend", &json!({}));
    let daemon = site.serve();
    for worker in workers(&daemon) {
        kill(worker);
    }
    daemon.wait_for_log("its worker process was killed by SIGKILL");
    assert_eq!(kept(&site), [] as [Value; 0]);
    daemon.stop();

    let mut site = Site::with_backend("villain.VillainBackend", &json!({}));
    site.set("plugins", "trust", "any");
    site.upgrade(
        "villain",
        &rewritten("villain", "constructor:calm", "constructor:boom"),
    );
    let checked = site.run(&["check"]);
    assert!(checked.stderr.contains("P704"), "{checked:?}");
    assert_eq!(kept(&site), [] as [Value; 0]);
}

/// A library whose registers, stack and last words are full of what nobody may read when it crashes.
const FULL: &str = r#"
#include "phone_verify_plugin.h"
static void crashes(pv_backend *, const pv_call *, const pv_sms *);
#define SEND crashes
#include "rogue.c"
static void crashes(pv_backend *backend, const pv_call *call, const pv_sms *sms) {
    volatile char stack[1024];
    unsigned long long words[4] = {0}, number = strtoull(sms->number.data + 1, NULL, 10);
    (void)backend, (void)call;
    for (size_t at = 0; at < sizeof stack; at++) stack[at] = sms->message.data[at % sms->message.length];
    memcpy(words, sms->message.data, sms->message.length < sizeof words ? sms->message.length : sizeof words);
    fprintf(stderr, "sending %.*s to %.*s\n", (int)sms->message.length, sms->message.data, (int)sms->number.length,
            sms->number.data);
    fflush(stderr);
#if defined(__x86_64__)
    __asm__ volatile(
        "movq (%0), %%r12\n movq 8(%0), %%r13\n movq 16(%0), %%r14\n movq %1, %%r15\n movq %1, %%rdx\n movq $482913, %%rcx\n"
        "xorl %%eax, %%eax\n movb $1, (%%rax)\n" ::"r"(words),
        "r"(number)
        : "r12", "r13", "r14", "r15", "rdx", "rcx", "rax", "memory");
#endif
    *(volatile char *)NULL = stack[0];
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn no_number_code_or_text_gets_in_though_registers_and_stack_are_full_of_them() {
    let mut site = Site::new();
    let source = site.write("full.c", FULL);
    let root = artifacts::workspace();
    let built = Command::new("cc")
        .args(["-g", "-O1", "-w", "-shared", "-fPIC", "-pthread", "-I"])
        .arg(root.join("plugin-api/include"))
        .arg("-I")
        .arg(root.join("tests/rogue"))
        .arg("-o")
        .arg(site.plugins().join("librogue.so"))
        .arg(source)
        .status();
    assert!(built.unwrap().success());
    site.set("phone_verification", "BACKEND", "rogue.RogueBackend");
    site.set("phone_verification", "MESSAGE", "zebra 482913 {security_code}");
    let daemon = site.serve();
    daemon.register(NUMBER).await;
    daemon.wait_for_log(KEPT);
    let folder = fs::read_dir(site.path("plugins.crashes")).unwrap();
    let texts: Vec<String> = folder
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let number = NUMBER.trim_start_matches('+');
    let hexadecimal = |number: u64| format!("{number:x}");
    for text in &texts {
        assert!(text.contains("\"what\": \"was killed by SIGSEGV"), "{text}");
        assert!(text.contains("sending"), "its last words are there: {text}");
        for canary in [
            number.to_owned(),
            "482913".to_owned(),
            "zebra".to_owned(),
            hexadecimal(number.parse().unwrap()),
            hexadecimal(482_913),
            // Eight letters of the text in a register.
            hexadecimal(u64::from_le_bytes(*b"zebra 48")),
        ] {
            assert!(!text.contains(&canary), "{canary}: {text}");
        }
    }
    assert!(!texts.is_empty());
}
