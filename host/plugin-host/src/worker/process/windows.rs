//! A worker's process on Windows: in a job object of its own, with a restricted token, and with no handle but its own
//! three.
//!
//! The job ends the process when its last handle is closed, which the system does when this process ends, however it
//! ends; it also bounds memory and forbids further processes. The token has no privileges, no administrators' group,
//! and the low integrity level, at which nothing of this user can be written. What such a process can still do, read
//! files that this user may read and reach a network, is told as what this system lacks (`child/sandbox`). The
//! documents that this is built on are named in `host/docs/windows.md`.
//!
//! Invariant: the process runs its first instruction only once it is in its job.
#![allow(unsafe_code)]

use std::{
    ffi::{OsStr, OsString, c_void},
    io::{self, PipeReader, PipeWriter},
    iter::once,
    os::windows::{
        ffi::OsStrExt,
        io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle},
        process::ExitStatusExt,
    },
    process::ExitStatus,
    ptr::{null, null_mut},
};

use windows_sys::Win32::{
    Foundation::{HANDLE, HANDLE_FLAG_INHERIT, SetHandleInformation, WAIT_OBJECT_0},
    Security::{
        CreateRestrictedToken, CreateWellKnownSid, DISABLE_MAX_PRIVILEGE, PSID, SECURITY_MAX_SID_SIZE,
        SID_AND_ATTRIBUTES, SetTokenInformation, TOKEN_ADJUST_DEFAULT, TOKEN_ASSIGN_PRIMARY, TOKEN_DUPLICATE,
        TOKEN_MANDATORY_LABEL, TOKEN_QUERY, TokenIntegrityLevel, WELL_KNOWN_SID_TYPE,
        WinBuiltinAdministratorsSid, WinLowLabelSid,
    },
    System::{
        Diagnostics::Debug::{
            SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SEM_NOOPENFILEERRORBOX, SetErrorMode,
        },
        JobObjects::{
            AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
            JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
            JOB_OBJECT_LIMIT_PROCESS_MEMORY, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
            JobObjectExtendedLimitInformation, SetInformationJobObject, TerminateJobObject,
        },
        SystemServices::SE_GROUP_INTEGRITY,
        Threading::{
            CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW, CreateProcessW,
            DETACHED_PROCESS, DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, GetCurrentProcess,
            GetExitCodeProcess, InitializeProcThreadAttributeList, LPPROC_THREAD_ATTRIBUTE_LIST,
            OpenProcessToken, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROCESS_INFORMATION, ResumeThread,
            STARTF_USESTDHANDLES, STARTUPINFOEXW, TerminateProcess, UpdateProcThreadAttribute,
            WaitForSingleObject,
        },
    },
};

use super::super::{
    COMMAND,
    channel::{Channel, Printed},
    child::MEMORY_BYTES,
};
use crate::own_process::image::Program;

/// How long a process whose channel is closed may take to be gone, and one that is killed.
const LAST_BREATH_MS: u32 = 50;
const KILLED_WITHIN_MS: u32 = 5000;
/// What a process ends with that is killed here; why is known here.
const KILLED: u32 = 1;

/// A started process.
pub(in super::super) struct Process {
    process: OwnedHandle,
    job: OwnedHandle,
    id: u32,
    lacking: Vec<String>,
}

impl Process {
    /// Starts it. Returns the channel to it, and what it prints.
    pub(in super::super) fn start(
        program: &Program,
        is_confined: bool,
    ) -> io::Result<(Self, Channel, Printed)> {
        let (from_host, to_worker) = io::pipe()?;
        let (from_worker, to_host) = io::pipe()?;
        let (printed, prints) = io::pipe()?;
        let handles = [
            from_host.as_raw_handle(),
            to_host.as_raw_handle(),
            prints.as_raw_handle(),
        ];
        for handle in handles {
            // SAFETY: the handle is open, and `handles` does not outlive the pipes that own them.
            checked(unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) })?;
        }
        let job = job(is_confined)?;
        let mut lacking = Vec::new();
        let token = if is_confined {
            Some(restricted_token(&mut lacking)?)
        } else {
            None
        };
        let (process, thread, id) = create(program, handles, token.as_ref())?;
        let started = Self {
            process,
            job,
            id,
            lacking,
        };
        if let Err(error) = started.run(&thread) {
            // SAFETY: the handle is that of the process that was just created, which has run nothing yet.
            unsafe { TerminateProcess(raw(&started.process), KILLED) };
            return Err(error);
        }
        // The other ends are the worker's alone: when it is gone, reading ends.
        drop((from_host, to_host, prints));
        let channel = Channel::new(from_worker, to_worker)?;
        let printed = channel.printed(printed)?;
        Ok((started, channel, printed))
    }

    /// Puts it into its job, and lets it begin.
    fn run(&self, thread: &OwnedHandle) -> io::Result<()> {
        // SAFETY: both handles are open, and made by this process with all rights.
        checked(unsafe { AssignProcessToJobObject(raw(&self.job), raw(&self.process)) })?;
        // SAFETY: the handle is that of the suspended thread.
        if unsafe { ResumeThread(raw(thread)) } == u32::MAX {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    pub(in super::super) fn id(&self) -> u32 {
        self.id
    }

    /// What of its confinement the system refused.
    pub(in super::super) fn lacking(&self) -> &[String] {
        &self.lacking
    }

    /// How it ended, if it does within a moment by itself.
    pub(in super::super) fn last_breath(&mut self) -> Option<ExitStatus> {
        self.ended_within(LAST_BREATH_MS)
    }

    /// Ends it, and how it ended.
    pub(in super::super) fn kill(&mut self) -> Option<ExitStatus> {
        self.kill_group();
        self.ended_within(KILLED_WITHIN_MS)
    }

    /// Ends what it may have left behind.
    pub(in super::super) fn kill_group(&self) {
        // SAFETY: the handle is open. That all have ended already is no error.
        unsafe { TerminateJobObject(raw(&self.job), KILLED) };
    }

    fn ended_within(&self, milliseconds: u32) -> Option<ExitStatus> {
        let process = raw(&self.process);
        // SAFETY: the handle is open.
        if unsafe { WaitForSingleObject(process, milliseconds) } != WAIT_OBJECT_0 {
            return None;
        }
        let mut code = 0;
        // SAFETY: the handle is open, and `code` outlives the call.
        checked(unsafe { GetExitCodeProcess(process, &raw mut code) }).ok()?;
        Some(ExitStatus::from_raw(code))
    }
}

/// A job that ends with this process. One that confines bounds memory and further processes, too.
fn job(is_confined: bool) -> io::Result<OwnedHandle> {
    // SAFETY: no security attributes, and no name.
    let job = owned(unsafe { CreateJobObjectW(null(), null()) })?;
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags =
        JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
    if is_confined {
        limits.BasicLimitInformation.LimitFlags |=
            JOB_OBJECT_LIMIT_ACTIVE_PROCESS | JOB_OBJECT_LIMIT_PROCESS_MEMORY;
        limits.BasicLimitInformation.ActiveProcessLimit = 1;
        limits.ProcessMemoryLimit = usize::try_from(MEMORY_BYTES).unwrap_or(usize::MAX);
    }
    // SAFETY: the structure is the one of this class, and outlives the call.
    checked(unsafe {
        SetInformationJobObject(
            raw(&job),
            JobObjectExtendedLimitInformation,
            (&raw const limits).cast(),
            size_of_u32::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>(),
        )
    })?;
    Ok(job)
}

/// This process's token without privileges and administrators' rights, at the low integrity level.
fn restricted_token(lacking: &mut Vec<String>) -> io::Result<OwnedHandle> {
    let mut own = null_mut();
    let access = TOKEN_DUPLICATE | TOKEN_ASSIGN_PRIMARY | TOKEN_QUERY | TOKEN_ADJUST_DEFAULT;
    // SAFETY: the pseudo handle of this process is always open, and `own` outlives the call.
    checked(unsafe { OpenProcessToken(GetCurrentProcess(), access, &raw mut own) })?;
    let own = owned(own)?;
    let administrators = Sid::new(WinBuiltinAdministratorsSid)?;
    let disabled = administrators.with(0);
    let mut restricted = null_mut();
    // SAFETY: one SID to disable, which outlives the call; no lists else, which null and 0 say.
    checked(unsafe {
        CreateRestrictedToken(
            raw(&own),
            DISABLE_MAX_PRIVILEGE,
            1,
            &raw const disabled,
            0,
            null(),
            0,
            null(),
            &raw mut restricted,
        )
    })?;
    let restricted = owned(restricted)?;
    let low = Sid::new(WinLowLabelSid)?;
    let label = TOKEN_MANDATORY_LABEL {
        Label: low.with(SE_GROUP_INTEGRITY.unsigned_abs()),
    };
    // SAFETY: the structure is the one of this class; it and the SID that it points to outlive the call.
    let set = checked(unsafe {
        SetTokenInformation(
            raw(&restricted),
            TokenIntegrityLevel,
            (&raw const label).cast(),
            size_of_u32::<TOKEN_MANDATORY_LABEL>(),
        )
    });
    if set.is_err() {
        lacking.push("a low integrity level".to_owned());
    }
    Ok(restricted)
}

/// A well-known group, in memory that the system may point into.
struct Sid(Box<[u32; SECURITY_MAX_SID_SIZE as usize / 4 + 1]>);

impl Sid {
    fn new(which: WELL_KNOWN_SID_TYPE) -> io::Result<Self> {
        let mut sid = Self(Box::new([0; SECURITY_MAX_SID_SIZE as usize / 4 + 1]));
        let mut size = SECURITY_MAX_SID_SIZE;
        // SAFETY: the buffer has at least `size` bytes, aligned as a SID is; there is no domain.
        checked(unsafe {
            CreateWellKnownSid(
                which,
                null_mut(),
                sid.0.as_mut_ptr().cast::<c_void>(),
                &raw mut size,
            )
        })?;
        Ok(sid)
    }

    fn with(&self, attributes: u32) -> SID_AND_ATTRIBUTES {
        SID_AND_ATTRIBUTES {
            Sid: self.0.as_ptr().cast_mut().cast::<c_void>() as PSID,
            Attributes: attributes,
        }
    }
}

/// The process and its first thread, which does not run yet, and its id. `handles`: to read from, to write to, to print
/// to.
fn create(
    program: &Program,
    handles: [RawHandle; 3],
    token: Option<&OwnedHandle>,
) -> io::Result<(OwnedHandle, OwnedHandle, u32)> {
    let path = wide(program.path().as_os_str());
    let [from_host, to_host, prints] = handles;
    let mut line = OsString::from("\"");
    line.push(program.path());
    line.push(format!("\" {COMMAND} {} {}", from_host.addr(), to_host.addr()));
    let mut line = wide(&line);
    let (environment, folder) = match token {
        Some(_) => (Some(environment()), windows_folder().map(|folder| wide(&folder))),
        None => (None, None),
    };
    let environment = environment.as_ref().map_or(null(), |block| block.as_ptr());
    let folder = folder.as_ref().map_or(null(), |folder| folder.as_ptr());
    let attributes = Attributes::only(&handles)?;
    let mut startup = STARTUPINFOEXW::default();
    startup.StartupInfo.cb = size_of_u32::<STARTUPINFOEXW>();
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdOutput = prints;
    startup.StartupInfo.hStdError = prints;
    startup.lpAttributeList = attributes.list();
    // A console of its own would bring a second process; that of the daemon would bring Ctrl-C.
    let flags =
        CREATE_SUSPENDED | CREATE_UNICODE_ENVIRONMENT | DETACHED_PROCESS | EXTENDED_STARTUPINFO_PRESENT;
    let mut created = PROCESS_INFORMATION::default();
    let startup_info = (&raw const startup).cast();
    // SAFETY: the texts end in nul, the environment in two; they, the list and the handles in it outlive the call. The
    // command line is writable. The cast is what the flag EXTENDED_STARTUPINFO_PRESENT asks for.
    checked(unsafe {
        match token {
            Some(token) => CreateProcessAsUserW(
                raw(token),
                path.as_ptr(),
                line.as_mut_ptr(),
                null(),
                null(),
                1,
                flags,
                environment.cast(),
                folder,
                startup_info,
                &raw mut created,
            ),
            None => CreateProcessW(
                path.as_ptr(),
                line.as_mut_ptr(),
                null(),
                null(),
                1,
                flags,
                environment.cast(),
                folder,
                startup_info,
                &raw mut created,
            ),
        }
    })?;
    Ok((
        owned(created.hProcess)?,
        owned(created.hThread)?,
        created.dwProcessId,
    ))
}

/// Which handles a process inherits: these, and no other that happens to be inheritable.
struct Attributes {
    /// Aligned as pointers are.
    memory: Vec<usize>,
}

impl Attributes {
    fn only(handles: &[RawHandle; 3]) -> io::Result<Self> {
        let mut bytes = 0;
        // SAFETY: without a list it only says how large one is, by an error that is expected.
        unsafe { InitializeProcThreadAttributeList(null_mut(), 1, 0, &raw mut bytes) };
        let mut memory = vec![0; bytes.div_ceil(size_of::<usize>())];
        let list: LPPROC_THREAD_ATTRIBUTE_LIST = memory.as_mut_ptr().cast();
        // SAFETY: the memory is as large as was asked for.
        checked(unsafe { InitializeProcThreadAttributeList(list, 1, 0, &raw mut bytes) })?;
        let attributes = Self { memory };
        // SAFETY: the list is initialised; the handles stay where they are until the process is created, as its caller
        // holds them.
        checked(unsafe {
            UpdateProcThreadAttribute(
                attributes.list(),
                0,
                PROC_THREAD_ATTRIBUTE_HANDLE_LIST as usize,
                handles.as_ptr().cast(),
                size_of_val(handles),
                null_mut(),
                null(),
            )
        })?;
        Ok(attributes)
    }

    fn list(&self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.memory.as_ptr().cast_mut().cast()
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the list was initialised.
        unsafe { DeleteProcThreadAttributeList(self.list()) };
    }
}

/// What some of the system's libraries cannot do without, and nothing else of the daemon's: its secrets may be in it.
fn environment() -> Vec<u16> {
    // In the order that the system wants. The allocator would reserve more addresses at once than it needs.
    let mut block = wide(OsStr::new("MIMALLOC_ARENA_RESERVE=0"));
    if let Some(folder) = windows_folder() {
        let mut variable = OsString::from("SystemRoot=");
        variable.push(folder);
        block.extend(wide(&variable));
    }
    block.push(0);
    block
}

fn windows_folder() -> Option<OsString> {
    std::env::var_os("SystemRoot").filter(|folder| !folder.is_empty())
}

/// The ends of the pipes, as the host named them: to read from, and to write to.
pub(in super::super) fn inherited() -> io::Result<(PipeReader, PipeWriter)> {
    // Nobody is there to close a window that says that a library crashed, or that a file is missing.
    // SAFETY: any set of flags is all right.
    unsafe {
        SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
    }
    let mut named = std::env::args().skip(2).map(|argument| {
        let address = argument.parse::<usize>().ok().filter(|address| *address != 0);
        address.ok_or_else(|| io::Error::other("its arguments are not the handles of its pipes"))
    });
    let mut next = || {
        named
            .next()
            .unwrap_or_else(|| Err(io::Error::other("it was not given the handles of its pipes")))
    };
    let [from, to] = [next()?, next()?];
    // SAFETY: the host made these two handles inheritable for this process alone, and nothing else here knows of them.
    // Should a person have run this command, the numbers lead to no open handle or to one that nothing else uses yet.
    let [from, to] = [from, to].map(|address| unsafe { OwnedHandle::from_raw_handle(address as RawHandle) });
    Ok((from.into(), to.into()))
}

fn wide(text: &OsStr) -> Vec<u16> {
    text.encode_wide().chain(once(0)).collect()
}

fn raw(handle: &OwnedHandle) -> HANDLE {
    handle.as_raw_handle()
}

/// Takes a handle over that the system has just made.
fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just made it for this caller, and nobody else has it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn checked(succeeded: i32) -> io::Result<()> {
    if succeeded == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn size_of_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}
