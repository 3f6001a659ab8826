//! Codes that go through a real library, which is linked in: an author's code, behind the ABI, as a member of the
//! fleet.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use phone_verify_plugin_api::{
    __linked_backends, Backend, Call, Error, Host, PhoneNumber as Number, Receipt, backend,
};
use phone_verify_plugin_host::{BackendName, Loader, LoaderConfig};
use serde_json::Map;

use super::{Base, DEFAULT, Entry, ForTests, Library, Member, Members};
use crate::{
    entropy::Entropy,
    fake_network::FakeNetwork,
    fake_service::{BOUNDS, Service, code_in, number},
    model::{CodeFormat, FailureClass, Language, Messages, TestNumbers, Verdict},
    verifier::RegisterError,
};

/// What the backend sent: to whom, and the text.
static SENT: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// What the backend was told of each SMS: to whom, and the purpose, region and channel.
static FACTS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

fn sent_to(number: &str) -> Option<String> {
    let sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, text) = sent.iter().find(|(to, _)| to == number)?;
    Some(text.clone())
}

/// Takes every SMS, but panics for one number.
struct LinkedBackend;

#[backend]
impl Backend for LinkedBackend {
    type Options = ();

    fn new((): (), _host: Host) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn send_sms(&self, number: &Number, message: &str, call: &Call) -> Result<Receipt, Error> {
        assert!(!number.e164().ends_with("13"), "an unlucky number");
        let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push((number.e164().to_owned(), message.to_owned()));
        let told = [call.purpose(), call.region(), call.channel()].map(Option::unwrap_or_default);
        let mut facts = FACTS.lock().unwrap_or_else(PoisonError::into_inner);
        facts.push((number.e164().to_owned(), told.join(" ")));
        Ok(Receipt::new("linked-1"))
    }
}

/// A service whose backend is the linked one.
fn service() -> Service {
    let service = Service::start(FakeNetwork::default());
    let nowhere = || "/nowhere".into();
    let loader = Loader::new(LoaderConfig::of(nowhere(), nowhere()));
    let name = BackendName::parse("linked.LinkedBackend").unwrap();
    let backend = loader
        .load_linked(&name, __linked_backends!(LinkedBackend), &Map::new())
        .unwrap_or_else(|refusals| panic!("{refusals:?}"));
    let base = Base {
        code_format: CodeFormat::digits(6),
        messages: Arc::new(
            Messages::new("{security_code}", Language::of_tag("en").unwrap(), "Acme").unwrap(),
        ),
        entropy: Entropy::system(),
    };
    let parts = Library::parts(backend, base, Duration::from_secs(5));
    let before = service.fleet.usual();
    let member = Member::new(DEFAULT, parts, BOUNDS, Some(&before), &service.clock);
    let entry = Entry {
        member: Arc::new(member),
        refusals: [].into(),
    };
    let for_tests = ForTests::new(Arc::new(TestNumbers::default()), service.clock.clone());
    service.fleet.exchange(Members::one(entry, for_tests));
    service
}

#[tokio::test]
async fn a_code_goes_out_through_a_library_and_comes_back() {
    let service = service();
    let registered = service.register(&number(1)).await.unwrap();
    let code = code_in(&sent_to(number(1).e164()).unwrap());
    let verdict = service.check(&number(1), &registered.session_token, &code).await;
    assert_eq!(verdict.unwrap(), Verdict::Valid);
    assert!(service.network.inbox().is_empty());
}

#[tokio::test]
async fn a_panic_in_a_library_costs_that_message_and_no_other() {
    let service = service();
    match service.register(&number(13)).await.unwrap_err() {
        RegisterError::NotSent(failure) => assert_eq!(failure.class, FailureClass::OutcomeUnknown),
        other => panic!("{other}"),
    }
    service.register(&number(2)).await.unwrap();
    assert!(sent_to(number(2).e164()).is_some());
}

#[tokio::test]
async fn a_library_is_told_what_an_sms_is_for_and_where_it_goes() {
    let service = service();
    service.register(&number(3)).await.unwrap();
    let text = "Your parcel is here.".to_owned();
    service.verifier.send_text(number(4), text).await.unwrap();
    let facts = FACTS.lock().unwrap_or_else(PoisonError::into_inner);
    let told = |number: &str| {
        let mut facts = facts.iter();
        facts.find(|(to, _)| to == number).map(|(_, told)| told.as_str())
    };
    assert_eq!(told(number(3).e164()), Some("verification US sms"));
    assert_eq!(told(number(4).e164()), Some("message US sms"));
}
