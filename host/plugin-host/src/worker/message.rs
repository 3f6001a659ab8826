//! What host and worker say to each other. Which of the two may say what is in the type; which call it is about is in
//! the frame's head.
//!
//! Invariants: the two sides are the same build ([`PROTOCOL`]), so that nothing here needs to be understood by another
//! version; nothing has a `Debug`.

use phone_verify_plugin_abi::abi_stable::std_types::{ROption, RString};
use serde::{Deserialize, Serialize};

use crate::{
    CallFacts,
    raw::{
        Balance, Body, Bulk, Cancel, Check, Error, Extension, Feedback, HttpRequest, MessageRequest, Receipt,
        Received, Sms,
    },
    services::protocol::{Answered, HostRequest},
};

/// Host and worker that differ in this do not talk to each other.
pub(super) const PROTOCOL: &str = concat!("1/", env!("CARGO_PKG_VERSION"));

/// The id of frames that are about no call.
pub(super) const NO_CALL: u64 = 0;

/// The number of a request that wants no reply.
pub(super) const NO_REPLY: u32 = 0;

/// From the host.
#[derive(Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// Open this library; said once, first.
    Open {
        protocol: String,
        /// The staged file.
        path: Vec<u8>,
        /// Its name, for a refusal.
        file: String,
        /// What its manifest says that it overrides.
        overrides: u64,
        /// Whether the worker enters its sandbox first.
        is_confined: bool,
    },
    /// Construct a backend; answered with `Done`.
    Create {
        instance: u64,
        export: String,
        options_json: String,
        times: Times,
    },
    /// Drop a backend; answered with `Discarded`.
    Discard { instance: u64 },
    /// Run a call; answered with `Done`.
    Call {
        instance: u64,
        method: Method,
        about: About,
        times: Times,
    },
    /// The call is given up; answered with `Done` or `Cancelled`.
    Cancel,
    /// The answer to `ToHost::Ask`.
    Reply { request: u32, answer: Answered },
    /// End in order.
    Bye,
}

/// From the worker.
#[derive(Serialize, Deserialize)]
pub(super) enum ToHost {
    /// The sandbox is on. Said once and first, before there is any code of the library that could say it.
    Confined {
        /// Whether nothing in the process can reach a network by itself.
        is_sealed: bool,
        /// What of the sandbox this system does not offer.
        lacking: Vec<String>,
        /// What it is limited to.
        limits: Limits,
    },
    /// The library is open.
    Ready,
    /// The library is not opened.
    Refused {
        code: String,
        sentence: String,
        may_pass: bool,
    },
    /// A call or a construction ended.
    Done(Result<Outcome, Error>),
    /// A call was given up in time.
    Cancelled,
    /// A backend was dropped.
    Discarded { instance: u64 },
    /// What the library asks of the host, or tells it; answered with `Reply` unless the number is [`NO_REPLY`].
    Ask {
        request: u32,
        instance: u64,
        what: HostRequest,
    },
    /// The reply is not waited for any more.
    Drop { request: u32 },
    /// One step of the call took too long.
    Slow { took_ms: u64 },
    /// What it does next, before there is any code of the library: should it end meanwhile, that is the cause.
    Preparing { step: Step },
}

/// What a worker is limited to: by its sandbox, or to less by its parent.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Of memory; `None`: it is not known, or as much as there is.
    pub(super) memory_bytes: Option<u64>,
    /// Of the stack of its first thread, which runs the library; `None`: as above.
    pub(super) stack_bytes: Option<u64>,
}

/// What a worker does before it opens its library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Sets up what it waits with.
    Begin,
    /// Limits of memory, descriptors and the like.
    Limits,
    /// Capabilities, and its end with the parent.
    Privileges,
    /// Landlock.
    Files,
    /// seccomp.
    Calls,
}

/// The host's clocks when the frame was written; the worker's own run on from there.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) unix_ms: u64,
    pub(super) monotonic_ns: u64,
}

/// What the worker's `CallV1` says.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) deadline_monotonic_ns: u64,
    pub(super) request_id: RString,
    pub(super) idempotency_key: RString,
    pub(super) locale: RString,
    pub(super) facts: Box<CallFacts>,
}

/// A method of `BackendV1` with its arguments.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Method {
    SendSms(Sms),
    SendBulkSms(Bulk),
    GenerateSecurityCode,
    GenerateMessage(MessageRequest),
    ValidateSecurityCode(Check),
    Receive(HttpRequest),
    Feedback(Feedback),
    Balance,
    Cancel(Cancel),
    Extension(Extension),
}

/// What a method, or a construction, came to.
#[derive(Serialize, Deserialize)]
pub(super) enum Outcome {
    Nothing,
    Receipt(Receipt),
    Text(RString),
    MaybeText(ROption<RString>),
    Verdict(u16),
    Received(Received),
    Balance(Balance),
    /// `None`: the library does not know the id.
    Extension(Option<Body>),
}
