//! What a file is for: what it is called, how large it may be, and who may read it.

/// The kinds of files that this program opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A backend library.
    Library,
    /// The same, whoever can have written it.
    AnyLibrary,
    /// The signature of a library, which speaks for itself.
    Signature,
    /// The folder of private copies, and the copies.
    PrivateCopies,
    /// What is kept of crashes.
    Crashes,
    /// `plugins.lock`.
    LockFile,
    /// The database, and what lies beside it.
    Database,
    /// A copy of it.
    Backup,
    /// The server's keys.
    KeyFile,
    /// The private key of a client certificate.
    ClientKey,
    /// A client certificate alone.
    ClientCertificate,
    /// The settings file.
    Settings,
    /// What `${file:PATH}` stands for.
    Reference,
    /// The same, or the settings file, where it holds a secret.
    Secret,
    /// Numbers to send to.
    Numbers,
    /// The secret key of an author, or its password.
    SigningKey,
    /// What a provider answers, for the conformance kit.
    Tape,
    /// Of a backend, for the conformance kit.
    Options,
}

/// A library is half a megabyte; this leaves room for those that carry a runtime, and bounds the memory.
const MAX_LIBRARY_BYTES: u64 = 64 << 20;
/// Of files that people write.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Some four million numbers.
const MAX_NUMBERS_BYTES: u64 = 64 << 20;

impl Subject {
    /// In a sentence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Library | Self::AnyLibrary => "a library",
            Self::Signature => "a signature",
            Self::PrivateCopies => "the folder for private copies",
            Self::Crashes => "the folder for crashes",
            Self::LockFile => "the lock file",
            Self::Database => "the database",
            Self::Backup => "the backup",
            Self::KeyFile => "the key file",
            Self::ClientKey => "the private key",
            Self::ClientCertificate => "the client certificate",
            Self::Settings => "the settings file",
            Self::Reference => "a file that the settings refer to",
            Self::Secret => "the file",
            Self::Numbers => "the file of numbers",
            Self::SigningKey => "the secret key",
            Self::Tape => "the tape",
            Self::Options => "the file of options",
        }
    }

    /// Whether nobody else may write it. What somebody names for one command only is theirs to choose.
    #[cfg(unix)]
    pub(super) fn is_judged(self) -> bool {
        !matches!(
            self,
            Self::AnyLibrary
                | Self::Signature
                | Self::SigningKey
                | Self::Numbers
                | Self::Tape
                | Self::Options
        )
    }

    /// Whether nobody else may read it.
    #[cfg(unix)]
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::KeyFile | Self::ClientKey | Self::Secret)
    }

    /// How much of it is read.
    pub(super) fn max_bytes(self) -> u64 {
        match self {
            Self::Library | Self::AnyLibrary | Self::PrivateCopies => MAX_LIBRARY_BYTES,
            Self::Numbers => MAX_NUMBERS_BYTES,
            _ => MAX_TEXT_BYTES,
        }
    }
}
