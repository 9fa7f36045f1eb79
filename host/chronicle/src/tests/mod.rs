//! Stories of the whole crate, against real folders.

mod bring;
mod collection;
mod crash;
mod damage;
mod dirt;
mod figures;
mod forgetful;
mod fork;
mod hostile;
mod ignored;
mod kill;
mod limits;
mod portable;
mod power;
mod random;
mod rewind;
mod rights;
mod store;
mod versions;
mod view;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podium_kit::Clock;

use crate::{
    Chronicle, ContentHash, DirtySet, Limits, Named, Opened, Place, Prepared, Retention, SnapshotRequest, Surroundings,
    VersionKind, WorkPath,
};

/// A snapshot at a turn's end.
pub(super) const TURN: SnapshotRequest =
    SnapshotRequest { kind: VersionKind::Turn, cut: None, turn: None, scan: false };

/// Looks at everything.
pub(super) const SCAN: SnapshotRequest = SnapshotRequest { scan: true, ..TURN };

pub(super) fn path(text: &str) -> WorkPath {
    text.parse().unwrap()
}

/// Where a workspace of these tests is.
pub(super) enum Home {
    /// In a folder that goes with it.
    Own(tempfile::TempDir),
    /// In one that stays.
    Given(PathBuf),
}

impl Home {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Given(folder) => folder,
        }
    }
}

/// A workspace in a folder of its own, and what `messages.db` would say of it.
pub(super) struct Bench {
    pub(super) folder: Home,
    pub(super) clock: Clock,
    pub(super) boot: String,
    pub(super) limits: Limits,
    pub(super) named: Named,
    pub(super) chronicle: Option<Chronicle>,
    pub(super) dirty: DirtySet,
}

/// What stands at each path: a file's bytes, a link's target after an arrow, a folder as a slash.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

impl Bench {
    pub(super) fn new() -> Self {
        let mut bench = Self::closed(Home::Own(tempfile::tempdir().unwrap()), Named::default());
        assert!(bench.open().created);
        bench
    }

    /// The workspace that is in this folder, not opened yet.
    pub(super) fn at(folder: &Path, named: Named) -> Self {
        Self::closed(Home::Given(folder.to_owned()), named)
    }

    fn closed(folder: Home, named: Named) -> Self {
        Self {
            folder,
            clock: Clock::manual(1_800_000_000_000),
            boot: "boot-1".to_owned(),
            limits: Limits::default(),
            named,
            chronicle: None,
            dirty: DirtySet::new(),
        }
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings {
            clock: self.clock.clone(),
            boot_id: self.boot.clone(),
            limits: self.limits,
            retention: Retention::default(),
        }
    }

    pub(super) fn open(&mut self) -> Opened {
        self.try_open().unwrap()
    }

    pub(super) fn try_open(&mut self) -> Result<Opened, crate::ChronicleError> {
        self.chronicle = None;
        self.dirty = DirtySet::new();
        let place = Place::new(self.folder.path().join("chronicle"));
        let (chronicle, opened) = Chronicle::open(place, self.named, self.surroundings(), self.dirty.clone())?;
        self.chronicle = Some(chronicle);
        Ok(opened)
    }

    pub(super) fn get(&mut self) -> &mut Chronicle {
        self.chronicle.as_mut().unwrap()
    }

    pub(super) fn work(&self) -> PathBuf {
        self.folder.path().join("chronicle/work")
    }

    pub(super) fn metadata(&self) -> PathBuf {
        self.folder.path().join("chronicle/metadata")
    }

    /// Writes a file and tells of it.
    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let file = self.work().join(name);
        let mut above = PathBuf::new();
        for part in Path::new(name).parent().unwrap().components() {
            above.push(part);
            if std::fs::create_dir(self.work().join(&above)).is_ok() {
                self.dirty.touched(&path(above.to_str().unwrap()));
            }
        }
        std::fs::write(file, content).unwrap();
        self.dirty.touched(&path(name));
    }

    pub(super) fn remove(&self, name: &str) {
        std::fs::remove_file(self.work().join(name)).unwrap();
        self.dirty.touched(&path(name));
    }

    /// A turn's end: snapshot, the commit in `messages.db`, the word of it.
    pub(super) fn cut(&mut self) -> Prepared {
        self.cut_with(TURN)
    }

    pub(super) fn cut_with(&mut self, request: SnapshotRequest) -> Prepared {
        self.clock.advance(Duration::from_secs(1));
        let cut = self.named.cut + 1;
        let prepared = self.get().prepare(SnapshotRequest { cut: Some(cut), ..request }).unwrap();
        self.name(&prepared);
        self.get().commit(prepared.version, cut).unwrap();
        prepared
    }

    /// `messages.db` commits a cut with this version.
    pub(super) fn name(&mut self, prepared: &Prepared) {
        let root = (prepared.version > 0).then_some(prepared.root);
        self.named = Named { cut: self.named.cut + 1, version: prepared.version, root };
    }

    /// Everything in `work/`.
    pub(super) fn files(&self) -> Files {
        files_in(&self.work())
    }

    /// Everything that a tree says.
    pub(super) fn files_of(&self, root: ContentHash) -> Files {
        let chronicle = self.chronicle.as_ref().unwrap();
        let trees = crate::trees::Trees::new(&chronicle.database);
        let mut files = Files::new();
        trees
            .each(root, |path, entry| {
                let mut content = Vec::new();
                let name = path.to_string();
                match entry.kind {
                    crate::Kind::Folder => drop(files.insert(format!("{name}/"), content)),
                    kind => {
                        chronicle.cas.read(&chronicle.database, entry.hash, |part| {
                            match part {
                                Ok(bytes) => content.extend_from_slice(bytes),
                                Err(hole) => content.resize(content.len() + usize::try_from(hole).unwrap(), 0),
                            }
                            Ok(())
                        })?;
                        let name = if kind == crate::Kind::Link { format!("{name} ->") } else { name };
                        files.insert(name, content);
                    }
                }
                Ok(())
            })
            .unwrap();
        files
    }

    /// `work/` is the head, and the head is what is named.
    pub(super) fn assert_at_head(&self) {
        let (version, root) = self.chronicle.as_ref().unwrap().head();
        assert_eq!(version, self.named.version);
        assert_eq!(Some(root), self.named.root.or(Some(crate::empty_root())));
        assert_eq!(self.files(), self.files_of(root));
    }
}

pub(super) fn files_in(folder: &Path) -> Files {
    use std::os::unix::ffi::OsStrExt;
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let entry = entry.unwrap().path();
            let name = WorkPath::new(entry.strip_prefix(folder).unwrap().as_os_str().as_bytes()).unwrap().to_string();
            let kind = entry.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                files.insert(format!("{name}/"), Vec::new());
                folders.push(entry);
            } else if kind.is_symlink() {
                files.insert(format!("{name} ->"), std::fs::read_link(&entry).unwrap().as_os_str().as_bytes().to_vec());
            } else if kind.is_file() {
                files.insert(name, std::fs::read(&entry).unwrap());
            }
        }
    }
    files
}

/// Copies a folder with everything in it, as a kill would leave it; SQLite's shared memory goes with the process.
pub(super) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&source, &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&source).unwrap(), target).unwrap();
        } else if kind.is_file() && !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(&source, &target).unwrap();
            let modified = source.metadata().unwrap().modified().unwrap();
            std::fs::File::options().write(true).open(&target).unwrap().set_modified(modified).unwrap();
        }
    }
}
