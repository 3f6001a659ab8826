//! The files of a new backend in C: `examples/c-backend` with its names replaced, and the header next to it.

use super::{Naming, vendor};

const SOURCE: &str = include_str!("../../../../../examples/c-backend/acme.c");
const TAPE: &str = include_str!("../../../../../examples/c-backend/acme.tape.toml");
const README: &str = include_str!("../../../../../examples/c-backend/README.md");

/// Texts of the example that only hold inside this project, and are replaced.
const LINK: &str = "[`phone_verify_plugin.h`](../../plugin-api/include/phone_verify_plugin.h)";
const INCLUDE: &str = "-I ../../plugin-api/include";
const COMMENT: &str =
    " The provider and the\n * options are those of ../custom-backend; this one is written in C.";

/// The files, each as its path and content.
pub(super) fn files(naming: &Naming) -> Vec<(String, String)> {
    let name = naming.library();
    let source = SOURCE.replace(COMMENT, "");
    let readme = README
        .replace(LINK, "[`phone_verify_plugin.h`](phone_verify_plugin.h)")
        .replace(INCLUDE, "-I .")
        .replace("# A backend in C", "# Acme for phone-verify, in C");
    vec![
        (format!("{name}.c"), naming.rename(&source)),
        (format!("{name}.tape.toml"), naming.rename(TAPE)),
        ("README.md".to_owned(), naming.rename(&readme)),
        ("phone_verify_plugin.h".to_owned(), vendor::header().to_owned()),
        (".gitignore".to_owned(), "*.so\n*.dylib\n*.dll\n".to_owned()),
    ]
}

/// The command that builds the backend, taken from the README of the new folder, so that both agree.
pub(super) fn build_line(naming: &Naming) -> String {
    let line = README.lines().find(|line| line.starts_with("cc "));
    naming.rename(&line.unwrap_or_default().replace(INCLUDE, "-I ."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_example_is_left_but_what_it_says() {
        let naming = Naming::new("best_sms");
        for (path, text) in files(&naming) {
            if path == "phone_verify_plugin.h" {
                continue;
            }
            for left in ["acme", "Acme", "../.."] {
                assert!(
                    !text.contains(left) && !path.contains(left),
                    "{path} holds {left}: {text}"
                );
            }
        }
        assert_eq!(
            build_line(&naming),
            "cc -std=c99 -O2 -Wall -shared -fPIC -fvisibility=hidden -I . -o libbest_sms.so best_sms.c"
        );
    }
}
