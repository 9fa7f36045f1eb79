//! An instance as one file: out of one host, into another, whole or not at all.

use std::time::Duration;

use podium_it::database::Databases;
use podium_it::host::interrupt;
use podium_it::moment::{Moment, cuts, files, said};
use podium_it::{Answer, Client, Host, agents, eventually};
use podium_wire::cuts::CutKind;
use podium_wire::portable::{CUT_HEADER, HEAD_MAGIC, Imported, LEFT_OUT_HEADER, TAIL_BYTES, TAIL_MAGIC};
use podium_wire::rest::{DeploymentPage, InstancePage, InstanceStatus};
use podium_wire::{ErrorCode, InstanceId};
use reqwest::Method;
use serde_json::{Value, json};

/// Bytes of the first frame.
const HEAD_BYTES: usize = 24;

async fn ask_export(client: &Client, id: InstanceId, query: &str) -> Answer {
    client.get(&format!("/api/v1/instances/{id}/export{query}")).await
}

async fn export(client: &Client, id: InstanceId, query: &str) -> Vec<u8> {
    let answer = ask_export(client, id, query).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.bytes
}

async fn ask_import(client: &Client, file: Vec<u8>) -> Answer {
    client.send(client.request(Method::POST, "/api/v1/instances/import").body(file)).await
}

async fn import(client: &Client, file: Vec<u8>) -> Imported {
    ask_import(client, file).await.with(201)
}

async fn instances(client: &Client) -> Vec<InstanceId> {
    let page: InstancePage = client.get("/instances?limit=1000").await.with(200);
    page.instances.into_iter().map(|instance| instance.instance_id).collect()
}

async fn last_cut(client: &Client, id: InstanceId) -> u64 {
    client.info(id).await.cut
}

/// A life with files, a configuration and other code, and what it was at some of its cuts.
async fn life(client: &Client) -> (InstanceId, Vec<(u64, Moment)>) {
    let id = client.deployed_instance("probe").await;
    let bytes = agents::component("successor");
    assert!([200, 201].contains(&client.deploy(bytes, Some("probe"), Some("2.0.0")).await.status));
    let mut moments = vec![(last_cut(client, id).await, Moment::of(client, id).await)];
    client.reply(id, "set colour blue").await;
    client.reply(id, "write a.txt one").await;
    client.file_put(id, "docs/b.txt", b"from outside").await;
    client.file_put(id, "large.bin", &noise(3 << 20)).await;
    moments.push((last_cut(client, id).await, Moment::of(client, id).await));
    let config = json!({"config": {"greeting": "Ahoy"}});
    let _: Value = client.put_json(&format!("/agent/{id}/config"), &config).await.with(200);
    client.reply(id, "write a.txt two").await;
    let path = format!("/agent/{id}/upgrade?wait=60s");
    let _: Value = client.post_json(&path, &json!({"version": "2.0.0"})).await.with(200);
    client.reply(id, "echo new").await;
    moments.push((last_cut(client, id).await, Moment::of(client, id).await));
    (id, moments)
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[tokio::test]
async fn an_instance_goes_on_elsewhere_as_each_of_its_cuts_was() {
    let (here, there) = (Host::start().await, Host::start().await);
    let (origin, client) = (here.client(), there.client());
    let (id, moments) = life(&origin).await;
    let roots = cuts(&origin, id).await;
    let mut deployed = Vec::new();
    let mut made = Vec::new();
    for (cut, _) in &moments {
        let answer = ask_export(&origin, id, &format!("?at={cut}")).await;
        assert_eq!(answer.headers[CUT_HEADER], cut.to_string().as_str());
        let file = answer.bytes;
        assert_eq!(export(&origin, id, &format!("?at={cut}")).await, file, "the same cut is the same file");
        let imported = import(&client, file.clone()).await;
        let new = imported.instance.instance_id;
        assert_eq!((imported.imported_from.instance_id, imported.imported_from.cut), (id, *cut));
        assert_eq!(imported.imported_from.file, blake3::hash(&file[..file.len() - TAIL_BYTES]).to_string());
        assert_eq!(imported.instance.status, InstanceStatus::Resting);
        deployed.push(imported.deployed);
        let listed = cuts(&client, new).await;
        assert_eq!((listed.len(), listed[0].kind, listed[0].parent), (1, CutKind::Fork, 0));
        assert_eq!((listed[0].imported_from.as_ref(), &listed[0].forked_from), (Some(&imported.imported_from), &None));
        // The name of the content covers every name, byte, permission and time.
        let root = |at: &podium_wire::cuts::CutInfo| at.workspace.as_ref().map(|workspace| workspace.root.clone());
        assert_eq!(root(&listed[0]), root(&roots[usize::try_from(*cut).expect("few") - 1]));
        made.push(new);
    }
    // Two versions of one agent, each deployed once.
    assert_eq!(deployed, [true, false, true]);
    // Killed before anybody used a file.
    drop(client);
    let there = there.crash().await;
    let client = there.client();
    for (new, (cut, moment)) in made.iter().zip(&moments) {
        assert_eq!(Moment::of(&client, *new).await, *moment, "cut {cut}");
    }
    // Each goes on alone, and the origin knows nothing of it.
    client.reply(made[1], "write a.txt there").await;
    client.reply(made[1], "set colour green").await;
    assert_eq!(files(&client, made[1]).await["a.txt"], "there");
    assert!(said(&client, made[1]).await.len() > moments[1].1.messages.len());
    assert_eq!(Moment::of(&origin, id).await, moments[2].1);
    assert_ne!(client.reply(made[0], "random").await, origin.reply(id, "random").await);
    for new in &made {
        Databases::open(&there.data().path(), *new).check();
    }
    // Round and round: back to where it came from, and from a copy that nobody used.
    let moment = Moment::of(&client, made[1]).await;
    let back = import(&origin, export(&client, made[1], "").await).await;
    assert!(!back.deployed);
    assert_eq!(Moment::of(&origin, back.instance.instance_id).await, moment);
    let unused = import(&client, export(&origin, back.instance.instance_id, "").await).await.instance.instance_id;
    let again = import(&client, export(&client, unused, "").await).await.instance.instance_id;
    assert_eq!(Moment::of(&client, again).await, moment);
}

#[tokio::test]
async fn a_file_without_the_component_needs_a_host_that_has_it() {
    let (here, there) = (Host::start().await, Host::start().await);
    let (origin, client) = (here.client(), there.client());
    let id = origin.deployed_instance("scribe").await;
    origin.reply(id, "write a one").await;
    let moment = Moment::of(&origin, id).await;
    let (with, without) = (export(&origin, id, "").await, export(&origin, id, "?component=false").await);
    assert!(with.len() > 10_000 + without.len(), "{} and {}", with.len(), without.len());
    let error = ask_import(&client, without.clone()).await.refused(ErrorCode::ComponentMissing);
    let digest = origin.deployed("scribe").await.deployment.checksum.to_string();
    assert!(error.message.contains(&digest), "{error:?}");
    assert_eq!(instances(&client).await, []);
    client.deployed("scribe").await;
    let imported = import(&client, without).await;
    assert!(!imported.deployed);
    assert_eq!(Moment::of(&client, imported.instance.instance_id).await, moment);
    // Other bytes under its name are another agent.
    let other = Host::start().await;
    let other_client = other.client();
    let version = origin.deployed("scribe").await.deployment.version.to_string();
    let answer = other_client.deploy(agents::component("hello"), Some("scribe"), Some(&version)).await;
    assert_eq!(answer.status, 201);
    ask_import(&other_client, with).await.refused(ErrorCode::VersionExists);
    assert_eq!(instances(&other_client).await, []);
}

#[tokio::test]
async fn a_running_turn_and_what_a_cut_left_out_are_not_in_the_file() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.reply(id, "write a one").await;
    // Larger than a version takes, and holes all through.
    client.reply(id, "write dump x\ncut dump 300000000").await;
    let before = last_cut(&client, id).await;
    client.post_message(id, "m", "write a two\nsleep 3000").await;
    client.until_waiting(id).await;
    let answer = ask_export(&client, id, "").await;
    assert_eq!(answer.headers[CUT_HEADER], before.to_string().as_str());
    assert_eq!(answer.headers[LEFT_OUT_HEADER], "1");
    let imported = import(&client, answer.bytes).await;
    assert_eq!(imported.left_out, ["dump"]);
    let new = imported.instance.instance_id;
    assert_eq!(files(&client, new).await, [("a".to_owned(), "one".to_owned())].into());
    assert_eq!(client.ask_as(id, "m", "write a two\nsleep 3000").await.error, None, "the turn went on");
    for at in [0, 99] {
        ask_export(&client, id, &format!("?at={at}")).await.refused(ErrorCode::CutNotFound);
    }
    let nobody: InstanceId = "0198c0de-0000-7000-8000-00000000dead".parse().expect("an id");
    ask_export(&client, nobody, "").await.refused(ErrorCode::InstanceNotFound);
}

/// The tar of a file.
fn unpacked(file: &[u8]) -> Vec<u8> {
    zstd::decode_all(&file[HEAD_BYTES..file.len() - TAIL_BYTES]).expect("unpacks")
}

/// A file with this tar, whose end fits.
fn repacked(tar: &[u8]) -> Vec<u8> {
    let begin = [&HEAD_MAGIC[..], &16_u32.to_le_bytes(), b"podium export 1\n"].concat();
    ended([begin, zstd::encode_all(tar, 3).expect("packs")].concat())
}

fn ended(mut file: Vec<u8>) -> Vec<u8> {
    let hash = blake3::hash(&file);
    file.extend([&TAIL_MAGIC[..], &32_u32.to_le_bytes(), hash.as_bytes()].concat());
    file
}

/// A block whose sum fits.
fn summed(block: &[u8]) -> [u8; 512] {
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    header.set_cksum();
    *header.as_bytes()
}

/// The same tar with a change to the first block that has this name, and to its content.
fn altered(tar: &[u8], name: &str, change: impl Fn(&mut [u8; 512], &mut Vec<u8>)) -> Vec<u8> {
    let at = tar.chunks(512).position(|block| block.starts_with(format!("{name}\0").as_bytes()));
    let at = 512 * at.unwrap_or_else(|| panic!("there is no {name}"));
    let mut block: [u8; 512] = tar[at..at + 512].try_into().expect("a block");
    let header = tar::Header::from_byte_slice(&block);
    let size = usize::try_from(header.entry_size().expect("a size")).expect("fits");
    let end = at + 512 + size.next_multiple_of(512);
    let mut content = tar[at + 512..at + 512 + size].to_vec();
    change(&mut block, &mut content);
    let mut block = summed(&block);
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(&block);
    if content.len() != size {
        header.set_size(content.len() as u64);
        header.set_cksum();
        block = *header.as_bytes();
    }
    content.resize(content.len().next_multiple_of(512), 0);
    [&tar[..at], &block, &content, &tar[end..]].concat()
}

fn renamed(tar: &[u8], name: &str, to: &str) -> Vec<u8> {
    altered(tar, name, |block, _| {
        block[..100].fill(0);
        block[..to.len()].copy_from_slice(to.as_bytes());
    })
}

fn said_otherwise(tar: &[u8], name: &str, change: impl Fn(&mut Value)) -> Vec<u8> {
    altered(tar, name, |_, content| {
        let mut value = serde_json::from_slice(content).expect("JSON");
        change(&mut value);
        *content = serde_json::to_vec(&value).expect("JSON");
    })
}

/// What a file is, the file, and what is said of it.
type Hostile = (&'static str, Vec<u8>, ErrorCode);

/// A host takes none of these, and is as it was.
async fn all_refused(there: &Host, files: Vec<Hostile>) {
    let client = there.client();
    for (what, file, code) in files {
        let answer = ask_import(&client, file).await;
        assert_eq!(
            serde_json::from_slice::<Value>(&answer.bytes).map(|body| body["error"]["code"].clone()).ok(),
            Some(code.to_string().into()),
            "{what}: {}",
            answer.text()
        );
        assert_eq!(answer.status, code.status(), "{what}");
        assert_eq!(instances(&client).await, [], "{what}");
        let folder = |name: &str| std::fs::read_dir(there.data().path().join(name)).expect("a folder").count();
        assert_eq!((folder("instances"), folder("deleted"), folder("uploads")), (0, 0, 0), "{what}");
        let page: DeploymentPage = client.get("/deployments").await.with(200);
        assert_eq!(page.deployments.len(), 0, "{what}");
    }
}

#[tokio::test]
async fn files_that_are_not_whole_are_refused() {
    let (here, there) = (Host::start().await, Host::start().await);
    let origin = here.client();
    let id = origin.deployed_instance("scribe").await;
    origin.reply(id, "write a one").await;
    let file = export(&origin, id, "").await;
    let whole = ErrorCode::InvalidExport;
    let changed = |at: usize| {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        changed
    };
    let files = vec![
        ("nothing", Vec::new(), whole),
        ("another file", b"PK\x03\x04".to_vec(), whole),
        ("half of it", file[..file.len() / 2].to_vec(), whole),
        ("all but its end", file[..file.len() - TAIL_BYTES].to_vec(), whole),
        ("one byte less", file[..file.len() - 1].to_vec(), whole),
        ("one byte more", [&file[..], b"x"].concat(), whole),
        ("twice", [&file[..], &file].concat(), whole),
        ("a changed byte", changed(file.len() / 2), whole),
        ("a changed end", changed(file.len() - 5), whole),
        ("another format", ended([&file[..22], b"2\n".as_slice()].concat()), ErrorCode::ExportFormat),
    ];
    all_refused(&there, files).await;
}

#[tokio::test]
async fn hostile_files_are_refused_and_leave_nothing() {
    let (here, there) = (Host::start().await, Host::start().await);
    let (origin, client) = (here.client(), there.client());
    let id = origin.deployed_instance("scribe").await;
    origin.reply(id, "mkdir d\nwrite d/a one\nwrite e two\nsymlink d f\nwrite g three").await;
    origin.file_put(id, "z", &noise(2 << 20)).await;
    let file = export(&origin, id, "").await;
    let tar = unpacked(&file);
    let whole = ErrorCode::InvalidExport;
    let head = "podium/export.json";
    let kind = |letter: u8| altered(&tar, "workspace/g", move |block, _| block[156] = letter);
    // Whoever changes a file can make its end fit.
    let tars = vec![
        ("out by dots", renamed(&tar, "workspace/e", "workspace/../e"), whole),
        ("out by an absolute name", renamed(&tar, "workspace/e", "/tmp/podium-e"), whole),
        ("out of the workspace's entries", renamed(&tar, "workspace/e", "podium/e"), whole),
        ("a name twice", renamed(&tar, "workspace/g", "workspace/e"), whole),
        ("a name out of order", renamed(&tar, "workspace/g", "workspace/a"), whole),
        ("a file where a folder is", renamed(&tar, "workspace/e", "workspace/d"), whole),
        ("a path through a link", renamed(&tar, "workspace/g", "workspace/f/g"), whole),
        ("a path through a file", renamed(&tar, "workspace/g", "workspace/e/g"), whole),
        ("a reserved name", renamed(&tar, "workspace/d/a", "workspace/.chronicle"), whole),
        ("a hard link", kind(b'1'), whole),
        ("a device", kind(b'3'), whole),
        ("a pipe", kind(b'6'), whole),
        ("a sparse file", kind(b'S'), whole),
        ("a global header", kind(b'g'), whole),
        ("set-id bits", altered(&tar, "workspace/g", |block, _| block[100..108].copy_from_slice(b"0004755\0")), whole),
        ("other content", altered(&tar, "workspace/g", |_, content| content[0] ^= 1), whole),
        ("more content", altered(&tar, "workspace/g", |_, content| content.push(b'x')), whole),
        ("a state that is none", altered(&tar, "podium/state.json", |_, content| *content = b"[]".to_vec()), whole),
        (
            "a state too large",
            altered(&tar, "podium/state.json", |_, content| {
                *content = format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20)).into_bytes();
            }),
            whole,
        ),
        ("fewer messages", altered(&tar, "podium/messages.jsonl", |_, content| content.clear()), whole),
        ("messages that are none", altered(&tar, "podium/messages.jsonl", |_, content| content[0] = b'!'), whole),
        ("other code", altered(&tar, "podium/component.wasm", |_, content| content[100] ^= 1), whole),
        ("no end", tar[..tar.len() - 1024].to_vec(), whole),
        ("something behind the end", [&tar[..], &[1; 512]].concat(), whole),
        ("another root", said_otherwise(&tar, head, |head| head["workspace"]["root"] = "ab".repeat(32).into()), whole),
        (
            "no workspace",
            said_otherwise(&tar, head, |head| drop(head.as_object_mut().map(|head| head.remove("workspace")))),
            whole,
        ),
        (
            "a number that cannot be",
            said_otherwise(&tar, head, |head| head["cut"]["state_version"] = u64::MAX.into()),
            whole,
        ),
        (
            "another name for its code",
            said_otherwise(&tar, head, |head| head["deployment_id"] = "scribe:9.9.9@00000000".into()),
            whole,
        ),
        ("a word that is not known", said_otherwise(&tar, head, |head| head["more"] = true.into()), whole),
        ("a format within that is another", said_otherwise(&tar, head, |head| head["format"] = 2.into()), whole),
        (
            "a configuration too large",
            said_otherwise(&tar, head, |head| head["config"]["x"] = "x".repeat(300_000).into()),
            ErrorCode::InvalidConfig,
        ),
    ];
    let mut hostile: Vec<Hostile> = tars.into_iter().map(|(what, tar, code)| (what, repacked(&tar), code)).collect();
    // Much in a few bytes.
    let bomb = altered(&tar, "workspace/z", |_, content| *content = vec![0; 300 << 20]);
    hostile.push(("a file larger than any", repacked(&bomb), whole));
    all_refused(&there, hostile).await;
    assert!(!std::path::Path::new("/tmp/podium-e").exists());
    // The file itself is one that can be taken.
    let imported = import(&client, repacked(&tar)).await;
    assert_eq!(Moment::of(&client, imported.instance.instance_id).await, Moment::of(&origin, id).await);
}

#[tokio::test]
async fn a_kill_in_an_import_leaves_a_whole_instance_or_none() {
    let mut host = Host::start().await;
    let (id, moments) = life(&host.client()).await;
    let file = export(&host.client(), id, "").await;
    let mut known = instances(&host.client()).await;
    let (mut made, mut none) = (0, 0);
    for round in 0..14_u64 {
        let client = host.client();
        let request = client.request(Method::POST, "/instances/import").body(file.clone());
        let mut asking = tokio::spawn(async move {
            let answer = request.send().await.ok()?;
            answer.json::<Imported>().await.ok().map(|imported| imported.instance.instance_id)
        });
        // From before it has come in until behind its end, which a busy machine puts off.
        let pause = Duration::from_micros(if round % 7 == 6 { 30_000_000 } else { round * round * 700 });
        let early = tokio::time::timeout(pause, &mut asking).await;
        drop(client);
        host = host.crash().await;
        let told = match early {
            Ok(ended) => ended,
            Err(_) => asking.await,
        }
        .expect("the request ended");
        let client = host.client();
        let data = host.data().path();
        let found = eventually("what was begun is removed", async || {
            let found = instances(&client).await;
            let folders = std::fs::read_dir(data.join("instances")).map(Iterator::count).unwrap_or(0);
            (folders == found.len()).then_some(found)
        })
        .await;
        assert_eq!(std::fs::read_dir(data.join("uploads")).expect("a folder").count(), 0, "round {round}");
        let new: Vec<InstanceId> = found.iter().filter(|id| !known.contains(id)).copied().collect();
        assert!(new.len() <= 1 && told.is_none_or(|told| new == [told]), "round {round}: {told:?} of {new:?}");
        for imported in &new {
            assert_eq!(Moment::of(&client, *imported).await, moments[2].1, "round {round}");
            Databases::open(&data, *imported).check();
        }
        made += new.len();
        none += 1 - new.len();
        known = found;
    }
    assert!(made > 0 && none > 0, "{made} were made and {none} were not: the rounds kill at one moment only");
}

#[tokio::test]
async fn damaged_content_ends_an_export_before_it_begins_and_keeps_the_old_file() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.reply(id, "write a one").await;
    let sound = last_cut(&client, id).await;
    client.file_put(id, "d/damaged", &noise(2 << 20)).await;
    let beside = host.data().scratch().join("beside");
    std::fs::create_dir(&beside).expect("a folder");
    let target = beside.join("out.podium");
    std::fs::write(&target, "the old file").expect("written");
    let folder = host.data().path().join(format!("instances/{id}/chronicle/metadata/cas"));
    for segment in std::fs::read_dir(folder).expect("segments") {
        let file = segment.expect("a segment").path();
        let mut bytes = std::fs::read(&file).expect("read");
        let len = bytes.len();
        // The last of its chunks: what comes before is sound, and is not sent either.
        bytes[len - 5000..len - 4000].iter_mut().for_each(|byte| *byte ^= 0xff);
        std::fs::write(file, bytes).expect("written");
    }
    let error = ask_export(&client, id, "").await.refused(ErrorCode::ContentDamaged);
    assert!(error.message.contains("d/damaged"), "{error:?}");
    let (name, path) = (id.to_string(), target.display().to_string());
    let said = host.cli().run(&["instance", "export", &name, "-o", &path]).await;
    said.failed(1, ErrorCode::ContentDamaged);
    assert!(said.stderr.contains("d/damaged"), "{said:?}");
    assert_eq!(std::fs::read_to_string(&target).expect("is there"), "the old file");
    assert_eq!(std::fs::read_dir(beside).expect("read").count(), 1, "nothing lies beside it");
    // The cut before is sound.
    let imported = import(&client, export(&client, id, &format!("?at={sound}")).await).await;
    assert_eq!(files(&client, imported.instance.instance_id).await["a"], "one");
}

#[tokio::test]
async fn an_export_keeps_nobody_waiting_and_is_seen_to_break_off() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    // More than pipes and sockets hold, so that it waits for its reader.
    client.file_put(id, "large", &noise(60 << 20)).await;
    let mut exporting = host.cli().start(&["instance", "export", &id.to_string()]);
    let mut stdout = exporting.stdout.take().expect("a pipe");
    let (mut begin, mut stdout) = tokio::task::spawn_blocking(move || {
        let mut begin = vec![0; 1 << 20];
        std::io::Read::read_exact(&mut stdout, &mut begin).expect("it begins");
        (begin, stdout)
    })
    .await
    .expect("no panic");
    assert!(begin.starts_with(&HEAD_MAGIC));
    client.reply(id, "write a one").await;
    client.file_put(id, "large", b"small").await;
    assert_eq!(client.delete(&format!("/agent/{id}")).await.status, 204);
    let (file, ended, said) = tokio::task::spawn_blocking(move || {
        std::io::Read::read_to_end(&mut stdout, &mut begin).expect("it ends");
        let mut said = String::new();
        let stderr = exporting.stderr.as_mut().expect("a pipe");
        std::io::Read::read_to_string(stderr, &mut said).expect("it says something");
        (begin, exporting.wait().expect("it can be waited for"), said)
    })
    .await
    .expect("no panic");
    assert_eq!(ended.code(), Some(4), "{said}");
    assert!(said.contains("POD-6004") && file.len() < 60 << 20, "{said}");
    ask_import(&client, file).await.refused(ErrorCode::InvalidExport);
    assert_eq!(instances(&client).await, []);
}

#[tokio::test]
async fn the_command_line_exports_and_imports() {
    let (here, there) = (Host::start().await, Host::start().await);
    let client = here.client();
    let id = client.deployed_instance("scribe").await;
    client.reply(id, "write a one").await;
    let first = last_cut(&client, id).await;
    client.reply(id, "write a two").await;
    let moment = Moment::of(&client, id).await;
    let (name, scratch) = (id.to_string(), here.data().scratch());
    let file = |name: &str| scratch.join(name).display().to_string();
    let said = here.cli().run(&["instance", "export", &name, "--output", &file("a.podium")]).await;
    assert_eq!((said.ok(), said.stderr.contains("wrote cut")), ("", true), "{said:?}");
    let json = here
        .cli()
        .run(&["instance", "export", &name, "--at", &first.to_string(), "-o", &file("b.podium"), "--json"])
        .await;
    let json = json.json();
    assert_eq!((&json["cut"], &json["instance_id"]), (&json!(first), &json!(name)));
    assert_eq!(json["size_bytes"], std::fs::metadata(file("b.podium")).expect("is there").len());
    // To a pipe, and looked into with programs that everybody has.
    let program = podium_it::host::binary().display().to_string();
    let listed = std::process::Command::new("sh")
        .args(["-c", &format!("{program} instance export {name} --without-component | zstd -dc | tar -tv")])
        .env("PODIUM_URL", here.url())
        .env("PODIUM_TOKEN", here.token())
        .output()
        .expect("sh runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for entry in ["podium/export.json", "podium/state.json", "podium/messages.jsonl", "workspace/a"] {
        assert!(listed.contains(entry), "{entry} in {listed}");
    }
    assert!(!listed.contains("component.wasm"), "{listed}");
    let elsewhere = there.client();
    let made = there.cli().run(&["instance", "import", &file("a.podium")]).await;
    assert!(made.stderr.contains("deployed scribe:"), "{made:?}");
    let made: InstanceId = made.ok().trim().parse().expect("an id");
    assert_eq!(Moment::of(&elsewhere, made).await, moment);
    let old = there.cli().run(&["instance", "import", &file("b.podium"), "--json"]).await.json();
    assert_eq!(old["imported_from"]["cut"], first);
    let old: InstanceId = serde_json::from_value(old["instance_id"].clone()).expect("an id");
    assert_eq!(files(&elsewhere, old).await["a"], "one");
    let bytes = std::fs::read(file("a.podium")).expect("is read");
    let piped = there.cli().run_with(&["instance", "import", "-"], &bytes).await;
    let piped: InstanceId = piped.ok().trim().parse().expect("an id");
    assert_eq!(Moment::of(&elsewhere, piped).await, moment);
    // What cannot be is said.
    there.cli().run(&["instance", "import", &file("none")]).await.failed(2, ErrorCode::Usage);
    there.cli().run_with(&["instance", "import", "-"], b"nothing").await.failed(5, ErrorCode::InvalidExport);
    here.cli().run(&["instance", "export", &name, "--json"]).await.failed(2, ErrorCode::Usage);
    here.cli().run(&["instance", "export", &name, "--at", "999"]).await.failed(3, ErrorCode::CutNotFound);
    let shown = here.cli().on_terminal(&["instance", "export", &name]).await;
    assert_eq!(shown.code, 2, "{shown:?}");
}

#[tokio::test]
async fn progress_is_shown_to_people_and_to_nobody_else() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.file_put(id, "large", &noise(100 << 20)).await;
    let (name, cli) = (id.to_string(), host.cli());
    let target = host.data().scratch().join("large.podium").display().to_string();
    let shown = cli.on_terminal(&["instance", "export", &name, "-o", &target]).await;
    assert!(shown.ok().contains("exporting ["), "{shown:?}");
    let shown = cli.on_terminal(&["instance", "import", &target]).await;
    assert!(shown.ok().contains("importing ["), "{shown:?}");
    // Ctrl-C in the middle leaves no half file, under no name.
    let folder = host.data().scratch().join("beside");
    std::fs::create_dir(&folder).expect("a folder");
    let count = || std::fs::read_dir(&folder).expect("read").count();
    let other = folder.join("large.podium").display().to_string();
    let mut exporting = cli.start(&["instance", "export", &name, "-o", &other]);
    eventually("the file has begun", async || (count() == 1).then_some(())).await;
    host.freeze();
    interrupt(&exporting);
    let ended = tokio::task::spawn_blocking(move || exporting.wait()).await.expect("no panic");
    host.thaw();
    assert_eq!((ended.expect("it can be waited for").code(), count()), (Some(1), 0));
    for arguments in [vec!["instance", "export", &name, "-o", &target], vec!["instance", "import", &target]] {
        let piped = cli.run(&arguments).await;
        piped.ok();
        assert!(!piped.stderr.contains("ing ["), "{piped:?}");
    }
}

/// The most memory that the host had at once since it was last asked to forget that, in KiB.
fn most_memory(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its most");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn a_large_workspace_takes_no_more_memory_than_a_small_one() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    let go_round = async || {
        let file = host.data().scratch().join("x.podium").display().to_string();
        host.cli().run(&["instance", "export", &id.to_string(), "-o", &file]).await.ok();
        let imported = host.cli().run(&["instance", "import", &file]).await;
        let imported: InstanceId = imported.ok().trim().parse().expect("an id");
        let root = cuts(&client, imported).await[0].workspace.as_ref().map(|at| at.root.clone());
        let all = cuts(&client, id).await;
        assert_eq!(root, all.last().and_then(|cut| Some(cut.workspace.as_ref()?.root.clone())));
    };
    client.file_put(id, "small", b"x").await;
    go_round().await;
    for n in 0..3 {
        client.file_put(id, &format!("large-{n}"), &noise((100 << 20) + n)).await;
    }
    std::fs::write(format!("/proc/{}/clear_refs", host.pid()), "5").expect("it forgets its most");
    let before = most_memory(&host);
    go_round().await;
    let grown = most_memory(&host).saturating_sub(before) / 1024;
    assert!(grown < 100, "{grown} MiB more for 300 MiB of files");
}
