//! Test numbers: each has a fixed code until a date, and receives no SMS.
//!
//! Invariant: after its date, a test number is an ordinary number.

use super::{PhoneNumber, SecurityCode};
use crate::clock::UnixMillis;

/// One test number of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestNumber {
    /// The number.
    pub number: PhoneNumber,
    /// Its fixed code.
    pub code: SecurityCode,
    /// When it becomes an ordinary number: at the end of its last day, in UTC.
    pub ends_at: UnixMillis,
}

impl TestNumber {
    fn is_in_effect(&self, now: UnixMillis) -> bool {
        now < self.ends_at
    }

    /// The last day in the form 2027-01-31.
    fn last_day(&self) -> String {
        let mut time = UnixMillis(self.ends_at.0.saturating_sub(1)).rfc3339();
        time.truncate(time.find('T').unwrap_or(time.len()));
        time
    }
}

/// All test numbers of the settings.
#[derive(Clone, Debug, Default)]
pub struct TestNumbers(pub Vec<TestNumber>);

impl TestNumbers {
    /// The fixed code of a number, if it is a test number now.
    pub fn code_of(&self, number: &PhoneNumber, now: UnixMillis) -> Option<&SecurityCode> {
        let mut in_effect = self.0.iter().filter(|test| test.is_in_effect(now));
        in_effect
            .find(|test| test.number == *number)
            .map(|test| &test.code)
    }

    /// Whether the settings name a number, even after its last day.
    pub fn names(&self, number: &PhoneNumber) -> bool {
        self.0.iter().any(|test| test.number == *number)
    }

    /// A warning for the operator while test numbers are in effect.
    pub fn warning(&self, now: UnixMillis) -> Option<String> {
        let in_effect = || self.0.iter().filter(|test| test.is_in_effect(now));
        let last = in_effect().max_by_key(|test| test.ends_at)?;
        Some(format!(
            "numbers for tests are in effect: {}, the last until {}; each has a fixed code and gets no SMS",
            in_effect().count(),
            last.last_day()
        ))
    }

    /// That warning, and one for each test number that has ended.
    pub fn warnings(&self, now: UnixMillis) -> Vec<String> {
        let over = self.0.iter().filter(|test| !test.is_in_effect(now)).map(|test| {
            format!(
                "{} was a number for tests until {}, and is one like any other now; take it out of TEST_NUMBERS",
                test.number.masked(),
                test.last_day()
            )
        });
        self.warning(now).into_iter().chain(over).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_for_tests_to_the_end_of_its_last_day() {
        let number = PhoneNumber::parse("+13478379634", None).unwrap();
        let numbers = TestNumbers(vec![TestNumber {
            number: number.clone(),
            code: SecurityCode::new("123456").unwrap(),
            ends_at: UnixMillis::end_of("2027-01-31").unwrap(),
        }]);
        let end = numbers.0[0].ends_at;
        assert_eq!(end.rfc3339(), "2027-02-01T00:00:00Z");
        let before = UnixMillis(end.0 - 1);
        assert!(numbers.code_of(&number, before).is_some());
        assert_eq!(
            numbers.warnings(before),
            [
                "numbers for tests are in effect: 1, the last until 2027-01-31; each has a fixed code and gets no SMS"
            ]
        );
        assert!(numbers.code_of(&number, end).is_none());
        assert_eq!(numbers.warning(end), None);
        assert_eq!(
            numbers.warnings(end),
            [
                "+13****34 was a number for tests until 2027-01-31, and is one like any other now; take it out of \
                 TEST_NUMBERS"
            ]
        );
        let other = PhoneNumber::parse("+13478379635", None).unwrap();
        assert!(numbers.code_of(&other, before).is_none());
    }
}
