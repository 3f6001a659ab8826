//! Files, as far as Landlock goes: what opening a library takes can be read, nothing can be written, no TCP.
//!
//! Invariant: what is left to be read is the system's libraries and the one that is opened.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope, path_beneath_rules,
};

/// The newest generation of Landlock whose rights are used; older kernels enforce those that they know.
const GENERATION: ABI = ABI::V6;
/// Where the system's libraries lie, and how the dynamic linker finds them. Those that are missing are skipped.
const SYSTEM: [&str; 8] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/nix/store",
    "/gnu/store",
];

/// The error says what the kernel lacks.
pub(super) fn leave_only(library: &Path) -> Result<(), String> {
    let lacks = |what: &str| format!("Landlock, which keeps a library away from files ({what})");
    match restrict(library) {
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(()),
        Ok(RulesetStatus::NotEnforced) => Err(lacks("the kernel does not offer it")),
        Err(error) => Err(lacks(&error.to_string())),
    }
}

fn restrict(library: &Path) -> Result<RulesetStatus, RulesetError> {
    let readable: Vec<PathBuf> = SYSTEM
        .iter()
        .map(PathBuf::from)
        .chain([library.to_owned()])
        .collect();
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(GENERATION))?
        .handle_access(AccessNet::from_all(GENERATION))?
        .scope(Scope::from_all(GENERATION))?
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(GENERATION)))?
        .restrict_self()?;
    Ok(status.ruleset)
}
