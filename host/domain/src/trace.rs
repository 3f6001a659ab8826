//! Which request something is done for: its id and its trace, as W3C Trace Context has it. Both are in every line that
//! is logged meanwhile, in the backend's call, in what its provider is asked, and in the answer.
//!
//! Invariant: what a client sends as one of them is taken over only if it is short, of harmless characters, and no
//! phone number; else they are made anew.

use std::{
    cell::RefCell,
    fmt::Write,
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use crate::entropy::Entropy;

/// A longer id of a client is replaced.
const MAX_REQUEST_ID: usize = 128;
/// A phone number has so many digits.
const PHONE_NUMBER: std::ops::RangeInclusive<usize> = 7..=15;

/// The header by which a request is named.
pub const REQUEST_ID: &str = "x-request-id";
/// The header by which a request is part of a trace: <https://www.w3.org/TR/trace-context/>.
pub const TRACEPARENT: &str = "traceparent";

/// Names one request.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Ids>);

#[derive(Debug)]
struct Ids {
    request_id: String,
    traceparent: String,
}

thread_local! {
    /// Of what this thread is doing right now.
    static CURRENT: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

impl Trace {
    /// Of a request with these headers; `None`: it has none, or more than one.
    pub fn of_request(request_id: Option<&str>, traceparent: Option<&str>, entropy: &Entropy) -> Self {
        // Without randomness the ids are not unique, which costs nothing but their use.
        let random: [u8; 24] = entropy.array().unwrap_or([1; 24]);
        let (trace_id, span_id) = random.split_at(16);
        let own;
        let (trace_id, flags) = if let Some(given) = traceparent.and_then(parse) {
            given
        } else {
            own = data_encoding::HEXLOWER.encode(trace_id);
            (own.as_str(), 0)
        };
        let mut made = String::with_capacity(55);
        // To a text, which takes all.
        let _ = write!(made, "00-{trace_id}-");
        data_encoding::HEXLOWER.encode_append(span_id, &mut made);
        let _ = write!(made, "-{flags:02x}");
        let request_id = request_id.filter(|id| is_sane(id)).unwrap_or(trace_id);
        Self(Arc::new(Ids {
            request_id: request_id.to_owned(),
            traceparent: made,
        }))
    }

    /// Of what this thread is doing.
    pub fn current() -> Option<Self> {
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
    }

    /// Does something for a request; `None`: for no request that is known.
    pub async fn scope<F: Future>(trace: Option<Self>, work: F) -> F::Output {
        let work = pin!(Some(work));
        let mut scoped = Scoped { work, trace };
        poll_fn(|context| scoped.poll(context)).await
    }

    /// The same for what needs no waiting.
    pub fn within<T>(trace: Self, work: impl FnOnce() -> T) -> T {
        let _outer = Outer::set_aside(Some(trace));
        work()
    }

    /// What the client calls the request, or else its trace.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.0.traceparent[3..35]
    }

    /// The header for what is asked meanwhile: with an id of our own as the parent.
    pub fn traceparent(&self) -> &str {
        &self.0.traceparent
    }
}

/// What this thread did before, which it goes on with when this is dropped, also by a panic.
struct Outer(Option<Trace>);

impl Outer {
    fn set_aside(inner: Option<Trace>) -> Self {
        Self(exchange(inner))
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        exchange(self.0.take());
    }
}

/// Makes this the current one, and returns the one before.
fn exchange(trace: Option<Trace>) -> Option<Trace> {
    // A thread that is ending does nothing for a request any more.
    CURRENT
        .try_with(|current| mem::replace(&mut *current.borrow_mut(), trace))
        .ok()
        .flatten()
}

/// Work for a request: its trace is the current one whenever it goes on, and while it is dropped.
struct Scoped<'a, F> {
    /// `None`: dropped.
    work: Pin<&'a mut Option<F>>,
    trace: Option<Trace>,
}

impl<F: Future> Scoped<'_, F> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        let _outer = Outer::set_aside(self.trace.clone());
        match self.work.as_mut().as_pin_mut() {
            Some(work) => work.poll(context),
            // Only `drop` takes it.
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Scoped<'_, F> {
    fn drop(&mut self) {
        let _outer = Outer::set_aside(self.trace.take());
        self.work.set(None);
    }
}

/// The trace and the flags of a `traceparent` header.
fn parse(text: &str) -> Option<(&str, u8)> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let (known, more) = text.split_at_checked(55)?;
    let mut parts = known.split('-');
    let mut next = |length| parts.next().filter(|part| part.len() == length && is_hex(part));
    let (version, trace_id, parent, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    // A later version may have more after what this one knows.
    let is_whole = more.is_empty() || (version != "00" && more.starts_with('-'));
    if version == "ff" || is_zero(trace_id) || is_zero(parent) || !is_whole {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    // Whether it is sampled and whether it is random; the meaning of the others is not known.
    let known_flags = if version == "00" { 0b11 } else { 0b01 };
    Some((trace_id, flags & known_flags))
}

/// Whether a client's id can be shown everywhere as it is.
fn is_sane(id: &str) -> bool {
    let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:=/+@~".contains(&byte);
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(is_harmless) && !holds_phone_number(id)
}

/// Whether there may be a phone number in it, for ids are not masked: as many digits as one has, in one piece or with
/// marks between them. What is made by a machine in one of the usual shapes holds none, though its digits may look so.
fn holds_phone_number(id: &str) -> bool {
    !is_of_a_machine(id) && runs_of_digits(id).any(|length| PHONE_NUMBER.contains(&length))
}

/// How many digits there are in each piece between letters, leading zeros left out.
fn runs_of_digits(id: &str) -> impl Iterator<Item = usize> {
    id.split(|character: char| character.is_ascii_alphabetic())
        .map(|piece| {
            let digits = piece.bytes().filter(u8::is_ascii_digit);
            digits.skip_while(|digit| *digit == b'0').count()
        })
}

/// Hexadecimal digits, in groups or not, as UUIDs and traces have them; and `Root=1-67891233-abcdef012345678912345678`,
/// the id of Amazon's load balancers.
fn is_of_a_machine(id: &str) -> bool {
    let hex =
        |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups = |text: &str, lengths: &[usize]| {
        let parts: Vec<&str> = text.split('-').collect();
        parts.len() == lengths.len() && parts.iter().zip(lengths).all(|(part, length)| hex(part, *length))
    };
    let is_amazons = |rest: &str| groups(rest, &[8, 24]);
    hex(id, 16)
        || hex(id, 32)
        || groups(id, &[8, 4, 4, 4, 12])
        || id.strip_prefix("Root=1-").is_some_and(is_amazons)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced(traceparent: &str) -> Trace {
        Trace::of_request(None, Some(traceparent), &Entropy::seeded(1))
    }

    fn current() -> Option<String> {
        Trace::current().map(|trace| trace.request_id().to_owned())
    }

    fn called(id: &str) -> Trace {
        Trace::of_request(Some(id), None, &Entropy::seeded(1))
    }

    /// Notes for which request it is dropped.
    struct Dropped<'a>(&'a RefCell<Option<String>>);

    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.replace(current());
        }
    }

    #[test]
    fn work_is_for_its_request_whenever_it_goes_on_and_while_it_is_dropped() {
        let dropped_for = RefCell::new(None);
        let seen = RefCell::new(Vec::new());
        let mut turns = 0;
        let work = async {
            let _dropped = Dropped(&dropped_for);
            let before = current();
            let inner = Trace::scope(Some(called("inner")), async { current() }).await;
            seen.borrow_mut().extend([before, inner, current()]);
            poll_fn(|_| {
                turns += 1;
                seen.borrow_mut().push(current());
                Poll::<()>::Pending
            })
            .await;
        };
        let mut context = Context::from_waker(std::task::Waker::noop());
        {
            let mut scoped = pin!(Trace::scope(Some(called("outer")), work));
            for _ in 0..2 {
                assert!(scoped.as_mut().poll(&mut context).is_pending());
                assert_eq!(current(), None);
            }
        }
        let names = seen.into_inner();
        let names: Vec<_> = names.iter().map(Option::as_deref).collect();
        let outer = Some("outer");
        assert_eq!(names, [outer, Some("inner"), outer, outer, outer]);
        assert_eq!(dropped_for.into_inner().as_deref(), outer);
        assert_eq!(current(), None);
    }

    #[test]
    fn a_panic_ends_work_for_a_request_as_its_end_does() {
        let panicked = std::panic::catch_unwind(|| Trace::within(called("outer"), || panic!("as it is to")));
        assert!(panicked.is_err());
        assert_eq!(current(), None);
    }

    #[test]
    fn a_trace_goes_on_under_a_parent_of_our_own() {
        let trace = traced(GIVEN);
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.request_id(), trace.trace_id());
        let parts: Vec<&str> = trace.traceparent().split('-').collect();
        assert_eq!([parts[0], parts[1], parts[3]], ["00", trace.trace_id(), "01"]);
        assert_ne!(parts[2], "00f067aa0ba902b7");
        assert!(parse(trace.traceparent()).is_some());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = GIVEN.replacen("00", "cc", 1);
        for text in [later.clone(), format!("{later}-what-the-future-will-be-like")] {
            assert_eq!(
                traced(&text).trace_id(),
                "4bf92f3577b34da6a3ce929d0e0e4736",
                "{text}"
            );
            assert!(traced(&text).traceparent().starts_with("00-"));
        }
        let flags = GIVEN.replace("-01", "-fe");
        assert!(traced(&flags).traceparent().ends_with("-02"));
    }

    #[test]
    fn what_is_no_trace_is_replaced() {
        let later = GIVEN.replacen("00", "cc", 1);
        for text in [
            "",
            "00",
            &GIVEN[..54],
            &format!("{GIVEN}-"),
            &format!("{GIVEN}-01"),
            &format!("{later}x"),
            &GIVEN.replacen("00", "ff", 1),
            &GIVEN.replacen("00", "0x", 1),
            &GIVEN.to_uppercase(),
            &GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GIVEN.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GIVEN.replace('-', "_"),
            &format!(" {GIVEN}"),
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            let trace = traced(text);
            assert_ne!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736", "{text}");
            assert!(parse(trace.traceparent()).is_some(), "{text}");
        }
    }

    #[test]
    fn an_id_is_taken_over_if_it_can_be_shown_anywhere() {
        let id_of = |given: &str| Trace::of_request(Some(given), None, &Entropy::seeded(1));
        for sane in [
            "1",
            "550e8400-e29b-41d4-a716-446655440000",
            "Root=1-67891233-abcdef012345678912345678",
            "1145141919810893364",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "job-42.7",
            &"x".repeat(128),
        ] {
            assert_eq!(id_of(sane).request_id(), sane);
        }
        for other in [
            "",
            " ",
            "a b",
            "a\"b",
            "a\u{1b}[2J",
            "ключ",
            "a\nb",
            "+13478379634",
            "13478379634",
            "347-837-9634",
            "register-+13478379634",
            "user13478379634",
            "tel:13478379634",
            "x+1-347-837-9634",
            "+1.347.837.9634a",
            "00013478379634000a",
            "a/+1/3478379634",
            &"x".repeat(129),
        ] {
            let trace = id_of(other);
            assert_eq!(trace.request_id(), trace.trace_id(), "{other}");
        }
    }
}
