//! The request that the options describe.
//!
//! Invariant: each value is escaped for the place that it is put in, or refused there; see [`Plan::prepare`].

use phone_verify_plugin_api::{
    Error, ErrorKind, Host,
    serde_json::{self, Value},
};

use crate::{
    fields::{Fields, address, credentials, fields, headers, is_header_value},
    json::JsonTemplate,
    options::{HttpOptions, Table},
    problems::{Problems, choice},
    signature::Signature,
    template::Template,
    token::basic,
    url::{Address, encode_fields},
    values::{Account, Name, Unsigned, Values},
    xml::XmlTemplate,
};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What every request of this backend is made from.
pub(crate) struct Plan {
    method: String,
    address: Address,
    query: Fields,
    headers: Fields,
    basic_auth: Option<Template>,
    body: Body,
    signature: Option<Signature>,
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
        let signature = options
            .signature
            .take()
            .and_then(|Table(table)| Signature::read("SIGNATURE", table, &[], problems));
        let plan = Self {
            method,
            address: address?,
            query,
            headers,
            basic_auth,
            body,
            signature,
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
        if let Some(signature) = &self.signature {
            add("SIGNATURE", &mut signature.names());
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
            self.check_signed(place, *name, &names, problems);
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
        let sent = || names.iter().filter(|(place, _)| place != "SIGNATURE");
        let carries = |wanted: fn(&Name) -> bool| sent().any(|(_, name)| wanted(name));
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

    /// Whether a placeholder of a signature has a value before the request is signed.
    fn check_signed(&self, place: &str, name: Name, names: &[(String, Name)], problems: &mut Problems) {
        let in_signature = place == "SIGNATURE";
        if name == Name::Signature && (in_signature || self.signature.is_none()) {
            problems.add(format!(
                "option {place} has {{signature}}, which is what the option SIGNATURE makes of the rest; set SIGNATURE, \
                 and use {{signature}} outside of it"
            ));
        }
        if name.is_of_request() && !in_signature {
            problems.add(format!(
                "option {place} has {{{}}}, a part of the finished request, which only SIGNATURE can have",
                name.text()
            ));
        }
        // Where the signature is cannot be under it.
        let is_in = |prefixes: &[&str]| {
            names.iter().any(|(place, name)| {
                *name == Name::Signature && prefixes.iter().any(|prefix| place.starts_with(prefix))
            })
        };
        let is_circular = match name {
            Name::Body => is_in(&["FORM", "JSON", "XML"]),
            Name::Query | Name::Url => is_in(&["URL", "QUERY"]),
            Name::Path => is_in(&["URL"]),
            _ => false,
        };
        if in_signature && is_circular {
            problems.add(format!(
                "option SIGNATURE is over {{{}}}, in which {{signature}} is itself; leave one of the two out",
                name.text()
            ));
        }
    }

    /// Fills the plan in, and signs it.
    ///
    /// # Errors
    /// If a value cannot be carried in its place. Nothing was sent then.
    pub(crate) fn prepare(&self, values: &mut Values<'_>, host: &Host) -> Result<Prepared, Error> {
        if let Some(signature) = &self.signature {
            // What is signed does not depend on the signature: see `check_signed`.
            let unsigned = self.filled(values)?;
            values.unsigned = Unsigned {
                method: unsigned.method,
                url: unsigned.url,
                // A template is text, and so are the values.
                body: String::from_utf8(unsigned.body).unwrap_or_default(),
            };
            values.signature = signature.sign(host, |name, text| text.push_str(values.get(name)))?;
        }
        self.filled(values)
    }

    fn filled(&self, values: &Values<'_>) -> Result<Prepared, Error> {
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
            "option METHOD is not a known method{}",
            choice(&method, METHODS.into_iter())
        ));
    }
    if method == "GET" && has_body {
        problems.add("option METHOD is GET, which has no body; use QUERY, or another METHOD");
    }
    method
}
