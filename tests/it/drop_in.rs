//! The ancestor's clients need not change: what django-phone-verify answered to every request of the corpus
//! (`tests/corpus`), the real router answers too, with a machine code beside it in every error.
//!
//! Where it answers otherwise on purpose, [`DIFFERENCES`] says how and why.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, header},
};
use phone_verify_tests::service::{Rules, Service};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const CORPUS: &str = include_str!("../corpus/django-phone-verify-3.3.json");

#[derive(Deserialize)]
struct Corpus {
    code: String,
    stories: Vec<Story>,
}

#[derive(Deserialize)]
struct Story {
    name: String,
    steps: Vec<Step>,
    #[serde(default)]
    settings: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Step {
    Pass { seconds: u64 },
    Ask { request: Box<Asked>, answer: Answer },
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    path: String,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: String,
    body_base64: Option<String>,
}

/// What is compared. The machine code is looked at, and taken out.
#[derive(Deserialize, PartialEq, Debug)]
struct Answer {
    status: u16,
    content_type: Option<String>,
    allow: Option<String>,
    body: Value,
}

/// Stories whose name begins like this are answered otherwise, for this reason.
struct Difference {
    story: &'static str,
    /// Counted from 0; `None`: every step.
    step: Option<usize>,
    why: &'static str,
    status: u16,
    body: fn() -> Value,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        story: "a number written as 'phone +13478379634'",
        why: "a number among other text is more likely a mistake than meant",
        ..not_a_number()
    },
    Difference {
        story: "a number written as '+13478379634\\x00'",
        why: "a null character is no way to write a number",
        ..not_a_number()
    },
    Difference {
        story: "a number written as '+13478379634;phone-context=x'",
        why: "half of a URI is no way to write a number",
        ..not_a_number()
    },
    Difference {
        story: "a number written as 'tel:+1-347-837-9634'",
        why: "a URI is no way to write a number",
        ..not_a_number()
    },
    Difference {
        story: "a number written as '+1 347 837 9634 ext. 5'",
        why: "no SMS reaches an extension",
        ..not_a_number()
    },
    Difference {
        story: "a number written as '+1 347 837 9634x5'",
        why: "no SMS reaches an extension",
        ..not_a_number()
    },
    Difference {
        story: "a number written as '+1 800 FLOWERS'",
        why: "letters in a number are more likely a mistake than meant",
        ..not_a_number()
    },
    Difference {
        story: "a number written as '++13478379634'",
        why: "two plus signs are more likely a mistake than meant",
        ..not_a_number()
    },
    half_a_body(
        4,
        || json!({ "detail": "Multipart form parse error - incomplete multipart stream" }),
    ),
    half_a_body(
        5,
        || json!({ "detail": "Multipart form parse error - incomplete multipart stream" }),
    ),
    half_a_body(
        6,
        || json!({ "detail": "Multipart form parse error - incomplete multipart stream" }),
    ),
    half_a_body(
        7,
        || json!({ "detail": "Multipart form parse error - field \"phone_number\" received with incomplete data" }),
    ),
    Difference {
        story: "broken JSON: '{\"phone_number\": 1e999}'",
        step: None,
        why: "a number that no number type holds is an error of the body; Python makes infinity of it",
        status: 400,
        body: || json!({ "detail": "JSON parse error - number out of range at line 1 column 22" }),
    },
    Difference {
        story: "broken JSON: '{\"phone_number\": \"\\\\ud800\"}'",
        step: None,
        why: "half of a character is an error of the body; Python's texts may hold it",
        status: 400,
        body: || json!({ "detail": "JSON parse error - unexpected end of hex escape at line 1 column 25" }),
    },
    Difference {
        story: "OPTIONS register",
        step: None,
        why: "there are no HTML pages",
        status: 200,
        body: || {
            described(
                "Register",
                &json!({ "phone_number": described_field("Phone number") }),
            )
        },
    },
    Difference {
        story: "OPTIONS verify",
        step: None,
        why: "there are no HTML pages",
        status: 200,
        body: || {
            let fields = json!({
                "phone_number": described_field("Phone number"),
                "session_token": described_field("Session token"),
                "security_code": described_field("Security code"),
            });
            described("Verify", &fields)
        },
    },
    Difference {
        story: "unknown path",
        step: None,
        why: "every answer is JSON, also that of a path without an endpoint",
        status: 404,
        body: || json!({ "detail": "Not found." }),
    },
    Difference {
        story: "a doubled slash",
        step: None,
        why: "every answer is JSON, also that of a path without an endpoint",
        status: 404,
        body: || json!({ "detail": "Not found." }),
    },
    Difference {
        story: "a trailing slash",
        step: None,
        why: "a trailing slash does no harm",
        status: 200,
        body: || json!({ "session_token": "{{token}}" }),
    },
    Difference {
        story: "registering again gives a code for the newer session",
        step: Some(3),
        why: "registering again cancels nothing: the older session still waits for the same code, used by now",
        status: 400,
        body: || json!({ "non_field_errors": ["Security code is already verified"] }),
    },
    already_verified("a code is good once", 7),
    already_verified("a code is good once", 8),
    already_verified("a success sets the attempts back", 7),
    already_verified("a success sets the attempts back", 8),
    already_verified("a success sets the attempts back", 9),
    already_verified("a success sets the attempts back", 10),
    already_verified("a success sets the attempts back", 11),
    no_attempt_back(11),
    no_attempt_back(12),
    no_attempt_back(13),
    no_attempt_back(14),
    the_right_code("a code like '04 2917'"),
    the_right_code("a code like '０４２９１７'"),
    the_right_code("a code like '٠٤٢٩١٧'"),
    the_right_code("a code like '042917\\u200b'"),
];

const fn already_verified(story: &'static str, step: usize) -> Difference {
    Difference {
        story,
        step: Some(step),
        why: "a success gives no attempt back, and a session that was verified is told so, however often it asks",
        status: 400,
        body: || json!({ "non_field_errors": ["Security code is already verified"] }),
    }
}

const fn no_attempt_back(step: usize) -> Difference {
    Difference {
        story: "a code may be good for ever",
        step: Some(step),
        why: "a right code gives no attempt back: a code is compared with so many wrong ones in its life, in any order",
        status: 400,
        body: || {
            let message = "Too many failed verification attempts. Please request a new code.";
            json!({ "non_field_errors": [message] })
        },
    }
}

const fn the_right_code(story: &'static str) -> Difference {
    Difference {
        story,
        step: Some(1),
        why: "people write digits in groups and in their own script, and paste marks that they do not see",
        status: 200,
        body: || json!({ "message": "Security code is valid." }),
    }
}

const fn not_a_number() -> Difference {
    Difference {
        story: "",
        step: None,
        why: "",
        status: 400,
        body: || json!({ "phone_number": ["Enter a valid phone number."] }),
    }
}

/// The ancestor takes what it can get of a multipart body that is cut off or has another boundary.
const fn half_a_body(step: usize, body: fn() -> Value) -> Difference {
    Difference {
        story: "faulty multipart bodies",
        step: Some(step),
        why: "half of a body is an error, and never half of a form",
        status: 400,
        body,
    }
}

fn described(name: &str, fields: &Value) -> Value {
    json!({
        "name": name,
        "description": "",
        "renders": ["application/json"],
        "parses": ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"],
        "actions": { "POST": fields },
    })
}

fn described_field(label: &str) -> Value {
    json!({ "type": "string", "required": true, "read_only": false, "label": label })
}

impl Story {
    async fn play(&self, code: &str) -> Vec<String> {
        let setting = |key: &str| self.settings.get(key);
        let number = |key: &str| setting(key).and_then(Value::as_u64);
        let service = Service::start(&Rules {
            expiration: Duration::from_secs(number("SECURITY_CODE_EXPIRATION_SECONDS").unwrap_or(600)),
            only_once: setting("VERIFY_SECURITY_CODE_ONLY_ONCE") != Some(&json!(false)),
            max_failed_attempts: number("MAX_FAILED_ATTEMPTS")
                .map_or(5, |number| u32::try_from(number).unwrap()),
            code: Some(code.to_owned()),
            ..Rules::default()
        });
        let (mut tokens, mut complaints) = (Vec::new(), Vec::new());
        for (place, step) in self.steps.iter().enumerate() {
            let (request, expected) = match step {
                Step::Pass { seconds } => {
                    service.clock.advance(Duration::from_secs(*seconds));
                    continue;
                }
                Step::Ask { request, answer } => (request, answer),
            };
            let got = request.ask(&service, &mut tokens).await;
            let expected = self.difference(place).unwrap_or_else(|| Answer {
                status: expected.status,
                content_type: expected.content_type.clone(),
                allow: expected.allow.clone(),
                body: expected.body.clone(),
            });
            match got {
                Ok(got) if got == expected => {}
                Ok(got) => complaints.push(format!(
                    "{}, step {place}\n  expected {expected:?}\n  got      {got:?}",
                    self.name
                )),
                Err(complaint) => complaints.push(format!("{}, step {place}: {complaint}", self.name)),
            }
        }
        complaints
    }

    fn difference(&self, place: usize) -> Option<Answer> {
        let difference = DIFFERENCES.iter().find(|difference| {
            self.name.starts_with(difference.story) && difference.step.is_none_or(|step| step == place)
        })?;
        assert!(!difference.why.is_empty());
        Some(Answer {
            status: difference.status,
            content_type: Some("application/json".into()),
            allow: self.name.starts_with("OPTIONS").then(|| "POST, OPTIONS".into()),
            body: (difference.body)(),
        })
    }
}

impl Asked {
    async fn ask(&self, service: &Service, tokens: &mut Vec<String>) -> Result<Answer, String> {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.path);
        if let Some(content_type) = &self.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value.as_str().unwrap());
        }
        let body = match &self.body_base64 {
            Some(encoded) => data_encoding::BASE64.decode(encoded.as_bytes()).unwrap(),
            None => self.filled(tokens).into_bytes(),
        };
        let answer = service.answer(request.body(Body::from(body)).unwrap()).await;
        let status = answer.status().as_u16();
        let text = |name: header::HeaderName| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let mut body = match answer.body().as_slice() {
            [] => Value::Null,
            _ if self.method == "HEAD" => Value::Null, // the server drops it
            bytes => {
                serde_json::from_slice(bytes).map_err(|error| format!("the body is no JSON: {error}"))?
            }
        };
        let code = body.as_object_mut().and_then(|body| body.remove("code"));
        let named = code
            .as_ref()
            .and_then(Value::as_str)
            .is_some_and(|code| !code.is_empty());
        if named != (status >= 400) && self.method != "HEAD" {
            return Err(format!("status {status} with the code {code:?}"));
        }
        if let Some(token) = body.get_mut("session_token").filter(|token| token.is_string()) {
            tokens.push(token.as_str().unwrap().to_owned());
            *token = json!("{{token}}");
        }
        Ok(Answer {
            status,
            content_type: text(header::CONTENT_TYPE),
            allow: text(header::ALLOW).filter(|_| status == 405 || self.method == "OPTIONS"),
            body,
        })
    }

    fn filled(&self, tokens: &[String]) -> String {
        let (Some(first), Some(latest)) = (tokens.first(), tokens.last()) else {
            return self.body.clone();
        };
        let body = self.body.replace("{{first token}}", first);
        body.replace("{{token}}", latest)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ancestors_clients_see_no_difference() {
    let corpus: Corpus = serde_json::from_str(CORPUS).unwrap();
    let mut complaints = Vec::new();
    for story in &corpus.stories {
        complaints.extend(story.play(&corpus.code).await);
    }
    assert!(
        complaints.is_empty(),
        "{} differences:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}
