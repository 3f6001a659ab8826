//! The raw ABI between the phone-verify host and its backend libraries, version 1.0.
//!
//! Backend authors use `phone-verify-plugin-api`, which wraps all of this in plain Rust types; only
//! that crate and the host's loader name this one.
//!
//! Invariant: **append only.** A library built against 1.x loads in every host that speaks 1.y,
//! y ≥ x, and the other way round, because
//! - the traits and [`Root`] grow at their end only, and each method after the prefix marker has a
//!   body, which an older library answers with;
//! - structs that cross by value never change: what comes later travels in their `flags` and `ext`,
//!   where unknown bits and keys are ignored;
//! - kinds and verdicts are open numbers ([`kind`], [`verdict`]), never enums;
//! - no cargo feature of this crate changes a layout.
//!
//! All text is UTF-8, all times are milliseconds unless the name says otherwise.

// `sabi_trait` expands to impls that newer compilers call non-local, and to undocumented glue.
#![allow(non_local_definitions, missing_docs)]
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    unused_qualifications,
    elided_lifetimes_in_paths
)]

pub mod c;

use abi_stable::{
    StableAbi,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RArc, RBox, ROption, RResult, RSliceMut, RStr, RString, RVec, Tuple2},
};
use async_ffi::{BorrowingFfiFuture, FfiFuture};

// For the host's loader and the author crate's hidden glue; nobody else names them.
pub use abi_stable;
pub use async_ffi;

/// Two ABIs with different majors never meet.
pub const ABI_MAJOR: u16 = 1;
/// Rises with each appended method, field or key.
pub const ABI_MINOR: u16 = 0;

/// The exported symbol that holds the manifest, a JSON text; it lies in [`MANIFEST_SECTION`] so that a
/// host reads it out of the file before any code of the library runs.
pub const MANIFEST_SYMBOL: &str = "PHONE_VERIFY_MANIFEST";

/// The object-file section of [`MANIFEST_SYMBOL`].
pub const MANIFEST_SECTION: &str = if cfg!(target_vendor = "apple") {
    "__DATA,__pv_plugin"
} else if cfg!(windows) {
    ".pvplug"
} else {
    ".pv_plugin"
};

/// Pairs that a struct carries beyond its fields; unknown keys are ignored. What a call is about may carry `traceparent`, the
/// trace of the request that it is made for, as W3C Trace Context writes it.
pub type Ext = RVec<Tuple2<RString, RString>>;

/// A backend instance, made by [`Root::create`].
pub type BackendObj = BackendV1_TO<RBox<()>>;
/// What the host offers a library for as long as it is loaded.
pub type HostObj = HostV1_TO<RArc<()>>;
/// What the host offers one call.
pub type CallObj = CallV1_TO<RBox<()>>;
/// Where a bulk call reports the outcome of each number.
pub type ReportObj = ReportV1_TO<RBox<()>>;

/// The kinds of [`RawError`]: what the host does next depends on them. An unknown kind counts as
/// [`kind::INTERNAL`].
pub mod kind {
    /// An option is missing or wrong; the library cannot run until it is changed.
    pub const CONFIG: u16 = 1;
    /// Not a number that can be texted. Final; the caller is told.
    pub const INVALID_NUMBER: u16 = 2;
    /// A real number that cannot be reached. Final.
    pub const UNREACHABLE_NUMBER: u16 = 3;
    /// The owner opted out, or the number is barred. Final, and never tried through another backend.
    pub const OPTED_OUT: u16 = 4;
    /// The account may not text this destination.
    pub const DESTINATION_BLOCKED: u16 = 5;
    /// The text was refused: spam filter, too long.
    pub const CONTENT_REJECTED: u16 = 6;
    /// The sender id was refused.
    pub const SENDER_REJECTED: u16 = 7;
    /// The credentials were refused, or the account is closed.
    pub const AUTH_FAILED: u16 = 8;
    /// The account has no credit left.
    pub const NO_CREDIT: u16 = 9;
    /// Too fast; `retry_after_ms` says how long to wait, 0 = not said.
    pub const THROTTLED: u16 = 10;
    /// A passing fault, and no SMS was sent.
    pub const TRANSIENT: u16 = 11;
    /// The SMS may or may not have been sent: it must not be sent again blindly.
    pub const OUTCOME_UNKNOWN: u16 = 12;
    /// A fault of the library itself.
    pub const INTERNAL: u16 = 13;
    /// The backend does not offer this.
    pub const UNSUPPORTED: u16 = 14;
}

/// The [`RawError::code`], with [`kind::CONFIG`], of a constructor that was given options that do not fit their types: the
/// host says so as it says what it finds wrong with options itself.
pub const OPTIONS_REFUSED: &str = "options";

/// What a check of a security code came to; the numbers are django-phone-verify's. An unknown verdict
/// counts as [`verdict::INVALID`].
pub mod verdict {
    pub const VALID: u16 = 0;
    pub const INVALID: u16 = 1;
    pub const EXPIRED: u16 = 2;
    pub const ALREADY_VERIFIED: u16 = 3;
    pub const SESSION_TOKEN_INVALID: u16 = 4;
    pub const TOO_MANY_ATTEMPTS: u16 = 5;
}

/// Which methods a backend overrides: bits of the manifest's `overrides`. The host calls across the
/// boundary for these only and keeps to its own code for the rest.
pub mod overrides {
    pub const SEND_BULK_SMS: u64 = 1 << 0;
    pub const GENERATE_SECURITY_CODE: u64 = 1 << 1;
    pub const GENERATE_MESSAGE: u64 = 1 << 2;
    pub const VALIDATE_SECURITY_CODE: u64 = 1 << 3;
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
    /// The error is a panic that the library's glue caught; the instance must be replaced.
    pub const PANIC: u64 = 1 << 0;
    /// Nothing of the backend ran in this call, which may be made again on the instance's successor.
    pub const NOT_RUN: u64 = 1 << 1;
}

/// Why [`HostV1::http`] gave no response: the `code` of its [`RawError`]. The kind is already the
/// right one for a send: `TRANSIENT` when nothing can have been sent, else `OUTCOME_UNKNOWN`.
pub mod http_error {
    pub const DENIED: &str = "http_denied";
    pub const INVALID: &str = "http_invalid_request";
    pub const CONNECT: &str = "http_connect";
    pub const TIMEOUT: &str = "http_timeout";
    pub const RESET: &str = "http_reset";
    pub const TOO_LARGE: &str = "http_body_too_large";
}

/// Why a call failed.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawError {
    /// One of [`kind`].
    pub kind: u16,
    /// The provider's HTTP status, 0 = none.
    pub http_status: u16,
    /// How long to wait before another try, 0 = not said.
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

/// The provider took the SMS.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RawReceipt {
    /// The provider's message id, empty = none.
    pub message_id: RString,
    pub flags: u64,
    pub ext: Ext,
}

/// A security code to put into words.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawMessageRequest {
    pub security_code: RString,
    /// The caller's context: a JSON object of strings.
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

/// A request that the host makes for a library.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawHttpRequest {
    pub method: RString,
    pub url: RString,
    pub headers: RVec<Tuple2<RString, RString>>,
    pub body: RVec<u8>,
    /// The whole exchange must be over by then; 0 = what is left of the call.
    pub timeout_ms: u64,
    pub flags: u64,
    pub ext: Ext,
}

/// The answer to a [`RawHttpRequest`], whatever its status.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct RawHttpResponse {
    pub status: u16,
    pub headers: RVec<Tuple2<RString, RString>>,
    pub body: RVec<u8>,
    pub flags: u64,
    pub ext: Ext,
}

/// What a library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef)))]
#[sabi(missing_field(option))]
pub struct Root {
    /// The text of [`MANIFEST_SYMBOL`].
    pub manifest_json: extern "C" fn() -> RString,
    /// Makes the backend of that name from its options, a JSON object whose keys are in lower case.
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

/// A backend. Methods after `send_sms` are called only where the manifest says they are overridden;
/// their bodies here are what an older library answers.
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
}

/// The host's side, for as long as the library is loaded. Callable from any thread.
#[sabi_trait]
pub trait HostV1: Send + Sync + 'static {
    /// One line in the host's log; secrets and phone numbers are masked there.
    fn log(&self, level: u16, message: RStr<'_>, fields: RVec<Tuple2<RString, RString>>);
    fn now_unix_ms(&self) -> u64;
    fn monotonic_ns(&self) -> u64;
    /// Fills with bytes of the operating system's CSPRNG.
    fn random(&self, into: RSliceMut<'_, u8>);
    /// Through the host's pooled client: TLS checked, redirects off, body capped at 1 MiB.
    fn http(&self, request: RawHttpRequest) -> FfiFuture<RResult<RawHttpResponse, RawError>>;
    #[sabi(last_prefix_field)]
    fn sleep_ms(&self, duration_ms: u64) -> FfiFuture<()>;
}

/// The host's side of one call; every method is bound to that call's verification alone.
#[sabi_trait]
pub trait CallV1: Send + Sync + 'static {
    /// When the host gives the call up, on the clock of `HostV1::monotonic_ns`.
    fn deadline_monotonic_ns(&self) -> u64;
    /// Names this call in the host's log.
    fn request_id(&self) -> RString;
    /// The same for every try of one message; empty = none.
    fn idempotency_key(&self) -> RString;
    /// A BCP 47 language tag; empty = none asked for.
    fn locale(&self) -> RString;
    /// The base behaviour: `TOKEN_LENGTH` characters of the settings' alphabet.
    fn base_security_code(&self) -> RString;
    /// The base behaviour: the `MESSAGE` template of the call's language with this code.
    fn base_message(&self, security_code: RStr<'_>) -> RResult<RString, RawError>;
    /// The base behaviour: one of [`verdict`]. Only inside `validate_security_code`, else an error of
    /// kind `UNSUPPORTED`.
    #[sabi(last_prefix_field)]
    fn base_validate(&self, security_code: RStr<'_>) -> FfiFuture<RResult<u16, RawError>>;
}

/// Where a bulk call reports; each number counts once, what comes later for it is ignored.
#[sabi_trait]
pub trait ReportV1: Send + Sync + 'static {
    /// `index` into [`RawBulk::numbers`].
    #[sabi(last_prefix_field)]
    fn settle(&self, index: u64, outcome: RResult<RawReceipt, RawError>);
}

fn unsupported<'a, T: Send + 'a>(method: &str) -> BorrowingFfiFuture<'a, RResult<T, RawError>> {
    let error = RawError {
        kind: kind::UNSUPPORTED,
        http_status: 0,
        retry_after_ms: 0,
        code: RString::from("unsupported"),
        message: RString::from(format!("this library does not offer {method}")),
        flags: 0,
        ext: RVec::new(),
    };
    BorrowingFfiFuture::new(async move { RResult::RErr(error) })
}
