//! Another version of the ABI, with a backend that speaks it: the released ABI and the backend of its day, copied,
//! changed and built.

use std::{fs, path::PathBuf};

use phone_verify_tests::artifacts;

/// A copy of the released ABI and of `tests/abi/backend`, until it is built.
pub(crate) struct Generation {
    name: String,
    folder: tempfile::TempDir,
}

impl Generation {
    /// As first released. The library will be `lib<name>.so`.
    pub(crate) fn released(name: &str) -> Self {
        Self::of_version("1.0", name)
    }

    /// As released with this version, and the same backend.
    pub(crate) fn of_version(version: &str, name: &str) -> Self {
        let generation = Self {
            name: name.to_owned(),
            folder: tempfile::tempdir().unwrap(),
        };
        let frozen = artifacts::workspace().join("tests/abi");
        for (from, to) in [(version, "abi"), ("backend", "backend")] {
            let to = generation.path(to);
            fs::create_dir_all(to.join("src")).unwrap();
            for file in ["Cargo.toml", "src/lib.rs"] {
                fs::copy(frozen.join(from).join(file), to.join(file)).unwrap();
            }
        }
        generation.change(
            "backend/Cargo.toml",
            "name = \"ancestor\"",
            &format!("name = {name:?}"),
        );
        generation
    }

    /// Writes `to` where the ABI says `from`.
    pub(crate) fn abi(self, from: &str, to: &str) -> Self {
        self.change("abi/src/lib.rs", from, to);
        self
    }

    /// Writes `to` where the backend says `from`.
    pub(crate) fn backend(self, from: &str, to: &str) -> Self {
        self.change("backend/src/lib.rs", from, to);
        self
    }

    /// Writes `to` where the backend has the lines between `-- part --` and `-- end --`.
    pub(crate) fn backend_part(self, part: &str, to: &str) -> Self {
        let source = fs::read_to_string(self.path("backend/src/lib.rs")).unwrap();
        let (_, rest) = source.split_once(&format!("// -- {part} --\n")).unwrap();
        let (lines, _) = rest.split_once("// -- end --").unwrap();
        self.backend(lines, to)
    }

    /// The bytes of the library.
    pub(crate) fn build(self) -> Vec<u8> {
        let members = ["abi", "backend"].map(|member| format!("{}/{member}", self.name));
        let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n");
        fs::write(self.folder.path().join("Cargo.toml"), manifest).unwrap();
        let lock = artifacts::workspace().join("Cargo.lock");
        fs::copy(lock, self.folder.path().join("Cargo.lock")).unwrap();

        // Into the workspace's own folder, so that the dependencies are there already.
        let target = artifacts::target_folder();
        let target = target.to_str().unwrap();
        let built = artifacts::build(
            self.folder.path(),
            &["--package", &self.name, "--target-dir", target],
        );
        fs::read(&built[&self.name]).unwrap()
    }

    /// In a folder of the library's name: cargo tells packages apart by their place in the workspace, and would take
    /// one generation for another otherwise.
    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(&self.name).join(file)
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.path(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }
}
