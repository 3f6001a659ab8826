//! The ABI's promise: a library built against 1.x loads in every host that speaks 1.y. Held by libraries that are
//! built here against changed copies of the author's crates.

use std::path::Path;

use phone_verify::backends::code;
use phone_verify_tests::artifacts;
use serde_json::json;

use super::shelf::{Shelf, alice, call};

/// Builds a library named `name` against a copy of the author's crates, changed by `alter`.
fn built_against(name: &str, alter: impl FnOnce(&Path)) -> Vec<u8> {
    let workspace = artifacts::workspace();
    let directory = tempfile::tempdir().unwrap();
    // In a folder of its own name: cargo tells packages apart by their place in the workspace, and would take
    // the copies for the originals otherwise.
    let copy = directory.path().join(name);
    copy_folder(&workspace.join("plugin-api"), &copy.join("plugin-api"));
    copy_folder(&workspace.join("tests/noop"), &copy.join("library"));
    change(
        &copy.join("library/Cargo.toml"),
        "name = \"noop\"",
        &format!("name = {name:?}"),
    );
    alter(&copy);

    let manifest = std::fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
    let (_, shared) = manifest.split_once("[workspace.package]").unwrap();
    let shared = shared
        .split("[profile.release.package")
        .next()
        .unwrap()
        .replace("path = \"plugin-api", &format!("path = \"{name}/plugin-api"));
    let members = ["plugin-api", "plugin-api/abi", "plugin-api/macros", "library"];
    let members = members.map(|member| format!("{name}/{member}"));
    let manifest =
        format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n\n[workspace.package]{shared}");
    std::fs::write(directory.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(workspace.join("Cargo.lock"), directory.path().join("Cargo.lock")).unwrap();

    // Into the same folder, so that the dependencies are there already.
    let target = target_folder();
    let target = target.to_str().unwrap();
    let built = artifacts::build(directory.path(), &["--package", name, "--target-dir", target]);
    std::fs::read(&built[name]).unwrap()
}

/// Where the libraries of this workspace are built: `<target>/<profile>/libnoop.so`.
fn target_folder() -> std::path::PathBuf {
    artifacts::library("noop").ancestors().nth(2).unwrap().to_owned()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn change(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} has no {from}", path.display());
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// The last method of the trait: later versions append after it, and an earlier one would not have it.
const LAST_METHOD: &str = "
    /// One of [`verdict`].
    fn validate_security_code<'a>(
        &'a self,
        _check: RawCheck,
        _call: CallObj,
    ) -> BorrowingFfiFuture<'a, RResult<u16, RawError>> {
        unsupported(\"validate_security_code\")
    }
";

async fn sends(name: &str, library: &[u8]) {
    let shelf = Shelf::empty();
    shelf.put(name, library);
    let backend = shelf.load(&format!("{name}.NoopBackend"), &json!({})).unwrap();
    backend.send_sms(&alice(), "hello", call()).await.unwrap();
}

#[tokio::test]
async fn a_library_of_a_later_minor_version_loads() {
    let appended = format!(
        "{LAST_METHOD}
    fn balance<'a>(&'a self, _call: CallObj) -> BorrowingFfiFuture<'a, RResult<u64, RawError>> {{
        unsupported(\"balance\")
    }}
"
    );
    let library = built_against("later", |copy| {
        let abi = copy.join("plugin-api/abi/src/lib.rs");
        change(&abi, LAST_METHOD, &appended);
        change(
            &abi,
            "pub const ABI_MINOR: u16 = 0;",
            "pub const ABI_MINOR: u16 = 1;",
        );
    });
    sends("later", &library).await;
}

#[tokio::test]
async fn a_library_of_an_earlier_minor_version_loads() {
    let library = built_against("earlier", |copy| {
        change(&copy.join("plugin-api/abi/src/lib.rs"), LAST_METHOD, "");
        let glue = copy.join("plugin-api/src/hidden/glue.rs");
        let text = std::fs::read_to_string(&glue).unwrap();
        let from = text.find("    fn validate_security_code<'a>(").unwrap();
        let to = text.find("impl<B> Drop for Instance<B>").unwrap();
        let without = format!("{}}}\n\n{}", &text[..from], &text[to..]).replace("RawCheck, ", "");
        std::fs::write(&glue, without).unwrap();
    });
    sends("earlier", &library).await;
}

#[test]
fn a_library_of_a_changed_copy_of_the_abi_is_refused_in_one_sentence() {
    let shelf = Shelf::empty();
    shelf.put(
        "changed",
        &built_against("changed", |copy| {
            change(
                &copy.join("plugin-api/abi/src/lib.rs"),
                "    pub http_status: u16,\n    /// How long",
                "    pub http_status: u32,\n    /// How long",
            );
            for file in ["error.rs", "hidden/glue.rs"] {
                let file = copy.join("plugin-api/src").join(file);
                let text = std::fs::read_to_string(&file).unwrap();
                std::fs::write(
                    &file,
                    text.replace(
                        "self.http_status.unwrap_or(0)",
                        "self.http_status.unwrap_or(0).into()",
                    )
                    .replace(
                        "(raw.http_status != 0).then_some(raw.http_status)",
                        "u16::try_from(raw.http_status).ok()",
                    ),
                )
                .unwrap();
            }
        }),
    );
    let (found, sentence) = shelf.refusal("changed.NoopBackend");
    assert_eq!(found, code::WRONG_LAYOUT, "{sentence}");
    assert!(
        sentence.starts_with("libchanged.so was built against a changed copy of the backend ABI 1.x: "),
        "{sentence}"
    );
    assert!(sentence.len() < 400, "{sentence}");
}
