//! What a worker process says of its own crash: registers and return addresses, as places in mapped code. It says
//! nothing of what is in memory, for that holds numbers, codes and secrets, and so may a register: of one that does not
//! point into a mapped library, only a class is said.
//!
//! Invariants: the handler calls nothing but `write`, `sigaction` and `raise`, allocates nothing, and reads only the
//! stack between its pointer and its bottom, and code; and after it the process dies as it would have without it.

/// How the line begins that the handler writes to the standard error, once.
pub(crate) const MARK: &str = "\u{1e}phone-verify-crash ";

/// What may be named; whatever else is mapped has a name of the operator's own.
pub(crate) const NAMES: [&str; 13] = [
    "library",
    "host",
    "another-library",
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libstdc++.so.6",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    "linux-vdso.so.1",
];

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) use here::{know_modules, watch};

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) use elsewhere::{know_modules, watch};

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod elsewhere {
    use std::path::Path;

    /// Registers are not read on this system.
    pub(crate) fn watch(_library: &Path, _bottom_of_stack: usize) {}

    /// Nothing is looked up.
    pub(crate) fn know_modules(_library: &Path) {}
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod here {
    use std::{
        ffi::{CStr, c_int, c_void},
        mem::MaybeUninit,
        os::unix::ffi::OsStrExt,
        path::Path,
        ptr,
        sync::{
            OnceLock,
            atomic::{AtomicBool, AtomicUsize, Ordering},
        },
    };

    use super::{MARK, NAMES};

    /// What a fault of the process's own code ends it by.
    const SIGNALS: [c_int; 6] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
        libc::SIGABRT,
    ];
    /// Below the 2000 bytes at which the host cuts a line.
    const MAX_LINE_BYTES: usize = 1900;
    const MAX_RETURN_ADDRESSES: usize = 32;
    /// How much of the stack is looked at.
    const MAX_STACK_BYTES: usize = 64 * 1024;
    /// The handler runs on a stack of its own, for that of the library may be used up.
    const HANDLER_STACK_BYTES: usize = 64 * 1024;
    /// A first page that is never mapped.
    const NULL_BYTES: usize = 4096;
    /// What the system lets a main thread's stack grow to, as far as is looked.
    const STACK_BYTES: usize = 8 << 20;

    /// A mapped library, or the program.
    struct Module {
        name: &'static [u8],
        base: usize,
        begin: usize,
        end: usize,
        /// The parts that hold code.
        code: Vec<(usize, usize)>,
    }

    /// Before the library was opened, and after.
    static MODULES: [OnceLock<Vec<Module>>; 2] = [const { OnceLock::new() }; 2];
    static BEFORE: OnceLock<Vec<(c_int, libc::sigaction)>> = OnceLock::new();
    static BOTTOM_OF_STACK: AtomicUsize = AtomicUsize::new(0);
    static IS_TOLD: AtomicBool = AtomicBool::new(false);

    /// From now on a crash of this process is told. `bottom_of_stack`: an address in the frame of a caller that lasts.
    pub(crate) fn watch(library: &Path, bottom_of_stack: usize) {
        BOTTOM_OF_STACK.store(bottom_of_stack, Ordering::Relaxed);
        let _ = MODULES[0].set(modules(library));
        let stack = Box::leak(vec![0_u8; HANDLER_STACK_BYTES].into_boxed_slice());
        let stack = libc::stack_t {
            ss_sp: stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: stack.len(),
        };
        // SAFETY: the memory is leaked, so that it lasts as long as the process, and nothing else uses it.
        if unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) } != 0 {
            return;
        }
        let mut before = Vec::new();
        for signal in SIGNALS {
            let mut old = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: a null pointer asks for the present action alone, which is written into `old`.
            let is_read = unsafe { libc::sigaction(signal, ptr::null(), old.as_mut_ptr()) } == 0;
            if is_read {
                // SAFETY: the call before filled it in.
                before.push((signal, unsafe { old.assume_init() }));
            }
        }
        let known: Vec<c_int> = before.iter().map(|(signal, _)| *signal).collect();
        // First, for the handler restores what is in it.
        if BEFORE.set(before).is_err() {
            return;
        }
        for signal in known {
            // SAFETY: all bits zero are a valid action; what counts is set below.
            let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = crashed;
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // SAFETY: the handler has the signature that SA_SIGINFO asks for, and does only what a handler may.
            unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        }
    }

    /// Once the library is open: where it lies.
    pub(crate) fn know_modules(library: &Path) {
        let _ = MODULES[1].set(modules(library));
    }

    fn modules(library: &Path) -> Vec<Module> {
        struct Found<'a> {
            library: &'a [u8],
            modules: Vec<Module>,
        }

        extern "C" fn found(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
            // SAFETY: `data` is the `Found` that `modules` passes, and nobody else has it meanwhile.
            let found = unsafe { &mut *data.cast::<Found<'_>>() };
            // SAFETY: the loader passes a valid description, which lasts for this call.
            let info = unsafe { &*info };
            let name = if info.dlpi_name.is_null() {
                &b""[..]
            } else {
                // SAFETY: the loader's names end with a zero, and last for this call.
                unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes()
            };
            let name = if name == found.library {
                "library"
            } else if name.is_empty() {
                "host"
            } else {
                let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
                let known = NAMES.iter().find(|known| known.as_bytes() == last);
                known.copied().unwrap_or("another-library")
            };
            let (mut begin, mut end, mut code) = (usize::MAX, 0, Vec::new());
            for at in 0..usize::from(info.dlpi_phnum) {
                // SAFETY: the loader says that there are so many headers in a row, which stay mapped.
                let header = unsafe { &*info.dlpi_phdr.add(at) };
                if header.p_type != libc::PT_LOAD {
                    continue;
                }
                let base = usize::try_from(info.dlpi_addr).unwrap_or(0);
                let from = base.wrapping_add(usize::try_from(header.p_vaddr).unwrap_or(0));
                let to = from.saturating_add(usize::try_from(header.p_memsz).unwrap_or(0));
                begin = begin.min(from);
                end = end.max(to);
                if header.p_flags & libc::PF_X != 0 {
                    code.push((from, to));
                }
            }
            found.modules.push(Module {
                name: name.as_bytes(),
                base: usize::try_from(info.dlpi_addr).unwrap_or(0),
                begin,
                end,
                code,
            });
            0
        }

        let mut all = Found {
            library: library.as_os_str().as_bytes(),
            modules: Vec::new(),
        };
        // SAFETY: the callback has the signature that is asked for, and `all` outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(found), (&raw mut all).cast()) };
        all.modules
    }

    fn known_modules() -> &'static [Module] {
        let known = MODULES[1].get().or_else(|| MODULES[0].get());
        known.map_or(&[], Vec::as_slice)
    }

    extern "C" fn crashed(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // What would have ended the process ends it after this, in the same way.
        let mut before = BEFORE.get().into_iter().flatten();
        if let Some((_, action)) = before.find(|(known, _)| *known == signal) {
            // SAFETY: it is the action that was in force before, as the system gave it.
            unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
        }
        // SAFETY: the system passes a valid description of the signal.
        let is_sent = unsafe { (*info).si_code } <= 0;
        if !IS_TOLD.swap(true, Ordering::Relaxed) {
            let fault = if is_sent {
                None
            } else {
                // SAFETY: as above; one that a fault raised has an address.
                Some(unsafe { (*info).si_addr() }.addr())
            };
            // SAFETY: the system passes the interrupted state, as SA_SIGINFO asks for.
            let state = unsafe { &*context.cast::<libc::ucontext_t>() };
            let mut line = Line::new();
            tell(&mut line, signal, fault, state);
            line.write();
        }
        if is_sent {
            // Nothing raises it again when this returns.
            // SAFETY: it may be called in a handler.
            unsafe { libc::raise(signal) };
        }
    }

    fn tell(line: &mut Line, signal: c_int, fault: Option<usize>, state: &libc::ucontext_t) {
        line.text(b"\n");
        line.text(MARK.as_bytes());
        line.text(b"signal=");
        line.decimal(usize::try_from(signal).unwrap_or(0));
        if let Some(fault) = fault {
            line.named(b"fault", fault);
        }
        let registers = registers(state);
        for (name, value) in &registers {
            line.named(name.as_bytes(), *value);
        }
        line.text(b" returns=");
        let [_, (_, sp), ..] = registers;
        returns(line, sp, fault);
        line.text(b"\n");
    }

    /// The program counter and the stack pointer first.
    #[cfg(target_arch = "x86_64")]
    fn registers(state: &libc::ucontext_t) -> [(&'static str, usize); 17] {
        let of = |register: c_int| {
            let at = usize::try_from(register).unwrap_or(0);
            let value = state.uc_mcontext.gregs.get(at).copied().unwrap_or(0);
            usize::from_ne_bytes(value.to_ne_bytes())
        };
        [
            ("rip", of(libc::REG_RIP)),
            ("rsp", of(libc::REG_RSP)),
            ("rbp", of(libc::REG_RBP)),
            ("rax", of(libc::REG_RAX)),
            ("rbx", of(libc::REG_RBX)),
            ("rcx", of(libc::REG_RCX)),
            ("rdx", of(libc::REG_RDX)),
            ("rsi", of(libc::REG_RSI)),
            ("rdi", of(libc::REG_RDI)),
            ("r8", of(libc::REG_R8)),
            ("r9", of(libc::REG_R9)),
            ("r10", of(libc::REG_R10)),
            ("r11", of(libc::REG_R11)),
            ("r12", of(libc::REG_R12)),
            ("r13", of(libc::REG_R13)),
            ("r14", of(libc::REG_R14)),
            ("r15", of(libc::REG_R15)),
        ]
    }

    /// The program counter and the stack pointer first.
    #[cfg(target_arch = "aarch64")]
    fn registers(state: &libc::ucontext_t) -> [(&'static str, usize); 14] {
        let state = &state.uc_mcontext;
        let of = |at: usize| usize::try_from(state.regs[at]).unwrap_or(0);
        [
            ("pc", usize::try_from(state.pc).unwrap_or(0)),
            ("sp", usize::try_from(state.sp).unwrap_or(0)),
            ("x29", of(29)),
            ("x30", of(30)),
            ("x0", of(0)),
            ("x1", of(1)),
            ("x2", of(2)),
            ("x3", of(3)),
            ("x4", of(4)),
            ("x5", of(5)),
            ("x19", of(19)),
            ("x20", of(20)),
            ("x21", of(21)),
            ("x22", of(22)),
        ]
    }

    /// Where calls on the stack return to, the innermost first: what lies there, points into code, and comes after a
    /// call.
    fn returns(line: &mut Line, sp: usize, fault: Option<usize>) {
        let bottom = BOTTOM_OF_STACK.load(Ordering::Relaxed);
        let is_on_stack = sp < bottom && bottom - sp <= STACK_BYTES;
        if !is_on_stack {
            return line.text(b"unknown");
        }
        // A stack that is used up has no memory at its top.
        let is_overflow = fault.is_some_and(|fault| fault.abs_diff(sp) < MAX_STACK_BYTES);
        let from = if is_overflow {
            (sp.max(fault.unwrap_or(sp)) | (NULL_BYTES - 1)) + 1 + NULL_BYTES
        } else {
            sp
        };
        let from = from.next_multiple_of(size_of::<usize>());
        let to = bottom.min(from.saturating_add(MAX_STACK_BYTES));
        let mut left = MAX_RETURN_ADDRESSES;
        for at in (from..to).step_by(size_of::<usize>()) {
            // SAFETY: it lies between the stack pointer and a frame that lasts, all of which is mapped, and is aligned.
            let word = unsafe { ptr::read_volatile(at as *const usize) };
            if !follows_call(word) {
                continue;
            }
            if left < MAX_RETURN_ADDRESSES {
                line.text(b",");
            }
            line.place(word);
            left -= 1;
            if left == 0 {
                return;
            }
        }
    }

    /// Whether there is code at this address, after the instruction of a call.
    fn follows_call(address: usize) -> bool {
        /// The longest call of a processor with such.
        const LONGEST: usize = 8;
        let mut parts = known_modules().iter().flat_map(|module| &module.code);
        if !parts.any(|(from, to)| address >= from.saturating_add(LONGEST) && address < *to) {
            return false;
        }
        let mut before = [0_u8; LONGEST];
        // SAFETY: the bytes lie in a mapped part of a library that holds code, which is never unmapped.
        unsafe { ptr::copy_nonoverlapping((address - LONGEST) as *const u8, before.as_mut_ptr(), LONGEST) };
        is_call(before)
    }

    /// `call` with an offset of four bytes, or through a register or memory (Intel's manual, volume 2, "CALL").
    #[cfg(target_arch = "x86_64")]
    fn is_call([_, b7, b6, b5, b4, b3, b2, b1]: [u8; 8]) -> bool {
        let through = |modrm: u8| modrm & 0x38 == 0x10;
        let of_length = |opcode: u8, modrm: u8| opcode == 0xff && through(modrm);
        b5 == 0xe8
            || of_length(b2, b1)
            || of_length(b3, b2)
            || of_length(b4, b3)
            || of_length(b6, b5)
            || of_length(b7, b6)
    }

    /// `BL` or `BLR` (Arm's manual, "C6.2").
    #[cfg(target_arch = "aarch64")]
    fn is_call([.., b4, b3, b2, b1]: [u8; 8]) -> bool {
        let word = u32::from_le_bytes([b4, b3, b2, b1]);
        word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000
    }

    /// A line of bounded length that needs no memory.
    struct Line {
        bytes: [u8; MAX_LINE_BYTES],
        length: usize,
    }

    impl Line {
        fn new() -> Self {
            Self {
                bytes: [0; MAX_LINE_BYTES],
                length: 0,
            }
        }

        fn text(&mut self, text: &[u8]) {
            for byte in text {
                if let Some(place) = self.bytes.get_mut(self.length) {
                    *place = *byte;
                    self.length += 1;
                }
            }
        }

        fn decimal(&mut self, number: usize) {
            if number >= 10 {
                self.decimal(number / 10);
            }
            self.digit(number % 10);
        }

        fn hexadecimal(&mut self, number: usize) {
            if number >= 16 {
                self.hexadecimal(number / 16);
            }
            self.digit(number % 16);
        }

        fn digit(&mut self, digit: usize) {
            let digit = b"0123456789abcdef".get(digit).copied().unwrap_or(b'?');
            self.text(&[digit]);
        }

        fn named(&mut self, name: &[u8], value: usize) {
            self.text(b" ");
            self.text(name);
            self.text(b"=");
            self.place(value);
        }

        /// Where an address points, and nothing of a value that is none.
        fn place(&mut self, value: usize) {
            let bottom = BOTTOM_OF_STACK.load(Ordering::Relaxed);
            let mut modules = known_modules().iter();
            if let Some(module) = modules.find(|module| (module.begin..module.end).contains(&value)) {
                self.text(module.name);
                self.text(b"+0x");
                self.hexadecimal(value.wrapping_sub(module.base));
            } else if value < NULL_BYTES {
                self.text(b"near-null");
            } else if value < bottom.saturating_add(NULL_BYTES) && bottom.saturating_sub(value) <= STACK_BYTES
            {
                self.text(b"stack");
            } else {
                self.text(b"other");
            }
        }

        fn write(&self) {
            // SAFETY: the bytes are those of the line. One write of less than a pipe holds at once is never mixed with
            // another's; should it fail, nobody reads it.
            unsafe { libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.length) };
        }
    }
}
