//! Characters that must not be shown as they are when they come from outside: in a log, on a terminal, in an answer.

/// Whether a terminal or a viewer would interpret a character instead of showing it: control characters, separators of
/// lines and paragraphs, marks that change the direction of text, and invisible characters.
pub fn is_harmful(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') || is_invisible(character)
}

/// Whether a character shows nothing, or changes the direction of the text after it. Joiners are allowed, since words
/// of some languages and emoji need them.
pub(super) fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}
