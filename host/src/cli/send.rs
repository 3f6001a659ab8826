//! `phone-verify send`: sends one text to many numbers. The store keeps the job, under a name made of the text and the
//! numbers. Therefore the same command continues an interrupted job, and never sends to a number twice.

use std::{
    collections::HashSet,
    fs,
    io::{IsTerminal, Write, stderr},
    path::{Path, PathBuf},
};

use clap::{
    Args,
    builder::{PathBufValueParser, TypedValueParser},
};
use indicatif::{ProgressBar, ProgressStyle};
use phone_verify_plugin_host::files::{self, Subject};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Common, output::Failure, register::parse_number};
use crate::{
    daemon::Service,
    model::{PhoneNumber, quantity, typed},
    settings::Settings,
    store::{BulkFailure, BulkProgress, JobId},
};

#[derive(Args)]
pub(super) struct Send {
    /// The text to send
    #[arg(long)]
    message: String,
    /// The numbers to send it to
    #[arg(
        required_unless_present = "numbers_file",
        conflicts_with = "numbers_file",
        value_name = "NUMBER"
    )]
    numbers: Vec<String>,
    /// A file with a number a line; empty lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE")]
    numbers_file: Option<PathBuf>,
    /// Where the numbers that failed are written, with the reason; else phone-verify-failed.tsv if any fail
    // Made absolute now: a library in this process may change the working directory.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "phone-verify-failed.tsv",
        value_parser = PathBufValueParser::new().map(|path| std::path::absolute(&path).unwrap_or(path))
    )]
    failed_file: PathBuf,
    /// Send a text again that was sent to the same numbers before; any word tells repetitions apart
    #[arg(long, default_value = "", value_name = "WORD")]
    again: String,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Send {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let outcome = self.common.with_service(async |service, settings| {
            let numbers = self.numbers(settings)?;
            if self.message.trim().is_empty() {
                return Err(Failure::wrong(["the message is empty".to_owned()]));
            }
            self.send(service, &numbers).await
        })?;
        self.report(&outcome)
    }

    /// Each number once. The error lists every line that is no number, and nothing is sent then.
    fn numbers(&self, settings: &Settings) -> Result<Vec<PhoneNumber>, Failure> {
        let mut lines = Vec::new();
        if let Some(path) = &self.numbers_file {
            let text =
                files::read_text(path, Subject::Numbers).map_err(|fault| Failure::of([fault.into()]))?;
            for (index, line) in text.lines().enumerate() {
                // Files from spreadsheets begin with an invisible byte order mark.
                let line = line.trim_start_matches(typed::is_blank);
                if !line.is_empty() && !line.starts_with('#') {
                    lines.push((format!("{}:{}", path.display(), index + 1), line.to_owned()));
                }
            }
        } else {
            lines.extend(
                self.numbers
                    .iter()
                    .enumerate()
                    .map(|(at, text)| (format!("number {}", at + 1), text.clone())),
            );
        }
        let (mut numbers, mut problems, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (place, text) in lines {
            match parse_number(&text, settings) {
                Ok(number) if seen.insert(number.clone()) => numbers.push(number),
                Ok(_) => {}
                Err(refused) => problems.extend(refused.problems().map(|what| format!("{place}: {what}"))),
            }
        }
        if problems.is_empty() && numbers.is_empty() {
            problems.push("there is no number to send to".to_owned());
        }
        if problems.is_empty() {
            Ok(numbers)
        } else {
            Err(Failure::wrong(problems))
        }
    }

    /// Creates or continues the job, and sends until it is done or interrupted. The job's name is a keyed digest of the
    /// text and the numbers, whatever their order.
    async fn send(&self, service: &Service, numbers: &[PhoneNumber]) -> Result<Outcome, Failure> {
        let store = |error: crate::store::StoreError| Failure::failed(error.to_string());
        let job = service.keyring.job_id(numbers, &self.message, &self.again);
        let administration = service.verifier.administration(super::whoami());
        let begun = administration.begin_job(job, numbers, &self.message).await;
        let (new, before) = begun.map_err(store)?;
        let bar = progress_bar(before);
        if !new {
            bar.println(format!(
                "going on with job {job}: {} of {} are settled",
                before.settled(),
                before.total
            ));
        }
        let stop = stop_on_interrupt(&bar);
        let work = service.bulk();
        let ended = work
            .run(job, &stop, |progress| bar.set_position(progress.settled()))
            .await;
        bar.finish_and_clear();
        Ok(Outcome {
            job,
            progress: work.progress(job).await.map_err(store)?,
            failures: work.failures(job).await.map_err(store)?,
            ended_by: ended.err().map(|error| error.to_string()),
            had_nothing_to_do: !new && before.waiting == 0,
        })
    }

    /// Prints the result, and writes the numbers that failed to a file.
    fn report(&self, outcome: &Outcome) -> Result<(), Failure> {
        let Outcome {
            job,
            progress,
            failures,
            ended_by,
            had_nothing_to_do,
        } = outcome;
        if !failures.is_empty() {
            write_failures(&self.failed_file, failures)?;
        }
        let failed_file = (!failures.is_empty()).then_some(&self.failed_file);
        let result = json!({
            "job": job.to_string(),
            "progress": progress,
            "failed_file": failed_file,
            "ended_by": ended_by,
        });
        let is_done = progress.sent == progress.total;
        self.common.output().result_of(is_done, &result, || {
            let mut text = format!(
                "{} sent, {} failed, {} unknown, {} waiting, of {}",
                progress.sent, progress.failed, progress.unknown, progress.waiting, progress.total
            );
            if let Some(path) = failed_file {
                text.push_str(&format!(
                    "\n{} in {}",
                    quantity(failures.len(), "number that failed is", "numbers that failed are"),
                    path.display()
                ));
            }
            if *had_nothing_to_do {
                text.push_str(
                    "\nthis text was sent to these numbers before; to send it again, add --again WORD",
                );
            }
            if let Some(reason) = ended_by {
                text.push_str(&format!("\n{reason}"));
            } else if progress.waiting > 0 {
                text.push_str("\ninterrupted; the same command goes on from here");
            }
            text
        })?;
        if is_done { Ok(()) } else { Err(Failure::told()) }
    }
}

/// How far the job is, after this run.
struct Outcome {
    job: JobId,
    progress: BulkProgress,
    failures: Vec<BulkFailure>,
    /// The error that ended the run before the job was done; `None` if it was done or the user interrupted it.
    ended_by: Option<String>,
    had_nothing_to_do: bool,
}

/// A progress bar, hidden unless standard error is a terminal.
fn progress_bar(before: BulkProgress) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(before.total)
        .with_style(style)
        .with_position(before.settled())
}

/// Returns a token that Ctrl-C cancels. Messages that are being sent are then finished; the others wait for the next
/// run.
fn stop_on_interrupt(bar: &ProgressBar) -> CancellationToken {
    let stop = CancellationToken::new();
    let (cancel, bar) = (stop.clone(), bar.clone());
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            bar.println("finishing what is under way; the same command goes on from there");
            cancel.cancel();
        }
    });
    stop
}

/// Writes the numbers in full, so that they can be tried again. Only the owner may read the file.
fn write_failures(path: &Path, failures: &[BulkFailure]) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let text: String = failures
        .iter()
        .map(|failure| format!("{}\t{}\t{}\n", failure.number.e164(), failure.class, failure.code))
        .collect();
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::failed(format!("{} cannot be written: {error}", path.display())))
}
