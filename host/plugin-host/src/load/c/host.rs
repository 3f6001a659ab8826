//! The host's table of the C door: what a library calls.
//!
//! Invariant: nothing panics into a library, and any number for a call is met with an answer, never with a crash.

use std::ffi::c_void;

use phone_verify_plugin_abi::{
    HostObj, RawError, RawReceipt,
    abi_stable::std_types::{RResult, RSlice, RSliceMut, RStr, RString, RVec, Tuple2},
    c, kind, level, receipt_key,
};

use super::{
    call::{Done, OpenCall, Question, User, over, tell, tell_http_error},
    instance::Context,
    values::{self, Answer},
};
use crate::{
    convert::raw_error,
    raw,
    services::{end_process, guarded, protocol::HostReply},
};

/// What every library in C is given.
pub(super) const TABLE: c::Host = c::Host {
    #[expect(clippy::cast_possible_truncation, reason = "a hundred bytes")]
    size: size_of::<c::Host>() as u32,
    log: Some(log),
    now_unix_ms: Some(now_unix_ms),
    monotonic_ns: Some(monotonic_ns),
    random: Some(random),
    http: Some(http),
    sleep: Some(sleep),
    base_security_code: Some(base_security_code),
    base_message: Some(base_message),
    base_validate: Some(base_validate),
    settle: Some(settle),
    complete: Some(complete),
    refuse: Some(refuse),
    digest: Some(digest),
    hmac: Some(hmac),
    equal: Some(equal),
    sign: Some(sign),
    extension: Some(extension),
};

/// What lies behind the pointer that the library gives back.
fn context(host: *const c::Host) -> Option<&'static Context> {
    // SAFETY: a library has no other such pointer than that of `Context::as_host`, and no context is ever freed.
    unsafe { host.cast::<Context>().as_ref() }
}

/// Uses the host's services, as long as there are some.
fn with_host<T>(host: *const c::Host, otherwise: T, code: impl FnOnce(&HostObj) -> T) -> T {
    match context(host).and_then(Context::host) {
        Some(host) => guarded(otherwise, || code(&host)),
        None => otherwise,
    }
}

fn open_call(host: *const c::Host, call: u64) -> Option<std::sync::Arc<OpenCall>> {
    context(host)?.calls.find(call)
}

unsafe extern "C" fn log(
    host: *const c::Host,
    level: u16,
    message: c::Text,
    fields: *const c::Pair,
    count: usize,
) {
    with_host(host, (), |host| {
        // SAFETY: the header asks for a text and that many pairs.
        let (message, fields) = unsafe { (values::text(message), values::pairs(fields, count)) };
        host.log(level, RStr::from(message.as_str()), fields);
    });
}

unsafe extern "C" fn now_unix_ms(host: *const c::Host) -> u64 {
    with_host(host, 0, HostObj::now_unix_ms)
}

unsafe extern "C" fn monotonic_ns(host: *const c::Host) -> u64 {
    with_host(host, 0, HostObj::monotonic_ns)
}

unsafe extern "C" fn random(host: *const c::Host, into: *mut c_void, length: usize) {
    if into.is_null() || length == 0 {
        return;
    }
    let is_filled = isize::try_from(length).is_ok()
        && with_host(host, false, |host| {
            // SAFETY: the header asks for that many bytes to write to, which need not have a value before.
            let into = unsafe {
                into.cast::<u8>().write_bytes(0, length);
                std::slice::from_raw_parts_mut(into.cast::<u8>(), length)
            };
            host.random(RSliceMut::from(into));
            true
        });
    if !is_filled {
        // It would make guessable codes of what it believes to be random.
        end_process(
            "no randomness for a library in C: it asked after it was destroyed, or for an impossible length",
        );
    }
}

unsafe extern "C" fn http(
    host: *const c::Host,
    call: u64,
    request: *const c::HttpRequest,
    user: *mut c_void,
    done: Option<c::HttpDone>,
) {
    let (Some(done), user) = (done, User(user)) else {
        return;
    };
    // SAFETY: the header asks for a request.
    let Some(request) = (unsafe { values::request(request) }) else {
        let error = raw_error(kind::INTERNAL, "bad_request", "the request has the wrong size");
        return tell_http_error(done, user, &error);
    };
    let question = Question::new(Done::Http(done), user, |host, _| {
        let response = host.http(request);
        async { Ok(HostReply::Http(raw::HttpResponse(response.await.into_result()?))) }
    });
    ask(host, call, question);
}

unsafe extern "C" fn sleep(
    host: *const c::Host,
    call: u64,
    duration_ms: u64,
    user: *mut c_void,
    done: Option<c::Done>,
) {
    let Some(done) = done else {
        return;
    };
    let question = Question::new(Done::Outcome(done), User(user), move |host, _| {
        let slept = host.sleep_ms(duration_ms);
        async {
            slept.await;
            Ok(HostReply::Done)
        }
    });
    ask(host, call, question);
}

fn ask(host: *const c::Host, call: u64, question: Question) {
    match open_call(host, call) {
        Some(call) => call.ask(question),
        None => question.call_is_over(),
    }
}

unsafe extern "C" fn base_security_code(
    host: *const c::Host,
    call: u64,
    user: *mut c_void,
    done: Option<c::Done>,
) {
    let (Some(done), user) = (done, User(user)) else {
        return;
    };
    let Some(call) = open_call(host, call) else {
        return tell(done, user, Err(&over(kind::TRANSIENT)));
    };
    let code = call.call.base_security_code();
    if code.is_empty() {
        let error = raw_error(
            kind::TRANSIENT,
            "no_security_code",
            "the base could not make a security code",
        );
        return tell(done, user, Err(&error));
    }
    tell(done, user, Ok((0, Some(code.as_bytes()))));
}

unsafe extern "C" fn base_message(
    host: *const c::Host,
    call: u64,
    security_code: c::Text,
    user: *mut c_void,
    done: Option<c::Done>,
) {
    let (Some(done), user) = (done, User(user)) else {
        return;
    };
    let Some(call) = open_call(host, call) else {
        return tell(done, user, Err(&over(kind::TRANSIENT)));
    };
    // SAFETY: the header asks for a text.
    let code = unsafe { values::text(security_code) };
    let message = call.call.base_message(RStr::from(code.as_str())).into_result();
    tell(
        done,
        user,
        message.as_ref().map(|message| (0, Some(message.as_bytes()))),
    );
}

unsafe extern "C" fn base_validate(
    host: *const c::Host,
    call: u64,
    security_code: c::Text,
    user: *mut c_void,
    done: Option<c::Done>,
) {
    let Some(done) = done else {
        return;
    };
    // SAFETY: the header asks for a text.
    let code = unsafe { values::text(security_code) };
    let question = Question::new(Done::Outcome(done), User(user), move |_, call| {
        let verdict = call.base_validate(RStr::from(code.as_str()));
        async { Ok(HostReply::Verdict(verdict.await.into_result()?)) }
    });
    ask(host, call, question);
}

unsafe extern "C" fn settle(host: *const c::Host, call: u64, index: usize, outcome: *const c::Outcome) {
    let call = open_call(host, call);
    let Some(report) = call.as_ref().and_then(|call| call.report.as_ref()) else {
        return breach(
            host,
            "the backend settled a number of a call that is no bulk call, or over",
        );
    };
    // SAFETY: the header asks for an outcome.
    let outcome = unsafe { values::outcome(outcome) };
    let outcome = outcome.map(receipt);
    report.settle(index as u64, RResult::from(outcome));
}

unsafe extern "C" fn complete(host: *const c::Host, call: u64, outcome: *const c::Outcome) {
    let Some(context) = context(host) else {
        return;
    };
    // SAFETY: the header asks for an outcome.
    let outcome = unsafe { values::outcome(outcome) };
    if let Err(why) = context.calls.complete(call, outcome) {
        breach(host, why);
    }
}

unsafe extern "C" fn refuse(host: *const c::Host, error: *const c::Error) {
    if let Some(context) = context(host) {
        // SAFETY: the header asks for an error.
        let error = unsafe { values::error(error) };
        *context
            .refusal
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
    }
}

/// The library broke a rule of the header.
fn breach(host: *const c::Host, why: &str) {
    with_host(host, (), |host| {
        host.log(level::WARN, RStr::from(why), RVec::new());
    });
}

pub(super) fn receipt(mut answer: Answer) -> RawReceipt {
    let mut ext = RVec::new();
    let mut add = |key: &str, value: String| ext.push(Tuple2(RString::from(key), RString::from(value)));
    if answer.segments > 0 {
        add(receipt_key::SEGMENTS, answer.segments.to_string());
    }
    if !answer.cost.is_empty() {
        add(receipt_key::COST, std::mem::take(&mut answer.cost));
        add(receipt_key::CURRENCY, std::mem::take(&mut answer.currency));
    }
    RawReceipt {
        message_id: RString::from(answer.text().unwrap_or_default()),
        flags: 0,
        ext,
    }
}

unsafe extern "C" fn digest(
    host: *const c::Host,
    hash: u16,
    data: c::Text,
    into: *mut c_void,
    capacity: usize,
) -> usize {
    // SAFETY: the header asks for a text, and for that many bytes to write to.
    unsafe { computed(host, into, capacity, |host| host.digest(hash, lent(&data))) }
}

unsafe extern "C" fn hmac(
    host: *const c::Host,
    hash: u16,
    key: c::Text,
    data: c::Text,
    into: *mut c_void,
    capacity: usize,
) -> usize {
    // SAFETY: the header asks for two texts, and for that many bytes to write to.
    unsafe {
        computed(host, into, capacity, |host| {
            host.hmac(hash, lent(&key), lent(&data))
        })
    }
}

unsafe extern "C" fn equal(host: *const c::Host, left: c::Text, right: c::Text) -> i32 {
    // SAFETY: the header asks for two texts.
    let (left, right) = unsafe { (lent(&left), lent(&right)) };
    i32::from(with_host(host, false, |host| host.equal(left, right)))
}

unsafe extern "C" fn sign(
    host: *const c::Host,
    algorithm: u16,
    key_pem: c::Text,
    data: c::Text,
    into: *mut c_void,
    capacity: usize,
) -> usize {
    // SAFETY: the header asks for a text.
    let key = unsafe { values::text(key_pem) };
    // SAFETY: the header asks for a text, and for that many bytes to write to.
    unsafe {
        computed(host, into, capacity, |host| {
            host.sign(algorithm, RStr::from(key.as_str()), lent(&data))
        })
    }
}

/// The bytes of a text that a library lends.
///
/// # Safety
/// The text's data is null, or points to as many bytes as it says, which stay as they are meanwhile.
unsafe fn lent(text: &c::Text) -> RSlice<'_, u8> {
    // SAFETY: as the caller says.
    RSlice::from(unsafe { values::slice(text.data, text.length) })
}

/// Writes what the host computes into a library's buffer, and returns its length; 0: there is nothing, or no room.
///
/// # Safety
/// `into` is null, or points to `capacity` bytes to write to.
unsafe fn computed(
    host: *const c::Host,
    into: *mut c_void,
    capacity: usize,
    compute: impl FnOnce(&HostObj) -> RResult<RVec<u8>, RawError>,
) -> usize {
    with_host(host, 0, |host| match compute(host).into_result() {
        Ok(bytes) if bytes.len() <= capacity && !into.is_null() => {
            // SAFETY: the caller says that there is room for so many.
            unsafe {
                into.cast::<u8>()
                    .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            };
            bytes.len()
        }
        Ok(_) => 0,
        Err(error) => {
            host.log(level::WARN, RStr::from(error.message.as_str()), RVec::new());
            0
        }
    })
}

unsafe extern "C" fn extension(
    host: *const c::Host,
    call: u64,
    request: *const c::Extension,
    user: *mut c_void,
    done: Option<c::Done>,
) {
    let (Some(done), user) = (done, User(user)) else {
        return;
    };
    // SAFETY: the header asks for a request.
    let Some(request) = (unsafe { values::extension(request) }) else {
        let error = raw_error(kind::INTERNAL, "bad_request", "the request has the wrong size");
        return tell(done, user, Err(&error));
    };
    let question = Question::new(Done::Outcome(done), user, |host, _| {
        let answer = host.extension(request);
        async {
            let body = answer.await.into_result()?.into_option();
            Ok(HostReply::Extension(body.map(raw::Body)))
        }
    });
    ask(host, call, question);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set in the process that is to end.
    const ENDS: &str = "PHONE_VERIFY_TEST_ENDS";

    #[test]
    fn a_library_that_gets_no_randomness_does_not_go_on_with_zeroes() {
        if std::env::var_os(ENDS).is_some() {
            let mut bytes = [0_u8; 8];
            // SAFETY: the bytes are there; the host is gone.
            unsafe { random(std::ptr::null(), bytes.as_mut_ptr().cast(), bytes.len()) };
            return;
        }
        let this = "load::c::host::tests::a_library_that_gets_no_randomness_does_not_go_on_with_zeroes";
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this, "--nocapture"])
            .env(ENDS, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(
            !ended.status.success() && told.contains("no randomness"),
            "{told}"
        );
    }
}
