//! The C form of the same ABI: Rust declarations of what `phone_verify_plugin.h` declares. The header explains each
//! member; a test compares sizes and offsets of the two.
//!
//! Invariant: **append only**, as all of this crate; and a value of all zero bytes is valid for every type, so that a
//! member missing in a shorter struct reads as absent.

use std::ffi::c_void;

/// The symbol under which a C library exports its table, a [`PluginEntry`].
pub const ENTRY_SYMBOL: &str = "pv_plugin_entry_v1";

/// `pv_text`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Text {
    pub data: *const u8,
    pub length: usize,
}

/// `pv_pair`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub name: Text,
    pub value: Text,
}

/// `pv_error`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Error {
    pub size: u32,
    pub kind: u16,
    pub http_status: u16,
    pub retry_after_ms: u64,
    pub code: Text,
    pub message: Text,
}

/// `pv_outcome`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub size: u32,
    pub verdict: u16,
    pub error: *const Error,
    pub text: Text,
    // Since 1.1.
    pub segments: u32,
    pub cost: Text,
    pub currency: Text,
    pub response: *const HttpResponse,
    pub reports: *const *const Report,
    pub report_count: usize,
}

/// `pv_report`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub size: u32,
    pub state: u16,
    pub kind: u16,
    pub message_id: Text,
    pub code: Text,
    pub at_unix_ms: u64,
    pub segments: u32,
    pub cost: Text,
    pub currency: Text,
}

/// `pv_call`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub size: u32,
    pub id: u64,
    pub deadline_monotonic_ns: u64,
    pub request_id: Text,
    pub idempotency_key: Text,
    pub locale: Text,
    // Since 1.1.
    pub region: Text,
    pub channel: Text,
    pub purpose: Text,
    pub template_name: Text,
    pub params: *const Pair,
    pub param_count: usize,
    pub security_code: Text,
    pub message_id: Text,
}

/// `pv_sms`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sms {
    pub size: u32,
    pub number: Text,
    pub message: Text,
}

/// `pv_bulk`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    pub size: u32,
    pub numbers: *const Text,
    pub number_count: usize,
    pub message: Text,
}

/// `pv_message_request`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MessageRequest {
    pub size: u32,
    pub security_code: Text,
    pub context: *const Pair,
    pub context_count: usize,
}

/// `pv_check`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub size: u32,
    pub security_code: Text,
    pub phone_number: Text,
    pub session_token: Text,
}

/// `pv_http_request`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest {
    pub size: u32,
    pub method: Text,
    pub url: Text,
    pub headers: *const Pair,
    pub header_count: usize,
    pub body: Text,
    pub timeout_ms: u64,
}

/// `pv_http_response`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HttpResponse {
    pub size: u32,
    pub status: u16,
    pub headers: *const Pair,
    pub header_count: usize,
    pub body: Text,
}

/// `pv_feedback`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Feedback {
    pub size: u32,
    pub converted: u32,
    pub message_id: Text,
}

/// `pv_cancel`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Cancel {
    pub size: u32,
    pub message_id: Text,
}

/// `pv_extension`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    pub size: u32,
    pub id: Text,
    pub body: Text,
}

/// `pv_http_done`
pub type HttpDone = unsafe extern "C" fn(*mut c_void, *const HttpResponse, *const Error);
/// `pv_done`
pub type Done = unsafe extern "C" fn(*mut c_void, *const Outcome);

/// `pv_host`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    pub size: u32,
    pub log: Option<unsafe extern "C" fn(*const Host, u16, Text, *const Pair, usize)>,
    pub now_unix_ms: Option<unsafe extern "C" fn(*const Host) -> u64>,
    pub monotonic_ns: Option<unsafe extern "C" fn(*const Host) -> u64>,
    pub random: Option<unsafe extern "C" fn(*const Host, *mut c_void, usize)>,
    pub http:
        Option<unsafe extern "C" fn(*const Host, u64, *const HttpRequest, *mut c_void, Option<HttpDone>)>,
    pub sleep: Option<unsafe extern "C" fn(*const Host, u64, u64, *mut c_void, Option<Done>)>,
    pub base_security_code: Option<unsafe extern "C" fn(*const Host, u64, *mut c_void, Option<Done>)>,
    pub base_message: Option<unsafe extern "C" fn(*const Host, u64, Text, *mut c_void, Option<Done>)>,
    pub base_validate: Option<unsafe extern "C" fn(*const Host, u64, Text, *mut c_void, Option<Done>)>,
    pub settle: Option<unsafe extern "C" fn(*const Host, u64, usize, *const Outcome)>,
    pub complete: Option<unsafe extern "C" fn(*const Host, u64, *const Outcome)>,
    pub refuse: Option<unsafe extern "C" fn(*const Host, *const Error)>,
    // Since 1.1.
    pub digest: Option<unsafe extern "C" fn(*const Host, u16, Text, *mut c_void, usize) -> usize>,
    pub hmac: Option<unsafe extern "C" fn(*const Host, u16, Text, Text, *mut c_void, usize) -> usize>,
    pub equal: Option<unsafe extern "C" fn(*const Host, Text, Text) -> i32>,
    pub sign: Option<unsafe extern "C" fn(*const Host, u16, Text, Text, *mut c_void, usize) -> usize>,
    pub extension:
        Option<unsafe extern "C" fn(*const Host, u64, *const Extension, *mut c_void, Option<Done>)>,
}

/// `pv_backend *`
pub type Backend = *mut c_void;

/// `pv_plugin_entry`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PluginEntry {
    pub size: u32,
    pub abi_major: u16,
    pub abi_minor: u16,
    pub create: Option<unsafe extern "C" fn(Text, *const Host, *const Pair, usize) -> Backend>,
    pub destroy: Option<unsafe extern "C" fn(Backend)>,
    pub send_sms: Option<unsafe extern "C" fn(Backend, *const Call, *const Sms)>,
    pub cancel: Option<unsafe extern "C" fn(Backend, u64)>,
    pub send_bulk_sms: Option<unsafe extern "C" fn(Backend, *const Call, *const Bulk)>,
    pub generate_security_code: Option<unsafe extern "C" fn(Backend, *const Call)>,
    pub generate_message: Option<unsafe extern "C" fn(Backend, *const Call, *const MessageRequest)>,
    pub validate_security_code: Option<unsafe extern "C" fn(Backend, *const Call, *const Check)>,
    // Since 1.1.
    pub receive: Option<unsafe extern "C" fn(Backend, *const Call, *const HttpRequest)>,
    pub feedback: Option<unsafe extern "C" fn(Backend, *const Call, *const Feedback)>,
    pub balance: Option<unsafe extern "C" fn(Backend, *const Call)>,
    pub cancel_verification: Option<unsafe extern "C" fn(Backend, *const Call, *const Cancel)>,
    pub extension: Option<unsafe extern "C" fn(Backend, *const Call, *const Extension)>,
}
