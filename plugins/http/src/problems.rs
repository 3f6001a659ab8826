//! What is wrong with the options, gathered so that the operator sees all of it at once.
//!
//! Invariant: no sentence repeats a value, only names of options, fields and placeholders.

use phone_verify_plugin_api::{Error, ErrorKind};

/// The problems found so far.
#[derive(Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    /// Adds one sentence: what was found, what is needed, what to do.
    pub(crate) fn add(&mut self, sentence: impl Into<String>) {
        self.0.push(sentence.into());
    }

    /// The error of all problems.
    ///
    /// # Errors
    /// If there is a problem.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Config, "options", self.0.join("; ")))
    }
}

/// `; did you mean NAME?`, with the name that needs the fewest corrections, or nothing if none is near.
pub(crate) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let word = word.to_lowercase();
    let nearest = known
        .into_iter()
        .map(|name| (corrections(&word, &name.to_lowercase()), name))
        .min_by_key(|(count, _)| *count);
    match nearest {
        Some((count, name)) if count <= name.len().div_ceil(3) => format!("; did you mean {name}?"),
        _ => String::new(),
    }
}

/// The nearest name, or else all names, for a sentence about one that is unknown.
pub(crate) fn choice<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = hint(word, known.clone());
    if hint.is_empty() {
        format!("; there are only {}", known.collect::<Vec<_>>().join(", "))
    } else {
        hint
    }
}

/// How many characters must be added, removed or replaced to get from one word to the other.
fn corrections(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, character) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::{choice, hint};

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["message", "number", "key"];
        assert_eq!(hint("mesage", known), "; did you mean message?");
        assert_eq!(hint("NUMBRE", known), "; did you mean number?");
        assert_eq!(hint("kye", known), "");
        assert_eq!(hint("ky", known), "; did you mean key?");
        assert_eq!(hint("recipient", known), "");
        assert_eq!(hint("x", []), "");
        assert_eq!(choice("ky", known.into_iter()), "; did you mean key?");
        assert_eq!(
            choice("recipient", known.into_iter()),
            "; there are only message, number, key"
        );
    }
}
