//! `podium instance cuts|rewind|fork|diff`: what an instance was, what came between, back to it, and on from it.

use podium_wire::InstanceId;
use podium_wire::cuts::{
    CutDiff, CutInfo, CutPage, DiffOmitted, DiffSide, FileDiff, FileDiffOp, ForkInstance, Forked, MessageDiff,
    RewindInstance, RewindReceipt,
};
use podium_wire::message::Role;
use reqwest::Method;
use serde_json::Value;

use crate::client::{Client, SLOW};
use crate::exit::Failure;
use crate::output::{GOOD, Output, moment, note, size};
use crate::progress::Progress;

/// Cuts, messages and files that are asked for at once.
const PAGE: usize = 500;

/// Go back to another cut: state, conversation, files, configuration and code together
///
/// A rewind is a cut of its own and takes nothing away: rewinding to the cut before it undoes it. A running turn is ended first, and what it
/// asks is cancelled. Ids of messages that were sent stay used.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium instance rewind 0198c0de-0000-7000-8000-000000000001 --to 4
  podium instance rewind 0198c0de-0000-7000-8000-000000000001 --to 4 --keep-component")]
pub(crate) struct Rewind {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// The cut to go to; `podium instance cuts ID` lists them
    #[arg(long, value_name = "CUT")]
    to: u64,
    /// Go on with the code that runs now; its `migrate` is run where the state has another shape
    #[arg(long)]
    keep_component: bool,
}

/// Make a new instance that begins as a copy of a cut: state, conversation, files, configuration and code
///
/// Files are shared until one of the two changes them, so it takes the same time for any workspace. The two are independent: either can be
/// rewound or deleted. Randomness differs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium instance fork 0198c0de-0000-7000-8000-000000000001
  podium instance fork 0198c0de-0000-7000-8000-000000000001 --at 4")]
pub(crate) struct Fork {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// The cut [default: the last]
    #[arg(long, value_name = "CUT")]
    at: Option<u64>,
}

impl Fork {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let path = ["instances", &self.instance.to_string(), "fork"];
        let forked: Forked = client.call(Method::POST, &path, Some(&ForkInstance { at: self.at })).await?;
        if output.is_json() {
            return output.json(&forked);
        }
        for path in &forked.left_out {
            note(&format!("it lacks {path}, which is in no cut"));
        }
        output.line(&forked.instance.instance_id.to_string())
    }
}

/// Show what differs between two cuts: a JSON Patch of the state, the messages, the files line by line
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium instance diff 0198c0de-0000-7000-8000-000000000001 4 9
  podium instance diff 0198c0de-0000-7000-8000-000000000001 4 9 --json | jq .state.patch")]
pub(crate) struct Diff {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// The one cut
    #[arg(value_name = "A")]
    from: u64,
    /// The other
    #[arg(value_name = "B")]
    to: u64,
}

impl Rewind {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let body = RewindInstance { to: self.to, keep_component: self.keep_component };
        let progress = Progress::spinner("going back");
        let path = ["instances", &self.instance.to_string(), "rewind"];
        let receipt: RewindReceipt = client.call(Method::POST, &path, Some(&body)).await?;
        drop(progress);
        if output.is_json() {
            return output.json(&receipt);
        }
        for folder in &receipt.left {
            note(&format!("{folder}/ stays: something that no cut has is in it"));
        }
        let said = format!("to cut {} as cut {}; `--to {}` undoes it", receipt.to, receipt.cut, receipt.from);
        output.marked(GOOD, "rewound", &said)
    }
}

/// All cuts of an instance.
pub(crate) async fn all(client: &Client, instance: InstanceId) -> Result<Vec<CutInfo>, Failure> {
    let (mut cuts, mut after) = (Vec::new(), 0);
    loop {
        let query = [("limit", PAGE.to_string()), ("after", after.to_string())];
        let page: CutPage = client.get_with(&["instances", &instance.to_string(), "cuts"], &query).await?;
        cuts.extend(page.cuts);
        match page.next {
            Some(next) if next > after => after = next,
            _ => return Ok(cuts),
        }
    }
}

pub(crate) async fn list(client: &Client, output: &Output, instance: InstanceId) -> Result<(), Failure> {
    let cuts = all(client, instance).await?;
    if output.is_json() {
        return output.json(&CutPage { cuts, next: None });
    }
    let or_dash = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let row = |cut: &CutInfo| {
        let mark = if cut.on_path { "*" } else { " " };
        let parent = if cut.parent == 0 { "-".to_owned() } else { cut.parent.to_string() };
        [
            format!("{mark} {}", cut.cut),
            parent,
            cut.kind.as_str().to_owned(),
            cut.message_id.clone().unwrap_or_default(),
            cut.state_version.to_string(),
            or_dash(cut.workspace.as_ref().map(|workspace| workspace.version)),
            cut.deployment_id.to_string(),
            moment(cut.at),
        ]
    };
    let rows: Vec<_> = cuts.iter().map(row).collect();
    output.table(["cut", "parent", "kind", "message", "state", "files", "deployment", "at"], &rows, "there are no cuts")
}

impl Diff {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let diff = self.whole(client).await?;
        if output.is_json() {
            return output.json(&diff);
        }
        output.text(&shown(&diff))
    }

    /// All pages as one.
    async fn whole(&self, client: &Client) -> Result<CutDiff, Failure> {
        let (mut messages_after, mut files_after) = (0, 0);
        let mut whole: Option<CutDiff> = None;
        loop {
            let query = [
                ("from", self.from.to_string()),
                ("to", self.to.to_string()),
                ("limit", PAGE.to_string()),
                ("messages_after", messages_after.to_string()),
                ("files_after", files_after.to_string()),
            ];
            let request = client.api(Method::GET, &["instances", &self.instance.to_string(), "diff"])?.query(&query);
            let page: CutDiff = client.fetch(request, SLOW).await?;
            let (messages_next, files_next) = (page.messages.next, page.files.next);
            let so_far = match &mut whole {
                None => whole.insert(page),
                Some(whole) => {
                    whole.messages.changes.extend(page.messages.changes);
                    whole.files.changes.extend(page.files.changes);
                    whole
                }
            };
            // A list that is at its end is asked for from behind its end.
            messages_after = messages_next.unwrap_or(i64::MAX.unsigned_abs());
            files_after = files_next.unwrap_or(u64::MAX);
            if messages_next.is_none() && files_next.is_none() {
                so_far.messages.next = None;
                so_far.files.next = None;
                break;
            }
        }
        whole.ok_or(Failure::PipeClosed)
    }
}

/// A difference as a person reads it.
fn shown(diff: &CutDiff) -> String {
    let title = format!("cut {} -> cut {}\n", diff.from, diff.to);
    let mut text = title.clone();
    if let Some(deployment) = &diff.deployment_id {
        text.push_str(&format!("\ndeployment {} -> {}\n", deployment.from, deployment.to));
    }
    section(&mut text, "configuration", &operations(&diff.config));
    section(
        &mut text,
        &format!("state {} -> {}", diff.state.from_version, diff.state.to_version),
        &operations(&diff.state.patch),
    );
    section(&mut text, "messages", &diff.messages.changes.iter().map(message).collect::<Vec<_>>());
    section(&mut text, "files", &diff.files.changes.iter().map(file).collect::<Vec<_>>());
    if text == title {
        text.push_str("\nthey are the same\n");
    }
    text
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        text.push_str(&format!("\n{title}\n"));
        lines.iter().for_each(|line| text.push_str(line));
    }
}

/// One line for each operation of a patch.
fn operations(patch: &Value) -> Vec<String> {
    let word = |operation: &Value, name: &str| operation.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let line = |operation: &Value| {
        let value = operation.get("value").map(|value| format!(" {value}")).unwrap_or_default();
        let path = match word(operation, "path") {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        };
        format!("  {} {path}{value}\n", word(operation, "op"))
    };
    patch.as_array().map(|operations| operations.iter().map(line).collect()).unwrap_or_default()
}

fn message(change: &MessageDiff) -> String {
    let mark = match change.side {
        DiffSide::Added => '+',
        DiffSide::Removed => '-',
    };
    let who = match change.message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::System => "system",
        Role::Tool => "tool",
    };
    let mut lines = change.message.text.lines();
    let mut text = format!("{mark} {who}: {}\n", lines.next().unwrap_or_default());
    lines.for_each(|line| text.push_str(&format!("{mark}   {line}\n")));
    text
}

fn file(change: &FileDiff) -> String {
    let letter = match change.op {
        FileDiffOp::Added => 'A',
        FileDiffOp::Modified => 'M',
        FileDiffOp::Deleted => 'D',
        FileDiffOp::Renamed => 'R',
        FileDiffOp::Touched => 'T',
    };
    let from = change.previous_path.as_ref().map(|path| format!("{path} -> ")).unwrap_or_default();
    let mode = match (change.old_mode, change.new_mode) {
        (Some(old), Some(new)) if old != new => format!(" (mode {old:o} -> {new:o})"),
        _ => String::new(),
    };
    let sizes = || match (change.old_size, change.new_size) {
        (Some(old), Some(new)) => format!("{} -> {}", size(old), size(new)),
        (old, new) => size(old.or(new).unwrap_or(0)),
    };
    let omitted = match change.omitted {
        Some(DiffOmitted::Binary) => format!(" (no text, {})", sizes()),
        Some(DiffOmitted::TooLarge) => format!(" (too large to compare, {})", sizes()),
        Some(DiffOmitted::Damaged) => " (its stored content is damaged)".to_owned(),
        None => String::new(),
    };
    format!("{letter} {from}{}{mode}{omitted}\n{}", change.path, change.diff.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use podium_wire::cuts::{FileDiffs, MessageDiffs, StateDiff};
    use podium_wire::rest::FileKind;
    use serde_json::json;

    use super::*;

    fn diff(patch: Value, files: Vec<FileDiff>) -> CutDiff {
        CutDiff {
            from: 4,
            to: 9,
            state: StateDiff { from_version: 1, to_version: 2, patch },
            messages: MessageDiffs { changes: Vec::new(), next: None },
            files: FileDiffs { same: files.is_empty(), changes: files, next: None },
            deployment_id: None,
            config: json!([]),
        }
    }

    #[test]
    fn a_difference_is_readable() {
        let moved = FileDiff {
            path: "b".into(),
            kind: FileKind::File,
            op: FileDiffOp::Renamed,
            previous_path: Some("a".into()),
            old_mode: Some(0o644),
            new_mode: Some(0o755),
            old_size: Some(1),
            new_size: Some(1),
            diff: None,
            omitted: None,
        };
        let changed = FileDiff {
            path: "c".into(),
            op: FileDiffOp::Modified,
            previous_path: None,
            new_mode: Some(0o644),
            diff: Some("--- a/c\n+++ b/c\n@@ -1 +1 @@\n-x\n+y\n".into()),
            ..moved
        };
        let patch = json!([{"op": "remove", "path": "/x"}, {"op": "replace", "path": "", "value": {}}]);
        assert_eq!(
            shown(&diff(patch, vec![moved, changed])),
            "cut 4 -> cut 9\n\nstate 1 -> 2\n  remove /x\n  replace / {}\n\nfiles\nR a -> b (mode 644 -> 755)\nM c\n\
             --- a/c\n+++ b/c\n@@ -1 +1 @@\n-x\n+y\n"
        );
        assert_eq!(shown(&diff(json!([]), Vec::new())), "cut 4 -> cut 9\n\nthey are the same\n");
    }
}
