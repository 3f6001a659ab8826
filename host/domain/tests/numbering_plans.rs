//! Holds the table of numbering plans to that of the library, and makes it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf, process::Command};

use prost::Message;
use rlibphonenumber::{PhoneMetadata, PhoneMetadataCollection, PhoneNumberDesc};

const TABLE: &str = include_str!("../src/model/numbering_plans.txt");

/// The table of the library, in its sources.
fn table_of_the_library() -> Vec<u8> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let library = packages
        .iter()
        .find(|package| package["name"] == "rlibphonenumber");
    let manifest = PathBuf::from(library.unwrap()["manifest_path"].as_str().unwrap());
    fs::read(
        manifest
            .with_file_name("src")
            .join("generated/metadata/metadata.bin"),
    )
    .unwrap()
}

fn kind(numbers: Option<&PhoneNumberDesc>) -> String {
    #[expect(
        deprecated,
        reason = "the library marks what it keeps elsewhere once it has read the table"
    )]
    let pattern = |numbers: &PhoneNumberDesc| numbers.national_number_pattern.clone();
    let Some((numbers, pattern)) = numbers.and_then(|numbers| Some((numbers, pattern(numbers)?))) else {
        return String::new();
    };
    let lengths: Vec<_> = numbers.possible_length.iter().map(ToString::to_string).collect();
    // The library's table has "^(?:" and ")$" around each pattern.
    let pattern = pattern
        .strip_prefix("^(?:")
        .and_then(|rest| rest.strip_suffix(")$"))
        .unwrap();
    format!("{}:{pattern}", lengths.join(","))
}

#[expect(deprecated, reason = "as above")]
fn line(plan: &PhoneMetadata) -> String {
    let leading = plan.leading_digits.as_deref().unwrap_or_default();
    let leading = leading
        .strip_prefix("^(?:")
        .and_then(|rest| rest.strip_suffix(")$"))
        .unwrap_or(leading);
    let mobile = if plan.same_mobile_and_fixed_line_pattern() {
        &plan.fixed_line
    } else {
        &plan.mobile
    };
    let mut line = format!("{}\t{}\t{leading}", plan.country_code(), plan.id);
    for numbers in [
        &plan.general_desc,
        &plan.fixed_line,
        mobile,
        &plan.premium_rate,
        &plan.toll_free,
        &plan.shared_cost,
        &plan.voip,
        &plan.personal_number,
        &plan.pager,
        &plan.uan,
        &plan.voicemail,
    ] {
        write!(line, "\t{}", kind(numbers.as_ref())).unwrap();
    }
    line
}

#[test]
fn the_numbering_plans_are_those_of_the_library() {
    let theirs = PhoneMetadataCollection::decode(&table_of_the_library()[..]).unwrap();
    let mut by_calling_code = BTreeMap::<i32, Vec<String>>::new();
    for plan in theirs.metadata.iter().filter(|plan| plan.country_code.is_some()) {
        let plans = by_calling_code.entry(plan.country_code()).or_default();
        let at = if plan.main_country_for_code() {
            0
        } else {
            plans.len()
        };
        plans.insert(at, line(plan));
    }
    let expected: String = by_calling_code
        .into_values()
        .flatten()
        .map(|line| line + "\n")
        .collect();
    if TABLE != expected {
        let made = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("numbering_plans.txt");
        fs::write(&made, expected).unwrap();
        panic!(
            "the library has other numbering plans; take them over: cp {} host/domain/src/model/numbering_plans.txt",
            made.display()
        );
    }
}
