//! How many connections there may be, which one makes room for another, how long each may take, and how they end.

use std::{net::Ipv4Addr, time::Duration};

use phone_verify_tests::{connection::Connection, daemon::Daemon, site::Site};
use rustix::process::Signal;
use serde_json::json;

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
const HALF_A_HEAD: &str = "GET /healthz HTTP/1.1\r\nhost:";
const BODY: &str = "{\"phone_number\": \"+13478379634\"}";

fn site() -> Site {
    Site::with_backend("noop.FixedCodeBackend", &json!({}))
}

/// A connection from 127.0.0.`host`.
async fn from(host: u8, daemon: &Daemon) -> Connection {
    Connection::from(Ipv4Addr::new(127, 0, 0, host).into(), daemon.address()).await
}

/// Begins a registration, and waits until the daemon has: then its body is missing.
fn begin(connection: &mut Connection) {
    let head = format!(
        "POST /api/phone/register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        BODY.len()
    );
    assert_eq!(connection.write(head).answer().status(), 100);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_two_addresses_leaves_all_others_served() {
    let mut site = site();
    site.set("server", "max_connections", 40);
    site.set("server", "max_connections_per_address", 10);
    let daemon = site.serve();
    let mut flood = Vec::new();
    for _ in 0..100 {
        for host in [2, 3] {
            let mut connection = from(host, &daemon).await;
            connection.write(HALF_A_HEAD);
            flood.push(connection);
        }
    }
    for host in 4..30 {
        let answer = from(host, &daemon).await.write(HEALTH).answer();
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    daemon.wait_for_log("max_connections_per_address");
    let metrics = from(4, &daemon)
        .await
        .write("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .answer();
    let closed = |reason: &str| -> u64 {
        let name = format!("phone_verify_connections_closed_total{{reason=\"{reason}\"}} ");
        let mut lines = metrics.body.lines();
        let count = lines.find_map(|line| line.strip_prefix(&name)?.parse().ok());
        count.unwrap_or_else(|| panic!("no {reason} in {metrics:?}"))
    };
    assert!(closed("max_connections_per_address") > 0);
    // Nobody else paid for it, and who came was let in.
    assert_eq!((closed("max_connections"), closed("refused")), (0, 0));
    drop(flood);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_connection_that_waited_longest_makes_room_and_one_with_a_request_never() {
    let mut site = site();
    site.set("server", "max_connections", 4);
    let daemon = site.serve();
    let mut under_way = from(2, &daemon).await;
    begin(&mut under_way);
    let mut idle = Vec::new();
    for host in 3..6 {
        let mut connection = from(host, &daemon).await;
        assert_eq!(connection.write(HEALTH).answer().status(), 200);
        idle.push(connection);
    }
    let mut newcomer = from(6, &daemon).await;
    assert_eq!(newcomer.write(HEALTH).answer().status(), 200);
    idle[0].wait_for_end();
    for kept in &mut idle[1..] {
        assert_eq!(kept.write(HEALTH).answer().status(), 200);
    }
    assert_eq!(under_way.write(BODY).answer().status(), 200);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_whose_connections_are_all_busy_is_told_so() {
    let mut site = site();
    site.set("server", "max_connections_per_address", 2);
    let daemon = site.serve();
    let mut busy = [from(2, &daemon).await, from(2, &daemon).await];
    busy.iter_mut().for_each(begin);
    let refused = from(2, &daemon).await.answer();
    assert_eq!(
        (refused.status(), refused.code().as_str()),
        (503, "too_many_connections")
    );
    assert!(
        refused.has("retry-after: 1") && refused.has("connection: close"),
        "{refused:?}"
    );
    assert_eq!(from(3, &daemon).await.write(HEALTH).answer().status(), 200);
    for connection in &mut busy {
        assert_eq!(connection.write(BODY).answer().status(), 200);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_has_as_many_connections_as_it_likes() {
    let mut site = site();
    site.set("server", "max_connections_per_address", 2);
    site.set("server", "trusted_proxies", vec!["127.0.0.2"]);
    let daemon = site.serve();
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(from(2, &daemon).await);
    }
    for connection in &mut all {
        assert_eq!(connection.write(HEALTH).answer().status(), 200);
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn with_64_descriptors_and_120_idle_connections_a_request_is_answered() {
    let site = site();
    let daemon = Daemon::start(&mut with_limit(&site, "ulimit -n 64", "serve"));
    let idle: Vec<_> = (0..120).map(|_| Connection::to(daemon.address())).collect();
    let answer = daemon.register("+13478379634").await;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", daemon.log());
    daemon.wait_for_log("LimitNOFILE");
    drop(idle);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_lower_limit_of_descriptors_is_raised_to_the_upper_one() {
    let site = site();
    let daemon = Daemon::start(&mut with_limit(&site, "ulimit -S -n 64", "serve"));
    let mut all: Vec<_> = (0..120).map(|_| Connection::to(daemon.address())).collect();
    for connection in &mut all {
        assert_eq!(connection.write(HEALTH).answer().status(), 200);
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_limit_of_descriptors_it_serves_or_says_what_it_needs() {
    let mut site = site();
    let mut refused = 0;
    for (isolation, places, limits) in [
        ("worker", 1, &[6, 10, 14, 16, 18, 19, 20, 22, 26, 43, 44, 48][..]),
        ("inline", 8, &[16, 20, 50, 51]),
    ] {
        site.set("plugins", "isolation", isolation);
        site.set("server", "listen", vec!["127.0.0.1:0"; places]);
        for limit in limits {
            let ran = with_limit(&site, &format!("ulimit -n {limit}"), "check")
                .output()
                .unwrap();
            if ran.status.success() {
                let daemon = Daemon::start(&mut with_limit(&site, &format!("ulimit -n {limit}"), "serve"));
                let _idle: Vec<_> = (0..2 * limit).map(|_| Connection::to(daemon.address())).collect();
                let answer = daemon.register(&format!("+1347837{:04}", 9000 + limit)).await;
                assert_eq!(
                    answer.status,
                    200,
                    "{isolation} {limit}: {answer:?}\n{}",
                    daemon.log()
                );
                continue;
            }
            refused += 1;
            for command in ["check", "serve"] {
                let ran = with_limit(&site, &format!("ulimit -n {limit}"), command)
                    .output()
                    .unwrap();
                let told = String::from_utf8(ran.stderr).unwrap();
                assert_eq!(ran.status.code(), Some(2), "{command} {limit}: {told}");
                let found = format!(
                    "error: the system lets this process open {limit} files and sockets, and to serve it needs"
                );
                assert!(
                    told.starts_with(&found) && told.matches("error:").count() == 1,
                    "{command}: {told}"
                );
                assert!(
                    told.contains("ulimit -n") && told.contains("LimitNOFILE="),
                    "{told}"
                );
            }
        }
    }
    assert_eq!(refused, 13);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_cannot_be_accepted_is_told_and_taken_once_it_can() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let daemon = site().serve();
    let process = Pid::from_raw(i32::try_from(daemon.id()).unwrap());
    let too_low = Rlimit {
        current: Some(8),
        ..getrlimit(Resource::Nofile)
    };
    let before = prlimit(process, Resource::Nofile, too_low).unwrap();
    let mut connection = Connection::to(daemon.address());
    connection.write(HEALTH);
    daemon.wait_for_log("could not be accepted");
    prlimit(process, Resource::Nofile, before).unwrap();
    assert_eq!(connection.answer().status(), 200);
}

fn with_limit(site: &Site, limit: &str, command: &str) -> std::process::Command {
    let program = site.command(&[]).get_program().to_owned();
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", &format!("{limit}; exec \"$0\" {command}")])
        .arg(program)
        .current_dir(site.folder());
    limited
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_byte_by_byte_has_no_more_time_than_another() {
    let mut site = site();
    site.set("server", "read_timeout_seconds", 1);
    let daemon = site.serve();
    let mut connection = Connection::to(daemon.address());
    connection.write("GET /healthz HTTP/1.1\r\nx: ");
    while !connection.hears_within(Duration::from_millis(50)) {
        connection.write("x");
    }
    let answer = connection.answer();
    assert_eq!((answer.status(), answer.code().as_str()), (408, "head_too_slow"));
    connection.wait_for_end();
    // The same on a connection that was of use before, once its head has begun.
    let mut connection = Connection::to(daemon.address());
    assert_eq!(connection.write(HEALTH).answer().status(), 200);
    connection.write("GET /healthz HTTP/1.1\r\nx: ");
    while !connection.hears_within(Duration::from_millis(50)) {
        connection.write("x");
    }
    assert_eq!(connection.answer().status(), 408);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_that_came_along_with_a_request_has_no_more_time_than_another() {
    let mut site = site();
    site.set("server", "read_timeout_seconds", 1);
    let daemon = site.serve();
    let requests = [
        (HEALTH.to_owned(), 1),
        (HEALTH.repeat(3), 3),
        (register("content-length: ", BODY), 1),
        (register("transfer-encoding: chunked\r\nx: ", &chunked(BODY)), 1),
    ];
    let mut kept = Vec::new();
    for (request, answers) in &requests {
        // Nothing more comes with it, or an empty line, which is no part of a head.
        for after in ["", "\r\n"] {
            let mut connection = Connection::to(daemon.address());
            connection.write(format!("{request}{after}"));
            (0..*answers).for_each(|_| drop(connection.answer()));
            kept.push(connection);
        }
    }
    for (request, answers) in &requests {
        let mut connection = Connection::to(daemon.address());
        connection.write(format!("{request}{HALF_A_HEAD}"));
        (0..*answers).for_each(|_| drop(connection.answer()));
        let late = connection.answer();
        assert_eq!(
            (late.status(), late.code().as_str()),
            (408, "head_too_slow"),
            "{late:?}"
        );
        connection.wait_for_end();
    }
    // Those that wait for as long have all the time of an idle connection.
    for connection in &mut kept {
        assert_eq!(connection.write(HEALTH).answer().status(), 200);
    }
}

fn register(framing: &str, body: &str) -> String {
    format!(
        "POST /api/phone/register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{framing}{}\r\n\r\n{body}",
        body.len()
    )
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_wait_for_its_next_request_and_not_for_ever() {
    let mut site = site();
    site.set("server", "idle_timeout_seconds", 1);
    let daemon = site.serve();
    let mut connection = Connection::to(daemon.address());
    assert_eq!(connection.write(HEALTH).answer().status(), 200);
    connection.wait_for_end();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_idle_connections_end_at_once_and_a_request_is_answered() {
    let daemon = site().serve();
    let mut under_way = Connection::to(daemon.address());
    begin(&mut under_way);
    let mut kept = Connection::to(daemon.address());
    assert_eq!(kept.write(HEALTH).answer().status(), 200);
    let mut in_part = Connection::to(daemon.address());
    assert_eq!(in_part.write(HEALTH).answer().status(), 200);
    in_part.write(HALF_A_HEAD);
    daemon.signal(Signal::TERM);
    kept.wait_for_end();
    in_part.wait_for_end();
    let answer = under_way.write(BODY).answer();
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(answer.has("connection: close"), "{answer:?}");
    under_way.wait_for_end();
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("everything under way was finished"), "{log}");
}
