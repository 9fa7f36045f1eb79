//! `podium dev` on a terminal before there is anything to talk to.

use podium_it::{Cli, Data};
use podium_wire::ErrorCode;

#[tokio::test]
async fn ctrl_c_ends_it_before_the_first_good_build() {
    let data = Data::new();
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    let cli = Cli::new(&data).env("HOME", home).env("PODIUM_WASM_TOOLCHAIN", "debian").folder(data.scratch());
    cli.run(&["new", "diary"]).await.ok();
    let folder = data.scratch().join("diary");
    // Said at once, without compiling anything.
    std::fs::write(folder.join("Cargo.toml"), "[package\n").expect("a broken file");
    // The shell ignores the key.
    let line = "trap : INT; \"$PODIUM\" dev; echo code $?; stty -a";
    let code = ErrorCode::BuildFailed.to_string();
    let code: &'static str = code.leak();
    let shown = cli.folder(folder.clone()).typed(line, &[(code, "\u{3}")]).await;
    // As without a terminal, where Ctrl-C is the way to end it.
    assert!(shown.contains("code 0"), "{shown:?}");
    let settings = &shown[shown.find("code 0").unwrap_or_default()..];
    assert!(settings.contains(" icanon") && settings.contains(" echo "), "{settings:?}");
    assert!(folder.join(".podium").is_dir());
}
