//! Several libraries, and several generations of one, live side by side.

use serde_json::json;

use super::shelf::{Shelf, alice, built, call, count};

#[tokio::test]
async fn several_libraries_and_backends_live_side_by_side() {
    let shelf = Shelf::with(&["noop", "console", "villain"]);
    let options = json!({});
    let noop = shelf.load("noop.NoopBackend", &options).unwrap();
    let fixed = shelf
        .load("phone_verify.backends.noop.FixedCodeBackend", &options)
        .unwrap();
    let console = shelf.load("console.ConsoleBackend", &options).unwrap();
    let villain = shelf.load("villain.VillainBackend", &options).unwrap();

    assert_eq!(
        fixed.generate_security_code(call()).await.unwrap().expose(),
        "123456"
    );
    for backend in [&noop, &fixed, &console, &villain] {
        backend.send_sms(&alice(), "hello", call()).await.unwrap();
        assert!(backend.is_sandbox());
    }
    assert_eq!(noop.library_sha256(), fixed.library_sha256());
    assert_eq!(count(&shelf.staged()), 3);
}

#[tokio::test]
async fn a_library_may_be_overwritten_while_its_old_generation_runs() {
    let shelf = Shelf::with(&["villain"]);
    let options = json!({});
    let old = shelf.load("villain.VillainBackend", &options).unwrap();
    let sent = async |backend: &phone_verify_plugin_host::Backend| {
        let receipt = backend.send_sms(&alice(), "hello", call()).await.unwrap();
        receipt.message_id.unwrap()
    };
    assert_eq!(sent(&old).await, "sms-1");

    // Written over in place: what maps the file itself would crash now.
    let mut bytes = built("villain");
    bytes.extend_from_slice(b"another build");
    shelf.put("villain", &bytes);
    let new = shelf.load("villain.VillainBackend", &options).unwrap();
    assert_ne!(old.library_sha256(), new.library_sha256());
    assert_eq!(sent(&old).await, "sms-2");
    assert_eq!(sent(&new).await, "sms-1");

    std::fs::remove_file(shelf.path("villain")).unwrap();
    drop(new);
    assert_eq!(sent(&old).await, "sms-3");
}
