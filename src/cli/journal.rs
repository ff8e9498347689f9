//! Arguments about the journal, and the commands that verify and export it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use crate::journal::{Export, Journal, Keep, Place, PostgresUrl};
use crate::names::StoreId;
use crate::report::{Event, moment, one_line};

/// The variable that names a PostgreSQL database. It holds a password, so there is no such argument.
const URL_VARIABLE: &str = "STOREKEEPER_JOURNAL_URL";

/// How many events are read at once.
const PAGE: i64 = 1000;

/// Where the journal is.
#[derive(Debug, Args)]
pub(super) struct PlaceArguments {
    /// A file with the URL of a PostgreSQL database for the journal, such as
    /// `postgres://user:password@host/database?sslmode=verify-full`; the environment may give the URL itself as
    /// `STOREKEEPER_JOURNAL_URL`. Without either, an SQLite file in the state folder.
    #[arg(long, env = "STOREKEEPER_JOURNAL_URL_FILE")]
    journal_url_file: Option<PathBuf>,
}

/// What of `run` concerns the journal.
#[derive(Debug, Args)]
pub(super) struct JournalArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// How many days events are kept in the journal.
    #[arg(long, env = "STOREKEEPER_JOURNAL_KEEP_DAYS", default_value_t = Keep::default().days, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    journal_keep_days: u32,
    /// How many events are kept in the journal.
    #[arg(long, env = "STOREKEEPER_JOURNAL_KEEP_EVENTS", default_value_t = Keep::default().events, value_parser = clap::value_parser!(u32).range(1..))]
    journal_keep_events: u32,
}

/// What can be done with a journal.
#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    /// Check that no event was changed, removed, added or moved since it was written; exits 0: whole, 1: broken, 2: it can't
    /// be read.
    Verify(VerifyArguments),
    /// Print events, the oldest first.
    Export(ExportArguments),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The folder that `run` keeps its state in.
    #[arg(long, env = "STOREKEEPER_STATE_FOLDER", default_value = "/var/lib/storekeeper")]
    state_folder: PathBuf,
    #[command(flatten)]
    place: PlaceArguments,
    /// A hash that was logged or printed earlier: the journal must hold it still.
    #[arg(long)]
    holds: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExportOutput {
    /// One JSON object a line.
    JsonLines,
    /// For spreadsheets.
    Csv,
}

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// The folder that `run` keeps its state in.
    #[arg(long, env = "STOREKEEPER_STATE_FOLDER", default_value = "/var/lib/storekeeper")]
    state_folder: PathBuf,
    #[command(flatten)]
    place: PlaceArguments,
    /// How events are printed.
    #[arg(long, short, value_enum, default_value = "json-lines")]
    output: ExportOutput,
    /// Only events of this store.
    #[arg(long)]
    store: Option<StoreId>,
    /// Only events at this time or later, such as 2026-11-23 or 2026-11-23T08:00:00Z.
    #[arg(long, value_parser = parse_moment)]
    since: Option<i64>,
    /// Only events before this time.
    #[arg(long, value_parser = parse_moment)]
    until: Option<i64>,
}

impl PlaceArguments {
    fn place(&self, state_folder: &Path) -> anyhow::Result<Place> {
        let url = match (&self.journal_url_file, std::env::var(URL_VARIABLE)) {
            (Some(path), _) => {
                let read = std::fs::read_to_string(path);
                read.with_context(|| format!("read the URL of the journal in {}", path.display()))?
            }
            (None, Ok(url)) if !url.is_empty() => url,
            (None, _) => return Ok(Place::File(state_folder.join("journal.db"))),
        };
        let url = PostgresUrl::new(&url).context("understand the URL of the journal")?;
        Ok(Place::Postgres(url))
    }
}

impl JournalArguments {
    pub(super) fn journal(&self, state_folder: &Path, writer: &str) -> anyhow::Result<Journal> {
        let keep = Keep { days: self.journal_keep_days, events: self.journal_keep_events };
        Ok(Journal::new(self.place.place(state_folder)?, keep, writer))
    }
}

impl JournalCommand {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Verify(arguments) => arguments.run().await,
            Self::Export(arguments) => arguments.run().await.map(|()| ExitCode::SUCCESS),
        }
    }
}

async fn open(place: Place) -> anyhow::Result<Journal> {
    // It only reads.
    let journal = Journal::new(place, Keep::default(), "");
    journal.open_to_read().await.with_context(|| format!("use the journal in {}", journal.place()))?;
    Ok(journal)
}

impl VerifyArguments {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let verified = async {
            let journal = open(self.place.place(&self.state_folder)?).await?;
            anyhow::Ok(journal.verify(self.holds.as_deref()).await?)
        };
        let verified = match verified.await {
            Ok(verified) => verified,
            Err(error) => {
                anstream::eprintln!("storekeeper: failed to {error:#}");
                return Ok(ExitCode::from(2));
            }
        };
        let mut out = anstream::stdout().lock();
        if let Some((position, at)) = verified.removed {
            writeln!(out, "retention removed the events up to number {position}, of {}", moment::utc(at))?;
        }
        let head = &verified.head;
        writeln!(
            out,
            "{} events fit; the last of them is number {} with the hash {}",
            verified.events, head.position, head.hash
        )?;
        if let Some(broken) = &verified.broken {
            let (position, at, reason) = (broken.position, moment::utc(broken.at), broken.reason);
            writeln!(out, "event number {position} of {at} does not fit: {reason}")?;
        }
        if verified.holds == Some(false) {
            writeln!(
                out,
                "none of them has the hash that was asked for: the journal was cut off or written anew"
            )?;
        }
        let whole = verified.broken.is_none() && verified.holds != Some(false);
        Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

impl ExportArguments {
    async fn run(self) -> anyhow::Result<()> {
        let journal = open(self.place.place(&self.state_folder)?).await?;
        let store = self.store.as_ref().map(ToString::to_string);
        let export = Export { store, since: self.since, until: self.until };
        let out = std::io::BufWriter::new(std::io::stdout().lock());
        let mut sink = match self.output {
            ExportOutput::JsonLines => Sink::Lines(out),
            ExportOutput::Csv => {
                let mut sheet = csv::Writer::from_writer(out);
                sheet.write_record(COLUMNS)?;
                Sink::Sheet(Box::new(sheet))
            }
        };
        let mut after = 0;
        while let Some((events, last)) = journal.export(&export, after, PAGE).await? {
            for event in events {
                sink.write(cleaned(event)).context("print the events")?;
            }
            after = last;
        }
        sink.flush().context("print the events")
    }
}

/// Where an export goes.
enum Sink<W: Write> {
    Lines(W),
    Sheet(Box<csv::Writer<W>>),
}

impl<W: Write> Sink<W> {
    fn write(&mut self, event: Event) -> anyhow::Result<()> {
        match self {
            Self::Lines(out) => {
                serde_json::to_writer(&mut *out, &event)?;
                out.write_all(b"\n")?;
            }
            Self::Sheet(sheet) => sheet.write_record(cells(event))?,
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Lines(out) => out.flush()?,
            Self::Sheet(sheet) => sheet.flush()?,
        }
        Ok(())
    }
}

const COLUMNS: [&str; 13] = [
    "id", "at", "kind", "store", "change", "state", "step", "took_ms", "revision", "author", "signer",
    "pull", "words",
];

/// Returns the event as it may be printed: no text of it moves a cursor or hides another one.
fn cleaned(mut event: Event) -> Event {
    let clean = |text: &mut String| *text = one_line(text, usize::MAX);
    clean(&mut event.words);
    if let Some(origin) = &mut event.origin {
        clean(&mut origin.revision);
        clean(&mut origin.author);
        origin.signer.iter_mut().for_each(clean);
    }
    event
}

fn cells(event: Event) -> [String; 13] {
    let Event { id, at, kind, store, change, state, step, took_ms, origin, words } = event;
    let word = |value: Option<serde_json::Value>| {
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let origin = origin.unwrap_or_default();
    [
        id.to_string(),
        moment::utc(at),
        kind.as_str().to_owned(),
        store.as_ref().map(ToString::to_string).unwrap_or_default(),
        word(change.and_then(|change| serde_json::to_value(change).ok())),
        state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
        step.map(|step| step.as_str().to_owned()).unwrap_or_default(),
        took_ms.map(|took| took.to_string()).unwrap_or_default(),
        no_formula(origin.revision),
        no_formula(origin.author),
        no_formula(origin.signer.unwrap_or_default()),
        origin.pull.map(|pull| pull.to_string()).unwrap_or_default(),
        no_formula(words),
    ]
}

/// A spreadsheet takes a text that begins like this for a formula, and runs it.
fn no_formula(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

fn parse_moment(text: &str) -> Result<i64, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    moment::seconds(&whole)
        .ok_or_else(|| "a day such as 2026-11-23 or a time such as 2026-11-23T08:00:00Z is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{EventKind, Origin};

    #[test]
    fn no_cell_becomes_a_formula_and_no_text_reaches_the_terminal_raw() {
        let hostile = [
            "=cmd|' /C calc'!A0",
            "+1",
            "-1",
            "@SUM(1)",
            "\t=1",
            "\u{1b}]0;x\u{7}=1",
            "a\u{9b}31m\nb\r\u{202e}",
        ];
        for text in hostile {
            let origin = Origin { author: text.into(), signer: Some(text.into()), ..Origin::default() };
            let event = Event { origin: Some(origin), ..Event::new(1, EventKind::Applied, None, text) };
            for cell in cells(cleaned(event)) {
                assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell:?}");
                assert!(!cell.chars().any(|c| c.is_control() || c == '\u{202e}'), "{cell:?}");
            }
        }
    }

    #[test]
    fn moments_are_days_or_seconds() {
        assert_eq!(parse_moment("1970-01-02"), Ok(86_400));
        assert_eq!(parse_moment("1970-01-02T00:00:01Z"), Ok(86_401));
        for bad in ["", "yesterday", "1970-13-01", "1970-01-02T00:00"] {
            assert!(parse_moment(bad).is_err(), "{bad}");
        }
    }
}
