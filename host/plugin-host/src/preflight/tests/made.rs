//! Makes small libraries of Windows and macOS out of nothing, so that they can be read wherever the tests run.

pub(in super::super) const AMD64: u16 = 0x8664;
pub(in super::super) const I386: u16 = 0x14c;
pub(in super::super) const ARM64: u16 = 0xaa64;

pub(in super::super) const MANIFEST: &str = r#"{"schema":1,"version":"1.0.0","abi":{"major":1,"minor":0},"plugin_api":"1.0.0","backends":[{"name":"XBackend","hosts":["x.example"]}]}"#;

/// Bytes that are filled up to a boundary.
fn pad(bytes: &mut Vec<u8>, boundary: usize) {
    bytes.resize(bytes.len().next_multiple_of(boundary), 0);
}

fn put(bytes: &mut Vec<u8>, words: &[u32]) {
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

/// A DLL of Windows.
#[derive(Clone)]
pub(in super::super) struct Dll {
    pub(in super::super) machine: u16,
    pub(in super::super) is_program: bool,
    pub(in super::super) needed: Vec<String>,
    /// Each with what it points to.
    pub(in super::super) exports: Vec<(String, Vec<u8>)>,
    /// In its section.
    pub(in super::super) manifest: Option<String>,
}

impl Dll {
    /// A backend that passes.
    pub(in super::super) fn backend() -> Self {
        Self {
            machine: AMD64,
            is_program: false,
            needed: vec!["KERNEL32.dll".to_owned(), "msvcrt.dll".to_owned()],
            exports: vec![("pv_plugin_entry_v1".to_owned(), vec![0; 72])],
            manifest: Some(MANIFEST.to_owned()),
        }
    }

    /// One that is no backend.
    pub(in super::super) fn needing(needed: &[&str]) -> Self {
        Self {
            needed: needed.iter().map(ToString::to_string).collect(),
            exports: Vec::new(),
            manifest: None,
            ..Self::backend()
        }
    }

    pub(in super::super) fn bytes(&self) -> Vec<u8> {
        const ALIGNMENT: u32 = 0x200;
        const FIRST_ADDRESS: u32 = 0x1000;
        let (tables, directories) = self.tables(FIRST_ADDRESS);
        let mut sections = vec![(".rdata", tables)];
        if let Some(manifest) = &self.manifest {
            sections.push((".pvplug", [manifest.as_bytes(), b"\0"].concat()));
        }

        let mut bytes = b"MZ".to_vec();
        bytes.resize(0x3c, 0);
        put(&mut bytes, &[0x40]);
        bytes.extend(b"PE\0\0");
        let is_64 = self.machine != I386;
        let optional_size: u16 = if is_64 { 240 } else { 224 };
        let characteristics: u16 = if self.is_program { 0x22 } else { 0x2022 };
        bytes.extend(self.machine.to_le_bytes());
        bytes.extend(u16::try_from(sections.len()).unwrap().to_le_bytes());
        put(&mut bytes, &[0, 0, 0]);
        bytes.extend(optional_size.to_le_bytes());
        bytes.extend(characteristics.to_le_bytes());

        let optional = bytes.len();
        let magic: u16 = if is_64 { 0x20b } else { 0x10b };
        bytes.extend(magic.to_le_bytes());
        bytes.resize(optional + 32, 0);
        put(&mut bytes, &[FIRST_ADDRESS, ALIGNMENT]);
        bytes.resize(optional + 56, 0);
        put(&mut bytes, &[0x3000, ALIGNMENT]);
        bytes.resize(optional + usize::from(optional_size) - 128 - 4, 0);
        put(&mut bytes, &[16]);
        for (address, size) in directories {
            put(&mut bytes, &[address, size]);
        }
        bytes.resize(optional + usize::from(optional_size), 0);

        let [mut address, mut offset] = [FIRST_ADDRESS, ALIGNMENT];
        for (name, data) in &sections {
            let size = u32::try_from(data.len()).unwrap();
            let raw = size.next_multiple_of(ALIGNMENT);
            let start = bytes.len();
            bytes.extend(name.as_bytes());
            bytes.resize(start + 8, 0);
            put(&mut bytes, &[size, address, raw, offset, 0, 0, 0, 0x4000_0040]);
            address += FIRST_ADDRESS;
            offset += raw;
        }
        for (_, data) in sections {
            pad(&mut bytes, ALIGNMENT as usize);
            bytes.extend(data);
        }
        pad(&mut bytes, ALIGNMENT as usize);
        bytes
    }

    /// The tables of exports and imports, and where they are.
    fn tables(&self, start: u32) -> (Vec<u8>, [(u32, u32); 2]) {
        let count = u32::try_from(self.exports.len()).unwrap();
        let mut texts = Vec::new();
        // Behind all tables, whose sizes are known.
        let exports_size = 40 + 12 * self.exports.len();
        let imports_size = 20 * (self.needed.len() + 1) + 8;
        let texts_start = start + u32::try_from((exports_size + imports_size).next_multiple_of(8)).unwrap();
        let mut text = |data: &[u8]| {
            let address = texts_start + u32::try_from(texts.len()).unwrap();
            texts.extend(data);
            texts.push(0);
            address
        };
        let mut tables = Vec::new();
        let library = text(b"acme.dll");
        let [functions, names, ordinals] = [40, 40 + 4 * count, 40 + 8 * count].map(|at| start + at);
        put(
            &mut tables,
            &[0, 0, 0, library, 1, count, count, functions, names, ordinals],
        );
        let names: Vec<u32> = self
            .exports
            .iter()
            .map(|(name, _)| text(name.as_bytes()))
            .collect();
        // What lies within the table itself would be the name of another DLL's function.
        let exports_end = text(b"");
        let data: Vec<u32> = self.exports.iter().map(|(_, data)| text(data)).collect();
        put(&mut tables, &data);
        put(&mut tables, &names);
        for ordinal in 0..count {
            tables.extend(u16::try_from(ordinal).unwrap().to_le_bytes());
        }
        tables.resize(exports_size, 0);
        let imports = start + u32::try_from(exports_size).unwrap();
        let no_functions = imports + u32::try_from(imports_size).unwrap() - 8;
        for needed in &self.needed {
            let name = text(needed.as_bytes());
            put(&mut tables, &[no_functions, 0, 0, name, no_functions]);
        }
        tables.resize(exports_size + imports_size, 0);
        pad(&mut tables, 8);
        tables.extend(texts);
        let exports = if count == 0 {
            (0, 0)
        } else {
            (start, exports_end - start)
        };
        let imports = if self.needed.is_empty() {
            (0, 0)
        } else {
            (imports, 20)
        };
        (tables, [exports, imports])
    }
}

pub(in super::super) const X86_64: u32 = 0x0100_0007;
pub(in super::super) const AARCH64: u32 = 0x0100_000c;

/// A library of macOS.
#[derive(Clone)]
pub(in super::super) struct Dylib {
    pub(in super::super) processor: u32,
    pub(in super::super) subtype: u32,
    /// 6: a library, 8: a bundle, 2: a program, 1: an object file.
    pub(in super::super) kind: u32,
    /// 1: macOS, 2: iOS.
    pub(in super::super) system: u32,
    pub(in super::super) needed: Vec<String>,
    pub(in super::super) run_paths: Vec<String>,
    pub(in super::super) manifest: String,
    pub(in super::super) has_section: bool,
    /// Whether its exports are in a table for the loader, and not only among its symbols.
    pub(in super::super) has_table: bool,
    pub(in super::super) entry: String,
}

impl Dylib {
    /// A backend that passes.
    pub(in super::super) fn backend() -> Self {
        Self {
            processor: AARCH64,
            subtype: 0,
            kind: 6,
            system: 1,
            needed: vec!["/usr/lib/libSystem.B.dylib".to_owned()],
            run_paths: Vec::new(),
            manifest: MANIFEST.to_owned(),
            has_section: true,
            has_table: true,
            entry: "_pv_plugin_entry_v1".to_owned(),
        }
    }

    pub(in super::super) fn bytes(&self) -> Vec<u8> {
        const DATA: u32 = 0x1000;
        let manifest_size = u32::try_from(self.manifest.len()).unwrap() + 1;
        let entry = DATA + manifest_size.next_multiple_of(8);
        let exports = [("_PHONE_VERIFY_MANIFEST", DATA), (self.entry.as_str(), entry)];
        let (linkedit, linkedit_command) = if self.has_table {
            let table = table(&exports);
            let size = u32::try_from(table.len()).unwrap();
            (table, vec![0x8000_0033, 16, DATA * 2, size])
        } else {
            let (mut symbols, mut names) = (Vec::new(), b"\0".to_vec());
            for (name, address) in exports {
                put(&mut symbols, &[u32::try_from(names.len()).unwrap()]);
                // Defined in the first section, and seen from outside.
                symbols.extend([0x0f, 1, 0, 0]);
                put(&mut symbols, &[address, 0]);
                names.extend(name.as_bytes());
                names.push(0);
            }
            let [at, size] = [symbols.len(), names.len()].map(|size| u32::try_from(size).unwrap());
            (
                [symbols, names].concat(),
                vec![2, 24, DATA * 2, 2, DATA * 2 + at, size],
            )
        };

        let mut commands: Vec<Vec<u8>> = Vec::new();
        commands.push(segment("__TEXT", 0, DATA, DATA, &[]));
        let section = if self.has_section {
            "__pv_plugin"
        } else {
            "__const"
        };
        commands.push(segment("__DATA", DATA, DATA, DATA, &[(section, manifest_size)]));
        let linkedit_size = u32::try_from(linkedit.len()).unwrap();
        commands.push(segment("__LINKEDIT", DATA * 2, linkedit_size, DATA, &[]));
        for (command, names) in [(0xc, &self.needed), (0x8000_001c, &self.run_paths)] {
            for name in names {
                let head: &[u32] = if command == 0xc {
                    &[24, 2, 0x10000, 0x10000]
                } else {
                    &[12]
                };
                let mut text = Vec::new();
                put(&mut text, head);
                text.extend(name.as_bytes());
                text.push(0);
                pad(&mut text, 8);
                // With the two words of its beginning, which are a multiple of 8 as well.
                let size = u32::try_from(text.len() + 8).unwrap();
                let mut whole = Vec::new();
                put(&mut whole, &[command, size]);
                whole.extend(text);
                commands.push(whole);
            }
        }
        for words in [vec![0x32, 24, self.system, 0, 0, 0], linkedit_command] {
            let mut command = Vec::new();
            put(&mut command, &words);
            commands.push(command);
        }

        let mut bytes = Vec::new();
        let [count, size] =
            [commands.len(), commands.iter().map(Vec::len).sum()].map(|size| u32::try_from(size).unwrap());
        put(
            &mut bytes,
            &[
                0xfeed_facf,
                self.processor,
                self.subtype,
                self.kind,
                count,
                size,
                0,
                0,
            ],
        );
        bytes.extend(commands.concat());
        assert!(bytes.len() <= DATA as usize);
        bytes.resize(DATA as usize, 0);
        bytes.extend(self.manifest.as_bytes());
        bytes.push(0);
        bytes.resize(DATA as usize * 2, 0);
        bytes.extend(linkedit);
        bytes
    }
}

/// A load command for a segment that lies in the file where it lies in memory.
fn segment(name: &str, start: u32, size: u32, memory: u32, sections: &[(&str, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = u32::try_from(sections.len()).unwrap();
    put(&mut bytes, &[0x19, 72 + 80 * count]);
    let padded = |bytes: &mut Vec<u8>, name: &str| {
        let end = bytes.len() + 16;
        bytes.extend(name.as_bytes());
        bytes.resize(end, 0);
    };
    padded(&mut bytes, name);
    put(
        &mut bytes,
        &[start, 0, memory, 0, start, 0, size, 0, 7, 3, count, 0],
    );
    for (section, section_size) in sections {
        padded(&mut bytes, section);
        padded(&mut bytes, name);
        put(
            &mut bytes,
            &[start, 0, *section_size, 0, start, 0, 0, 0, 0, 0, 0, 0],
        );
    }
    bytes
}

/// A number of the table of exports (LEB128).
fn number(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// The loader's table of exports: what all names begin with, and from there an edge to each.
fn table(exports: &[(&str, u32)]) -> Vec<u8> {
    let ends: Vec<Vec<u8>> = exports
        .iter()
        .map(|(_, address)| {
            let export = [vec![0], number(*address)].concat();
            [number(u32::try_from(export.len()).unwrap()), export, vec![0]].concat()
        })
        .collect();
    // The root: no export, one child, at the offset 5.
    let mut bytes = vec![0, 1, b'_', 0, 5];
    let edges = exports
        .iter()
        .map(|(name, _)| name.len() - 1 + 1 + 2)
        .sum::<usize>();
    let mut end = bytes.len() + 2 + edges;
    bytes.extend([0, u8::try_from(exports.len()).unwrap()]);
    for ((name, _), at_end) in exports.iter().zip(&ends) {
        bytes.extend(&name.as_bytes()[1..]);
        bytes.push(0);
        // As long as any other, so that the offsets are known.
        let low = u8::try_from(end & 0x7f).unwrap() | 0x80;
        bytes.extend([low, u8::try_from(end >> 7).unwrap()]);
        end += at_end.len();
    }
    bytes.extend(ends.concat());
    bytes
}

/// A universal library of these.
pub(in super::super) fn universal(parts: &[Dylib]) -> Vec<u8> {
    let mut bytes = [0xcafe_babe, u32::try_from(parts.len()).unwrap()]
        .map(u32::to_be_bytes)
        .concat();
    let mut data = Vec::new();
    for part in parts {
        let part_bytes = part.bytes();
        let [offset, size] = [0x1000 + data.len(), part_bytes.len()].map(|size| u32::try_from(size).unwrap());
        let words = [part.processor, part.subtype, offset, size, 12];
        bytes.extend(words.into_iter().flat_map(u32::to_be_bytes));
        data.extend(part_bytes);
        pad(&mut data, 0x1000);
    }
    bytes.resize(0x1000, 0);
    bytes.extend(data);
    bytes
}
