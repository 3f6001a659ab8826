//! The fleet as an authority over codes: it asks who is responsible for the number.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Fleet;
use crate::{
    model::{Locale, PhoneNumber, SecurityCode, Verdict},
    verifier::{AuthorityCall, BaseValidate, CheckRequest, CodeAuthority},
};

impl CodeAuthority for Fleet {
    fn generate<'a>(
        self: Arc<Self>,
        number: &'a PhoneNumber,
        locale: &'a Locale,
    ) -> Option<AuthorityCall<'a, SecurityCode>> {
        self.current
            .load()
            .shared_authority(number)
            .generate(number, locale)
    }

    fn compose<'a>(
        self: Arc<Self>,
        number: &'a PhoneNumber,
        code: &'a SecurityCode,
        locale: &'a Locale,
        context: &'a Map<String, Value>,
    ) -> Option<AuthorityCall<'a, Option<String>>> {
        self.current
            .load()
            .shared_authority(number)
            .compose(number, code, locale, context)
    }

    fn validates(&self, number: &PhoneNumber) -> bool {
        self.current.load().authority(number).validates(number)
    }

    fn validate(
        self: Arc<Self>,
        check: &CheckRequest,
        base: Arc<dyn BaseValidate>,
    ) -> AuthorityCall<'_, Verdict> {
        self.current
            .load()
            .shared_authority(&check.number)
            .validate(check, base)
    }

    fn shares_codes(&self, number: &PhoneNumber) -> bool {
        let members = self.current.load();
        members.for_tests.shares_codes(number) && members.candidate(number).authority().shares_codes(number)
    }

    fn reaches(&self, number: &PhoneNumber) -> bool {
        self.current.load().authority(number).reaches(number)
    }
}
