//! `podium files`: an instance's workspace from outside; what it was in `past`.

mod past;

use std::path::{Path, PathBuf};

use podium_wire::rest::{ExternalCut, FileEntry, FileKind, FilePage};
use podium_wire::{ErrorCode, InstanceId};
use reqwest::{Body, Method, Response};
use serde_json::json;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::{Context, input};
use crate::client::{Client, SLOW, block_on};
use crate::exit::Failure;
use crate::output::{Output, moment, note, size};
use crate::progress::Progress;

/// Entries that are asked for at once.
const PAGE: usize = 1000;

/// Folders within folders that `put` goes down into: deeper ones are a loop or a mistake.
const DEPTH_MAX: usize = 64;

/// Bytes of a file that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Files of an instance's workspace.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Files {
    /// List files
    #[command(after_help = "Examples:
  podium files ls 0198c0de-0000-7000-8000-000000000001
  podium files ls 0198c0de-0000-7000-8000-000000000001 docs")]
    Ls {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
        /// Only what lies in this folder
        path: Option<String>,
    },
    /// Print a file
    #[command(after_help = "Examples:
  podium files cat 0198c0de-0000-7000-8000-000000000001 notes.md")]
    Cat {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
        /// The path in the workspace
        path: String,
    },
    /// Write a file, or a folder with everything in it
    #[command(after_help = "Examples:
  podium files put 0198c0de-0000-7000-8000-000000000001 notes.md notes.md
  podium files put 0198c0de-0000-7000-8000-000000000001 docs ./docs
  date | podium files put 0198c0de-0000-7000-8000-000000000001 today.txt -")]
    Put {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
        /// The path in the workspace; `.` puts a folder's content at the top
        path: String,
        /// The file or folder; `-` is stdin
        #[arg(value_name = "FILE", default_value = "-")]
        source: PathBuf,
    },
    /// Get a file as it is, or as it was
    #[command(after_help = "Examples:
  podium files get 0198c0de-0000-7000-8000-000000000001 notes.md notes.md
  podium files get 0198c0de-0000-7000-8000-000000000001 notes.md --at 41")]
    Get {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
        /// The path in the workspace
        path: String,
        /// Where to write it; `-` is stdout
        #[arg(value_name = "FILE", default_value = "-")]
        target: PathBuf,
        /// As it was at this iteration, a number of its history
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        at: Option<u64>,
    },
    /// List what happened to a file, whether or not it is still there
    #[command(after_help = "Examples:
  podium files history 0198c0de-0000-7000-8000-000000000001 notes.md")]
    History {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
        /// The path in the workspace
        path: String,
    },
    /// Bring a file, or a folder with everything in it, back to what it was
    #[command(after_help = "Examples:
  podium files history 0198c0de-0000-7000-8000-000000000001 notes.md
  podium files restore 0198c0de-0000-7000-8000-000000000001 notes.md --to 41")]
    Restore {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
        /// The path in the workspace
        path: String,
        /// The iteration, a number of its history; one that removed it removes it again
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        to: u64,
    },
    /// Remove a file
    #[command(after_help = "Examples:
  podium files rm 0198c0de-0000-7000-8000-000000000001 notes.md")]
    Rm {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
        /// The path in the workspace
        path: String,
    },
}

impl Files {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let (client, output) = (context.client()?, context.output);
        block_on(async {
            match self {
                Self::Ls { instance, path } => list(&client, output, instance, path.as_deref()).await,
                Self::Cat { instance, path } => cat(&client, output, instance, &path).await,
                Self::Put { instance, path, source } => put(&client, output, instance, &path, &source).await,
                Self::Get { instance, path, target, at } => {
                    past::get(&client, output, &instance.to_string(), &path, &target, at).await
                }
                Self::History { instance, path } => past::history(&client, output, &instance.to_string(), &path).await,
                Self::Restore { instance, path, to } => {
                    past::restore(&client, output, &instance.to_string(), &path, to).await
                }
                Self::Rm { instance, path } => {
                    let request = client.api(Method::DELETE, &route(&instance.to_string(), &path)?)?;
                    let cut: ExternalCut = client.fetch(request, SLOW).await?;
                    if output.is_json() {
                        return output.json(&cut);
                    }
                    note(&format!("removed {path}"));
                    Ok(())
                }
            }
        })
    }
}

/// The route of a file; every part of its path is a segment.
fn route<'a>(instance: &'a str, path: &'a str) -> Result<Vec<&'a str>, Failure> {
    let mut segments = vec!["instances", instance, "files"];
    for part in path.split('/') {
        // A URL drops such parts silently, and another file would be meant.
        if matches!(part, "" | "." | "..") {
            let refused = format!("`{path}` is not a path in the workspace");
            return Err(Failure::new(ErrorCode::InvalidPath, refused));
        }
        segments.push(part);
    }
    Ok(segments)
}

async fn list(client: &Client, output: &Output, instance: InstanceId, folder: Option<&str>) -> Result<(), Failure> {
    let folder = folder.map(|folder| folder.trim_end_matches('/')).filter(|folder| !folder.is_empty());
    let wanted = |entry: &FileEntry| {
        folder.is_none_or(|folder| {
            entry.path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let mut files = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(after.take().map(|after| ("after", after)));
        let page: FilePage = client.get_with(&["instances", &instance.to_string(), "files"], &query).await?;
        let more = page.next.is_some() && !page.files.is_empty();
        files.extend(page.files.into_iter().filter(wanted));
        after = page.next;
        if !more {
            break;
        }
    }
    if let (Some(folder), true) = (folder, files.is_empty()) {
        return Err(Failure::new(ErrorCode::FileNotFound, format!("there is nothing at `{folder}`")));
    }
    if output.is_json() {
        return output.json(&FilePage { files, next: None });
    }
    let row = |entry: &FileEntry| match entry.kind {
        FileKind::File => [entry.path.clone(), size(entry.size_bytes), moment(entry.modified_at)],
        FileKind::Folder => [format!("{}/", entry.path), String::new(), moment(entry.modified_at)],
        FileKind::Symlink => [format!("{} (link)", entry.path), String::new(), moment(entry.modified_at)],
        FileKind::Other => [format!("{} (other)", entry.path), String::new(), moment(entry.modified_at)],
    };
    let rows: Vec<_> = files.iter().map(row).collect();
    output.table(["path", "size", "changed"], &rows, "the workspace is empty")
}

async fn cat(client: &Client, output: &Output, instance: InstanceId, path: &str) -> Result<(), Failure> {
    past::get(client, output, &instance.to_string(), path, Path::new("-"), None).await
}

/// A file's content as a JSON text.
async fn as_json(client: &Client, output: &Output, response: &mut Response, path: &str) -> Result<(), Failure> {
    let mut content = Vec::new();
    while let Some(piece) = client.piece(response).await? {
        if content.len() + piece.len() > JSON_FILE_BYTES_MAX {
            return Err(Failure::new(ErrorCode::FileTooLarge, format!("{path} is too large for one JSON text"))
                .hint("Leave `--json` out: the content then comes as it is."));
        }
        content.extend_from_slice(&piece);
    }
    match String::from_utf8(content) {
        Ok(text) => output.json(&json!({ "path": path, "text": text })),
        Err(_) => Err(Failure::usage(format!("{path} is not UTF-8 and cannot be JSON text"))
            .hint("Leave `--json` out: the content then comes as it is.")),
    }
}

/// Most bytes of a file that is printed as JSON: it is held whole.
const JSON_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

async fn put(client: &Client, output: &Output, instance: InstanceId, path: &str, source: &Path) -> Result<(), Failure> {
    let instance = instance.to_string();
    if input::is_stdin(source) {
        let cut = upload(client, &route(&instance, path)?, input::stdin()?).await?;
        return said(output, &[path.to_owned()], &cut);
    }
    let meta = std::fs::metadata(source).map_err(|error| input::unreadable(source, &error))?;
    let files = if meta.is_dir() {
        below(source, if path == "." { "" } else { path.trim_end_matches('/') })?
    } else {
        vec![(source.to_owned(), path.to_owned(), meta.len())]
    };
    let Some((last, others)) = files.split_last() else {
        return Err(Failure::usage(format!("there are no files in {}", source.display())));
    };
    let progress = Progress::bytes(files.iter().map(|(_, _, size)| *size).sum(), "uploading");
    for (file, path, size) in others {
        put_file(client, &instance, file, path).await?;
        progress.advance(*size);
    }
    let cut = put_file(client, &instance, &last.0, &last.1).await?;
    drop(progress);
    let paths: Vec<String> = files.into_iter().map(|(_, path, _)| path).collect();
    said(output, &paths, &cut)
}

fn said(output: &Output, paths: &[String], cut: &ExternalCut) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({ "files": paths, "cut": cut.cut }));
    }
    match paths {
        [path] => note(&format!("wrote {path}")),
        paths => note(&format!("wrote {} files", paths.len())),
    }
    Ok(())
}

async fn put_file(client: &Client, instance: &str, file: &Path, path: &str) -> Result<ExternalCut, Failure> {
    let route = route(instance, path)?;
    let opened = tokio::fs::File::open(file).await.map_err(|error| input::unreadable(file, &error))?;
    upload(client, &route, opened).await
}

async fn upload(
    client: &Client,
    route: &[&str],
    source: impl AsyncRead + Send + 'static,
) -> Result<ExternalCut, Failure> {
    let body = Body::wrap_stream(ReaderStream::with_capacity(source, PIECE_BYTES));
    client.fetch(client.api(Method::PUT, route)?.body(body), SLOW).await
}

/// Every regular file in a folder with its path in the workspace and its size, sorted; links are not followed.
fn below(folder: &Path, path: &str) -> Result<Vec<(PathBuf, String, u64)>, Failure> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_owned(), path.to_owned(), 0)];
    while let Some((folder, path, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            return Err(Failure::usage(format!("{} lies too deep", folder.display())));
        }
        let entries = std::fs::read_dir(&folder).map_err(|error| input::unreadable(&folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| input::unreadable(&folder, &error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(Failure::usage(format!("the name of {} is not UTF-8", entry.path().display())));
            };
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let meta = entry.metadata().map_err(|error| input::unreadable(&entry.path(), &error))?;
            if meta.is_dir() {
                open.push((entry.path(), path, depth + 1));
            } else if meta.is_file() {
                found.push((entry.path(), path, meta.len()));
            }
        }
    }
    found.sort_by(|a, b| a.1.cmp(&b.1));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_relative_and_has_no_empty_part() {
        assert_eq!(route("i", "a/b c.md").expect("a path"), ["instances", "i", "files", "a", "b c.md"]);
        for bad in ["", "/a", "a/", "a//b", "../a", "a/./b", ".."] {
            assert_eq!(route("i", bad).expect_err(bad).code(), Some(ErrorCode::InvalidPath));
        }
    }

    #[test]
    fn a_folder_is_its_files_without_links() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("b/c")).expect("made");
        std::fs::write(folder.path().join("b/c/two.md"), "22").expect("written");
        std::fs::write(folder.path().join("a.md"), "1").expect("written");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/loop")).expect("linked");
        let found: Vec<_> =
            below(folder.path(), "docs").expect("read").into_iter().map(|(_, path, size)| (path, size)).collect();
        assert_eq!(found, [("docs/a.md".to_owned(), 1), ("docs/b/c/two.md".to_owned(), 2)]);
        assert_eq!(below(folder.path(), "").expect("read")[1].1, "b/c/two.md");
    }
}
