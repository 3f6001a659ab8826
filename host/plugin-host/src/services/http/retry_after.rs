//! `Retry-After` in an answer (RFC 9110, section 10.2.3): a number of seconds, or a date. Libraries get seconds, so
//! that each of them, in whatever language, reads one form.

use std::time::{Duration, SystemTime};

use phone_verify_plugin_abi::{RawHttpResponse, abi_stable::std_types::RString};

use crate::clock::UnixMillis;

/// Turns a date into the seconds until then, by the clock of the provider if it says what that shows, else by ours.
pub(super) fn in_seconds(answer: &mut RawHttpResponse, now: UnixMillis) {
    let sent_at = answer.headers.iter().find(|header| header.0.as_str() == "date");
    let sent_at = sent_at.and_then(|header| httpdate::parse_http_date(&header.1).ok());
    let now = sent_at.unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_millis(now.0));
    for header in answer
        .headers
        .iter_mut()
        .filter(|header| header.0.as_str() == "retry-after")
    {
        if let Ok(until) = httpdate::parse_http_date(header.1.trim()) {
            let wait = until.duration_since(now).unwrap_or_default();
            // A part of a second is waited for too.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            header.1 = RString::from(seconds.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use phone_verify_plugin_abi::abi_stable::std_types::{RVec, Tuple2};

    use super::*;

    #[test]
    fn a_date_is_the_time_until_then_by_the_providers_clock_or_ours() {
        // 1994-11-06 08:49:37, and half a second before that.
        let now = UnixMillis(784_111_776_500);
        for (date, retry_after, expected) in [
            (None, "120", "120"),
            (None, "Sun, 06 Nov 1994 08:51:37 GMT", "121"),
            (None, "Sunday, 06-Nov-94 08:51:37 GMT", "121"),
            (None, "Sun Nov  6 08:51:37 1994", "121"),
            (None, "Sun, 06 Nov 1994 08:40:00 GMT", "0"),
            (
                Some("Sun, 06 Nov 1994 08:51:07 GMT"),
                "Sun, 06 Nov 1994 08:51:37 GMT",
                "30",
            ),
            (Some("today"), "Sun, 06 Nov 1994 08:51:37 GMT", "121"),
            (None, "soon", "soon"),
        ] {
            let date = date.map(|date| Tuple2(RString::from("date"), RString::from(date)));
            let retry_after = Tuple2(RString::from("retry-after"), RString::from(retry_after));
            let mut answer = RawHttpResponse {
                status: 503,
                headers: date.into_iter().chain([retry_after.clone()]).collect(),
                body: RVec::new(),
                flags: 0,
                ext: RVec::new(),
            };
            in_seconds(&mut answer, now);
            let last = answer.headers.last().map(|header| header.1.as_str());
            assert_eq!(last, Some(expected), "{}", retry_after.1);
        }
    }
}
