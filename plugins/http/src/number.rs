//! The country code of a number. Source: ITU-T E.164, list of assigned country codes; no code begins with another one.

/// The codes of two digits. `1` and `7` are the only ones of one digit; all others have three.
const TWO_DIGITS: [&str; 44] = [
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48",
    "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81",
    "82", "84", "86", "90", "91", "92", "93", "94", "95", "98",
];

/// Splits a number without its plus sign into country code and national number.
pub(crate) fn split(digits: &str) -> (&str, &str) {
    let length = match digits.get(..2) {
        Some(first) if first.starts_with(['1', '7']) => 1,
        Some(first) if TWO_DIGITS.contains(&first) => 2,
        _ => 3,
    };
    digits.split_at_checked(length).unwrap_or((digits, ""))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_number_is_split_behind_its_country_code() {
        for (digits, parts) in [
            ("13478379634", ("1", "3478379634")),
            ("79255070602", ("7", "9255070602")),
            ("919876543210", ("91", "9876543210")),
            ("989123456789", ("98", "9123456789")),
            ("639171234567", ("63", "9171234567")),
            ("254711082000", ("254", "711082000")),
            ("420601123456", ("420", "601123456")),
            ("85291234567", ("852", "91234567")),
            ("12", ("1", "2")),
            ("99", ("99", "")),
            ("", ("", "")),
        ] {
            assert_eq!(split(digits), parts, "{digits}");
        }
    }
}
