//! Writes the manifest at compile time into a section of the library, so that a host can read it from the file without
//! running the library.
//!
//! Invariant: the result is valid JSON for any text in it.

use phone_verify_plugin_abi::{ABI_MAJOR, ABI_MINOR};

use crate::options::OptionField;

/// What the manifest says about the library.
pub struct LibraryInfo {
    pub name: &'static str,
    pub version: &'static str,
    pub license: &'static str,
    pub repository: &'static str,
    pub backends: &'static [BackendInfo],
    /// The text of the tape. Empty: there is none.
    pub tape: &'static str,
}

/// What the manifest says about one backend.
pub struct BackendInfo {
    pub name: &'static str,
    pub summary: &'static str,
    pub sandbox: bool,
    /// Bits of [`overrides`](super::overrides).
    pub overrides: u64,
    pub hosts: &'static [&'static str],
    /// `signed` or `secret`. Empty: it takes no requests of a provider.
    pub webhook: &'static str,
    /// `carrier` or `handset`. Empty: not said.
    pub receipts: &'static str,
    /// Empty: `sms` alone.
    pub channels: &'static [&'static str],
    pub owns_code: bool,
    pub wants_code: bool,
    pub options: &'static [OptionField],
}

/// The length of the manifest in bytes. A const function cannot allocate, so the text is written twice: once to count,
/// once to keep.
pub const fn manifest_len(library: &LibraryInfo) -> usize {
    Writer::<0>::new().library(library).length
}

/// The manifest. `N` must be [`manifest_len`] of the same library.
pub const fn manifest<const N: usize>(library: &LibraryInfo) -> [u8; N] {
    Writer::<N>::new().library(library).bytes
}

/// Counts the bytes that are written, and keeps the first `N`.
struct Writer<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Writer<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }

    const fn byte(mut self, byte: u8) -> Self {
        if self.length < N {
            self.bytes[self.length] = byte;
        }
        self.length += 1;
        self
    }

    const fn raw(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            self = self.byte(bytes[at]);
            at += 1;
        }
        self
    }

    /// A JSON string.
    const fn text(mut self, text: &str) -> Self {
        self = self.byte(b'"');
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            self = self.escaped(bytes[at]);
            at += 1;
        }
        self.byte(b'"')
    }

    /// One byte of a JSON string.
    const fn escaped(self, byte: u8) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        match byte {
            b'"' | b'\\' => self.byte(b'\\').byte(byte),
            0..0x20 => self
                .raw("\\u00")
                .byte(HEX[(byte >> 4) as usize])
                .byte(HEX[(byte & 15) as usize]),
            _ => self.byte(byte),
        }
    }

    const fn number(mut self, number: u64) -> Self {
        let mut unit = 1;
        while number / unit >= 10 {
            unit *= 10;
        }
        while unit > 0 {
            self = self.byte(b'0' + (number / unit % 10) as u8);
            unit /= 10;
        }
        self
    }

    const fn flag(self, flag: bool) -> Self {
        self.raw(if flag { "true" } else { "false" })
    }

    const fn library(self, library: &LibraryInfo) -> Self {
        let mut writer = self
            .raw("{\"schema\":1,\"library\":")
            .text(library.name)
            .raw(",\"version\":")
            .text(library.version)
            .raw(",\"license\":")
            .text(library.license)
            .raw(",\"repository\":")
            .text(library.repository)
            .raw(",\"abi\":{\"major\":")
            .number(ABI_MAJOR as u64)
            .raw(",\"minor\":")
            .number(ABI_MINOR as u64)
            .raw("},\"plugin_api\":")
            .text(env!("CARGO_PKG_VERSION"))
            .raw(",\"panic\":")
            .text(if cfg!(panic = "abort") { "abort" } else { "unwind" })
            .raw(",\"backends\":[");
        let mut at = 0;
        while at < library.backends.len() {
            writer = writer
                .raw(if at == 0 { "" } else { "," })
                .backend(&library.backends[at]);
            at += 1;
        }
        writer = writer.raw("]");
        if !library.tape.is_empty() {
            writer = writer.raw(",\"tape\":[").lines(library.tape).raw("]");
        }
        writer.raw("}")
    }

    /// The lines of a text as JSON strings, without their line breaks. Hosts before the tape refuse any string with
    /// control characters, which a line break is.
    const fn lines(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut at = 0;
        self = self.byte(b'"');
        while at < bytes.len() {
            self = match bytes[at] {
                b'\n' => self.raw("\",\""),
                byte => self.escaped(byte),
            };
            at += 1;
        }
        self.byte(b'"')
    }

    const fn backend(self, backend: &BackendInfo) -> Self {
        let mut writer = self
            .raw("{\"name\":")
            .text(backend.name)
            .raw(",\"summary\":")
            .text(backend.summary)
            .raw(",\"sandbox\":")
            .flag(backend.sandbox)
            .raw(",\"overrides\":")
            .number(backend.overrides)
            .raw(",\"hosts\":")
            .texts(backend.hosts)
            .stated("webhook", backend.webhook)
            .stated("receipts", backend.receipts);
        if !backend.channels.is_empty() {
            writer = writer.raw(",\"channels\":").texts(backend.channels);
        }
        if backend.owns_code {
            writer = writer.raw(",\"owns_code\":true");
        }
        if backend.wants_code {
            writer = writer.raw(",\"wants_code\":true");
        }
        writer = writer.raw(",\"options\":[");
        let mut at = 0;
        while at < backend.options.len() {
            writer = writer
                .raw(if at == 0 { "" } else { "," })
                .option(&backend.options[at]);
            at += 1;
        }
        writer.raw("]}")
    }

    /// A list of JSON strings.
    const fn texts(mut self, texts: &[&str]) -> Self {
        self = self.byte(b'[');
        let mut at = 0;
        while at < texts.len() {
            self = self.raw(if at == 0 { "" } else { "," }).text(texts[at]);
            at += 1;
        }
        self.byte(b']')
    }

    /// A key with its text, unless that is empty.
    const fn stated(self, key: &str, text: &str) -> Self {
        if text.is_empty() {
            return self;
        }
        self.byte(b',').text(key).byte(b':').text(text)
    }

    const fn option(self, option: &OptionField) -> Self {
        self.raw("{\"name\":")
            .text(option.name)
            .raw(",\"alias\":")
            .text(option.alias)
            .raw(",\"type\":")
            .text(option.value_type)
            .raw(",\"required\":")
            .flag(option.required)
            .raw(",\"secret\":")
            .flag(option.secret)
            .raw(",\"default\":")
            .raw(if option.default.is_empty() {
                "null"
            } else {
                option.default
            })
            .raw(",\"help\":")
            .text(option.help)
            .raw(",\"example\":")
            .text(option.example)
            .raw("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: LibraryInfo = LibraryInfo {
        name: "acme",
        version: "1.2.3",
        license: "MIT",
        repository: "",
        tape: "[success]\nbody = '{\"id\": 1}'\n",
        backends: &[BackendInfo {
            name: "AcmeBackend",
            summary: "says \"hi\" \\ and\nmore: ü",
            sandbox: true,
            overrides: 1005,
            hosts: &["a.example", "b.example"],
            webhook: "signed",
            receipts: "",
            channels: &["sms", "voice"],
            owns_code: false,
            wants_code: true,
            options: &[OptionField {
                name: "KEY",
                alias: "",
                value_type: "string",
                required: true,
                secret: true,
                default: "\"x\"",
                help: "",
                example: "",
            }],
        }],
    };
    const MANIFEST: [u8; manifest_len(&LIBRARY)] = manifest(&LIBRARY);

    #[test]
    fn a_manifest_is_json_whatever_its_texts_hold() {
        let manifest: serde_json::Value = serde_json::from_slice(&MANIFEST).unwrap();
        let backend = &manifest["backends"][0];
        assert_eq!(manifest["abi"]["major"], 1);
        assert_eq!(backend["summary"], "says \"hi\" \\ and\nmore: ü");
        assert_eq!(backend["overrides"], 1005);
        assert_eq!(backend["hosts"][1], "b.example");
        assert_eq!(backend["options"][0]["default"], "x");
        assert_eq!(
            (&backend["webhook"], backend.get("receipts")),
            (&serde_json::json!("signed"), None)
        );
        assert_eq!(backend["channels"], serde_json::json!(["sms", "voice"]));
        assert_eq!(
            (backend.get("owns_code"), &backend["wants_code"]),
            (None, &serde_json::json!(true))
        );
        assert_eq!(
            manifest["tape"],
            serde_json::json!(["[success]", "body = '{\"id\": 1}'", ""])
        );
    }
}
