//! `podium instance export|import`: an instance as one file, and a new one of it.
//!
//! Must never leave half a file under the name that was asked for, nor end well with one.

use std::io::Write;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use podium_wire::portable::{CONTENT_BYTES_HEADER, CUT_HEADER, Imported, LEFT_OUT_HEADER, TAIL_BYTES, TAIL_MAGIC};
use podium_wire::{ErrorCode, InstanceId};
use reqwest::{Body, Method, Response};
use serde_json::json;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::input;
use crate::client::{Client, SLOW};
use crate::exit::{Exit, Failure};
use crate::output::{Output, note};
use crate::progress::Progress;
use crate::whole_file::WholeFile;

/// Bytes of a file that are read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Write a cut of an instance to one file, from which any host makes an instance
///
/// The file has the state, the conversation, the configuration and the files of the cut, and the component, so that it runs where that was never
/// deployed. It goes to stdout, or to FILE once it is whole. What the agent and people wrote is in it as it is: treat it as you treat them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium instance export 0198c0de-0000-7000-8000-000000000001 > librarian.podium
  podium instance export 0198c0de-0000-7000-8000-000000000001 --at 4 -o librarian.podium
  podium instance export 0198c0de-0000-7000-8000-000000000001 | zstd -d | tar -t")]
pub(crate) struct Export {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// The cut [default: the last]
    #[arg(long, value_name = "CUT")]
    at: Option<u64>,
    /// Where to; what is there stays until the new file is whole [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave the component out: smaller, and for hosts that have the same deployment
    #[arg(long)]
    without_component: bool,
}

/// Make a new instance of an exported file
///
/// It begins as the cut was: state, conversation, files, configuration and code. It is a new instance with an id of its own, and shares nothing with
/// the one that was exported. A component that this host does not have is deployed from the file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium instance import librarian.podium
  podium instance export ID | podium instance import - --url http://127.0.0.1:8091")]
pub(crate) struct Import {
    /// The file; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Export {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        tokio::select! {
            written = self.write(client, output) => written,
            // Dropped, and not killed: what lies beside the file that was asked for goes with it.
            Ok(()) = tokio::signal::ctrl_c() => {
                note("cancelled");
                Err(Failure::Said(Exit::Failed))
            }
        }
    }

    async fn write(&self, client: &Client, output: &Output) -> Result<(), Failure> {
        if self.output.is_none() && (output.is_terminal() || output.is_json()) {
            let why = if output.is_json() { "stdout has room for JSON only" } else { "an export is no text" };
            return Err(Failure::usage(why).hint("Name a file: `--output FILE`."));
        }
        let mut query = vec![("component", (!self.without_component).to_string())];
        query.extend(self.at.map(|at| ("at", at.to_string())));
        let preparing = Progress::spinner("reading the instance");
        let request = client.api(Method::GET, &["instances", &self.instance.to_string(), "export"])?.query(&query);
        let mut response = client.send(request, SLOW).await?;
        drop(preparing);
        let (cut, left_out) = (number(&response, CUT_HEADER), number(&response, LEFT_OUT_HEADER));
        let bytes = match &self.output {
            None => copy(client, &mut response, |piece| output.bytes(piece)).await?,
            Some(target) => to_file(client, &mut response, target).await?,
        };
        if left_out > 0 {
            note(&format!("{left_out} paths are in no cut, and not in the file"));
        }
        if let Some(target) = &self.output {
            if output.is_json() {
                let said = json!({
                    "instance_id": self.instance, "cut": cut, "file": target, "size_bytes": bytes, "left_out": left_out,
                });
                return output.json(&said);
            }
            note(&format!("wrote cut {cut} to {}", target.display()));
        }
        Ok(())
    }
}

/// A number that the answer says beside the file; 0 when it does not.
fn number(response: &Response, header: &str) -> u64 {
    response.headers().get(header).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// Writes the file beside its name, and gives it that name when it is whole.
async fn to_file(client: &Client, response: &mut Response, target: &Path) -> Result<u64, Failure> {
    let mut file = WholeFile::begin(target)?;
    let bytes = copy(client, response, |piece| file.write(piece)).await?;
    file.finish()?;
    Ok(bytes)
}

/// Gives the file to `write` piece by piece; its bytes. Fails when it is not whole.
async fn copy(
    client: &Client,
    response: &mut Response,
    mut write: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let progress = Progress::bytes(number(response, CONTENT_BYTES_HEADER), "exporting");
    let mut whole = Whole::new(progress.counter());
    let mut bytes = 0;
    while let Some(piece) = client.piece(response).await? {
        bytes += piece.len() as u64;
        whole.add(&piece);
        write(&piece)?;
    }
    if !whole.is_whole() {
        return Err(Failure::new(ErrorCode::InvalidExport, "the export broke off: what was written is not whole"));
    }
    Ok(bytes)
}

/// Looks whether a file that goes by is whole, and counts what is in it.
struct Whole {
    hash: blake3::Hasher,
    /// Its last bytes so far, at most those of the last frame.
    tail: Vec<u8>,
    /// Unpacks for the bar; none once something cannot be unpacked, which the hash will tell.
    count: Option<zstd::stream::write::Decoder<'static, Counting>>,
}

struct Counting(Box<dyn Fn(u64) + Send + Sync>);

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.0)(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Whole {
    fn new(counter: impl Fn(u64) + Send + Sync + 'static) -> Self {
        let count = zstd::stream::write::Decoder::new(Counting(Box::new(counter))).ok();
        Self { hash: blake3::Hasher::new(), tail: Vec::new(), count }
    }

    fn add(&mut self, piece: &[u8]) {
        if self.count.as_mut().is_some_and(|count| count.write_all(piece).is_err()) {
            self.count = None;
        }
        self.tail.extend_from_slice(piece);
        let settled = self.tail.len().saturating_sub(TAIL_BYTES);
        self.hash.update(&self.tail[..settled]);
        self.tail.drain(..settled);
    }

    fn is_whole(&self) -> bool {
        let hash = self.hash.finalize();
        let frame = [&TAIL_MAGIC[..], &32_u32.to_le_bytes(), hash.as_bytes()].concat();
        self.tail == frame
    }
}

impl Import {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let unreadable = |error: std::io::Error| input::unreadable(&self.file, &error);
        let request = client.api(Method::POST, &["instances", "import"])?;
        let imported: Imported = if input::is_stdin(&self.file) {
            let progress = Progress::spinner("importing");
            let imported = client.fetch(request.body(body(input::stdin()?, |_| {})), SLOW).await?;
            drop(progress);
            imported
        } else {
            let file = tokio::fs::File::open(&self.file).await.map_err(unreadable)?;
            let size = file.metadata().await.map_err(unreadable)?.len();
            let progress = Progress::bytes(size, "importing");
            let request = request.header(reqwest::header::CONTENT_LENGTH, size).body(body(file, progress.counter()));
            client.fetch(request, SLOW).await?
        };
        if output.is_json() {
            return output.json(&imported);
        }
        if imported.deployed {
            note(&format!("deployed {}", imported.instance.deployment_id));
        }
        for path in &imported.left_out {
            note(&format!("it lacks {path}, which is in no cut"));
        }
        output.line(&imported.instance.instance_id.to_string())
    }
}

fn body(source: impl AsyncRead + Send + 'static, count: impl Fn(u64) + Send + Sync + 'static) -> Body {
    Body::wrap_stream(ReaderStream::with_capacity(source, PIECE_BYTES).inspect(move |piece| {
        if let Ok(piece) = piece {
            count(piece.len() as u64);
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these bytes before its last frame.
    fn file(begin: &[u8]) -> Vec<u8> {
        [begin, &TAIL_MAGIC, &32_u32.to_le_bytes(), blake3::hash(begin).as_bytes()].concat()
    }

    fn is_whole(file: &[u8], piece: usize) -> bool {
        let mut whole = Whole::new(|_| {});
        file.chunks(piece).for_each(|piece| whole.add(piece));
        whole.is_whole()
    }

    #[test]
    fn a_file_is_whole_with_its_last_frame_and_nothing_else() {
        let whole = file(b"any bytes");
        for piece in [1, 7, 1000] {
            assert!(is_whole(&whole, piece));
            assert!((0..whole.len()).all(|len| !is_whole(&whole[..len], piece)));
            assert!(!is_whole(&[&whole[..], b"x"].concat(), piece));
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(!is_whole(&changed, 16), "byte {at}");
        }
    }
}
