//! Characters that must not be shown as they are when they come from outside: in a log, on a terminal, in an answer.

/// Whether a terminal or a viewer would interpret a character instead of showing it: control characters, separators of
/// lines and paragraphs, marks that change the direction of text, and invisible characters. Joiners are allowed, since
/// words of some languages and emoji need them.
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}
