//! What people type and paste, as the characters that they mean: the one place that numbers and security codes are read
//! through.
//!
//! People have keyboards of other scripts, with their own digits and full-width letters; they write digits in groups;
//! and what they copy from a contact or a chat carries marks that nobody sees, such as U+202A around a number in the
//! contacts of a phone. None of that changes what was meant. Invariant: what a character stands for depends on the
//! character alone, by the properties that Unicode gives it.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{Dash, DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup, WhiteSpace},
};

/// What a character stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing: a format mark, a zero-width or a bidirectional one, a selector of a glyph.
    Invisible,
    /// A space of any width.
    Space,
    /// A tab or the end of a line, which ends a field of a table as well.
    Break,
    /// A hyphen, a dash, a minus sign; and the long mark of Japanese, which lies on the key of the dash.
    Dash,
    /// This character: ASCII where it has an equal there.
    Character(char),
}

/// What the character stands for.
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
    // A circled digit, a fraction or a Roman numeral is not how anybody writes a digit or a letter.
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

/// The decimal digits of every script are ten neighbours in the order of their values (The Unicode Standard, section
/// 4.6), so what is before one tells its value.
fn digit(character: char) -> char {
    let before = (0..u32::from(character))
        .rev()
        .take_while(|code| {
            char::from_u32(*code).is_some_and(|before| category(before) == GeneralCategory::DecimalNumber)
        })
        .count();
    char::from(b"0123456789"[before % 10])
}

/// `K` for its full-width form (Unicode's compatibility equivalence).
fn equal_in_ascii(character: char) -> Option<char> {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let mut equals = nfkc.normalize_iter(std::iter::once(character));
    let equal = equals.next().filter(char::is_ascii_graphic)?;
    equals.next().is_none().then_some(equal)
}

/// Whether the character is invisible.
pub fn is_blank(character: char) -> bool {
    matches!(typed(character), Typed::Invisible | Typed::Space | Typed::Break)
}

/// A security code as it is meant: without what groups it, surrounds it or cannot be seen, with digits and letters of
/// ASCII where they have an equal there. Upper and lower case stay as they are.
pub(super) fn code(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter_map(|character| match typed(character) {
        Typed::Character(character) if !is_punctuation(character) => Some(character),
        _ => None,
    })
}

fn is_punctuation(character: char) -> bool {
    !character.is_ascii_alphanumeric() && GeneralCategoryGroup::Punctuation.contains(category(character))
}

/// The digits of a phone number in ASCII, after a plus sign if the text begins with one, without the punctuation that
/// libphonenumber lets people put between digits. `None`: there is something else in it, such as a letter or a second line.
pub(super) fn number(text: &str, max_digits: usize) -> Option<String> {
    let mut digits = String::with_capacity(1 + max_digits);
    for character in text.trim_matches(is_blank).chars() {
        match typed(character) {
            Typed::Character('+') if digits.is_empty() => digits.push('+'),
            // More than there can be need not be kept to be refused.
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
            // They come in tens.
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
        // A circled digit, a fraction, a letter of another script that looks like one of ours.
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
