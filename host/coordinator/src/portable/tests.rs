//! The format alone: what is written is read, and nothing else is.

use std::io::{Cursor, Read, Write};

use podium_chronicle::{FileTime, Kind};
use podium_wire::ErrorCode;
use podium_wire::portable::{HEAD_MAGIC, TAIL_BYTES, TAIL_MAGIC};
use proptest::prelude::*;
use tar::{EntryType, Header};

use super::PortableError;
use super::entry::{BLOCK, Head};
use super::reader::{Lines, Reader};
use super::writer::Writer;

type Entry = (Head, Vec<u8>);

fn file(name: &[u8], content: &[u8]) -> Entry {
    (Head::own(name, content.len() as u64), content.to_vec())
}

fn write(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new().expect("begins");
    let mut bytes = Vec::new();
    for (head, content) in entries {
        writer.entry(head).expect("an entry");
        content.chunks(777).for_each(|piece| writer.content(piece).expect("content"));
        bytes.extend(writer.take());
    }
    bytes.extend(writer.finish().expect("ends"));
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, PortableError> {
    let mut reader = Reader::open(Cursor::new(bytes))?;
    let mut entries = Vec::new();
    while let Some(head) = reader.next()? {
        let content = reader.whole(1 << 20)?;
        entries.push((head, content));
    }
    Ok(entries)
}

/// A file whose frame has this content, with a last frame that fits.
fn packed(frame: &[u8]) -> Vec<u8> {
    ended([&HEAD_MAGIC[..], &16_u32.to_le_bytes(), b"podium export 1\n", frame].concat())
}

fn ended(mut file: Vec<u8>) -> Vec<u8> {
    let hash = blake3::hash(&file);
    file.extend([&TAIL_MAGIC[..], &32_u32.to_le_bytes(), hash.as_bytes()].concat());
    file
}

fn packed_tar(tar: &[u8]) -> Vec<u8> {
    packed(&zstd::encode_all(tar, 1).expect("packs"))
}

/// The tar of a file.
fn tar_of(file: &[u8]) -> Vec<u8> {
    let frame = &file[24..file.len() - TAIL_BYTES];
    zstd::decode_all(frame).expect("unpacks")
}

fn code(bytes: &[u8]) -> Option<ErrorCode> {
    read(bytes).err().map(|error| error.code())
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = (1_u8..=255).prop_filter("a separator", |byte| *byte != b'/');
    let part = prop::collection::vec(byte, 1..256);
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join(&b'/'))
}

fn entry() -> impl Strategy<Value = Entry> {
    let time = (any::<i64>(), prop_oneof![Just(0), 0..1_000_000_000_u32]);
    let time = time.prop_map(|(seconds, nanoseconds)| FileTime { seconds, nanoseconds });
    let target = prop::collection::vec(1_u8..=255, 1..4096);
    let content = prop::collection::vec(any::<u8>(), 0..2000);
    (name(), 0..3_usize, 0..=0o777_u16, time, target, content).prop_map(|(name, kind, mode, mtime, target, content)| {
        let kind = [Kind::File, Kind::Folder, Kind::Link][kind];
        let mut head = Head { name, kind, mode, size: 0, mtime: FileTime::default(), target: Vec::new() };
        match kind {
            Kind::File => {
                (head.size, head.mtime) = (content.len() as u64, mtime);
                (head, content)
            }
            Kind::Folder => (head, Vec::new()),
            Kind::Link => (Head { target, ..head }, Vec::new()),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Names of any bytes and length, times before the epoch and far from it, links to anywhere.
    #[test]
    fn what_is_written_is_read(entries in prop::collection::vec(entry(), 0..12)) {
        let file = write(&entries);
        prop_assert_eq!(&write(&entries), &file, "the same entries are the same bytes");
        prop_assert_eq!(read(&file).expect("is read"), entries);
    }

    #[test]
    fn a_file_that_was_cut_off_or_changed_is_refused(
        entries in prop::collection::vec(entry(), 0..4),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let file = write(&entries);
        let mut changed = file.clone();
        changed[at.index(file.len())] ^= 1_u8 << bit;
        prop_assert!(read(&changed).is_err());
        prop_assert!(read(&file[..at.index(file.len())]).is_err());
        prop_assert!(read(&[&file[..], b"x"].concat()).is_err());
    }

    /// Who changes a file can make its last frame fit; what is read then still has one form only.
    #[test]
    fn nothing_has_a_second_form(
        entries in prop::collection::vec(entry(), 1..4),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut tar = tar_of(&write(&entries));
        let at = at.index(tar.len());
        tar[at] = byte;
        if let Ok(entries) = read(&packed_tar(&tar)) {
            prop_assert_eq!(&tar_of(&write(&entries)), &tar);
        }
        prop_assert!(read(&packed_tar(&tar[..at])).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), blocks in 0..4_usize) {
        prop_assert!(read(&bytes).is_err());
        let _ = read(&packed(&bytes));
        let mut tar = bytes;
        tar.truncate(blocks * BLOCK);
        let _ = read(&packed_tar(&tar));
    }
}

#[test]
fn any_tar_program_knows_what_is_in_it() {
    let long = [&b"workspace/"[..], &[b'n'; 250]].concat();
    let link = Head {
        name: b"workspace/link".to_vec(),
        kind: Kind::Link,
        mode: 0o777,
        size: 0,
        mtime: FileTime::default(),
        target: b"../out".to_vec(),
    };
    let mut dated = file(&long, b"content");
    dated.0.mtime = FileTime { seconds: 1_700_000_000, nanoseconds: 5 };
    let tar = tar_of(&write(&[file(b"podium/state.json", b"{}"), dated, (link, Vec::new())]));
    let mut archive = tar::Archive::new(&tar[..]);
    let mut found = Vec::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        found.push((entry.path_bytes().into_owned(), content, entry.link_name_bytes().map(|name| name.into_owned())));
    }
    let expected = [
        (b"podium/state.json".to_vec(), b"{}".to_vec(), None),
        (long, b"content".to_vec(), None),
        (b"workspace/link".to_vec(), Vec::new(), Some(b"../out".to_vec())),
    ];
    assert_eq!(found, expected);
}

#[test]
fn kinds_that_no_workspace_has_are_refused() {
    for kind in [
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::Block,
        EntryType::GNUSparse,
        EntryType::Continuous,
        EntryType::XGlobalHeader,
        EntryType::new(b'Z'),
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path("workspace/a").expect("a path");
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        let tar = [&header.as_bytes()[..], &[0; 2 * BLOCK]].concat();
        assert_eq!(code(&packed_tar(&tar)), Some(ErrorCode::InvalidExport), "{kind:?}");
    }
    // The same as a file is one.
    let whole = tar_of(&write(&[file(b"workspace/a", b"")]));
    assert_eq!(code(&packed_tar(&whole)), None);
    // A size that no file has, and names that are said twice or never end.
    for change in [
        |tar: &mut Vec<u8>| tar[124..136].copy_from_slice(&[0xff; 12]),
        |tar: &mut Vec<u8>| tar[108..116].copy_from_slice(b"0000123\0"),
        |tar: &mut Vec<u8>| tar[500] = 1,
    ] {
        let mut tar = whole.clone();
        change(&mut tar);
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&tar[..BLOCK]);
        header.set_cksum();
        tar[..BLOCK].copy_from_slice(header.as_bytes());
        assert_eq!(code(&packed_tar(&tar)), Some(ErrorCode::InvalidExport));
    }
}

#[test]
fn what_is_no_export_has_a_code_that_says_so() {
    let whole = write(&[file(b"podium/export.json", b"{}")]);
    let other_format = |title: &str| {
        ended([&HEAD_MAGIC[..], &u32::try_from(title.len()).expect("short").to_le_bytes(), title.as_bytes()].concat())
    };
    for (bytes, expected) in [
        (Vec::new(), ErrorCode::InvalidExport),
        (b"#!/bin/sh\n".to_vec(), ErrorCode::InvalidExport),
        (zstd::encode_all(&b"x"[..], 1).expect("packs"), ErrorCode::InvalidExport),
        (whole[..whole.len() - TAIL_BYTES].to_vec(), ErrorCode::InvalidExport),
        (other_format("podium export 2\n"), ErrorCode::ExportFormat),
        (other_format("podium export 1.1\n"), ErrorCode::ExportFormat),
        (other_format("podium export \n"), ErrorCode::InvalidExport),
        (other_format("somebody export 1\n"), ErrorCode::InvalidExport),
    ] {
        assert_eq!(code(&bytes), Some(expected), "{:?}", String::from_utf8_lossy(&bytes));
    }
    // Another version may end its files otherwise.
    let cut_off = &other_format("podium export 2\n")[..24];
    assert_eq!(code(cut_off), Some(ErrorCode::ExportFormat));
}

#[test]
fn nothing_is_beside_the_one_frame() {
    let tar = tar_of(&write(&[file(b"a", b"content")]));
    let frame = zstd::encode_all(&tar[..], 1).expect("packs");
    assert_eq!(code(&packed(&frame)), None);
    let more = zstd::encode_all(&b"more"[..], 1).expect("packs");
    let skipped = [&TAIL_MAGIC[..], &1_u32.to_le_bytes(), b"x"].concat();
    for frames in [
        [&frame[..], &more].concat(),
        [&frame[..], &skipped].concat(),
        [&frame[..], b"x"].concat(),
        frame[..frame.len() - 1].to_vec(),
    ] {
        assert_eq!(code(&packed(&frames)), Some(ErrorCode::InvalidExport));
    }
    for tar in [[&tar[..], &[0; BLOCK]].concat(), [&tar[..], b"x"].concat(), tar[..tar.len() - BLOCK].to_vec()] {
        assert_eq!(code(&packed_tar(&tar)), Some(ErrorCode::InvalidExport));
    }
}

#[test]
fn a_frame_that_needs_much_memory_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(27).expect("a window");
    let tar = tar_of(&write(&[file(b"a", b"content")]));
    encoder.write_all(&tar).expect("packs");
    let frame = encoder.finish().expect("ends");
    assert_eq!(code(&packed(&frame)), Some(ErrorCode::InvalidExport));
}

#[test]
fn an_entry_takes_no_more_than_it_may() {
    let bytes = write(&[file(b"a", &[7; 5000]), file(b"b", b"")]);
    let mut reader = Reader::open(Cursor::new(&bytes[..])).expect("opens");
    reader.next().expect("reads").expect("an entry");
    assert!(reader.whole(4999).is_err());
    // What is not read is not passed over.
    assert!(reader.next().is_err());
    assert_eq!(reader.whole(5000).expect("reads"), [7; 5000]);
    assert_eq!(reader.next().expect("reads").expect("an entry").name, b"b");
    assert_eq!(reader.next().expect("ends"), None);
}

#[test]
fn lines_are_bounded_and_have_an_end() {
    let lines = |content: &[u8], bytes_max: u64| {
        let bytes = write(&[file(b"a", content)]);
        let mut reader = Reader::open(Cursor::new(&bytes[..])).expect("opens");
        reader.next().expect("reads").expect("an entry");
        let (mut buffered, mut found) = (Lines::default(), Vec::new());
        while let Some(line) = reader.line(&mut buffered, bytes_max)? {
            found.push(line);
        }
        Ok::<_, PortableError>(found)
    };
    assert_eq!(lines(b"", 10).expect("none"), Vec::<Vec<u8>>::new());
    assert_eq!(lines(b"one\n\nthree\n", 10).expect("three"), [&b"one"[..], b"", b"three"]);
    assert!(lines(b"one\ntwo", 10).is_err());
    let long = [vec![b'x'; 3_000_000], vec![b'\n']].concat();
    assert_eq!(lines(&long, 3_000_000).expect("one")[0].len(), 3_000_000);
    assert!(lines(&long, 1_000_000).is_err());
}
