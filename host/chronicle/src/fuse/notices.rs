//! Words to the kernel about what it knows: that a name is to be looked up again before it is believed.
//!
//! `fuser` has a word that takes a name away, which would take a folder away from the shell that is in it; this one only ends its time. Must never be
//! said by a thread that answers calls: the kernel may hold the folder for one of those.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

/// The protocol's number of the word.
const INVALIDATE_ENTRY: i32 = 3;

/// With this the name stays, and its time is over.
const EXPIRE_ONLY: u32 = 1;

/// The kernel looks a name up again before it believes it; one that it does not know is none.
pub(super) fn expire(device: &OwnedFd, parent: u64, name: &[u8]) -> Result<(), Errno> {
    match rustix::io::write(device, &expiry(parent, name)) {
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

fn expiry(parent: u64, name: &[u8]) -> Vec<u8> {
    let name_bytes = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut word = Vec::with_capacity(HEAD_BYTES + name.len() + 1);
    word.extend((HEAD_BYTES as u32).saturating_add(name_bytes).saturating_add(1).to_ne_bytes());
    word.extend(INVALIDATE_ENTRY.to_ne_bytes());
    // It is no answer.
    word.extend(0_u64.to_ne_bytes());
    word.extend(parent.to_ne_bytes());
    word.extend(name_bytes.to_ne_bytes());
    word.extend(EXPIRE_ONLY.to_ne_bytes());
    word.extend(name);
    word.push(0);
    word
}

/// Bytes before the name.
const HEAD_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_as_long_as_it_says() {
        for name in [&b"a"[..], &[b'n'; 255]] {
            let word = expiry(7, name);
            assert_eq!(word.len(), HEAD_BYTES + name.len() + 1);
            assert_eq!(word[..4], u32::try_from(word.len()).unwrap().to_ne_bytes());
            assert_eq!(word[16..24], 7_u64.to_ne_bytes());
            assert_eq!(&word[HEAD_BYTES..word.len() - 1], name);
        }
    }
}
