//! What a page of another site can do with the daemon from somebody's browser: nothing, unless the settings name its
//! origin. The requests are as browsers make them (fetch.spec.whatwg.org, w3c.github.io/webappsec-fetch-metadata).

use std::sync::atomic::{AtomicU32, Ordering};

use phone_verify_tests::{
    daemon::{Answer, Daemon},
    site::Site,
};
use serde_json::json;

const NUMBER: &str = "+13478379634";
static NEXT: AtomicU32 = AtomicU32::new(0);
const OTHER: &str = "https://evil.example";
const APP: &str = "https://app.example";
const ID: &str = "00000000000000000000000000000000";

/// Every request that has an effect, and its status if it is served.
fn effects() -> [(&'static str, String, u16); 6] {
    [
        ("POST", "/api/phone/register".to_owned(), 200),
        ("POST", "/api/phone/verify".to_owned(), 400),
        ("POST", "/v1/verifications".to_owned(), 201),
        ("POST", format!("/v1/verifications/{ID}/check"), 404),
        ("POST", format!("/v1/verifications/{ID}/resend"), 404),
        ("DELETE", format!("/v1/verifications/{ID}"), 404),
    ]
}

const READS: [&str; 6] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/backends",
    "/v1/decisions",
];

async fn ask(daemon: &Daemon, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = daemon.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = match path.rsplit('/').next() {
        Some("check") => json!({ "session_token": "x", "security_code": "000000" }),
        Some("verify") => json!({ "phone_number": NUMBER, "session_token": "x", "security_code": "000000" }),
        Some("resend") => json!({}),
        // Another each time: a number has its own limits.
        _ => json!({ "phone_number": format!("+1347837{:04}", NEXT.fetch_add(1, Ordering::Relaxed)) }),
    };
    let request = if method == "POST" {
        request.json(&body)
    } else {
        request
    };
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
    Answer {
        status,
        headers,
        body,
    }
}

fn sms_sent(daemon: &Daemon) -> usize {
    daemon.log().matches("security code").count()
}

#[tokio::test]
async fn a_page_of_another_site_causes_nothing() {
    let mut site = Site::new();
    for names_an_app in [false, true] {
        if names_an_app {
            site.set("server", "allowed_origins", vec![APP]);
        }
        let daemon = site.serve();
        let own = format!("http://{}", daemon.address());
        for headers in [
            &[("origin", OTHER)][..],
            &[("origin", "null")],
            &[("origin", "http://127.0.0.1")],
            &[("origin", "https://app.example.evil.example")],
            &[("origin", "https://app.example:8443")],
            &[("origin", "http://app.example")],
            &[("origin", OTHER), ("sec-fetch-site", "cross-site")],
            &[("origin", &own), ("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "null"), ("sec-fetch-site", "cross-site")],
        ] {
            for (method, path, _) in effects() {
                for path in [path.clone(), path + "/"] {
                    let answer = ask(&daemon, method, &path, headers).await;
                    let found = (answer.status, answer.code());
                    assert_eq!(
                        found,
                        (403, "origin_not_allowed"),
                        "{method} {path} {headers:?}: {answer:?}"
                    );
                    assert!(
                        !answer.headers.contains_key("access-control-allow-origin"),
                        "{answer:?}"
                    );
                }
            }
        }
        assert_eq!(sms_sent(&daemon), 0);
    }
}

#[tokio::test]
async fn a_form_of_another_site_sends_no_sms() {
    let daemon = Site::new().serve();
    for origin in [OTHER, "null"] {
        let form = daemon
            .request("POST", "/api/phone/register")
            .header("origin", origin);
        let answer = daemon.send(form.form(&[("phone_number", NUMBER)])).await;
        assert_eq!(
            (answer.status, answer.code()),
            (403, "origin_not_allowed"),
            "{answer:?}"
        );
        // What a page may send as text without asking first.
        let plain = daemon
            .request("POST", "/api/phone/register")
            .header("origin", origin);
        let plain = plain
            .header("content-type", "text/plain")
            .body(format!("phone_number={NUMBER}"));
        let answer = daemon.send(plain).await;
        assert_eq!(
            (answer.status, answer.code()),
            (403, "origin_not_allowed"),
            "{answer:?}"
        );
    }
    assert_eq!(sms_sent(&daemon), 0);
}

#[tokio::test]
async fn a_page_of_another_site_reads_nothing() {
    let mut site = Site::new();
    site.set("server", "allowed_origins", vec![APP]);
    let daemon = site.serve();
    for path in READS {
        for origin in [OTHER, "null", "https://app.example.evil.example"] {
            let answer = ask(&daemon, "GET", path, &[("origin", origin)]).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            assert!(
                !answer.headers.contains_key("access-control-allow-origin"),
                "{path}: {answer:?}"
            );
            let mut vary = answer.headers.get_all("vary").iter();
            assert!(vary.any(|vary| vary == "origin"), "{path}: {answer:?}");
        }
    }
    for (method, path, _) in effects() {
        let asked = [("origin", OTHER), ("access-control-request-method", method)];
        let answer = ask(&daemon, "OPTIONS", &path, &asked).await;
        assert!(
            !answer.headers.contains_key("access-control-allow-origin"),
            "{path}: {answer:?}"
        );
        assert!(
            !answer.headers.contains_key("access-control-allow-methods"),
            "{path}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_page_whose_origin_is_named_reads_and_causes_as_any_client() {
    let mut site = Site::new();
    site.set(
        "server",
        "allowed_origins",
        vec!["HTTPS://App.Example:443/", "http://localhost:3000"],
    );
    let daemon = site.serve();
    for origin in [APP, "http://localhost:3000"] {
        let headers = [("origin", origin), ("sec-fetch-site", "cross-site")];
        for (method, path, status) in effects() {
            let asked = [
                ("origin", origin),
                ("access-control-request-method", method),
                (
                    "access-control-request-headers",
                    "authorization, content-type, idempotency-key, x-request-id",
                ),
            ];
            let answer = ask(&daemon, "OPTIONS", &path, &asked).await;
            let header = |name: &str| answer.headers[name].to_str().unwrap().to_ascii_lowercase();
            assert_eq!(answer.status, 204, "{answer:?}");
            assert_eq!(header("access-control-allow-origin"), origin);
            assert!(
                header("access-control-allow-methods").contains(&method.to_ascii_lowercase()),
                "{answer:?}"
            );
            for name in ["authorization", "content-type", "idempotency-key", "x-request-id"] {
                assert!(
                    header("access-control-allow-headers").contains(name),
                    "{name}: {answer:?}"
                );
            }
            assert_eq!(header("vary"), "origin");

            // Errors are for the page too.
            let answer = ask(&daemon, method, &path, &headers).await;
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
            assert_eq!(
                answer.headers["access-control-allow-origin"], origin,
                "{method} {path}"
            );
            let exposed = answer.headers["access-control-expose-headers"].to_str().unwrap();
            assert!(
                exposed.contains("Retry-After") && exposed.contains("Location"),
                "{exposed}"
            );
        }
        for path in READS {
            let answer = ask(&daemon, "GET", path, &headers).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            assert_eq!(answer.headers["access-control-allow-origin"], origin, "{path}");
        }
    }
    // It says what it is without a page that asks, too.
    let answer = ask(&daemon, "OPTIONS", "/api/phone/register", &[]).await;
    assert_eq!(
        (answer.status, &answer.body["name"]),
        (200, &json!("Register")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn its_own_pages_and_what_is_no_browser_are_served() {
    let mut site = Site::new();
    site.set("server", "public_url", "https://verify.example");
    let daemon = site.serve();
    let own = format!("http://{}", daemon.address());
    for headers in [
        &[][..],
        &[("origin", own.as_str())],
        &[("origin", &own), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
        &[("host", "localhost"), ("origin", "http://localhost")],
        &[("host", "localhost:80"), ("origin", "http://localhost")],
        &[("host", "[::1]:8000"), ("origin", "http://[::1]:8000")],
        // Behind a proxy that ends TLS and says the name on.
        &[
            ("host", "other.example"),
            ("origin", "https://other.example"),
            ("accept-language", "en"),
        ],
        &[("host", "other.example:443"), ("origin", "https://other.example")],
        // Behind one that does not say it on.
        &[("origin", "https://verify.example")],
        &[
            ("origin", "https://verify.example"),
            ("sec-fetch-site", "same-origin"),
        ],
        &[
            ("host", "127.0.0.1:8000"),
            ("origin", "https://elsewhere.example"),
            ("sec-fetch-site", "same-origin"),
        ],
        // No browser asks, and a name of the local network.
        &[("host", "phone-verify.internal")],
        &[("host", "phone-verify"), ("accept-language", "es")],
    ] {
        for (method, path, status) in effects() {
            let answer = ask(&daemon, method, &path, headers).await;
            assert_eq!(answer.status, status, "{method} {path} {headers:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_name_that_was_made_to_lead_here_is_not_its_own() {
    let mut site = Site::new();
    let daemon = site.serve();
    let rebound = [("host", "evil.example:8000"), ("accept-language", "en-US")];
    let with_origin = [rebound[0], rebound[1], ("origin", "http://evil.example:8000")];
    for path in READS {
        let answer = ask(&daemon, "GET", path, &rebound).await;
        assert_eq!(
            (answer.status, answer.code()),
            (421, "host_not_allowed"),
            "{path}: {answer:?}"
        );
    }
    for (method, path, _) in effects() {
        let answer = ask(&daemon, method, &path, &with_origin).await;
        assert_eq!(
            (answer.status, answer.code()),
            (421, "host_not_allowed"),
            "{path}: {answer:?}"
        );
        let answer = ask(&daemon, method, &path, &with_origin[..1]).await;
        assert!(answer.status != 421, "no browser: {path}: {answer:?}");
    }
    drop(daemon);

    site.set("server", "public_url", "http://evil.example:8000");
    let daemon = site.serve();
    assert_eq!(ask(&daemon, "GET", "/v1/backends", &rebound).await.status, 200);
    assert_eq!(
        ask(&daemon, "POST", "/v1/verifications", &with_origin)
            .await
            .status,
        201
    );
    drop(daemon);

    // A proxy asks under any name; a page over plain HTTP is still no page of this server.
    site.set("server", "public_url", "")
        .set("server", "trusted_proxies", vec!["127.0.0.0/8"]);
    let daemon = site.serve();
    assert_eq!(ask(&daemon, "GET", "/v1/backends", &rebound).await.status, 200);
    let answer = ask(&daemon, "POST", "/v1/verifications", &with_origin).await;
    assert_eq!(
        (answer.status, answer.code()),
        (403, "origin_not_allowed"),
        "{answer:?}"
    );
}

/// A request as an HTML form makes it, of each of its media types.
async fn send_form(daemon: &Daemon, media_type: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = daemon.request("POST", "/api/phone/register");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request = request.header("content-type", media_type);
    let number = format!("+1347837{:04}", NEXT.fetch_add(1, Ordering::Relaxed));
    let body = match media_type {
        multipart if multipart.starts_with("multipart") => {
            format!("--x\r\ncontent-disposition: form-data; name=phone_number\r\n\r\n{number}\r\n--x--\r\n")
        }
        _ => form_urlencoded::Serializer::new(String::new())
            .append_pair("phone_number", &number)
            .finish(),
    };
    daemon.send(request.body(body)).await
}

const FORMS: [&str; 4] = [
    "application/x-www-form-urlencoded",
    "APPLICATION/x-www-form-urlencoded ; charset=utf-8",
    "multipart/form-data; boundary=x",
    "text/plain",
];

/// The page came by HTTPS from wherever its name led then; its form goes over plain HTTP to where the name leads now.
const REBOUND_FORM: [(&str, &str); 3] = [
    ("host", "evil.example:8000"),
    ("origin", "https://evil.example:8000"),
    ("accept-language", "en-US"),
];

#[tokio::test]
async fn a_form_of_a_page_that_came_by_https_is_not_its_own_because_its_name_leads_here() {
    let daemon = Site::new().serve();
    for form in FORMS {
        let answer = send_form(&daemon, form, &REBOUND_FORM).await;
        assert_eq!(
            (answer.status, answer.code()),
            (421, "host_not_allowed"),
            "{form}: {answer:?}"
        );
    }
    assert_eq!(sms_sent(&daemon), 0);
}

#[tokio::test]
async fn a_form_that_came_by_https_to_a_proxy_is_served() {
    let served = &FORMS[..3];
    let daemon = Site::new().serve();
    for proof in [
        ("sec-fetch-site", "same-origin"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example:8000"),
        ("x-real-ip", "203.0.113.7"),
        ("forwarded", "for=203.0.113.7;proto=https"),
        ("via", "1.1 proxy"),
    ] {
        for form in served.iter().copied() {
            let [host, origin, language] = REBOUND_FORM;
            let answer = send_form(&daemon, form, &[host, origin, language, proof]).await;
            assert_eq!(answer.status, 200, "{form} {proof:?}: {answer:?}");
        }
    }
    drop(daemon);
    // Or the settings name the proxy, or this server's name.
    for (setting, value) in [
        ("trusted_proxies", toml::Value::from(vec!["127.0.0.0/8"])),
        ("public_url", "https://evil.example:8000".into()),
    ] {
        let mut site = Site::new();
        site.set("server", setting, value);
        let daemon = site.serve();
        for form in served.iter().copied() {
            let answer = send_form(&daemon, form, &REBOUND_FORM).await;
            assert_eq!(answer.status, 200, "{setting} {form}: {answer:?}");
        }
    }
}
