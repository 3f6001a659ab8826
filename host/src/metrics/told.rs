//! Builds the page of metrics when `/metrics` is requested, from what was counted and from what can be read at that
//! moment.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use phone_verify_plugin_host::WorkerMetrics;

use super::{
    handles::{HttpMetrics, MessageMetrics, ReceiptMetrics, StoreMetrics, VerificationMetrics},
    page::Page,
    process,
};
use crate::{
    clock::UnixMillis,
    fleet::{BackendStatus, BreakerState},
    http::ConnectionCounts,
    model::{Region, guard::Conversion},
    verifier::CapUse,
};

/// The counters of all parts of the program. Each part holds the handle of its own.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Counted by the HTTP router.
    pub http: Arc<HttpMetrics>,
    /// Counted by the dispatcher.
    pub messages: Arc<MessageMetrics>,
    /// Counted by the verifier.
    pub verifications: Arc<VerificationMetrics>,
    /// Counted by the verifier, of what providers report.
    pub receipts: Arc<ReceiptMetrics>,
    /// Counted by the store.
    pub store: Arc<StoreMetrics>,
    /// Counted by the loader of libraries.
    pub workers: Arc<WorkerMetrics>,
}

/// Values that no part counts, since they can be read when the page is requested.
pub struct Facts<'a> {
    /// The backends that are in use, each with the state of its circuit breaker.
    pub backends: &'a [BackendStatus],
    /// Log lines that were lost because nothing read them in time.
    pub log_lines_lost: u64,
    /// The connections of clients.
    pub connections: &'a ConnectionCounts,
    /// How far the limits that all clients share are used.
    pub caps: &'a [CapUse],
    /// How many numbers sent their code back within the last hour; `None`: not known.
    pub conversion: Option<Conversion>,
    /// When this process started.
    pub started_at: UnixMillis,
}

impl Metrics {
    /// Builds the page. The families are always the same, in the same order; only their samples differ.
    pub fn page(&self, facts: &Facts<'_>) -> Page {
        let mut page = Page::default();
        about(&mut page, facts.backends);
        connections(&mut page, facts.connections);
        self.http(&mut page);
        self.verifications(&mut page);
        self.messages(&mut page, facts);
        self.receipts(&mut page);
        caps(&mut page, facts.caps);
        conversion(&mut page, facts.conversion);
        self.store(&mut page);
        self.workers(&mut page);
        page.counter(
            "phone_verify_log_lines_lost_total",
            "Lines of the log that were lost, since nothing took them in time.",
        )
        .whole(&[], facts.log_lines_lost);
        own_process(&mut page, facts.started_at);
        page
    }

    fn http(&self, page: &mut Page) {
        let routes = self.http.routes.all();
        let requests = page.counter("phone_verify_http_requests_total", "Requests that were answered.");
        for (name, route) in &routes {
            for ((method, status, code), count) in route.answers.all() {
                let labels = [
                    ("route", name.as_str()),
                    ("method", method),
                    ("status", &status.to_string()),
                    ("code", code),
                ];
                requests.whole(&labels, count.get());
            }
        }
        let durations = page.histogram(
            "phone_verify_http_request_duration_seconds",
            "How long it took until a request was answered.",
        );
        for (name, route) in &routes {
            for (method, duration) in route.durations.all() {
                durations.seen(&[("route", name), ("method", method)], &duration);
            }
        }
    }

    /// How verifications begin and end, and what limits and the guard refused.
    fn verifications(&self, page: &mut Page) {
        let counted = &self.verifications;
        let begun = page.counter(
            "phone_verify_verifications_started_total",
            "Verifications that were begun, by country.",
        );
        for (country, count) in counted.begun.all() {
            begun.whole(&[("country", &code(country))], count.get());
        }
        let verified = page.counter(
            "phone_verify_verifications_verified_total",
            "Codes that came back and were right, by country.",
        );
        for (country, count) in counted.verified.all() {
            verified.whole(&[("country", &code(country))], count.get());
        }
        let failed = page.counter(
            "phone_verify_verifications_failed_total",
            "Verifications that ended otherwise, by reason and country.",
        );
        for ((reason, country), count) in counted.failed.all() {
            failed.whole(&[("reason", reason), ("country", &code(country))], count.get());
        }
        failed.whole(
            &[("reason", "expired"), ("country", "")],
            self.messages.expired.get(),
        );
        let checks = page.counter(
            "phone_verify_checks_total",
            "Codes that came back, by the verdict.",
        );
        for (verdict, count) in counted.checks.all() {
            checks.whole(&[("verdict", verdict)], count.get());
        }
        let limited = page.counter(
            "phone_verify_limit_refusals_total",
            "Messages that were refused for a limit, by its name.",
        );
        for (limit, count) in counted.limited.all() {
            limited.whole(&[("limit", limit)], count.get());
        }
        let decisions = page.counter(
            "phone_verify_guard_decisions_total",
            "What the guard found against messages, and whether they were refused for it.",
        );
        for ((reason, is_blocked), count) in self.store.decisions.all() {
            let action = if is_blocked { "blocked" } else { "allowed" };
            decisions.whole(&[("reason", reason), ("action", action)], count.get());
        }
    }

    fn messages(&self, page: &mut Page, facts: &Facts<'_>) {
        let outcomes = page.counter(
            "phone_verify_messages_total",
            "Messages by what became of them, and where a failure arose.",
        );
        for (((member, backend), class, origin), count) in self.messages.outcomes.all() {
            let labels = [
                ("member", &*member),
                ("backend", &*backend),
                ("class", class),
                ("origin", origin),
            ];
            outcomes.whole(&labels, count.get());
        }
        let tries = page.histogram(
            "phone_verify_send_duration_seconds",
            "How long a backend took over one try to send a message.",
        );
        for ((member, backend), duration) in self.messages.tries.all() {
            tries.seen(&[("member", &member), ("backend", &backend)], &duration);
        }
        // The two counters are read one after the other, and may change in between: saturate, or the gauge could wrap.
        let under_way = self
            .messages
            .begun
            .get()
            .saturating_sub(self.messages.ended.get());
        page.gauge(
            "phone_verify_messages_under_way",
            "Messages that a backend has now.",
        )
        .whole(&[], under_way);
        let waiting = page.gauge(
            "phone_verify_queue_messages",
            "Messages that wait for their turn, and registrations that have reserved a place.",
        );
        for status in facts.backends {
            waiting.whole(&[("member", &status.name)], status.waiting.0 as u64);
        }
        let capacity = page.gauge("phone_verify_queue_capacity", "Messages that may wait.");
        for status in facts.backends {
            capacity.whole(&[("member", &status.name)], status.waiting.1 as u64);
        }
        let breaker = page.gauge(
            "phone_verify_breaker",
            "1 for the state of the breaker: closed lets messages through, open refuses them.",
        );
        for status in facts.backends {
            for (name, state) in [
                ("closed", BreakerState::Closed),
                ("open", BreakerState::Open),
                ("probing", BreakerState::Probing),
            ] {
                let labels = [
                    ("member", &*status.name),
                    ("backend", &*status.facts.backend),
                    ("state", name),
                ];
                breaker.whole(&labels, u64::from(state == status.breaker));
            }
        }
        let countries = page.gauge(
            "phone_verify_breaker_refused_countries",
            "Countries that messages are refused to, while the rest goes on.",
        );
        for status in facts.backends {
            let labels = [("member", &*status.name), ("backend", &*status.facts.backend)];
            countries.whole(&labels, status.refused_countries.len() as u64);
        }
        let opened = page.counter(
            "phone_verify_breaker_opened_total",
            "How often the breaker opened.",
        );
        for status in facts.backends {
            opened.whole(&[("member", &status.name)], status.breaker_opened);
        }
    }

    /// What providers report about messages that they took.
    fn receipts(&self, page: &mut Page) {
        let counted = &self.receipts;
        let requests = page.counter(
            "phone_verify_receipt_requests_total",
            "Requests of providers with reports about messages, by what became of them.",
        );
        for ((backend, outcome), count) in counted.requests.all() {
            requests.whole(&[("backend", &*backend), ("outcome", outcome)], count.get());
        }
        let reports = page.counter(
            "phone_verify_reports_total",
            "Reports about messages, by the state that they give and by what became of them.",
        );
        for ((backend, state, outcome), count) in counted.reports.all() {
            let labels = [("backend", &*backend), ("state", state), ("outcome", outcome)];
            reports.whole(&labels, count.get());
        }
        page.counter(
            "phone_verify_reports_given_up_total",
            "Reports that were kept for a while, and whose message was never known.",
        )
        .whole(&[], counted.given_up.get());
        let arrivals = page.histogram(
            "phone_verify_delivery_seconds",
            "How long it took from the begin of a message until it was reported as delivered.",
        );
        for ((backend, country), arrival) in counted.arrivals.all() {
            arrivals.seen(&[("backend", &*backend), ("country", &code(country))], &arrival.0);
        }
    }

    fn store(&self, page: &mut Page) {
        let store = &self.store;
        page.histogram(
            "phone_verify_store_commit_duration_seconds",
            "How long a group of writes took until it was durable.",
        )
        .seen(&[], &store.commits);
        page.histogram(
            "phone_verify_store_commit_operations",
            "How many writes were in a group.",
        )
        .seen(&[], &store.operations);
        page.counter(
            "phone_verify_store_commit_failures_total",
            "Groups of writes that could not be made durable.",
        )
        .whole(&[], store.failed.get());
        page.histogram(
            "phone_verify_store_log_move_duration_seconds",
            "How long it took to move what was in the database's log to its file.",
        )
        .seen(&[], &store.log_moves);
        page.gauge(
            "phone_verify_store_log_bytes",
            "How long the database's log was after the last group of writes.",
        )
        .whole(&[], store.log_bytes.load(Ordering::Relaxed));
    }

    /// Worker processes. Memory and processor time are read from the system for each running one.
    fn workers(&self, page: &mut Page) {
        let workers = self.workers.counts();
        let started = page.counter(
            "phone_verify_workers_started_total",
            "Worker processes that were started, by library.",
        );
        for (library, count) in &workers.started {
            started.whole(&[("library", library)], *count);
        }
        let ended = page.counter(
            "phone_verify_workers_ended_total",
            "Worker processes that ended, by cause.",
        );
        for ((library, cause), count) in &workers.ended {
            ended.whole(&[("library", library), ("cause", cause)], *count);
        }
        let mut by_library = BTreeMap::<&str, (u64, u64)>::new();
        // Ended workers are children of this process, so the system has added up their processor time. The running ones
        // are added below, and the sum only grows.
        let ended = process::used("self").map(|used| used.by_ended_children);
        let mut processor = ended.unwrap_or_default();
        for (process, library) in &workers.running {
            let (count, bytes) = by_library.entry(library).or_default();
            *count += 1;
            if let Some(used) = process::used(&process.to_string()) {
                processor += used.processor;
                *bytes += used.resident_bytes;
            }
        }
        let count = page.gauge("phone_verify_workers", "Worker processes that run now.");
        for (library, (running, _)) in &by_library {
            count.whole(&[("library", library)], *running);
        }
        let memory = page.gauge(
            "phone_verify_worker_resident_memory_bytes",
            "Memory of the worker processes that run now.",
        );
        for (library, (_, bytes)) in &by_library {
            memory.whole(&[("library", library)], *bytes);
        }
        let seconds = page.counter(
            "phone_verify_worker_cpu_seconds_total",
            "Processor time of all worker processes until now.",
        );
        // No sample rather than a wrong one, where the system does not tell.
        if ended.is_some() {
            seconds.decimal(&[], processor.as_secs_f64());
        }
    }
}

/// The label for a country; empty if the number belongs to none, or is not known.
fn code(country: Option<Region>) -> String {
    country.map(Region::code).unwrap_or_default()
}

/// The program and the backends, whose facts are in labels, as is usual for Prometheus: `…_info` with the value 1.
fn about(page: &mut Page, backends: &[BackendStatus]) {
    page.gauge(
        "phone_verify_build_info",
        "Always 1; the labels say which program it is.",
    )
    .whole(
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("os", std::env::consts::OS),
            ("arch", std::env::consts::ARCH),
        ],
        1,
    );
    let info = page.gauge(
        "phone_verify_backend_info",
        "Always 1; the labels say which backend serves.",
    );
    for BackendStatus { name, facts, .. } in backends {
        info.whole(
            &[
                ("member", name),
                ("name", &*facts.backend),
                ("version", &facts.version),
                ("abi", &facts.abi),
                ("isolation", &facts.isolation.to_string()),
            ],
            1,
        );
    }
}

fn connections(page: &mut Page, counts: &ConnectionCounts) {
    page.gauge("phone_verify_connections_open", "Connections of clients now.")
        .whole(&[], counts.open);
    page.counter(
        "phone_verify_connections_accepted_total",
        "Connections that were accepted.",
    )
    .whole(&[], counts.accepted);
    let closed = page.counter(
        "phone_verify_connections_closed_total",
        "Connections that ended, by reason.",
    );
    for (reason, count) in &counts.closed {
        closed.whole(&[("reason", reason)], *count);
    }
}

/// How far the limits that all clients share are used, so that an alert can be set before one is reached.
fn caps(page: &mut Page, caps: &[CapUse]) {
    let used = page.gauge(
        "phone_verify_cap_used_ratio",
        "How much of a cap of the limits is used, from 0 to 1.",
    );
    for cap in caps {
        used.decimal(&[("limit", cap.code), ("country", &cap.country)], cap.ratio());
    }
    let open = page.gauge(
        "phone_verify_cap_open_ratio",
        "From how much of a cap on numbers of which nothing is known are refused.",
    );
    for cap in caps {
        open.decimal(
            &[("limit", cap.code), ("country", &cap.country)],
            cap.open_ratio(),
        );
    }
}

/// How many numbers sent their code back. A low share is a sign of SMS pumping.
fn conversion(page: &mut Page, conversion: Option<Conversion>) {
    let sent = page.gauge(
        "phone_verify_conversion_numbers",
        "Numbers with a code that ended within the last hour, each once.",
    );
    if let Some(conversion) = conversion {
        sent.whole(&[], conversion.sent);
    }
    let verified = page.gauge(
        "phone_verify_conversion_verified_numbers",
        "Those of them that sent a code back.",
    );
    if let Some(conversion) = conversion {
        verified.whole(&[], conversion.verified);
    }
}

/// This process, under the names that Prometheus has for every program.
fn own_process(page: &mut Page, started_at: UnixMillis) {
    let used = process::used("self");
    let seconds = page.counter(
        "process_cpu_seconds_total",
        "Processor time of this process until now.",
    );
    if let Some(used) = used {
        seconds.decimal(&[], used.processor.as_secs_f64());
    }
    let memory = page.gauge("process_resident_memory_bytes", "Memory of this process.");
    if let Some(used) = used {
        memory.whole(&[], used.resident_bytes);
    }
    let files = process::files();
    let open = page.gauge("process_open_fds", "Files that this process has open.");
    if let Some(files) = files {
        open.whole(&[], files.open);
    }
    let max = page.gauge("process_max_fds", "Files that it may have open.");
    if let Some(files) = files.and_then(|files| files.max) {
        max.whole(&[], files);
    }
    page.gauge(
        "process_start_time_seconds",
        "When this process began, in seconds since 1970.",
    )
    .whole(&[], started_at.0 / 1000);
}
