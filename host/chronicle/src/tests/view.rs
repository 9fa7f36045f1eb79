//! The history as a tree: what stands where, what it holds, and what it never shows.

use serde_json::Value;

use super::{Bench, TURN, path};
use crate::limits::{AT_LISTED_MAX, QUERY_BYTES_MAX};
use crate::{Chronicle, ChronicleError, SkipReason, ViewFile, ViewPath, Viewed, WorkPath};

fn place(text: &str) -> ViewPath {
    ViewPath::of(&path(&format!(".chronicle{text}"))).unwrap()
}

fn file(chronicle: &Chronicle, text: &str) -> ViewFile {
    match chronicle.view(&place(text)).unwrap() {
        Viewed::File(file) => file,
        Viewed::Folder => panic!("{text} is a folder"),
    }
}

fn content(chronicle: &Chronicle, text: &str) -> Vec<u8> {
    let file = file(chronicle, text);
    let mut whole = Vec::new();
    loop {
        let more = chronicle.view_read(&file, whole.len() as u64, usize::MAX).unwrap();
        if more.is_empty() {
            break;
        }
        whole.extend(more);
    }
    assert_eq!(whole.len() as u64, file.size(), "{text}");
    whole
}

/// Number, number of the path, what happened, and size.
fn told(chronicle: &Chronicle, text: &str) -> Vec<(u64, u64, String, u64)> {
    let Value::Array(rows) = serde_json::from_slice(&content(chronicle, text)).unwrap() else { panic!("an array") };
    rows.iter()
        .map(|row| {
            let keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["hash", "index", "kind", "n", "op", "path", "size", "timestamp_ms"], "in key order");
            let number = |key: &str| row[key].as_u64().unwrap();
            assert_eq!(row["hash"].is_null(), row["op"] == "deleted");
            (number("n"), number("index"), row["op"].as_str().unwrap().to_owned(), number("size"))
        })
        .collect()
}

fn names(chronicle: &Chronicle, text: &str) -> Vec<String> {
    let names = chronicle.view_names(&place(text), None, usize::MAX).unwrap();
    let slash = |is_folder| if is_folder { "/" } else { "" };
    names.iter().map(|it| format!("{}{}", String::from_utf8_lossy(&it.name), slash(it.is_folder))).collect()
}

fn is_nothing(chronicle: &Chronicle, text: &str) -> bool {
    matches!(chronicle.view(&place(text)), Err(ChronicleError::NotThere { .. }))
}

/// What a workspace went through: `d/a` twice, `b` made and removed, a link, a folder that is gone.
fn lived() -> Bench {
    let mut bench = Bench::new();
    bench.write("d/a", "one");
    bench.write("b", "two");
    bench.write("gone/deep/f", "x");
    std::os::unix::fs::symlink("d/a", bench.work().join("link")).unwrap();
    bench.dirty.touched(&path("link"));
    bench.cut();
    bench.write("d/a", "one more");
    bench.remove("b");
    std::fs::remove_dir_all(bench.work().join("gone")).unwrap();
    bench.dirty.renamed_folder(&path("gone"), &path("gone"));
    bench.cut();
    bench
}

#[test]
fn a_query_tells_every_iteration_of_a_path_also_of_one_that_is_gone() {
    let mut bench = lived();
    let chronicle = bench.get();
    let history = told(chronicle, "/query/d/a");
    assert_eq!(
        history.iter().map(|it| (it.1, it.2.as_str(), it.3)).collect::<Vec<_>>(),
        [(1, "created", 3), (2, "modified", 8)]
    );
    let gone = told(chronicle, "/query/b");
    assert_eq!(
        gone.iter().map(|it| (it.1, it.2.as_str(), it.3)).collect::<Vec<_>>(),
        [(1, "created", 3), (2, "deleted", 0)]
    );
    assert_eq!(told(chronicle, "/query/gone/deep/f").len(), 2);
    assert_eq!(names(chronicle, "/query"), ["d/", "link"]);
    assert_eq!(names(chronicle, "/query/d"), ["a"]);
    assert_eq!(names(chronicle, "/query/gone"), Vec::<String>::new());
    assert!(matches!(chronicle.view(&place("/query/gone/deep")).unwrap(), Viewed::Folder));
    assert!(["/query/never", "/query/b/c", "/query/d/a/x"].iter().all(|text| is_nothing(chronicle, text)));
    assert!(chronicle.view_names(&place("/query/b"), None, 9).is_err(), "a file has no names");
    assert_eq!(names(chronicle, ""), ["at/", "query/"]);
}

#[test]
fn a_number_holds_its_path_as_that_iteration_left_it() {
    let mut bench = lived();
    let chronicle = bench.get();
    let [first, second] = [0, 1].map(|at| told(chronicle, "/query/d/a")[at].0);
    assert_eq!(content(chronicle, &format!("/at/{first}/d/a")), b"one");
    assert_eq!(content(chronicle, &format!("/at/{second}/d/a")), b"one more");
    let second_file = file(chronicle, &format!("/at/{second}/d/a"));
    assert_eq!(chronicle.view_read(&second_file, 4, 2).unwrap(), b"mo");
    assert_eq!(chronicle.view_read(&second_file, 99, 2).unwrap(), b"");
    assert_eq!(names(chronicle, &format!("/at/{first}")), ["d/"]);
    assert_eq!(names(chronicle, &format!("/at/{first}/d")), ["a"]);
    let link = told(chronicle, "/query/link")[0].0;
    assert_eq!(content(chronicle, &format!("/at/{link}/link")), b"d/a", "what it leads to");
    let removed = told(chronicle, "/query/b")[1].0;
    let made = told(chronicle, "/query/b")[0].0;
    assert_eq!(content(chronicle, &format!("/at/{made}/b")), b"two", "it is gone and still there");
    for nothing in [
        format!("/at/{removed}"),
        format!("/at/{removed}/b"),
        format!("/at/{first}/b"),
        format!("/at/{first}/d/a/x"),
        format!("/at/{first}/x"),
        "/at/99999".to_owned(),
    ] {
        assert!(is_nothing(chronicle, &nothing), "{nothing}");
    }
    let numbers = names(chronicle, "/at");
    assert!(numbers.contains(&format!("{first}/")) && !numbers.contains(&format!("{removed}/")));
    let after = chronicle.view_names(&place("/at"), Some(numbers[0].trim_end_matches('/').as_bytes()), 1).unwrap();
    assert_eq!(String::from_utf8_lossy(&after[0].name), numbers[1].trim_end_matches('/'));
}

#[test]
fn nothing_is_shown_that_no_cut_names() {
    let mut bench = lived();
    bench.write("d/a", "of a running turn");
    bench.write("new", "of a running turn");
    let before = content(bench.get(), "/query/d/a");
    let at = names(bench.get(), "/at");
    let prepared = bench.get().prepare(TURN).unwrap();
    assert!(prepared.changed);
    let number = prepared.changes.iter().find(|it| it.path == path("new")).unwrap().n;
    assert_eq!(content(bench.get(), "/query/d/a"), before);
    assert_eq!(names(bench.get(), "/at"), at);
    assert_eq!(names(bench.get(), "/query"), ["d/", "link"]);
    assert!(is_nothing(bench.get(), "/query/new") && is_nothing(bench.get(), &format!("/at/{number}/new")));
    let held = file(bench.get(), "/query/d/a");
    bench.name(&prepared);
    let cut = bench.named.cut;
    bench.get().commit(prepared.version, cut).unwrap();
    assert_eq!(content(bench.get(), &format!("/at/{number}/new")), b"of a running turn");
    assert_eq!(told(bench.get(), "/query/d/a").len(), 3);
    assert_eq!(bench.get().view_read(&held, 0, usize::MAX).unwrap(), before, "what is open stays what it was");
}

#[test]
fn names_that_are_no_text_are_told_and_found() {
    let mut bench = Bench::new();
    let odd = WorkPath::new(b"d/\xff\n").unwrap();
    std::fs::create_dir(bench.work().join("d")).unwrap();
    std::fs::write(
        bench.work().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(odd.as_bytes())),
        "x",
    )
    .unwrap();
    bench.dirty.touched(&path("d"));
    let prepared = bench.cut();
    let n = prepared.changes.iter().find(|it| it.path == odd).unwrap().n;
    let chronicle = bench.get();
    assert_eq!(*chronicle.view_names(&place("/query/d"), None, 9).unwrap()[0].name, *b"\xff\n");
    let Ok(Viewed::File(list)) = chronicle.view(&ViewPath::Query(odd.clone())) else { panic!("a file") };
    let list: Value = serde_json::from_slice(&chronicle.view_read(&list, 0, usize::MAX).unwrap()).unwrap();
    assert_eq!(list[0]["path"], "d/\u{fffd}\n");
    assert!(matches!(chronicle.view(&ViewPath::At(n, odd)), Ok(Viewed::File(_))));
}

#[test]
fn a_list_and_a_listing_are_bounded_and_have_the_newest() {
    let mut bench = Bench::new();
    // Each byte of the name becomes six in JSON.
    let long = vec!["\u{1}".repeat(250); 15].join("/");
    let rounds = u64::try_from(QUERY_BYTES_MAX / (15 * 250 * 6) + 10).unwrap();
    for n in 0..rounds {
        bench.write(&long, format!("{n}"));
        bench.cut();
    }
    let rows = told(bench.get(), &format!("/query/{long}"));
    assert_eq!(rows.last().unwrap().1, rounds);
    assert!(rows[0].1 > 1 && rows.len() > 100);
    assert!(file(bench.get(), &format!("/query/{long}")).size() <= QUERY_BYTES_MAX as u64);
    for n in 0..AT_LISTED_MAX {
        bench.write(&format!("f{n}"), "x");
    }
    let last = bench.cut().changes.last().unwrap().n;
    let numbers = names(bench.get(), "/at");
    assert_eq!((numbers.len(), numbers.last().unwrap()), (AT_LISTED_MAX, &format!("{last}/")));
}

#[test]
fn a_damaged_iteration_is_told_with_its_path_and_the_rest_is_read() {
    let mut bench = Bench::new();
    bench.write("a", "content that is damaged");
    bench.cut();
    bench.write("b", "content that is whole");
    bench.cut();
    let pack = std::fs::read_dir(bench.metadata().join("cas")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&pack).unwrap();
    let at = bytes.windows(7).position(|window| window == b"content").unwrap();
    let mut damaged = bytes;
    damaged[at] ^= 1;
    std::fs::write(&pack, damaged).unwrap();
    let chronicle = bench.get();
    let broken = file(chronicle, &format!("/at/{}/a", told(chronicle, "/query/a")[0].0));
    let Err(ChronicleError::Damaged { path: Some(told_path), .. }) = chronicle.view_read(&broken, 0, 10) else {
        panic!("damaged content was read")
    };
    assert_eq!(told_path, path("a"));
    assert_eq!(content(chronicle, &format!("/at/{}/b", told(chronicle, "/query/b")[0].0)), b"content that is whole");
}

#[test]
fn what_is_named_as_the_history_is_in_no_version_and_that_is_said() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.write(".chronicle/query/a", "forged");
    bench.write("d/.chronicle", "ordinary");
    let prepared = bench.cut();
    let told: Vec<_> = prepared.skipped.iter().map(|it| (it.path.to_string(), it.reason)).collect();
    assert_eq!(told, [(".chronicle".to_owned(), SkipReason::Reserved)]);
    assert_eq!(bench.files_of(prepared.root).into_keys().collect::<Vec<_>>(), ["a", "d/", "d/.chronicle"]);
    assert_eq!(bench.cut_with(super::SCAN).skipped.len(), 1);
    assert!(bench.get().view(&place("/query/a")).is_ok());
}
