//! `phone-verify events`: shows what happened to verifications and texts.
//!
//! Reads the store alone, beside a running daemon. It creates no database: a mistake in the settings would otherwise look
//! like an empty one.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, output::Failure, whoami};
use crate::{clock::Clock, daemon, events, store::WhichEvents};

/// How often it is looked for further events.
const PAUSE: Duration = Duration::from_millis(500);
/// The most events that are read at once.
const PAGE: u32 = 1000;

#[derive(Args)]
pub(super) struct Events {
    /// How many of the latest to show
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    last: u32,
    /// Go on with those that happen from now on, one per line, until Ctrl-C
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Events {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        if !settings.events.log {
            tracing::warn!(
                "[events] log is false, so the daemon records no events: set it to true, and restart the daemon"
            );
        }
        let clock = Clock::system();
        let store =
            daemon::administration(&settings, &clock, whoami()).map_err(|problem| Failure::of([problem]))?;
        super::runtime()?.block_on(async {
            let read = async |which| {
                let events = store.events(which).await;
                events.map_err(|error| Failure::failed(error.to_string()))
            };
            let output = self.common.output();
            // At least one, whose place says where to go on.
            let mut latest = read(WhichEvents::Latest(self.last.max(1))).await?;
            let mut place = latest.last().map_or(0, |event| event.place);
            latest.drain(..latest.len() - latest.len().min(self.last as usize));
            if !self.follow {
                let result: Vec<Value> = latest.iter().map(|event| events::shown(event, &clock)).collect();
                return output.result(&json!({ "events": result }), || {
                    if latest.is_empty() {
                        return "no event is recorded".to_owned();
                    }
                    let lines = latest.iter().map(|event| events::line(event, &clock));
                    lines.collect::<Vec<_>>().join("\n")
                });
            }
            loop {
                for event in &latest {
                    output.line(&events::shown(event, &clock), || events::line(event, &clock))?;
                    place = event.place;
                }
                if latest.len() < PAGE as usize {
                    tokio::time::sleep(PAUSE).await;
                }
                latest = read(WhichEvents::After { place, limit: PAGE }).await?;
            }
        })
    }
}
