//! Between the C door's values and the ABI's. What comes from a library is copied at once, so that nothing of the host
//! holds a pointer into it.
//!
//! Invariant: no member beyond a struct's own `size` is read, and none within it is trusted to be a text.

use std::mem::{MaybeUninit, offset_of, size_of};

use phone_verify_plugin_abi::{
    RawError, RawExtension, RawHttpRequest, RawHttpResponse, RawReport,
    abi_stable::std_types::{RString, RVec, Tuple2},
    c, kind,
};

use crate::{convert::raw_error, model::ReceiptAnswer};

/// A struct of the C door.
///
/// # Safety
/// It is `repr(C)`, begins with its `size: u32`, and all zeroes is a value of it.
pub(super) unsafe trait Record: Copy {
    /// Its size when it was released: less than that is no such struct.
    const RELEASED: usize;
}

macro_rules! records {
    ($($name:ident $(before $appended:ident)?),+) => {$(
        // SAFETY: so it is written in the ABI, where integers, pointers and optional functions are all that there is.
        unsafe impl Record for c::$name {
            const RELEASED: usize = records!(@released $name $($appended)?);
        }
    )+};
    (@released $name:ident) => { size_of::<c::$name>() };
    (@released $name:ident $appended:ident) => { offset_of!(c::$name, $appended) };
}

// Where a struct has grown, what was released ends before the first member that was appended.
records!(
    Error,
    Outcome before segments,
    HttpRequest,
    HttpResponse,
    Report,
    Extension,
    PluginEntry before receive
);

/// What a struct says its size is; `None` for no struct.
///
/// # Safety
/// `from` is null, or points to a struct that begins with its size.
pub(super) unsafe fn size<T: Record>(from: *const T) -> Option<usize> {
    // SAFETY: as the caller says; the alignment is not the library's promise.
    (!from.is_null()).then(|| unsafe { from.cast::<u32>().read_unaligned() } as usize)
}

/// A copy of a library's struct, whose later members are zero where the library is older, and left out where it is
/// newer; `None` if it is none.
///
/// # Safety
/// `from` is null, or points to a struct of as many bytes as its first member says.
pub(super) unsafe fn record<T: Record>(from: *const T) -> Option<T> {
    // SAFETY: as the caller says.
    let size = unsafe { size(from) }.filter(|size| *size >= T::RELEASED)?;
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: the source has `size` bytes, as the caller says, and the target `size_of::<T>()`.
    unsafe {
        from.cast::<u8>()
            .copy_to_nonoverlapping(copy.as_mut_ptr().cast(), size.min(size_of::<T>()));
    }
    // SAFETY: all zeroes is a value of a record, and so is what its library made of it.
    Some(unsafe { copy.assume_init() })
}

/// A library's array; nonsense is none.
///
/// # Safety
/// `data` is null, or points to `count` values that stay as they are during `'a`.
pub(super) unsafe fn slice<'a, T>(data: *const T, count: usize) -> &'a [T] {
    let fits = count
        .checked_mul(size_of::<T>())
        .is_some_and(|bytes| isize::try_from(bytes).is_ok());
    if data.is_null() || !data.is_aligned() || !fits {
        return &[];
    }
    // SAFETY: not null, aligned and short enough; the rest is as the caller says.
    unsafe { std::slice::from_raw_parts(data, count) }
}

/// A copy of a library's bytes.
///
/// # Safety
/// The text's data is null, or points to as many bytes as it says.
pub(super) unsafe fn bytes(text: c::Text) -> Vec<u8> {
    // SAFETY: as the caller says.
    unsafe { slice(text.data, text.length) }.to_vec()
}

/// A copy of a library's text; what is not UTF-8 in it is replaced.
///
/// # Safety
/// As for [`bytes`].
pub(super) unsafe fn text(text: c::Text) -> String {
    // SAFETY: as the caller says.
    lossy(unsafe { bytes(text) })
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A copy of a library's pairs.
///
/// # Safety
/// `data` is null, or points to `count` pairs of texts.
pub(super) unsafe fn pairs(data: *const c::Pair, count: usize) -> RVec<Tuple2<RString, RString>> {
    // SAFETY: as the caller says.
    let pairs = unsafe { slice(data, count) };
    let copy = |pair: &c::Pair| {
        // SAFETY: as the caller says.
        let (name, value) = unsafe { (text(pair.name), text(pair.value)) };
        Tuple2(RString::from(name), RString::from(value))
    };
    pairs.iter().map(copy).collect()
}

/// A copy of a library's error.
///
/// # Safety
/// `from` is null, or points to an error.
pub(super) unsafe fn error(from: *const c::Error) -> RawError {
    // SAFETY: as the caller says.
    let Some(error) = (unsafe { record(from) }) else {
        return raw_error(
            kind::INTERNAL,
            "bad_error",
            "the backend gave an error of the wrong size",
        );
    };
    // SAFETY: as the caller says.
    let (code, message) = unsafe { (text(error.code), text(error.message)) };
    RawError {
        http_status: error.http_status,
        retry_after_ms: error.retry_after_ms,
        ..raw_error(error.kind, &code, &message)
    }
}

/// What a library answered.
pub(super) struct Answer {
    pub(super) verdict: u16,
    /// `None` where there is none, which is not the same as an empty one.
    pub(super) text: Option<Vec<u8>>,
    pub(super) segments: u32,
    pub(super) cost: String,
    pub(super) currency: String,
    pub(super) response: Option<RawHttpResponse>,
    pub(super) reports: RVec<RawReport>,
}

impl Answer {
    /// Its text; what is not UTF-8 in it is replaced.
    pub(super) fn text(&mut self) -> Option<String> {
        self.text.take().map(lossy)
    }
}

/// A copy of a library's answer.
///
/// # Safety
/// `from` is null, or points to an outcome.
pub(super) unsafe fn outcome(from: *const c::Outcome) -> Result<Answer, RawError> {
    // SAFETY: as the caller says.
    let Some(outcome) = (unsafe { record(from) }) else {
        let message = "the backend gave an answer of the wrong size";
        return Err(raw_error(kind::INTERNAL, "bad_outcome", message));
    };
    if !outcome.error.is_null() {
        // SAFETY: not null, so an error, as the caller says.
        return Err(unsafe { error(outcome.error) });
    }
    Ok(Answer {
        verdict: outcome.verdict,
        // SAFETY: as the caller says, here and below.
        text: (!outcome.text.data.is_null()).then(|| unsafe { bytes(outcome.text) }),
        segments: outcome.segments,
        // SAFETY: as above.
        cost: unsafe { text(outcome.cost) },
        // SAFETY: as above.
        currency: unsafe { text(outcome.currency) },
        // SAFETY: as above.
        response: unsafe { response(outcome.response) },
        // SAFETY: as above.
        reports: unsafe { slice(outcome.reports, outcome.report_count.min(MAX_REPORTS_READ)) }
            .iter()
            // SAFETY: as above.
            .filter_map(|report| unsafe { self::report(*report) })
            .collect(),
    })
}

/// One more than the host takes, so that it is seen that there were too many.
const MAX_REPORTS_READ: usize = ReceiptAnswer::MAX_REPORTS + 1;

/// A copy of a library's answer to a provider.
///
/// # Safety
/// `from` is null, or points to a response.
unsafe fn response(from: *const c::HttpResponse) -> Option<RawHttpResponse> {
    // SAFETY: as the caller says, here and below.
    let response = unsafe { record(from) }?;
    Some(RawHttpResponse {
        status: response.status,
        // SAFETY: as above.
        headers: unsafe { pairs(response.headers, response.header_count) },
        // SAFETY: as above.
        body: RVec::from(unsafe { bytes(response.body) }),
        flags: 0,
        ext: RVec::new(),
    })
}

/// A copy of what a library reports of a message.
///
/// # Safety
/// `from` is null, or points to a report.
unsafe fn report(from: *const c::Report) -> Option<RawReport> {
    // SAFETY: as the caller says, here and below.
    let report = unsafe { record(from) }?;
    // SAFETY: as above.
    let read = |text| RString::from(unsafe { self::text(text) });
    Some(RawReport {
        message_id: read(report.message_id),
        state: report.state,
        kind: report.kind,
        code: read(report.code),
        at_unix_ms: report.at_unix_ms,
        segments: report.segments,
        cost: read(report.cost),
        currency: read(report.currency),
        flags: 0,
        ext: RVec::new(),
    })
}

/// A copy of what a library asks under an id.
///
/// # Safety
/// `from` is null, or points to such a request.
pub(super) unsafe fn extension(from: *const c::Extension) -> Option<RawExtension> {
    // SAFETY: as the caller says, here and below.
    let request = unsafe { record(from) }?;
    Some(RawExtension {
        // SAFETY: as above.
        id: RString::from(unsafe { text(request.id) }),
        // SAFETY: as above.
        body: RVec::from(unsafe { bytes(request.body) }),
        flags: 0,
        ext: RVec::new(),
    })
}

/// A copy of a library's request.
///
/// # Safety
/// `from` is null, or points to a request.
pub(super) unsafe fn request(from: *const c::HttpRequest) -> Option<RawHttpRequest> {
    // SAFETY: as the caller says, here and below.
    let request = unsafe { record(from) }?;
    // SAFETY: as above.
    let (method, url) = unsafe { (text(request.method), text(request.url)) };
    Some(RawHttpRequest {
        method: RString::from(method),
        url: RString::from(url),
        // SAFETY: as above.
        headers: unsafe { pairs(request.headers, request.header_count) },
        // SAFETY: as above.
        body: RVec::from(unsafe { bytes(request.body) }),
        timeout_ms: request.timeout_ms,
        flags: 0,
        ext: RVec::new(),
    })
}

/// For the library to look at while the text lives.
pub(super) fn lend(text: &str) -> c::Text {
    lend_bytes(text.as_bytes())
}

pub(super) fn lend_bytes(bytes: &[u8]) -> c::Text {
    c::Text {
        data: bytes.as_ptr(),
        length: bytes.len(),
    }
}

pub(super) const NO_TEXT: c::Text = c::Text {
    data: std::ptr::null(),
    length: 0,
};

/// An outcome of nothing.
pub(super) const NO_OUTCOME: c::Outcome = c::Outcome {
    size: 0,
    verdict: 0,
    error: std::ptr::null(),
    text: NO_TEXT,
    segments: 0,
    cost: NO_TEXT,
    currency: NO_TEXT,
    response: std::ptr::null(),
    reports: std::ptr::null(),
    report_count: 0,
};

/// A C struct's `size`.
pub(super) fn size_of_record<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("no struct of the ABI has a thousand bytes")
}

/// For the library to look at while the pairs live.
pub(super) fn lend_pairs<'a, T: AsRef<str> + 'a>(
    pairs: impl IntoIterator<Item = (&'a T, &'a T)>,
) -> Vec<c::Pair> {
    let lend = |(name, value): (&T, &T)| c::Pair {
        name: lend(name.as_ref()),
        value: lend(value.as_ref()),
    };
    pairs.into_iter().map(lend).collect()
}

/// For the library to look at while the error lives.
pub(super) fn lend_error(error: &RawError) -> c::Error {
    c::Error {
        size: size_of_record::<c::Error>(),
        kind: error.kind,
        http_status: error.http_status,
        retry_after_ms: error.retry_after_ms,
        code: lend(&error.code),
        message: lend(&error.message),
    }
}

/// For the library to look at while the request and its pairs live.
pub(super) fn lend_request(request: &RawHttpRequest, headers: &[c::Pair]) -> c::HttpRequest {
    c::HttpRequest {
        size: size_of_record::<c::HttpRequest>(),
        method: lend(&request.method),
        url: lend(&request.url),
        headers: headers.as_ptr(),
        header_count: headers.len(),
        body: lend_bytes(&request.body),
        timeout_ms: request.timeout_ms,
    }
}

/// For the library to look at while the response and its pairs live.
pub(super) fn lend_response(response: &RawHttpResponse, headers: &[c::Pair]) -> c::HttpResponse {
    c::HttpResponse {
        size: size_of_record::<c::HttpResponse>(),
        status: response.status,
        headers: headers.as_ptr(),
        header_count: headers.len(),
        body: lend_bytes(&response.body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    struct Later(c::Error, u64);

    #[test]
    fn a_struct_of_another_age_is_read_as_far_as_both_know_it() {
        let raw = raw_error(kind::AUTH_FAILED, "acme_401", "who are you?");
        let mut error = lend_error(&raw);
        // SAFETY: a whole error.
        let read = |error: &c::Error| unsafe { super::error(error) };
        assert_eq!(read(&error).code, "acme_401");
        error.size -= 1;
        assert_eq!(read(&error).code, "bad_error");

        let mut later = Later(error, u64::MAX);
        later.0.size = size_of_record::<Later>();
        assert_eq!(read(&later.0).kind, kind::AUTH_FAILED);
    }

    #[test]
    fn nonsense_is_an_empty_text() {
        for (data, length) in [(std::ptr::null(), 7), (b"x".as_ptr(), usize::MAX)] {
            // SAFETY: neither is looked at.
            assert_eq!(unsafe { text(c::Text { data, length }) }, "");
        }
        // SAFETY: two bytes.
        assert_eq!(unsafe { text(lend_bytes(b"a\xff")) }, "a\u{fffd}");
        // SAFETY: null is allowed.
        let outcome = unsafe { outcome(std::ptr::null()) };
        assert_eq!(outcome.err().unwrap().code, "bad_outcome");
    }
}
