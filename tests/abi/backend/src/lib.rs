//! A backend in the raw ABI, without the author's crate: what a library of that version is, as a file.
//!
//! It uses every service of the host and overrides every method, so that a call of each crosses the boundary. What a
//! test changes in it for another version of the ABI stands between lines that say so.

use phone_verify_plugin_abi::{
    BackendObj, BackendV1, BackendV1_TO, CallObj, HostObj, RawBulk, RawCheck, RawError, RawHttpRequest,
    RawMessageRequest, RawReceipt, RawSms, ReportObj, Root, RootRef,
    abi_stable::{
        library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult},
        prefix_type::PrefixTypeTrait,
        sabi_trait::TD_Opaque,
        std_types::{ROption, RResult, RSliceMut, RStr, RString, RVec, Tuple2},
    },
    async_ffi::BorrowingFfiFuture,
    kind, level, verdict,
};

const MANIFEST_TEXT: &str = r#"{"schema":1,"library":"ancestor","version":"1.0.0","license":"MIT","repository":"",
"abi":{"major":1,"minor":0},"plugin_api":"0.1.0","panic":"unwind","backends":[{"name":"AncestorBackend",
"summary":"Speaks the raw ABI","sandbox":true,"overrides":15,"hosts":[],"options":[{"name":"BASE_URL","alias":"",
"type":"string","required":true,"secret":false,"default":null,"help":"","example":""}]}]}"#;

#[used]
#[unsafe(link_section = ".pv_plugin")]
#[unsafe(export_name = "PHONE_VERIFY_MANIFEST")]
static MANIFEST: [u8; MANIFEST_TEXT.len()] = match MANIFEST_TEXT.as_bytes().first_chunk() {
    Some(bytes) => *bytes,
    None => panic!("a text is as long as it is"),
};

struct Ancestor {
    host: HostObj,
    options: String,
}

fn receipt(message_id: String) -> RawReceipt {
    RawReceipt {
        message_id: RString::from(message_id),
        flags: 0,
        ext: RVec::from(vec![Tuple2(
            RString::from("ancestor.note"),
            RString::from("kept"),
        )]),
    }
}

fn error(kind: u16, message: &str) -> RawError {
    RawError {
        kind,
        http_status: 422,
        retry_after_ms: 7000,
        code: RString::from("ancestor_422"),
        message: RString::from(message),
        flags: 0,
        ext: RVec::from(vec![Tuple2(
            RString::from("ancestor.note"),
            RString::from("kept"),
        )]),
    }
}

impl Ancestor {
    /// Posts the text to where the options say.
    async fn post(&self, sms: &RawSms, call: &CallObj) -> RResult<RawReceipt, RawError> {
        let mut random = [0; 8];
        self.host.random(RSliceMut::from(&mut random[..]));
        self.host.sleep_ms(1).await;
        let address = self.options.split('"').find(|part| part.starts_with("http"));
        let request = RawHttpRequest {
            method: RString::from("POST"),
            url: RString::from(address.unwrap_or_default()),
            headers: RVec::from(vec![Tuple2(RString::from("x-call"), call.request_id())]),
            body: RVec::from(format!("{}|{}", sms.number, sms.message).into_bytes()),
            timeout_ms: 0,
            flags: 0,
            ext: RVec::new(),
        };
        match self.host.http(request).await {
            RResult::ROk(response) if response.status == 200 => {
                let body = String::from_utf8_lossy(&response.body).into_owned();
                let about = format!("{} {} {}", body, call.idempotency_key(), call.locale());
                let has_clock = self.host.now_unix_ms() > 0 && call.deadline_monotonic_ns() > 0;
                let is_random = random != [0; 8];
                // -- receipt --
                RResult::ROk(receipt(format!("{about} {has_clock} {is_random}")))
                // -- end --
            }
            RResult::ROk(response) => RResult::RErr(error(
                kind::INVALID_NUMBER,
                &format!("answered {}", response.status),
            )),
            RResult::RErr(error) => RResult::RErr(error),
        }
    }
}

impl BackendV1 for Ancestor {
    fn send_sms<'a>(
        &'a self,
        sms: RawSms,
        call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<RawReceipt, RawError>> {
        BorrowingFfiFuture::new(async move { self.post(&sms, &call).await })
    }

    fn send_bulk_sms<'a>(
        &'a self,
        bulk: RawBulk,
        report: ReportObj,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<(), RawError>> {
        BorrowingFfiFuture::new(async move {
            for (index, number) in (0..).zip(&bulk.numbers) {
                report.settle(
                    index,
                    RResult::ROk(receipt(format!("{} to {number}", bulk.message))),
                );
            }
            RResult::ROk(())
        })
    }

    fn generate_security_code<'a>(
        &'a self,
        call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<RString, RawError>> {
        BorrowingFfiFuture::new(async move {
            RResult::ROk(RString::from(format!("7{}", call.base_security_code())))
        })
    }

    fn generate_message<'a>(
        &'a self,
        request: RawMessageRequest,
        call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<ROption<RString>, RawError>> {
        BorrowingFfiFuture::new(async move {
            if request.context_json == "{}" {
                return RResult::ROk(ROption::RNone);
            }
            let base = call.base_message(RStr::from(request.security_code.as_str()));
            base.map(|text| ROption::RSome(RString::from(format!("{text} {}", request.context_json))))
        })
    }

    // -- validate --
    fn validate_security_code<'a>(
        &'a self,
        check: RawCheck,
        call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<u16, RawError>> {
        BorrowingFfiFuture::new(async move {
            if check.session_token == "open-sesame" && check.phone_number.starts_with('+') {
                return RResult::ROk(verdict::VALID);
            }
            call.base_validate(RStr::from(check.security_code.as_str())).await
        })
    }
    // -- end --
}

extern "C" fn manifest_json() -> RString {
    RString::from(MANIFEST_TEXT)
}

extern "C" fn create(_name: RStr<'_>, host: HostObj, options: RStr<'_>) -> RResult<BackendObj, RawError> {
    host.log(level::INFO, RStr::from("the ancestor is made"), RVec::new());
    let options = options.as_str().to_owned();
    RResult::ROk(BackendV1_TO::from_value(Ancestor { host, options }, TD_Opaque))
}

fn root() -> RootRef {
    Root {
        manifest_json,
        create,
    }
    .leak_into_prefix()
}

extern "C" fn module() -> RootModuleResult {
    __call_root_module_loader(root)
}

// SAFETY: `module` makes a `RootRef`.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static HEADER: LibHeader = unsafe { LibHeader::from_constructor::<RootRef>(module, CheckTypeLayout::Yes) };
