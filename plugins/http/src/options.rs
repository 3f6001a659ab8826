//! The `OPTIONS` of `http.HttpBackend`. `plugins/http/README.md` explains them with examples.

use phone_verify_plugin_api::{
    OptionValue, Options, Secret,
    serde_json::{Map, Value},
};

/// The `OPTIONS` of `http.HttpBackend`.
#[derive(Options)]
#[expect(
    clippy::doc_markdown,
    reason = "the comments are the help texts of the options, which are shown as they are"
)]
pub struct HttpOptions {
    /// The provider's address for sending. Placeholders may be behind the host.
    #[option(alias = "BASE_URL", example = "https://api.provider.example/sms")]
    pub url: String,
    /// The HTTP method: POST if there is a body, and GET otherwise, unless this names another one.
    pub method: Option<String>,
    /// Headers of the request, by name.
    pub headers: Option<Table>,
    /// Fields that are added to the query of URL, by name.
    pub query: Option<Table>,
    /// Fields of a form-encoded body, by name.
    #[option(example = r#"{"api_key": "{key}", "to": "{number}", "from": "{sender}", "text": "{message}"}"#)]
    pub form: Option<Table>,
    /// A JSON body, written as a table. {number_digits:number} alone in a text becomes a number.
    pub json: Option<Table>,
    /// An XML body.
    pub xml: Option<String>,
    /// The sender of the SMS, in the form that the provider wants: {sender}.
    #[option(example = "PhoneVerify")]
    pub sender: Option<String>,
    /// A secret of the account: {user}.
    pub user: Option<Secret>,
    /// A secret of the account: {password}.
    pub password: Option<Secret>,
    /// A secret of the account: {key}.
    pub key: Option<Secret>,
    /// A secret of the account: {secret}.
    pub secret: Option<Secret>,
    /// User and password for HTTP's Basic authentication, such as {user}:{password}.
    pub basic_auth: Option<String>,
    /// Where OAuth 2 access tokens come from (client credentials). Requests then have one in Authorization, or where
    /// {access_token} is.
    #[option(alias = "TOKEN_BASE_URL")]
    pub token_url: Option<String>,
    /// User and password for TOKEN_URL, such as {key}:{secret}.
    pub token_basic_auth: Option<String>,
    /// Further fields of the request to TOKEN_URL, such as scope; grant_type is client_credentials unless it is here.
    pub token_form: Option<Table>,
    /// A signature over the request: {signature}. It has a hash (md5, sha1, sha256, sha512), the text that it is over,
    /// the key of an HMAC, and an encoding (hex, base64).
    pub signature: Option<Table>,
    /// What {unicode} is: yes for a text that needs Unicode, no for any other. They are true and false otherwise.
    pub unicode: Option<Table>,
    /// What the provider's answers mean: the first rule that fits decides. Each has a class, and may have a status and
    /// fields that an answer must have.
    #[option(
        example = r#"[{"status": "200-299", "class": "accepted"}, {"fields": {"/error": "credit"}, "class": "no_credit"}]"#
    )]
    pub answers: Rows,
    /// Where the answer to an accepted SMS has the provider's id of it.
    #[option(example = "/id")]
    pub message_id: Option<String>,
    /// Where a refusal has the provider's code.
    #[option(example = "/error")]
    pub error_code: Option<String>,
    /// Where a refusal says why, for the log.
    pub error_text: Option<String>,
    /// Where a refusal of class throttled says how many seconds to wait, unless that is in the header Retry-After.
    pub retry_after: Option<String>,
    /// What delivery receipts mean: the first rule that fits decides. Each has a state (sent, delivered, undelivered,
    /// unknown), and may have a class and fields that a receipt must have.
    pub receipts: Option<Rows>,
    /// Where a receipt has the provider's id of the SMS.
    pub receipt_id: Option<String>,
    /// Where a receipt says by a code why an SMS was not delivered.
    pub receipt_code: Option<String>,
    /// Where a request with several receipts has the list of them, unless it is a list itself.
    pub receipt_list: Option<String>,
    /// What the provider wants to read as the answer to a receipt.
    pub receipt_answer: Option<String>,
    /// How receipts are signed: as SIGNATURE, with at (where a receipt has its signature), and perhaps prefix and
    /// timestamp.
    pub receipt_signature: Option<Table>,
}

/// An option that is a table.
pub struct Table(pub(crate) Map<String, Value>);

impl OptionValue for Table {
    const TYPE: &'static str = "table";

    fn from_json(value: &Value) -> Result<Self, String> {
        let table = value.as_object().cloned();
        table.map(Self).ok_or_else(|| "a table".to_owned())
    }
}

/// An option that is a list of tables.
pub struct Rows(pub(crate) Vec<Map<String, Value>>);

impl OptionValue for Rows {
    const TYPE: &'static str = "list";

    fn from_json(value: &Value) -> Result<Self, String> {
        let rows = value
            .as_array()
            .and_then(|rows| rows.iter().map(|row| row.as_object().cloned()).collect());
        rows.map(Self).ok_or_else(|| "a list of tables".to_owned())
    }
}
