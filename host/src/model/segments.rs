//! How many parts an SMS is sent in, which is how many are paid for.
//!
//! A text that the GSM 7-bit alphabet holds (3GPP TS 23.038, section 6.2.1) has 160 characters in one part or 153 in
//! each of several; characters of the extension table take two, and are not split. Any other text goes as UCS-2, with
//! 70 or 67 units of UTF-16; a pair of surrogates is not split either.

/// The basic table, without its escape.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ\
                     ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Written as the escape and one more.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// The parts that a text is sent in, at least 1.
pub fn segments(text: &str) -> u64 {
    let septets: Option<Vec<usize>> = text.chars().map(septets).collect();
    match septets {
        Some(lengths) => parts(lengths.into_iter(), 160, 153),
        None => parts(text.chars().map(char::len_utf16), 70, 67),
    }
}

fn septets(character: char) -> Option<usize> {
    if character.is_ascii_alphanumeric() || character == ' ' || BASIC.contains(character) {
        Some(1)
    } else {
        EXTENSION.contains(character).then_some(2)
    }
}

/// How many parts of `each` hold characters of these lengths, unless one of `single` does.
fn parts(lengths: impl Iterator<Item = usize> + Clone, single: usize, each: usize) -> u64 {
    if lengths.clone().sum::<usize>() <= single {
        return 1;
    }
    let (mut parts, mut used) = (1, 0);
    for length in lengths {
        if used + length > each {
            parts += 1;
            used = 0;
        }
        used += length;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_as_networks_count_them() {
        for (text, expected) in [
            (String::new(), 1),
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            // 152 septets and two that do not fit into the one that is left: the third part is for the last.
            (format!("{}€{}", "a".repeat(152), "a".repeat(151)), 2),
            (format!("{}€{}", "a".repeat(152), "a".repeat(152)), 3),
            ("é".repeat(160), 1),
            ("ê".repeat(70), 1),
            ("ê".repeat(71), 2),
            ("ê".repeat(134), 2),
            ("ê".repeat(135), 3),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            // 33 pairs in a part of 67.
            ("😀".repeat(66), 2),
            ("😀".repeat(67), 3),
            (format!("{}ê", "a".repeat(70)), 2),
        ] {
            assert_eq!(segments(&text), expected, "{} characters", text.chars().count());
        }
    }

    #[test]
    fn the_alphabet_is_whole() {
        assert_eq!(BASIC.chars().count(), 127);
        assert_eq!(EXTENSION.chars().count(), 10);
        for twin in ['ç', '`', 'Ω'] {
            assert_eq!(septets(twin).is_some(), twin == 'Ω', "{twin}");
        }
    }
}
