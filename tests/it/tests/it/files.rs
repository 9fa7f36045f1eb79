//! The workspace from outside and from inside: every write is a cut, every path stays within.

use podium_it::{Host, agents};
use podium_wire::ErrorCode;
use podium_wire::rest::{ExternalCut, FileKind, FilePage};
use podium_wire::updates::EventType;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_file_is_written_read_listed_and_removed() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let cut = client.file_put(id, "notes/today.bin", &binary).await.cut;
    assert_eq!(client.info(id).await.cut, cut);
    assert_eq!(client.file_put(id, "empty", b"").await.cut, cut + 1);
    let read = client.file(id, "notes/today.bin").await;
    assert_eq!((read.status, &read.bytes), (200, &binary));
    assert_eq!(client.file(id, "empty").await.bytes, b"");
    let listed: Vec<_> =
        client.files(id).await.files.into_iter().map(|entry| (entry.path, entry.kind, entry.size_bytes)).collect();
    assert_eq!(
        listed,
        [
            ("empty".to_owned(), FileKind::File, 0),
            ("notes".to_owned(), FileKind::Folder, 0),
            ("notes/today.bin".to_owned(), FileKind::File, 100_000),
        ]
    );
    let removed: ExternalCut = client.delete(&format!("/api/v1/instances/{id}/files/empty")).await.with(200);
    assert_eq!(removed.cut, cut + 2);
    client.file(id, "empty").await.refused(ErrorCode::FileNotFound);
    client.delete(&format!("/api/v1/instances/{id}/files/empty")).await.refused(ErrorCode::FileNotFound);
    let host = host.crash().await;
    assert_eq!(host.client().file(id, "notes/today.bin").await.bytes, binary);
}

#[tokio::test]
async fn the_agent_and_people_see_the_same_files() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.file_put(id, "in.txt", "für dich".as_bytes()).await;
    assert_eq!(client.reply(id, "read in.txt").await, "für dich");
    client.reply(id, "write out.txt by the agent").await;
    assert_eq!(client.file(id, "out.txt").await.text(), "by the agent");
    assert_eq!(client.reply(id, "ls").await, "in.txt\nout.txt");
    // Written over, whole.
    client.file_put(id, "out.txt", b"x").await;
    assert_eq!(client.reply(id, "read out.txt").await, "x");
    let failed = client.ask(id, "read nothing.txt").await;
    assert!(failed.error.is_some());
}

#[tokio::test]
async fn an_agent_cannot_leave_its_workspace() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    for path in ["../../../../host.db", "../../messages/messages.db", "../../../../../../../etc/passwd"] {
        let outcome = client.ask(id, &format!("read {path}")).await;
        assert!(outcome.error.is_some(), "{path}: {:?}", outcome.text);
    }
    let outcome = client.ask(id, "write ../outside.txt no").await;
    assert!(outcome.error.is_some(), "{:?}", outcome.text);
    let workspace = host.data().path().join("instances").join(id.to_string());
    assert!(!workspace.join("chronicle/outside.txt").exists());
}

#[tokio::test]
async fn paths_that_lead_out_are_refused() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.file_put(id, "inside", b"x").await;
    let mut led_out =
        vec!["..%2foutside", "a%2f..%2f..%2foutside", "%2fetc%2fpasswd", "a%2f%2fb", ".%2fa", "a%00b", "a%2f"];
    // And those that are the history's.
    led_out.extend([".chronicle", ".chronicle%2fquery%2fa"]);
    for path in led_out {
        client.put_file(id, path, b"no").await.refused(ErrorCode::InvalidPath);
        client.file(id, path).await.refused(ErrorCode::InvalidPath);
        let request = client.request(Method::DELETE, &format!("/api/v1/instances/{id}/files/{path}"));
        client.send(request).await.refused(ErrorCode::InvalidPath);
    }
    client.file(id, "nothing").await.refused(ErrorCode::FileNotFound);
    client.file_put(id, "folder/file", b"x").await;
    client.file(id, "folder").await.refused(ErrorCode::NotAFile);
    client.put_file(id, "folder", b"x").await.refused(ErrorCode::NotAFile);
    // A link that was put there by other means leads nowhere.
    let work = host.data().path().join("instances").join(id.to_string()).join("chronicle/work");
    std::os::unix::fs::symlink("/etc/hostname", work.join("link")).expect("a link");
    client.file(id, "link").await.refused(ErrorCode::InvalidPath);
    assert!(client.ask(id, "read link").await.error.is_some());
    assert_eq!(client.file(id, "inside").await.bytes, b"x");
}

#[tokio::test]
async fn files_are_written_between_turns_only() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    socket.say("sleep 1000").await;
    socket.until(EventType::StreamStart).await;
    client.put_file(id, "a.txt", b"x").await.refused(ErrorCode::TurnActive);
    // Reading goes on.
    assert_eq!(client.files(id).await, FilePage { files: Vec::new(), next: None });
    socket.until(EventType::Cut).await;
    client.file_put(id, "a.txt", b"x").await;
}

#[tokio::test]
async fn an_external_write_is_a_cut_that_clients_see() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    let made = client.file_put(id, "a.txt", b"x").await.cut;
    let updates = socket.until(EventType::Cut).await;
    let cut = updates.last().map(podium_wire::updates::Update::body);
    match cut {
        Some(Ok(podium_wire::updates::UpdateBody::Cut(cut))) => {
            assert_eq!((cut.cut, cut.turn_id), (made, None));
            // It tells of the file, and of nothing else.
            assert!(cut.first_seq.is_some() && cut.first_seq == cut.last_seq, "{:?} {:?}", cut.first_seq, cut.last_seq);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_large_file_streams_through() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let large = vec![7_u8; 20 * 1024 * 1024];
    client.file_put(id, "large", &large).await;
    let read = client.file(id, "large").await;
    assert_eq!(read.status, 200);
    assert!(read.bytes == large, "{} bytes came back", read.bytes.len());
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("hello").await;
    for n in 0..5 {
        client.file_put(id, &format!("f{n}"), b"x").await;
    }
    let mut seen = Vec::new();
    let mut path = format!("/api/v1/instances/{id}/files?limit=2");
    loop {
        let page: FilePage = client.get(&path).await.with(200);
        seen.extend(page.files.into_iter().map(|entry| entry.path));
        let Some(next) = page.next else { break };
        path = format!("/api/v1/instances/{id}/files?limit=2&after={next}");
    }
    assert_eq!(seen, ["f0", "f1", "f2", "f3", "f4"]);
}

#[tokio::test]
async fn the_librarian_answers_from_documents_with_their_lines() {
    let host = Host::start().await;
    let client = host.client();
    assert_eq!(client.deploy(agents::component("librarian"), None, None).await.status, 201);
    let id = client.instance("librarian").await;
    let harbour = "# Harbour\n\nBoats sleep here.\n\n## Lighthouse\n\nThe lighthouse keeper is called Ottilie.\n";
    client.file_put(id, "docs/harbour.md", harbour.as_bytes()).await;
    client.file_put(id, "docs/garden.md", b"# Garden\n\nThe roses need water every morning.\n").await;
    let mut socket = client.socket(id).await;
    let turn = socket.turn("Who keeps the lighthouse?").await;
    let text = turn.text.clone().expect("an answer");
    assert!(text.contains("Ottilie") && text.contains("docs/harbour.md:"), "{text}");
    assert_eq!(turn.streamed(), text);
    assert!(turn.kinds().iter().filter(|kind| **kind == EventType::TextDelta).count() > 1, "it is streamed in pieces");
    // A new document is found, a removed one is not quoted any more.
    client.file_put(id, "docs/keeper.txt", b"The lighthouse keeper retired; now it is Balthasar.\n").await;
    let text = client.reply(id, "Who keeps the lighthouse?").await;
    assert!(text.contains("Balthasar"), "{text}");
    client.delete(&format!("/api/v1/instances/{id}/files/docs/harbour.md")).await.with::<ExternalCut>(200);
    let text = client.reply(id, "Who keeps the lighthouse?").await;
    assert!(!text.contains("Ottilie"), "{text}");
    // What nobody wrote about is said so.
    let nothing = client.ask_as(id, "m-x", "How do submarines navigate under polar ice?").await;
    assert_eq!(nothing.error, None);
    assert!(!json!(nothing.text).to_string().contains("docs/"), "{:?}", nothing.text);
}
