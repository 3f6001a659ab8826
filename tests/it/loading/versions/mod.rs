//! The ABI's promise: a library built against 1.x loads in every host that speaks 1.y, and works there. Held by
//! backends that are built against the ABI as it was released, and against what may become of it.

mod frozen;
pub(crate) mod generation;

use std::sync::{Arc, Mutex};

use axum::{Router, http::HeaderMap, routing::post};
use phone_verify::model::{FailureClass, IncomingRequest, ReportedState, SessionToken, Verdict};
use phone_verify_plugin_host::{Backend, code};
use serde_json::{Map, json};
use tokio::net::TcpListener;

use self::generation::Generation;
use super::shelf::{Shelf, alice, call, code as security_code, number};

/// A provider that answers with what it was sent, and refuses a text that says so.
async fn provider() -> String {
    async fn take(headers: HeaderMap, body: String) -> Result<String, axum::http::StatusCode> {
        let request = headers["x-call"].to_str().unwrap().to_owned();
        if body.ends_with("refuse") {
            return Err(axum::http::StatusCode::UNPROCESSABLE_ENTITY);
        }
        // Looked at here, because what an SMS is about is masked in the id that comes back.
        assert!(body.starts_with("+13478379634|hello"), "{body}");
        Ok(format!("{request} {body}"))
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let service = Router::new().route("/", post(take));
    tokio::spawn(async move { axum::serve(listener, service).await });
    url
}

/// Loads a generation, and sends through it.
async fn loaded(name: &str, generation: Generation) -> Backend {
    let shelf = Shelf::trusting();
    let library = tokio::task::spawn_blocking(|| generation.build()).await.unwrap();
    shelf.put(name, &library);
    let options = json!({ "BASE_URL": provider().await });
    shelf.load(&format!("{name}.AncestorBackend"), &options).unwrap()
}

async fn sent(backend: &Backend) -> String {
    let receipt = backend.send_sms(&alice(), "hello", call()).await.unwrap();
    receipt.message_id.unwrap()
}

#[tokio::test]
async fn a_library_of_version_1_0_works_in_todays_host() {
    let backend = loaded("ancestor", Generation::released("ancestor")).await;
    assert_eq!(sent(&backend).await, "r-1 +13****34|*** i-1 de-AT true true");
    let failure = backend.send_sms(&alice(), "refuse", call()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::InvalidNumber);
    assert_eq!(
        (failure.code.as_str(), failure.http_status),
        ("ancestor_422", Some(422))
    );
    assert_eq!(failure.retry_after.unwrap().as_secs(), 7);
    assert_eq!(failure.message, "answered 422");

    let numbers = ["+13478379634", "+442079460018"].map(number);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let outcomes = Arc::clone(&heard);
    let settled = Arc::new(move |_, outcome: Result<phone_verify::model::Receipt, _>| {
        outcomes
            .lock()
            .unwrap()
            .push(outcome.unwrap().message_id.unwrap());
    });
    backend.send_bulk_sms(&numbers, "hello", call(), settled).await;
    assert_eq!(*heard.lock().unwrap(), ["*** to +13****34", "*** to +44****18"]);

    let made = backend.generate_security_code(call()).await.unwrap();
    assert_eq!(made.expose(), "7424242");
    let code = security_code("777777");
    let write = async |context: serde_json::Value| {
        backend
            .generate_message(&code, context.as_object().unwrap(), call())
            .await
            .unwrap()
    };
    assert_eq!(write(json!({})).await, None);
    assert_eq!(
        write(json!({"a": "b"})).await.as_deref(),
        Some("Your code is 777777. {\"a\":\"b\"}")
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
}

/// As 1.0 it works, and what came with 1.1 is there for it: each side calls the other's.
#[tokio::test]
async fn a_library_of_version_1_1_works_in_todays_host() {
    let backend = loaded("successor", successor()).await;
    assert_eq!(
        sent(&backend).await,
        "r-1 +13****34|*** i-1 de-AT true true, 694abd10842d161ddbc54df8a0d57cf64d0dbcc9 true, region \"\", \
         extension absent"
    );
    assert_eq!(backend.balance(call()).await.unwrap().to_string(), "5 EUR");
    let request = IncomingRequest {
        method: "POST".to_owned(),
        url: "https://verify.example/v1/receipts/eu".to_owned(),
        headers: Vec::new(),
        body: b"SM1".to_vec(),
    };
    let answer = backend.receive(request, call()).await.unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(answer.reports[0].message_id.expose(), "SM1");
    assert_eq!(answer.reports[0].state, ReportedState::Delivered);
}

fn successor() -> Generation {
    Generation::of_version("1.1", "successor")
        .backend("\"minor\":0", "\"minor\":1")
        .backend("\"overrides\":15", "\"overrides\":95,\"webhook\":\"signed\",\"receipts\":\"handset\"")
        .backend(
            "    // -- validate --\n",
            "    fn balance<'a>(&'a self, _call: CallObj) -> BorrowingFfiFuture<'a, RResult<RawBalance, RawError>> {
        let (amount, currency) = (RString::from(\"5\"), RString::from(\"EUR\"));
        let balance = RawBalance { amount, currency, flags: 1 << 63, ext: RVec::new() };
        BorrowingFfiFuture::new(async move { RResult::ROk(balance) })
    }

    fn receive<'a>(
        &'a self,
        request: RawHttpRequest,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<RawReceived, RawError>> {
        let (flags, ext) = (1 << 63, RVec::new());
        let report = RawReport {
            message_id: RString::from(String::from_utf8_lossy(&request.body).into_owned()),
            state: delivery::DELIVERED,
            kind: 0,
            code: RString::new(),
            at_unix_ms: 0,
            segments: 0,
            cost: RString::new(),
            currency: RString::new(),
            flags,
            ext: RVec::new(),
        };
        let answer = RawHttpResponse { status: 204, headers: RVec::new(), body: RVec::new(), flags, ext: RVec::new() };
        let received = RawReceived { answer, reports: RVec::from(vec![report]), flags, ext };
        BorrowingFfiFuture::new(async move { RResult::ROk(received) })
    }

    // -- validate --\n",
        )
        .backend("    kind, level, verdict,", "    delivery, hash, kind, level, verdict,")
        .backend("RawHttpRequest,\n    RawMessageRequest,", "RawHttpRequest, RawHttpResponse, RawReceived, RawReport,\n    RawExtension, RawBalance, RawMessageRequest,")
        .backend("RSliceMut, RStr,", "RSlice, RSliceMut, RStr,")
        .backend_part(
            "receipt",
            "                let (key, data) = (RSlice::from_slice(b\"secret\"), RSlice::from_slice(b\"abc\"));
                let mac = self.host.hmac(hash::SHA1, key, data).unwrap();
                let mac: String = mac.iter().map(|byte| format!(\"{byte:02x}\")).collect();
                let is_equal = self.host.equal(data, data) && !self.host.equal(key, data);
                let (region, flags) = (call.region(), 0);
                let body = RVec::new();
                let asked = RawExtension { id: RString::from(\"test/draft-1\"), body, flags, ext: RVec::new() };
                let known = self.host.extension(asked).await.unwrap().is_some();
                let known = if known { \"there\" } else { \"absent\" };
                RResult::ROk(receipt(format!(
                    \"{about} {has_clock} {is_random}, {mac} {is_equal}, region {region:?}, extension {known}\"
                )))\n",
        )
}

/// Methods, a field of the root and a key that a later version may bring. The library asks the host for them, and is
/// content with what an older host leaves out.
#[tokio::test]
async fn a_library_of_a_later_version_works_in_todays_host() {
    let backend = loaded("descendant", descendant()).await;
    assert_eq!(
        sent(&backend).await,
        "r-1 +13****34|*** i-1 de-AT true true, metric absent, trace \"\""
    );
}

fn descendant() -> Generation {
    const OF_BACKEND: &str =
        "        BorrowingFfiFuture::new(async move { RResult::ROk(ROption::RNone) })\n    }\n";
    const OF_HOST: &str = "        FfiFuture::new(async { RResult::ROk(ROption::RNone) })\n    }\n";
    const OF_CALL: &str = "    fn message_id(&self) -> RString {\n        RString::new()\n    }\n";
    const CREATE: &str = "    pub create:\n        extern \"C\" fn(name: RStr<'_>, host: HostObj, options_json: RStr<'_>) -> RResult<BackendObj, RawError>,\n";
    let after = |before: &str, appended: &str| format!("{before}{appended}");
    Generation::of_version("1.1", "descendant")
        .abi("pub const ABI_MINOR: u16 = 1;", "pub const ABI_MINOR: u16 = 2;")
        .abi(
            CREATE,
            &after(CREATE, "    pub discover: extern \"C\" fn(id: RStr<'_>) -> ROption<RString>,\n"),
        )
        .abi(
            OF_BACKEND,
            &after(
                OF_BACKEND,
                "    fn assess<'a>(&'a self, _call: CallObj) -> BorrowingFfiFuture<'a, RResult<u64, RawError>> {
        unsupported(\"assess\")
    }\n",
            ),
        )
        .abi(
            OF_HOST,
            &after(OF_HOST, "    fn metric(&self, _name: RStr<'_>, _value: u64) -> bool {\n        false\n    }\n"),
        )
        .abi(
            OF_CALL,
            &after(OF_CALL, "    fn trace_id(&self) -> RString {\n        RString::new()\n    }\n"),
        )
        .backend("\"minor\":0", "\"minor\":2")
        .backend("    manifest_json,\n        create,\n", "    manifest_json,\n        create,\n        discover,\n")
        .backend(
            "fn root()",
            "extern \"C\" fn discover(_id: RStr<'_>) -> ROption<RString> {\n    ROption::RNone\n}\n\nfn root()",
        )
        .backend(
            "    // -- validate --\n",
            "    fn assess<'a>(&'a self, _call: CallObj) -> BorrowingFfiFuture<'a, RResult<u64, RawError>> {
        BorrowingFfiFuture::new(async { RResult::ROk(5) })
    }

    // -- validate --\n",
        )
        .backend_part(
            "receipt",
            "                let metric = self.host.metric(RStr::from(\"sent\"), 1);
                let metric = if metric { \"taken\" } else { \"absent\" };
                let trace = call.trace_id();
                let mut receipt = receipt(format!(
                    \"{about} {has_clock} {is_random}, metric {metric}, trace {trace:?}\"
                ));
                receipt.flags = 1 << 63;
                receipt.ext.push(Tuple2(RString::from(\"segments\"), RString::from(\"2\")));
                RResult::ROk(receipt)\n",
        )
}

/// To a library that lacks the last method, today's host is the later one.
#[tokio::test]
async fn a_library_of_an_earlier_version_works_in_todays_host() {
    let earlier = Generation::released("earlier")
        .abi(LAST_METHOD, "")
        .backend("\"overrides\":15", "\"overrides\":7")
        .backend_part("validate", "    ")
        .backend("RawCheck, ", "")
        .backend("    kind, level, verdict,", "    kind, level,");
    let backend = loaded("earlier", earlier).await;
    assert_eq!(sent(&backend).await, "r-1 +13****34|*** i-1 de-AT true true");
    assert!(!backend.overrides_validate_security_code());
    let code = security_code("777777");
    assert_eq!(
        backend
            .generate_message(&code, &Map::new(), call())
            .await
            .unwrap(),
        None
    );
}

const LAST_METHOD: &str = "
    /// One of [`verdict`].
    fn validate_security_code<'a>(
        &'a self,
        _check: RawCheck,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<u16, RawError>> {
        unsupported(\"validate_security_code\")
    }
";

/// What must never be done to the ABI, and what a library that was built against such a copy is refused with.
#[test]
fn a_library_of_a_changed_abi_is_refused_in_one_sentence() {
    const CLOCKS: [&str; 2] = [
        "    fn now_unix_ms(&self) -> u64;\n",
        "    fn monotonic_ns(&self) -> u64;\n",
    ];
    const TEXTS: [&str; 2] = [
        "    /// E.164 with its plus sign.\n    pub number: RString,\n",
        "    pub message: RString,\n",
    ];
    let [clocks, texts] = [CLOCKS, TEXTS].map(|[first, second]| format!("{first}{second}"));
    let [clocks_swapped, texts_swapped] = [CLOCKS, TEXTS].map(|[first, second]| format!("{second}{first}"));
    let headers = "    pub status: u16,\n    pub headers: RVec<Tuple2<RString, RString>>,\n";
    for (of, version) in [
        (
            "field_removed",
            headers,
            "    pub status: u16,\n",
            "RawHttpResponse lacks headers",
        ),
        (
            "field_moved",
            &texts,
            &texts_swapped,
            "RawSms has message in the place of number",
        ),
        (
            "field_retyped",
            "    pub status: u16,\n",
            "    pub status: u32,\n",
            "RawHttpResponse.status is u32 instead of u16",
        ),
        ("method_removed", CLOCKS[1], "", "HostV1 lacks monotonic_ns"),
        (
            "method_moved",
            &clocks,
            &clocks_swapped,
            "HostV1 has monotonic_ns in the place of now_unix_ms",
        ),
        (
            "method_retyped",
            CLOCKS[0],
            "    fn now_unix_ms(&self) -> u32;\n",
            "HostV1.now_unix_ms is fn(RRef) -> u32 instead of fn(RRef) -> u64",
        ),
    ]
    .into_iter()
    // A change of the first version, and of the last: what came between the two is no difference.
    .zip(["1.0", "1.1"].into_iter().cycle())
    {
        let (name, from, to, difference) = of;
        let shelf = Shelf::empty();
        shelf.put(name, &Generation::of_version(version, name).abi(from, to).build());
        let options = json!({ "BASE_URL": "https://acme.example" });
        let refusals = shelf
            .load(&format!("{name}.AncestorBackend"), &options)
            .unwrap_err();
        let sentence = refusals[0].sentence.rsplit('/').next().unwrap();
        assert_eq!(refusals[0].code, code::WRONG_LAYOUT);
        assert_eq!(
            sentence,
            format!(
                "lib{name}.so was built against a changed copy of the backend ABI 1.x: {difference}; rebuild it against \
                 an unchanged phone-verify-plugin-api"
            )
        );
    }
}
