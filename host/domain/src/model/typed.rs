//! Normalises what people type and paste. All phone numbers and security codes are read through this module.
//!
//! People use keyboards of other scripts, with their own digits and full-width letters. They write digits in groups,
//! and copy invisible marks with a number, such as U+202A from the contacts of a phone. None of that changes the
//! meaning. Invariant: how a character is read depends on that character alone, by its Unicode properties.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{Dash, DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup, WhiteSpace},
};

/// How a character is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// As nothing: a format mark, a zero-width or bidirectional mark, a variation selector.
    Invisible,
    /// As a space, of any width.
    Space,
    /// As a tab or a line end, which separates fields when people paste from a table.
    Break,
    /// As a dash: a hyphen, a dash, a minus sign, or the Japanese long vowel mark, which shares a key with the dash.
    Dash,
    /// As this character, in ASCII where an equivalent exists.
    Character(char),
}

/// How the character is read.
pub(super) fn typed(character: char) -> Typed {
    match character {
        '-' => Typed::Dash,
        '!'..='~' => Typed::Character(character),
        _ => beyond_ascii(character),
    }
}

fn beyond_ascii(character: char) -> Typed {
    let category = category(character);
    if category == GeneralCategory::DecimalNumber {
        return Typed::Character(digit(character));
    }
    if CodePointSetData::new::<WhiteSpace>().contains(character) {
        let is_space = category == GeneralCategory::SpaceSeparator;
        return if is_space { Typed::Space } else { Typed::Break };
    }
    if category == GeneralCategory::Format
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
    {
        return Typed::Invisible;
    }
    if CodePointSetData::new::<Dash>().contains(character) || matches!(character, 'ー' | 'ｰ') {
        return Typed::Dash;
    }
    // The other categories have equivalents too, such as circled digits, fractions and Roman numerals. People do not
    // use these to write a digit or a letter.
    let may_equal_ascii = GeneralCategoryGroup::CasedLetter
        .union(GeneralCategoryGroup::Punctuation)
        .union(GeneralCategoryGroup::Symbol);
    if may_equal_ascii.contains(category)
        && let Some(equal) = equal_in_ascii(character)
    {
        return if equal == '-' {
            Typed::Dash
        } else {
            Typed::Character(equal)
        };
    }
    Typed::Character(character)
}

fn category(character: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(character)
}

/// The ASCII digit of a decimal digit. The digits of every script are ten consecutive code points in order of value
/// (The Unicode Standard, section 4.6), so the number of digits before it gives its value.
fn digit(character: char) -> char {
    let before = (0..u32::from(character))
        .rev()
        .take_while(|code| {
            char::from_u32(*code).is_some_and(|before| category(before) == GeneralCategory::DecimalNumber)
        })
        .count();
    char::from(b"0123456789"[before % 10])
}

/// The ASCII equivalent of a character by Unicode's compatibility equivalence, such as `K` for its full-width form.
fn equal_in_ascii(character: char) -> Option<char> {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let mut equals = nfkc.normalize_iter(std::iter::once(character));
    let equal = equals.next().filter(char::is_ascii_graphic)?;
    equals.next().is_none().then_some(equal)
}

/// Whether the character is invisible or white space.
pub fn is_blank(character: char) -> bool {
    matches!(typed(character), Typed::Invisible | Typed::Space | Typed::Break)
}

/// Normalises a security code: drops what groups or surrounds it and invisible characters, and converts digits and
/// letters to ASCII where possible. Keeps upper and lower case.
pub(super) fn code(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter_map(|character| match typed(character) {
        Typed::Character(character) if !is_punctuation(character) => Some(character),
        _ => None,
    })
}

fn is_punctuation(character: char) -> bool {
    !character.is_ascii_alphanumeric() && GeneralCategoryGroup::Punctuation.contains(category(character))
}

/// The ASCII digits of a phone number, after a plus sign if the text begins with one. Skips the punctuation that
/// libphonenumber accepts between digits. `None`: the text holds anything else, such as a letter or a second line.
pub(super) fn number(text: &str, max_digits: usize) -> Option<String> {
    let mut digits = String::with_capacity(1 + max_digits);
    for character in text.trim_matches(is_blank).chars() {
        match typed(character) {
            Typed::Character('+') if digits.is_empty() => digits.push('+'),
            // Too many digits already. Stops here, so that a long text costs no memory.
            Typed::Character('0'..='9') if digits.len() > 1 + max_digits => return None,
            Typed::Character(digit @ '0'..='9') => digits.push(digit),
            Typed::Invisible
            | Typed::Space
            | Typed::Dash
            | Typed::Character('.' | '/' | '(' | ')' | '[' | ']' | '~' | '∼') => {}
            Typed::Break | Typed::Character(_) => return None,
        }
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(wanted: GeneralCategory) -> Vec<char> {
        (char::MIN..=char::MAX)
            .filter(|character| category(*character) == wanted)
            .collect()
    }

    #[test]
    fn the_digits_of_every_script_are_those_of_ascii() {
        let digits = every(GeneralCategory::DecimalNumber);
        assert!(digits.len() >= 760, "{}", digits.len());
        let by_libphonenumber = &rlibphonenumber::PHONE_NUMBER_UTIL;
        let mut known = 0;
        for (at, character) in digits.iter().enumerate() {
            let Typed::Character(digit) = typed(*character) else {
                panic!("{character}");
            };
            // The digits of each script are ten consecutive code points.
            assert_eq!(digit, char::from(b"0123456789"[at % 10]), "{character}");
            let theirs = by_libphonenumber.normalize_digits_only(character.to_string());
            if !theirs.is_empty() {
                assert_eq!(theirs, digit.to_string(), "{character}");
                known += 1;
            }
        }
        assert!(known > 500, "{known}");
    }

    #[test]
    fn a_character_stands_for_what_people_take_it_for() {
        for (characters, meant) in [
            (
                "\u{202a}\u{202d}\u{2068}\u{200e}\u{200b}\u{feff}\u{ad}\u{fe0f}\u{34f}\u{3164}",
                Typed::Invisible,
            ),
            (" \u{a0}\u{1680}\u{2009}\u{202f}\u{3000}", Typed::Space),
            ("\t\r\n\u{2028}\u{2029}\u{85}", Typed::Break),
            ("-‐‑‒–—―−－﹣ー⁻", Typed::Dash),
            ("KＫ𝐊𝙺\u{212a}", Typed::Character('K')),
            ("(（⁽", Typed::Character('(')),
            ("+＋﹢", Typed::Character('+')),
        ] {
            for character in characters.chars() {
                assert_eq!(typed(character), meant, "{:?}", character.escape_unicode());
            }
        }
        // A circled digit, a fraction, and a letter of another script that looks like a Latin one.
        for itself in "④½²ⅣКΚ字é".chars() {
            assert_eq!(typed(itself), Typed::Character(itself));
        }
    }

    #[test]
    fn no_mark_that_cannot_be_seen_changes_a_code_or_a_number() {
        let formats = every(GeneralCategory::Format);
        assert!(formats.len() > 150, "{}", formats.len());
        let separators = ["\u{a0}", "\u{2007}", "\u{3000}", "-", "\u{2011}", "\u{2212}", "."];
        let marks = formats
            .iter()
            .map(char::to_string)
            .chain(separators.map(str::to_owned));
        for mark in marks {
            for at in 0..=6 {
                let text = format!("{}{mark}{}", &"12ab56"[..at], &"12ab56"[at..]);
                assert!(code(&text).eq("12ab56".chars()), "{mark:?} at {at}");
            }
            for at in 0..=12 {
                let text = format!("{}{mark}{}", &"+13478379634"[..at], &"+13478379634"[at..]);
                assert_eq!(
                    number(&text, 15).as_deref(),
                    Some("+13478379634"),
                    "{mark:?} at {at}"
                );
            }
        }
    }

    #[test]
    fn a_code_is_its_letters_digits_and_symbols() {
        for (text, meant) in [
            ("\u{200e}123 - 456\u{feff}", "123456"),
            ("١٢٣٤٥٦", "123456"),
            ("“123.456”.", "123456"),
            ("#123_456", "123456"),
            ("Ｋx７・trm", "Kx7trm"),
            ("ключ-1", "ключ1"),
            ("🦀+🐙", "🦀+🐙"),
            ("-- \u{200b}", ""),
        ] {
            assert_eq!(code(text).collect::<String>(), meant, "{text}");
        }
        assert!("\u{feff} \t".chars().all(is_blank) && !is_blank('0'));
    }
}
