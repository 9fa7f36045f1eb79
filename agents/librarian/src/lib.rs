//! The librarian: put documents into its workspace, ask it questions.
//!
//! Finds the passages that answer a question, by BM25 over Markdown and text files, and streams
//! them with file and line. Needs no key and no network. `list` names the documents, `index`
//! reads changed ones, `remove PATH` asks whether it may remove one, anything else is a question.

mod answer;
mod chunk;
mod index;
mod library;
mod rank;
mod words;

use std::path::Path;
use std::time::Duration;

use podium_sdk::{Permission, ToolKind, prelude::*};

use answer::Source;
use library::{Library, Refresh};

/// Where a host gives an agent its files.
const WORKSPACE: &str = "/workspace";

/// Most passages in an answer.
const PASSAGES_MAX: usize = 10;

/// The slowest pace of an answer.
const PACE_MS_MAX: u64 = 1000;

/// Most paths named in a list or a remark.
const NAMES_MAX: usize = 50;

/// What the librarian remembers beside its index.
#[derive(Default, DeltaState)]
struct Shelf {
    /// Documents in the index.
    documents: u64,
    /// Passages in the index.
    passages: u64,
    /// Questions asked so far.
    questions: u64,
}

/// What its owner may set.
#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    /// Passages in an answer, 1 to 10.
    passages: usize,
    /// Milliseconds between two pieces of an answer, for people who read along; at most 1,000.
    pace_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { passages: 3, pace_ms: 0 }
    }
}

struct Librarian;

#[podium_sdk::agent]
impl Agent for Librarian {
    type State = Shelf;
    type Config = Settings;

    fn config_schema() -> Option<Json> {
        let passages = json!({ "type": "integer", "minimum": 1, "maximum": PASSAGES_MAX });
        let pace = json!({ "type": "integer", "minimum": 0, "maximum": PACE_MS_MAX });
        Some(json!({ "type": "object", "properties": { "passages": passages, "pace_ms": pace } }))
    }

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let (library, refresh) = Library::open(Path::new(WORKSPACE)).context("reading the workspace")?;
        if let Some(reason) = refresh.rebuilt {
            podium_sdk::warn!("the index was built anew: {reason}");
        }
        cx.state.documents = library.index.documents.len() as u64;
        cx.state.passages = library.index.passages() as u64;
        match message.text.trim() {
            "" => cx.reply("Ask me something, or say `list`, `index` or `remove PATH`."),
            "list" => cx.reply(list(&library, &refresh)),
            "index" => cx.reply(format!("{}{}", state_of(&library, &refresh), remarks(&refresh))),
            text => match text.strip_prefix("remove ") {
                Some(path) => remove(cx, &library, path.trim()).await,
                None => answer(cx, &library, &refresh, text).await,
            },
        }
    }

    async fn on_config_change(cx: &mut Ctx<Self>, _: Vec<Change>, _: String) -> Result<()> {
        if (1..=PASSAGES_MAX).contains(&cx.config.passages) {
            Ok(())
        } else {
            Err(Error::new("invalid_config", format!("`passages` must be 1 to {PASSAGES_MAX}")))
        }
    }
}

async fn answer(cx: &mut Ctx<Librarian>, library: &Library, refresh: &Refresh, question: &str) -> Result<()> {
    cx.state.questions += 1;
    if library.index.documents.is_empty() {
        let none = "I have no documents yet. Put some into my workspace: podium files put ID notes.md notes.md";
        return cx.reply(format!("{none}{}", remarks(refresh)));
    }
    let search = cx.tool("search", ToolKind::Search, &json!({ "query": question }))?;
    let terms = library.query(question);
    let sources = sources(library, &terms, cx.config.passages.clamp(1, PASSAGES_MAX))?;
    let citations: Vec<String> = sources.iter().map(Source::citation).collect();
    search.succeed(&json!({ "passages": citations }))?;
    if sources.is_empty() {
        let documents = plural(library.index.documents.len(), "document");
        return cx.reply(format!("Nothing in my {documents} matches that question.{}", remarks(refresh)));
    }
    let mut text = cx.stream();
    let pace = Duration::from_millis(cx.config.pace_ms.min(PACE_MS_MAX));
    for piece in answer::pieces(&sources) {
        text.write(piece)?;
        if !pace.is_zero() {
            cx.sleep(pace).await?;
        }
    }
    text.write(remarks(refresh))?;
    text.finish()
}

/// Removes a document, if a person lets it.
async fn remove(cx: &mut Ctx<Librarian>, library: &Library, path: &str) -> Result<()> {
    // Only what is in the index: a path of somebody's own leads nowhere.
    let Some(document) = library.index.documents.iter().find(|document| document.path == path) else {
        return cx.reply(format!("I have no document {path}."));
    };
    let permission =
        Permission::file_change(format!("remove {path}")).details(&json!({ "passages": document.passages.len() }));
    if !cx.permit(permission).await?.is_accepted() {
        return cx.reply(format!("{path} stays."));
    }
    std::fs::remove_file(Path::new(WORKSPACE).join(path)).context(format!("removing {path}"))?;
    let (library, _) = Library::open(Path::new(WORKSPACE)).context("reading the workspace")?;
    cx.state.documents = library.index.documents.len() as u64;
    cx.state.passages = library.index.passages() as u64;
    cx.reply(format!("{path} is removed."))
}

fn sources(library: &Library, terms: &[String], limit: usize) -> Result<Vec<Source>> {
    let hits = rank::search(&library.index, terms, limit);
    let source = |hit: &rank::Hit| {
        let document = &library.index.documents[hit.document];
        let passage = &document.passages[hit.passage];
        let lines = (passage.first_line, passage.last_line);
        let text = library.lines(&document.path, lines.0, lines.1).context(format!("reading {}", document.path))?;
        Ok(Source { path: document.path.clone(), lines, heading: passage.heading.clone(), text })
    };
    hits.iter().map(source).collect()
}

fn list(library: &Library, refresh: &Refresh) -> String {
    let documents = &library.index.documents;
    let mut text = state_of(library, refresh);
    for document in documents.iter().take(NAMES_MAX) {
        text.push_str(&format!("\n- {} ({})", document.path, plural(document.passages.len(), "passage")));
    }
    if documents.len() > NAMES_MAX {
        text.push_str(&format!("\n- and {} more", documents.len() - NAMES_MAX));
    }
    text + &remarks(refresh)
}

fn state_of(library: &Library, refresh: &Refresh) -> String {
    let (documents, passages) = (library.index.documents.len(), library.index.passages());
    let (documents, passages) = (plural(documents, "document"), plural(passages, "passage"));
    format!("{documents}, {passages}; {} read now, {} gone.", refresh.read, refresh.gone)
}

/// What somebody who reads the answer should know: documents that it does not cover.
fn remarks(refresh: &Refresh) -> String {
    let mut text = String::new();
    if refresh.pending > 0 {
        let pending = plural(refresh.pending, "document");
        text.push_str(&format!("\n\nNot read yet: {pending}; ask again and I read on."));
    }
    if !refresh.skipped.is_empty() {
        let named = |(path, why): &(String, &str)| format!("{path} ({why})");
        let names: Vec<String> = refresh.skipped.iter().take(NAMES_MAX).map(named).collect();
        let rest = refresh.skipped.len() - names.len();
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        text.push_str(&format!("\n\nNot read: {}{more}.", names.join(", ")));
    }
    text
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
