//! One text to many numbers: failures are told, an interruption loses nothing and repeats nothing.

use std::{collections::HashSet, fs};

use phone_verify_tests::{
    gateways::{Behaviour, NexmoGateway},
    site::Site,
};
use serde_json::Value;

fn numbers(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("+1347837{:04}", 1000 + n)).collect()
}

async fn installed() -> (NexmoGateway, Site) {
    let gateway = NexmoGateway::start().await;
    let site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    (gateway, site)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_that_failed_are_in_a_file() {
    let (gateway, site) = installed().await;
    let numbers = numbers(8);
    gateway.refuse_number(&numbers[3], 7);
    let list = format!("# customers\n\n{}\n{}\n", numbers.join("\n"), numbers[0]);
    site.write("numbers.txt", list);
    let arguments = [
        "send",
        "--message",
        "We moved.",
        "--numbers-file",
        "numbers.txt",
        "--json",
    ];
    let ran = site.run(&arguments);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let result = ran.json();
    assert_eq!(result["progress"]["sent"], 7, "{result}");
    assert_eq!(result["progress"]["failed"], 1, "{result}");
    let failed = fs::read_to_string(site.path(result["failed_file"].as_str().unwrap())).unwrap();
    assert!(
        failed.starts_with(&numbers[3]) && failed.lines().count() == 1,
        "{failed}"
    );
    assert!(failed.contains("opted_out"), "{failed}");
    let log = site.run(&["audit", "--json"]).json()["entries"].clone();
    assert_eq!(log[0]["action"], "send", "{log}");
    assert!(
        log[0]["subject"].as_str().unwrap().ends_with(", 8 numbers"),
        "{log}"
    );
    assert_eq!(
        gateway.inbox().len(),
        7,
        "each number got it once, also the one that stands there twice"
    );

    let again = site.run(&arguments);
    assert_eq!(gateway.inbox().len(), 7, "{again:#?}");
    let told = site.run(&["send", "--message", "We moved.", "--numbers-file", "numbers.txt"]);
    assert!(told.stdout.contains("--again"), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_job_goes_on_where_it_stood() {
    let (gateway, mut site) = installed().await;
    site.set("dispatch", "concurrency", 2);
    let numbers = numbers(12);
    site.write("numbers.txt", numbers.join("\n"));
    let arguments = [
        "send",
        "--message",
        "We moved.",
        "--numbers-file",
        "numbers.txt",
        "--json",
    ];
    for _ in 0..4 {
        gateway.next(Behaviour::AsItself);
    }
    gateway.next(Behaviour::Hold);
    gateway.next(Behaviour::Hold);
    let mut command = site.command(&arguments);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let running = command.spawn().unwrap();
    // The fifth and the sixth are under way, so both slots are taken.
    for number in &numbers[..6] {
        gateway.sms_to(number).await;
    }
    let id = rustix::process::Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let ended = tokio::task::spawn_blocking(move || running.wait_with_output().unwrap());
    gateway.release();
    gateway.release();
    let output = ended.await.unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let sent = result["progress"]["sent"].as_u64().unwrap();
    assert!(
        sent >= 6 && result["progress"]["waiting"].as_u64().unwrap() == 12 - sent,
        "{result}"
    );

    let ran = site.run(&arguments);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(ran.json()["progress"]["sent"], 12);
    let reached: Vec<_> = gateway.inbox().into_iter().map(|sms| sms.to).collect();
    assert_eq!(reached.len(), 12, "nobody got it twice");
    assert_eq!(reached.into_iter().collect::<HashSet<_>>().len(), 12);
}
