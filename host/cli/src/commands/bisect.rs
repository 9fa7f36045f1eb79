//! `podium instance bisect`: the first cut for which a command fails.
//!
//! Each try is a fork at a cut, which is removed after. Must never leave one behind, also on Ctrl-C, nor change the instance.

use std::collections::HashMap;
use std::process::{ExitStatus, Stdio};

use podium_wire::cuts::{CutInfo, ForkInstance, Forked};
use podium_wire::{ErrorCode, InstanceId};
use reqwest::Method;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::cuts;
use crate::bisect::{Search, Verdict};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::{GOOD, Output, note};

/// The exit code by which a command says that a cut cannot be tried, as with git.
const SKIP: i32 = 125;
/// From here on an exit code is the shell's: the command was not run, or was killed.
const NOT_RUN: i32 = 126;

/// Find the first cut for which a command fails
///
/// Halves the way from a good cut to a bad one. Each cut is tried in a fork of its own, which is removed after. The command finds it in
/// PODIUM_INSTANCE, the cut's number in PODIUM_CUT, and the host in PODIUM_URL and PODIUM_TOKEN, so that `podium files cat "$PODIUM_INSTANCE" PATH`
/// and `podium chat "$PODIUM_INSTANCE" TEXT` work. Exit code 0 is good, 125 says that the cut cannot be tried, 126 and above end the search, others are bad.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium instance bisect 0198c0de-0000-7000-8000-000000000001 --script 'podium files cat \"$PODIUM_INSTANCE\" notes.md | grep -q Tuesday'
  podium instance bisect 0198c0de-0000-7000-8000-000000000001 --script ./check.sh --good 4 --bad 40")]
pub(crate) struct Bisect {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// What is run by `sh -c` for each cut
    #[arg(long, value_name = "CMD")]
    script: String,
    /// A cut for which it does not fail [default: the first]
    #[arg(long, value_name = "CUT")]
    good: Option<u64>,
    /// A later cut for which it fails [default: the last]
    #[arg(long, value_name = "CUT")]
    bad: Option<u64>,
}

impl Bisect {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let cuts = cuts::all(client, self.instance).await?;
        let way = way(&cuts, self.good, self.bad)?;
        let Some(mut search) = Search::new(&way) else {
            return Err(Failure::new(ErrorCode::Usage, "there is only one cut, and nothing between to find"));
        };
        let (first, last) = (way[0], way[way.len() - 1]);
        // From here on it does not end the process: a fork that is made is known, and removed.
        let refused = |error: std::io::Error| Failure::new(ErrorCode::Internal, format!("no signals: {error}"));
        let mut interrupts = signal(SignalKind::interrupt()).map_err(refused)?;
        for (cut, wanted) in [(last, Verdict::Bad), (first, Verdict::Good)] {
            let found = self.try_cut(client, cut, &mut interrupts).await?;
            if found != wanted {
                let word = if wanted == Verdict::Bad { "does not fail" } else { "fails, or cannot be tried," };
                return Err(Failure::new(ErrorCode::Usage, format!("the command {word} at cut {cut}")));
            }
        }
        while let Some(cut) = search.next() {
            note(&format!("{} tries left at most", search.tries_left()));
            let verdict = self.try_cut(client, cut, &mut interrupts).await?;
            search.tell(cut, verdict);
        }
        let suspects = search.suspects();
        let found = cuts.iter().find(|cut| suspects.last() == Some(&cut.cut));
        if output.is_json() {
            let first_bad = if suspects.len() == 1 { found } else { None };
            return output.json(&json!({ "first_bad": first_bad, "suspects": suspects }));
        }
        match (suspects.as_slice(), found) {
            ([cut], Some(info)) => {
                let message = info.message_id.as_ref().map(|id| format!(", message {id}")).unwrap_or_default();
                output.marked(GOOD, "first bad", &format!("cut {cut} ({}{message})", info.kind.as_str()))
            }
            _ => {
                let list: Vec<String> = suspects.iter().map(ToString::to_string).collect();
                output.marked(GOOD, "first bad", &format!("one of the cuts {}", list.join(", ")))
            }
        }
    }

    /// Tries a cut in a fork, which is gone after.
    async fn try_cut(&self, client: &Client, cut: u64, interrupts: &mut Signal) -> Result<Verdict, Failure> {
        let path = ["instances", &self.instance.to_string(), "fork"];
        let forked: Forked = client.call(Method::POST, &path, Some(&ForkInstance { at: Some(cut) })).await?;
        let fork = forked.instance.instance_id;
        let tried = tokio::select! {
            tried = self.run_script(client, fork, cut) => tried,
            _ = interrupts.recv() => Err(Failure::new(ErrorCode::Interrupted, "the search was ended")),
        };
        let removed = client.order(Method::DELETE, &["instances", &fork.to_string()]).await;
        let verdict = tried?;
        removed?;
        let word = match verdict {
            Verdict::Good => "good",
            Verdict::Bad => "bad",
            Verdict::Skip => "cannot be tried",
        };
        note(&format!("cut {cut}: {word}"));
        Ok(verdict)
    }

    async fn run_script(&self, client: &Client, fork: InstanceId, cut: u64) -> Result<Verdict, Failure> {
        let mut command = tokio::process::Command::new("sh");
        command
            .args(["-c", &self.script])
            .env("PODIUM_INSTANCE", fork.to_string())
            .env("PODIUM_CUT", cut.to_string())
            .env("PODIUM_URL", client.address())
            .stdin(Stdio::null())
            // What it prints is for people: stdout has the result only.
            .stdout(std::io::stderr())
            .kill_on_drop(true);
        if let Some(token) = client.token() {
            command.env("PODIUM_TOKEN", token);
        }
        let failed = |error: std::io::Error| Failure::new(ErrorCode::Internal, format!("`sh` cannot be run: {error}"));
        verdict(command.status().await.map_err(failed)?)
    }
}

fn verdict(status: ExitStatus) -> Result<Verdict, Failure> {
    match status.code() {
        Some(0) => Ok(Verdict::Good),
        Some(SKIP) => Ok(Verdict::Skip),
        Some(code) if code < NOT_RUN => Ok(Verdict::Bad),
        _ => Err(Failure::new(ErrorCode::Usage, format!("the command was not run to its end: {status}"))),
    }
}

/// The way from the good cut to the bad one: the chain of the bad one's parents.
fn way(cuts: &[CutInfo], good: Option<u64>, bad: Option<u64>) -> Result<Vec<u64>, Failure> {
    let parents: HashMap<u64, u64> = cuts.iter().map(|cut| (cut.cut, cut.parent)).collect();
    let last = cuts.last().map_or(0, |cut| cut.cut);
    let bad = bad.unwrap_or(last);
    let mut way = Vec::new();
    let mut at = bad;
    while at > 0 {
        let Some(parent) = parents.get(&at) else {
            return Err(Failure::new(ErrorCode::CutNotFound, format!("there is no cut {at}")));
        };
        way.push(at);
        if Some(at) == good {
            break;
        }
        at = *parent;
    }
    if let Some(good) = good.filter(|good| way.last() != Some(good)) {
        let message = format!("cut {good} does not lie on the way to cut {bad}");
        return Err(Failure::new(
            if parents.contains_key(&good) { ErrorCode::Usage } else { ErrorCode::CutNotFound },
            message,
        ));
    }
    way.reverse();
    Ok(way)
}
