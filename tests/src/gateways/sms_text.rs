//! The encoding of texts in SMS: the alphabet of 3GPP TS 23.038 by code position, and the number of parts.

/// Table 6.2.1.1 by position. 0x1B is the escape to the extension table.
const BASIC: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å', // 0x00
    'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', '\u{1b}', 'Æ', 'æ', 'ß', 'É', // 0x10
    ' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/', // 0x20
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?', // 0x30
    '¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', // 0x40
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§', // 0x50
    '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', // 0x60
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à', // 0x70
];

/// Table 6.2.1.1.4. Each character is sent after an escape.
const EXTENSION: [char; 10] = ['\u{c}', '^', '{', '}', '\\', '[', '~', ']', '|', '€'];

/// The length of a character in septets. `None`: the alphabet lacks it.
fn septets(character: char) -> Option<usize> {
    if EXTENSION.contains(&character) {
        Some(2)
    } else if character != '\u{1b}' && BASIC.contains(&character) {
        Some(1)
    } else {
        None
    }
}

/// Whether the default alphabet can encode the whole text.
pub(super) fn is_gsm(text: &str) -> bool {
    text.chars().all(|character| septets(character).is_some())
}

/// The text that arrives when the default alphabet is used regardless.
pub(super) fn forced_into_gsm(text: &str) -> String {
    text.chars()
        .map(|character| {
            if septets(character).is_some() {
                character
            } else {
                '?'
            }
        })
        .collect()
}

/// How many parts the text takes. A single part has 160 septets or 70 UCS-2 units. Each of several has 153 or 67,
/// because a header joins them.
pub(super) fn parts(text: &str, unicode: bool) -> usize {
    let (length, alone, joined) = if unicode {
        (text.encode_utf16().count(), 70, 67)
    } else {
        (
            text.chars()
                .map(|character| septets(character).unwrap_or(1))
                .sum(),
            160,
            153,
        )
    };
    if length <= alone {
        1
    } else {
        length.div_ceil(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_no_position_twice() {
        let mut all: Vec<char> = BASIC.iter().chain(&EXTENSION).copied().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), BASIC.len() + EXTENSION.len());
    }

    #[test]
    fn what_the_alphabet_lacks_arrives_as_question_marks() {
        assert_eq!(forced_into_gsm("¡Olá, ação! {€} 🔑"), "¡Ol?, a??o! {€} ?");
        assert!(is_gsm("¡Bienvenido! Usa el código".replace('ó', "o").as_str()));
    }

    #[test]
    fn a_long_text_is_cut_where_the_headers_leave_room() {
        assert_eq!(parts(&"a".repeat(160), false), 1);
        assert_eq!(parts(&"a".repeat(161), false), 2);
        assert_eq!(parts(&"a".repeat(307), false), 3);
        assert_eq!(parts(&"€".repeat(80), false), 1);
        assert_eq!(parts(&"€".repeat(81), false), 2);
        assert_eq!(parts(&"ж".repeat(70), true), 1);
        assert_eq!(parts(&"ж".repeat(71), true), 2);
        assert_eq!(parts(&"🔑".repeat(36), true), 2);
    }
}
