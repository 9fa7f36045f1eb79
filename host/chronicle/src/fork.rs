//! A workspace that begins with the content of another one's version, and shares it.
//!
//! The command only writes down where the content is, and a lease there: the same few bytes for any workspace. When the new workspace is first
//! used, it takes its rows from there and links the segments that it needs; from then on nothing connects the two. A workspace that is deleted
//! before leaves its history to those that still need it. Must never write to a linked segment: it is the other's too, and a sealed
//! one here.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use podium_sqlite::{Database, Synchronous, create_file, sync_folder};

use crate::cas::{Cas, Part};
use crate::chronicle::{Chronicle, Place, make_folders};
use crate::error::ChronicleError;
use crate::failpoint;
use crate::hash::ContentHash;
use crate::limits::DIFFERENCES_MAX;
use crate::node::Skipped;
use crate::pack::{Location, ObjectKind, Packs, Segment, file_name};
use crate::path::WorkPath;
use crate::recover::RECOVER;
use crate::rows;
use crate::rows::meta;
use crate::schema;
use crate::snapshot::iteration;
use crate::tree::empty_root;
use crate::trees::Trees;
use crate::version::{Version, VersionKind, VersionStatus};

/// The number of a fork's first version, and of the cut that names it.
pub const FORK_VERSION: u64 = 1;

/// First line of the note that says where a fork's content is.
const NOTE: &str = "podium fork 1";
/// What a lease for a fork is called; the way to the fork follows.
const LEASE: &str = "fork:";
/// Collections of the other workspace that may come between reading its rows and linking its segments.
const LINK_TRIES: u32 = 16;

/// One at a time: a workspace that is deleted must not go while another one takes its rows.
static TAKING: Mutex<()> = Mutex::new(());

impl Place {
    fn note(&self) -> PathBuf {
        self.metadata().join("source")
    }

    /// Where a deleted workspace left its history to this one.
    fn left(&self) -> PathBuf {
        self.metadata().join("source.d")
    }

    /// The way from here to another workspace below the same folder, which holds wherever that folder is moved to.
    fn way_to(&self, other: &Self) -> Result<String, ChronicleError> {
        let refused = || ChronicleError::Refused("a fork lies beside its origin");
        let above = self.folder().ancestors().nth(2).ok_or_else(refused)?;
        let rest = other.folder().strip_prefix(above).ok().and_then(Path::to_str).ok_or_else(refused)?;
        if rest.contains('\n') { Err(refused()) } else { Ok(format!("../../{rest}")) }
    }

    fn is_there(path: &Path) -> Result<bool, ChronicleError> {
        match path.symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ChronicleError::file(path, error)),
        }
    }

    /// True for a fork whose files nobody has used.
    fn is_unused_fork(&self) -> Result<bool, ChronicleError> {
        Ok(!Self::is_there(&self.database())? && Self::is_there(&self.note())?)
    }
}

/// Where a fork's content is.
struct Note {
    way: String,
    root: ContentHash,
}

impl Note {
    fn write(&self, place: &Place) -> Result<(), ChronicleError> {
        let text = format!("{NOTE}\n{}\n{}\n", self.way, self.root);
        create_file(&place.note(), text.as_bytes(), true).map_err(|error| ChronicleError::file(place.note(), error))?;
        for folder in [place.metadata(), place.folder().to_path_buf()] {
            sync_folder(&folder)?;
        }
        Ok(())
    }

    fn read(place: &Place) -> Result<Option<Self>, ChronicleError> {
        let text = match std::fs::read_to_string(place.note()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ChronicleError::file(place.note(), error)),
        };
        let damaged = || ChronicleError::Refused("the note of where a fork's content is cannot be read");
        let mut lines = text.lines();
        let (first, way, root) = (lines.next(), lines.next(), lines.next());
        match (first, way, root.and_then(ContentHash::from_hex)) {
            (Some(NOTE), Some(way), Some(root)) => Ok(Some(Self { way: way.to_owned(), root })),
            _ => Err(damaged()),
        }
    }
}

impl Chronicle {
    /// Makes `fork`, which does not exist yet but for the folder above it, a fork of a version: its first one. O(1), whatever the size; what
    /// the version left out, and the fork lacks, is answered. [`ChronicleError::NoVersion`] when its content was not kept. The
    /// fork is whole when this returns; one that is given up is removed with its folder.
    pub fn plant(&self, version: u64, root: ContentHash, fork: &Place) -> Result<Vec<Skipped>, ChronicleError> {
        plant(&self.database, &self.place, version, root, fork)
    }

    /// As [`Chronicle::plant`], of a workspace that is not open.
    pub fn plant_from(
        place: &Place,
        version: u64,
        root: ContentHash,
        fork: &Place,
        now_ms: u64,
    ) -> Result<Vec<Skipped>, ChronicleError> {
        // A fork of a fork: its rows come first, its files not.
        adopt(place, now_ms)?;
        let database = Database::open(&place.database(), Synchronous::Full)?;
        plant(&database, place, version, root, fork)
    }

    /// Leaves the history of a workspace that is about to be deleted, and is not open, to its forks that still need it; how many.
    pub fn leave_to_forks(place: &Place) -> Result<u64, ChronicleError> {
        if !Place::is_there(&place.database())? {
            return Ok(0);
        }
        let _taking = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let database = Database::open(&place.database(), Synchronous::Full)?;
        let mut heirs = Vec::new();
        for why in rows::lease::reasons(database.connection(), LEASE)? {
            let fork = Place::new(place.folder().join(why.trim_start_matches(LEASE)));
            if fork.is_unused_fork()? {
                heirs.push(fork);
            }
        }
        // From here on the main file has everything, and nobody changes it.
        database.rest()?;
        for fork in &heirs {
            leave(place, fork)?;
        }
        Ok(u64::try_from(heirs.len()).unwrap_or(u64::MAX))
    }

    /// Ends the leases of forks that have their own rows now, or are gone.
    pub(crate) fn end_needless_leases(&self) -> Result<(), ChronicleError> {
        for why in rows::lease::reasons(self.database.connection(), LEASE)? {
            let fork = Place::new(self.place.folder().join(why.trim_start_matches(LEASE)));
            if !fork.is_unused_fork()? {
                self.release(&why)?;
            }
        }
        Ok(())
    }
}

fn plant(
    database: &Database,
    place: &Place,
    version: u64,
    root: ContentHash,
    fork: &Place,
) -> Result<Vec<Skipped>, ChronicleError> {
    let connection = database.connection();
    // A later version may have the same content.
    let kept = rows::version::with_root(connection, root, version)?.ok_or(ChronicleError::NoVersion(version))?;
    let (there, back) = (place.way_to(fork)?, fork.way_to(place)?);
    for folder in [fork.folder().to_path_buf(), fork.metadata()] {
        std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|error| ChronicleError::file(&folder, error))?;
    }
    // The note comes first: a lease without one is needless.
    Note { way: back, root }.write(fork)?;
    hit(place, "fork.noted")?;
    database.transaction(|connection| rows::lease::write(connection, kept, &format!("{LEASE}{there}"), None))?;
    hit(place, "fork.leased")?;
    rows::skipped::at(connection, kept)
}

fn hit(place: &Place, name: &'static str) -> Result<(), ChronicleError> {
    failpoint::hit(name).map_err(|error| ChronicleError::file(place.metadata(), error))
}

/// Links the whole history of a workspace, at rest, into a fork.
fn leave(place: &Place, fork: &Place) -> Result<(), ChronicleError> {
    let (begun, left) = (fork.metadata().join("source.begun"), fork.left());
    for old in [&begun, &left] {
        remove_all(old)?;
    }
    let linked = || -> std::io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).create(&begun)?;
        link(&place.database(), &begun.join("chronicle.db"))?;
        for entry in std::fs::read_dir(place.cas())? {
            let entry = entry?;
            link(&entry.path(), &begun.join(entry.file_name()))?;
        }
        std::fs::File::open(&begun)?.sync_all()?;
        std::fs::rename(&begun, &left)
    };
    linked().map_err(|error| ChronicleError::file(&left, error))?;
    hit(place, "fork.left")?;
    sync_folder(&fork.metadata())?;
    Ok(())
}

/// Another name for a file; a copy where the file system has no such thing.
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            std::fs::copy(from, to)?;
            std::fs::File::open(to)?.sync_all()
        }
        linked => linked,
    }
}

fn remove_all(path: &Path) -> Result<(), ChronicleError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ChronicleError::file(path, error)),
        _ => Ok(()),
    }
}

/// What a fork takes from where it comes from.
struct Taken {
    nodes: Vec<(ContentHash, Vec<u8>)>,
    objects: Vec<(ContentHash, Location)>,
    segments: Vec<Segment>,
    changes: Vec<crate::version::Iteration>,
}

/// Gives a fork that is used for the first time its own rows and links; its files come with the opening. Does nothing to any other
/// workspace.
pub(crate) fn adopt(place: &Place, now_ms: u64) -> Result<(), ChronicleError> {
    if !Place::is_there(&place.note())? {
        return Ok(());
    }
    let _taking = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if !place.is_unused_fork()? {
        // A kill came between the last two steps.
        forget(place);
        return Ok(());
    }
    let Some(note) = Note::read(place)? else { return Ok(()) };
    make_folders(place)?;
    let origin = Place::new(place.folder().join(&note.way));
    let (database, cas) = if Place::is_there(&origin.database())? {
        (origin.database(), origin.cas())
    } else {
        (place.left().join("chronicle.db"), place.left())
    };
    let mut tries = 0;
    let taken = loop {
        tries += 1;
        let taken = take(&database, &cas, note.root, now_ms)?;
        if link_segments(place, &cas, &taken.segments)? {
            break taken;
        }
        if tries >= LINK_TRIES {
            return Err(ChronicleError::damaged(note.root, "segments that a fork needs are missing"));
        }
    };
    hit(place, "fork.linked")?;
    write(place, note.root, &taken, now_ms)?;
    hit(place, "fork.written")?;
    forget(place);
    Ok(())
}

/// Removes the note of a fork that has its own rows, and what was left to it.
fn forget(place: &Place) {
    let removed = remove_all(&place.left())
        .and_then(|()| std::fs::remove_file(place.note()).map_err(|error| ChronicleError::file(place.note(), error)));
    if let Err(error) = removed {
        // It is no harm: the database is there.
        tracing::warn!(%error, "a fork's note stays");
    }
}

/// Reads everything that a tree needs, in one view of the other's database.
fn take(database: &Path, cas: &Path, root: ContentHash, now_ms: u64) -> Result<Taken, ChronicleError> {
    let database = Database::open(database, Synchronous::Normal)?;
    let connection = database.connection();
    connection.execute_batch("BEGIN")?;
    let trees = Trees::new(&database);
    let cas = Cas::new(Packs::new(cas.to_path_buf(), 0), 0, u64::MAX);
    let mut taken = Taken { nodes: Vec::new(), objects: Vec::new(), segments: Vec::new(), changes: Vec::new() };
    let (mut contents, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut nodes = vec![root];
    while let Some(hash) = nodes.pop() {
        if hash == empty_root() || !seen.insert(*hash.as_bytes()) {
            continue;
        }
        let (beneath, within) = trees.named_by(hash)?;
        nodes.extend(beneath);
        contents.extend(within.iter().map(|hash| *hash.as_bytes()));
        let data = rows::tree::find(connection, hash)?;
        taken.nodes.push((hash, data.ok_or_else(|| ChronicleError::damaged(hash, "a tree is not stored"))?));
    }
    let mut needed: HashMap<ContentHash, Location> = HashMap::new();
    let mut wanted: Vec<ContentHash> = contents.into_iter().map(ContentHash::from_bytes).collect();
    while let Some(hash) = wanted.pop() {
        if needed.contains_key(&hash) {
            continue;
        }
        // What is damaged there is damaged here: the file says so when it is read.
        let Some(location) = rows::object::find(connection, hash)? else { continue };
        if location.kind == ObjectKind::ChunkList {
            match cas.parts(&database, hash) {
                Ok(parts) => wanted.extend(parts.iter().filter_map(|part| match part {
                    Part::Data(_, hash) => Some(*hash),
                    Part::Zeros(_) => None,
                })),
                Err(error @ ChronicleError::Damaged { .. }) => tracing::error!(%error, "a fork lacks a file's content"),
                Err(error) => return Err(error),
            }
        }
        needed.insert(hash, location);
    }
    let in_use: BTreeSet<u64> = needed.values().map(|location| location.segment).collect();
    taken.segments = rows::segment::all(connection)?;
    taken.segments.retain(|segment| in_use.contains(&segment.id));
    taken.objects = needed.into_iter().collect();
    // In the order of the table: rows are appended.
    taken.objects.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
    let differences = trees.diff(&WorkPath::root(), empty_root(), root, DIFFERENCES_MAX)?;
    taken.changes =
        (1..).zip(differences).map(|(n, difference)| iteration(difference, n, 1, FORK_VERSION, now_ms)).collect();
    connection.execute_batch("COMMIT")?;
    Ok(taken)
}

/// Links segments; false when one has been written anew elsewhere meanwhile.
fn link_segments(place: &Place, from: &Path, segments: &[Segment]) -> Result<bool, ChronicleError> {
    let to = place.cas();
    remove_all(&to)?;
    std::fs::DirBuilder::new().mode(0o700).create(&to).map_err(|error| ChronicleError::file(&to, error))?;
    for segment in segments {
        let name = file_name(segment.id);
        match link(&from.join(&name), &to.join(&name)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(ChronicleError::file(to.join(name), error)),
        }
    }
    sync_folder(&to)?;
    Ok(true)
}

/// Writes the database of a fork, as a whole file.
fn write(place: &Place, root: ContentHash, taken: &Taken, now_ms: u64) -> Result<(), ChronicleError> {
    let count = u64::try_from(taken.changes.len()).unwrap_or(u64::MAX);
    let image = schema::template()?.filled::<ChronicleError>(|connection| {
        let last = taken.segments.iter().map(|segment| segment.id).max().unwrap_or(0);
        meta::set_number(connection, meta::LAST_SEGMENT, last)?;
        for (hash, data) in &taken.nodes {
            rows::tree::write(connection, *hash, data)?;
        }
        for (hash, location) in &taken.objects {
            rows::object::write(connection, *hash, location)?;
        }
        for segment in &taken.segments {
            rows::segment::write(connection, &Segment { sealed: true, ..*segment })?;
        }
        taken.changes.iter().try_for_each(|change| rows::change::insert(connection, change))?;
        write_first_version(connection, root, count, now_ms)
    })?;
    create_file(&place.database(), &image, true).map_err(|error| ChronicleError::file(place.database(), error))?;
    for folder in [place.metadata(), place.folder().to_path_buf()] {
        sync_folder(&folder)?;
    }
    Ok(())
}

/// Writes the first version of a workspace that begins with content, of which `changes` are the iterations, and that nobody has opened.
pub(crate) fn write_first_version(
    connection: &rusqlite::Connection,
    root: ContentHash,
    changes: u64,
    now_ms: u64,
) -> Result<(), ChronicleError> {
    let version = Version {
        id: FORK_VERSION,
        cut: Some(FORK_VERSION),
        parent: 0,
        root,
        kind: VersionKind::Restore,
        status: VersionStatus::Committed,
        turn: None,
        at: now_ms,
        first_n: 1,
        last_n: changes,
        added: changes,
        modified: 0,
        deleted: 0,
        new_bytes: 0,
        unstable: 0,
    };
    for (key, value) in [
        (meta::CLEAN, 0),
        (meta::UNADOPTED, 0),
        (meta::HEAD, FORK_VERSION),
        (meta::NEXT_VERSION, FORK_VERSION + 1),
        (meta::NEXT_N, changes + 1),
        (meta::SCHEMA, u64::try_from(schema::SCHEMA_VERSION).unwrap_or(0)),
    ] {
        meta::set_number(connection, key, value)?;
    }
    rows::version::insert(connection, &version)?;
    // The folder is on its way from nothing to this content: what the opening finds there is no version.
    rows::op::start(connection, RECOVER, empty_root(), root, now_ms)?;
    Ok(())
}
