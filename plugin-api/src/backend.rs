//! The trait that a backend implements. The methods have the names and the meaning of those of django-phone-verify's
//! base class. Each one but `send_sms` has a default: the behaviour of that base class.

use std::future::Future;

use phone_verify_plugin_abi::{ReportObj, abi_stable::std_types::RResult};

use crate::{
    Call, Context, Error, ErrorKind, Host, Money, Options, PhoneNumber, Receipt, Received, Verdict, Webhook,
};

/// An SMS backend. It sends messages, and may also decide about security codes.
///
/// Write the methods as `async fn`, and put [`macro@crate::backend`] on the impl block. The attribute records in the
/// manifest which methods are overridden; the host calls these only.
///
/// One instance serves many calls at once, so the methods take `&self`. The host cancels a call at its deadline
/// ([`Call::time_left`]) by dropping the future, so every `.await` is a point where the call may end.
pub trait Backend: Sized + Send + Sync + 'static {
    /// The type of the `OPTIONS` table in the settings.
    type Options: Options;

    /// Constructs the backend from its options when the host starts or reloads. Make no request here: the host must
    /// start while the provider is down.
    ///
    /// # Errors
    /// An error stops the start, so that a wrong option is found then and not with the first SMS.
    fn new(options: Self::Options, host: Host) -> Result<Self, Error>;

    /// Sends one SMS. `Ok` means that the provider accepted it, not that it was delivered.
    ///
    /// # Errors
    /// The kind of the error decides what the host does next: see [`crate::ErrorKind`].
    fn send_sms(
        &self,
        number: &PhoneNumber,
        message: &str,
        call: &Call,
    ) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// Sends one text to 1 to 1000 numbers, and reports the outcome of each to `report`. The failure of one number must
    /// not stop the others. A number without a report counts as failed: with the error returned here, or else as not
    /// reported.
    ///
    /// The default sends to each number with [`Backend::send_sms`].
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

    /// Generates the security code, 1 to 64 characters. The default generates `TOKEN_LENGTH` characters of the alphabet
    /// in the settings (digits, unless set otherwise) with the operating system's CSPRNG.
    fn generate_security_code(&self, call: &Call) -> impl Future<Output = Result<String, Error>> + Send {
        async { call.base().generate_security_code() }
    }

    /// Composes the text of the SMS. `None`, the default: the host uses the `MESSAGE` template.
    fn generate_message(
        &self,
        security_code: &str,
        context: &Context,
        call: &Call,
    ) -> impl Future<Output = Result<Option<String>, Error>> + Send {
        let _ = (security_code, context, call);
        async { Ok(None) }
    }

    /// Judges a code that a user submitted. Before this call the host has found the session and counted the attempt;
    /// afterwards it enforces single use. An override cannot disable any of these. The default compares with the code
    /// that was sent, in constant time, and checks expiry and single use.
    ///
    /// `security_code` is normalised: digits of any script are ASCII digits, full-width letters are plain letters, and
    /// spaces, dashes, punctuation and invisible characters are removed. Upper and lower case are kept as typed. The
    /// default ignores case, and normalises the code that was sent in the same way.
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

    /// Reads a request that the provider made to `/v1/receipts/<name>`, to report what became of messages. Check its
    /// signature first: the address is open to the Internet. A request without the right one is answered with
    /// [`Received::forbidden`]. What cannot be read is answered with 400; what reports nothing of interest with 200 and
    /// no report, because a provider repeats what is not answered with 2xx.
    ///
    /// An override needs `webhook = "signed"` or `webhook = "secret"` in [`macro@crate::backend`]: whether every request
    /// carries a signature that this method checks, or the address has to hold a secret, which the host checks.
    fn receive(
        &self,
        request: &Webhook,
        call: &Call,
    ) -> impl Future<Output = Result<Received, Error>> + Send {
        let _ = (request, call);
        async { Err(not_offered("receive")) }
    }

    /// Tells the provider whether the code of a message came back. Some providers choose their routes by that.
    fn feedback(
        &self,
        message_id: &str,
        converted: bool,
        call: &Call,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (message_id, converted, call);
        async { Err(not_offered("feedback")) }
    }

    /// What is left of the account.
    fn balance(&self, call: &Call) -> impl Future<Output = Result<Money, Error>> + Send {
        let _ = call;
        async { Err(not_offered("balance")) }
    }

    /// Ends a verification at the provider, for a backend with `owns_code`. `message_id` is that of the message that
    /// began it.
    fn cancel(&self, message_id: &str, call: &Call) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (message_id, call);
        async { Err(not_offered("cancel")) }
    }

    /// Answers a request that is not part of this trait yet, under an id such as `phone-verify.stream/draft-1`. `None`:
    /// the id is not known.
    fn extension(
        &self,
        id: &str,
        body: &[u8],
        call: &Call,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send {
        let _ = (id, body, call);
        async { Ok(None) }
    }
}

fn not_offered(method: &str) -> Error {
    let message = format!("this backend does not offer {method}");
    Error::new(ErrorKind::Unsupported, "unsupported", message)
}

/// The default implementation of [`Backend::send_bulk_sms`], for an override that falls back on it.
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

/// Takes the outcomes of a bulk send, one per number. The host keeps each outcome at once: it stays valid if the rest
/// of the call fails or is cancelled.
pub struct Report(ReportObj);

impl Report {
    pub(crate) fn new(raw: ReportObj) -> Self {
        Self(raw)
    }

    /// Reports the outcome for `numbers[index]`. The host ignores a second outcome for the same index.
    pub fn settle(&self, index: usize, outcome: Result<Receipt, Error>) {
        let outcome = match outcome {
            Ok(receipt) => RResult::ROk(receipt.into_raw()),
            Err(error) => RResult::RErr(error.into_raw()),
        };
        self.0.settle(index as u64, outcome);
    }
}
