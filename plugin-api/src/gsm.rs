//! The default alphabet of SMS, which carries every message that is not declared as Unicode. Source: 3GPP TS 23.038,
//! tables 6.2.1.1 and 6.2.1.1.4.

/// The basic table: one septet per character.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The extension table: each character takes two septets.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Whether the default alphabet of SMS can encode the whole text. Many providers must be told otherwise, or replace the
/// characters that it lacks.
pub fn is_gsm(text: &str) -> bool {
    text.chars()
        .all(|character| BASIC.contains(character) || EXTENSION.contains(character))
}

#[cfg(test)]
mod tests {
    use super::is_gsm;

    #[test]
    fn plain_text_and_the_extension_table_need_no_unicode() {
        for text in [
            "",
            "Your code is 123456\r\n@example.com #123456",
            "£1 = ¥150 ¡Sí? no: ¿Ñandú, à è é ì ò ù"
                .replace('í', "i")
                .replace('ú', "u")
                .as_str(),
            "{a} [b] ~c~ \\d\\ |e| ^f^ 5€",
            "ΔΦΓΛΩΠΨΣΘΞ §¤ ÄÖÜäöüß ÅåÆæØø É",
        ] {
            assert!(is_gsm(text), "{text}");
        }
    }

    #[test]
    fn the_alphabet_has_only_the_capital_of_c_cedilla_and_the_grave_of_most_accents() {
        assert!(is_gsm("Ç"));
        for lost in ["ç", "á", "í", "ó", "ú", "ê", "ã", "È", "À", "É\u{301}"] {
            assert!(!is_gsm(lost), "{lost}");
        }
    }

    #[test]
    fn other_scripts_emoji_and_typographic_signs_need_unicode() {
        for text in [
            "Код",
            "验证码",
            "קוד",
            "🔑",
            "it’s",
            "“x”",
            "a–b",
            "…",
            "a\tb",
            "a`b",
            "\u{a0}",
            "\u{1b}",
        ] {
            assert!(!is_gsm(text), "{text:?}");
        }
    }

    #[test]
    fn the_tables_are_complete() {
        // The basic table has 128 positions, of which one is the escape to the extension table with its ten characters.
        assert_eq!(super::BASIC.chars().count(), 127);
        assert_eq!(super::EXTENSION.chars().count(), 10);
    }
}
