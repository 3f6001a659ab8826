//! The operations of the trait, on this engine: seals and digests are made before the writer is asked, so that it waits
//! for nothing slow; each is one transaction.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    Sqlite, announced, attempt, audit, bulk, counter, event, guard, lifecycle, lookup, message, person,
    presence, receipt, request, retention, text, timeline, verification, writer,
};
use crate::{
    clock::{Clock, UnixMillis},
    model::{
        Delivery, DeliveryReport, Event, Limit, MessageId, Outcome, PhoneNumber, SecurityCode, Verdict,
        VerificationId,
        guard::{Conversion, Decision},
    },
    rules::{self, attempt::TakenAttempt, number},
    store::{
        Answer, AuditEntry, Begun, BulkFailure, BulkLease, BulkProgress, CapLog, CheckRules, Dispatched,
        EarlyReports, Found, FoundText, JobId, KeyReview, Lookup, MasterKey, MessageBegun, NewText,
        NewVerification, OutboxMessage, Records, ReportOutcome, RequestKey, RunId, Seen, Store, StoreError,
        TextBegun, WhichEvents, text::in_place_of_verification,
    },
};

/// How long a search for a number may wait for those before it: each reads all records.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);

#[async_trait]
impl Store for Sqlite {
    async fn begin_verification(&self, new: NewVerification) -> Result<Begun, StoreError> {
        let row = verification::NewRow::prepare(new, &self.keyring, self.own_process()?)?;
        let keyring = Arc::clone(&self.keyring);
        self.write(move |transaction| verification::begin(transaction, &keyring, &row))
            .await
    }

    async fn check_code(
        &self,
        id: VerificationId,
        code: SecurityCode,
        rules: CheckRules,
        request: Option<&RequestKey>,
    ) -> Result<Verdict, StoreError> {
        let (keyring, request) = (Arc::clone(&self.keyring), self.request(request));
        self.write(move |transaction| {
            attempt::check(transaction, &keyring, id, &code, rules, request.as_ref())
        })
        .await
    }

    async fn take_attempt(
        &self,
        id: VerificationId,
        rules: CheckRules,
        request: Option<&RequestKey>,
    ) -> Result<Result<TakenAttempt, Verdict>, StoreError> {
        let request = self.request(request);
        self.write(move |connection| attempt::take_attempt(connection, id, rules, request.as_ref()))
            .await
    }

    async fn compare_code(
        &self,
        id: VerificationId,
        code: SecurityCode,
        rules: CheckRules,
    ) -> Result<Verdict, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        self.read(move |connection| attempt::compare(connection, &keyring, id, &code, rules))
            .await
    }

    async fn settle_attempt(
        &self,
        id: VerificationId,
        taken: TakenAttempt,
        verdict: Option<Verdict>,
        rules: CheckRules,
        request: Option<&RequestKey>,
    ) -> Result<Option<Verdict>, StoreError> {
        let request = self.request(request);
        self.write(move |transaction| {
            attempt::settle_attempt(transaction, id, taken, verdict, rules, request.as_ref())
        })
        .await
    }

    async fn seen(&self, request: &RequestKey, now: UnixMillis) -> Result<Seen, StoreError> {
        let (keyring, row) = (
            Arc::clone(&self.keyring),
            request::Row::prepare(request, &self.keyring),
        );
        self.read(move |connection| request::seen(connection, &keyring, &row, now))
            .await
    }

    async fn find_verification(
        &self,
        id: VerificationId,
        rules: CheckRules,
        of_number: Arc<[Limit]>,
    ) -> Result<Option<Found>, StoreError> {
        let find = async || {
            let announced = self.announced.of(id);
            let (keyring, of_number) = (Arc::clone(&self.keyring), Arc::clone(&of_number));
            let own = self.presence.get().map(|presence| presence.id);
            let found = self
                .read(move |connection| {
                    let found = lifecycle::find(connection, &keyring, id, rules, &of_number)?;
                    let is_pending = found
                        .as_ref()
                        .is_some_and(|found| found.verification.delivery() == Delivery::Pending);
                    let is_elsewhere = is_pending && message::is_elsewhere(connection, id, own)?;
                    Ok(found.map(|found| (found, is_elsewhere)))
                })
                .await?;
            Ok::<_, StoreError>(found.map(|(mut found, is_elsewhere)| {
                if let Some(announced) = announced {
                    announced::show(&announced, &mut found.verification.messages);
                }
                (found, is_elsewhere)
            }))
        };
        match find().await? {
            // The process that has the message may have told that it was sent, and be about to record it.
            Some((_, true)) => {
                tokio::time::sleep(writer::PATIENCE * 2).await;
                Ok(find().await?.map(|(found, _)| found))
            }
            found => Ok(found.map(|(found, _)| found)),
        }
    }

    async fn latest_verifications(
        &self,
        lookup: Lookup,
        before: Option<VerificationId>,
        limit: u32,
        rules: CheckRules,
        of_number: Arc<[Limit]>,
    ) -> Result<Vec<Found>, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        let _alone = match lookup {
            Lookup::Number(_) => {
                let turn = tokio::time::timeout(LOOKUP_WAIT, self.looking_through.lock()).await;
                let too_many = |_| StoreError::Unavailable("others look for numbers, too".to_owned());
                Some(turn.map_err(too_many)?)
            }
            Lookup::ClientRef(_) => None,
        };
        let mut found = self
            .read(move |connection| {
                let digests = lookup::digests(&lookup, &keyring);
                let ids = lookup::ids(connection, &lookup, &digests, before, limit)?;
                let find = |id| lifecycle::find(connection, &keyring, id, rules, &of_number).transpose();
                ids.into_iter().filter_map(find).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        for found in &mut found {
            if let Some(announced) = self.announced.of(found.verification.id) {
                announced::show(&announced, &mut found.verification.messages);
            }
        }
        Ok(found)
    }

    async fn keep_answer(&self, request: &RequestKey, answer: &Answer) -> Result<(), StoreError> {
        let row = request::Row::prepare(request, &self.keyring);
        let sealed = row.seal(answer, &self.keyring)?;
        self.write(move |connection| request::keep_answer(connection, &row, &sealed))
            .await
    }

    async fn cancel_verification(
        &self,
        id: VerificationId,
        entry: AuditEntry,
        request: Option<&RequestKey>,
    ) -> Result<bool, StoreError> {
        let request = self.request(request);
        self.write(move |connection| lifecycle::cancel(connection, id, &entry, request.as_ref()))
            .await
    }

    async fn begin_message(
        &self,
        message: OutboxMessage,
        code: Option<SecurityCode>,
        now: UnixMillis,
        request: Option<&RequestKey>,
    ) -> Result<MessageBegun, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        let verification = message.verification;
        let new = lifecycle::NewMessage::prepare(message, code, request, &keyring, self.own_process()?)?;
        let begun = self
            .write(move |transaction| lifecycle::begin_message(transaction, &keyring, &new, now))
            .await;
        if matches!(begun, Ok(MessageBegun::Yes(_))) {
            self.announced.is_past(verification);
        }
        begun
    }

    async fn begin_text(&self, new: NewText) -> Result<TextBegun, StoreError> {
        let row = text::Row::prepare(new, &self.keyring, self.own_process()?)?;
        self.write(move |transaction| text::begin(transaction, &row))
            .await
    }

    async fn find_text(&self, id: MessageId) -> Result<Option<FoundText>, StoreError> {
        let announced = self.announced.of(in_place_of_verification(id));
        let mut found = self.read(move |connection| text::find(connection, id)).await?;
        if let (Some(announced), Some(found)) = (announced, &mut found) {
            announced::show(&announced, std::slice::from_mut(&mut found.message));
        }
        Ok(found)
    }

    async fn settle_message(
        &self,
        message: &OutboxMessage,
        dispatched: &Dispatched,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let settled = message::Settled::of(message, dispatched, &self.keyring, now);
        let settle = move |transaction: &writer::Transaction<'_>| message::settle(transaction, &settled);
        let recorded = if dispatched.outcome.is_ok() {
            self.writer.run_unhurried(settle).await
        } else {
            self.write(settle).await
        };
        if recorded.is_ok() {
            self.announced.is_recorded(message);
        }
        recorded
    }

    async fn release_messages(&self, messages: &[OutboxMessage]) -> Result<(), StoreError> {
        let own = self.own_process()?;
        let messages = messages.iter().map(|message| {
            let sealed = message::seal(message, &self.keyring)?;
            Ok::<_, StoreError>((message.verification, message.id, sealed))
        });
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        self.write(move |connection| {
            messages
                .iter()
                .try_for_each(|message| message::release(connection, message, &own))
        })
        .await
    }

    fn announce(&self, message: &OutboxMessage, dispatched: &Dispatched) {
        self.announced.tell(message, dispatched);
    }

    fn record_events(&self, are_recorded: bool) {
        self.events.turn(are_recorded);
    }

    async fn events(&self, which: WhichEvents) -> Result<Vec<Event>, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        self.read(move |connection| event::read(connection, &keyring, which))
            .await
    }

    async fn delete_events_before(&self, before: UnixMillis) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let step = self
                .write(move |connection| event::delete_before(connection, before))
                .await?;
            if step == 0 {
                return Ok(deleted);
            }
            deleted += step;
        }
    }

    async fn apply_reports(
        &self,
        member: &str,
        backend: &str,
        reports: Vec<DeliveryReport>,
        now: UnixMillis,
    ) -> Result<Vec<ReportOutcome>, StoreError> {
        if reports.is_empty() {
            return Ok(Vec::new());
        }
        let prepare = |report| receipt::Row::prepare(report, member, &self.keyring);
        let rows: Vec<_> = reports.into_iter().map(prepare).collect();
        let backend = backend.to_owned();
        self.write(move |transaction| receipt::apply(transaction, &backend, &rows, now))
            .await
    }

    async fn apply_early_reports(&self, now: UnixMillis) -> Result<EarlyReports, StoreError> {
        let due = self.read(move |connection| receipt::due(connection, now)).await?;
        if due.is_nothing() {
            return Ok(EarlyReports {
                waiting: due.waiting(),
                ..EarlyReports::default()
            });
        }
        self.write(move |transaction| receipt::apply_early(transaction, &due, now))
            .await
    }

    async fn take_over_messages(
        &self,
        now: UnixMillis,
        limit: u32,
    ) -> Result<Vec<OutboxMessage>, StoreError> {
        let (own, processes) = (self.own_process()?, self.processes.clone());
        let dead: Vec<presence::ProcessId> = self
            .read(move |connection| {
                let mut dead = message::holders(connection, &own)?;
                dead.retain(|holder| !processes.lives(holder));
                Ok(dead)
            })
            .await?;
        let mut taken = Vec::new();
        for dead in dead {
            let keyring = Arc::clone(&self.keyring);
            let left = limit.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
            taken.extend(
                self.write(move |transaction| {
                    message::take_over(transaction, &keyring, dead, &own, now, left)
                })
                .await?,
            );
        }
        Ok(taken)
    }

    async fn share_time(&self, clock: &Clock) -> Result<(), StoreError> {
        let (reading, writing) = (clock.clone(), clock.clone());
        if self
            .read(move |connection| timeline::has_news(connection, &reading))
            .await?
        {
            self.write(move |connection| timeline::share(connection, &writing))
                .await?;
        }
        Ok(())
    }

    async fn expire_codes(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let swept_to = || self.swept_to.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, sweep) = (*swept_to(), rules::retention::sweep(now));
        let (codes, next) = self
            .write(move |connection| {
                let codes = retention::expire_codes(connection, sweep)?;
                Ok((codes, retention::end_counters(connection, from, sweep)?))
            })
            .await?;
        *swept_to() = next;
        Ok(codes)
    }

    async fn decisions(&self, limit: u32) -> Result<Vec<Decision>, StoreError> {
        self.read(move |connection| guard::decisions(connection, limit))
            .await
    }

    async fn caps(&self) -> Result<Vec<CapLog>, StoreError> {
        self.read(counter::caps).await
    }

    async fn conversion(&self, from: UnixMillis, to: UnixMillis) -> Result<Conversion, StoreError> {
        self.read(move |connection| guard::conversion(connection, from, to))
            .await
    }

    async fn delete_before(&self, before: UnixMillis, dry_run: bool) -> Result<u64, StoreError> {
        if dry_run {
            return self
                .read(move |connection| retention::count_before(connection, before))
                .await;
        }
        let mut deleted = 0;
        // In steps, so that registrations get in between; and most of the time is theirs.
        loop {
            let began = Instant::now();
            let step = self
                .write(move |connection| retention::delete_before(connection, before))
                .await?;
            deleted += step.deleted;
            if step.all_done {
                return Ok(deleted);
            }
            tokio::time::sleep(began.elapsed() * retention::REST).await;
        }
    }

    async fn records_of(&self, number: &PhoneNumber, rules: CheckRules) -> Result<Records, StoreError> {
        let (keyring, number) = (Arc::clone(&self.keyring), number.clone());
        self.read(move |connection| {
            let digests = keyring.number_digests(&number);
            let places = person::places(connection, &keyring, &number, &digests)?;
            person::records(connection, &keyring, &places, rules)
        })
        .await
    }

    async fn forget(&self, number: &PhoneNumber, entry: Option<AuditEntry>) -> Result<u64, StoreError> {
        let key = self.keyring.counter_keys(number, None).number();
        let (keyring, number) = (Arc::clone(&self.keyring), number.clone());
        let places = self
            .read(move |connection| {
                let digests = keyring.number_digests(&number);
                person::places(connection, &keyring, &number, &digests)
            })
            .await?;
        let count = places.len();
        if let Some(entry) = entry {
            self.write(move |transaction| {
                if number::forget(transaction, key)? || count > 0 {
                    audit::record(transaction, &entry)?;
                }
                Ok(())
            })
            .await?;
            for step in places.steps() {
                self.write(move |connection| person::delete(connection, &step))
                    .await?;
            }
        }
        Ok(count)
    }

    async fn record_audit_entry(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.write(move |connection| audit::record(connection, &entry))
            .await
    }

    async fn delete_audit_entries_before(&self, before: UnixMillis) -> Result<u64, StoreError> {
        if self
            .read(move |connection| audit::count_before(connection, before))
            .await?
            == 0
        {
            return Ok(0);
        }
        let mut deleted = 0;
        loop {
            let step = self
                .write(move |connection| audit::delete_before(connection, before))
                .await?;
            if step == 0 {
                return Ok(deleted);
            }
            deleted += step;
        }
    }

    async fn latest_audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(move |connection| audit::latest(connection, limit))
            .await
    }

    async fn begin_bulk(
        &self,
        job: JobId,
        numbers: Vec<PhoneNumber>,
        message: String,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let rows = bulk::Rows::prepare(job, &numbers, &message, &self.keyring)?;
        self.write(move |connection| bulk::begin(connection, &rows, now))
            .await
    }

    async fn lease_bulk(
        &self,
        job: JobId,
        run: RunId,
        now: UnixMillis,
        lease: Duration,
        limit: u32,
    ) -> Result<BulkLease, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        self.write(move |connection| bulk::lease(connection, &keyring, job, run, now, lease, limit))
            .await
    }

    async fn renew_bulk(&self, job: JobId, run: RunId, until: UnixMillis) -> Result<bool, StoreError> {
        self.write(move |connection| bulk::renew(connection, job, run, until))
            .await
    }

    async fn settle_bulk(&self, job: JobId, outcomes: Vec<(u64, Option<Outcome>)>) -> Result<(), StoreError> {
        self.write(move |connection| bulk::settle(connection, job, &outcomes))
            .await
    }

    async fn end_bulk_run(&self, job: JobId, run: RunId) -> Result<(), StoreError> {
        self.write(move |connection| bulk::end_run(connection, job, run))
            .await
    }

    async fn bulk_progress(&self, job: JobId) -> Result<BulkProgress, StoreError> {
        self.read(move |connection| bulk::progress(connection, job)).await
    }

    async fn bulk_failures(&self, job: JobId) -> Result<Vec<BulkFailure>, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        self.read(move |connection| bulk::failures(connection, &keyring, job))
            .await
    }

    async fn review_keys(&self, now: UnixMillis) -> Result<KeyReview, StoreError> {
        if !self.look_at_keys(now).await? {
            return Ok(KeyReview::default());
        }
        // Perhaps they hold it by now.
        self.renew_keys(None, now).await
    }

    async fn renew_keys(
        &self,
        given: Option<Vec<MasterKey>>,
        now: UnixMillis,
    ) -> Result<KeyReview, StoreError> {
        let offered = match (given, self.keyring.source()) {
            (Some(given), _) => Ok(given),
            (None, Some(source)) => {
                let read = tokio::task::spawn_blocking(move || source());
                read.await
                    .map_err(|_| StoreError::Unavailable("a read was broken off".into()))?
            }
            (None, None) => Err(String::new()),
        };
        let mut review = KeyReview::default();
        match offered {
            Ok(offered) => self.take_keys(&offered, now, &mut review).await?,
            Err(problem) if problem.is_empty() => {}
            Err(problem) => review.problem = Some(problem),
        }
        review.lacks = self.look_at_keys(now).await?;
        Ok(review)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        if self.keyring.lacks_a_key() {
            return Err(StoreError::KeyMissing);
        }
        self.write(|connection| {
            let now = verification::PROBE;
            connection.execute(
                "INSERT INTO pending (number, verification, expires_at) VALUES (?1, ?1, 0)",
                [now],
            )?;
            connection.execute("DELETE FROM pending WHERE number = ?1", [now])?;
            Ok(())
        })
        .await
    }
}
