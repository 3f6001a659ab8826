//! P6: options, told before any code of the library runs.

use serde_json::json;

use super::Told;
use crate::loading::shelf::Shelf;

#[test]
fn options() {
    let mut told = Told::nothing();
    let shelf = Shelf::with(&["twilio"]);
    let options = json!({
        "SID": " ", "REDACT": "perhaps", "FORM": "+15005550006", "base_url": "https://a.example",
        "BASE-URL": "https://b.example",
    });
    told.refusals(
        shelf.folder(),
        shelf.load("twilio.TwilioBackend", &options).unwrap_err(),
    );
    insta::assert_snapshot!(told.text());
}
