//! The index beside real files: what is read again, and what damage does.

use super::*;

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        for (path, text) in files {
            desk.write(path, text);
        }
        desk
    }

    /// Writes a file that looks old: one just written counts as unsettled.
    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let then = UNIX_EPOCH + Duration::from_secs(1_000_000) + Duration::from_secs(text.len() as u64);
        fs::File::open(&path).unwrap().set_modified(then).unwrap();
    }

    fn open(&self) -> (Library, Refresh) {
        Library::open(self.folder.path()).unwrap()
    }

    fn paths(&self) -> Vec<String> {
        self.open().0.index.documents.into_iter().map(|document| document.path).collect()
    }

    fn index_file(&self) -> PathBuf {
        self.folder.path().join(FOLDER).join(FILE)
    }
}

#[test]
fn documents_are_found_in_any_folder() {
    let desk = Desk::new(&[
        ("b.md", "b"),
        ("a/deep/er.TXT", "c"),
        ("code.rs", "no"),
        (".hidden/x.md", "no"),
        ("a/.y.md", "no"),
    ]);
    assert_eq!(desk.paths(), ["a/deep/er.TXT", "b.md"]);
}

#[test]
fn only_changes_are_read() {
    let desk = Desk::new(&[("a.md", "one"), ("b.md", "two"), ("c.md", "three")]);
    assert_eq!(desk.open().1.read, 3);
    assert_eq!(desk.open().1, Refresh::default());
    desk.write("b.md", "two and more");
    fs::remove_file(desk.folder.path().join("c.md")).unwrap();
    let (library, refresh) = desk.open();
    assert_eq!((refresh.read, refresh.gone), (1, 1));
    assert_eq!(library.index.documents[1].term("more"), None, "a stop word");
    assert!(library.index.documents[1].term("two").is_some());
    assert_eq!(desk.open().1, Refresh::default());
}

#[test]
fn a_settled_document_is_not_read_again() {
    let desk = Desk::new(&[("a.md", "one")]);
    desk.open();
    // Another content behind the same size and time: seen only by reading.
    desk.write("a.md", "two");
    let (library, refresh) = desk.open();
    assert_eq!(refresh, Refresh::default());
    assert!(library.index.documents[0].term("one").is_none() && library.index.documents[0].term("two").is_none());
}

#[test]
fn a_document_written_just_now_is_looked_at_again() {
    let desk = Desk::new(&[]);
    let path = desk.folder.path().join("a.md");
    let now = SystemTime::now();
    for text in ["red", "sea"] {
        fs::write(&path, text).unwrap();
        fs::File::open(&path).unwrap().set_modified(now).unwrap();
        assert!(desk.open().0.index.documents[0].term(text).is_some(), "{text}");
    }
}

#[test]
fn a_damaged_index_is_rebuilt() {
    let desk = Desk::new(&[("a.md", "one"), ("b.md", "two")]);
    let (good, _) = desk.open();
    let whole = fs::read(desk.index_file()).unwrap();
    for cut in 0..whole.len() {
        fs::write(desk.index_file(), &whole[..cut]).unwrap();
        let (library, refresh) = desk.open();
        assert!(refresh.rebuilt.is_some() && refresh.read == 2, "cut at {cut}");
        assert_eq!(library.index.passages(), good.index.passages());
    }
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(desk.index_file(), &bytes).unwrap();
        assert!(desk.open().1.rebuilt.is_some(), "flipped at {at}");
    }
    assert_eq!(desk.open().1, Refresh::default(), "and is good again");
}

#[test]
fn leftovers_of_a_dead_turn_do_no_harm() {
    let desk = Desk::new(&[("a.md", "one")]);
    fs::create_dir_all(desk.folder.path().join(FOLDER)).unwrap();
    fs::write(desk.folder.path().join(FOLDER).join(SCRATCH), "half").unwrap();
    assert_eq!(desk.open().1.read, 1);
    assert!(!desk.folder.path().join(FOLDER).join(SCRATCH).exists());
}

#[test]
fn what_cannot_be_indexed_is_said() {
    let desk = Desk::new(&[("a.md", "one"), ("zero.txt", "a\0b")]);
    desk.write("big.md", &"x".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1));
    let (library, mut refresh) = desk.open();
    refresh.skipped.sort_unstable();
    assert_eq!(
        refresh.skipped,
        [("big.md".to_owned(), "it is larger than 1 MiB"), ("zero.txt".to_owned(), "it is not text")]
    );
    assert_eq!(library.index.documents.len(), 1);
}

#[test]
fn much_text_is_read_over_several_turns() {
    let desk = Desk::new(&[]);
    for n in 0..9 {
        desk.write(&format!("{n}.md"), "ten bytes.");
    }
    for (read, pending) in [(4, 5), (4, 1), (1, 0), (0, 0)] {
        let (library, refresh) = Library::open_reading(desk.folder.path(), 49).unwrap();
        assert_eq!((refresh.read, refresh.pending), (read, pending));
        assert_eq!(library.index.documents.len(), 9 - pending);
    }
}

#[test]
fn lines_are_read_as_they_are_now() {
    let desk = Desk::new(&[("a.md", "1\n2\n3\n4\n")]);
    let (library, _) = desk.open();
    assert_eq!(library.lines("a.md", 2, 3).unwrap(), "2\n3");
    assert_eq!(library.lines("a.md", 4, 9).unwrap(), "4");
}
