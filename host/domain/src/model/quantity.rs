//! A count with its noun, for messages: `1 record`, `2 records`.

use std::fmt::Display;

/// The count with the singular or plural form.
pub fn quantity<N: Copy + Display + PartialEq + From<u8>>(count: N, of_one: &str, of_many: &str) -> String {
    let word = if count == N::from(1) { of_one } else { of_many };
    format!("{count} {word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_nothing_is_not() {
        let records = |count: u64| quantity(count, "record", "records");
        assert_eq!(
            [0, 1, 2, 11, 21].map(records),
            ["0 records", "1 record", "2 records", "11 records", "21 records"]
        );
    }
}
