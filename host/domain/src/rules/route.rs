//! Which route a message takes: the first whose conditions all hold.
//!
//! Invariant: the choice depends on the number, the language, the channel and the settings alone, so that each step of a
//! message, and a command that explains it, comes to the same.

use std::fmt;

use crate::model::{PhoneNumber, Region, phone_number::NUMBER_TYPES};

/// The name in the settings of the numbers of no special type.
const ORDINARY: &str = "ordinary";

/// The channel of all messages so far.
pub const SMS: &str = "sms";

/// Where a message goes, as far as a route depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The recipient.
    pub number: &'a PhoneNumber,
    /// The language that the recipient wants most, as a language tag in lower case; empty: not known.
    pub language: &'a str,
    /// How it is sent, one of the names in the settings.
    pub channel: &'a str,
}

/// What must hold of a message for a route; an empty list holds for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// The number is of one of these countries.
    pub countries: Vec<Region>,
    /// The number begins with one of these, in E.164.
    pub prefixes: Vec<String>,
    /// The number is of one of these types.
    pub number_types: Vec<&'static str>,
    /// The language is one of these or a variant of one, as language tags in lower case.
    pub languages: Vec<String>,
    /// The channel is one of these.
    pub channels: Vec<String>,
    /// The part of the numbers for which the others hold that takes the route; `None`: all.
    pub share: Option<Share>,
}

/// A part of all numbers, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

/// A condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// `countries`.
    Country,
    /// `prefixes`.
    Prefix,
    /// `number_types`.
    NumberType,
    /// `languages`.
    Language,
    /// `channels`.
    Channel,
    /// `share`: the number is among the others.
    Share,
}

/// The key of the condition in the settings.
impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Country => "countries",
            Self::Prefix => "prefixes",
            Self::NumberType => "number_types",
            Self::Language => "languages",
            Self::Channel => "channels",
            Self::Share => "share",
        })
    }
}

/// The names of the types of numbers in the settings.
pub fn number_types() -> impl Iterator<Item = &'static str> {
    NUMBER_TYPES.into_iter().map(|(_, name)| name).chain([ORDINARY])
}

/// The type of a number, one of [`number_types`].
pub fn type_of(number: &PhoneNumber) -> &'static str {
    number.number_type().unwrap_or(ORDINARY)
}

impl Share {
    const WHOLE: u32 = 1_000_000;

    /// `None`: it is not above 0 and at most 1.
    pub fn of_millionths(millionths: u64) -> Option<Self> {
        let millionths = u32::try_from(millionths).ok()?;
        (1..=Self::WHOLE)
            .contains(&millionths)
            .then_some(Self(millionths))
    }

    /// Whether it is all of them.
    pub fn is_whole(self) -> bool {
        self.0 == Self::WHOLE
    }

    /// Whether a number is in it. A number is always on the same side, at each route by a draw of its own: `place` is the
    /// route's among all.
    fn has(self, number: &PhoneNumber, place: usize) -> bool {
        // FNV-1a with the last step of MurmurHash3, since numbers differ in few digits.
        let digits = number.e164().bytes().chain(place.to_le_bytes());
        let hash = digits.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        (hash ^ (hash >> 33)) % u64::from(Self::WHOLE) < u64::from(self.0)
    }
}

impl Conditions {
    /// The first condition that does not hold; `None`: all hold. `place`: the route's among all.
    pub fn mismatch(&self, place: usize, target: Target<'_>) -> Option<Mismatch> {
        let Target {
            number,
            language,
            channel,
        } = target;
        let fails = [
            (
                Mismatch::Country,
                !self.countries.is_empty()
                    && !number
                        .country()
                        .is_some_and(|country| self.countries.contains(&country)),
            ),
            (
                Mismatch::Prefix,
                !self.prefixes.is_empty()
                    && !self
                        .prefixes
                        .iter()
                        .any(|prefix| number.e164().starts_with(prefix)),
            ),
            (
                Mismatch::NumberType,
                !self.number_types.is_empty() && !self.number_types.contains(&type_of(number)),
            ),
            (
                Mismatch::Language,
                !self.languages.is_empty() && !self.languages.iter().any(|range| is_variant(language, range)),
            ),
            (
                Mismatch::Channel,
                !self.channels.is_empty() && !self.channels.iter().any(|name| name == channel),
            ),
        ];
        fails
            .into_iter()
            .find_map(|(mismatch, fails)| fails.then_some(mismatch))
            .or_else(|| {
                self.share
                    .is_some_and(|share| !share.has(number, place))
                    .then_some(Mismatch::Share)
            })
    }

    /// Whether they hold for every message.
    pub fn hold_always(&self) -> bool {
        let all = Self {
            share: self.share.filter(|share| !share.is_whole()),
            ..self.clone()
        };
        all == Self::default()
    }

    /// Whether everything that these let through was let through by `earlier`, as far as that is certain.
    pub fn are_within(&self, earlier: &Self) -> bool {
        fn covers<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
            wide.is_empty()
                || !narrow.is_empty()
                    && narrow
                        .iter()
                        .all(|narrow| wide.iter().any(|wide| covers(wide, narrow)))
        }
        earlier.share.is_none_or(Share::is_whole)
            && covers(&earlier.countries, &self.countries, |wide, narrow| wide == narrow)
            && covers(&earlier.prefixes, &self.prefixes, |wide, narrow| {
                narrow.starts_with(wide.as_str())
            })
            && covers(&earlier.number_types, &self.number_types, |wide, narrow| {
                wide == narrow
            })
            && covers(&earlier.languages, &self.languages, |wide, narrow| {
                is_variant(narrow, wide)
            })
            && covers(&earlier.channels, &self.channels, |wide, narrow| wide == narrow)
    }
}

/// Whether a language is the one of a range or a variant of it: `es` has `es-mx` (RFC 4647, section 3.3.1).
fn is_variant(language: &str, range: &str) -> bool {
    language
        .strip_prefix(range)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The first of these routes, by its place, that a message takes; `None`: none.
pub fn choose<'a>(routes: impl IntoIterator<Item = &'a Conditions>, target: Target<'_>) -> Option<usize> {
    let mut routes = routes.into_iter().enumerate();
    routes.find_map(|(place, route)| route.mismatch(place, target).is_none().then_some(place))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> Vec<PhoneNumber> {
        [
            "+13478379634",
            "+4915123456789",
            "+431234567",
            "+442079460000",
            "+18005550199",
            "+5215512345678",
        ]
        .iter()
        .filter_map(|number| PhoneNumber::parse(number, None).ok())
        .collect()
    }

    fn conditions() -> impl Strategy<Value = Conditions> {
        let some = |all: &[&'static str]| prop::sample::subsequence(all.to_vec(), 0..=2);
        let countries = some(&["US", "DE", "AT", "GB", "MX"])
            .prop_map(|codes| codes.into_iter().filter_map(Region::parse).collect());
        let prefixes = some(&["+1", "+1347", "+49", "+4915", "+521"]);
        let languages = some(&["es", "es-mx", "en", "zh-hant"]);
        let share = prop::option::of(1..=1_000_000_u64);
        (
            countries,
            prefixes,
            some(&["toll_free", "ordinary"]),
            languages,
            some(&["sms", "voice"]),
            share,
        )
            .prop_map(
                |(countries, prefixes, number_types, languages, channels, share)| {
                    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
                    Conditions {
                        countries,
                        prefixes: owned(prefixes),
                        number_types,
                        languages: owned(languages),
                        channels: owned(channels),
                        share: share.and_then(Share::of_millionths),
                    }
                },
            )
    }

    proptest! {
        /// The first route without a mismatch, and no other.
        #[test]
        fn a_message_takes_the_first_route_whose_conditions_all_hold(
            routes in prop::collection::vec(conditions(), 0..6),
            number in prop::sample::select(numbers()),
            language in prop::sample::select(vec!["", "es", "es-mx", "en-gb", "eng", "zh-hant-tw"]),
        ) {
            let target = Target { number: &number, language, channel: SMS };
            let chosen = choose(&routes, target);
            prop_assert_eq!(chosen, choose(&routes, target), "the same message takes the same route");
            let before = chosen.unwrap_or(routes.len());
            for (place, route) in routes.iter().enumerate().take(before) {
                prop_assert!(route.mismatch(place, target).is_some());
            }
            if let Some(route) = chosen.map(|place| &routes[place]) {
                let has = |list: &[String], it: &str| list.is_empty() || list.iter().any(|one| one == it);
                prop_assert!(route.countries.is_empty() || route.countries.contains(&number.country().unwrap()));
                prop_assert!(has(&route.channels, SMS));
                prop_assert!(route.number_types.is_empty() || route.number_types.contains(&type_of(&number)));
            }
        }

        /// What `check` calls unreachable is taken by no message.
        #[test]
        fn a_route_within_an_earlier_one_is_taken_by_none(
            earlier in conditions(),
            later in conditions(),
            number in prop::sample::select(numbers()),
            language in prop::sample::select(vec!["", "es", "es-mx", "en-gb"]),
        ) {
            let target = Target { number: &number, language, channel: SMS };
            if later.are_within(&earlier) {
                prop_assert_ne!(choose([&earlier, &later], target), Some(1));
            }
        }
    }

    #[test]
    fn a_share_is_that_part_of_all_numbers_at_each_route() {
        let half = Conditions {
            share: Share::of_millionths(500_000),
            ..Conditions::default()
        };
        let all =
            (0..10_000).map(|n| PhoneNumber::parse(&format!("+1347{:07}", 2_000_000 + n), None).unwrap());
        let mut taken = [0; 3];
        for number in all {
            let target = Target {
                number: &number,
                language: "",
                channel: SMS,
            };
            let place = choose([&half, &half, &Conditions::default()], target);
            taken[place.unwrap()] += 1;
        }
        assert!((4_800..5_200).contains(&taken[0]), "{taken:?}");
        assert!((2_300..2_700).contains(&taken[1]), "{taken:?}");
    }

    #[test]
    fn a_share_is_above_nothing_and_at_most_all() {
        assert_eq!(Share::of_millionths(0), None);
        assert_eq!(Share::of_millionths(1_000_001), None);
        assert!(Share::of_millionths(1_000_000).unwrap().is_whole());
    }
}
