//! The `Date` header field: the time of the answer, from the wall clock.
//!
//! Invariant: the value is not kept between answers, so a corrected clock shows in the next one.

use std::time::{Duration, SystemTime};

use axum::http::HeaderValue;

use crate::clock::Clock;

/// The last second of the year 9999. The format has no later one.
const LAST_SECOND: u64 = 253_402_300_799;

/// The present time as HTTP writes it (RFC 9110, section 5.6.7).
pub(super) fn text(clock: &Clock) -> String {
    let since_1970 = Duration::from_secs((clock.wall().0 / 1000).min(LAST_SECOND));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since_1970)
}

/// The same as a header value.
pub(super) fn value(clock: &Clock) -> Option<HeaderValue> {
    HeaderValue::try_from(text(clock)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;

    #[test]
    fn it_is_the_wall_clock_whatever_that_says() {
        let clock = Clock::manual(UnixMillis(784_111_777_999));
        assert_eq!(text(&clock), "Sun, 06 Nov 1994 08:49:37 GMT");
        clock.step(3_600_000);
        assert_eq!(text(&clock), "Sun, 06 Nov 1994 09:49:37 GMT");
        clock.step(-3_600_000);
        assert_eq!(text(&clock), "Sun, 06 Nov 1994 08:49:37 GMT");
        for (wall, shown) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(text(&Clock::manual(UnixMillis(wall))), shown);
        }
    }
}
