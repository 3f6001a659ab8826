//! A text with placeholders such as `{message}`. `{{` and `}}` are braces.

use crate::{
    problems::choice,
    values::{Name, Values},
};

/// A parsed template.
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

enum Piece {
    Text(String),
    Value(Name),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with its place.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain.push_str(&from[..1]);
                rest = after;
                continue;
            }
            let Some(inside) = from.strip_prefix('{') else {
                return Err("has a } without a { before it; write }} for a brace itself".to_owned());
            };
            let Some((name, after)) = inside.split_once('}') else {
                return Err("has a { without a } behind it; write {{ for a brace itself".to_owned());
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Value(Name::parse(name).ok_or_else(|| unknown(name))?));
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Ok(Self { pieces })
    }

    /// The placeholders in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(name) => Some(*name),
            Piece::Text(_) => None,
        })
    }

    /// Fills it in, with the values as they are.
    pub(crate) fn fill(&self, values: &Values<'_>) -> String {
        self.fill_with(|name, text| text.push_str(values.get(name)))
    }

    /// Fills it in. `write` appends the value of a placeholder, escaped for where the template is; the template's own
    /// text stays as it is.
    pub(crate) fn fill_with(&self, mut write: impl FnMut(Name, &mut String)) -> String {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Value(name) => write(*name, &mut filled),
            }
        }
        filled
    }
}

fn unknown(name: &str) -> String {
    // A secret that was pasted between braces must not come back in an error.
    let is_name = name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let shown = if is_name {
        format!("{{{name}}}")
    } else {
        "of another name".to_owned()
    };
    format!("has an unknown placeholder {shown}{}", choice(name, Name::all()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<Name> {
        Template::parse(text).unwrap().names().collect()
    }

    #[test]
    fn placeholders_and_braces_are_told_apart() {
        assert_eq!(
            names("{{number}} {number}{message}"),
            [Name::Number, Name::Message]
        );
        let template = Template::parse("{{a}} {number} b").unwrap();
        let filled = template.fill_with(|name, text| text.push_str(name.text()));
        assert_eq!(filled, "{a} number b");
    }

    #[test]
    fn a_wrong_placeholder_is_told_with_the_nearest_one() {
        let error = |text| Template::parse(text).err().unwrap();
        assert!(error("to {mesage}").contains("{mesage}"));
        assert!(error("to {mesage}").ends_with("did you mean message?"));
        assert!(error("{number").contains("{ without a }"));
        assert!(error("number}").contains("} without a {"));
        let pasted = error("{A-Secret-1234}");
        assert!(!pasted.contains("A-Secret"), "{pasted}");
    }
}
