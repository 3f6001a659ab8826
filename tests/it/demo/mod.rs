//! The page of `serve --demo`: what it consists of, and who may read what arrives on its phone. Its routes are no part
//! of the API, and no other daemon has them.

mod browser;

use phone_verify_tests::{
    daemon::{Answer, Daemon},
    site::Site,
};
use reqwest::Response;

const NUMBER: &str = "+13478379634";
const PAGE: &str = "/";
const MESSAGES: &str = "/demo/messages";
const FILES: [(&str, &str); 4] = [
    (PAGE, "text/html; charset=utf-8"),
    ("/demo/style.css", "text/css; charset=utf-8"),
    ("/demo/page.js", "text/javascript; charset=utf-8"),
    ("/demo/icon.svg", "image/svg+xml"),
];

/// A demo, with what it lies in.
fn demo() -> (Site, Daemon) {
    let site = Site::new();
    let daemon = site.serve_demo();
    (site, daemon)
}

async fn get(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = daemon.request("GET", path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// The status and the machine code of a refusal.
async fn refusal(response: Response) -> (u16, String) {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
    let answer = Answer {
        status,
        headers,
        body,
    };
    (status, answer.code().to_owned())
}

/// Reads events until one of them has this text.
async fn read_until(events: &mut Response, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        let chunk = events.chunk().await.unwrap();
        let chunk = chunk.unwrap_or_else(|| panic!("{text:?} does not come after {read:?}"));
        read.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    read
}

#[tokio::test]
async fn only_a_demo_has_the_page() {
    let site = Site::new();
    let daemon = site.serve();
    for path in FILES.map(|(path, _)| path).into_iter().chain([MESSAGES]) {
        let answer = daemon.get(path).await;
        assert_eq!((answer.status, answer.code()), (404, "not_found"), "{path}");
    }
}

#[tokio::test]
async fn the_page_is_announced_and_is_no_part_of_the_api() {
    let (_site, daemon) = demo();
    let page = format!("http://{}/", daemon.address());
    daemon.wait_for_print(&page);
    let openapi = daemon.get("/openapi.json").await.body;
    let paths = openapi["paths"].as_object().unwrap();
    assert!(!paths.contains_key("/"), "{paths:?}");
    assert!(!paths.keys().any(|path| path.starts_with("/demo")), "{paths:?}");
}

#[tokio::test]
async fn the_page_may_load_nothing_but_its_own_files() {
    let (_site, daemon) = demo();
    for (path, media_type) in FILES {
        let response = get(&daemon, path, &[]).await;
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), media_type, "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{path}: {policy}");
        for unsafe_source in ["unsafe", "http", "*", "data:"] {
            assert!(!policy.contains(unsafe_source), "{path}: {policy}");
        }
        let text = response.text().await.unwrap();
        // An address elsewhere is one only as the name of a language.
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !elsewhere.contains("http:") && !elsewhere.contains("https:"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_file_that_the_page_names_is_served() {
    let (_site, daemon) = demo();
    let page = get(&daemon, PAGE, &[]).await.text().await.unwrap();
    let named = page
        .split('"')
        .filter(|text| text.starts_with("/demo/"))
        .collect::<Vec<_>>();
    assert_eq!(named.len(), FILES.len() - 1, "{named:?}");
    for path in named {
        assert!(FILES.iter().any(|(file, _)| *file == path), "{path}");
    }
}

#[tokio::test]
async fn each_sms_arrives_on_the_phone_with_a_code_that_verifies() {
    let (_site, daemon) = demo();
    let mut events = get(&daemon, MESSAGES, &[("sec-fetch-site", "same-origin")]).await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let registered = daemon.register(NUMBER).await;
    let event = read_until(&mut events, "\n\n").await;
    assert!(event.contains(NUMBER), "{event}");
    let code: String = event
        .split("\"text\"")
        .nth(1)
        .unwrap()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let checked = daemon.verify(NUMBER, registered.session_token(), &code).await;
    assert_eq!(checked.status, 200, "{checked:?}");
    // A page that is opened later shows it too.
    let mut later = get(&daemon, MESSAGES, &[]).await;
    read_until(&mut later, &code).await;
}

#[tokio::test]
async fn no_other_page_reads_the_phone() {
    let (_site, daemon) = demo();
    let own = format!("http://{}", daemon.address());
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:1")],
        &[("origin", &own), ("sec-fetch-site", "cross-site")],
    ] {
        let found = refusal(get(&daemon, MESSAGES, headers).await).await;
        assert_eq!(found, (403, "origin_not_allowed".to_owned()), "{headers:?}");
    }
    // A page whose own name was led to this machine.
    for headers in [
        &[("host", "evil.example")][..],
        &[("host", "evil.example"), ("accept-language", "en")],
        &[("host", "evil.example"), ("sec-fetch-site", "same-origin")],
    ] {
        let found = refusal(get(&daemon, MESSAGES, headers).await).await;
        assert_eq!(found, (421, "host_not_allowed".to_owned()), "{headers:?}");
    }
    for headers in [
        &[("origin", own.as_str())][..],
        &[("sec-fetch-site", "same-origin")],
        &[("host", "localhost")],
        &[],
    ] {
        assert_eq!(get(&daemon, MESSAGES, headers).await.status(), 200, "{headers:?}");
    }
}

#[tokio::test]
async fn the_routes_of_the_demo_only_answer() {
    let (_site, daemon) = demo();
    for path in FILES.map(|(path, _)| path).into_iter().chain([MESSAGES]) {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let response = daemon.request(method, path).send().await.unwrap();
            assert_eq!(
                response.headers()["allow"],
                "GET, HEAD, OPTIONS",
                "{method} {path}"
            );
            let found = refusal(response).await;
            assert_eq!(found, (405, "method_not_allowed".to_owned()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_one_limit_of_a_demo_is_how_soon_a_number_gets_another_sms() {
    let (_site, daemon) = demo();
    assert_eq!(daemon.register(NUMBER).await.status, 200);
    let again = daemon.register(NUMBER).await;
    assert_eq!(
        (again.status, again.code()),
        (429, "resend_cooldown"),
        "{again:?}"
    );
    let seconds: u64 = again.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=15).contains(&seconds), "{again:?}");
    for last in 10..60 {
        let other = daemon.register(&format!("+134783796{last}")).await;
        assert!(other.status == 200 || last == 34, "{other:?}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_does_not_keep_the_daemon_from_ending() {
    let (_site, daemon) = demo();
    let mut events = get(&daemon, MESSAGES, &[]).await;
    daemon.register(NUMBER).await;
    read_until(&mut events, NUMBER).await;
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("everything under way was finished"), "{log}");
    assert!(
        events.chunk().await.unwrap().is_none(),
        "the stream ends in order"
    );
}
