//! Where the daemon listens: at several places at once, at names, and at Unix sockets.
#![cfg(unix)]

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener},
};

use phone_verify_tests::{
    connection::{Connection, Reply},
    site::Site,
};
use rustix::process::Signal;
use serde_json::json;

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

fn site() -> Site {
    Site::with_backend("noop.FixedCodeBackend", &json!({}))
}

fn register(connection: &mut Connection, fields: &str, number: &str) -> Reply {
    let body = json!({ "phone_number": number }).to_string();
    let length = body.len();
    connection.write(format!(
        "POST /api/phone/register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{fields}\
         content-length: {length}\r\n\r\n{body}"
    ));
    connection.answer()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_at_several_places_at_once() {
    let mut site = site();
    site.set(
        "server",
        "listen",
        vec!["localhost:0", "127.0.0.1:0", "unix:http.sock"],
    );
    let daemon = site.serve();
    let socket = site.path("http.sock");
    let printed = daemon.printed();
    // What is printed last may be read after the first.
    daemon.wait_for_print("unix:");
    let addresses: Vec<_> = daemon
        .printed()
        .lines()
        .filter_map(|line| line.strip_prefix("listening on http://")?.parse().ok())
        .collect();
    assert!(addresses.len() >= 2, "{printed}");
    for address in addresses {
        assert_eq!(
            Connection::to(address).write(HEALTH).answer().status(),
            200,
            "{address}"
        );
    }
    assert_eq!(Connection::to_unix(&socket).write(HEALTH).answer().status(), 200);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    daemon.stop();
    assert!(!socket.exists(), "the socket was left");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_places_that_cannot_be_had_are_named_and_none_is_served() {
    let mut site = site();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let _in_use = UnixListener::bind(site.path("used.sock")).unwrap();
    site.write("precious", "text");
    let long = format!("unix:{}", "x".repeat(120));
    let _held = TcpListener::bind(&taken);
    site.set(
        "server",
        "listen",
        vec![
            "127.0.0.1:0",
            "192.0.2.1:0",
            "unix:used.sock",
            "unix:precious",
            "unix:no/such/folder",
            &long,
        ],
    );
    let ran = site.run(&["serve"]);
    assert_ne!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(ran.stdout, "", "{ran:#?}");
    for told in [
        "cannot listen on 192.0.2.1:0: ",
        "used.sock: another process listens there",
        "precious: there is a file that is no socket",
        "there is no folder",
        "choose a shorter one",
    ] {
        assert!(ran.stderr.contains(told), "{told}: {ran:#?}");
    }
    assert_eq!(fs::read_to_string(site.path("precious")).unwrap(), "text");
}

/// Whoever gave the place on the command line would look in vain for it in the settings.
#[test]
fn another_place_is_asked_for_where_this_one_was_named() {
    let mut site = site();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let _in_use = UnixListener::bind(site.path("used.sock")).unwrap();
    site.write("precious", "text");
    let at = |name: &str| format!("unix:{}", site.path(name).display());
    let places = [
        taken.clone(),
        "192.0.2.1:0".to_owned(),
        "no-such-host.invalid:80".to_owned(),
        at("used.sock"),
        at("precious"),
        at("no/such/folder"),
        at(&"x".repeat(120)),
    ];
    for place in places {
        let named = site.run(&["serve", "--listen", &place]).stderr;
        site.set("server", "listen", place.clone());
        let set = site.run(&["serve"]).stderr;
        let checked = site.run(&["check"]).stderr;
        for (told, there, not_there) in [
            (named, "with --listen", "[server] listen"),
            (set, "in [server] listen", "--listen"),
            (checked, "in [server] listen", "--listen"),
        ] {
            let error = told.lines().find(|line| line.contains("cannot listen on"));
            let error = error.unwrap_or_else(|| panic!("{place}: {told}"));
            assert!(
                error.contains(there) && !error.contains(not_there),
                "{place}: {there} in {told}"
            );
        }
        site.set("server", "listen", "127.0.0.1:0");
    }
    let demo = site.run(&["serve", "--demo", "--listen", &taken]).stderr;
    assert!(
        demo.contains("with --listen") && !demo.contains("[server]"),
        "{demo}"
    );
}

#[test]
fn a_place_that_cannot_be_read_is_told_with_what_is_needed() {
    let mut site = site();
    let mut told = |listen: toml::Value| {
        site.set("server", "listen", listen);
        site.run(&["check"]).stderr
    };
    for nonsense in ["8000", "localhost", "http://localhost:8000", "unix:"] {
        let told = told(nonsense.into());
        assert!(
            told.contains("[server] listen must be an address and a port"),
            "{told}"
        );
        assert!(
            told.contains("localhost:8000") && told.contains("unix:/run/"),
            "{told}"
        );
    }
    let twice = told(vec!["localhost:8000", "localhost:8000"].into());
    assert!(twice.contains("has localhost:8000 twice"), "{twice}");
    let none = told(toml::Value::Array(Vec::new()));
    assert!(none.contains("at least one place"), "{none}");
    let number = told(8000.into());
    assert!(
        number.contains("a text or a list of texts, not a whole number"),
        "{number}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_that_a_killed_daemon_left_is_replaced() {
    let mut site = site();
    site.set("server", "listen", vec!["127.0.0.1:0", "unix:http.sock"]);
    site.set("server", "unix_socket_mode", "0660");
    let daemon = site.serve();
    daemon.signal(Signal::KILL);
    daemon.wait();
    let socket = site.path("http.sock");
    assert!(socket.exists());
    let daemon = site.serve();
    daemon.wait_for_print("unix:");
    assert_eq!(Connection::to_unix(&socket).write(HEALTH).answer().status(), 200);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_behind_a_unix_socket_is_believed_if_it_is_trusted() {
    for (trusted, expected) in [
        (vec!["unix"], [200, 200, 200, 429]),
        (vec![], [200, 429, 429, 429]),
    ] {
        let mut site = site();
        site.set("server", "listen", vec!["127.0.0.1:0", "unix:http.sock"]);
        site.set("server", "trusted_proxies", trusted);
        site.set("limits", "address_per_hour", 1);
        let daemon = site.serve();
        daemon.wait_for_print("unix:");
        let mut connection = Connection::to_unix(&site.path("http.sock"));
        let fields = [
            "x-forwarded-for: 192.0.2.1\r\n",
            "forwarded: for=192.0.2.2;proto=https\r\n",
            "forwarded: for=\"[2001:db8::7]:4711\"\r\n",
            "x-forwarded-for: 203.0.113.9, 192.0.2.2\r\n",
        ];
        let statuses: Vec<u16> = (0..)
            .zip(fields)
            .map(|(n, fields)| register(&mut connection, fields, &format!("+1347837100{n}")).status())
            .collect();
        assert_eq!(statuses, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_fields_that_contradict_each_other_neither_is_believed() {
    let mut site = site();
    site.set("server", "trusted_proxies", vec!["127.0.0.0/8"]);
    site.set("limits", "address_per_hour", 1);
    let daemon = site.serve();
    let mut connection = Connection::to(daemon.address());
    for (n, status) in [(1, 200), (2, 429), (3, 429)] {
        let fields = format!("x-forwarded-for: 192.0.2.{n}\r\nforwarded: for=198.51.100.{n}\r\n");
        let answer = register(&mut connection, &fields, &format!("+1347837100{n}"));
        assert_eq!(answer.status(), status, "{answer:?}");
    }
    daemon.wait_for_logs("X-Forwarded-For and Forwarded", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_place_needs_a_restart() {
    let mut site = site();
    let daemon = site.serve();
    site.set("server", "listen", vec!["127.0.0.1:0", "unix:http.sock"]);
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("need a restart: [server] listen");
    assert!(!site.path("http.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_may_name_several_places() {
    let site = site();
    let mut command = site.command(&["serve", "--listen", "localhost:0", "--listen", "unix:here.sock"]);
    let daemon = phone_verify_tests::daemon::Daemon::start(&mut command);
    daemon.wait_for_print("unix:");
    assert_eq!(
        Connection::to_unix(&site.path("here.sock"))
            .write(HEALTH)
            .answer()
            .status(),
        200
    );
    assert_eq!(daemon.get("/healthz").await.status, 200);
}
