//! The text of the SMS: a default template, and others by language.
//!
//! The syntax is that of django-phone-verify, which is Python's `str.format` with names: `{app}` and `{security_code}`,
//! and `{{`, `}}` for braces. Invariant: templates are validated when they are read, so rendering cannot fail.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Autofill, SecurityCode,
    language::{self, Language},
};

/// How many lists of languages are cached with their choice. Browsers send few different ones.
const MAX_REMEMBERED: usize = 256;
/// The longest list that is cached, in bytes, so that clients cannot fill the cache with large ones.
const MAX_REMEMBERED_BYTES: usize = 128;

/// A caller's preferred languages, in the form of `Accept-Language`. A single tag is a list too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locale(pub String);

impl Locale {
    /// The tags in lower case, most wanted first (RFC 9110, section 12.5.4). `pt_BR`, as programs write it, becomes
    /// `pt-br`.
    fn tags(&self) -> impl Iterator<Item = String> {
        language::wanted(&self.0)
            .into_iter()
            .filter(|wanted| wanted.is_wanted() && wanted.tag != "*")
            .map(|wanted| normalized(wanted.tag))
    }

    /// The most wanted tag. Empty: there is none.
    pub fn first_tag(&self) -> String {
        self.tags().next().unwrap_or_default()
    }
}

fn normalized(tag: &str) -> String {
    tag.to_lowercase().replace('_', "-")
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// An unknown placeholder.
    #[error("it has the placeholder {{{0}}}, but only {{app}} and {{security_code}} are filled in")]
    UnknownPlaceholder(String),
    /// The placeholder of the code is missing, so the SMS would be useless.
    #[error("it has no {{security_code}}, so the SMS would carry no code")]
    NoSecurityCode,
    /// An unpaired brace.
    #[error("it has a brace without its partner; write {{{{ or }}}} for a brace")]
    LoneBrace,
    /// The key of a row in `MESSAGES` is not a language tag, so no request would match it.
    #[error("its name is no language tag such as es or pt-BR")]
    NoLanguage,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    App,
    SecurityCode,
}

/// One template.
#[derive(Clone, Debug)]
struct Template(Vec<Piece>);

impl Template {
    fn parse(source: &str) -> Result<Self, BadTemplate> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source.chars().peekable();
        while let Some(character) = rest.next() {
            match character {
                '{' | '}' if rest.next_if_eq(&character).is_some() => text.push(character),
                '}' => return Err(BadTemplate::LoneBrace),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some('{') | None => return Err(BadTemplate::LoneBrace),
                            Some(character) => name.push(character),
                        }
                    }
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(match name.trim() {
                        "app" => Piece::App,
                        "security_code" => Piece::SecurityCode,
                        _ => return Err(BadTemplate::UnknownPlaceholder(name)),
                    });
                }
                _ => text.push(character),
            }
        }
        pieces.push(Piece::Text(text));
        if !pieces.iter().any(|piece| matches!(piece, Piece::SecurityCode)) {
            return Err(BadTemplate::NoSecurityCode);
        }
        Ok(Self(pieces))
    }

    fn render(&self, app: &str, code: &SecurityCode) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::App => app,
                Piece::SecurityCode => code.expose(),
            })
            .collect()
    }
}

/// All templates of the settings.
#[derive(Clone, Debug)]
pub struct Messages {
    app: String,
    default: Template,
    /// The rows of `MESSAGES`, by language tag in lower case.
    by_language: Vec<(String, Template)>,
    /// The languages to choose from: those of `by_language` with their indexes, then that of `default`.
    offered: Vec<(Language, Option<usize>)>,
    /// Cached choices, as index into `by_language`. A choice takes some microseconds.
    chosen: Arc<Mutex<HashMap<String, Option<usize>>>>,
    autofill: Autofill,
}

impl Messages {
    /// The templates with `MESSAGE`, its language, and `APP_NAME`.
    pub fn new(default: &str, language: Language, app: &str) -> Result<Self, BadTemplate> {
        Ok(Self {
            app: app.to_owned(),
            default: Template::parse(default)?,
            by_language: Vec::new(),
            offered: vec![(language, None)],
            chosen: Arc::default(),
            autofill: Autofill::default(),
        })
    }

    /// Adds a last line for browsers and apps to each text.
    #[must_use]
    pub fn with_autofill(self, autofill: Autofill) -> Self {
        Self { autofill, ..self }
    }

    /// Adds a row of `MESSAGES`. Returns the tag of an earlier row in the same language, which then has precedence over
    /// the new one. `Some(None)`: `MESSAGE` is in that language, and the new row has precedence over it.
    pub fn add_language(&mut self, tag: &str, template: &str) -> Result<Option<Option<&str>>, BadTemplate> {
        let tag = normalized(tag);
        let language = Some(&tag)
            .filter(|tag| language::is_tag(tag))
            .and_then(|tag| Language::parse(tag))
            .ok_or(BadTemplate::NoLanguage)?;
        let row = self.by_language.len();
        self.by_language.push((tag, Template::parse(template)?));
        let twin = self.offered.iter().find(|(other, _)| *other == language);
        let twin = twin.map(|(_, row)| row.map(|row| self.by_language[row].0.as_str()));
        // Before the entry of MESSAGE, which must stay last: it is the text that is sent when no row fits.
        self.offered.insert(row, (language, Some(row)));
        self.chosen = Arc::default();
        Ok(twin)
    }

    /// The text in the language that fits best, or else `MESSAGE`.
    pub fn render(&self, locale: &Locale, code: &SecurityCode) -> String {
        self.text(self.template(locale), code)
    }

    /// All texts with this code: `MESSAGE` first, then the rows of `MESSAGES`.
    pub fn all(&self, code: &SecurityCode) -> Vec<(Option<&str>, String)> {
        let others = self.by_language.iter();
        let others = others.map(|(language, template)| (Some(language.as_str()), template));
        std::iter::once((None, &self.default))
            .chain(others)
            .map(|(language, template)| (language, self.text(template, code)))
            .collect()
    }

    fn text(&self, template: &Template, code: &SecurityCode) -> String {
        template.render(&self.app, code) + &self.autofill.last_line(code)
    }

    fn template(&self, locale: &Locale) -> &Template {
        if self.by_language.is_empty() || locale.0.is_empty() {
            return &self.default;
        }
        match self.row(&locale.0) {
            Some(row) => &self.by_language[row].1,
            None => &self.default,
        }
    }

    /// The index into `by_language` for this list. `None`: `MESSAGE`.
    fn row(&self, list: &str) -> Option<usize> {
        let remembered = || self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = remembered().get(list) {
            return *row;
        }
        let row = language::choose(list, &self.offered).copied().flatten();
        if list.len() <= MAX_REMEMBERED_BYTES {
            let mut remembered = remembered();
            // Clients that send ever new lists cost computing time, but no memory.
            if remembered.len() == MAX_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(list.to_owned(), row);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::autofill::OriginHost;

    fn english() -> Language {
        Language::parse("en").unwrap()
    }

    fn rendered(locale: &str) -> String {
        let mut messages = Messages::new("{app}: {security_code}", english(), "Acme {x}").unwrap();
        messages
            .add_language("es", "{app}, su código: {security_code}")
            .unwrap();
        messages.add_language("zh-Hant", "{{{security_code}}}").unwrap();
        messages.render(&Locale(locale.to_owned()), &SecurityCode::new("123456").unwrap())
    }

    #[test]
    fn the_language_that_fits_best_is_chosen() {
        for locale in [
            "es",
            "es-MX",
            "ES-mx",
            "fr, es;q=0.5, en;q=0.1",
            "en;Q=0.1, es;Q=0.9",
            "es-419-x-acme",
            "zh-Hant;q=0.5, es ; q=0.9",
            "es_MX",
        ] {
            assert_eq!(rendered(locale), "Acme {x}, su código: 123456", "{locale}");
        }
        assert_eq!(rendered("zh-Hant-CN-x-private1"), "{123456}");
        for locale in ["", "*", "en", "zh", "es;q=0", ";;;,,,q=", "e"] {
            assert_eq!(rendered(locale), "Acme {x}: 123456", "{locale}");
        }
    }

    /// RFC 4647, section 3.4: all shortenings of a range are tried before the next range.
    #[test]
    fn a_language_that_is_wanted_more_goes_before_a_closer_fit() {
        assert_eq!(
            rendered("zh-Hant-HK;q=0.8, es-MX;q=0.9"),
            "Acme {x}, su código: 123456"
        );
        assert_eq!(rendered("zh-Hant-HK, es"), "{123456}");
        // The choice is never more specific than the range.
        assert_eq!(rendered("zh-Hans, zh, es"), "Acme {x}, su código: 123456");
    }

    #[test]
    fn a_choice_is_the_same_again_and_what_is_remembered_has_a_bound() {
        let mut messages = Messages::new("en {security_code}", english(), "Acme").unwrap();
        messages.add_language("es", "es {security_code}").unwrap();
        let rendered = |list: &str| messages.render(&Locale(list.into()), &SecurityCode::new("1").unwrap());
        for n in 0..2 * MAX_REMEMBERED {
            let list = format!("fr;q=0.{n}, es-{:03};q=0.5, en;q=0.1", n % 1000);
            let first = rendered(&list);
            assert_eq!(
                (first.as_str(), rendered(&list)),
                ("es 1", first.clone()),
                "{list}"
            );
        }
        assert_eq!(
            rendered(&format!("es{}", " ".repeat(2 * MAX_REMEMBERED_BYTES))),
            "es 1"
        );
        let remembered = messages.chosen.lock().unwrap();
        assert!(remembered.len() <= MAX_REMEMBERED);
        assert!(remembered.keys().all(|list| list.len() <= MAX_REMEMBERED_BYTES));
    }

    #[test]
    fn each_language_has_the_last_line_and_a_name() {
        let autofill = Autofill {
            host: OriginHost::parse("example.com").ok(),
            app: None,
        };
        let mut messages = Messages::new("{app}: {security_code}", english(), "Acme")
            .unwrap()
            .with_autofill(autofill);
        messages.add_language("pt_BR", "Código: {security_code}").unwrap();
        let code = SecurityCode::new("123456").unwrap();
        assert_eq!(
            messages.all(&code),
            [
                (None, "Acme: 123456\n@example.com #123456".to_owned()),
                (Some("pt-br"), "Código: 123456\n@example.com #123456".to_owned()),
            ]
        );
        assert_eq!(
            messages.render(&Locale("pt-BR".into()), &code),
            messages.all(&code)[1].1
        );
        for tag in [
            "",
            "e",
            "spanish!",
            "es-",
            "1es",
            "es MX",
            "es-abcdefghi",
            "es,en",
        ] {
            assert_eq!(
                messages.add_language(tag, "{security_code}"),
                Err(BadTemplate::NoLanguage),
                "{tag}"
            );
        }
    }

    #[test]
    fn a_quality_that_is_no_number_changes_no_order() {
        let nonsense = "nan,inf,-1,2,x,".split(',');
        let header: Vec<String> = nonsense
            .cycle()
            .take(60)
            .enumerate()
            .map(|(n, q)| format!("aa-{n:03};q={q}"))
            .collect();
        let header = header.join(",");
        let tags: Vec<_> = Locale(header).tags().collect();
        assert!(tags.len() > 20, "{tags:?}");
        assert!(
            tags.is_sorted_by_key(|tag| tag[3..].parse::<u32>().unwrap()),
            "{tags:?}"
        );
    }

    #[test]
    fn what_is_no_tag_is_not_taken_for_one() {
        // In a sealed message, a line break would begin the next part, which is the text of the SMS.
        for locale in [
            "en\nhttps://evil.example",
            "en\0",
            "en us",
            "en/..",
            "é",
            "\u{feff}en",
        ] {
            assert_eq!(Locale(locale.into()).first_tag(), "", "{locale:?}");
            assert_eq!(Locale(format!("{locale}, es-MX;q=0.1")).first_tag(), "es-mx");
        }
    }

    #[test]
    fn a_template_that_cannot_work_is_refused() {
        let refused = |template| Messages::new(template, english(), "Acme").unwrap_err();
        assert_eq!(
            refused("{app} {code}"),
            BadTemplate::UnknownPlaceholder("code".into())
        );
        assert_eq!(refused("{app}"), BadTemplate::NoSecurityCode);
        assert_eq!(refused("{security_code"), BadTemplate::LoneBrace);
        assert_eq!(refused("} {security_code}"), BadTemplate::LoneBrace);
        assert_eq!(
            refused("{code}").to_string(),
            "it has the placeholder {code}, but only {app} and {security_code} are filled in"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_refused(text in "\\PC{0,40}|[{}a-z]{0,20}", locale in "\\PC{0,40}") {
            if let Ok(messages) = Messages::new(&text, english(), "Acme") {
                messages.render(&Locale(locale), &SecurityCode::new("123456").unwrap());
            }
        }
    }
}
