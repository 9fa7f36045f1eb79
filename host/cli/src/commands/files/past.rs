//! What a file was: its history, its content at an iteration, and the way back.

use std::path::Path;

use podium_wire::rest::{ExternalCut, FileIteration, FileOp, IterationPage, RestoreFile};
use reqwest::Method;
use serde_json::json;

use super::{PAGE, as_json, route};
use crate::client::{Client, SLOW};
use crate::commands::input;
use crate::exit::Failure;
use crate::output::{Output, moment, note, size};
use crate::whole_file::WholeFile;

/// Digits of a hash that people need to tell contents apart.
const HASH_DIGITS: usize = 12;

/// The route of a part of a file's past.
fn past<'a>(instance: &'a str, path: &'a str, parts: &[&'a str]) -> Result<Vec<&'a str>, Failure> {
    Ok([route(instance, path)?.as_slice(), parts].concat())
}

/// Prints the iterations of a path.
pub(super) async fn history(client: &Client, output: &Output, instance: &str, path: &str) -> Result<(), Failure> {
    let route = past(instance, path, &["history"])?;
    let mut iterations = Vec::new();
    let mut after = None;
    loop {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(after.map(|after: u64| ("after", after.to_string())));
        let page: IterationPage = client.get_with(&route, &query).await?;
        after = page.next.filter(|_| !page.iterations.is_empty());
        iterations.extend(page.iterations);
        if after.is_none() {
            break;
        }
    }
    if output.is_json() {
        return output.json(&IterationPage { iterations, next: None });
    }
    let rows: Vec<_> = iterations.iter().map(row).collect();
    output.table(["n", "when", "what", "size", "cut", "content"], &rows, "no cut has it yet")
}

fn row(iteration: &FileIteration) -> [String; 6] {
    let op = match iteration.op {
        FileOp::Created => "created",
        FileOp::Modified => "modified",
        FileOp::Deleted => "deleted",
        FileOp::Touched => "touched",
    };
    let hash = iteration.hash.as_deref().unwrap_or_default();
    [
        iteration.n.to_string(),
        moment(iteration.timestamp_ms),
        op.to_owned(),
        if hash.is_empty() { String::new() } else { size(iteration.size) },
        iteration.cut.map(|cut| cut.to_string()).unwrap_or_default(),
        hash.get(..HASH_DIGITS).unwrap_or(hash).to_owned(),
    ]
}

/// Gets a file's content, as it is or was at an iteration.
pub(super) async fn get(
    client: &Client,
    output: &Output,
    instance: &str,
    path: &str,
    target: &Path,
    at: Option<u64>,
) -> Result<(), Failure> {
    let n = at.map(|n| n.to_string());
    let route = match &n {
        None => route(instance, path)?,
        Some(n) => past(instance, path, &["at", n])?,
    };
    let mut response = client.send(client.api(Method::GET, &route)?, SLOW).await?;
    if input::is_stdin(target) {
        if output.is_json() {
            return as_json(client, output, &mut response, path).await;
        }
        while let Some(piece) = client.piece(&mut response).await? {
            output.bytes(&piece)?;
        }
        return Ok(());
    }
    let mut file = WholeFile::begin(target)?;
    let mut bytes = 0_u64;
    while let Some(piece) = client.piece(&mut response).await? {
        bytes += piece.len() as u64;
        file.write(&piece)?;
    }
    file.finish()?;
    if output.is_json() {
        return output.json(&json!({ "path": path, "file": target, "size_bytes": bytes }));
    }
    note(&format!("wrote {}", target.display()));
    Ok(())
}

/// Brings a path back to what it was at an iteration.
pub(super) async fn restore(
    client: &Client,
    output: &Output,
    instance: &str,
    path: &str,
    n: u64,
) -> Result<(), Failure> {
    let route = past(instance, path, &["restore"])?;
    let cut: ExternalCut = client.call(Method::POST, &route, Some(&RestoreFile { n })).await?;
    if output.is_json() {
        return output.json(&json!({ "path": path, "n": n, "cut": cut.cut }));
    }
    note(&format!("{path} is what it was at {n}; cut {}", cut.cut));
    Ok(())
}
