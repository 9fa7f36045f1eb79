//! What authors get: `podium new`, its SDK and tests, completions and the manual.

use std::path::Path;
use std::process::{Command, Stdio};

use podium_it::{Cli, Data, Host, guide, root};
use podium_wire::ErrorCode;

/// A caller whose builds use the toolchain of Debian's packages and this machine's caches.
fn author(data: &Data) -> Cli {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Cli::new(data).env("HOME", home).env("PODIUM_WASM_TOOLCHAIN", "debian")
}

/// `cargo test` in an agent's folder: what it said.
async fn cargo_test(folder: &Path) -> String {
    let mut command = Command::new("cargo");
    command.arg("test").current_dir(folder).stdin(Stdio::null()).env("CARGO_TARGET_DIR", guide::native_target());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("cargo starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

/// Every file below a folder, hidden ones too. A link would lead elsewhere.
fn files_below(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
        assert!(!kind.is_symlink(), "{} is a link", path.display());
        if kind.is_dir() {
            all.extend(files_below(&path));
        } else {
            all.push((path.clone(), std::fs::read(&path).expect("a file")));
        }
    }
    all
}

#[tokio::test]
async fn a_new_agent_is_tested_built_deployed_and_answers_outside_this_repository() {
    let host = Host::start().await;
    let home = host.data().scratch();
    assert!(!home.starts_with(root()), "{}", home.display());
    let cli = author(host.data()).url(host.url()).folder(home.clone());
    let made = cli.run(&["new", "diary", "--json"]).await.json();
    assert_eq!((made["path"].as_str(), made["type"].as_str()), (Some("diary"), Some("diary")), "{made}");
    let agent = home.join("diary");

    let said = cargo_test(&agent).await;
    assert!(said.contains("2 passed"), "{said}");

    // Nothing that an author was given leads back to where Podium was built.
    let repository = root().display().to_string();
    for (file, bytes) in files_below(&agent) {
        let names_it = bytes.windows(repository.len()).any(|part| part == repository.as_bytes());
        assert!(!names_it, "{} names {repository}", file.display());
    }

    let cli = cli.folder(agent.clone());
    let deployed = cli.run(&["deploy", ".", "--json"]).await.json();
    assert!(deployed["deployment_id"].as_str().is_some_and(|id| id.starts_with("diary:0.1.0@")), "{deployed}");
    let id = cli.run(&["instance", "create", "diary"]).await.ok().trim().to_owned();
    assert_eq!(cli.run(&["chat", &id, "rain all day"]).await.ok().trim(), "kept as note 1");
    assert_eq!(cli.run(&["chat", &id, "list"]).await.ok().trim(), "rain all day");

    // The SDK is renewed by deleting it; nothing else of the folder changes.
    std::fs::remove_dir_all(agent.join(".podium/sdk")).expect("removed");
    cli.run(&["build", "."]).await.ok();
    assert!(agent.join(".podium/sdk/wit/podium/world.wit").exists());
}

/// A host that is started beside a long build writes its token while the build goes on.
#[tokio::test]
async fn the_token_is_read_after_the_build() {
    let host = Host::start().await;
    let home = host.data().scratch();
    let cli = author(host.data()).url(host.url()).folder(home.clone());
    cli.run(&["new", "patient"]).await.ok();
    let agent = home.join("patient");
    let (building, go) = (home.join("building"), home.join("go"));
    // The build says that it has begun, and goes on when it is told to; a build that is never told fails.
    let script = format!(
        "fn main() {{\n    std::fs::write({building:?}, \"\").unwrap();\n    for _ in 0..6000 {{\n        \
         if std::path::Path::new({go:?}).exists() {{ return; }}\n        \
         std::thread::sleep(std::time::Duration::from_millis(10));\n    }}\n    panic!(\"nobody came\");\n}}\n"
    );
    std::fs::write(agent.join("build.rs"), script).expect("written");
    let later = home.join("later");
    std::fs::create_dir(&later).expect("a folder without a token");
    let later_cli = cli.clone().env("PODIUM_DATA", &later);
    let meanwhile = async {
        podium_it::wait::within(podium_it::PATIENCE * 20, "the build begins", async || building.exists().then_some(()))
            .await;
        std::fs::write(later.join("token"), host.token()).expect("written");
        std::fs::write(&go, "").expect("written");
    };
    let (deployed, ()) = tokio::join!(later_cli.run(&["deploy", "patient"]), meanwhile);
    assert!(deployed.ok().contains("patient:0.1.0@"), "{deployed:?}");
}

#[tokio::test]
async fn new_says_what_is_next_and_touches_nothing_that_is_there() {
    let data = Data::new();
    let home = data.scratch();
    let cli = author(&data).folder(home.clone());
    let said = cli.run(&["new", "notes", "--dir", "deep/down"]).await;
    assert!(said.ok().contains("cd deep/down"), "{said:?}");
    let kept = std::fs::read(home.join("deep/down/Cargo.toml")).expect("Cargo.toml");
    assert!(String::from_utf8_lossy(&kept).contains("name = \"notes-agent\""));

    let again = cli.run(&["new", "other", "--dir", "deep/down"]).await;
    again.failed(5, ErrorCode::FolderExists);
    assert!(again.stderr.contains("hint"), "{again:?}");
    std::fs::create_dir(home.join("empty")).expect("a folder");
    cli.run(&["new", "empty"]).await.failed(5, ErrorCode::FolderExists);
    std::os::unix::fs::symlink("nowhere", home.join("dangling")).expect("a link");
    cli.run(&["new", "dangling"]).await.failed(5, ErrorCode::FolderExists);
    assert_eq!(std::fs::read(home.join("deep/down/Cargo.toml")).expect("Cargo.toml"), kept);
}

#[tokio::test]
async fn names_and_places_that_do_not_do_are_refused_with_a_hint() {
    let data = Data::new();
    let home = data.scratch();
    let cli = author(&data).folder(home.clone());
    for (name, better) in
        [("Notes", "notes"), ("my notes", "my-notes"), ("7up", "up"), ("../up", "up"), ("", "my-agent")]
    {
        let refused = cli.run(&["new", name]).await;
        refused.failed(2, ErrorCode::Usage);
        assert!(refused.stderr.contains(&format!("podium new {better}")), "{refused:?}");
    }
    std::fs::write(home.join("file"), "").expect("a file");
    let below_a_file = cli.run(&["new", "notes", "--dir", "file/notes"]).await;
    below_a_file.failed(2, ErrorCode::Usage);
    assert!(below_a_file.stderr.contains("--dir"), "{below_a_file:?}");
    // Nobody can make a folder here, not even root.
    let unwritable = cli.run(&["new", "notes", "--dir", "/proc/notes"]).await;
    assert_ne!(unwritable.code, 0);
    assert!(unwritable.stderr.contains("error[POD-500") && unwritable.stderr.contains("--dir"), "{unwritable:?}");
    let left: Vec<_> = std::fs::read_dir(&home).expect("the folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["file"], "a refused call leaves nothing");
}

#[tokio::test]
async fn the_testing_guide_s_commands_work() {
    let text = std::fs::read_to_string(root().join("docs/guide/testing.md")).expect("the guide");
    let commands = guide::console_lines(&text);
    assert!(commands.iter().filter(|line| **line == "cargo test").count() == 2, "{commands:?}");
    let data = Data::new();
    guide::follow(&data, data.scratch(), &commands).await;
}

/// Every command by its words, as the help of each lists the ones below it.
async fn commands(cli: &Cli) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = vec![Vec::new()];
    let mut next = 0;
    while next < found.len() {
        let words = found[next].clone();
        next += 1;
        let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = cli.run(&arguments).await;
        let listed = help.ok().lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in listed.take_while(|line| !line.is_empty()) {
            // A name stands two spaces in; what is further in goes on with the line above.
            let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
            if let Some(name) = name.and_then(|rest| rest.split(' ').next()).filter(|name| *name != "help") {
                found.push([words.clone(), vec![name.to_owned()]].concat());
            }
        }
    }
    found.remove(0);
    assert!(found.len() > 20, "{found:?}");
    found
}

#[tokio::test]
async fn completions_name_every_command() {
    let data = Data::new();
    let cli = Cli::new(&data);
    let commands = commands(&cli).await;
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.run(&["completions", shell]).await;
        for words in &commands {
            let name = words.last().expect("a word");
            let is_named =
                script.ok().split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == name);
            assert!(is_named, "{shell}: {words:?}");
        }
    }
    cli.run(&["completions", "tcsh"]).await.failed(2, ErrorCode::Usage);
    assert_eq!(cli.run(&["completions", "fish", "--json"]).await.json()["shell"], "fish");
}

#[tokio::test]
async fn bash_completes() {
    let data = Data::new();
    let script = data.scratch().join("podium.bash");
    std::fs::write(&script, Cli::new(&data).run(&["completions", "bash"]).await.ok()).expect("written");
    // What bash does when somebody presses the tabulator.
    let complete = |words: &str, word: &str, before: &str| {
        let line = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _podium podium '{word}' '{before}'; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &line]).output().expect("bash starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete("podium comp", "comp", "podium"), "completions");
    let below = complete("podium instance ''", "", "instance");
    assert!(["create", "list", "state"].iter().all(|name| below.split(' ').any(|word| word == *name)), "{below}");
    assert_eq!(complete("podium completions z", "z", "completions"), "zsh");
}

#[tokio::test]
async fn the_manual_has_a_page_for_every_command() {
    let data = Data::new();
    let cli = Cli::new(&data);
    let folder = data.scratch().join("man/man1");
    cli.run(&["man", &folder.display().to_string()]).await.ok();
    let commands = commands(&cli).await;
    for words in &commands {
        let name = format!("podium-{}.1", words.join("-"));
        let page = std::fs::read_to_string(folder.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        // Groups of commands have no examples of their own.
        let last = if page.contains(".SH SUBCOMMANDS") { ".SH SUBCOMMANDS" } else { ".SH EXAMPLES" };
        for wanted in [".TH", ".SH NAME", ".SH SYNOPSIS", ".SH \"GLOBAL OPTIONS\"", last] {
            assert!(page.contains(wanted), "{name}: {wanted}");
        }
    }
    let pages = std::fs::read_dir(&folder).expect("the folder").count();
    assert_eq!(pages, commands.len() + 1, "podium.1 and nothing else");
    let own = cli.run(&["man"]).await;
    assert!(commands.iter().filter(|words| words.len() == 1).all(|words| own.ok().contains(&words[0])), "{own:?}");
    assert!(own.stdout.contains("Exit codes"), "{own:?}");
    let refused = cli.run(&["man", "/proc/pages"]).await;
    assert!(refused.code == 1 && refused.stderr.contains("POD-500"), "{refused:?}");
}
