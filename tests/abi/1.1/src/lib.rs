//! The raw ABI between the phone-verify host and its backend libraries, version 1.1.
//!
//! Backend authors use `phone-verify-plugin-api`, which wraps all of this in plain Rust types. Only that crate and the
//! host's loader depend on this one.
//!
//! Invariant: **append only.** A library built against 1.x loads in every host that implements 1.y, whether y is larger
//! or smaller than x, because
//! - the traits and [`Root`] grow at their end only, and each method after the prefix marker has a default body, which
//!   answers for an older library;
//! - structs passed by value never change: later additions travel in their `flags` and `ext`, where unknown bits and
//!   keys are ignored;
//! - kinds and verdicts are open numbers ([`kind`], [`verdict`]), never enums, whose unknown values would be undefined
//!   behaviour;
//! - no cargo feature of this crate changes a layout.
//!
//! All texts are UTF-8. All times are in milliseconds unless the name says otherwise.

// `sabi_trait` expands to impls that newer compilers call non-local, and to undocumented glue.
#![allow(non_local_definitions, missing_docs)]
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    unused_qualifications,
    elided_lifetimes_in_paths
)]

use abi_stable::{
    StableAbi,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RArc, RBox, ROption, RResult, RSlice, RSliceMut, RStr, RString, RVec, Tuple2},
};
use async_ffi::{BorrowingFfiFuture, FfiFuture};

// Re-exported for the host's loader and the author crate's hidden module only.
pub use abi_stable;
pub use async_ffi;

/// Hosts refuse libraries of another major version.
pub const ABI_MAJOR: u16 = 1;
/// Increases with each appended method, field or key.
pub const ABI_MINOR: u16 = 1;

/// The exported symbol that holds the manifest, a JSON text. It is placed in [`MANIFEST_SECTION`], so that a host can
/// read it from the file before any code of the library runs.
pub const MANIFEST_SYMBOL: &str = "PHONE_VERIFY_MANIFEST";

/// The object-file section that holds [`MANIFEST_SYMBOL`].
pub const MANIFEST_SECTION: &str = if cfg!(target_vendor = "apple") {
    "__DATA,__pv_plugin"
} else if cfg!(windows) {
    ".pvplug"
} else {
    ".pv_plugin"
};

/// Name-value pairs that a struct carries in addition to its fields. Unknown names are ignored. The structs that start
/// a call may carry `traceparent`, the trace of the request that caused the call, in the format of W3C Trace Context.
pub type Ext = RVec<Tuple2<RString, RString>>;

/// A backend instance, created by [`Root::create`].
pub type BackendObj = BackendV1_TO<RBox<()>>;
/// The services that the host offers to a library for as long as it is loaded.
pub type HostObj = HostV1_TO<RArc<()>>;
/// The host's side of one call.
pub type CallObj = CallV1_TO<RBox<()>>;
/// Takes the outcome of each number of a bulk call.
pub type ReportObj = ReportV1_TO<RBox<()>>;

/// The kinds of [`RawError`], which decide what the host does next. An unknown kind counts as [`kind::INTERNAL`].
pub mod kind {
    /// An option is missing or wrong; the library cannot run until it is changed.
    pub const CONFIG: u16 = 1;
    /// Not a valid number for SMS. Final; the host reports it to the caller.
    pub const INVALID_NUMBER: u16 = 2;
    /// A valid number that cannot receive SMS. Final.
    pub const UNREACHABLE_NUMBER: u16 = 3;
    /// The owner opted out, or the number is blocked. Final; the host does not try another backend.
    pub const OPTED_OUT: u16 = 4;
    /// The account is not allowed to send to this destination.
    pub const DESTINATION_BLOCKED: u16 = 5;
    /// The text was refused: spam filter, too long.
    pub const CONTENT_REJECTED: u16 = 6;
    /// The sender id was refused.
    pub const SENDER_REJECTED: u16 = 7;
    /// The credentials were refused, or the account is closed.
    pub const AUTH_FAILED: u16 = 8;
    /// The account has no credit left.
    pub const NO_CREDIT: u16 = 9;
    /// Too many requests. `retry_after_ms` is the wait; 0: not stated.
    pub const THROTTLED: u16 = 10;
    /// A temporary failure, and no SMS was sent.
    pub const TRANSIENT: u16 = 11;
    /// The SMS may or may not have been sent. The host does not send it again.
    pub const OUTCOME_UNKNOWN: u16 = 12;
    /// A bug in the library.
    pub const INTERNAL: u16 = 13;
    /// The library does not implement this.
    pub const UNSUPPORTED: u16 = 14;
}

/// The [`RawError::code`], with [`kind::CONFIG`], of a constructor that refuses its options. The host reports these
/// problems in the same form as those that it finds itself.
pub const OPTIONS_REFUSED: &str = "options";

/// Results of judging a security code. The numbers are those of django-phone-verify. An unknown verdict counts as
/// [`verdict::INVALID`].
pub mod verdict {
    pub const VALID: u16 = 0;
    pub const INVALID: u16 = 1;
    pub const EXPIRED: u16 = 2;
    pub const ALREADY_VERIFIED: u16 = 3;
    pub const SESSION_TOKEN_INVALID: u16 = 4;
    pub const TOO_MANY_ATTEMPTS: u16 = 5;
}

/// The methods that a backend overrides: bits of `overrides` in the manifest. The host calls these methods only, and
/// uses its own code for the others.
pub mod overrides {
    pub const SEND_BULK_SMS: u64 = 1 << 0;
    pub const GENERATE_SECURITY_CODE: u64 = 1 << 1;
    pub const GENERATE_MESSAGE: u64 = 1 << 2;
    pub const VALIDATE_SECURITY_CODE: u64 = 1 << 3;
    pub const RECEIVE: u64 = 1 << 4;
    pub const FEEDBACK: u64 = 1 << 5;
    pub const BALANCE: u64 = 1 << 6;
    pub const CANCEL: u64 = 1 << 7;
    pub const EXTENSION: u64 = 1 << 8;
}

/// What a provider reports about a message: [`RawReport::state`]. An unknown state counts as [`delivery::UNKNOWN`].
pub mod delivery {
    /// On its way: the provider or the carrier has it.
    pub const SENT: u16 = 1;
    /// It arrived.
    pub const DELIVERED: u16 = 2;
    /// It did not arrive, and will not.
    pub const UNDELIVERED: u16 = 3;
    /// The provider does not know, and will not say more.
    pub const UNKNOWN: u16 = 4;
}

/// The digests of [`HostV1::digest`] and [`HostV1::hmac`]. MD5 and SHA-1 are for providers that demand them.
pub mod hash {
    pub const MD5: u16 = 1;
    pub const SHA1: u16 = 2;
    pub const SHA256: u16 = 3;
    pub const SHA512: u16 = 4;
}

/// The algorithms of [`HostV1::sign`], as RFC 7518 names them.
pub mod signature {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub const RS256: u16 = 1;
    /// ECDSA with P-256 and SHA-256: the two numbers of 32 bytes each, one after the other.
    pub const ES256: u16 = 2;
}

/// Keys of [`RawReceipt::ext`].
pub mod receipt_key {
    /// In how many segments the message was sent: a decimal number.
    pub const SEGMENTS: &str = "segments";
    /// What it costs, such as `0.0333`; with [`CURRENCY`].
    pub const COST: &str = "cost";
    /// ISO 4217, such as `EUR`.
    pub const CURRENCY: &str = "currency";
}

/// Log levels of [`HostV1::log`].
pub mod level {
    pub const ERROR: u16 = 1;
    pub const WARN: u16 = 2;
    pub const INFO: u16 = 3;
    pub const DEBUG: u16 = 4;
    pub const TRACE: u16 = 5;
}

/// Bits of [`RawError::flags`].
pub mod error_flag {
    /// The library's glue caught a panic. The host must replace the instance.
    pub const PANIC: u64 = 1 << 0;
    /// No code of the backend ran in this call, so the host may repeat it on a new instance.
    pub const NOT_RUN: u64 = 1 << 1;
}

/// The `code` of the [`RawError`] when [`HostV1::http`] has no response. The error's kind is right for a send:
/// `OUTCOME_UNKNOWN` if the request may have reached the provider, and another kind if it certainly did not.
pub mod http_error {
    pub const DENIED: &str = "http_denied";
    pub const INVALID: &str = "http_invalid_request";
    pub const CONNECT: &str = "http_connect";
    pub const TIMEOUT: &str = "http_timeout";
    pub const RESET: &str = "http_reset";
    pub const TOO_LARGE: &str = "http_body_too_large";
}

/// The error of a call.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawError {
    /// One of [`kind`].
    pub kind: u16,
    /// The provider's HTTP status; 0: none.
    pub http_status: u16,
    /// The wait that the provider asks for; 0: not stated.
    pub retry_after_ms: u64,
    /// A short stable code, the provider's where it has one: `nexmo_9`, `twilio_21211`.
    pub code: RString,
    /// A sentence for the operator.
    pub message: RString,
    pub flags: u64,
    pub ext: Ext,
}

/// One SMS to send.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawSms {
    /// E.164 with its plus sign.
    pub number: RString,
    pub message: RString,
    pub flags: u64,
    pub ext: Ext,
}

/// One text for several numbers.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawBulk {
    /// E.164 with plus signs, 1 to 1000 of them.
    pub numbers: RVec<RString>,
    pub message: RString,
    pub flags: u64,
    pub ext: Ext,
}

/// The result of an accepted SMS.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawReceipt {
    /// The provider's message id; empty: none.
    pub message_id: RString,
    pub flags: u64,
    pub ext: Ext,
}

/// A message to compose.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawMessageRequest {
    pub security_code: RString,
    /// The values that the caller passed: a JSON object of strings.
    pub context_json: RString,
    pub flags: u64,
    pub ext: Ext,
}

/// A security code to judge.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawCheck {
    pub security_code: RString,
    /// E.164 with its plus sign.
    pub phone_number: RString,
    pub session_token: RString,
    pub flags: u64,
    pub ext: Ext,
}

/// An HTTP request that the host sends for a library, or that came in for it.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawHttpRequest {
    pub method: RString,
    pub url: RString,
    pub headers: RVec<Tuple2<RString, RString>>,
    pub body: RVec<u8>,
    /// Limit of the whole exchange; 0: the rest of the call's time. 0 in a request that came in.
    pub timeout_ms: u64,
    pub flags: u64,
    pub ext: Ext,
}

/// The answer to a [`RawHttpRequest`], whatever its status; the host's or the library's.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawHttpResponse {
    pub status: u16,
    pub headers: RVec<Tuple2<RString, RString>>,
    pub body: RVec<u8>,
    pub flags: u64,
    pub ext: Ext,
}

/// What a library makes of a request that came in for it.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawReceived {
    /// The answer to the provider. 401 or 403, without reports: the signature is wrong.
    pub answer: RawHttpResponse,
    pub reports: RVec<RawReport>,
    pub flags: u64,
    pub ext: Ext,
}

/// What a provider reports about one message.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawReport {
    /// The id that [`RawReceipt::message_id`] gave.
    pub message_id: RString,
    /// One of [`delivery`].
    pub state: u16,
    /// Why it was not delivered, one of [`kind`]; 0: the provider does not say.
    pub kind: u16,
    /// The provider's code; empty: none.
    pub code: RString,
    /// When it happened, by the provider's clock; 0: not stated.
    pub at_unix_ms: u64,
    /// In how many segments it was sent; 0: not stated.
    pub segments: u32,
    /// What it really costs, such as `0.0333`; empty: not stated.
    pub cost: RString,
    /// ISO 4217, such as `EUR`.
    pub currency: RString,
    pub flags: u64,
    pub ext: Ext,
}

/// Whether the code of a message came back.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawFeedback {
    /// The id that [`RawReceipt::message_id`] gave.
    pub message_id: RString,
    pub converted: bool,
    pub flags: u64,
    pub ext: Ext,
}

/// A verification that is to end: of a backend that makes the codes itself.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawCancel {
    /// The id that [`RawReceipt::message_id`] gave.
    pub message_id: RString,
    pub flags: u64,
    pub ext: Ext,
}

/// What is left of an account.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawBalance {
    /// A decimal number, such as `15.5359`; it may be negative.
    pub amount: RString,
    /// ISO 4217, such as `EUR`; empty: not stated.
    pub currency: RString,
    pub flags: u64,
    pub ext: Ext,
}

/// A request under an id that says what it means, such as `phone-verify.stream/draft-1`.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawExtension {
    pub id: RString,
    /// What it holds depends on the id.
    pub body: RVec<u8>,
    pub flags: u64,
    pub ext: Ext,
}

/// The functions that a library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef)))]
#[sabi(missing_field(option))]
pub struct Root {
    /// The text of [`MANIFEST_SYMBOL`].
    pub manifest_json: extern "C" fn() -> RString,
    /// Creates the backend of this name from its options, a JSON object whose keys are in lower case.
    #[sabi(last_prefix_field)]
    pub create:
        extern "C" fn(name: RStr<'_>, host: HostObj, options_json: RStr<'_>) -> RResult<BackendObj, RawError>,
}

impl RootModule for RootRef {
    abi_stable::declare_root_module_statics! {RootRef}
    const BASE_NAME: &'static str = "phone_verify_backend";
    const NAME: &'static str = "phone_verify_backend";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// A backend. The host calls the methods after `send_sms` only where the manifest says that they are overridden. Their
/// bodies here are the answers of a library that was built before they existed.
#[sabi_trait]
pub trait BackendV1: Send + Sync + 'static {
    #[sabi(last_prefix_field)]
    fn send_sms<'a>(
        &'a self,
        sms: RawSms,
        call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<RawReceipt, RawError>>;

    /// Sends one text to several numbers, and reports the outcome of each.
    fn send_bulk_sms<'a>(
        &'a self,
        _bulk: RawBulk,
        _report: ReportObj,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<(), RawError>> {
        unsupported("send_bulk_sms")
    }

    fn generate_security_code<'a>(
        &'a self,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<RString, RawError>> {
        unsupported("generate_security_code")
    }

    /// `RNone`: the `MESSAGE` template is used.
    fn generate_message<'a>(
        &'a self,
        _request: RawMessageRequest,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<ROption<RString>, RawError>> {
        unsupported("generate_message")
    }

    /// One of [`verdict`].
    fn validate_security_code<'a>(
        &'a self,
        _check: RawCheck,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<u16, RawError>> {
        unsupported("validate_security_code")
    }

    /// Reads a request of the provider, and says what it reports. Since 1.1, as all below.
    fn receive<'a>(
        &'a self,
        _request: RawHttpRequest,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<RawReceived, RawError>> {
        unsupported("receive")
    }

    /// Tells the provider whether a code came back.
    fn feedback<'a>(
        &'a self,
        _feedback: RawFeedback,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<(), RawError>> {
        unsupported("feedback")
    }

    /// What is left of the account.
    fn balance<'a>(&'a self, _call: CallObj) -> BorrowingFfiFuture<'a, RResult<RawBalance, RawError>> {
        unsupported("balance")
    }

    /// Ends a verification whose code the provider made.
    fn cancel<'a>(
        &'a self,
        _cancel: RawCancel,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<(), RawError>> {
        unsupported("cancel")
    }

    /// `RNone`: the library does not know the id.
    fn extension<'a>(
        &'a self,
        _request: RawExtension,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<ROption<RVec<u8>>, RawError>> {
        BorrowingFfiFuture::new(async move { RResult::ROk(ROption::RNone) })
    }
}

/// The host's services, for as long as the library is loaded. Callable from any thread.
#[sabi_trait]
pub trait HostV1: Send + Sync + 'static {
    /// Writes one line to the host's log, with secrets and phone numbers masked.
    fn log(&self, level: u16, message: RStr<'_>, fields: RVec<Tuple2<RString, RString>>);
    fn now_unix_ms(&self) -> u64;
    fn monotonic_ns(&self) -> u64;
    /// Fills the buffer from the operating system's CSPRNG.
    fn random(&self, into: RSliceMut<'_, u8>);
    /// Sends a request through the host's pooled client. The client verifies TLS, does not follow redirects, and
    /// refuses bodies of more than 1 MiB.
    fn http(&self, request: RawHttpRequest) -> FfiFuture<RResult<RawHttpResponse, RawError>>;
    #[sabi(last_prefix_field)]
    fn sleep_ms(&self, duration_ms: u64) -> FfiFuture<()>;

    /// The digest of `data` by one of [`hash`]. Since 1.1, as all below.
    fn digest(&self, _hash: u16, _data: RSlice<'_, u8>) -> RResult<RVec<u8>, RawError> {
        RResult::RErr(not_offered("this host", "digest"))
    }

    /// HMAC (RFC 2104) by one of [`hash`].
    fn hmac(&self, _hash: u16, _key: RSlice<'_, u8>, _data: RSlice<'_, u8>) -> RResult<RVec<u8>, RawError> {
        RResult::RErr(not_offered("this host", "hmac"))
    }

    /// Compares in a time that depends on the lengths alone.
    fn equal(&self, left: RSlice<'_, u8>, right: RSlice<'_, u8>) -> bool {
        let differences = left
            .iter()
            .zip(right.iter())
            .fold(0, |all, (left, right)| std::hint::black_box(all | (left ^ right)));
        left.len() == right.len() && differences == 0
    }

    /// Signs `data` by one of [`signature`], with a private key in PEM.
    fn sign(
        &self,
        _algorithm: u16,
        _key_pem: RStr<'_>,
        _data: RSlice<'_, u8>,
    ) -> RResult<RVec<u8>, RawError> {
        RResult::RErr(not_offered("this host", "sign"))
    }

    /// `RNone`: the host does not know the id.
    fn extension(&self, _request: RawExtension) -> FfiFuture<RResult<ROption<RVec<u8>>, RawError>> {
        FfiFuture::new(async { RResult::ROk(ROption::RNone) })
    }
}

/// The host's side of one call. Every method belongs to the verification of that call only.
#[sabi_trait]
pub trait CallV1: Send + Sync + 'static {
    /// The time at which the host cancels the call, on the clock of `HostV1::monotonic_ns`.
    fn deadline_monotonic_ns(&self) -> u64;
    /// The id under which the host logs this call.
    fn request_id(&self) -> RString;
    /// A key that is the same for every attempt to send one message; empty: none.
    fn idempotency_key(&self) -> RString;
    /// A BCP 47 language tag; empty: none was asked for.
    fn locale(&self) -> RString;
    /// The default behaviour: `TOKEN_LENGTH` characters of the alphabet in the settings.
    fn base_security_code(&self) -> RString;
    /// The default behaviour: the `MESSAGE` template in the call's language, with this code.
    fn base_message(&self, security_code: RStr<'_>) -> RResult<RString, RawError>;
    /// The default behaviour: one of [`verdict`]. Inside `validate_security_code` only; elsewhere an error of kind
    /// `UNSUPPORTED`.
    #[sabi(last_prefix_field)]
    fn base_validate(&self, security_code: RStr<'_>) -> FfiFuture<RResult<u16, RawError>>;

    /// The country of the number (ISO 3166, such as `DE`); empty: not known. Since 1.1, as all below.
    fn region(&self) -> RString {
        RString::new()
    }
    /// How the message goes: `sms`, `voice`, `whatsapp`, …; empty: not stated.
    fn channel(&self) -> RString {
        RString::new()
    }
    /// What it is for: `verification`, `message`; empty: not stated.
    fn purpose(&self) -> RString {
        RString::new()
    }
    /// The name of the template that the message is made of; empty: none.
    fn template(&self) -> RString {
        RString::new()
    }
    /// What the template is filled in with: a JSON object of strings; empty: nothing.
    fn params_json(&self) -> RString {
        RString::new()
    }
    /// The security code in the message; empty unless the manifest says `wants_code`.
    fn security_code(&self) -> RString {
        RString::new()
    }
    /// The provider's id of the message that began the verification; empty: none.
    fn message_id(&self) -> RString {
        RString::new()
    }
}

/// Takes the outcomes of a bulk call. The first outcome of each number counts; the host ignores later ones.
#[sabi_trait]
pub trait ReportV1: Send + Sync + 'static {
    /// `index` refers to [`RawBulk::numbers`].
    #[sabi(last_prefix_field)]
    fn settle(&self, index: u64, outcome: RResult<RawReceipt, RawError>);
}

/// The answer of a method that the library does not have.
fn unsupported<'a, T: Send + 'a>(method: &str) -> BorrowingFfiFuture<'a, RResult<T, RawError>> {
    let error = not_offered("this library", method);
    BorrowingFfiFuture::new(async move { RResult::RErr(error) })
}

/// The error of what one side does not have.
fn not_offered(side: &str, method: &str) -> RawError {
    RawError {
        kind: kind::UNSUPPORTED,
        http_status: 0,
        retry_after_ms: 0,
        code: RString::from("unsupported"),
        message: RString::from(format!("{side} does not offer {method}")),
        flags: 0,
        ext: RVec::new(),
    }
}
