//! Languages, and the choice of the one that fits a person's preferences, with the data of Unicode's CLDR. Examples:
//! `zh-TW` is written like `zh-Hant`, `iw` is an old name of `he`, and Mexican Spanish inherits from Latin American
//! Spanish.
//!
//! The choice follows RFC 4647 (section 3.4, lookup), but uses CLDR's parents of a language instead of shortened tags.
//! For each preferred language in order, the language itself or its closest parent is taken. If there is none, the same
//! language in the same script from elsewhere, then any language that the shortened tag names.

use icu_locale::{
    LanguageIdentifier, Locale as Tag, LocaleCanonicalizer, LocaleExpander, LocaleFallbacker,
    fallback::LocaleFallbackConfig,
};

/// How many languages of a list are considered.
const MAX_WANTED: usize = 64;
/// How many bytes of a list are considered. Browsers send far shorter lists.
pub const MAX_LIST_BYTES: usize = 2048;
/// Bound of the chain of parents.
const MAX_PARENTS: usize = 8;

/// A language with an optional region and script, such as `pt-BR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language {
    /// With current names and without extensions.
    id: LanguageIdentifier,
    /// With the most likely script and region filled in.
    likely: LanguageIdentifier,
    /// The language itself and its parents, closest first.
    line: Vec<LanguageIdentifier>,
}

impl Language {
    /// Reads a text that is a language tag as a whole.
    pub fn of_tag(tag: &str) -> Option<Self> {
        Self::parse(tag).filter(|_| is_tag(tag))
    }

    /// Reads a language tag (RFC 5646) in any case, also with `_` as programs write it. If CLDR cannot read the whole
    /// tag, the longest readable beginning counts.
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

    /// Whether both most likely have the same script and region.
    fn is_written_alike(&self, other: &Self) -> bool {
        (self.likely.script, self.likely.region) == (other.likely.script, other.likely.region)
    }

    /// How well this language serves a person who wants `wanted`; smaller is better. `None`: it does not.
    fn distance(&self, wanted: &Self) -> Option<Distance> {
        let meets = |theirs: usize| {
            let ours = self.line.iter().position(|ours| *ours == wanted.line[theirs])?;
            Some((theirs, ours))
        };
        let met = (0..wanted.line.len()).find_map(meets);
        let (kind, theirs, ours) = match met {
            Some((theirs, 0)) => (Kind::Parent, theirs, 0),
            // Two languages with the same parent, such as Bokmål and Nynorsk, fit only within the same region.
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

    /// Whether a range such as `es` or `zh-Hant` covers this language, and how precisely.
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

/// Compared field by field, so the first field counts most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Distance {
    kind: Kind,
    /// How many steps up the parents of the wanted language.
    theirs: usize,
    /// How many steps up the parents of the offered language.
    ours: usize,
    /// Prefers the likely region: `pt` means `pt-BR` rather than `pt-PT`.
    is_unlikely: bool,
    /// Prefers the identical tag.
    differs: bool,
}

/// How two languages are related, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The wanted language itself, or one that it inherits from.
    Parent,
    /// Both inherit from the same language.
    Sibling,
    /// The language without a script, for a person who wants it in a particular one.
    OtherScript,
}

/// The language and its parents by CLDR, closest first.
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

/// One entry of a list of preferences.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted<'a> {
    /// In any case. `*` means any other language.
    pub(super) tag: &'a str,
    /// From 0 (not acceptable) to 1.
    quality: f32,
}

/// The entries of a list such as `Accept-Language` (RFC 9110, section 12.5.4): most wanted first, unacceptable ones
/// last. Entries that are not language ranges are left out, and an invalid quality counts as 1.
pub(super) fn wanted(list: &str) -> Vec<Wanted<'_>> {
    let mut wanted: Vec<_> = bounded(list)
        .split(',')
        .filter_map(range)
        .take(MAX_WANTED)
        .collect();
    // The sort is stable: entries of equal quality keep their order.
    wanted.sort_by(|one, other| other.quality.total_cmp(&one.quality));
    wanted
}

/// The beginning of an overlong list, without a partial entry at its end.
fn bounded(list: &str) -> &str {
    if list.len() <= MAX_LIST_BYTES {
        return list;
    }
    let end = list.as_bytes()[..MAX_LIST_BYTES]
        .iter()
        .rposition(|byte| *byte == b',');
    // A comma is one byte in UTF-8, so this is a character boundary.
    &list[..end.unwrap_or(0)]
}

/// One entry of a list.
fn range(part: &str) -> Option<Wanted<'_>> {
    let mut parts = part.split(';').map(str::trim);
    let tag = parts.next().unwrap_or_default();
    // Backends and the outbox rely on this check: a tag holds only letters, digits and separators.
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

/// Whether a text has the form of a language tag (RFC 5646, section 2.1): a language and subtags.
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
    /// Whether the entry is acceptable at all.
    pub(super) fn is_wanted(&self) -> bool {
        self.quality > 0.0
    }
}

/// The offer that fits the list best. Of equally good offers, the first. `None`: none fits.
pub(super) fn choose<'a, T>(list: &str, offered: &'a [(Language, T)]) -> Option<&'a T> {
    let wanted = wanted(list);
    let excludes = wanted.iter().any(|wanted| !wanted.is_wanted());
    let ranges: Vec<(Option<Language>, bool)> = if excludes {
        let read = |wanted: &Wanted<'_>| (Language::parse(wanted.tag), wanted.is_wanted());
        wanted.iter().map(read).collect()
    } else {
        Vec::new()
    };
    // The most precise range that covers a language decides whether it is acceptable. `*` is the least precise.
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
        // `min_by_key` returns the first of equally close offers.
        if let Some((_, value)) = distances.min_by_key(|(distance, _)| *distance) {
            return Some(value);
        }
    }
    // `*` accepts any language. The last offer is the default text, so that one is taken.
    let takes_any = wanted
        .iter()
        .any(|wanted| wanted.tag == "*" && wanted.is_wanted());
    let any = if takes_any { offered.last() } else { None };
    any.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tag of the chosen offer. The last offer is the text that is sent when none fits.
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
            // Invalid entries are left out.
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
            // As the last resort, the shortened tag (RFC 4647).
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
            // Unrelated languages never fit.
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
