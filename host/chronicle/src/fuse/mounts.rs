//! Mounts that a host left behind: finding them in the kernel's list, and taking them away.
//!
//! A host marks its mounts with a name of its data folder, of which there is one host at a time. Must never look into a mount: one whose host is
//! gone fails, and one whose host hangs would hang this one.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

/// The kind of file system that the kernel's list shows for a mount of ours, whoever made it.
const KIND: &str = "fuse";

/// What a host's mounts are marked with: a name of its data folder.
pub fn mark(data: &Path) -> String {
    // However it is named.
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let hash = blake3::hash(data.as_os_str().as_encoded_bytes());
    format!("podium-{}", &hash.to_hex()[..16])
}

/// Takes away every mount of this mark; gives where they were.
///
/// # Errors
/// When the kernel's list cannot be read, or a mount cannot be taken away.
pub fn sweep(mark: &str) -> io::Result<Vec<PathBuf>> {
    let list = std::fs::read("/proc/self/mountinfo")?;
    let left: Vec<PathBuf> = marked(&list, mark).collect();
    left.iter().try_for_each(|place| detach(place))?;
    Ok(left)
}

/// A place by the path that the kernel's list shows, without looking at what is there.
///
/// # Errors
/// When it is no folder's name, or the folder above it cannot be looked at.
pub fn settled(place: &Path) -> io::Result<PathBuf> {
    let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let above = place.parent().filter(|above| !above.as_os_str().is_empty()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(above.canonicalize()?.join(name))
}

/// Takes away what a mount of this mark left at a place; true when something else is mounted there.
pub(super) fn sweep_at(mark: &str, place: &Path) -> io::Result<bool> {
    let list = std::fs::read("/proc/self/mountinfo")?;
    marked(&list, mark).filter(|left| left == place).try_for_each(|left| detach(&left))?;
    let list = std::fs::read("/proc/self/mountinfo")?;
    Ok(mounts(&list).any(|mount| mount.place == place))
}

/// Takes the mount at a place away, whoever uses it.
pub(super) fn detach(place: &Path) -> io::Result<()> {
    match umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // There is none any more.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        // Who is not root has the program that also mounted it.
        Err(Errno::EPERM) => {
            let program =
                Command::new("fusermount3").args(["-u", "-z", "--"]).arg(place).stdin(Stdio::null()).output()?;
            if program.status.success() {
                Ok(())
            } else {
                Err(io::Error::other(String::from_utf8_lossy(&program.stderr).trim().to_owned()))
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Where the mounts of a mark are, the latest first: one may be over another.
fn marked<'a>(list: &'a [u8], mark: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    let is_ours = move |mount: &Listed<'_>| mount.kind == KIND.as_bytes() && mount.source == mark.as_bytes();
    mounts(list).filter(is_ours).map(|mount| mount.place)
}

/// A line of the kernel's list.
struct Listed<'a> {
    place: PathBuf,
    kind: &'a [u8],
    source: &'a [u8],
}

fn mounts(list: &[u8]) -> impl Iterator<Item = Listed<'_>> {
    let lines = list.split(|byte| *byte == b'\n').rev();
    lines.filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        let (place, kind, source) = (fields.get(4)?, fields.get(dash + 1)?, fields.get(dash + 2)?);
        Some(Listed { place: OsString::from_vec(unescaped(place)).into(), kind, source })
    })
}

/// A field of the list: blanks and such are written as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        match digits {
            Some(digits) => {
                bytes.push(digits.iter().fold(0, |byte: u8, digit| byte.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_the_mark_are_found_the_latest_first() {
        let list = b"22 1 0:21 / /proc rw - proc proc rw\n\
            90 22 0:50 / /data/a\\040b/mount rw,nosuid,nodev shared:3 - fuse podium-1 rw,user_id=0\n\
            91 22 0:51 / /data/other rw - fuse podium-2 rw\n\
            92 22 0:52 / /data/sshfs rw - fuse.sshfs podium-1 rw\n\
            93 22 0:53 / /data/late rw - fuse podium-1 rw\n";
        let found: Vec<PathBuf> = marked(list, "podium-1").collect();
        assert_eq!(found, [Path::new("/data/late"), Path::new("/data/a b/mount")]);
        assert_eq!(marked(b"", "podium-1").count(), 0);
        assert_eq!(mounts(list).filter(|mount| mount.place == Path::new("/data/other")).count(), 1);
        assert_eq!(unescaped(b"a\\134b\\9"), b"a\\b\\9");
    }

    #[test]
    fn a_mark_is_of_one_data_folder_and_needs_no_escape() {
        let mark = mark(Path::new("/data/a b,c"));
        assert!(mark.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{mark}");
        assert_ne!(mark, super::mark(Path::new("/data/a b")));
    }

    #[test]
    fn what_is_no_mount_is_gone_already() {
        let folder = tempfile::tempdir().unwrap();
        assert!(detach(&folder.path().join("none")).is_ok());
    }
}
