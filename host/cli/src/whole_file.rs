//! A file that a command writes: whole under its name, or not at all.
//!
//! What is no file, a device or a pipe, is written into. Must never take its place, nor that of a link.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::exit::{Failure, storage_code};

/// A file on its way. Dropped, it leaves what was there as it was.
pub(crate) struct WholeFile {
    /// As the user named it.
    shown: PathBuf,
    to: To,
}

enum To {
    /// Beside the file whose name it gets.
    Beside(NamedTempFile, PathBuf),
    /// Into what is there.
    Into(File),
}

impl WholeFile {
    /// Begins a file of this name. A link is followed.
    pub(crate) fn begin(target: &Path) -> Result<Self, Failure> {
        let to = Self::opened(target).map_err(|error| failed(target, &error))?;
        Ok(Self { shown: target.to_owned(), to })
    }

    fn opened(target: &Path) -> io::Result<To> {
        let place = match target.canonicalize() {
            Ok(there) if !there.metadata()?.is_file() => return Ok(To::Into(File::options().write(true).open(there)?)),
            Ok(there) => there,
            // It is not there yet, or its folder is not, which is said in a moment.
            Err(_) => target.to_owned(),
        };
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Like any new file, it is as open to others as the umask says.
        let file = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
        Ok(To::Beside(file, place))
    }

    /// Writes the next bytes.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let written = match &mut self.to {
            To::Beside(file, _) => file.write_all(piece),
            To::Into(file) => file.write_all(piece),
        };
        written.map_err(|error| failed(&self.shown, &error))
    }

    /// It is whole: gives it its name, once it is on the disk.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let finished = match self.to {
            To::Beside(file, place) => {
                let synced = file.as_file().sync_all();
                synced.and_then(|()| file.persist(place).map(drop).map_err(|error| error.error))
            }
            To::Into(_) => Ok(()),
        };
        finished.map_err(|error| failed(&self.shown, &error))
    }
}

fn failed(target: &Path, error: &io::Error) -> Failure {
    Failure::new(storage_code(error), format!("cannot write {}: {error}", target.display()))
}
