//! The request that the options describe.
//!
//! Invariant: each value is escaped for the place that it is put in, or refused there; see [`Plan::prepare`].

use phone_verify_plugin_api::{
    Error, ErrorKind,
    serde_json::{self, Value},
};

use crate::{
    json::JsonTemplate,
    options::{HttpOptions, Table},
    problems::{Problems, hint},
    template::Template,
    token::basic,
    url::{Address, encode_fields},
    values::{Account, Name, Values},
    xml::XmlTemplate,
};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Fields with a template each, by name.
pub(crate) type Fields = Vec<(String, Template)>;

/// What every request of this backend is made from.
pub(crate) struct Plan {
    method: String,
    address: Address,
    query: Fields,
    headers: Fields,
    basic_auth: Option<Template>,
    body: Body,
}

enum Body {
    None,
    Form(Fields),
    Json(JsonTemplate),
    Xml(XmlTemplate),
}

/// A finished request.
pub(crate) struct Prepared {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Plan {
    /// Takes its options out of `options`. What is wrong goes to `problems`; without an address there is no plan.
    pub(crate) fn read(
        options: &mut HttpOptions,
        account: &Account,
        problems: &mut Problems,
    ) -> Option<Self> {
        let address = address("URL", &options.url, problems);
        let mut headers = headers(options.headers.take(), problems);
        let query = fields("QUERY", options.query.take(), problems);
        let basic_auth = options
            .basic_auth
            .take()
            .and_then(|text| credentials("BASIC_AUTH", &text, problems));
        let body = Body::read(options, problems);
        let has =
            |headers: &Fields, name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if basic_auth.is_some() && has(&headers, "authorization") {
            problems.add("options BASIC_AUTH and HEADERS.Authorization are both set; remove one of them");
        }
        let uses_token = headers
            .iter()
            .any(|(_, value)| value.names().any(|name| name == Name::AccessToken));
        if options.token_url.is_some() && !uses_token && !has(&headers, "authorization") {
            if basic_auth.is_some() {
                problems.add(
                    "options BASIC_AUTH and TOKEN_URL are both set, and both fill in Authorization; remove one of \
                     them, or name a header for {access_token}",
                );
            }
            if let Ok(bearer) = Template::parse("Bearer {access_token}") {
                headers.push(("authorization".to_owned(), bearer));
            }
        }
        if let Some(media_type) = body.media_type()
            && !has(&headers, "content-type")
            && let Ok(template) = Template::parse(media_type)
        {
            headers.push(("content-type".to_owned(), template));
        }
        let method = method(options.method.take(), &body, problems);
        let plan = Self {
            method,
            address: address?,
            query,
            headers,
            basic_auth,
            body,
        };
        plan.check(options.token_url.is_some(), account, problems);
        Some(plan)
    }

    /// All placeholders, with the option that has each.
    fn names(&self) -> Vec<(String, Name)> {
        let mut names = Vec::new();
        let mut add = |place: &str, found: &mut dyn Iterator<Item = Name>| {
            names.extend(found.map(|name| (place.to_owned(), name)));
        };
        add("URL", &mut self.address.names());
        for (option, fields) in [("QUERY", &self.query), ("HEADERS", &self.headers)] {
            for (field, template) in fields {
                add(&format!("{option}.{field}"), &mut template.names());
            }
        }
        if let Some(template) = &self.basic_auth {
            add("BASIC_AUTH", &mut template.names());
        }
        match &self.body {
            Body::None => {}
            Body::Form(fields) => {
                for (field, template) in fields {
                    add(&format!("FORM.{field}"), &mut template.names());
                }
            }
            Body::Json(template) => {
                let mut found = Vec::new();
                template.names(&mut found);
                add("JSON", &mut found.into_iter());
            }
            Body::Xml(template) => add("XML", &mut template.names()),
        }
        names
    }

    /// Whether every placeholder has a value, and is where its value can be carried.
    fn check(&self, has_token: bool, account: &Account, problems: &mut Problems) {
        let names = self.names();
        let mut told: Vec<String> = Vec::new();
        for (place, name) in &names {
            if let Some(option) = account.lacks(*name)
                && !told.contains(&option)
            {
                problems.add(format!(
                    "option {option} is missing, which {place} has as {{{}}}; set it",
                    name.text()
                ));
                told.push(option);
            }
            if *name == Name::AccessToken && !has_token {
                problems.add(format!(
                    "option TOKEN_URL is missing, whose token {place} has as {{access_token}}; set it"
                ));
            }
            let in_header = place.starts_with("HEADERS.");
            if in_header && matches!(name, Name::Message | Name::Unicode) {
                problems.add(format!(
                    "option {place} has {{{}}}, but a header cannot carry every text; put it into QUERY or the body",
                    name.text()
                ));
            }
            if in_header && account.get(*name).is_some_and(|value| !is_header_value(value)) {
                problems.add(format!(
                    "option {} has a character that no header can carry, and {place} puts it into one; remove the \
                     character",
                    name.text().to_uppercase()
                ));
            }
        }
        let carries = |wanted: fn(&Name) -> bool| names.iter().any(|(_, name)| wanted(name));
        for (found, what, placeholder) in [
            (
                carries(|name| name.is_recipient()),
                "the recipient",
                "{number} or {number_digits}",
            ),
            (carries(|name| *name == Name::Message), "the text", "{message}"),
        ] {
            if !found {
                problems.add(format!(
                    "no option has {placeholder}, so that no request would say {what}; put it into FORM, JSON, XML, \
                     QUERY or URL, where the provider expects it"
                ));
            }
        }
    }

    /// Fills the plan in.
    ///
    /// # Errors
    /// If a value cannot be carried in its place. Nothing was sent then.
    pub(crate) fn prepare(&self, values: &Values<'_>) -> Result<Prepared, Error> {
        let address = self.address.fill(values)?;
        let added = encode_fields(
            self.query
                .iter()
                .map(|(name, template)| (name.as_str(), template.fill(values))),
        );
        let mut url = format!("{}{}", address.origin, address.path);
        let queries = [address.query, added];
        for (joint, query) in ['?', '&']
            .iter()
            .zip(queries.iter().filter(|query| !query.is_empty()))
        {
            url.push(*joint);
            url.push_str(query);
        }
        let mut headers = Vec::new();
        for (name, template) in &self.headers {
            let value = template.fill(values);
            if !is_header_value(&value) {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "http_not_in_header",
                    format!("the value of the header {name} has a character that no header can carry"),
                ));
            }
            headers.push((name.clone(), value));
        }
        if let Some(template) = &self.basic_auth {
            headers.push(("authorization".to_owned(), basic(&template.fill(values))));
        }
        Ok(Prepared {
            method: self.method.clone(),
            url,
            headers,
            body: self.body.fill(values)?,
        })
    }
}

impl Body {
    /// The one body of the options.
    fn read(options: &mut HttpOptions, problems: &mut Problems) -> Self {
        let given = [
            ("FORM", options.form.is_some()),
            ("JSON", options.json.is_some()),
            ("XML", options.xml.is_some()),
        ];
        let given: Vec<&str> = given
            .iter()
            .filter(|(_, is_given)| *is_given)
            .map(|(option, _)| *option)
            .collect();
        if given.len() > 1 {
            problems.add(format!(
                "options {} are all set, but a request has one body; remove all but one",
                given.join(", ")
            ));
        }
        if let Some(form) = options.form.take() {
            return Self::Form(fields("FORM", Some(form), problems));
        }
        if let Some(Table(json)) = options.json.take() {
            return Self::Json(JsonTemplate::read(Value::Object(json), "option JSON", problems));
        }
        match options.xml.take().map(|text| XmlTemplate::parse(&text)) {
            Some(Ok(template)) => Self::Xml(template),
            Some(Err(wrong)) => {
                problems.add(format!("option XML {wrong}"));
                Self::None
            }
            None => Self::None,
        }
    }

    fn media_type(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Json(_) => Some("application/json"),
            Self::Xml(_) => Some("application/xml; charset=utf-8"),
        }
    }

    fn fill(&self, values: &Values<'_>) -> Result<Vec<u8>, Error> {
        Ok(match self {
            Self::None => Vec::new(),
            Self::Form(fields) => encode_fields(
                fields
                    .iter()
                    .map(|(name, template)| (name.as_str(), template.fill(values))),
            )
            .into_bytes(),
            Self::Json(template) => serde_json::to_vec(&template.fill(values)).unwrap_or_default(),
            Self::Xml(template) => template.fill(values)?.into_bytes(),
        })
    }
}

fn method(given: Option<String>, body: &Body, problems: &mut Problems) -> String {
    let has_body = !matches!(body, Body::None);
    let usual = if has_body { "POST" } else { "GET" };
    let method = given.map_or_else(|| usual.to_owned(), |method| method.trim().to_ascii_uppercase());
    if !METHODS.contains(&method.as_str()) {
        problems.add(format!(
            "option METHOD must be one of {}{}",
            METHODS.join(", "),
            hint(&method, METHODS)
        ));
    }
    if method == "GET" && has_body {
        problems.add("option METHOD is GET, which has no body; use QUERY, or another METHOD");
    }
    method
}

/// An address, whose query must hold no secret in plain.
pub(crate) fn address(option: &str, text: &str, problems: &mut Problems) -> Option<Address> {
    let (_, query) = text.split_once('?').unwrap_or_default();
    for field in query.split('&') {
        let (name, value) = field.split_once('=').unwrap_or_default();
        if !value.is_empty() && !value.contains('{') {
            refuse_plain_secret(&format!("option {option}"), name, problems);
        }
    }
    Address::parse(text)
        .map_err(|wrong| problems.add(format!("option {option} {wrong}")))
        .ok()
}

/// A user and a password, which must come from options that are masked.
pub(crate) fn credentials(option: &str, text: &str, problems: &mut Problems) -> Option<Template> {
    match Template::parse(text) {
        Ok(template) if template.names().next().is_none() => {
            problems.add(format!(
                "option {option} has no placeholder; set the user and the password as USER and PASSWORD, which are \
                 masked everywhere, and write {option} = \"{{user}}:{{password}}\""
            ));
            None
        }
        Ok(template) => Some(template),
        Err(wrong) => {
            problems.add(format!("option {option} {wrong}"));
            None
        }
    }
}

/// The templates of a table of texts.
pub(crate) fn fields(option: &str, table: Option<Table>, problems: &mut Problems) -> Fields {
    let mut fields = Vec::new();
    for (name, value) in table.map(|Table(table)| table).unwrap_or_default() {
        let place = format!("option {option}.{name}");
        let text = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => {
                problems.add(format!("{place} must be a text"));
                continue;
            }
        };
        match Template::parse(&text) {
            Ok(template) => {
                if template.names().next().is_none() && !text.is_empty() {
                    refuse_plain_secret(&place, &name, problems);
                }
                fields.push((name, template));
            }
            Err(wrong) => problems.add(format!("{place} {wrong}")),
        }
    }
    fields
}

fn headers(table: Option<Table>, problems: &mut Problems) -> Fields {
    let fields = fields("HEADERS", table, problems);
    let mut seen: Vec<String> = Vec::new();
    for (name, template) in &fields {
        let lower = name.to_ascii_lowercase();
        let place = format!("option HEADERS.{name}");
        if !is_header_name(name) {
            problems.add("option HEADERS has a name that no header can have; use letters, digits and dashes");
        } else if ["host", "content-length", "transfer-encoding", "connection"].contains(&lower.as_str()) {
            problems.add(format!("{place} is what the HTTP client sets itself; remove it"));
        } else if seen.contains(&lower) {
            problems.add(format!(
                "{place} is set twice, with different capitalisation; remove one of them"
            ));
        }
        if !is_header_value(&template.fill_with(|_, _| ())) {
            problems.add(format!(
                "{place} has a character that no header can carry; remove it"
            ));
        }
        seen.push(lower);
    }
    fields
}

/// Secrets belong in options that the daemon masks. A name that is one of a secret must not have a value without a
/// placeholder.
fn refuse_plain_secret(place: &str, name: &str, problems: &mut Problems) {
    let bare: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_lowercase())
        .collect();
    let is_secret = [
        "authorization",
        "apikey",
        "authkey",
        "accesskey",
        "token",
        "secret",
        "password",
        "passwd",
    ]
    .iter()
    .any(|word| bare.contains(word));
    if is_secret {
        problems.add(format!(
            "{place} has the value of {name} in plain; set it as USER, PASSWORD, KEY or SECRET, which are masked \
             everywhere, and write its placeholder, such as {{key}}, here"
        ));
    }
}

/// RFC 9110, section 5.6.2.
fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Printable ASCII: what every server reads as it was sent, and no more (RFC 9110, section 5.5).
fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
