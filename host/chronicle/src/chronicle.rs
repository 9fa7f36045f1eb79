//! An open workspace: its folders, its database, and where it stands.
//!
//! One owner uses it at a time; it blocks, so it belongs on a thread that may. Must never change `work/` but to bring it to a
//! version that somebody named.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use podium_kit::Clock;
use podium_sqlite::{CHECKPOINT_BYTES, Database, Synchronous, create_file, sync_folder};
use rusqlite::params;

use crate::beneath::Beneath;
use crate::cas::Cas;
use crate::dirty::DirtySet;
use crate::error::ChronicleError;
use crate::failpoint;
use crate::gc::Retention;
use crate::hash::ContentHash;
use crate::ignored::Known;
use crate::limits::Limits;
use crate::pack::{Packs, id_of};
use crate::rows;
use crate::rows::meta;
use crate::schema;
use crate::trash::Trash;
use crate::tree::empty_root;

/// Page cache of a history: a version of ten files among a hundred thousand reads and writes some two hundred pages, many of them twice.
const CACHE_KIB: i64 = 512;

/// The folder of one workspace: `chronicle/` of an instance.
#[derive(Debug, Clone)]
pub struct Place(PathBuf);

impl Place {
    /// The workspace whose files are below `folder`, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The files as a guest sees them.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// What the history is kept in.
    pub fn metadata(&self) -> PathBuf {
        self.0.join("metadata")
    }

    pub(crate) fn cas(&self) -> PathBuf {
        self.0.join("metadata/cas")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.0.join("metadata/tmp")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("metadata/chronicle.db")
    }

    fn folders(&self) -> [PathBuf; 5] {
        [self.0.clone(), self.work(), self.metadata(), self.cas(), self.tmp()]
    }
}

/// What a workspace needs from the host.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The host's clock.
    pub clock: Clock,
    /// What names this run of the machine: see [`boot_id`].
    pub boot_id: String,
    /// How large it may be.
    pub limits: Limits,
    /// Which versions are kept when the store has no room for a new one.
    pub retention: Retention,
}

/// This run of the machine's kernel, as the kernel names it; empty where it cannot be known, which counts as a new one each time.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// The version that the last cut in `messages.db` names; what `work/` has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Named {
    /// The last cut.
    pub cut: u64,
    /// The workspace's version in it; 0 when it has none.
    pub version: u64,
    /// The name of its tree; none when it has none.
    pub root: Option<ContentHash>,
}

/// A version and its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) version: u64,
    pub(crate) root: ContentHash,
}

/// What opening found to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// True when there was no history yet.
    pub created: bool,
    /// True when files are there from before the history, and no cut names a version that has them. An external cut must come
    /// before any turn: until then nothing can be rolled back or restored, as that would take them away.
    pub unadopted: bool,
    /// True when everything was looked at.
    pub scanned: bool,
    /// The recovered version that keeps what no cut knows of.
    pub recovered: Option<u64>,
    /// Versions that no cut names and that are recovered ones now.
    pub past: Vec<u64>,
    /// What was done to bring the workspace back.
    pub brought: crate::restore::Brought,
    /// Segments that are missing or too short: what was in them cannot be read.
    pub damaged_segments: Vec<u64>,
    /// True when the workspace was too large to be kept as a recovered version before it was brought back.
    pub too_large_to_keep: bool,
}

/// An open workspace with its history.
#[derive(Debug)]
pub struct Chronicle {
    pub(crate) place: Place,
    pub(crate) work: Beneath,
    pub(crate) tmp: Trash,
    pub(crate) database: Database,
    pub(crate) cas: Cas,
    pub(crate) dirty: DirtySet,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) retention: Retention,
    /// The patterns that were looked up last.
    pub(crate) patterns: Known,
    /// The last version that a cut names.
    pub(crate) head: Tip,
    /// The last version: what `work/` was when it was looked at last.
    pub(crate) tip: Tip,
    /// True while versions after the head are prepared.
    pub(crate) prepared: bool,
    /// The version and the cut of a commit whose rows could not be written yet.
    pub(crate) owed: Option<(u64, u64)>,
    /// True while files from before the history are in no version that a cut names.
    pub(crate) unadopted: bool,
    /// True when a restore failed half way: `work/` is no version, and none may be made of it.
    pub(crate) unsettled: bool,
    /// True when a file that changes always changes its times.
    pub(crate) sure_times: bool,
}

impl Chronicle {
    /// Opens a workspace, makes it when it is not there, and brings `work/` to what `named` says, when it may be anything else
    /// (TURN.md §3, recovery). `dirty` is where the recorders tell.
    pub fn open(
        place: Place,
        named: Named,
        surroundings: Surroundings,
        dirty: DirtySet,
    ) -> Result<(Self, Opened), ChronicleError> {
        let Surroundings { clock, boot_id, limits, retention } = surroundings;
        crate::fork::adopt(&place, clock.now_ms())?;
        make_folders(&place)?;
        let created = make_database(&place, &boot_id)?;
        let database = open_database(&place)?;
        let connection = database.connection();
        if meta::number(connection, meta::SCHEMA)? != u64::try_from(schema::SCHEMA_VERSION).ok() {
            return Err(ChronicleError::Refused("the history is of another version of Podium"));
        }
        let work = Beneath::open(&place.work()).map_err(|error| ChronicleError::file(place.work(), error))?;
        let tmp = Trash::open(place.tmp())?;
        let (cas, damaged_segments) = open_cas(&place, &database, &limits)?;
        let root = named.root.unwrap_or_else(empty_root);
        if root != empty_root() && !rows::tree::has(connection, root)? {
            return Err(ChronicleError::damaged(root, "the tree of the last cut is not stored"));
        }
        let head = Tip { version: named.version, root };
        let sure_times = sure_times(&work);
        let mut chronicle = Self {
            place,
            work,
            tmp,
            database,
            cas,
            dirty,
            clock,
            limits,
            retention,
            patterns: Known::default(),
            head,
            tip: head,
            prepared: false,
            owed: None,
            unadopted: false,
            unsettled: false,
            sure_times,
        };
        let mut opened = Opened { created, damaged_segments, ..Opened::default() };
        chronicle.begin(&named, &boot_id, &mut opened)?;
        Ok((chronicle, opened))
    }

    /// Decides whether `work/` can be trusted, and brings it back where not.
    fn begin(&mut self, named: &Named, boot: &str, opened: &mut Opened) -> Result<(), ChronicleError> {
        let connection = self.database.connection();
        let same_boot = !boot.is_empty() && meta::text(connection, meta::BOOT)?.as_deref() == Some(boot);
        let clean = meta::number(connection, meta::CLEAN)? == Some(1);
        let unadopted = meta::number(connection, meta::UNADOPTED)? == Some(1) && named.root.is_none();
        let at_head = clean && meta::number(connection, meta::HEAD)? == Some(named.version);
        let has_links = meta::number(connection, meta::HARD_LINKS)? == Some(1);
        let cut_short = !rows::op::started(connection)?.is_empty();
        opened.past = self.database.transaction_at(Synchronous::Normal, |connection| {
            if named.version > 0 {
                rows::version::commit(connection, named.version, named.cut)?;
            }
            let past = rows::version::recover_past(connection, named.version, named.cut)?;
            // Those of a turn that is not cut yet stay: it may wait, and be run again.
            rows::lease::end_turns(connection, named.cut)?;
            meta::set_number(connection, meta::HEAD, named.version)?;
            meta::set_number(connection, meta::CLEAN, 0)?;
            if !unadopted {
                meta::set_number(connection, meta::UNADOPTED, 0)?;
            }
            meta::set_text(connection, meta::BOOT, boot)?;
            if !same_boot {
                // After a power cut a file may have any content with the times of another.
                rows::stat::clear(connection)?;
            }
            Ok::<_, ChronicleError>(past)
        })?;
        if unadopted {
            self.unadopted = true;
            opened.unadopted = true;
            self.dirty.scan_needed();
            return Ok(());
        }
        if has_links {
            self.dirty.scan_needed();
        }
        if opened.created && named.root.is_none() {
            return Ok(());
        }
        if !(clean && same_boot && at_head && !cut_short) {
            let back = self.bring_back(&crate::dirty::Generation { scan: true, ..Default::default() })?;
            opened.scanned = true;
            opened.recovered = back.kept;
            opened.brought = back.brought;
            opened.too_large_to_keep = back.too_large_to_keep;
        }
        Ok(())
    }

    /// The dirty set that recorders tell.
    pub fn dirty(&self) -> &DirtySet {
        &self.dirty
    }

    /// Sets how large it may be from the next snapshot on. What there is stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.cas.set_limit(limits.store_bytes);
    }

    /// Where its files are.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// True while files from before the history are in no version that a cut names; see [`Opened::unadopted`].
    pub fn is_unadopted(&self) -> bool {
        self.unadopted
    }

    /// The version that the last cut names, and its tree.
    pub fn head(&self) -> (u64, ContentHash) {
        (self.head.version, self.head.root)
    }

    /// The version made last, prepared or committed, and its tree.
    pub fn tip(&self) -> (u64, ContentHash) {
        (self.tip.version, self.tip.root)
    }

    /// Bytes that the database's log holds; past [`CHECKPOINT_BYTES`] it is worth writing back.
    pub fn checkpoint_due(&self) -> bool {
        self.database.wal_bytes() > CHECKPOINT_BYTES
    }

    /// Writes the database's log back. For moments when nothing waits.
    pub fn checkpoint(&self) -> Result<(), ChronicleError> {
        self.database.checkpoint()?;
        Ok(())
    }

    /// Closes in order: when `work/` is the head and nothing is dirty, the next opening looks at no file.
    pub fn close(mut self) -> Result<(), ChronicleError> {
        self.mark_clean()
    }

    /// As [`Chronicle::close`], and leaves only the database's main file.
    pub fn rest(mut self) -> Result<(), ChronicleError> {
        self.mark_clean()?;
        self.database.rest()?;
        Ok(())
    }

    /// Refuses what compares `work/` with the head, while that lacks files that nobody made since.
    pub(crate) fn check_adopted(&self) -> Result<(), ChronicleError> {
        if self.unadopted {
            return Err(ChronicleError::Refused("files from before the history are in no cut yet"));
        }
        Ok(())
    }

    fn mark_clean(&mut self) -> Result<(), ChronicleError> {
        self.note_commit()?;
        if self.prepared || self.unsettled || self.dirty.is_dirty() || self.tip != self.head {
            return Ok(());
        }
        self.database.transaction_at(Synchronous::Normal, |connection| {
            meta::set_number(connection, meta::HEAD, self.head.version)?;
            meta::set_number(connection, meta::CLEAN, 1)
        })
    }

    /// Bytes that the history takes: what is recorded in segments, and the database's rows.
    pub(crate) fn store_bytes(&self) -> Result<u64, ChronicleError> {
        Ok(self.cas.recorded_bytes().saturating_add(rows::bytes(self.database.connection())?))
    }

    /// Notes that a content or a tree is damaged. The next snapshot looks at everything, and stores it anew if `work/` has it.
    pub(crate) fn note_damaged(&mut self, hash: ContentHash) {
        if self.cas.note_damaged(hash) {
            self.dirty.scan_needed();
        }
    }

    /// Drops what a failed step appended.
    pub(crate) fn forget_pending(&mut self) {
        if let Err(error) = self.database.settle() {
            // The rows that name it may be there after a crash, so it must be, too.
            tracing::warn!(%error, "whether a failed commit comes back is not known; what it names stays");
            self.cas.abandon();
            return;
        }
        if let Err(error) = self.cas.forget(&self.database) {
            // The next opening cuts it off; until then nothing is appended to that segment.
            tracing::warn!(%error, "a segment cannot be taken up again");
        }
    }

    pub(crate) fn hit(&self, name: &'static str) -> Result<(), ChronicleError> {
        failpoint::hit(name).map_err(|error| ChronicleError::file(self.place.metadata(), error))
    }
}

pub(crate) fn make_folders(place: &Place) -> Result<(), ChronicleError> {
    for folder in place.folders() {
        match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            // Whoever works in it may have taken our rights on it.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))
            }
            made => made,
        }
        .map_err(|error| ChronicleError::file(&folder, error))?;
    }
    Ok(())
}

/// Opens the history's database.
pub(crate) fn open_database(place: &Place) -> Result<Database, ChronicleError> {
    Ok(Database::open_with_cache(&place.database(), Synchronous::Full, CACHE_KIB)?)
}

/// Makes the database of a workspace that has none, durably; true when it did.
fn make_database(place: &Place, boot: &str) -> Result<bool, ChronicleError> {
    let file = place.database();
    match file.symlink_metadata() {
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(ChronicleError::file(file, error)),
    }
    let work = place.work();
    let found_files = std::fs::read_dir(&work).map_err(|error| ChronicleError::file(&work, error))?.next().is_some();
    let image = schema::template()?.filled::<ChronicleError>(|connection| {
        let mut insert =
            connection.prepare_cached("INSERT INTO meta(k, v) VALUES (?1, ?2)").map_err(ChronicleError::from)?;
        insert.execute(params![meta::SCHEMA, schema::SCHEMA_VERSION])?;
        insert.execute(params![meta::CLEAN, 0])?;
        insert.execute(params![meta::UNADOPTED, i64::from(found_files)])?;
        insert.execute(params![meta::BOOT, boot])?;
        Ok(())
    })?;
    create_file(&file, &image, true).map_err(|error| ChronicleError::file(&file, error))?;
    // A cut may soon name what is in here: no folder above may be missing after a power cut.
    let above = place.0.parent().filter(|above| !above.as_os_str().is_empty()).map(Path::to_path_buf);
    for folder in [Some(place.metadata()), Some(place.0.clone()), above].into_iter().flatten() {
        sync_folder(&folder)?;
    }
    Ok(true)
}

/// The database decides what exists (rule R2): cuts off what segments have beyond their recorded length, and removes files without
/// a row. Gives the segments that have less than is recorded.
pub(crate) fn open_cas(place: &Place, database: &Database, limits: &Limits) -> Result<(Cas, Vec<u64>), ChronicleError> {
    let connection = database.connection();
    let segments = rows::segment::all(connection)?;
    let folder = place.cas();
    let names = std::fs::read_dir(&folder).map_err(|error| ChronicleError::file(&folder, error))?;
    for name in names {
        let name = name.map_err(|error| ChronicleError::file(&folder, error))?.file_name();
        let id = name.to_str().and_then(id_of);
        if !id.is_some_and(|id| segments.iter().any(|segment| segment.id == id)) {
            let path = folder.join(&name);
            tracing::debug!(path = %path.display(), "removing a file that no row names");
            let removed = match path.symlink_metadata() {
                Ok(found) if found.is_dir() => std::fs::remove_dir_all(&path),
                _ => std::fs::remove_file(&path),
            };
            removed.map_err(|error| ChronicleError::file(path, error))?;
        }
    }
    let mut packs = Packs::new(folder, meta::number(connection, meta::LAST_SEGMENT)?.unwrap_or(0));
    let mut damaged = Vec::new();
    let mut bytes = 0_u64;
    for segment in &segments {
        bytes = bytes.saturating_add(segment.len);
        let path = packs.path(segment.id);
        let found = path.symlink_metadata().map(|found| found.len()).unwrap_or(0);
        if found < segment.len {
            tracing::error!(path = %path.display(), recorded = segment.len, found, "a segment is damaged");
            damaged.push(segment.id);
            if !segment.sealed {
                database.transaction_at::<_, ChronicleError>(Synchronous::Normal, |connection| {
                    rows::segment::seal(connection, segment.id)
                })?;
            }
        } else if !segment.sealed {
            packs.resume(*segment)?;
        }
    }
    Ok((Cas::new(packs, bytes, limits.store_bytes), damaged))
}

/// File systems whose kernel gives a changed file new times even within one tick, from Linux 6.13 on.
const FINE_TIMES: [i64; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994];

/// Whether a file that changes always shows it in its times.
fn sure_times(work: &Beneath) -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the field's width differs between machines"
    )]
    let kind = rustix::fs::fstatfs(work.root()).map_or(0, |found| found.f_type as i64);
    version >= (6, 13) && FINE_TIMES.contains(&kind)
}
