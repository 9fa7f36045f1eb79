//! A workspace that comes in entry by entry, from nobody who can be trusted, straight into a store of its own.
//!
//! Entries come in the one order that [`crate::Walk`] gives them: a folder before what is in it, names rising. So no name can come twice, no
//! entry can lie in what is no folder, and no link is ever followed: nothing is resolved by the system. Must never write outside its place, and is
//! no workspace until [`Incoming::finish`] has found the tree that was promised.

use std::io::{self, Read};

use fastcdc::v2020::StreamCDC;
use podium_sqlite::{Database, Synchronous, create_file, sync_folder};

use crate::cas::{Cas, Part};
use crate::chronicle::{Place, make_folders, open_database};
use crate::error::ChronicleError;
use crate::fork::write_first_version;
use crate::hash::ContentHash;
use crate::limits::{
    CHUNK_AVERAGE, CHUNK_MAX, CHUNK_MIN, DEPTH_MAX, DIFFERENCES_MAX, FILE_BYTES_MAX, LINK_BYTES_MAX, Limits,
    WHOLE_BYTES,
};
use crate::node::{FileTime, Kind};
use crate::pack::Packs;
use crate::path::WorkPath;
use crate::rows;
use crate::schema;
use crate::snapshot::{check_totals, iteration, write_objects};
use crate::tree::{Entry, Nodes, Totals, empty_root, write_folder};
use crate::trees::Trees;

/// Objects and nodes that wait in memory to be recorded.
const PENDING_MAX: usize = 4096;

/// Why an entry, or the whole, was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// It is nothing that a walk gives.
    #[error("{path}: {what}")]
    Refused {
        /// Where.
        path: WorkPath,
        /// What is wrong.
        what: &'static str,
    },
    /// Its content could not be read where it comes from.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] ChronicleError),
}

/// A folder that is not complete.
#[derive(Debug)]
struct OpenFolder {
    path: WorkPath,
    mode: u16,
    entries: Vec<Entry>,
}

/// A workspace on its way in.
#[derive(Debug)]
pub struct Incoming {
    place: Place,
    database: Database,
    cas: Cas,
    nodes: Nodes,
    /// Objects since the last record.
    pending: usize,
    limits: Limits,
    totals: Totals,
    open: Vec<OpenFolder>,
    now_ms: u64,
}

impl Incoming {
    /// Begins one in a place that is not there yet, but for the folder above it.
    pub fn begin(place: Place, limits: Limits, now_ms: u64) -> Result<Self, ChronicleError> {
        make_folders(&place)?;
        let image = schema::template()?.filled::<ChronicleError>(|_| Ok(()))?;
        create_file(&place.database(), &image, false).map_err(|error| ChronicleError::file(place.database(), error))?;
        let database = open_database(&place)?;
        let cas = Cas::new(Packs::new(place.cas(), 0), 0, limits.store_bytes);
        let open = vec![OpenFolder { path: WorkPath::root(), mode: 0, entries: Vec::new() }];
        let (nodes, pending, totals) = (Nodes::new(), 0, Totals::default());
        Ok(Self { place, database, cas, nodes, pending, limits, totals, open, now_ms })
    }

    /// The next entry is a folder.
    pub fn folder(&mut self, path: &WorkPath, mode: u16) -> Result<(), IncomingError> {
        self.place(path, mode, 0)?;
        self.open.push(OpenFolder { path: path.clone(), mode, entries: Vec::new() });
        Ok(())
    }

    /// The next entry is a link, wherever it leads: its target is content.
    pub fn link(&mut self, path: &WorkPath, mode: u16, target: &[u8]) -> Result<(), IncomingError> {
        if target.is_empty() || target.len() >= LINK_BYTES_MAX || target.contains(&0) {
            return Err(refused(path, "a link leads nowhere"));
        }
        self.place(path, mode, 0)?;
        let hash = self.cas.put(&self.database, target)?;
        let size = u64::try_from(target.len()).unwrap_or(u64::MAX);
        self.add(path, Kind::Link, mode, size, FileTime::default(), hash)
    }

    /// The next entry is a file of `size` bytes, which `content` has to give.
    pub fn file(
        &mut self,
        path: &WorkPath,
        mode: u16,
        mtime: FileTime,
        size: u64,
        content: &mut impl Read,
    ) -> Result<(), IncomingError> {
        if size > self.limits.file_bytes.min(FILE_BYTES_MAX) {
            return Err(refused(path, "a file is larger than a version may have"));
        }
        if mtime.nanoseconds > 999_999_999 {
            return Err(refused(path, "a time is none"));
        }
        self.place(path, mode, size)?;
        let hash = match usize::try_from(size) {
            Ok(size) if size <= WHOLE_BYTES => {
                let mut bytes = vec![0; size];
                content.read_exact(&mut bytes).map_err(IncomingError::Read)?;
                self.cas.put(&self.database, &bytes)?
            }
            _ => self.large(content, size)?,
        };
        self.add(path, Kind::File, mode, size, mtime, hash)
    }

    /// Stores a large file as chunks; those of zeros alone become holes again.
    fn large(&mut self, content: &mut impl Read, size: u64) -> Result<ContentHash, IncomingError> {
        let mut hasher = blake3::Hasher::new();
        let (mut parts, mut read) = (Vec::new(), 0_u64);
        for chunk in StreamCDC::new(content.take(size), CHUNK_MIN, CHUNK_AVERAGE, CHUNK_MAX) {
            let data = chunk.map_err(|error| IncomingError::Read(error.into()))?.data;
            let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
            hasher.update(&data);
            read += u64::from(len);
            if data.iter().all(|byte| *byte == 0) {
                match parts.last_mut() {
                    Some(Part::Zeros(before)) => *before += u64::from(len),
                    _ => parts.push(Part::Zeros(u64::from(len))),
                }
                continue;
            }
            parts.push(Part::Data(len, self.cas.put(&self.database, &data)?));
            self.pending += 1;
        }
        if read != size {
            return Err(IncomingError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let hash = ContentHash::from(hasher.finalize());
        self.cas.put_list(&self.database, hash, &parts)?;
        Ok(hash)
    }

    /// Looks whether an entry may come next, and counts it before anything of it is read. Folders that are complete by it are closed.
    fn place(&mut self, path: &WorkPath, mode: u16, bytes: u64) -> Result<(), IncomingError> {
        let (parent, name) = path.split().ok_or_else(|| refused(path, "the workspace itself is no entry"))?;
        if path.is_reserved() {
            return Err(refused(path, "the name is reserved for the history"));
        }
        if path.depth() > self.limits.depth.min(DEPTH_MAX) {
            return Err(refused(path, "it lies in too many folders"));
        }
        if mode & !0o777 != 0 {
            return Err(refused(path, "its permissions are none"));
        }
        while self.open.last().is_some_and(|folder| folder.path != parent) {
            if self.open.len() == 1 {
                return Err(refused(path, "its folder did not come before it"));
            }
            self.close()?;
        }
        let last = self.open.last().and_then(|folder| folder.entries.last());
        if last.is_some_and(|last| *last.name >= *name) {
            return Err(refused(path, "names come twice or out of order"));
        }
        self.totals.add(path, bytes);
        check_totals(self.totals, &self.limits)?;
        Ok(())
    }

    fn add(
        &mut self,
        path: &WorkPath,
        kind: Kind,
        mode: u16,
        size: u64,
        mtime: FileTime,
        hash: ContentHash,
    ) -> Result<(), IncomingError> {
        let name = path.split().map(|(_, name)| Box::from(name)).unwrap_or_default();
        if let Some(folder) = self.open.last_mut() {
            folder.entries.push(Entry { name, kind, mode, size, entries: 0, path_bytes: 0, mtime, hash });
        }
        self.pending += 1;
        if self.pending >= PENDING_MAX { Ok(self.record()?) } else { Ok(()) }
    }

    /// Writes the innermost open folder into the one around it.
    fn close(&mut self) -> Result<(), ChronicleError> {
        let (Some(folder), Some(around)) = (self.open.pop(), self.open.last_mut()) else { return Ok(()) };
        let hash = write_folder(&folder.entries, &mut self.nodes)?;
        let name = folder.path.split().map(|(_, name)| Box::from(name)).unwrap_or_default();
        around.entries.push(Entry::folder(name, folder.mode, Totals::of(&folder.entries), hash));
        if self.nodes.len() >= PENDING_MAX { self.record() } else { Ok(()) }
    }

    /// Records what was stored: memory holds a bounded part of it.
    fn record(&mut self) -> Result<(), ChronicleError> {
        self.cas.packs.sync()?;
        let (cas, nodes) = (&self.cas, &self.nodes);
        // Nothing of it counts before the whole is there, and is synced.
        self.database.transaction_at(Synchronous::Normal, |connection| {
            write_objects(connection, cas, None)?;
            nodes.iter().try_for_each(|(hash, node)| rows::tree::write(connection, *hash, node))
        })?;
        self.cas.recorded(&self.nodes);
        self.nodes.clear();
        self.pending = 0;
        // A log that is never written back would be as large as the rows.
        if self.database.wal_bytes() > podium_sqlite::CHECKPOINT_BYTES {
            self.database.checkpoint()?;
        }
        Ok(())
    }

    /// Makes it a workspace whose first version has this tree, durably: what a fork is before its files are used. Refused when the
    /// entries were others.
    pub fn finish(mut self, root: ContentHash) -> Result<Totals, IncomingError> {
        while self.open.len() > 1 {
            self.close()?;
        }
        let entries = self.open.pop().map(|folder| folder.entries).unwrap_or_default();
        let found = write_folder(&entries, &mut self.nodes)?;
        drop(entries);
        if found != root {
            return Err(refused(&WorkPath::root(), "its files are others than it says"));
        }
        self.record()?;
        let Self { place, database, totals, now_ms, .. } = self;
        write_first(&database, root, now_ms)?;
        database.rest().map_err(ChronicleError::from)?;
        let file = place.database();
        std::fs::File::open(&file)
            .and_then(|opened| opened.sync_all())
            .map_err(|error| ChronicleError::file(&file, error))?;
        for folder in [place.cas(), place.metadata(), place.folder().to_path_buf()] {
            sync_folder(&folder).map_err(ChronicleError::from)?;
        }
        Ok(totals)
    }
}

fn write_first(database: &Database, root: ContentHash, now_ms: u64) -> Result<(), ChronicleError> {
    let differences = Trees::new(database).diff(&WorkPath::root(), empty_root(), root, DIFFERENCES_MAX)?;
    let count = u64::try_from(differences.len()).unwrap_or(u64::MAX);
    database.transaction(|connection| {
        for (n, difference) in (1..).zip(differences) {
            let change = iteration(difference, n, 1, crate::fork::FORK_VERSION, now_ms);
            rows::change::insert(connection, &change)?;
        }
        write_first_version(connection, root, count, now_ms)
    })
}

fn refused(path: &WorkPath, what: &'static str) -> IncomingError {
    IncomingError::Refused { path: path.clone(), what }
}
