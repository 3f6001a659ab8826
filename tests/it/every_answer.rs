//! Whatever is asked of whichever route, the answer is one that a program can act on: an error has a status, a body
//! with a stable code, and in the head what the status promises. The table of routes is held against `/openapi.json`.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{HeaderMap, Request},
};
use phone_verify::model::{FailureClass, Limit, SendFailure};
use phone_verify_tests::{
    connection::Connection,
    daemon::{Answer, Daemon},
    service::{Rules, Service},
    site::Site,
};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";
const UNKNOWN: &str = "00000000000000000000000000000000";
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
];

struct Route {
    path: &'static str,
    /// Those that do something, beside HEAD and OPTIONS.
    methods: &'static [&'static str],
    /// What a request with a body has in it.
    body: fn() -> Value,
    /// The status of a request as it should be, with an id that names nothing.
    status: u16,
}

const ROUTES: [Route; 16] = [
    Route {
        path: "/api/phone/register",
        methods: &["POST"],
        body: number,
        status: 200,
    },
    Route {
        path: "/api/phone/verify",
        methods: &["POST"],
        body: verification,
        status: 400,
    },
    Route {
        path: "/healthz",
        methods: &["GET"],
        body: none,
        status: 200,
    },
    Route {
        path: "/readyz",
        methods: &["GET"],
        body: none,
        status: 200,
    },
    Route {
        path: "/metrics",
        methods: &["GET"],
        body: none,
        status: 200,
    },
    Route {
        path: "/openapi.json",
        methods: &["GET"],
        body: none,
        status: 200,
    },
    Route {
        path: "/v1/verifications",
        methods: &["GET", "POST"],
        body: number,
        status: 201,
    },
    Route {
        path: "/v1/verifications/{id}",
        methods: &["GET", "DELETE"],
        body: none,
        status: 404,
    },
    Route {
        path: "/v1/verifications/{id}/check",
        methods: &["POST"],
        body: check,
        status: 404,
    },
    Route {
        path: "/v1/verifications/{id}/resend",
        methods: &["POST"],
        body: none,
        status: 404,
    },
    Route {
        path: "/v1/messages",
        methods: &["POST"],
        body: message,
        status: 201,
    },
    Route {
        path: "/v1/messages/{id}",
        methods: &["GET"],
        body: none,
        status: 404,
    },
    // The console takes no reports, so there is nothing for its provider.
    Route {
        path: "/v1/receipts/{backend}",
        methods: &["GET", "POST"],
        body: none,
        status: 404,
    },
    Route {
        path: "/v1/receipts/{backend}/{secret}",
        methods: &["GET", "POST"],
        body: none,
        status: 404,
    },
    Route {
        path: "/v1/backends",
        methods: &["GET"],
        body: none,
        status: 200,
    },
    Route {
        path: "/v1/decisions",
        methods: &["GET"],
        body: none,
        status: 200,
    },
];

fn none() -> Value {
    Value::Null
}

fn number() -> Value {
    json!({ "phone_number": NUMBER })
}

fn message() -> Value {
    json!({ "phone_number": NUMBER, "message": "Your parcel arrives tomorrow." })
}

fn check() -> Value {
    json!({ "session_token": "x", "security_code": "000000" })
}

fn verification() -> Value {
    json!({ "phone_number": NUMBER, "session_token": "x", "security_code": "000000" })
}

impl Route {
    fn at(&self) -> String {
        self.path
            .replace("{id}", UNKNOWN)
            .replace("{backend}", "default")
            .replace("{secret}", UNKNOWN)
    }

    /// The status of a request by this method.
    fn status_of(&self, method: &str) -> u16 {
        match (self.path, method) {
            // Of what, the query would have to say.
            ("/v1/verifications", "GET" | "HEAD") => 400,
            _ => self.status,
        }
    }

    /// One that this program reads.
    fn takes_a_body(&self) -> bool {
        self.methods.contains(&"POST") && !self.is_for_providers()
    }

    fn is_for_providers(&self) -> bool {
        self.path.starts_with("/v1/receipts/")
    }

    fn is_native(&self) -> bool {
        self.path.starts_with("/v1")
    }

    /// What `Allow` says.
    fn allowed(&self) -> BTreeSet<&'static str> {
        let head = self.methods.contains(&"GET").then_some("HEAD");
        self.methods
            .iter()
            .copied()
            .chain(head)
            .chain(["OPTIONS"])
            .collect()
    }

    fn needs_a_key(&self) -> bool {
        (self.is_native() && !self.is_for_providers()) || self.path == "/metrics"
    }
}

/// What an answer must have, whatever it is an answer to.
struct Answers(BTreeSet<String>);

impl Answers {
    /// With the codes that the description has.
    async fn of(daemon: &Daemon) -> Self {
        let openapi = daemon.get("/openapi.json").await.body;
        let codes = openapi["components"]["schemas"]["Code"]["enum"]
            .as_array()
            .unwrap();
        Self(
            codes
                .iter()
                .map(|code| code.as_str().unwrap().to_owned())
                .collect(),
        )
    }

    fn hold(&self, what: &str, path: &str, (status, headers, body): (u16, &HeaderMap, &Value)) {
        let shown = format!("{what}: {status} {headers:?} {body}");
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("cache-control"), Some("no-store"), "{shown}");
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{shown}");
        if status < 400 || body.is_null() {
            return;
        }
        let is_native = path == "/v1" || path.starts_with("/v1/");
        let media_type = if is_native {
            "application/problem+json"
        } else {
            "application/json"
        };
        assert_eq!(header("content-type"), Some(media_type), "{shown}");
        let code = body["code"]
            .as_str()
            .unwrap_or_else(|| panic!("no code: {shown}"));
        assert!(self.0.contains(code), "{code} is not described: {shown}");
        if is_native {
            assert_eq!(body["status"], status, "{shown}");
        }
        let waits = matches!(status, 429 | 503);
        let seconds: Option<u64> = header("retry-after").map(|seconds| seconds.parse().unwrap());
        assert_eq!(seconds.is_some(), waits || code == "request_under_way", "{shown}");
        assert_ne!(seconds, Some(0), "{shown}");
        assert_eq!(
            header("www-authenticate").is_some(),
            status == 401 || code == "insufficient_scope",
            "{shown}"
        );
        assert!(header("allow").is_some() || status != 405, "{shown}");
    }

    fn hold_of(&self, what: &str, path: &str, answer: &Answer) {
        self.hold(what, path, (answer.status, &answer.headers, &answer.body));
    }
}

/// An answer whose body need be no JSON, unless it is an error.
async fn ask(daemon: &Daemon, method: &str, path: &str, body: &Value) -> Answer {
    let mut request = daemon.request(method, path);
    if !body.is_null() {
        request = request.json(body);
    }
    send(request).await
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    let body = match serde_json::from_str(&text) {
        Ok(body) => body,
        Err(error) if status >= 400 && !text.is_empty() => panic!("{status}: {error}: {text}"),
        Err(_) => Value::Null,
    };
    Answer {
        status,
        headers,
        body,
    }
}

/// The console without limits, which every number and address may use.
fn daemon() -> (Site, Daemon) {
    let site = Site::new();
    let daemon = site.serve();
    (site, daemon)
}

#[tokio::test]
async fn the_table_has_every_route_that_is_described() {
    let (_site, daemon) = daemon();
    let openapi = daemon.get("/openapi.json").await.body;
    let described: BTreeSet<(String, String)> = openapi["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .map(|method| (path.clone(), method.to_uppercase()))
        })
        .collect();
    let known = ROUTES.iter().filter(|route| route.path != "/openapi.json");
    let known: BTreeSet<(String, String)> = known
        .flat_map(|route| {
            route
                .methods
                .iter()
                .map(|method| (route.path.to_owned(), (*method).to_owned()))
        })
        .collect();
    assert_eq!(described, known);
}

#[tokio::test]
async fn every_route_answers_every_method_also_with_a_trailing_slash() {
    let (_site, daemon) = daemon();
    let answers = Answers::of(&daemon).await;
    for route in &ROUTES {
        for method in METHODS {
            for path in [route.at(), route.at() + "/"] {
                let what = format!("{method} {path}");
                let answer = ask(&daemon, method, &path, &(route.body)()).await;
                answers.hold_of(&what, &path, &answer);
                let is_allowed = route.allowed().contains(method);
                match method {
                    "OPTIONS" => assert!(matches!(answer.status, 200 | 204), "{what}: {answer:?}"),
                    _ if !is_allowed => {
                        assert_eq!(answer.status, 405, "{what}: {answer:?}");
                        assert!(
                            method == "HEAD" || answer.code() == "method_not_allowed",
                            "{what}: {answer:?}"
                        );
                    }
                    _ => assert_eq!(answer.status, route.status_of(method), "{what}: {answer:?}"),
                }
                if method == "OPTIONS" || !is_allowed {
                    let allow = answer.headers["allow"].to_str().unwrap();
                    assert_eq!(
                        allow.split(", ").collect::<BTreeSet<_>>(),
                        route.allowed(),
                        "{what}: {allow}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn the_server_as_a_whole_says_what_its_routes_take() {
    let (_site, daemon) = daemon();
    let mut connection = Connection::to(daemon.address());
    let answer = connection.write("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n").answer();
    assert_eq!(answer.status(), 204, "{answer:?}");
    let allow = answer.head.lines().find_map(|line| line.strip_prefix("allow: "));
    let allow: BTreeSet<_> = allow.unwrap().split(", ").collect();
    assert_eq!(allow, ROUTES.iter().flat_map(Route::allowed).collect());
    // Other methods have no such target.
    let answer = connection.write("GET * HTTP/1.1\r\nhost: x\r\n\r\n").answer();
    assert_eq!(answer.status(), 404, "{answer:?}");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let (_site, daemon) = daemon();
    for route in ROUTES.iter().filter(|route| route.methods.contains(&"GET")) {
        let got = ask(&daemon, "GET", &route.at(), &Value::Null).await;
        let head = daemon.request("HEAD", &route.at()).send().await.unwrap();
        assert_eq!(head.status().as_u16(), got.status, "{}", route.path);
        assert_eq!(
            head.headers()["content-type"],
            got.headers["content-type"],
            "{}",
            route.path
        );
        assert_eq!(head.bytes().await.unwrap().len(), 0, "{}", route.path);
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_used_is_told_as_what_it_is() {
    let (_site, daemon) = daemon();
    let answers = Answers::of(&daemon).await;
    let large = format!("{{\"phone_number\": \"{NUMBER}\"{}}}", " ".repeat(65 * 1024));
    let faults: [(&str, &str, Vec<u8>, u16, &str); 9] = [
        (
            "broken JSON",
            "application/json",
            b"{\"phone_number\": ".to_vec(),
            400,
            "body_unparsable",
        ),
        (
            "no UTF-8",
            "application/json",
            b"{\"phone_number\": \"\xff\"}".to_vec(),
            400,
            "body_unparsable",
        ),
        (
            "a list",
            "application/json",
            b"[]".to_vec(),
            400,
            "fields_invalid",
        ),
        (
            "null",
            "application/json",
            b"null".to_vec(),
            400,
            "fields_invalid",
        ),
        (
            "a text",
            "application/json",
            b"\"x\"".to_vec(),
            400,
            "fields_invalid",
        ),
        (
            "too large",
            "application/json",
            large.into_bytes(),
            413,
            "body_too_large",
        ),
        (
            "another media type",
            "text/plain",
            b"{}".to_vec(),
            415,
            "media_type_unsupported",
        ),
        (
            "a media type that is none",
            "nonsense",
            b"{}".to_vec(),
            415,
            "media_type_unsupported",
        ),
        (
            "XML",
            "application/xml",
            b"<a/>".to_vec(),
            415,
            "media_type_unsupported",
        ),
    ];
    for route in ROUTES.iter().filter(|route| route.takes_a_body()) {
        for (what, media_type, body, status, code) in &faults {
            let what = format!("{what} to {}", route.path);
            let request = daemon
                .request("POST", &route.at())
                .header("content-type", *media_type);
            let answer = send(request.body(body.clone())).await;
            answers.hold_of(&what, route.path, &answer);
            assert_eq!(
                (answer.status, answer.code()),
                (*status, *code),
                "{what}: {answer:?}"
            );
        }
        let wrong_types = json!({ "phone_number": ["x"], "session_token": {}, "security_code": true, "locale": [], "other": 1 });
        let answer = ask(&daemon, "POST", &route.at(), &wrong_types).await;
        answers.hold_of("wrong types", route.path, &answer);
        assert_eq!(answer.status, 400, "{}: {answer:?}", route.path);
    }
}

#[tokio::test]
async fn what_the_drop_in_endpoints_cannot_answer_in_json_is_not_acceptable() {
    let (_site, daemon) = daemon();
    let answers = Answers::of(&daemon).await;
    for path in ["/api/phone/register", "/api/phone/verify"] {
        for method in METHODS {
            let request = daemon.request(method, path).header("accept", "image/png");
            let answer = send(request.json(&number())).await;
            answers.hold_of(method, path, &answer);
            assert_eq!(answer.status, 406, "{method} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn what_names_nothing_is_not_found() {
    let (_site, daemon) = daemon();
    let answers = Answers::of(&daemon).await;
    let elsewhere = [
        "/",
        "/v1",
        "/v1/",
        "/v1/elsewhere",
        "/v1/verifications/x/y",
        "/v1elsewhere",
        "/api",
        "/api/phone/",
        "/api/phone/x",
        "/healthz/x",
        "//healthz",
        "/healthz//",
        "/%ff",
        "/v1/%ff",
        "/v1/verifications/%ff/elsewhere",
    ];
    for path in elsewhere {
        for method in METHODS {
            let answer = ask(&daemon, method, path, &Value::Null).await;
            answers.hold_of(&format!("{method} {path}"), path, &answer);
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            assert!(
                method == "HEAD" || answer.code() == "not_found",
                "{method} {path}: {answer:?}"
            );
        }
    }
    let ids = [
        "x",
        "%ff",
        "%00",
        "%2f",
        &UNKNOWN.replace('0', "A"),
        &UNKNOWN[1..],
        &format!("{UNKNOWN}0"),
        UNKNOWN,
    ];
    for route in ROUTES.iter().filter(|route| route.path.contains("{id}")) {
        for id in ids {
            for method in route.methods {
                let path = route.path.replace("{id}", id);
                let answer = ask(&daemon, method, &path, &(route.body)()).await;
                answers.hold_of(&format!("{method} {path}"), &path, &answer);
                let found = (answer.status, answer.code());
                let code = if route.path.contains("messages") {
                    "message_not_found"
                } else {
                    "verification_not_found"
                };
                assert_eq!(found, (404, code), "{method} {path}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_used_is_told() {
    let (_site, daemon) = daemon();
    let answers = Answers::of(&daemon).await;
    for query in [
        "last=0",
        "last=1001",
        "last=",
        "last=x",
        "last=%ff",
        "last=1&last=1",
        "lats=1",
        "last=-1",
        "last=1.5",
    ] {
        let path = format!("/v1/decisions?{query}");
        let answer = daemon.get(&path).await;
        answers.hold_of(&path, &path, &answer);
        assert_eq!(
            (answer.status, answer.code()),
            (400, "fields_invalid"),
            "{path}: {answer:?}"
        );
    }
    for query in ["", "last=1", "last=1000"] {
        assert_eq!(
            daemon.get(&format!("/v1/decisions?{query}")).await.status,
            200,
            "{query}"
        );
    }
}

#[tokio::test]
async fn who_has_no_key_or_not_the_right_one_is_told_so_before_all_else() {
    let mut site = Site::new();
    let made = site
        .run(&["keys", "new", "later", "--scope", "admin", "--json"])
        .json();
    let key = made["key"].as_str().unwrap();
    let digest = made["digest"].as_str().unwrap();
    let later = toml::Table::from_iter([
        ("digest".to_owned(), digest.into()),
        ("scopes".to_owned(), vec!["admin"].into()),
    ]);
    site.set(
        "api",
        "keys",
        toml::Table::from_iter([("later".to_owned(), later.into())]),
    );
    let daemon = site.serve();
    let answers = Answers::of(&daemon).await;
    for route in ROUTES.iter().filter(|route| route.needs_a_key()) {
        for method in route.methods {
            for (authorization, status, code) in [
                ("", 401, "unauthorized"),
                ("Bearer pv_unknown", 401, "unauthorized"),
                ("Basic eDp5", 401, "unauthorized"),
                (&format!("Bearer {key}"), 403, "insufficient_scope"),
            ] {
                // Nothing else is looked at.
                let request = daemon
                    .request(method, &route.at())
                    .header("authorization", authorization);
                let answer = send(request.body("nonsense")).await;
                let what = format!("{method} {} with {authorization:?}", route.path);
                answers.hold_of(&what, route.path, &answer);
                assert_eq!(
                    (answer.status, answer.code()),
                    (status, code),
                    "{what}: {answer:?}"
                );
            }
        }
    }
}

/// Asks a service without a daemon around it.
async fn ask_service(service: &Service, path: &str, body: &Value) -> (u16, HeaderMap, Value) {
    let request = Request::post(path).header("content-type", "application/json");
    let answer = service
        .answer(request.body(Body::from(body.to_string())).unwrap())
        .await;
    let (head, body) = answer.into_parts();
    (
        head.status.as_u16(),
        head.headers,
        serde_json::from_slice(&body).unwrap(),
    )
}

async fn shown(service: &Service, path: &str) -> Value {
    let answer = service
        .answer(Request::get(path).body(Body::empty()).unwrap())
        .await;
    serde_json::from_slice(&answer.into_body()).unwrap()
}

async fn begun(service: &Service) -> String {
    let (status, _, body) = ask_service(service, "/v1/verifications", &number()).await;
    assert_eq!(status, 201, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn whatever_the_backend_fails_with_there_is_an_answer_for_it() {
    let (_site, daemon) = daemon();
    let answers = Answers::of(&daemon).await;
    for (class, name) in FailureClass::ALL {
        let service = Service::start(&Rules::default());
        let resend = format!("/v1/verifications/{}/resend", begun(&service).await);
        service
            .backend
            .answers(Err(SendFailure::new(class, "code", "text")));
        for (path, body) in [
            ("/api/phone/register", number()),
            ("/v1/verifications", number()),
            (&resend, json!({})),
        ] {
            let (status, headers, body) = ask_service(&service, path, &body).await;
            answers.hold(&format!("{name} at {path}"), path, (status, &headers, &body));
            assert!(
                matches!(status, 400 | 502 | 503),
                "{name} at {path}: {status} {body}"
            );
        }
        let shown = shown(&service, resend.trim_end_matches("/resend")).await;
        let state = if class == FailureClass::OutcomeUnknown {
            "unknown"
        } else {
            "failed"
        };
        assert_eq!(
            (&shown["delivery"]["status"], &shown["delivery"]["class"]),
            (&json!(state), &json!(name)),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn whoever_is_over_a_limit_learns_when_not_to_be() {
    let (_site, daemon) = daemon();
    let answers = Answers::of(&daemon).await;
    let hour = std::time::Duration::from_secs(3600);
    let mut rules = Rules::default();
    rules.limits.number = [Limit::new("number_per_hour", 1, hour)].into();
    let service = Service::start(&rules);
    let resend = format!("/v1/verifications/{}/resend", begun(&service).await);
    for (path, body) in [
        ("/api/phone/register", number()),
        ("/v1/verifications", number()),
        (&resend, json!({})),
    ] {
        let (status, headers, body) = ask_service(&service, path, &body).await;
        answers.hold(path, path, (status, &headers, &body));
        assert_eq!(
            (status, &body["code"]),
            (429, &json!("number_per_hour")),
            "{path}: {body}"
        );
        assert_eq!(headers["retry-after"], "3600", "{path}");
    }
}
