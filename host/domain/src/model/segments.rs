//! The number of segments that an SMS is sent in, which providers charge for.
//!
//! A text in the GSM 7-bit alphabet (3GPP TS 23.038, section 6.2.1) has 160 characters in a single segment, or 153 in
//! each of several. Characters of the extension table take two and are not split across segments. Any other text is
//! sent as UCS-2, with 70 or 67 units of UTF-16; a surrogate pair is not split either.

/// The basic table, without its escape character.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ\
                     ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The extension table: each is sent as the escape character and another one.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// The most characters in a single segment, and in each of several.
const GSM: (usize, usize) = (160, 153);
/// The same for UCS-2.
const UCS2: (usize, usize) = (70, 67);

/// The size of a text as an SMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// The number of segments.
    pub segments: u64,
    /// The number of characters, counted in its encoding.
    pub characters: usize,
    /// How many characters fit into a single segment.
    pub room: usize,
    /// The characters that the GSM alphabet lacks, each once, in order. Empty: it is sent in the GSM alphabet.
    pub beyond: Vec<char>,
}

impl Size {
    /// The size of this text.
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

    /// The name of the encoding.
    pub fn encoding(&self) -> &'static str {
        if self.beyond.is_empty() { "GSM-7" } else { "UCS-2" }
    }
}

/// The number of segments of a text, at least 1.
pub fn segments(text: &str) -> u64 {
    let septets: Option<Vec<usize>> = text.chars().map(septets).collect();
    match septets {
        Some(lengths) => parts(lengths.into_iter(), GSM),
        None => parts(text.chars().map(char::len_utf16), UCS2),
    }
}

/// The length of a character in septets. `None`: the GSM alphabet lacks it.
fn septets(character: char) -> Option<usize> {
    if character.is_ascii_alphanumeric() || character == ' ' || BASIC.contains(character) {
        Some(1)
    } else {
        EXTENSION.contains(character).then_some(2)
    }
}

/// How many segments characters of these lengths need: one if all fit into `single`, otherwise as many of `each` as
/// needed.
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
            // After 152 septets, a character of two does not fit into the last septet, so the last one needs a third
            // segment.
            (format!("{}€{}", "a".repeat(152), "a".repeat(151)), 2),
            (format!("{}€{}", "a".repeat(152), "a".repeat(152)), 3),
            ("é".repeat(160), 1),
            ("ê".repeat(70), 1),
            ("ê".repeat(71), 2),
            ("ê".repeat(134), 2),
            ("ê".repeat(135), 3),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            // 33 surrogate pairs fit into a segment of 67 units.
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
