//! What country and type an international number has, read from the numbering plans where they lie in the program.
//!
//! `numbering_plans.txt` is the part of the library's table, which is Google's, that judges such numbers; the test
//! `numbering_plans` makes it, and fails once the library has a newer one. The library would hold all of its table in
//! memory, in a form of 5 MiB. It is asked for what is rare: national numbers, and such as may begin with a prefix.
//!
//! Invariant: a number is judged as by the library (`the_short_way_judges_as_the_long_way_does`).

use std::sync::{LazyLock, OnceLock};

use regex_lite::Regex;
use rlibphonenumber::{PhoneNumberType, Region};

/// The table: a line a plan, in order of calling codes, the main country of a code first. Its fields, with a tab between
/// them: calling code, region, the digits that tell it from others of its code, and the kinds of [`KINDS`].
const TABLE: &str = include_str!("numbering_plans.txt");

/// The kinds of numbers in the order of the table. A kind has the lengths of its national numbers, a colon and their
/// pattern. No length: those of all numbers of the plan. No pattern: the plan has no numbers of the kind.
const KINDS: usize = 11;
/// All numbers of a plan.
const ANY: usize = 0;
const FIXED_LINE: usize = 1;
const MOBILE: usize = 2;
/// The other kinds, from 3 on.
const OTHERS: [PhoneNumberType; KINDS - 3] = [
    PhoneNumberType::PremiumRate,
    PhoneNumberType::TollFree,
    PhoneNumberType::SharedCost,
    PhoneNumberType::VoIP,
    PhoneNumberType::PersonalNumber,
    PhoneNumberType::Pager,
    PhoneNumberType::UAN,
    PhoneNumberType::VoiceMail,
];

/// The numbering plan of a country, or of a calling code of no country.
pub(super) struct Plan {
    calling_code: u16,
    region: Region,
    leading: Pattern,
    kinds: [Kind; KINDS],
}

/// Numbers of one kind.
struct Kind {
    /// The bit of each length; none: those of all numbers of the plan.
    lengths: u32,
    pattern: Pattern,
}

/// A regular expression of the table, compiled when a number is first compared with it.
struct Pattern {
    source: &'static str,
    /// Whether it is for the whole number, and not for its first digits alone.
    is_whole: bool,
    compiled: OnceLock<Option<Regex>>,
}

static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| TABLE.lines().filter_map(Plan::read).collect());

impl Plan {
    /// `None`: the line is none of the table's.
    fn read(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(Self {
            calling_code: fields.next()?.parse().ok()?,
            region: Region::from_code(fields.next()?).ok()?,
            leading: Pattern::new(fields.next()?, false),
            kinds: std::array::from_fn(|_| Kind::read(fields.next().unwrap_or_default())),
        })
    }

    /// Whether a calling code is in use.
    pub(super) fn exists(calling_code: u16) -> bool {
        !Self::all_of(calling_code).is_empty()
    }

    /// Those of a calling code, the main country first.
    fn all_of(calling_code: u16) -> &'static [Self] {
        let first = PLANS.partition_point(|plan| plan.calling_code < calling_code);
        let count = PLANS[first..].partition_point(|plan| plan.calling_code == calling_code);
        &PLANS[first..first + count]
    }

    /// Whether it is a country with a plan.
    pub(super) fn has(region: Region) -> bool {
        region != Region::World && PLANS.iter().any(|plan| plan.region == region)
    }

    /// The region and the type of a national number of a calling code. `None`: it is not valid.
    pub(super) fn judge(calling_code: u16, national: &str) -> Option<(Region, PhoneNumberType)> {
        for plan in Self::all_of(calling_code) {
            let found = plan.number_type(national);
            // All numbers with the first digits of a country are its numbers, valid or not.
            if found.is_some() || plan.leading.matches(national) {
                return found.map(|number_type| (plan.region, number_type));
            }
        }
        None
    }

    fn number_type(&self, national: &str) -> Option<PhoneNumberType> {
        let is = |kind: usize| self.kinds[kind].has(national);
        if !is(ANY) {
            return None;
        }
        if let Some(at) = (0..OTHERS.len()).find(|at| is(at + 3)) {
            return Some(OTHERS[at]);
        }
        match (is(FIXED_LINE), is(MOBILE)) {
            (true, true) => Some(PhoneNumberType::FixedLineOrMobile),
            (true, false) => Some(PhoneNumberType::FixedLine),
            (false, true) => Some(PhoneNumberType::Mobile),
            (false, false) => None,
        }
    }
}

impl Kind {
    fn read(field: &'static str) -> Self {
        let (lengths, pattern) = field.split_once(':').unwrap_or_default();
        let lengths = lengths.split(',').filter_map(|length| length.parse::<u32>().ok());
        Self {
            lengths: lengths.fold(0, |bits, length| bits | 1_u32.checked_shl(length).unwrap_or(0)),
            pattern: Pattern::new(pattern, true),
        }
    }

    fn has(&self, national: &str) -> bool {
        let length = u32::try_from(national.len()).unwrap_or(u32::MAX);
        let is_as_long = self.lengths == 0
            || 1_u32
                .checked_shl(length)
                .is_some_and(|bit| self.lengths & bit != 0);
        is_as_long && self.pattern.matches(national)
    }
}

impl Pattern {
    fn new(source: &'static str, is_whole: bool) -> Self {
        Self {
            source,
            is_whole,
            compiled: OnceLock::new(),
        }
    }

    fn matches(&self, national: &str) -> bool {
        if self.source.is_empty() {
            return false;
        }
        let compile = || {
            let end = if self.is_whole { "$" } else { "" };
            Regex::new(&format!("^(?:{}){end}", self.source)).ok()
        };
        let compiled = self.compiled.get_or_init(compile).as_ref();
        compiled.is_some_and(|pattern| pattern.is_match(national))
    }
}
