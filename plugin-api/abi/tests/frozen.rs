//! The ABI equals `abi-1.txt`. A library that was built against version 1.0 must load in every later host, so that file
//! only grows: new lines at the end of a trait or of `Root`, never a change before them.

use std::{collections::BTreeSet, fmt::Write};

use phone_verify_plugin_abi::{
    RootRef,
    abi_stable::{
        StableAbi,
        type_layout::{TLData, TLField, TLFunction, TypeLayout},
    },
};

const FROZEN: &str = include_str!("../abi-1.txt");

fn fields(layout: &'static TypeLayout) -> impl Iterator<Item = TLField> {
    layout.get_fields().into_iter().flat_map(|fields| fields.iter())
}

fn functions(field: &TLField) -> impl Iterator<Item = TLFunction> {
    field.function_range().iter()
}

/// The types of a function's parameters, then that of its result.
fn types(function: &TLFunction) -> Vec<&'static TypeLayout> {
    let parameters = function.param_type_layouts.iter().map(|layout| layout());
    let returned = function
        .return_type_layout()
        .map_or(<() as StableAbi>::LAYOUT, |layout| layout());
    parameters.chain([returned]).collect()
}

/// A type with its type arguments, such as `RVec<RString>`.
fn type_name(layout: &'static TypeLayout) -> String {
    let held: Vec<&TypeLayout> = match layout.name() {
        "RResult" | "ROption" | "Tuple2" | "FfiPoll" => fields(layout).map(|field| field.layout()).collect(),
        "RVec" => fields(layout)
            .flat_map(|field| field.layout().phantom_fields().iter())
            .map(|field| field.layout())
            .collect(),
        "BorrowingFfiFuture" => fields(layout)
            .flat_map(|field| fields(field.layout()))
            .flat_map(|field| {
                functions(&field)
                    .filter_map(|poll| types(&poll).pop())
                    .collect::<Vec<_>>()
            })
            .filter(|returned| returned.name() == "FfiPoll")
            .collect(),
        _ => Vec::new(),
    };
    let held: Vec<_> = held
        .into_iter()
        .map(type_name)
        .filter(|name| name != "VecVTable")
        .collect();
    match held.as_slice() {
        [] => layout.name().to_owned(),
        [poll] if layout.name() == "BorrowingFfiFuture" => poll.replacen("FfiPoll", "Future", 1),
        held => format!("{}<{}>", layout.name(), held.join(", ")),
    }
}

/// Whether a type belongs to this crate. The types inside trait objects belong to `abi_stable`, which checks them
/// itself.
fn is_ours(layout: &TypeLayout) -> bool {
    layout.package() == env!("CARGO_PKG_NAME") && !layout.name().contains('_')
}

/// Every reachable type of this crate, in the order of the walk.
#[derive(Default)]
struct Walk {
    text: String,
    /// Addresses of visited layouts. One type may have several.
    seen: BTreeSet<usize>,
    written: BTreeSet<String>,
}

impl Walk {
    fn visit(&mut self, layout: &'static TypeLayout) {
        if !self.seen.insert(std::ptr::from_ref(layout).addr()) {
            return;
        }
        if is_ours(layout) {
            // The methods of a trait are in the `VTable` of a module that is named after the trait.
            let module = layout.mod_path().to_string();
            let of_trait = module
                .rsplit("::")
                .next()
                .and_then(|last| last.strip_suffix("_trait"));
            let name = of_trait.unwrap_or(layout.name());
            if !self.written.insert(name.to_owned()) {
                return;
            }
            let _ = writeln!(self.text, "\n{name}");
        }
        let mut next = Vec::new();
        for (index, field) in fields(layout).enumerate() {
            if is_ours(layout) {
                if !field.name().starts_with("_sabi") {
                    self.field(&field);
                }
                if matches!(layout.data(), TLData::PrefixType(prefix) if index + 1 == usize::from(prefix.first_suffix_field))
                {
                    self.text.push_str("  -- what follows may be missing --\n");
                }
            }
            next.extend(functions(&field).flat_map(|function| types(&function)));
            next.push(field.layout());
        }
        next.extend(layout.phantom_fields().iter().map(|field| field.layout()));
        for layout in next {
            self.visit(layout);
        }
    }

    fn field(&mut self, field: &TLField) {
        let _ = write!(self.text, "  {}: ", field.name());
        match functions(field).next() {
            Some(function) if field.is_function() => {
                let mut types: Vec<_> = types(&function).into_iter().map(type_name).collect();
                let returned = types.pop().unwrap_or_default();
                let _ = writeln!(self.text, "fn({}) -> {returned}", types.join(", "));
            }
            _ => {
                let _ = writeln!(self.text, "{}", type_name(field.layout()));
            }
        }
    }
}

#[test]
fn the_abi_is_what_it_was() {
    let mut walk = Walk::default();
    walk.visit(<RootRef as StableAbi>::LAYOUT);
    assert!(
        walk.text.trim() == FROZEN.trim(),
        "the ABI is not what abi-1.txt says. If something was appended, raise ABI_MINOR and put this there:\n{}",
        walk.text
    );
}
