//! The numbers that register: scattered over whole countries, as the customers of a service are. Numbers that lie
//! close together flatter a server, because they share its prefixes and the pages of its file.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use phone_verify::model::PhoneNumber;

/// What each number of a country begins with, and how many digits follow.
const COUNTRIES: [(&[&str], u32); 8] = [
    (
        &[
            "+1201", "+1205", "+1212", "+1213", "+1305", "+1312", "+1404", "+1415", "+1503", "+1512",
            "+1602", "+1617", "+1702", "+1713", "+1718", "+1801", "+1808", "+1816", "+1901", "+1919",
        ],
        7,
    ),
    (&["+4474", "+4475", "+4477", "+4478", "+4479"], 8),
    (&["+49151", "+49160", "+49170", "+49175"], 8),
    (&["+336"], 8),
    (&["+346"], 8),
    (&["+9198", "+9197", "+9188", "+9170"], 8),
    (&["+55119", "+55219", "+55319", "+55719"], 8),
    (&["+485", "+486", "+487"], 8),
];

/// More than the fastest server takes within one run.
const NUMBERS_OF_A_RUN: usize = 300_000;

/// Valid numbers, each given out once.
#[derive(Clone)]
pub(crate) struct Numbers {
    numbers: Arc<Vec<String>>,
    taken: Arc<AtomicUsize>,
}

impl Numbers {
    /// Those of the run `run`. No two runs of a benchmark have the same; making them is not a part of what is measured.
    pub(crate) fn of_run(run: usize) -> Self {
        Self::from(run * NUMBERS_OF_A_RUN * 2, NUMBERS_OF_A_RUN)
    }

    /// So many of them, the same ones each time.
    pub(crate) fn first(count: usize) -> Self {
        Self::from(0, count)
    }

    fn from(first: usize, count: usize) -> Self {
        let numbers = (first..)
            .map(number)
            .filter(|number| PhoneNumber::parse(number, None).is_ok())
            .take(count)
            .collect();
        Self {
            numbers: Arc::new(numbers),
            taken: Arc::default(),
        }
    }

    /// The same ones, for another server, of which none was given out yet.
    pub(crate) fn again(&self) -> Self {
        Self {
            numbers: Arc::clone(&self.numbers),
            taken: Arc::default(),
        }
    }

    /// One that was not given out yet.
    pub(crate) fn next(&self) -> &str {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        self.numbers
            .get(taken)
            .expect("a run has more numbers than a server can take")
    }
}

/// The nth number; neighbours lie in other countries, and within a country far from each other. Not each one is valid.
fn number(n: usize) -> String {
    let (beginnings, digits) = COUNTRIES[n % COUNTRIES.len()];
    let n = n / COUNTRIES.len();
    let beginning = beginnings[n % beginnings.len()];
    let n = n / beginnings.len();
    let all = 10_usize.pow(digits);
    // The golden section of a power of ten, made odd and no multiple of five: each rest comes once before any comes
    // again.
    let step = [6_180_339, 61_803_399][usize::from(digits == 8)];
    format!("{beginning}{:0width$}", n * step % all, width = digits as usize)
}
