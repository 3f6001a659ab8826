//! Compares the types of the ABI that a library was built with with this host's, and puts the difference into a few
//! words: what the check itself says of one is tens of kilobytes.

use phone_verify_plugin_abi::{
    ABI_MAJOR, RawError, RootRef,
    abi_stable::{
        StableAbi,
        abi_stability::abi_checking::{
            AbiInstability, AbiInstabilityErrors, CheckingGlobals, check_layout_compatibility_with_globals,
        },
        library::LibHeader,
        type_layout::{TLData, TLField, TLFieldOrFunction, TypeLayout},
    },
};

use crate::refusal::{Refusal, code};

/// Refuses a library whose types are not this host's. The check is meant for a caller that is older than the library; a
/// newer one fits as well when the check passes the other way round.
pub(super) fn check(header: &'static LibHeader, file: &str) -> Result<(), Refusal> {
    let Some(plugin) = header.layout() else {
        return Err(Refusal::new(
            code::WRONG_LAYOUT,
            format!(
                "{file} hides the layout of its types, so that it cannot be checked; rebuild it with export_backends!"
            ),
        ));
    };
    let host = <RootRef as StableAbi>::LAYOUT;
    // Fresh globals for each check: what one library says must not count against the next.
    let check = |interface: &'static TypeLayout, implementation: &'static TypeLayout| {
        check_layout_compatibility_with_globals(interface, implementation, &CheckingGlobals::new())
    };
    let Err(errors) = check(host, plugin) else {
        return Ok(());
    };
    check(plugin, host).map_err(|_| {
        Refusal::new(
            code::WRONG_LAYOUT,
            format!(
                "{file} was built against a changed copy of the backend ABI {ABI_MAJOR}.x: {}; rebuild it against an \
                 unchanged phone-verify-plugin-api",
                summary(&errors)
            ),
        )
    })
}

/// The first difference: in the innermost type of the ABI that has one.
fn summary(errors: &AbiInstabilityErrors) -> String {
    let mut found = errors.errors.iter().filter(|error| !error.errs.is_empty());
    // What a later version appended is missing in an older library, which is no fault of it; so not every error of the
    // check has a difference.
    found
        .find_map(|error| {
            if let Some(AbiInstability::PackageVersion(versions)) = error.errs.first() {
                return Some(format!(
                    "its version is {} instead of {}",
                    versions.found, versions.expected
                ));
            }
            let steps = error.stack_trace.iter().rev();
            steps
                .filter_map(|step| match (step.expected, step.found) {
                    (TLFieldOrFunction::Field(expected), TLFieldOrFunction::Field(found)) => {
                        Some((expected.layout(), found.layout()))
                    }
                    _ => None,
                })
                .filter(|(expected, _)| expected.package() == <RawError as StableAbi>::LAYOUT.package())
                .find_map(|(expected, found)| difference(expected, found))
        })
        .unwrap_or_else(|| "its types have another shape".to_owned())
}

/// How the fields or methods of a type differ, if they do.
fn difference(expected: &'static TypeLayout, found: &'static TypeLayout) -> Option<String> {
    let name = name(expected);
    let may_end_at = match expected.data() {
        TLData::PrefixType(prefix) => usize::from(prefix.first_suffix_field),
        _ => usize::MAX,
    };
    let [expected, found] = [expected, found].map(|layout| -> Vec<TLField> {
        layout
            .get_fields()
            .into_iter()
            .flat_map(|fields| fields.iter())
            .collect()
    });
    let has = |fields: &[TLField], name: &str| fields.iter().any(|field| field.name() == name);
    for (at, expected_field) in expected.iter().enumerate() {
        let wanted = expected_field.name();
        if at == found.len() && at >= may_end_at {
            return None;
        }
        let Some(found_field) = found.get(at).filter(|_| has(&found, wanted)) else {
            return Some(format!("{name} lacks {wanted}"));
        };
        let there = found_field.name();
        if there != wanted {
            return Some(format!("{name} has {there} in the place of {wanted}"));
        }
        let [wanted_type, there_type] = [expected_field, found_field].map(type_of);
        if wanted_type != there_type {
            return Some(format!(
                "{name}.{wanted} is {there_type} instead of {wanted_type}"
            ));
        }
    }
    let more = found.get(expected.len())?;
    Some(format!("{name} has {} besides", more.name()))
}

/// The type's name, or the trait's whose methods it holds: those lie in the `VTable` of a module named for the trait.
fn name(layout: &TypeLayout) -> String {
    let module = layout.mod_path().to_string();
    let last = module.rsplit("::").next().unwrap_or_default();
    last.strip_suffix("_trait").unwrap_or(layout.name()).to_owned()
}

/// The type of a field, or the signature of a method.
fn type_of(field: &TLField) -> String {
    let function = field
        .function_range()
        .iter()
        .next()
        .filter(|_| field.is_function());
    let Some(function) = function else {
        return field.layout().name().to_owned();
    };
    let parameters: Vec<_> = function
        .param_type_layouts
        .iter()
        .map(|layout| layout().name())
        .collect();
    let returned = function
        .return_type_layout()
        .map_or("()", |layout| layout().name());
    format!("fn({}) -> {returned}", parameters.join(", "))
}
