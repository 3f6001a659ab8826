//! Finds a value in what a provider sends, an answer or a delivery receipt, whatever its format.
//!
//! | written | is |
//! |---|---|
//! | `/messages/0/id` | a value of a JSON document (RFC 6901), the text of an element of an XML one, or a field of a form or a query; `*` is the first of several, `@name` an attribute |
//! | `header:NAME` | a header |
//! | `text` | the whole body, without white space around it |
//! | `line:N` | its Nth line |
//! | `word:N` | its Nth word; white space and any of `,;:=\|"` are between words |
//!
//! Several of them, separated by spaces, are alternatives: the first that the document has.

use std::borrow::Cow;

use phone_verify_plugin_api::{
    Response, Webhook,
    serde_json::{self, Map, Value},
};
use roxmltree::Node;

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

    /// The value, trimmed. `None`: the document does not have it, or it is null or empty.
    pub(crate) fn find<'a>(&self, document: &'a Document<'_>) -> Option<Cow<'a, str>> {
        self.0
            .iter()
            .filter_map(|place| place.find(document))
            .find(|value| !value.is_empty())
    }
}

fn needed(text: &str) -> String {
    let kind = text.split(':').next().unwrap_or_default();
    format!(
        "must say where to look: /a/b of JSON or XML, header:NAME, text, line:N or word:N{}",
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

    fn find<'a>(&self, document: &'a Document<'_>) -> Option<Cow<'a, str>> {
        let text = document.text.trim();
        match self {
            Self::Pointer(steps) => match &document.json {
                Some(json) => text_of(in_json(json, steps)?).map(Cow::Owned),
                None => in_xml(text, steps).map(Cow::Owned),
            },
            Self::Header(name) => document.headers.get(name).map(|value| value.trim().into()),
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

/// What a provider sent, parsed as far as it can be.
pub(crate) struct Document<'a> {
    headers: Headers<'a>,
    text: Cow<'a, str>,
    json: Option<Value>,
}

#[derive(Clone, Copy)]
enum Headers<'a> {
    Answer(&'a Response),
    Receipt(&'a Webhook),
}

impl<'a> Headers<'a> {
    fn get(self, name: &str) -> Option<&'a str> {
        match self {
            Self::Answer(response) => response.header(name),
            Self::Receipt(webhook) => webhook.header(name),
        }
    }
}

impl<'a> Document<'a> {
    /// An answer to a request.
    pub(crate) fn of_answer(response: &'a Response) -> Self {
        Self::parse(Headers::Answer(response), response.body())
    }

    /// A request of the provider. Fields of its query and of a form are a table of texts. `None`: a field is there
    /// twice, so that it is unclear which of the two is meant.
    pub(crate) fn of_receipt(webhook: &'a Webhook) -> Option<Self> {
        let mut document = Self::parse(Headers::Receipt(webhook), webhook.body());
        if document.json.is_none() && !document.text.trim_start().starts_with('<') {
            let mut table = Map::new();
            for (name, value) in webhook.query().into_iter().chain(webhook.form()) {
                if table.insert(name, Value::String(value)).is_some() {
                    return None;
                }
            }
            document.json = Some(Value::Object(table));
        }
        Some(document)
    }

    fn parse(headers: Headers<'a>, body: &'a [u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let json = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok();
        // A text such as 100 would be JSON too.
        let json = json.filter(|json: &Value| json.is_object() || json.is_array());
        Self { headers, text, json }
    }

    /// The parts of a document that is about several messages: the items of the list at `path`, or of a document that
    /// is a list itself, at most `max` of them. Any other document is one part.
    pub(crate) fn parts(self, path: Option<&Field>, max: usize) -> Vec<Self> {
        let list = match (path, &self.json) {
            (Some(Field(places)), Some(json)) => places.iter().find_map(|place| match place {
                Place::Pointer(steps) => in_json(json, steps)?.as_array(),
                _ => None,
            }),
            (None, Some(json)) => json.as_array(),
            (_, None) => None,
        };
        let Some(items) = list else {
            return vec![self];
        };
        let part = |item: &Value| Self {
            headers: self.headers,
            text: self.text.clone(),
            json: Some(item.clone()),
        };
        items.iter().take(max).map(part).collect()
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

/// The longest XML document that is read. Real ones have a few hundred bytes, and each field is looked for anew.
const MAX_XML_BYTES: usize = 64 << 10;

fn in_xml(text: &str, steps: &[String]) -> Option<String> {
    if !text.starts_with('<') || text.len() > MAX_XML_BYTES {
        return None;
    }
    let document = roxmltree::Document::parse(text).ok()?;
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
