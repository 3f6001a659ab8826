//! Finds the text and the number of an SMS in the HTTP request that sends it, whatever its encoding: the kit does not
//! know a provider's format.

use phone_verify_plugin_host::SentRequest;
use serde_json::Value;

/// All texts of a request, decoded: header values, path, query and form fields, JSON strings and numbers, and the body
/// as it is and with XML escapes resolved.
pub(super) fn texts(request: &SentRequest) -> Vec<String> {
    let mut texts: Vec<String> = request.headers.iter().map(|(_, value)| value.clone()).collect();
    let (path, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
    texts.push(path.to_owned());
    for pairs in [query.as_bytes(), &request.body] {
        texts.extend(form_urlencoded::parse(pairs).map(|(_, value)| value.into_owned()));
    }
    if let Ok(json) = serde_json::from_slice(&request.body) {
        strings(&json, &mut texts);
    }
    let body = String::from_utf8_lossy(&request.body).into_owned();
    texts.push(unescaped(&body));
    texts.push(body);
    texts
}

/// Whether the request contains this text, as it is or as hexadecimal UTF-16, which some providers use for Unicode.
pub(super) fn carries(request: &SentRequest, text: &str) -> bool {
    let hexadecimal: String = text.encode_utf16().map(|unit| format!("{unit:04X}")).collect();
    texts(request)
        .iter()
        .any(|found| found.contains(text) || found.to_uppercase().contains(&hexadecimal))
}

/// The structure of a request: names of query and form fields, JSON members and XML elements, in order. An SMS text
/// that changes it has been injected as markup.
pub(super) fn shape(request: &SentRequest) -> Vec<String> {
    let query = request.url.split_once('?').map_or("", |(_, query)| query);
    let fields = |text: &[u8]| -> Vec<String> {
        form_urlencoded::parse(text)
            .map(|(name, _)| name.into_owned())
            .collect()
    };
    let mut names = fields(query.as_bytes());
    let body = String::from_utf8_lossy(&request.body);
    if let Ok(json) = serde_json::from_str(&body) {
        members(&json, &mut names);
    } else if body.trim_start().starts_with('<') {
        let tags = body.split('<').skip(1);
        names.extend(tags.filter_map(|tag| Some(tag.split(['>', ' ']).next()?.to_owned())));
    } else {
        names.extend(fields(&request.body));
    }
    names
}

fn members(json: &Value, names: &mut Vec<String>) {
    match json {
        Value::Array(items) => items.iter().for_each(|item| members(item, names)),
        Value::Object(fields) => {
            for (name, value) in fields {
                names.push(name.clone());
                members(value, names);
            }
        }
        _ => {}
    }
}

fn strings(json: &Value, texts: &mut Vec<String>) {
    match json {
        Value::String(text) => texts.push(text.clone()),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, texts)),
        Value::Object(fields) => fields.values().for_each(|value| strings(value, texts)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Resolves the predefined escapes of XML, and those of line ends.
fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    for (escape, character) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#10;", "\n"),
        ("&#13;", "\r"),
        ("&amp;", "&"),
    ] {
        text = text.replace(escape, character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, body: &str) -> SentRequest {
        SentRequest {
            method: "POST".to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn what_a_text_adds_to_a_request_changes_its_shape() {
        for (plain, injected) in [
            ("to=1&text=a", "to=1&text=a&to=2"),
            (r#"{"to": 1, "text": "a"}"#, r#"{"to": 1, "text": "a", "x": 2}"#),
            ("<to>1</to><text>a</text>", "<to>1</to><text>a</text><to>2</to>"),
        ] {
            let shape_of = |body: &str| shape(&request("https://x/?a=1", body));
            assert_eq!(shape_of(plain), shape_of(&plain.replace(">a<", ">b<")));
            assert_ne!(shape_of(plain), shape_of(injected));
        }
    }

    #[test]
    fn a_text_is_found_in_every_usual_encoding() {
        for request in [
            request("https://x/?text=a+%26%20%22b%22", ""),
            request("https://x/", "to=1&text=a+%26+%22b%22"),
            request("https://x/", r#"{"messages": [{"content": "a & \"b\""}]}"#),
            request("https://x/", "<sms><text>a &amp; &quot;b&quot;</text></sms>"),
            request("https://x/", "text=0061002000260020002200620022"),
        ] {
            assert!(carries(&request, "a & \"b\""), "{request:?}");
            assert!(!carries(&request, "a & b"), "{request:?}");
        }
    }
}
