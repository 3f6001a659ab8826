//! Comparison of media types by the rules of Django REST framework (`rest_framework/utils/mediatypes.py`).

use axum::http::{HeaderMap, header};

/// Whether a media type matches a known one. It may have wildcards and parameters; parameters are ignored.
pub(super) fn fits(given: &str, known: &str) -> bool {
    let essence = given.split(';').next().unwrap_or_default().trim();
    let (main, sub) = essence.split_once('/').unwrap_or((essence, ""));
    let (known_main, known_sub) = known.split_once('/').unwrap_or((known, ""));
    let fits = |given: &str, known: &str| given == "*" || given.trim().eq_ignore_ascii_case(known);
    fits(main, known_main) && fits(sub, known_sub)
}

/// Whether an `Accept` header allows JSON. A browser that asks for a page gets JSON too, as there is nothing else.
pub(super) fn accepts_json(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(header::ACCEPT).iter().peekable();
    if given.peek().is_none() {
        return true;
    }
    given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|wanted| fits(wanted, "application/json") || fits(wanted, "text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_case_and_wildcards_do_not_matter() {
        for given in [
            "application/json",
            "Application/JSON ; charset=utf-8",
            "application/*",
            "*/*;q=0.1",
        ] {
            assert!(fits(given, "application/json"), "{given}");
        }
        for given in [
            "",
            "json",
            "application",
            "text/json",
            "application/json5",
            "application/",
        ] {
            assert!(!fits(given, "application/json"), "{given}");
        }
    }
}
