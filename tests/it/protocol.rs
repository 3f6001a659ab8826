//! What HTTP/1.1 demands of every request and every answer, whatever is asked for.

use std::fmt::Write;

use phone_verify_tests::{connection::Connection, daemon::Daemon, site::Site};
use serde_json::json;

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
const PATHS: [&str; 7] = [
    "/api/phone/register",
    "/api/phone/verify/",
    "/v1/verifications",
    "/v1/nowhere",
    "/healthz",
    "/metrics",
    "/nowhere",
];

fn daemon() -> Daemon {
    Site::with_backend("noop.FixedCodeBackend", &json!({})).serve()
}

fn connect(daemon: &Daemon) -> Connection {
    Connection::to(daemon.address())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_its_host_once_whatever_it_asks_for() {
    let daemon = daemon();
    for hosts in [
        "",
        "host: x\r\nhost: x\r\n",
        "host: x\r\nHost: y\r\n",
        "host: a b\r\n",
        "host: user@x\r\n",
        "host: x/y\r\n",
        "host: x:port\r\n",
        "host: x:1:2\r\n",
        "host: [::1\r\n",
        "host: []\r\n",
        "host: [::1]x\r\n",
        "host: \u{fc}\r\n",
    ] {
        for path in PATHS {
            for method in ["GET", "POST", "OPTIONS"] {
                let mut connection = connect(&daemon);
                let answer = connection
                    .write(format!("{method} {path} HTTP/1.1\r\n{hosts}\r\n"))
                    .answer();
                assert_eq!(
                    (answer.status(), answer.code().as_str()),
                    (400, "host_invalid"),
                    "{method} {path} {hosts:?}: {answer:?}"
                );
                let is_problem = answer.has("content-type: application/problem+json");
                assert_eq!(is_problem, path.starts_with("/v1/"), "{path}: {answer:?}");
                assert!(answer.has("connection: close"), "{answer:?}");
                connection.wait_for_end();
            }
        }
    }
    for host in [
        "x",
        "x:8000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "[::1]",
        "x:",
        "",
        "a_b.example",
    ] {
        let answer = connect(&daemon)
            .write(format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .answer();
        assert_eq!(answer.status(), 200, "{host}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_with_a_code() {
    let daemon = daemon();
    let large = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "x".repeat(128 * 1024)
    );
    let many = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "x: x\r\n".repeat(200)
    );
    let blank = "\r\n".repeat(64 * 1024);
    let long_line = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(128 * 1024));
    for (sent, status, code) in [
        ("nonsense\r\n\r\n", 400, "head_unparsable"),
        (&blank, 431, "head_too_large"),
        (&long_line, 414, "uri_too_long"),
        (
            "GET /healthz HTTP/1.1\r\nhost : x\r\n\r\n",
            400,
            "head_unparsable",
        ),
        (
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n",
            400,
            "head_unparsable",
        ),
        (
            "POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            400,
            "head_unparsable",
        ),
        (
            "POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            400,
            "head_unparsable",
        ),
        (
            "POST /healthz HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
            "head_unparsable",
        ),
        (
            "POST /healthz HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            "transfer_encoding_unsupported",
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            505,
            "http_version_unsupported",
        ),
        (&large, 431, "head_too_large"),
        (&many, 431, "head_too_large"),
    ] {
        // On a new connection, and on one that was of use before.
        for is_kept in [false, true] {
            let mut connection = connect(&daemon);
            if is_kept {
                assert_eq!(connection.write(HEALTH).answer().status(), 200);
            }
            let answer = connection.write(sent).answer();
            let told = (answer.status(), answer.code());
            assert_eq!(told, (status, code.to_owned()), "{sent:.60}: {answer:?}");
            assert!(answer.has("connection: close") && answer.has("content-type: application/json"));
            connection.end_writing().wait_for_end();
        }
    }
    let broken_off = connect(&daemon).write("GET /healthz HTT").end_writing().answer();
    assert_eq!(
        (broken_off.status(), broken_off.code().as_str()),
        (400, "head_unparsable")
    );
    // Who asks for nothing is told nothing.
    connect(&daemon).end_writing().wait_for_end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_as_many_bytes_and_fields_as_the_refusal_says() {
    let daemon = daemon();
    let of_bytes = |bytes: usize| {
        let (begin, end) = ("GET /healthz HTTP/1.1\r\nhost: x\r\nx: ", "\r\n\r\n");
        format!("{begin}{}{end}", "x".repeat(bytes - begin.len() - end.len()))
    };
    let of_fields = |fields: usize| {
        format!(
            "GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n",
            "x: x\r\n".repeat(fields - 1)
        )
    };
    for (head, is_read) in [
        (of_bytes(64 * 1024), true),
        (of_bytes(64 * 1024 + 1), false),
        (of_bytes(70_000), false),
        (of_fields(100), true),
        (of_fields(101), false),
    ] {
        for is_kept in [false, true] {
            let mut connection = connect(&daemon);
            if is_kept {
                assert_eq!(connection.write(HEALTH).answer().status(), 200);
            }
            let answer = connection.write(&head).answer();
            if is_read {
                assert_eq!(answer.status(), 200, "{answer:?}");
            } else {
                let told = (answer.status(), answer.code());
                assert_eq!(told, (431, "head_too_large".to_owned()), "{answer:?}");
                let bounds = "larger than 64 KiB, or has more than 100 header fields";
                assert!(answer.body.contains(bounds), "{answer:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_cannot_be_is_told_from_one_that_is_too_large() {
    let daemon = daemon();
    for (length, status, code) in [
        ("18446744073709551614", 413, "body_too_large"),
        ("18446744073709551615", 413, "body_too_large"),
        ("18446744073709551616", 400, "head_unparsable"),
        ("99999999999999999999999999", 400, "head_unparsable"),
        ("-1", 400, "head_unparsable"),
        ("+1", 400, "head_unparsable"),
        ("1, 1", 400, "head_unparsable"),
        ("0x1", 400, "head_unparsable"),
        ("", 400, "head_unparsable"),
    ] {
        for path in PATHS {
            let mut connection = connect(&daemon);
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
            let answer = connection.write(head).answer();
            let told = (answer.status(), answer.code());
            assert_eq!(told, (status, code.to_owned()), "{length:?}: {answer:?}");
            assert!(answer.has("connection: close"), "{answer:?}");
            connection.end_writing().wait_for_end();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_spoken_is_told_from_what_is_none() {
    let daemon = daemon();
    for (version, status, code) in [
        ("HTTP/3.0", 505, "http_version_unsupported"),
        ("HTTP/2.0", 505, "http_version_unsupported"),
        ("HTTP/2", 505, "http_version_unsupported"),
        ("HTTP/9.9", 505, "http_version_unsupported"),
        ("HTTP/0.9", 505, "http_version_unsupported"),
        ("HTTP/1.2", 505, "http_version_unsupported"),
        ("http/1.1", 400, "head_unparsable"),
        ("HTTP/1,1", 400, "head_unparsable"),
        ("HTTP/x.y", 400, "head_unparsable"),
        ("HTTP/1.1x", 400, "head_unparsable"),
        ("HTTPS/1.1", 400, "head_unparsable"),
        ("HTTP/", 400, "head_unparsable"),
    ] {
        let line = format!("GET /healthz {version}\r\n");
        for sent in [format!("{line}host: x\r\n\r\n"), line] {
            let mut connection = connect(&daemon);
            let answer = connection.write(&sent).end_writing().answer();
            let told = (answer.status(), answer.code());
            assert_eq!(told, (status, code.to_owned()), "{sent:?}: {answer:?}");
            connection.wait_for_end();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_writes_before_it_reads_can_read_the_answer() {
    let daemon = daemon();
    let body = vec![b' '; 5 * 1024 * 1024];
    for path in PATHS {
        for method in ["GET", "POST"] {
            for is_chunked in [false, true] {
                let mut head =
                    format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
                if is_chunked {
                    write!(head, "transfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len()).unwrap();
                } else {
                    write!(head, "content-length: {}\r\n\r\n", body.len()).unwrap();
                }
                let mut connection = connect(&daemon);
                let answer = connection.write(head).write(&body).answer();
                if method == "POST" && path == "/api/phone/register" {
                    assert_eq!(
                        (answer.status(), answer.code().as_str()),
                        (413, "body_too_large"),
                        "{answer:?}"
                    );
                }
                assert!(answer.has("connection: close"), "{method} {path}: {answer:?}");
                connection.end_writing().wait_for_end();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked_only_if_it_is_wanted() {
    let daemon = daemon();
    let body = "{\"phone_number\": \"+13478379634\"}";
    let head = |length: usize| {
        format!(
            "POST /api/phone/register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
             content-length: {length}\r\n\r\n"
        )
    };
    let mut connection = connect(&daemon);
    assert_eq!(connection.write(head(body.len())).answer().status(), 100);
    assert_eq!(connection.write(body).answer().status(), 200);
    // And the connection is of further use.
    assert_eq!(connection.write(HEALTH).answer().status(), 200);
    let mut connection = connect(&daemon);
    let refused = connection.write(head(5_000_000)).answer();
    assert_eq!(
        (refused.status(), refused.code().as_str()),
        (413, "body_too_large")
    );
    connection.end_writing().wait_for_end();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_connection_are_answered_in_their_order() {
    let daemon = daemon();
    let mut connection = connect(&daemon);
    connection
        .write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50));
    for _ in 0..50 {
        assert_eq!(connection.answer().status(), 200);
        assert_eq!(connection.answer().status(), 404);
    }
    for _ in 0..500 {
        assert_eq!(connection.write(HEALTH).answer().status(), 200);
    }
    // What is wrong comes in its order too.
    connection.write(HEALTH).write("nonsense\r\n\r\n");
    assert_eq!(connection.answer().status(), 200);
    assert_eq!(connection.answer().status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_and_terser_clients_are_answered() {
    let daemon = daemon();
    let mut old = connect(&daemon);
    let answer = old.write("GET /healthz HTTP/1.0\r\n\r\n").answer();
    assert_eq!(answer.status(), 200, "{answer:?}");
    old.wait_for_end();
    // It ends its side when it has asked, as `nc -N` does.
    let mut terse = connect(&daemon);
    assert_eq!(terse.write(HEALTH).end_writing().answer().status(), 200);
    terse.wait_for_end();
    // A body that nobody asked for, and two ways to say its length: the connection ends with the answer.
    for framing in [
        "content-length: 2\r\n\r\n{}",
        "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut connection = connect(&daemon);
        let answer = connection
            .write(format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{framing}"))
            .answer();
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert!(answer.has("connection: close"), "{answer:?}");
        connection.end_writing().wait_for_end();
    }
}
