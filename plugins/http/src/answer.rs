//! Finds a value in a provider's answer, whatever its format.
//!
//! | written | is |
//! |---|---|
//! | `/messages/0/id` | a value of a JSON answer (RFC 6901), or the text of an element of an XML answer; `*` is the first of several, `@name` an attribute |
//! | `header:NAME` | a header |
//! | `text` | the whole answer, without white space around it |
//! | `line:N` | its Nth line |
//! | `word:N` | its Nth word; white space and any of `,;:=\|"` are between words |
//!
//! Several of them, separated by spaces, are alternatives: the first that the answer has.

use std::borrow::Cow;

use phone_verify_plugin_api::{
    Response,
    serde_json::{self, Value},
};
use roxmltree::{Document, Node};

use crate::problems::hint;

/// Where to look.
pub(crate) struct Field(Vec<Place>);

enum Place {
    Pointer(Vec<String>),
    Header(String),
    Text,
    Line(usize),
    Word(usize),
}

impl Field {
    /// Reads the notation above.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with its place.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let places = text
            .split_whitespace()
            .map(Place::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if places.is_empty() {
            return Err(needed(text));
        }
        Ok(Self(places))
    }

    /// The value, trimmed. `None`: the answer does not have it, or it is null or empty.
    pub(crate) fn find<'a>(&self, answer: &'a Answer<'_>) -> Option<Cow<'a, str>> {
        self.0
            .iter()
            .filter_map(|place| place.find(answer))
            .find(|value| !value.is_empty())
    }
}

fn needed(text: &str) -> String {
    let kind = text.split(':').next().unwrap_or_default();
    format!(
        "must say where in the answer to look: /a/b of JSON or XML, header:NAME, text, line:N or word:N{}",
        hint(kind, ["header", "text", "line", "word"])
    )
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(steps) = text.strip_prefix('/') {
            let steps = steps
                .split('/')
                .map(|step| step.replace("~1", "/").replace("~0", "~"));
            return Ok(Self::Pointer(steps.collect()));
        }
        let index = |number: &str| {
            let number: usize = number.parse().ok()?;
            number.checked_sub(1)
        };
        let place = match text.split_once(':') {
            Some(("header", name)) if !name.is_empty() => Some(Self::Header(name.to_owned())),
            Some(("line", number)) => index(number).map(Self::Line),
            Some(("word", number)) => index(number).map(Self::Word),
            None if text == "text" => Some(Self::Text),
            _ => None,
        };
        place.ok_or_else(|| needed(text))
    }

    fn find<'a>(&self, answer: &'a Answer<'_>) -> Option<Cow<'a, str>> {
        let text = answer.text.trim();
        match self {
            Self::Pointer(steps) => match &answer.json {
                Some(json) => text_of(in_json(json, steps)?).map(Cow::Owned),
                None => in_xml(text, steps).map(Cow::Owned),
            },
            Self::Header(name) => answer.response.header(name).map(|value| value.trim().into()),
            Self::Text => Some(text.into()),
            Self::Line(index) => text.lines().nth(*index).map(|line| line.trim().into()),
            Self::Word(index) => text
                .split(|character: char| character.is_whitespace() || ",;:=|\"".contains(character))
                .filter(|word| !word.is_empty())
                .nth(*index)
                .map(Cow::Borrowed),
        }
    }
}

/// A provider's answer, parsed as far as it can be.
pub(crate) struct Answer<'a> {
    pub(crate) response: &'a Response,
    text: Cow<'a, str>,
    json: Option<Value>,
}

impl<'a> Answer<'a> {
    pub(crate) fn of(response: &'a Response) -> Self {
        let text = String::from_utf8_lossy(response.body());
        let json = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok();
        Self { response, text, json }
    }
}

fn in_json<'a>(json: &'a Value, steps: &[String]) -> Option<&'a Value> {
    steps.iter().try_fold(json, |value, step| match value {
        Value::Object(fields) if step == "*" => fields.values().next(),
        Value::Object(fields) => fields.get(step),
        Value::Array(items) if step == "*" => items.first(),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A list or a table is its JSON text, so that a rule can look for a word in it.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.trim().to_owned()),
        other => Some(other.to_string()),
    }
}

fn in_xml(text: &str, steps: &[String]) -> Option<String> {
    if !text.starts_with('<') {
        return None;
    }
    let document = Document::parse(text).ok()?;
    let mut node = document.root();
    for step in steps {
        if let Some(attribute) = step.strip_prefix('@') {
            return node.attribute(attribute).map(|value| value.trim().to_owned());
        }
        node = match step.parse::<usize>() {
            // Behind an element's name: which of the elements of that name, from 0.
            Ok(index) => of_that_name(node).nth(index)?,
            Err(_) => node
                .children()
                .find(|child| child.is_element() && (step == "*" || child.tag_name().name() == step))?,
        };
    }
    let texts: String = node
        .descendants()
        .filter(Node::is_text)
        .filter_map(|node| node.text())
        .collect();
    Some(texts.trim().to_owned())
}

fn of_that_name<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    let name = node.tag_name().name();
    node.parent()
        .into_iter()
        .flat_map(|parent| parent.children())
        .filter(move |child| child.is_element() && child.tag_name().name() == name)
}
