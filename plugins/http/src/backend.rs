//! `http.HttpBackend`: makes the request that the options describe, and reads the answer by their rules.

use std::sync::Mutex;

use phone_verify_plugin_api::{
    Backend, Call, Error, ErrorKind, Host, PhoneNumber, Receipt, Received, Response, Secret, Webhook,
    backend, serde_json::Value,
};

use crate::{
    HttpOptions, Table,
    fields::{address, credentials, fields},
    problems::{Problems, hint},
    receipts::Receipts,
    request::{Plan, Prepared},
    rules::{Places, Rules},
    template::Template,
    token::Tokens,
    turn::Turn,
    values::{Account, Name, UnicodeWords, Values},
};

/// Sends each SMS through the provider of the options.
pub struct HttpBackend {
    account: Account,
    plan: Plan,
    rules: Rules,
    tokens: Option<Tokens>,
    receipts: Option<Receipts>,
    host: Host,
}

// A signature of receipts is the operator's choice, so the address always has a secret part.
#[backend(
    summary = "Sends through any provider with an HTTP interface, described in its options",
    webhook = "secret"
)]
impl Backend for HttpBackend {
    type Options = HttpOptions;

    fn new(mut options: HttpOptions, host: Host) -> Result<Self, Error> {
        let mut problems = Problems::default();
        let words = unicode_words(options.unicode.take(), &mut problems);
        let account = Account {
            sender: options.sender.take(),
            user: options.user.take(),
            password: options.password.take(),
            key: options.key.take(),
            secret: options.secret.take(),
            unicode: words,
        };
        let plan = Plan::read(&mut options, &account, &mut problems);
        let tokens = tokens(&mut options, &account, &mut problems);
        let receipts = Receipts::read(&mut options, &account, &mut problems);
        let places = Places {
            message_id: options.message_id,
            error_code: options.error_code,
            error_text: options.error_text,
            retry_after: options.retry_after,
        };
        let rules = Rules::read(options.answers.0, places, &mut problems);
        problems.finish()?;
        Ok(Self {
            account,
            plan: plan
                .ok_or_else(|| Error::new(ErrorKind::Config, "options", "option URL is not an address"))?,
            rules,
            tokens,
            receipts,
            host,
        })
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, call: &Call) -> Result<Receipt, Error> {
        let mut values = Values::new(&self.account, number, message, call, &self.host);
        let Some(tokens) = &self.tokens else {
            let response = self.request(&mut values).await?;
            return self.rules.judge(&response, None);
        };
        let mut token = tokens.get(None, &self.account, &self.host).await?;
        let mut response = self.request_with(&mut values, &token).await?;
        if response.status() == 401 {
            // The token may have been revoked before its time. With 401 nothing was sent, so it may be sent again.
            token = tokens.get(Some(&token), &self.account, &self.host).await?;
            response = self.request_with(&mut values, &token).await?;
        }
        self.rules.judge(&response, Some(&token))
    }

    async fn receive(&self, request: &Webhook, _call: &Call) -> Result<Received, Error> {
        match &self.receipts {
            Some(receipts) => receipts.receive(request, &self.account, &self.host),
            None => Ok(Received::new(404)),
        }
    }
}

impl HttpBackend {
    async fn request(&self, values: &mut Values<'_>) -> Result<Response, Error> {
        let Prepared {
            method,
            url,
            headers,
            body,
        } = self.plan.prepare(values, &self.host)?;
        let mut request = self.host.http().request(&method, &url).body(body);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        Ok(request.send().await?)
    }

    async fn request_with(&self, values: &mut Values<'_>, token: &Secret) -> Result<Response, Error> {
        values.access_token = Some(token.clone());
        self.request(values).await
    }
}

/// What `{unicode}` is for a text of the SMS alphabet, and for any other.
fn unicode_words(table: Option<Table>, problems: &mut Problems) -> UnicodeWords {
    let mut words = UnicodeWords {
        no: "false".to_owned(),
        yes: "true".to_owned(),
    };
    for (key, value) in table.map(|Table(table)| table).unwrap_or_default() {
        let text = match value {
            Value::String(text) => Some(text),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        match (key.to_lowercase().as_str(), text) {
            ("no", Some(text)) => words.no = text,
            ("yes", Some(text)) => words.yes = text,
            ("no" | "yes", None) => problems.add(format!("option UNICODE.{key} must be a text")),
            _ => problems.add(format!(
                "option UNICODE has {key}, but only yes and no can be in it{}; write UNICODE = {{ no = \"0\", yes = \
                 \"1\" }} or the like",
                hint(&key, ["yes", "no"])
            )),
        }
    }
    words
}

/// Where access tokens come from, if they do.
fn tokens(options: &mut HttpOptions, account: &Account, problems: &mut Problems) -> Option<Tokens> {
    let url = options.token_url.take();
    let basic_auth = options
        .token_basic_auth
        .take()
        .and_then(|text| credentials("TOKEN_BASIC_AUTH", &text, problems));
    let mut form = fields("TOKEN_FORM", options.token_form.take(), problems);
    let Some(url) = url else {
        if basic_auth.is_some() || !form.is_empty() {
            problems
                .add("option TOKEN_URL is missing, to which TOKEN_BASIC_AUTH and TOKEN_FORM belong; set it");
        }
        return None;
    };
    if !form.iter().any(|(name, _)| name == "grant_type")
        && let Ok(template) = Template::parse("client_credentials")
    {
        form.push(("grant_type".to_owned(), template));
    }
    if address("TOKEN_URL", &url, problems)?.names().next().is_some() {
        problems.add("option TOKEN_URL has a placeholder; put it into TOKEN_FORM or TOKEN_BASIC_AUTH");
    }
    let names = form
        .iter()
        .flat_map(|(_, template)| template.names())
        .chain(basic_auth.iter().flat_map(Template::names));
    for name in names {
        let is_secret = matches!(name, Name::User | Name::Password | Name::Key | Name::Secret);
        if !is_secret {
            problems.add(format!(
                "options TOKEN_FORM and TOKEN_BASIC_AUTH can have {{user}}, {{password}}, {{key}} and {{secret}}, not \
                 {{{}}}; a token is for more than one SMS",
                name.text()
            ));
        } else if let Some(option) = account.lacks(name) {
            problems.add(format!(
                "option {option} is missing, which the request to TOKEN_URL has as {{{}}}; set it",
                name.text()
            ));
        }
    }
    Some(Tokens {
        url: url.trim().to_owned(),
        basic_auth,
        form,
        kept: Mutex::default(),
        turn: Turn::default(),
    })
}
