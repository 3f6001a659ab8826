//! `console.ConsoleBackend`: prints each SMS to the terminal instead of sending it, for a first try and for
//! development. It shows phone numbers and codes in full, on purpose, which nothing else in this project does.
#![forbid(unsafe_code)]

use std::io::Write;

use phone_verify_plugin_api::{
    Backend, Call, Error, ErrorKind, Host, PhoneNumber, Receipt, backend, export_backends,
};

/// Prints each SMS.
pub struct ConsoleBackend {
    host: Host,
}

#[backend(summary = "Prints each SMS to the terminal instead of sending it", sandbox)]
impl Backend for ConsoleBackend {
    type Options = ();

    fn new((): (), host: Host) -> Result<Self, Error> {
        Ok(Self { host })
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
        let mut bytes = [0; 8];
        self.host.random(&mut bytes);
        // A single write, so that two messages never mix. To standard error, because scripts read results from standard
        // output.
        std::io::stderr()
            .lock()
            .write_all(card(number.e164(), message).as_bytes())
            .map_err(|error| Error::new(ErrorKind::Transient, "console_write", error.to_string()))?;
        Ok(Receipt::new(format!(
            "console-{:016x}",
            u64::from_be_bytes(bytes)
        )))
    }
}

export_backends!(ConsoleBackend);

/// The printed form of an SMS. Control characters are escaped, so that a text cannot move the cursor or recolour the
/// terminal.
fn card(number: &str, message: &str) -> String {
    let mut card = format!("┌─ SMS to {number}\n");
    for line in message.lines() {
        card.push_str("│ ");
        for character in line.chars() {
            if character.is_control() {
                card.extend(character.escape_default());
            } else {
                card.push(character);
            }
        }
        card.push('\n');
    }
    card.push_str("└─\n");
    card
}

#[cfg(test)]
mod tests {
    use super::card;

    #[test]
    fn a_message_of_two_lines_is_one_card() {
        assert_eq!(
            card("+13478379634", "Your code is 123456\n@example.com #123456"),
            "┌─ SMS to +13478379634\n│ Your code is 123456\n│ @example.com #123456\n└─\n"
        );
    }

    #[test]
    fn a_message_cannot_drive_the_terminal() {
        assert_eq!(
            card("+13478379634", "¡Hola!\u{1b}[2J\rx"),
            "┌─ SMS to +13478379634\n│ ¡Hola!\\u{1b}[2J\\rx\n└─\n"
        );
    }
}
