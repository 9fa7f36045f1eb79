//! A directory handle, beneath which everything is opened by single names.
//!
//! Owns the calls to the system. Must never follow a symbolic link and never take a name with a `/` in it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::RegistryError;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open folder and the path it is named by in errors.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder by path, with its parents made (0700). The path itself is the operator's and may
    /// lead through links; what lies beneath may not.
    pub(crate) fn make(path: &Path) -> Result<Self, RegistryError> {
        use std::os::unix::fs::DirBuilderExt;
        let open = || -> io::Result<OwnedFd> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            Ok(rustix::fs::open(path, FOLDER, Mode::empty())?)
        };
        let fd = open().map_err(|error| RegistryError::io(path, error))?;
        Ok(Self { fd: Arc::new(fd), path: path.to_owned() })
    }

    /// The path of an entry, for errors only.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn fail(&self, name: &str) -> impl Fn(Errno) -> RegistryError + use<> {
        let path = self.path_of(name);
        move |error| RegistryError::io(path.clone(), error)
    }

    /// Opens a folder in it; none where nothing has this name.
    pub(crate) fn folder(&self, name: &str) -> Result<Option<Self>, RegistryError> {
        match rustix::fs::openat(&*self.fd, name, FOLDER, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd: Arc::new(fd), path: self.path_of(name) })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.fail(name)(error)),
        }
    }

    /// Opens a folder in it, made if needed; a new one is durable on return.
    pub(crate) fn make_folder(&self, name: &str) -> Result<Self, RegistryError> {
        match rustix::fs::mkdirat(&*self.fd, name, Mode::RWXU) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(self.fail(name)(error)),
        }
        self.folder(name)?.ok_or_else(|| self.fail(name)(Errno::NOENT))
    }

    /// Makes a file that must not exist.
    pub(crate) fn create_file(&self, name: &str) -> Result<File, RegistryError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&*self.fd, name, flags, Mode::RUSR | Mode::WUSR).map(File::from).map_err(self.fail(name))
    }

    /// Opens a regular file of at most `bytes_max` bytes for reading, and its length; none where nothing has this name.
    pub(crate) fn open_file(&self, name: &str, bytes_max: u64) -> Result<Option<(File, u64)>, RegistryError> {
        // Not blocking: a planted FIFO must not hang the host.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&*self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.fail(name)(error)),
        };
        let check = || -> io::Result<u64> {
            let meta = file.metadata()?;
            if !meta.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
            }
            if meta.len() > bytes_max {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than anything the registry writes"));
            }
            Ok(meta.len())
        };
        let len = check().map_err(|error| RegistryError::io(self.path_of(name), error))?;
        Ok(Some((file, len)))
    }

    /// Reads a regular file of at most `bytes_max` bytes; none where nothing has this name.
    pub(crate) fn read_file(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        let Some((file, len)) = self.open_file(name, bytes_max)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        let read = file.take(bytes_max).read_to_end(&mut bytes);
        read.map_err(|error| RegistryError::io(self.path_of(name), error))?;
        Ok(Some(bytes))
    }

    /// Names of the folders in it, in no order. Names that are not UTF-8 are none of ours.
    pub(crate) fn folders(&self) -> Result<Vec<String>, RegistryError> {
        self.entries().map(|entries| {
            entries.into_iter().filter(|(_, kind)| *kind == FileType::Directory).map(|(name, _)| name).collect()
        })
    }

    fn entries(&self) -> Result<Vec<(String, FileType)>, RegistryError> {
        let list = || -> Result<Vec<(String, FileType)>, Errno> {
            let mut found = Vec::new();
            for entry in Dir::read_from(&*self.fd)? {
                let entry = entry?;
                let Ok(name) = entry.file_name().to_str() else { continue };
                if name == "." || name == ".." {
                    continue;
                }
                let kind = match entry.file_type() {
                    FileType::Unknown => {
                        let stat = rustix::fs::statat(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                        FileType::from_raw_mode(stat.st_mode)
                    }
                    kind => kind,
                };
                found.push((name.to_owned(), kind));
            }
            Ok(found)
        };
        list().map_err(|error| RegistryError::io(self.path.clone(), error))
    }

    /// Moves an entry into another folder, over what is there. `false`: a folder with content is there.
    pub(crate) fn rename_to(&self, name: &str, other: &Folder, new_name: &str) -> Result<bool, RegistryError> {
        match rustix::fs::renameat(&*self.fd, name, &*other.fd, new_name) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
            Err(error) => Err(other.fail(new_name)(error)),
        }
    }

    /// Makes its entries durable.
    pub(crate) fn sync(&self) -> Result<(), RegistryError> {
        rustix::fs::fsync(&*self.fd).map_err(|error| RegistryError::io(self.path.clone(), error))
    }

    /// Removes a file; one that is gone is well.
    pub(crate) fn remove_file(&self, name: &str) -> Result<(), RegistryError> {
        match rustix::fs::unlinkat(&*self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.fail(name)(error)),
        }
    }

    /// Removes a folder and the files in it; folders within it are none of ours and stop it.
    pub(crate) fn remove_folder(&self, name: &str) -> Result<(), RegistryError> {
        let Some(folder) = self.folder(name)? else { return Ok(()) };
        for (entry, _) in folder.entries()? {
            folder.remove_file(&entry)?;
        }
        rustix::fs::unlinkat(&*self.fd, name, AtFlags::REMOVEDIR).map_err(self.fail(name))
    }

    /// Removes every file in it, and every folder with the files in it.
    pub(crate) fn clear(&self) -> Result<(), RegistryError> {
        for (name, kind) in self.entries()? {
            if kind == FileType::Directory { self.remove_folder(&name)? } else { self.remove_file(&name)? }
        }
        Ok(())
    }
}
