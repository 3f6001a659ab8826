//! What is masked, and in how many steps.

use proptest::prelude::*;

use super::*;

fn clean(text: &str) -> String {
    Scrubber::new(&["s3cret/key".to_owned(), "ab".to_owned()]).clean(text, &["Your code is 482913."], 200)
}

#[test]
fn a_secret_is_masked_as_written_and_as_sent() {
    assert_eq!(
        clean("GET /?api_secret=s3cret%2Fkey (s3cret/key)"),
        "GET /?api_secret=*** (***)"
    );
    let in_a_path = Scrubber::new(&["ab*cd 9x~z".to_owned()]);
    assert_eq!(
        in_a_path.clean("POST /v1/ab%2Acd%209x~z/sms", &[], 200),
        "POST /v1/***/sms"
    );
    assert_eq!(
        clean("ab is too short to be a secret"),
        "ab is too short to be a secret"
    );
}

#[test]
fn the_message_and_its_code_are_masked() {
    assert_eq!(
        clean("cannot send \"Your code is 482913.\""),
        "cannot send \"***\""
    );
    assert_eq!(clean("code 482913 refused"), "code *** refused");
    let of_letters = |text| Scrubber::default().clean(text, &["Acme: your code is KXWTRM."], 200);
    assert_eq!(of_letters("KXWTRM is no code of Acme"), "*** is no code of Acme");
}

#[test]
fn where_the_code_is_unknown_every_word_that_may_be_one_is_masked() {
    for (text, expected) in [
        ("made 482913", "made ***"),
        ("4829 for KXWTRM, é48TR13é", "*** for ***, ***"),
        ("HTTP 200 after 12 ms", "*** 200 after 12 ms"),
        ("no code at all: +13****34", "no code at all: +13****34"),
        ("", ""),
    ] {
        assert_eq!(mask_any_code(text), expected);
    }
}

#[test]
fn a_phone_number_is_masked_however_it_is_written() {
    for (text, expected) in [
        ("to=+13478379634!", "to=+13****34!"),
        ("to 13478379634, or so", "to 13****34, or so"),
        ("to +1 (347) 837-9634.", "to +13****34."),
        ("+44 20 7946 0018 and +13478379634", "+44****18 and +13****34"),
        ("status 21211 after 1500 ms", "status 21211 after 1500 ms"),
        (
            "id 0C000000217B7F02 and 12345678ab",
            "id 0C000000217B7F02 and 12345678ab",
        ),
        ("é+13478379634", "é+13****34"),
        ("+13478379634 12345678", "+13****34 12****78"),
    ] {
        assert_eq!(clean(text), expected, "{text}");
    }
}

#[test]
fn the_number_of_the_call_is_masked_wherever_it_stands() {
    for (text, expected) in [
        ("to=%2B13478379634&x", "to=%2B13****34&x"),
        ("msisdn13478379634x", "msisdn13****34x"),
        ("347-837-9634 is busy", "34****34 is busy"),
        ("0013478379634", "00****34"),
        ("id13478379635", "id13478379635"),
    ] {
        let clean = Scrubber::default().clean(text, &["", "+13478379634"], 200);
        assert_eq!(clean, expected);
    }
}

#[test]
fn each_number_and_code_of_several_calls_is_masked() {
    let private = [
        "Your code is 4829",
        "+13478379634",
        "Your code is 482913",
        "+442079460018",
    ];
    for (text, expected) in [
        ("347-837-9634 and (020) 7946-0018", "34****34 and (02****18"),
        ("x13478379634x442079460018", "x13****34x44****18"),
        ("482913 or 4829", "*** or ***"),
    ] {
        assert_eq!(Scrubber::default().clean(text, &private, 200), expected);
    }
}

#[test]
fn what_is_secret_is_masked_before_what_looks_like_a_number() {
    let ours = Scrubber::new(&["k-4477009001231x".to_owned(), "4477009001".to_owned()]);
    let theirs = Scrubber::new(&["sid 13478379634 of us".to_owned(), "+4477009001231".to_owned()]);
    let clean = |text| Scrubber::clean_by_all([&ours, &theirs].into_iter(), text, &[], 200);
    assert_eq!(clean("k-4477009001231x, sid 13478379634 of us"), "***, ***");
    assert_eq!(clean("+4477009001231"), "***");
}

/// The rule for one number, as it reads.
fn is_at_the_end_or_whole(number: &str, digits: &str) -> bool {
    let pairs = number.bytes().rev().zip(digits.bytes().rev());
    pairs.take_while(|(one, other)| one == other).count() >= MIN_DIGITS || digits.contains(number)
}

#[test]
fn credentials_are_masked() {
    assert_eq!(
        clean("authorization: Basic QUM6czNjcmV0 and bearer a.b.c-123=, Basic authentication"),
        "authorization: Basic *** and bearer ***, Basic authentication"
    );
}

#[test]
fn a_text_is_one_line_of_bounded_length() {
    assert_eq!(clean("two\nlines\u{1b}[31m"), "two lines [31m");
    let turned = "a\u{2028}b\u{2029}c\u{202e}d\u{2066}e\u{9b}f\u{200b}g";
    assert_eq!(clean(turned), "a b c d e f g");
    let long = clean(&"é".repeat(20_000));
    assert_eq!(long.chars().count(), 200);
    assert!(long.ends_with('…'));
}

#[test]
fn no_run_of_a_text_is_looked_through_again() {
    for piece in ["0", "1 ", "+1", "1-(2) ", "é1", "+", "1234567 ", "12345678 "] {
        let text = piece.repeat(MAX_INPUT_BYTES / piece.len());
        let run = |text: &str| punctuated(text.strip_prefix('+').unwrap_or(text)).1;
        let (mut looked_for_any, mut looked_for_this) = (0, 0);
        mask_each(&text, |text, inside_word| {
            looked_for_any += if text.starts_with('+') {
                run(text)
            } else if inside_word {
                0
            } else {
                plain(text).1
            };
            any_number(text, inside_word)
        });
        mask_each(&text, |text, _| {
            looked_for_this += if text.starts_with('+') { 0 } else { run(text) };
            one_of(&["13478379634"], text)
        });
        for looked_at in [looked_for_any, looked_for_this] {
            assert!(looked_at <= text.len(), "{looked_at} of {}: {piece}", text.len());
        }
    }
}

/// The rule, tried at every character.
fn masked_step_by_step(text: &str, look: impl Fn(&str, bool) -> Found) -> String {
    mask_each(text, |text, inside_word| match look(text, inside_word) {
        Found::Other(_) => Found::Other(0),
        number @ Found::Number(_) => number,
    })
}

proptest! {
    #[test]
    fn what_is_skipped_holds_no_number(text in "([0-9]{0,17}|1?3478379634|[-+ .()/x\u{a0}é]{0,3}){0,12}") {
        prop_assert_eq!(mask_each(&text, any_number), masked_step_by_step(&text, any_number));
        let this = |text: &str, _| one_of(&["13478379634"], text);
        prop_assert_eq!(mask_each(&text, this), masked_step_by_step(&text, this));
    }

    #[test]
    fn a_number_is_found_among_many(
        mut numbers in proptest::collection::vec("[12]{7,9}", 0..6),
        digits in "[12]{1,20}",
    ) {
        let by_the_rule = numbers.iter().any(|number| is_at_the_end_or_whole(number, &digits));
        numbers.sort_by(|one, other| tail(one).cmp(tail(other)));
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        let is_found = matches!(one_of(&numbers, &digits), Found::Number(_));
        prop_assert_eq!(is_found, by_the_rule);
    }

    #[test]
    fn a_number_never_comes_through(before in "\\PC{0,12}", number in "\\+[1-9][0-9]{6,14}", after in "[^0-9]{0,12}") {
        let clean = clean(&format!("{before} {number}{after}"));
        prop_assert!(!clean.contains(&number), "{clean}");
    }
}
