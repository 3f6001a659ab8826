//! Languages, and which of several fits what a person would like, by the data of Unicode's CLDR: `zh-TW` is written as
//! `zh-Hant` is, `iw` is an older name of `he`, and Spanish of Mexico inherits from that of Latin America.
//!
//! What is chosen is what RFC 4647 (section 3.4, lookup) chooses, with CLDR's parents of a language in place of its cut
//! tag: from the most wanted language on, the language itself or the closest of its parents. Where there is none, the
//! same language as it is written elsewhere in the same script, then whatever else the cut tag names.

use icu_locale::{
    LanguageIdentifier, Locale as Tag, LocaleCanonicalizer, LocaleExpander, LocaleFallbacker,
    fallback::LocaleFallbackConfig,
};

/// The most languages of one list that are looked at.
const MAX_WANTED: usize = 64;
/// How much of a list is looked at. Lists that browsers send are far shorter.
pub const MAX_LIST_BYTES: usize = 2048;
/// A parent has a parent at most so often.
const MAX_PARENTS: usize = 8;

/// A language, perhaps of a region, in a script: `pt-BR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language {
    /// With today's names, and without extensions.
    id: LanguageIdentifier,
    /// With the script and the region that it most likely has.
    likely: LanguageIdentifier,
    /// Itself and its parents, the closest first.
    line: Vec<LanguageIdentifier>,
}

impl Language {
    /// Reads what has the form of a language tag as a whole.
    pub fn of_tag(tag: &str) -> Option<Self> {
        Self::parse(tag).filter(|_| is_tag(tag))
    }

    /// Reads a language tag (RFC 5646) in any case, also with `_` as programs write it. Of one that CLDR cannot read to
    /// its end, the beginning counts.
    pub fn parse(tag: &str) -> Option<Self> {
        let tag = tag.replace('_', "-");
        let mut known = tag.as_str();
        let mut read = loop {
            match Tag::try_from_str(known) {
                Ok(read) => break read,
                Err(_) => known = &known[..known.rfind('-')?],
            }
        };
        LocaleCanonicalizer::new_extended().canonicalize(&mut read);
        let id = read.id;
        if id.language.is_unknown() {
            return None;
        }
        let mut likely = id.clone();
        LocaleExpander::new_extended().maximize(&mut likely);
        let line = line(&id);
        Some(Self { id, likely, line })
    }

    fn is_written_alike(&self, other: &Self) -> bool {
        (self.likely.script, self.likely.region) == (other.likely.script, other.likely.region)
    }

    /// How well this one serves who wants `wanted`, the least the best; `None`: not at all.
    fn distance(&self, wanted: &Self) -> Option<Distance> {
        let meets = |theirs: usize| {
            let ours = self.line.iter().position(|ours| *ours == wanted.line[theirs])?;
            Some((theirs, ours))
        };
        let met = (0..wanted.line.len()).find_map(meets);
        let (kind, theirs, ours) = match met {
            Some((theirs, 0)) => (Kind::Parent, theirs, 0),
            // Another language of one parent, as Bokmål and Nynorsk are Norwegian, must be the same region's.
            Some((theirs, ours))
                if self.id.language == wanted.id.language || self.is_written_alike(wanted) =>
            {
                (Kind::Sibling, theirs, ours)
            }
            _ if self.id == LanguageIdentifier::from(wanted.id.language) => (Kind::OtherScript, 0, 0),
            _ => return None,
        };
        Some(Distance {
            kind,
            theirs,
            ours,
            is_unlikely: self.likely != wanted.likely,
            differs: self.id != wanted.id,
        })
    }

    /// Whether the range, such as `es` or `zh-Hant`, covers this language; and how precisely.
    fn covered_by(&self, range: &Self) -> Option<usize> {
        let same = |wanted: bool, same: bool| if wanted { same.then_some(1) } else { Some(0) };
        let script = range.id.script;
        let region = range.id.region;
        let mut precision = same(true, range.id.language == self.id.language)?;
        precision += same(script.is_some(), script == self.likely.script)?;
        precision += same(region.is_some(), region == self.id.region)?;
        for variant in range.id.variants.iter() {
            precision += same(true, self.id.variants.contains(variant))?;
        }
        Some(precision)
    }
}

/// Ordered: what is named first counts most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Distance {
    kind: Kind,
    /// How far up the parents of the one that is wanted.
    theirs: usize,
    ours: usize,
    /// `pt` is rather `pt-BR` than `pt-PT`.
    is_unlikely: bool,
    differs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The language that is wanted, or one that it inherits from.
    Parent,
    /// Both inherit from one language.
    Sibling,
    /// The language alone, where one of its scripts is wanted.
    OtherScript,
}

fn line(id: &LanguageIdentifier) -> Vec<LanguageIdentifier> {
    let mut parents = LocaleFallbacker::new()
        .for_config(LocaleFallbackConfig::default())
        .fallback_for((&Tag::from(id.clone())).into());
    let mut line = Vec::new();
    while !parents.get().is_unknown() && line.len() < MAX_PARENTS {
        line.push(parents.get().into_locale().id);
        parents.step();
    }
    line
}

/// One of the languages that somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted<'a> {
    /// In any case; `*` is any other.
    pub(super) tag: &'a str,
    /// From 0, which is not wanted, to 1.
    quality: f32,
}

/// The parts of a list such as `Accept-Language` (RFC 9110, section 12.5.4), the most wanted first, and those that are
/// not wanted last. What is no language range is left out; a quality that is none is the full one.
pub(super) fn wanted(list: &str) -> Vec<Wanted<'_>> {
    let mut wanted: Vec<_> = bounded(list)
        .split(',')
        .filter_map(range)
        .take(MAX_WANTED)
        .collect();
    // Those that are wanted as much stay in their order.
    wanted.sort_by(|one, other| other.quality.total_cmp(&one.quality));
    wanted
}

/// Its beginning, without half a part at the end.
fn bounded(list: &str) -> &str {
    if list.len() <= MAX_LIST_BYTES {
        return list;
    }
    let end = list.as_bytes()[..MAX_LIST_BYTES]
        .iter()
        .rposition(|byte| *byte == b',');
    // A comma is a character of its own.
    &list[..end.unwrap_or(0)]
}

fn range(part: &str) -> Option<Wanted<'_>> {
    let mut parts = part.split(';').map(str::trim);
    let tag = parts.next().unwrap_or_default();
    // A backend and the outbox may rely on it that a tag holds nothing else.
    let is_tag = tag == "*" || is_tag(tag);
    let weight = |part: &str| {
        let (name, value) = part.split_once('=')?;
        name.trim_end()
            .eq_ignore_ascii_case("q")
            .then(|| value.trim_start().parse::<f32>().ok())?
    };
    let quality = parts
        .find_map(weight)
        .filter(|quality| (0.0..=1.0).contains(quality));
    is_tag.then_some(Wanted {
        tag,
        quality: quality.unwrap_or(1.0),
    })
}

/// Whether it has the form of a language tag (RFC 5646, section 2.1): a language, and subtags.
pub(super) fn is_tag(text: &str) -> bool {
    let mut subtags = text.split(['-', '_']);
    let language = subtags.next().unwrap_or_default();
    (2..=8).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && subtags.all(|subtag| {
            (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

impl Wanted<'_> {
    pub(super) fn is_wanted(&self) -> bool {
        self.quality > 0.0
    }
}

/// The one that fits best, of `offered` in the order of preference among equals; `None`: none fits.
pub(super) fn choose<'a, T>(list: &str, offered: &'a [(Language, T)]) -> Option<&'a T> {
    let wanted = wanted(list);
    let excludes = wanted.iter().any(|wanted| !wanted.is_wanted());
    let ranges: Vec<(Option<Language>, bool)> = if excludes {
        let read = |wanted: &Wanted<'_>| (Language::parse(wanted.tag), wanted.is_wanted());
        wanted.iter().map(read).collect()
    } else {
        Vec::new()
    };
    // The most precise range that covers it says whether a language is wanted; `*` is the least precise.
    let is_excluded = |language: &Language| {
        let says = ranges.iter().filter_map(|(range, is_wanted)| {
            let precision = range
                .as_ref()
                .map_or(Some(0), |range| language.covered_by(range))?;
            Some((precision, *is_wanted))
        });
        says.max().is_some_and(|(_, is_wanted)| !is_wanted)
    };
    let offered: Vec<&(Language, T)> = offered
        .iter()
        .filter(|(language, _)| !excludes || !is_excluded(language))
        .collect();
    for wanted in wanted.iter().filter(|wanted| wanted.is_wanted()) {
        if wanted.tag == "*" {
            continue;
        }
        let Some(language) = Language::parse(wanted.tag) else {
            continue;
        };
        let distances = offered
            .iter()
            .filter_map(|(offer, value)| Some((offer.distance(&language)?, value)));
        // The first of those that are as near.
        if let Some((_, value)) = distances.min_by_key(|(distance, _)| *distance) {
            return Some(value);
        }
    }
    // Any other, of which the last offer is the one that is sent unless something else is wanted.
    let takes_any = wanted
        .iter()
        .any(|wanted| wanted.tag == "*" && wanted.is_wanted());
    let any = if takes_any { offered.last() } else { None };
    any.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tag of the offer that is chosen; the last one is the text that is sent where nothing fits.
    fn chosen(list: &str, offered: &[&'static str]) -> &'static str {
        let offered: Vec<_> = offered
            .iter()
            .map(|tag| (Language::of_tag(tag).unwrap(), *tag))
            .collect();
        choose(list, &offered).map_or("none", |tag| *tag)
    }

    #[test]
    fn the_language_of_the_text_that_is_sent_anyway_is_one_of_those_that_there_are() {
        for (list, expected) in [
            ("en-US,en;q=0.9,es;q=0.8", "en"),
            ("en-GB, es;q=0.9", "en"),
            ("fr, en;q=0.5, es;q=0.8", "es"),
            ("fr, de", "none"),
            ("", "none"),
        ] {
            assert_eq!(chosen(list, &["es", "en"]), expected, "{list}");
        }
    }

    /// RFC 4647, section 3.4, and RFC 9110, section 12.5.4.
    #[test]
    fn a_list_is_read_as_its_standards_say() {
        let offered = ["de", "de-CH", "fr", "zh-Hant", "en"];
        for (list, expected) in [
            // The examples of the standards, and their rules.
            ("zh-Hant-CN-x-private1-private2", "zh-Hant"),
            ("de-CH-1996", "de-CH"),
            ("de-AT", "de"),
            ("da, en-gb;q=0.8, en;q=0.7", "en"),
            ("fr;q=0.5, de;q=0.5", "fr"),
            ("DE-ch", "de-CH"),
            ("de_CH", "de-CH"),
            ("fr ; q=0.1 , de ; q=0.2", "de"),
            ("fr;Q=0.1,de;Q=0.2", "de"),
            ("fr;q=0.001, de;q=0", "fr"),
            ("it;q=1.000, *;q=0.1", "en"),
            ("*", "en"),
            ("*, fr;q=0.5", "fr"),
            ("*;q=0, fr;q=0.5", "fr"),
            ("de;q=0, de-CH", "de-CH"),
            ("de;q=0, de-AT, fr;q=0.1", "fr"),
            ("de;q=0, *", "en"),
            ("en;q=0, *", "zh-Hant"),
            ("zh-TW, zh-Hant;q=0", "none"),
            // Parts that are none are left out.
            ("?, de nada, ;q=1, fr", "fr"),
            ("fr;q=x", "fr"),
            ("x-klingon, i-default, fr;q=0.1", "fr"),
            ("e, a, 1de, de-, -, fr;q=0.1", "fr"),
            ("es\nfr, de;q=0.1", "de"),
        ] {
            assert_eq!(chosen(list, &offered), expected, "{list}");
        }
    }

    #[test]
    fn a_language_has_scripts_parents_and_other_names_as_in_cldr() {
        for (list, offered, expected) in [
            // Likely scripts.
            ("zh-TW", &["zh", "zh-Hant"][..], "zh-Hant"),
            ("zh-HK", &["zh", "zh-Hant"], "zh-Hant"),
            ("zh-MO", &["zh", "zh-TW", "en"], "zh-TW"),
            ("zh-CN", &["zh-Hant", "zh"], "zh"),
            ("zh-SG", &["zh-Hant", "zh-Hans"], "zh-Hans"),
            ("zh", &["zh-Hant", "zh-CN"], "zh-CN"),
            ("zh-Hans", &["zh-Hant", "en"], "none"),
            ("zh-Hant", &["zh-HK", "zh-TW"], "zh-TW"),
            ("sr-Latn", &["sr", "sr-Latn"], "sr-Latn"),
            ("sr-ME", &["sr", "sr-Latn"], "sr-Latn"),
            ("sr-RS", &["sr-Latn", "sr"], "sr"),
            ("sr", &["sr-Latn", "en"], "none"),
            ("uz-Cyrl", &["uz", "uz-Cyrl"], "uz-Cyrl"),
            // Where there is nothing else, the cut tag (RFC 4647).
            ("zh-TW", &["zh", "en"], "zh"),
            ("sr-Latn-RS", &["sr", "en"], "sr"),
            // Likely regions and siblings.
            ("pt", &["pt-PT", "pt-BR"], "pt-BR"),
            ("pt-PT", &["pt-BR", "pt-PT"], "pt-PT"),
            ("pt-AO", &["pt", "pt-PT"], "pt-PT"),
            ("pt-PT", &["pt-BR", "en"], "pt-BR"),
            ("en-US", &["en-GB", "en"], "en"),
            ("en-US", &["en-GB", "es"], "en-GB"),
            // Parents.
            ("es-MX", &["es", "es-419"], "es-419"),
            ("es-MX", &["es-ES", "es-AR"], "es-AR"),
            ("es-ES", &["es-419", "es"], "es"),
            ("en-AU", &["en", "en-001"], "en-001"),
            ("nn", &["da", "nb"], "nb"),
            ("no", &["da", "nb"], "nb"),
            ("nb-NO", &["da", "no"], "no"),
            ("nn", &["en", "no"], "no"),
            // Older and longer names.
            ("iw", &["ar", "he"], "he"),
            ("he-IL", &["ar", "iw"], "iw"),
            ("in", &["ms", "id"], "id"),
            ("tl", &["en", "fil"], "fil"),
            ("mo", &["en", "ro"], "ro"),
            ("sh", &["sr", "sr-Latn"], "sr-Latn"),
            ("eng-USA", &["es", "en"], "en"),
            ("deu", &["en", "de"], "de"),
            ("cmn-TW", &["zh", "zh-Hant"], "zh-Hant"),
            ("zh-cmn-Hans-CN", &["zh-Hant", "zh"], "zh"),
            // Others stay others.
            ("pt", &["es", "en"], "none"),
            ("en", &["hi-Latn", "de"], "none"),
            ("gsw", &["fr", "it"], "none"),
            ("ca-valencia", &["es", "ca"], "ca"),
        ] {
            assert_eq!(chosen(list, offered), expected, "{list} of {offered:?}");
        }
    }

    #[test]
    fn a_list_of_any_length_is_read_to_a_bound() {
        let many: String = (0..60)
            .map(|n| format!("x{}-{n}, ", char::from(b'a' + n % 26)))
            .collect();
        assert_eq!(chosen(&format!("{many}es"), &["es", "en"]), "es");
        let long = "fr-FR, ".repeat(1000);
        assert_eq!(chosen(&format!("{long}es"), &["es", "en"]), "none");
        assert_eq!(chosen(&format!("es, {long}"), &["es", "en"]), "es");
        assert_eq!(chosen(&"e".repeat(1 << 20), &["es", "en"]), "none");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_list(list in "\\PC{0,60}|[a-zA-Z*;=.,_0-9 -]{0,60}") {
            chosen(&list, &["es", "zh-Hant", "en"]);
        }
    }
}
