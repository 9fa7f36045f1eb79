//! What guests do to a host's files that mean harm: out of the workspace, into every table, past every limit.
//!
//! As in `hostile.rs`: each abuse says what is refused, a neighbour is served meanwhile, and the same instance's next turn works. docs/security.md
//! names each of these stories.

use podium_it::eventually;
use podium_wire::ErrorCode;
use podium_wire::rest::FileKind;
use serde_json::json;

use super::hostile::Abuse;

#[tokio::test]
async fn open_files_without_end() {
    let abuse = Abuse::new("files", &json!({"open_handles": 40})).await;
    for kind in ["handles", "folders", "streams", "preopens"] {
        let said = abuse.ends(kind, ErrorCode::HandleLimit).await;
        assert!(said.contains("more than its 40 open files and folders"), "{kind}: {said}");
    }
}

/// Every way out of the workspace, each against a secret that lies just outside.
#[tokio::test]
async fn ways_out_of_the_workspace() {
    let abuse = Abuse::new("files", &json!({})).await;
    // The workspace is made at its first use.
    assert!(abuse.answers("write mine text").await.starts_with("done"));
    let outside = abuse.host.data().path().join(format!("instances/{}/chronicle", abuse.id));
    let secret = outside.join("secret");
    std::fs::write(&secret, "a secret").expect("written");
    let beside = || {
        let entries = std::fs::read_dir(&outside).expect("a folder").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    let before = beside();
    let absolute = secret.display();
    abuse.answers("mkdir folder").await;
    // What may be made as a link, and must not be followed.
    for link in ["../secret up", "folder/../../secret through", "self self"] {
        abuse.answers(&format!("symlink {link}")).await;
    }
    let refused = [
        "read ../secret".to_owned(),
        "read folder/../../secret".to_owned(),
        "read ./../secret".to_owned(),
        format!("read {absolute}"),
        format!("read /{absolute}"),
        "read /workspace/../secret".to_owned(),
        "read up".to_owned(),
        "read through".to_owned(),
        "read self".to_owned(),
        "write ../secret overwritten".to_owned(),
        "write up overwritten".to_owned(),
        "write ../new text".to_owned(),
        "mkdir ../new".to_owned(),
        "remove ../secret".to_owned(),
        "stat ../secret".to_owned(),
        "stat up".to_owned(),
        format!("symlink {absolute} absolute"),
        "symlink mine ../new".to_owned(),
        "link ../secret hard".to_owned(),
        format!("link {absolute} hard"),
        "link mine ../new".to_owned(),
        "follow-link up hard".to_owned(),
        "rename ../secret got".to_owned(),
        "rename mine ../new".to_owned(),
        "rename folder ../new".to_owned(),
    ];
    for command in refused {
        let said = abuse.neighbour.meanwhile(abuse.client.reply(abuse.id, &command)).await;
        assert!(said.starts_with("refused "), "`{command}`: {said}");
        assert!(!said.contains("a secret"), "`{command}`: {said}");
    }
    // Nor do the links lead a client of the host outside.
    for name in ["up", "through"] {
        let answer = abuse.client.file(abuse.id, name).await;
        assert!(!answer.text().contains("a secret"), "{}", answer.text());
        assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
        let answer = abuse.client.put_file(abuse.id, name, b"overwritten").await;
        assert!(answer.status < 500, "{} {}", answer.status, answer.text());
    }
    // Nor those that only a process can have left, absolute ones among them, whatever is asked for through them.
    let work = outside.join("work");
    let leave_links = || {
        for (target, link) in
            [(outside.as_path(), "all"), (secret.as_path(), "secret"), (std::path::Path::new(".."), "above")]
        {
            // A write that was refused has taken back what no cut has, and one that was not has put something in its place.
            let there = work.join(link);
            drop(std::fs::remove_file(&there).or_else(|_| std::fs::remove_dir_all(&there)));
            std::os::unix::fs::symlink(target, there).expect("is made");
        }
    };
    for path in ["secret", "all/secret", "above/secret", "all%2fsecret", "above%2fsecret"] {
        leave_links();
        let answer = abuse.client.file(abuse.id, path).await;
        assert!(!answer.text().contains("a secret"), "{path}: {}", answer.text());
        assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
        let answer = abuse.client.put_file(abuse.id, &path.replace('/', "%2f"), b"overwritten").await;
        assert!(answer.status < 500, "{path}: {} {}", answer.status, answer.text());
        let said = abuse.client.reply(abuse.id, &format!("read {}", path.replace("%2f", "/"))).await;
        assert!(!said.contains("a secret"), "{path}: {said}");
    }
    let listed = abuse.client.files(abuse.id).await;
    assert!(listed.files.iter().all(|entry| entry.kind != FileKind::Folder || entry.path == "folder"), "{listed:?}");
    assert_eq!(beside(), before);
    assert_eq!(std::fs::read_to_string(&secret).expect("still there"), "a secret");
    assert_eq!(abuse.client.reply(abuse.id, "read mine").await, "done \"text\"");
}

#[tokio::test]
async fn hostile_names() {
    let abuse = Abuse::new("files", &json!({})).await;
    for name in ["newline", "control", "bidi", "backslash", "quote", "dots", "space", "longest"] {
        let said = abuse.answers(&format!("name {name}")).await;
        assert!(said.starts_with("done") || said.starts_with("refused"), "{name}: {said}");
    }
    for name in ["too-long", "nul", "empty", "dot", "million"] {
        let said = abuse.answers(&format!("name {name}")).await;
        assert!(said.starts_with("refused"), "{name}: {said}");
    }
    // The host lists what is there, and a terminal gets none of it raw.
    let listed = abuse.client.files(abuse.id).await;
    assert!(listed.files.len() >= 5, "{listed:?}");
    let cli = podium_it::Cli::new(abuse.host.data()).url(abuse.host.url());
    let output = cli.run(&["files", "ls", &abuse.id.to_string()]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(!output.stdout.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{:?}", output.stdout);
    // Twins are two, in every cut.
    let twins = ["Name", "name", "\u{e9}", "e\u{301}"];
    for twin in twins {
        assert_eq!(abuse.answers(&format!("write {twin} {twin}")).await, format!("done {}", twin.len()));
    }
    abuse.neighbour.is_served().await;
    let host = abuse.host.crash().await;
    for twin in twins {
        assert_eq!(host.client().file(abuse.id, twin).await.text(), twin);
    }
}

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_workspace_filled_to_its_last_byte() {
    let abuse = Abuse::new("files", &json!({})).await;
    // A hole counts as it is seen. Four files of 256 MiB are all there is room for.
    assert_eq!(abuse.answers(&format!("fill {}", 256 * MIB)).await, "4 quota");
    assert_eq!(abuse.answers("write small x").await, "refused quota");
    assert_eq!(abuse.answers("stream streamed 100000").await, "refused quota");
    assert_eq!(abuse.answers("seek small 5").await, "refused quota");
    assert_eq!(abuse.answers("grow small 1").await, "refused quota");
    assert_eq!(abuse.answers("link big0 another").await, "refused quota");
    assert_eq!(abuse.answers("write big0 overwritten").await, "done 11", "what is there may be written over");
    assert_eq!(abuse.answers("rename big1 big2").await, "done ()");
    assert_eq!(abuse.answers(&format!("stream streamed {MIB}")).await, format!("done {MIB}"), "there is room again");
    assert_eq!(abuse.answers(&format!("grow big9 {}", 255 * MIB)).await, "done ()");
    assert_eq!(abuse.answers("seek small 0").await, "refused quota");
    assert_eq!(abuse.answers("remove streamed").await, "done ()");
    assert_eq!(abuse.answers("seek small 0").await, "done 1");
    assert_eq!(abuse.client.file(abuse.id, "small").await.text(), "x");
}

#[tokio::test]
async fn room_that_is_taken_twice() {
    let abuse = Abuse::new("files", &json!({})).await;
    // Without a name it is on the disk still, for as long as it is open.
    assert_eq!(abuse.answers(&format!("nameless {}", 200 * MIB)).await, "5 quota");
    assert_eq!(abuse.answers(&format!("grow file {}", 200 * MIB)).await, "done ()");
    // Each name is a file to a version.
    assert_eq!(abuse.answers("names file").await, "4 quota");
}

#[tokio::test]
async fn a_file_of_a_terabyte_that_is_all_hole() {
    let abuse = Abuse::new("files", &json!({})).await;
    assert_eq!(abuse.answers(&format!("grow huge {}", 1_u64 << 40)).await, "done ()");
    assert_eq!(abuse.answers(&format!("seek huge {}", 1_u64 << 39)).await, "done 1");
    // It is in no version, and that is said.
    let listed = abuse.client.files(abuse.id).await;
    assert!(listed.files.iter().any(|entry| entry.size_bytes == 1 << 40), "{listed:?}");
    assert_eq!(abuse.answers("write beside x").await, "done 1");
    let host = abuse.host.crash().await;
    assert_eq!(host.client().file(abuse.id, "beside").await.text(), "x");
}

#[tokio::test]
async fn more_entries_than_a_workspace_may_have() {
    let abuse = Abuse::new("files", &json!({"cpu_ms": 600_000, "wall_ms": 3_600_000})).await;
    // The folder is one.
    assert_eq!(abuse.answers("entries many").await, "199999 quota");
    assert_eq!(abuse.answers("mkdir folder").await, "refused quota");
    assert_eq!(abuse.answers("symlink many/1 link").await, "refused quota");
    assert_eq!(abuse.answers("write many/1 there").await, "done 5", "what is there may be opened");
    assert_eq!(abuse.answers("remove many/2").await, "done ()");
    assert_eq!(abuse.answers("mkdir folder").await, "done ()");
}

#[tokio::test]
async fn folders_deeper_than_any_path() {
    let abuse = Abuse::new("files", &json!({"cpu_ms": 60_000})).await;
    assert_eq!(abuse.answers("deep 30000").await, "refused name-too-long");
    let work = abuse.host.data().path().join(format!("instances/{}/chronicle/work", abuse.id));
    // Somebody else may have made them.
    let mut at = rustix::fs::open(&work, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).expect("opens");
    for _ in 0..10_000 {
        rustix::fs::mkdirat(&at, "e", rustix::fs::Mode::RWXU).expect("is made");
        at = rustix::fs::openat(&at, "e", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).expect("opens");
    }
    // Listing and deleting go through all of them.
    let listed = abuse.client.get(&format!("/api/v1/instances/{}/files", abuse.id)).await;
    assert!(listed.status < 500, "{} {}", listed.status, listed.text());
    abuse.answers("write beside x").await;
    let gone = abuse.client.delete(&format!("/api/v1/instances/{}", abuse.id)).await;
    assert!(gone.status < 300, "{} {}", gone.status, gone.text());
    abuse.neighbour.is_served().await;
    let folder = abuse.host.data().path().join(format!("instances/{}", abuse.id));
    eventually("the folder is gone", async || (!folder.exists()).then_some(())).await;
}

#[tokio::test]
async fn a_pipe_that_nobody_writes_to() {
    let abuse = Abuse::new("files", &json!({})).await;
    abuse.answers("write one x").await;
    let work = abuse.host.data().path().join(format!("instances/{}/chronicle/work", abuse.id));
    let at = rustix::fs::open(&work, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).expect("opens");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(&at, "pipe", rustix::fs::FileType::Fifo, mode, 0).expect("is made");
    let _socket = std::os::unix::net::UnixListener::bind(work.join("socket")).expect("is made");
    // None of these waits for its other end.
    for name in ["pipe", "socket"] {
        assert_eq!(abuse.answers(&format!("read {name}")).await, "refused not-permitted");
        assert_eq!(abuse.answers(&format!("write {name} x")).await, "refused not-permitted");
        assert_eq!(abuse.answers(&format!("stat {name}")).await, "done 0");
        let answer = abuse.client.file(abuse.id, name).await;
        assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    }
    assert_eq!(abuse.answers("remove pipe").await, "done ()");
}

#[tokio::test]
async fn the_history_written_to_and_hoarded() {
    let abuse = Abuse::new("files", &json!({"open_handles": 40})).await;
    assert_eq!(abuse.answers(&format!("grow big {}", 200 * MIB)).await, "done ()");
    abuse.answers("write one x").await;
    let refused = [
        "write .chronicle/query/one forged",
        "write .chronicle/new x",
        "write .chronicle x",
        "mkdir .chronicle",
        "mkdir .chronicle/query/new",
        "remove .chronicle/query/one",
        "symlink one .chronicle",
        "link one .chronicle/query/two",
        "rename one .chronicle",
        "rename .chronicle/query/one mine",
        "write ./folder/../.chronicle/at x",
    ];
    for command in refused {
        assert_eq!(abuse.answers(command).await, "refused read-only", "{command}");
    }
    // By way of a link it is not there, nor can it be made.
    abuse.answers("symlink . here").await;
    assert_eq!(abuse.answers("read here/.chronicle/query/one").await, "refused no-entry");
    assert_eq!(abuse.answers("mkdir here/.chronicle").await, "refused read-only");
    assert_eq!(abuse.answers("write here/.chronicle x").await, "refused read-only");
    assert_eq!(abuse.answers("list .").await, "done \"big here one\"");
    assert_eq!(abuse.answers("list .chronicle").await, "done \"at query\"");
    assert!(abuse.answers("read .chronicle/query/one").await.contains("created"));
    for nothing in [
        "read .chronicle/at/99999/one",
        "read .chronicle/at/x",
        "list .chronicle/query/none",
        "read .chronicle/query/../../../secret",
    ] {
        assert!(abuse.answers(nothing).await.starts_with("refused "), "{nothing}");
    }
    // A copy takes room until it is closed, and a handle is a handle.
    assert_eq!(abuse.answers("copies .chronicle/at/1/big").await, "2 quota");
    abuse.ends("copies .chronicle/query/one", ErrorCode::HandleLimit).await;
    abuse.ends("copies .chronicle/query", ErrorCode::HandleLimit).await;
    let scratch = abuse.host.data().path().join(format!("instances/{}/chronicle/metadata/tmp", abuse.id));
    assert_eq!(std::fs::read_dir(scratch).expect("is there").count(), 0);
}
