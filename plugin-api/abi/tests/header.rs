//! The Rust declarations in `c.rs` must equal `phone_verify_plugin.h`: the C compiler compares them.

use std::{
    fmt::Write,
    mem::{offset_of, size_of},
    path::{Path, PathBuf},
    process::Command,
};

use phone_verify_plugin_abi::{
    ABI_MAJOR, ABI_MINOR, c, delivery, hash, kind, level, overrides, signature, verdict,
};

fn header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/phone_verify_plugin.h")
}

/// Compiles the header followed by `source`, and returns the compiler's messages.
fn compile(source: &str, arguments: &[&str]) -> Result<(), String> {
    let is_cpp = arguments.iter().any(|argument| argument.contains("c++"));
    let (compiler, extension) = if is_cpp { ("c++", "cpp") } else { ("cc", "c") };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("header-{}", arguments.join("")));
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let file = folder.join(format!("check.{extension}"));
    std::fs::write(&file, format!("#include \"phone_verify_plugin.h\"\n{source}"))
        .expect("so can a file in it");
    let output = Command::new(compiler)
        .args(arguments)
        .args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(header().parent().expect("a file lies in a folder"))
        .arg(&file)
        .output()
        .expect("a compiler of C and C++ is installed");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn size_of_field<T, F>(_: impl Fn(&T) -> F) -> usize {
    size_of::<F>()
}

/// C assertions about each type: its size, and the offset and size of each member.
macro_rules! claims {
    ($text:ident, $($name:literal $type:ty { $($member:ident),+ })+) => {$(
        writeln!($text, "_Static_assert(sizeof({}) == {}, \"size of {0}\");", $name, size_of::<$type>()).unwrap();
        $(
            let member = stringify!($member);
            writeln!(
                $text,
                "_Static_assert(offsetof({0}, {member}) == {1} && sizeof((({0} *)0)->{member}) == {2}, \"{0}.{member}\");",
                $name,
                offset_of!($type, $member),
                size_of_field(|value: &$type| value.$member),
            )
            .unwrap();
        )+
    )+};
}

#[test]
fn the_header_lays_its_structs_out_as_the_code() {
    let mut text = String::new();
    claims! { text,
        "pv_text" c::Text { data, length }
        "pv_pair" c::Pair { name, value }
        "pv_error" c::Error { size, kind, http_status, retry_after_ms, code, message }
        "pv_outcome" c::Outcome {
            size, verdict, error, text, segments, cost, currency, response, reports, report_count
        }
        "pv_report" c::Report {
            size, state, kind, message_id, code, at_unix_ms, segments, cost, currency
        }
        "pv_call" c::Call {
            size, id, deadline_monotonic_ns, request_id, idempotency_key, locale, region, channel, purpose,
            template_name, params, param_count, security_code, message_id
        }
        "pv_sms" c::Sms { size, number, message }
        "pv_bulk" c::Bulk { size, numbers, number_count, message }
        "pv_message_request" c::MessageRequest { size, security_code, context, context_count }
        "pv_check" c::Check { size, security_code, phone_number, session_token }
        "pv_http_request" c::HttpRequest { size, method, url, headers, header_count, body, timeout_ms }
        "pv_http_response" c::HttpResponse { size, status, headers, header_count, body }
        "pv_feedback" c::Feedback { size, converted, message_id }
        "pv_cancel" c::Cancel { size, message_id }
        "pv_extension" c::Extension { size, id, body }
        "pv_host" c::Host {
            size, log, now_unix_ms, monotonic_ns, random, http, sleep, base_security_code, base_message,
            base_validate, settle, complete, refuse, digest, hmac, equal, sign, extension
        }
        "pv_plugin_entry" c::PluginEntry {
            size, abi_major, abi_minor, create, destroy, send_sms, cancel, send_bulk_sms,
            generate_security_code, generate_message, validate_security_code, receive, feedback, balance,
            cancel_verification, extension
        }
    }
    compile(&text, &["-std=c11"]).unwrap();
    // A wrong assertion must fail, or the test proves nothing.
    let wrong = text.replacen(" == ", " == 1 + ", 1);
    assert!(
        compile(&wrong, &["-std=c11", "-O1"])
            .unwrap_err()
            .contains("size of pv_text")
    );
}

#[test]
fn the_header_has_the_numbers_of_the_code() {
    let constants = [
        ("PV_ABI_MAJOR", u64::from(ABI_MAJOR)),
        ("PV_ABI_MINOR", ABI_MINOR.into()),
        ("PV_KIND_CONFIG", kind::CONFIG.into()),
        ("PV_KIND_INVALID_NUMBER", kind::INVALID_NUMBER.into()),
        ("PV_KIND_UNREACHABLE_NUMBER", kind::UNREACHABLE_NUMBER.into()),
        ("PV_KIND_OPTED_OUT", kind::OPTED_OUT.into()),
        ("PV_KIND_DESTINATION_BLOCKED", kind::DESTINATION_BLOCKED.into()),
        ("PV_KIND_CONTENT_REJECTED", kind::CONTENT_REJECTED.into()),
        ("PV_KIND_SENDER_REJECTED", kind::SENDER_REJECTED.into()),
        ("PV_KIND_AUTH_FAILED", kind::AUTH_FAILED.into()),
        ("PV_KIND_NO_CREDIT", kind::NO_CREDIT.into()),
        ("PV_KIND_THROTTLED", kind::THROTTLED.into()),
        ("PV_KIND_TRANSIENT", kind::TRANSIENT.into()),
        ("PV_KIND_OUTCOME_UNKNOWN", kind::OUTCOME_UNKNOWN.into()),
        ("PV_KIND_INTERNAL", kind::INTERNAL.into()),
        ("PV_KIND_UNSUPPORTED", kind::UNSUPPORTED.into()),
        ("PV_VERDICT_VALID", verdict::VALID.into()),
        ("PV_VERDICT_INVALID", verdict::INVALID.into()),
        ("PV_VERDICT_EXPIRED", verdict::EXPIRED.into()),
        ("PV_VERDICT_ALREADY_VERIFIED", verdict::ALREADY_VERIFIED.into()),
        (
            "PV_VERDICT_SESSION_TOKEN_INVALID",
            verdict::SESSION_TOKEN_INVALID.into(),
        ),
        ("PV_VERDICT_TOO_MANY_ATTEMPTS", verdict::TOO_MANY_ATTEMPTS.into()),
        ("PV_OVERRIDES_SEND_BULK_SMS", overrides::SEND_BULK_SMS),
        (
            "PV_OVERRIDES_GENERATE_SECURITY_CODE",
            overrides::GENERATE_SECURITY_CODE,
        ),
        ("PV_OVERRIDES_GENERATE_MESSAGE", overrides::GENERATE_MESSAGE),
        (
            "PV_OVERRIDES_VALIDATE_SECURITY_CODE",
            overrides::VALIDATE_SECURITY_CODE,
        ),
        ("PV_OVERRIDES_RECEIVE", overrides::RECEIVE),
        ("PV_OVERRIDES_FEEDBACK", overrides::FEEDBACK),
        ("PV_OVERRIDES_BALANCE", overrides::BALANCE),
        ("PV_OVERRIDES_CANCEL", overrides::CANCEL),
        ("PV_OVERRIDES_EXTENSION", overrides::EXTENSION),
        ("PV_DELIVERY_SENT", delivery::SENT.into()),
        ("PV_DELIVERY_DELIVERED", delivery::DELIVERED.into()),
        ("PV_DELIVERY_UNDELIVERED", delivery::UNDELIVERED.into()),
        ("PV_DELIVERY_UNKNOWN", delivery::UNKNOWN.into()),
        ("PV_HASH_MD5", hash::MD5.into()),
        ("PV_HASH_SHA1", hash::SHA1.into()),
        ("PV_HASH_SHA256", hash::SHA256.into()),
        ("PV_HASH_SHA512", hash::SHA512.into()),
        ("PV_SIGNATURE_RS256", signature::RS256.into()),
        ("PV_SIGNATURE_ES256", signature::ES256.into()),
        ("PV_LEVEL_ERROR", level::ERROR.into()),
        ("PV_LEVEL_WARN", level::WARN.into()),
        ("PV_LEVEL_INFO", level::INFO.into()),
        ("PV_LEVEL_DEBUG", level::DEBUG.into()),
        ("PV_LEVEL_TRACE", level::TRACE.into()),
    ];
    let mut text = String::new();
    for (name, value) in constants {
        writeln!(text, "_Static_assert({name} == {value}, \"{name}\");").unwrap();
    }
    compile(&text, &["-std=gnu11"]).unwrap();

    let header = std::fs::read_to_string(header()).unwrap();
    let defined = [
        "ABI",
        "KIND",
        "VERDICT",
        "OVERRIDES",
        "DELIVERY",
        "HASH",
        "SIGNATURE",
        "LEVEL",
    ]
    .map(|group| header.matches(&format!("#define PV_{group}_")).count());
    assert_eq!(
        defined.iter().sum::<usize>(),
        constants.len(),
        "a number is not compared"
    );
    let source = include_str!("../src/lib.rs");
    let known = source
        .lines()
        .filter(|line| line.starts_with("    pub const ") && !line.contains("&str"))
        .count();
    // Two are flags of errors, which C has no use for; in their place are the two of the ABI.
    assert_eq!(known, constants.len(), "a number is not in the header");
}

/// A library as an author writes it, in the common subset of C and C++.
const LIBRARY: &str = r#"
PV_MANIFEST({"schema": 1, "a": [true, null]});
struct pv_backend { int sent; };
static pv_backend *create(pv_text name, const pv_host *host, const pv_pair *options, size_t count) {
    static pv_backend backend;
    pv_text greeting = PV_TEXT("hello");
    (void)name, (void)options, (void)count;
    host->log(host, PV_LEVEL_INFO, greeting, NULL, 0);
    return &backend;
}
static void destroy(pv_backend *backend) { backend->sent = 0; }
static void send_sms(pv_backend *backend, const pv_call *call, const pv_sms *sms) {
    (void)sms;
    backend->sent += PV_HAS(call, pv_call, region) && call->region.length == 2;
}
const pv_plugin_entry pv_plugin_entry_v1 = {
    sizeof(pv_plugin_entry), PV_ABI_MAJOR, PV_ABI_MINOR, create, destroy, send_sms, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL, NULL
};
"#;

#[test]
fn the_header_is_plain_c99_and_cpp_and_includes_next_to_nothing() {
    for standard in ["-std=c99", "-std=c11", "-std=c17", "-std=c++11", "-std=c++20"] {
        compile(LIBRARY, &[standard, "-pedantic-errors"]).unwrap_or_else(|why| panic!("{standard}: {why}"));
    }
    let header = std::fs::read_to_string(header()).unwrap();
    let included: Vec<_> = header
        .lines()
        .filter(|line| line.starts_with("#include"))
        .collect();
    assert_eq!(included, ["#include <stddef.h>", "#include <stdint.h>"]);
}
