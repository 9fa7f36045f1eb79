//! Files, and what they were, as an agent has them without a file system and a unit test plays them.

use podium_sdk::prelude::*;
use podium_sdk::testing::TestAgent;
use podium_sdk::workspace::{self, Difference, Kind, Operation};

/// Does what a message says, line by line.
struct Archivist;

#[podium_sdk::agent]
impl Agent for Archivist {
    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let mut said: Vec<String> = Vec::new();
        for line in message.text.lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["write", path, text] => workspace::write(path, text)?,
                ["fill", path, length] => workspace::write(path, vec![b'x'; length.parse()?])?,
                ["poke", path, offset, text] => workspace::write_part(path, offset.parse()?, text)?,
                ["read", path] => said.push(text(&workspace::read(path)?)),
                ["part", path, offset, len] => {
                    said.push(text(&workspace::read_part(path, offset.parse()?, len.parse()?)?));
                }
                ["size", path] => said.push(workspace::read(path)?.len().to_string()),
                ["list", rest @ ..] => {
                    let entries = workspace::list(rest.first().unwrap_or(&""))?;
                    let told: Vec<_> = entries.into_iter().map(|it| (it.name, it.kind, it.size)).collect();
                    said.push(format!("{told:?}"));
                }
                ["remove", path] => workspace::remove(path)?,
                ["commit"] => said.push(workspace::commit()?.to_string()),
                ["commits", count] => {
                    for _ in 0..count.parse()? {
                        workspace::commit()?;
                    }
                }
                ["restore", path, moment] => workspace::restore(path, moment.parse()?)?,
                ["show", path, moment] => {
                    said.push(text(&workspace::read_at(path, moment.parse()?)?));
                }
                ["history", path] => {
                    let told: Vec<_> = workspace::history(path)?.iter().map(|it| (it.n, it.operation)).collect();
                    said.push(format!("{told:?}"));
                }
                ["changed"] => {
                    let told: Vec<_> =
                        workspace::changed()?.changes.into_iter().map(|it| (it.path, it.difference)).collect();
                    said.push(format!("{told:?}"));
                }
                _ => bail!("{line}"),
            }
        }
        if said.is_empty() { Ok(()) } else { cx.reply(said.join(" | ")) }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder is an iteration of its own: `d` 1, `d/a` 2 and 3, `d/b` 4.
fn archivist() -> TestAgent<Archivist> {
    TestAgent::new().with_past("d/a", ["one", "two"]).with_past("d/b", ["x"])
}

#[test]
fn files_are_written_read_listed_and_removed() {
    let mut agent = TestAgent::<Archivist>::new();
    agent.send("write d/e/a one-two\npoke d/e/a 4 six!\npoke b 3 x\nwrite c short");
    assert_eq!(agent.send("read d/e/a").reply(), "one-six!");
    assert_eq!(agent.send("part d/e/a 4 3").reply(), "six");
    assert_eq!(agent.file("b"), Some(&b"\0\0\0x"[..]));
    let listed = [("b", Kind::File, 4), ("c", Kind::File, 5), ("d", Kind::Folder, 0)];
    assert_eq!(agent.send("list").reply(), format!("{listed:?}"));
    assert_eq!(agent.send("list d/e").reply(), format!("{:?}", [("a", Kind::File, 8)]));
    assert_eq!(agent.send("remove d/e").error().code, "POD-3015");
    let turn = agent.send("remove d/e/a\nremove d/e\nremove b\nwrite c other\nchanged");
    let changed = [("b", Difference::Deleted), ("c", Difference::Modified), ("d/e/a", Difference::Deleted)];
    assert_eq!(turn.reply(), format!("{changed:?}"));
    assert_eq!(agent.send("list d").reply(), "[]");
    // Longer than what goes at once.
    assert_eq!(agent.send("fill long 2500000\nsize long").reply(), "2500000");
}

#[test]
fn what_a_host_refuses_is_refused() {
    let mut agent = archivist();
    for (asked, code) in [
        ("read none", "POD-3012"),
        ("remove none", "POD-3012"),
        ("list none", "POD-3012"),
        ("read d", "POD-3015"),
        ("write d x", "POD-3015"),
        ("write d/a/b x", "POD-3015"),
        ("list d/a", "POD-3015"),
        ("read ../a", "POD-3011"),
        ("write /a x", "POD-3011"),
        ("write .chronicle/a x", "POD-3011"),
        ("list .chronicle", "POD-3011"),
        ("remove a//b", "POD-3011"),
        ("part d/a 0 0", "POD-1001"),
        ("part d/a 0 1048577", "POD-1001"),
        ("poke d/a 18446744073709551615 x", "POD-3013"),
        ("poke d/a 1073741823 xy", "POD-4025"),
        ("commits 1001", "POD-4025"),
    ] {
        assert_eq!(agent.send(asked).error().code, code, "{asked}");
    }
    assert_eq!(agent.send("commits 1000").result(), Ok(()));
    assert_eq!(agent.file("d/a"), Some(&b"two"[..]));
}

#[test]
fn a_past_is_read_and_brought_back() {
    let mut agent = archivist();
    assert_eq!(agent.send("history d/a").reply(), format!("{:?}", [(2, Operation::Created), (3, Operation::Modified)]));
    assert_eq!(agent.send("history d").reply(), format!("{:?}", [(1, Operation::Created)]));
    assert_eq!(agent.send("show d/a 1").reply(), "one", "of the version that the folder came with");
    let turn = agent.send("restore d 2\nread d/a\nchanged");
    let expected = [("d/a", Difference::Modified), ("d/b", Difference::Deleted)];
    assert_eq!(turn.reply(), format!("one | {expected:?}"));
    assert_eq!((agent.file("d/a"), agent.file("d/b")), (Some(&b"one"[..]), None));
    // What was undone can be undone.
    agent.send("restore d 4");
    assert_eq!((agent.file("d/a"), agent.file("d/b")), (Some(&b"two"[..]), Some(&b"x"[..])));
}

#[test]
fn a_turn_sees_its_own_versions_and_goes_back_to_them() {
    let mut agent = archivist();
    assert_eq!(agent.send("commit").reply(), "4", "nothing is new");
    assert_eq!(agent.send("write n 1\ncommit\nwrite n 2\ncommit\nrestore n 5\nread n").reply(), "5 | 6 | 1");
    let operations = [(5, Operation::Created), (6, Operation::Modified), (7, Operation::Modified)];
    assert_eq!(agent.send("history n").reply(), format!("{operations:?}"));
    agent.send("write n 1");
    assert!(
        agent.send("history n").reply().ends_with("(8, Operation::Touched)]")
            || agent.send("history n").reply().ends_with("(8, Operation::Touched)]")
    );
}

#[test]
fn a_turn_that_fails_leaves_nothing() {
    let mut agent = archivist();
    assert!(agent.send("restore d/a 2\nwrite n 1\ncommit\nremove d/b\nfail").result().is_err());
    assert_eq!((agent.file("d/a"), agent.file("d/b"), agent.file("n")), (Some(&b"two"[..]), Some(&b"x"[..]), None));
    // Its numbers are given again.
    assert_eq!(agent.send("write m 1\ncommit").reply(), "5");
    assert_eq!(agent.send("restore d/a 9").error().code, "POD-3031");
    assert_eq!(agent.send("show d/a 0").error().code, "POD-3031");
    assert_eq!(agent.send("restore nothing 1").error().code, "POD-3012");
    assert_eq!(agent.send("history ../a").error().code, "POD-3011");
}
