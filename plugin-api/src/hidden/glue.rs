//! Connects the ABI to the author's trait: a wrapper around every backend that converts the types and catches panics.

use std::{future::Future, mem::ManuallyDrop};

use async_ffi::BorrowingFfiFuture;
use phone_verify_plugin_abi::{
    BackendObj, BackendV1, BackendV1_TO, CallObj, HostObj, RawBalance, RawBulk, RawCancel, RawCheck,
    RawError, RawExtension, RawFeedback, RawHttpRequest, RawMessageRequest, RawReceipt, RawReceived, RawSms,
    ReportObj, Root, RootRef,
    abi_stable::{
        library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult},
        prefix_type::PrefixTypeTrait,
        sabi_trait::TD_Opaque,
        std_types::{ROption, RResult, RStr, RString, RVec},
    },
    async_ffi, overrides,
};

use super::{
    Exported,
    guard::{Guarded, Poison, catch, drop_guarded, install_hook},
};
use crate::{
    Call, Context, Error, ErrorKind, Host, LogLevel, Money, Options, PhoneNumber, Received, Report, Webhook,
    options::OptionReader,
};

pub type CreateResult = RResult<BackendObj, RawError>;

/// Constructs a backend for the host.
pub fn create<B: Exported>(host: HostObj, options: RStr<'_>) -> CreateResult {
    install_hook();
    let host = Host::new(host);
    let made = catch(|| {
        let options = B::Options::read(OptionReader::new(options.as_str(), B::Options::FIELDS))?;
        B::new(options, host.clone())
    });
    match made.and_then(|made| made) {
        Ok(backend) => {
            let guarded = Instance {
                backend: ManuallyDrop::new(backend),
                host,
                poison: Poison::default(),
            };
            RResult::ROk(BackendV1_TO::from_value(guarded, TD_Opaque))
        }
        Err(error) => RResult::RErr(error.into_raw()),
    }
}

/// The error of `create` for a name that the library does not export.
pub fn unknown_backend(name: RStr<'_>) -> CreateResult {
    let message = format!("this library has no backend named {name}");
    RResult::RErr(Error::new(ErrorKind::Config, "unknown_backend", message).into_raw())
}

/// The manifest in the form in which the root module returns it.
pub fn manifest_text(manifest: &[u8]) -> RString {
    RString::from(String::from_utf8_lossy(manifest).into_owned())
}

/// The root module of a library.
pub fn root(
    manifest_json: extern "C" fn() -> RString,
    create: extern "C" fn(RStr<'_>, HostObj, RStr<'_>) -> CreateResult,
) -> RootRef {
    Root {
        manifest_json,
        create,
    }
    .leak_into_prefix()
}

/// The function that the header points to. It catches a panic in `root`.
pub fn root_module(root: fn() -> RootRef) -> RootModuleResult {
    __call_root_module_loader(root)
}

/// The exported header. The host finds the root module through it, and compares the layout of the types.
pub const fn header(module: extern "C" fn() -> RootModuleResult) -> LibHeader {
    // SAFETY: the export macro is the only caller, and its `module` is `root_module`, which makes a `RootRef`.
    unsafe { LibHeader::from_constructor::<RootRef>(module, CheckTypeLayout::Yes) }
}

/// A backend in the form that the ABI calls. After a panic it refuses further calls, because the backend's state may be
/// inconsistent.
struct Instance<B> {
    backend: ManuallyDrop<B>,
    host: Host,
    poison: Poison,
}

impl<B: Exported> Instance<B> {
    /// Constant when the library is compiled, so that methods that are not overridden add no code to it.
    const fn overrides(bit: u64) -> bool {
        B::INFO.overrides & bit != 0
    }

    /// Wraps the host's side of a call for the author's code.
    fn call(&self, call: CallObj) -> Call {
        Call::new(call, self.host.clone())
    }

    /// Runs one call of the author's code and converts its outcome for the ABI.
    fn run<'a, T, R>(
        &'a self,
        code: impl Future<Output = Result<T, Error>> + Send + 'a,
        into_raw: fn(T) -> R,
    ) -> BorrowingFfiFuture<'a, RResult<R, RawError>>
    where
        T: Send + 'a,
        R: 'a,
    {
        let code = Guarded::new(code, &self.poison);
        BorrowingFfiFuture::new(async move {
            if let Err(error) = self.poison.check() {
                return RResult::RErr(error.into_raw());
            }
            code.await.map(into_raw).map_err(Error::into_raw).into()
        })
    }
}

/// The answer of a method that is not overridden. The host does not call these, as the manifest says so.
fn not_overridden<'a, R: 'a>() -> BorrowingFfiFuture<'a, RResult<R, RawError>> {
    BorrowingFfiFuture::new(async {
        let sentence = "the backend leaves this to the base: the host must not call it";
        RResult::RErr(Error::new(ErrorKind::Unsupported, "not_overridden", sentence).into_raw())
    })
}

impl<B: Exported> BackendV1 for Instance<B> {
    fn send_sms(&self, sms: RawSms, call: CallObj) -> BorrowingFfiFuture<'_, RResult<RawReceipt, RawError>> {
        let call = self.call(call);
        let code = async move {
            let number = PhoneNumber::from_raw(sms.number);
            self.backend.send_sms(&number, &sms.message, &call).await
        };
        self.run(code, crate::Receipt::into_raw)
    }

    fn send_bulk_sms(
        &self,
        bulk: RawBulk,
        report: ReportObj,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<(), RawError>> {
        if !Self::overrides(overrides::SEND_BULK_SMS) {
            return not_overridden();
        }
        let call = self.call(call);
        let code = async move {
            let numbers: Vec<_> = bulk.numbers.into_iter().map(PhoneNumber::from_raw).collect();
            let report = Report::new(report);
            self.backend
                .send_bulk_sms(&numbers, &bulk.message, &report, &call)
                .await
        };
        self.run(code, |()| ())
    }

    fn generate_security_code(&self, call: CallObj) -> BorrowingFfiFuture<'_, RResult<RString, RawError>> {
        if !Self::overrides(overrides::GENERATE_SECURITY_CODE) {
            return not_overridden();
        }
        let call = self.call(call);
        let code = async move { self.backend.generate_security_code(&call).await };
        self.run(code, RString::from)
    }

    fn generate_message(
        &self,
        request: RawMessageRequest,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<ROption<RString>, RawError>> {
        if !Self::overrides(overrides::GENERATE_MESSAGE) {
            return not_overridden();
        }
        let call = self.call(call);
        let code = async move {
            let context = Context::from_json(&request.context_json);
            self.backend
                .generate_message(&request.security_code, &context, &call)
                .await
        };
        self.run(code, |message: Option<String>| message.map(RString::from).into())
    }

    fn validate_security_code(
        &self,
        check: RawCheck,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<u16, RawError>> {
        if !Self::overrides(overrides::VALIDATE_SECURITY_CODE) {
            return not_overridden();
        }
        let call = self.call(call);
        let code = async move {
            let number = PhoneNumber::from_raw(check.phone_number);
            self.backend
                .validate_security_code(&check.security_code, &number, &check.session_token, &call)
                .await
        };
        self.run(code, crate::Verdict::to_raw)
    }

    fn receive(
        &self,
        request: RawHttpRequest,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<RawReceived, RawError>> {
        if !Self::overrides(overrides::RECEIVE) {
            return not_overridden();
        }
        let call = self.call(call);
        let code = async move {
            let request = Webhook(request);
            self.backend.receive(&request, &call).await
        };
        self.run(code, Received::into_raw)
    }

    fn feedback(
        &self,
        feedback: RawFeedback,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<(), RawError>> {
        if !Self::overrides(overrides::FEEDBACK) {
            return not_overridden();
        }
        let call = self.call(call);
        let code = async move {
            let RawFeedback {
                message_id,
                converted,
                ..
            } = feedback;
            self.backend.feedback(&message_id, converted, &call).await
        };
        self.run(code, |()| ())
    }

    fn balance(&self, call: CallObj) -> BorrowingFfiFuture<'_, RResult<RawBalance, RawError>> {
        if !Self::overrides(overrides::BALANCE) {
            return not_overridden();
        }
        let call = self.call(call);
        let code = async move { self.backend.balance(&call).await };
        self.run(code, Money::into_balance)
    }

    fn cancel(&self, cancel: RawCancel, call: CallObj) -> BorrowingFfiFuture<'_, RResult<(), RawError>> {
        if !Self::overrides(overrides::CANCEL) {
            return not_overridden();
        }
        let call = self.call(call);
        let code = async move { self.backend.cancel(&cancel.message_id, &call).await };
        self.run(code, |()| ())
    }

    fn extension(
        &self,
        request: RawExtension,
        call: CallObj,
    ) -> BorrowingFfiFuture<'_, RResult<ROption<RVec<u8>>, RawError>> {
        if !Self::overrides(overrides::EXTENSION) {
            return BorrowingFfiFuture::new(async { RResult::ROk(ROption::RNone) });
        }
        let call = self.call(call);
        let code = async move { self.backend.extension(&request.id, &request.body, &call).await };
        self.run(code, |answer: Option<Vec<u8>>| answer.map(RVec::from).into())
    }
}

impl<B> Drop for Instance<B> {
    fn drop(&mut self) {
        if let Err(error) = drop_guarded(&mut self.backend) {
            self.host.log(LogLevel::Error, error.message());
        }
    }
}

#[cfg(test)]
mod tests {
    use phone_verify_plugin_abi::abi_stable::library::ROOT_MODULE_LOADER_NAME;

    #[test]
    fn the_export_macro_writes_the_name_that_a_host_looks_for() {
        assert_eq!(ROOT_MODULE_LOADER_NAME, "_1as_0lib_1header_0root_bmodule_bloader");
        assert!(include_str!("../lib.rs").contains(&format!("export_name = \"{ROOT_MODULE_LOADER_NAME}\"")));
    }
}
