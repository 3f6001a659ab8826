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

/// The most characters in one part, and in each of several.
const GSM: (usize, usize) = (160, 153);
const UCS2: (usize, usize) = (70, 67);

/// How a text is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// In how many parts.
    pub segments: u64,
    /// How many characters it takes, as they are counted in its encoding.
    pub characters: usize,
    /// How many of them one part has.
    pub room: usize,
    /// The characters that the GSM alphabet lacks, each once, in their order; empty: it is sent in that.
    pub beyond: Vec<char>,
}

impl Size {
    /// Of a text.
    pub fn of(text: &str) -> Self {
        let mut beyond = Vec::new();
        for character in text.chars().filter(|character| septets(*character).is_none()) {
            if !beyond.contains(&character) {
                beyond.push(character);
            }
        }
        let (characters, room) = if beyond.is_empty() {
            (text.chars().filter_map(septets).sum(), GSM.0)
        } else {
            (text.encode_utf16().count(), UCS2.0)
        };
        Self {
            segments: segments(text),
            characters,
            room,
            beyond,
        }
    }

    /// The name of its encoding.
    pub fn encoding(&self) -> &'static str {
        if self.beyond.is_empty() { "GSM-7" } else { "UCS-2" }
    }
}

/// The parts that a text is sent in, at least 1.
pub fn segments(text: &str) -> u64 {
    let septets: Option<Vec<usize>> = text.chars().map(septets).collect();
    match septets {
        Some(lengths) => parts(lengths.into_iter(), GSM),
        None => parts(text.chars().map(char::len_utf16), UCS2),
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
fn parts(lengths: impl Iterator<Item = usize> + Clone, (single, each): (usize, usize)) -> u64 {
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
    fn what_leaves_less_room_is_named() {
        let size = |text: &str| {
            let size = Size::of(text);
            let beyond: String = size.beyond.iter().collect();
            (size.encoding(), size.characters, size.room, beyond)
        };
        assert_eq!(size("Code: {1}"), ("GSM-7", 11, 160, String::new()));
        assert_eq!(size("Tu código: 1 ó 2 😀"), ("UCS-2", 19, 70, "ó😀".to_owned()));
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
