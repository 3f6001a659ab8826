//! The trait that a backend implements. Its methods are those of django-phone-verify's base class, under
//! the same names; all but `send_sms` have the base behaviour until they are overridden.

use std::future::Future;

use phone_verify_plugin_abi::{ReportObj, abi_stable::std_types::RResult};

use crate::{Call, Context, Error, Host, Options, PhoneNumber, Receipt, Verdict};

/// Sends SMS, and may decide about the security code too.
///
/// Write the methods as `async fn`, and put [`macro@crate::backend`] on the impl block: it notes which
/// methods are overridden, so that the host calls into the library for these only.
///
/// One instance serves many calls at once, so methods take `&self`. The host gives a call up at its
/// deadline ([`Call::time_left`]) by dropping the future.
pub trait Backend: Sized + Send + Sync + 'static {
    /// The `OPTIONS` table of the settings.
    type Options: Options;

    /// Makes the backend from its options, at start. No network here; an error stops the start, so that
    /// nobody finds out at the first SMS.
    fn new(options: Self::Options, host: Host) -> Result<Self, Error>;

    /// Sends one SMS. `Ok` means that the provider took it, not that it arrived.
    ///
    /// The kind of the error decides what the host does next: see [`crate::ErrorKind`].
    fn send_sms(
        &self,
        number: &PhoneNumber,
        message: &str,
        call: &Call,
    ) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// Sends one text to 1 to 1000 numbers and reports the outcome of each; the failure of one never stops
    /// the rest. A number that is not reported has failed: with the error returned here, or as not reported.
    ///
    /// The base sends to each with [`Backend::send_sms`].
    fn send_bulk_sms(
        &self,
        numbers: &[PhoneNumber],
        message: &str,
        report: &Report,
        call: &Call,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async move {
            send_to_each(self, numbers, message, report, call).await;
            Ok(())
        }
    }

    /// Makes the code that is sent: 1 to 64 characters. The base makes `TOKEN_LENGTH` characters of the
    /// settings' alphabet, by default digits, from the operating system's CSPRNG.
    fn generate_security_code(&self, call: &Call) -> impl Future<Output = Result<String, Error>> + Send {
        async { call.base().generate_security_code() }
    }

    /// Puts the code into words. `None`, the base: the `MESSAGE` template is used.
    fn generate_message(
        &self,
        security_code: &str,
        context: &Context,
        call: &Call,
    ) -> impl Future<Output = Result<Option<String>, Error>> + Send {
        let _ = (security_code, context, call);
        async { Ok(None) }
    }

    /// Judges a code that came back. The host has found the session and counted the attempt before it
    /// asks, and enforces single use after: an override cannot lift these. The base compares with the code
    /// that was sent, in constant time, and checks expiry and single use.
    ///
    /// `security_code` is what the user meant: the digits of any script are those of ASCII, full-width letters are
    /// plain ones, and spaces, dashes, punctuation and marks that cannot be seen are gone. Upper and lower case are as
    /// they were typed. The base takes them for one, and reads the code that was sent in the same way.
    fn validate_security_code(
        &self,
        security_code: &str,
        phone_number: &PhoneNumber,
        session_token: &str,
        call: &Call,
    ) -> impl Future<Output = Result<Verdict, Error>> + Send {
        let _ = (phone_number, session_token);
        async move { call.base().validate_security_code(security_code).await }
    }
}

/// The base behaviour of [`Backend::send_bulk_sms`], for an override to fall back on.
pub async fn send_to_each<B: Backend>(
    backend: &B,
    numbers: &[PhoneNumber],
    message: &str,
    report: &Report,
    call: &Call,
) {
    for (index, number) in numbers.iter().enumerate() {
        report.settle(index, backend.send_sms(number, message, call).await);
    }
}

/// Where a bulk send reports what became of each number. A report is kept at once: what was settled stays
/// settled whatever happens to the rest of the call.
pub struct Report(ReportObj);

impl Report {
    pub(crate) fn new(raw: ReportObj) -> Self {
        Self(raw)
    }

    /// The outcome for `numbers[index]`. Only the first one for an index counts.
    pub fn settle(&self, index: usize, outcome: Result<Receipt, Error>) {
        let outcome = match outcome {
            Ok(receipt) => RResult::ROk(receipt.into_raw()),
            Err(error) => RResult::RErr(error.into_raw()),
        };
        self.0.settle(index as u64, outcome);
    }
}
