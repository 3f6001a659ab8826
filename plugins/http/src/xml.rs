//! An XML body. Its template is well-formed XML; placeholders are in its text and its attributes' values alone.

use phone_verify_plugin_api::{Error, ErrorKind};
use roxmltree::{Document, NodeType};

use crate::{
    template::Template,
    values::{Name, Values},
};

/// A template of an XML document.
pub(crate) struct XmlTemplate(Template);

impl XmlTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with its place.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let template = Template::parse(text)?;
        // There is no escaping in a CDATA section, so a text could end it.
        if text.contains("<![CDATA[") {
            return Err(
                "has a CDATA section; write the text without it, as placeholders are escaped".to_owned(),
            );
        }
        let mut count = 0;
        let marked = template.fill_with(|_, text| {
            text.push_str(&mark(count));
            count += 1;
        });
        let document = Document::parse(&marked).map_err(|error| {
            format!(
                "is not well-formed XML ({error}, counted with {MARK_LENGTH} characters for a placeholder)"
            )
        })?;
        for at in 0..count {
            if !is_text(&document, &mark(at)) {
                return Err(
                    "has a placeholder in a name, a comment or a declaration; only text and values of attributes can \
                     have one"
                        .to_owned(),
                );
            }
        }
        Ok(Self(template))
    }

    /// The placeholders in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.0.names()
    }

    /// Fills it in.
    ///
    /// # Errors
    /// If a value has a character that no XML document can have, escaped or not (XML 1.0, section 2.2).
    pub(crate) fn fill(&self, values: &Values<'_>) -> Result<String, Error> {
        for name in self.names() {
            if values.get(name).chars().any(is_impossible) {
                return Err(Error::new(
                    ErrorKind::ContentRejected,
                    "http_not_in_xml",
                    format!(
                        "the value of {{{}}} has a character that XML cannot have",
                        name.text()
                    ),
                ));
            }
        }
        Ok(self.0.fill_with(|name, text| escape(values.get(name), text)))
    }
}

/// The length of a mark.
const MARK_LENGTH: usize = 8;

/// Takes the place of the placeholder with this index while the template is checked.
fn mark(index: usize) -> String {
    format!("pv{index:04}vp")
}

fn is_text(document: &Document<'_>, mark: &str) -> bool {
    document.descendants().any(|node| {
        let in_text =
            node.node_type() == NodeType::Text && node.text().is_some_and(|text| text.contains(mark));
        in_text
            || node
                .attributes()
                .any(|attribute| attribute.value().contains(mark))
    })
}

fn is_impossible(character: char) -> bool {
    matches!(character, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// White space is escaped too, because a parser changes it in attributes and at the ends of lines.
fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&apos;"),
            '\t' => text.push_str("&#9;"),
            '\n' => text.push_str("&#10;"),
            '\r' => text.push_str("&#13;"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::XmlTemplate;

    #[test]
    fn placeholders_are_texts_and_values_of_attributes() {
        for good in [
            "<sms to=\"{number}\">{message}</sms>",
            "<?xml version=\"1.0\"?><a xmlns=\"urn:x\"><b c='{number}'/>{message}</a>",
        ] {
            assert!(XmlTemplate::parse(good).is_ok(), "{good}");
        }
        for (wrong, why) in [
            ("<sms><to>{number}</sms>", "well-formed"),
            ("<{number}/>", "in a name"),
            ("<sms {number}='1'/>", "in a name"),
            ("<sms><!-- {number} --></sms>", "comment"),
            ("<sms><?x {number}?></sms>", "declaration"),
            ("<sms xmlns:x='{number}'/>", "declaration"),
            ("<sms to={number}/>", "well-formed"),
            ("<sms><![CDATA[{message}]]></sms>", "CDATA"),
            ("<!DOCTYPE x [<!ENTITY e '{message}'>]><x>&e;</x>", "well-formed"),
            ("{message}", "well-formed"),
        ] {
            let error = XmlTemplate::parse(wrong).err().unwrap();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
