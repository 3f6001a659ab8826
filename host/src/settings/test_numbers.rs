//! `[phone_verification.TEST_NUMBERS]`: phone numbers with a fixed code until a date, to which no SMS is sent.
//!
//! Invariant: no message and no printed setting shows such a number in full, or its code. They would let any reader of
//! the log verify that number.

use super::{
    document::{Entry, Value},
    reader::{Section, text},
};
use crate::{
    clock::UnixMillis,
    model::{CodeFormat, PhoneNumber, SecurityCode, TestNumber, TestNumbers},
};

const TABLE: &str = "phone_verification.TEST_NUMBERS";

/// Reads the numbers, and the rows that the effective settings show for them.
pub(super) fn read(section: &mut Section<'_>, format: CodeFormat) -> (TestNumbers, Vec<(String, String)>) {
    let (mut numbers, mut shown) = (Vec::new(), Vec::new());
    // If one of these is faulty, the format is a default, and a right code might not fit it.
    let format = section
        .are_known(&["TOKEN_LENGTH", "SECURITY_CODE_ALPHABET"])
        .then_some(format);
    for (row, place) in section.table("TEST_NUMBERS", false, TABLE).into_iter().zip(1..) {
        match test_number(&row, format) {
            Ok((test, _))
                if numbers
                    .iter()
                    .any(|other: &TestNumber| other.number == test.number) =>
            {
                let twice = format!("TEST_NUMBERS number {place}: it is set twice; keep one");
                section.problem("TEST_NUMBERS", Some(row.line), &twice);
            }
            Ok((test, until)) => {
                let key = format!("\"{}\"", test.number.masked());
                shown.push((key, format!("{{ code = \"***\", until = {until} }}")));
                numbers.push(test);
            }
            // Named by its position, since a phone number must not be logged.
            Err(needed) => {
                let message = format!("TEST_NUMBERS number {place}: {needed}");
                section.problem("TEST_NUMBERS", Some(row.line), &message);
            }
        }
    }
    (TestNumbers(numbers), shown)
}

/// Reads one row: the number, its code, and the last day on which the code is valid. If the code's format is in doubt,
/// the code is not checked against it.
fn test_number(row: &Entry, format: Option<CodeFormat>) -> Result<(TestNumber, String), String> {
    let number = PhoneNumber::parse(&row.key, None)
        .map_err(|_| "the key must be a phone number in E.164, such as \"+447911123456\"")?;
    let Value::Table(entries) = &row.value else {
        return Err(format!(
            "must be a table, such as {{ code = \"123456\", until = 2027-01-31 }}, not {}",
            row.value.kind()
        ));
    };
    if let Some(unknown) = entries
        .iter()
        .find(|entry| !["code", "until"].contains(&&*entry.key.to_lowercase()))
    {
        return Err(format!(
            "{} is not a setting; there are code and until",
            unknown.key
        ));
    }
    let get = |key: &str| {
        let entry = entries.iter().find(|entry| entry.key.to_lowercase() == key);
        entry
            .map(|entry| &entry.value)
            .ok_or_else(|| format!("{key} is missing"))
    };
    let code = SecurityCode::from_client(&text(get("code")?).map_err(|needed| format!("code {needed}"))?);
    if let Some(format) = format.filter(|format| !format.fits(&code)) {
        return Err(format!(
            "code must have TOKEN_LENGTH characters, {}, of SECURITY_CODE_ALPHABET",
            format.length
        ));
    }
    let until = get("until")?;
    let Value::Date(day) = until else {
        return Err(format!(
            "until must be a date, such as 2027-01-31, not {}",
            until.kind()
        ));
    };
    let ends_at = UnixMillis::end_of(day).ok_or("until must be a date from 1970-01-01 on")?;
    let test = TestNumber {
        number,
        code,
        ends_at,
    };
    Ok((test, day.clone()))
}

#[cfg(test)]
mod tests {
    use crate::{
        clock::UnixMillis,
        model::PhoneNumber,
        settings::tests::{REQUIRED, parse, problems},
    };

    fn with(lines: &str) -> String {
        format!("{REQUIRED}\n[phone_verification.TEST_NUMBERS]\n{lines}\n")
    }

    #[test]
    fn a_number_has_its_code_until_its_date_and_never_shows_it() {
        let settings = parse(&with(
            "\"+13478379634\" = { CODE = \"837261\", Until = 2027-01-31 }",
        ))
        .unwrap();
        let numbers = &settings.phone_verification.test_numbers;
        let number = PhoneNumber::parse("+13478379634", None).unwrap();
        let code = numbers.code_of(&number, UnixMillis(0)).unwrap();
        assert_eq!(code.expose(), "837261");
        assert!(
            settings
                .effective
                .contains("\"+13****34\" = { code = \"***\", until = 2027-01-31 }"),
            "{}",
            settings.effective
        );
        assert!(!settings.effective.contains("837261") && !settings.effective.contains("3478379634"));
        assert!(!format!("{numbers:?}").contains("837261"));
    }

    #[test]
    fn a_number_and_its_code_may_be_pasted_as_people_write_them() {
        let line = "\"\u{202d}+1 (347) 837-9634\u{202c}\" = { code = \"٨٣٧ ٢٦١\", until = 2027-01-31 }";
        let settings = parse(&with(line)).unwrap();
        let number = PhoneNumber::parse("+13478379634", None).unwrap();
        let code = settings
            .phone_verification
            .test_numbers
            .code_of(&number, UnixMillis(0));
        assert_eq!(code.unwrap().expose(), "837261");
        let twice = format!("{line}\n\"+13478379634\" = {{ code = \"837262\", until = 2027-01-31 }}");
        assert_eq!(
            problems(&with(&twice)),
            ["test.toml:14: [phone_verification] TEST_NUMBERS number 2: it is set twice; keep one"]
        );
    }

    #[test]
    fn what_is_wrong_is_told_without_the_number_and_the_code() {
        let needed = [
            (
                "\"3478379634\" = { code = \"837261\", until = 2027-01-31 }",
                "E.164",
            ),
            (
                "\"+13478379634x1\" = { code = \"837261\", until = 2027-01-31 }",
                "E.164",
            ),
            ("\"+13478379634\" = \"837261\"", "must be a table"),
            (
                "\"+13478379634\" = { code = \"8372\", until = 2027-01-31 }",
                "TOKEN_LENGTH characters, 6",
            ),
            (
                "\"+13478379634\" = { code = \"83726X\", until = 2027-01-31 }",
                "SECURITY_CODE_ALPHABET",
            ),
            (
                "\"+13478379634\" = { code = 837261, until = 2027-01-31 }",
                "code must be a text",
            ),
            ("\"+13478379634\" = { code = \"837261\" }", "until is missing"),
            ("\"+13478379634\" = { until = 2027-01-31 }", "code is missing"),
            (
                "\"+13478379634\" = { code = \"837261\", until = \"2027-01-31\" }",
                "not a text",
            ),
            (
                "\"+13478379634\" = { code = \"837261\", until = 2027-01-31T10:00:00Z }",
                "not a date with a time",
            ),
            (
                "\"+13478379634\" = { code = \"837261\", until = 2027-01-31, to = 1 }",
                "to is not a setting",
            ),
        ];
        for (line, needed) in needed {
            let told = problems(&with(line));
            assert!(told.len() == 1 && told[0].contains(needed), "{line}: {told:?}");
            assert!(!told[0].contains("8372") && !told[0].contains("347"), "{told:?}");
        }
    }
}
