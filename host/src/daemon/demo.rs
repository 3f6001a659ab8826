//! Shows each SMS that a backend took on the page of a demo.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    fleet::{Sender, Settled, Sms},
    http::DemoPhone,
    model::{Outcome, PhoneNumber},
};

/// A sender, and the page that shows what it took.
pub(super) struct Shown {
    sender: Arc<dyn Sender>,
    page: Arc<DemoPhone>,
}

impl Shown {
    pub(super) fn on(sender: Arc<dyn Sender>, page: Arc<DemoPhone>) -> Arc<dyn Sender> {
        Arc::new(Self { sender, page })
    }
}

#[async_trait]
impl Sender for Shown {
    async fn send(&self, sms: Sms<'_>, time_limit: Duration) -> Outcome {
        let (number, text) = (sms.number, sms.text);
        let outcome = self.sender.send(sms, time_limit).await;
        if outcome.is_ok() {
            self.page.receive(number, text);
        }
        outcome
    }

    fn sends_bulk(&self) -> bool {
        self.sender.sends_bulk()
    }

    async fn send_bulk(&self, numbers: &[PhoneNumber], text: &str, time_limit: Duration, settled: Settled) {
        self.sender.send_bulk(numbers, text, time_limit, settled).await;
    }

    fn trouble(&self) -> Option<String> {
        self.sender.trouble()
    }
}
