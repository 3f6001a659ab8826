//! What a daemon is sent that it should not be: each has its own answer, and the daemon stays as it was.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use phone_verify_tests::{daemon::Daemon, site::Site};
use serde_json::json;

/// Writes bytes to a connection of their own and returns all that comes back.
fn exchange(daemon: &Daemon, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    // The daemon may answer and close before it has read all.
    let _ = stream.write_all(request);
    read_all(stream)
}

fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(length: usize) -> String {
    format!(
        "POST /api/phone/register HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

async fn is_well(daemon: &Daemon) {
    let answer = daemon.register("+13478379634").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let checked = daemon
        .verify("+13478379634", answer.session_token(), "123456")
        .await;
    assert_eq!(checked.status, 200, "{checked:?}");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

fn site() -> Site {
    Site::with_backend("noop.FixedCodeBackend", &json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_64_kib_is_refused_whether_announced_or_not() {
    let daemon = site().serve();
    let number = "{\"phone_number\": \"+13478379634\"}";
    let fits = format!("{number}{}", " ".repeat(64 * 1024 - number.len()));
    assert_eq!(
        status(&exchange(&daemon, (head(fits.len()) + &fits).as_bytes())),
        "200"
    );
    let announced = head(64 * 1024 + 1);
    let answer = exchange(&daemon, announced.as_bytes());
    assert_eq!(status(&answer), "413", "{answer}");
    assert!(answer.contains("\"code\":\"body_too_large\""), "{answer}");
    let mut chunked = b"POST /api/phone/register HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        .to_vec();
    for _ in 0..17 {
        chunked.extend_from_slice(b"1000\r\n");
        chunked.extend_from_slice(&[b' '; 4096]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = exchange(&daemon, &chunked);
    assert_eq!(status(&answer), "413", "{answer}");
    is_well(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_harms_nobody() {
    let daemon = site().serve();
    for part in ["", "{\"phone_nu", "{\"phone_number\": \"+13478379634\""] {
        let mut stream = TcpStream::connect(daemon.address()).unwrap();
        stream.write_all((head(100) + part).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = read_all(stream);
        assert!(matches!(status(&answer), "" | "400"), "{answer}");
    }
    let answer = exchange(
        &daemon,
        b"POST /api/phone/register HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n",
    );
    assert!(matches!(status(&answer), "" | "400"), "{answer}");
    is_well(&daemon).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_asks_and_takes_no_answer_is_let_go() {
    let mut site = site();
    site.set("server", "read_timeout_seconds", 1);
    let daemon = site.serve();
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let requests = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let ended = loop {
        if let Err(ended) = stream.write_all(&requests) {
            break ended;
        }
    };
    assert!(
        matches!(ended.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{ended}"
    );
    is_well(&daemon).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn who_connects_and_connects_leaves_the_daemon_what_it_must_open() {
    let site = site();
    let program = site.command(&[]).get_program().to_owned();
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -n 128; exec \"$0\" serve"])
        .arg(program)
        .current_dir(site.folder());
    let daemon = Daemon::start(&mut limited);
    // A connection of its own each time: one that waits among so many makes room for another.
    let ask = |path: &str| {
        let mut served = TcpStream::connect(daemon.address()).unwrap();
        write!(served, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 4096];
        let length = served.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    assert_eq!(status(&ask("/healthz")), "200");
    let idle: Vec<_> = (0..200)
        .map_while(|_| TcpStream::connect_timeout(&daemon.address(), Duration::from_secs(1)).ok())
        .collect();
    // Meanwhile as many of them as may be are taken in.
    for _ in 0..20 {
        assert_eq!(status(&ask("/readyz")), "200");
    }
    // That opens the settings, the library and the lock file.
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    drop(idle);
    is_well(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused() {
    let daemon = site().serve();
    for (nonsense, refused) in [
        (&b"nonsense\r\n\r\n"[..], "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "400"),
        (b"GET / HTTP/9.9\r\n\r\n", "505"),
        (
            b"POST /api/phone/register HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
            "400",
        ),
    ] {
        let answer = exchange(&daemon, nonsense);
        let status = status(&answer);
        assert!(status.is_empty() || status == refused, "{answer}");
    }
    let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(128 * 1024));
    let answer = exchange(&daemon, long.as_bytes());
    assert!(matches!(status(&answer), "" | "431"), "{answer}");
    is_well(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_not_waited_for() {
    let mut site = site();
    site.set("server", "read_timeout_seconds", 1);
    let daemon = site.serve();
    let head_in_parts = TcpStream::connect(daemon.address()).unwrap();
    (&head_in_parts)
        .write_all(b"POST /api/phone/register HTTP/1.1\r\nho")
        .unwrap();
    let body_in_parts = TcpStream::connect(daemon.address()).unwrap();
    (&body_in_parts)
        .write_all((head(100) + "{\"phone").as_bytes())
        .unwrap();
    let answer = read_all(body_in_parts);
    assert_eq!(status(&answer), "408", "{answer}");
    assert!(answer.contains("\"code\":\"body_too_slow\""), "{answer}");
    assert!(matches!(status(&read_all(head_in_parts)), "" | "408"));
    is_well(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_national_number_needs_a_default_region() {
    let mut site = site();
    let daemon = site.serve();
    for number in ["(347) 837-9634", "13478379634", "020 7946 0018"] {
        let answer = daemon.register(number).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "phone_number_invalid"),
            "{number}"
        );
    }
    site.set("phone_verification", "DEFAULT_REGION", "US");
    let daemon = site.serve();
    let answer = daemon.register("(347) 837-9634").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // The same number, written in full.
    let checked = daemon
        .verify("+13478379634", answer.session_token(), "123456")
        .await;
    assert_eq!(checked.status, 200, "{checked:?}");
    assert_eq!(
        daemon.register("020 7946 0018").await.code(),
        "phone_number_invalid"
    );
}

#[test]
fn a_plugin_directory_without_libraries_is_told_as_what_it_is() {
    let mut site = Site::new();
    let refusal = |site: &Site| {
        let ran = site.run(&["check"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:#?}");
        ran.stderr
    };
    std::fs::remove_dir_all(site.plugins()).unwrap();
    let told = refusal(&site);
    assert!(told.contains("P107") && told.contains("plugins"), "{told}");
    std::fs::create_dir(site.plugins()).unwrap();
    let told = refusal(&site);
    assert!(told.contains("P109"), "{told}");
    site.write("plugins/libconsole.so", "a text file");
    let told = refusal(&site);
    assert!(told.contains("libconsole.so"), "{told}");
    site.set("phone_verification", "BACKEND", "console.ConsolBackend");
    std::fs::remove_file(site.plugins().join("libconsole.so")).unwrap();
    site.install("console");
    let told = refusal(&site);
    assert!(told.contains("ConsoleBackend"), "{told}");
}

#[test]
fn a_daemon_that_cannot_run_says_everything_at_once() {
    let mut site = Site::with_backend("nexmo.NexmoBackend", &json!({ "KEYS": "x" }));
    site.set("store", "url", "sqlite:no/such/folder/phone-verify.db");
    let ran = site.run(&["serve"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:#?}");
    for told in ["KEYS", "SECRET", "no/such/folder"] {
        assert!(ran.stderr.contains(told), "{told}: {ran:#?}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = Site::new().run(&["serve", "--listen", &address]);
    // The other process may end.
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:#?}");
    assert!(
        ran.stderr.contains(&format!("cannot listen on {address}")),
        "{ran:#?}"
    );
}
