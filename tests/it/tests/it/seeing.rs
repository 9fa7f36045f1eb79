//! Seeing inside a host: what its API says of itself, its figures, and what the command line shows of them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use futures_util::StreamExt;
use podium_it::{Cli, Client, Host, agents, eventually, message_id};
use podium_wire::ErrorCode;
use podium_wire::rest::{InstancePage, InstanceStatus};
use podium_wire::updates::EventType;
use prometheus_parse::{Scrape, Value as Sample};
use reqwest::Method;
use serde_json::{Value, json};

/// `/openapi.json`
async fn document(client: &Client) -> Value {
    let answer = client.get("/openapi.json").await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"application/json".parse().expect("a header")));
    answer.json()
}

/// Runs the validator on a document.
fn judged(document: &Value) -> Result<String, String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), document.to_string()).expect("the document is written");
    let script = podium_it::root().join("scripts/check-openapi.sh");
    let output = Command::new(script).arg(file.path()).output().expect("the script starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(text) } else { Err(text) }
}

#[tokio::test]
async fn the_api_describes_itself_by_the_rules_of_openapi() {
    let host = Host::start().await;
    let document = document(&host.client()).await;
    assert_eq!(document["openapi"], "3.1.0");
    let said = judged(&document).expect("a valid document");
    assert!(said.contains("golden bodies agree"), "{said}");
    // The judge is one: it refuses what is wrong in the document, and a schema that a real body does not have.
    let mut wrong = document.clone();
    wrong["paths"]["/health"]["get"]["responses"]["200"] = serde_json::json!({});
    assert!(judged(&wrong).is_err_and(|said| said.contains("description")));
    let mut wrong = document.clone();
    wrong["paths"]["/api/v1/instances/{id}/state"]["get"]["parameters"] = serde_json::json!([]);
    assert!(judged(&wrong).is_err_and(|said| said.contains("id")));
    let mut wrong = document.clone();
    wrong["components"]["schemas"]["Health"]["properties"]["version"]["type"] = "integer".into();
    assert!(judged(&wrong).is_err_and(|said| said.contains("Health.json")));
    // The WebSocket says what is sent over it, each way.
    let frames = &document["paths"]["/agent/{id}"]["get"]["x-websocket"];
    assert_eq!(frames["client"]["$ref"], "#/components/schemas/ClientFrame");
    assert_eq!(frames["server"]["$ref"], "#/components/schemas/ServerFrame");
    let mut wrong = document.clone();
    wrong["components"]["schemas"]["ClientFrame"] = serde_json::json!({ "type": "string" });
    assert!(judged(&wrong).is_err_and(|said| said.contains("process_message.json")));
}

#[tokio::test]
async fn every_method_of_every_path_is_described_and_the_reverse() {
    let host = Host::start().await;
    let client = host.client();
    let document = document(&client).await;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let described: BTreeSet<String> =
            methods.as_object().expect("methods").keys().map(|method| method.to_uppercase()).collect();
        // No route takes TRACE, so each names the methods that it does take.
        let filled = path.replace("{path}", "a").replace("{message}", "m1").replace("{id}", "x").replace("{n}", "1");
        let answer = client.send(client.request(Method::TRACE, &filled)).await;
        answer.refused(ErrorCode::MethodNotAllowed);
        let allowed = answer.headers["allow"].to_str().expect("a list of methods");
        // GET brings HEAD with it.
        let taken: BTreeSet<String> = allowed.split(',').map(str::to_owned).filter(|method| method != "HEAD").collect();
        // What the last parts of a file's path mean is told apart by who takes the path.
        let is_form = path.contains("/files/{path}/");
        assert!(
            if is_form { described.is_subset(&taken) } else { described == taken },
            "{path}: {described:?}, {taken:?}"
        );
    }
}

#[tokio::test]
async fn only_health_says_that_it_needs_no_token_and_it_is_so() {
    let host = Host::start().await;
    let document = document(&host.client()).await;
    assert_eq!(document["security"], serde_json::json!([{ "token": [] }]));
    let stranger = host.client().with_token(None);
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let open = operation["security"].as_array().is_some_and(Vec::is_empty);
            assert_eq!(open, path == "/health", "{method} {path}");
            let method: Method = method.to_uppercase().parse().expect("a method");
            let filled = path.replace("{path}", "a").replace("{message}", "m1").replace("{id}", "x");
            let answer = stranger.send(stranger.request(method, &filled)).await;
            if open {
                assert_eq!(answer.status, 200);
            } else {
                answer.refused(ErrorCode::Unauthorized);
            }
        }
    }
}

/// What `/metrics` says: series without their labels' names, such as `turns_ended_total completed`, to numbers.
struct Figures {
    numbers: BTreeMap<String, f64>,
    /// Observations of a histogram up to each bound.
    histograms: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Figures {
    async fn of(client: &Client) -> Self {
        let answer = client.get("/metrics").await;
        assert_eq!(answer.status, 200);
        let kind = answer.headers["content-type"].to_str().expect("a media type");
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
        Self::read(&answer.text())
    }

    fn read(text: &str) -> Self {
        assert!(text.ends_with("\n# EOF\n"), "the text is whole");
        let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).expect("a text that can be parsed");
        let (mut numbers, mut histograms) = (BTreeMap::new(), BTreeMap::new());
        for sample in scrape.samples {
            let mut name = sample.metric;
            for label in ["outcome", "kind"] {
                if let Some(value) = sample.labels.get(label) {
                    name = format!("{name} {value}");
                }
            }
            match sample.value {
                Sample::Counter(value) | Sample::Gauge(value) | Sample::Untyped(value) => {
                    numbers.insert(name, value);
                }
                Sample::Histogram(buckets) => {
                    histograms.insert(name, buckets.iter().map(|bucket| (bucket.less_than, bucket.count)).collect());
                }
                Sample::Summary(_) => panic!("{name} is a summary"),
            }
        }
        Self { numbers, histograms }
    }

    #[track_caller]
    fn get(&self, name: &str) -> f64 {
        *self.numbers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.numbers.keys()))
    }

    fn observed(&self, name: &str) -> f64 {
        let buckets = &self.histograms[name];
        assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{name}: {buckets:?}");
        buckets.last().expect("buckets").1
    }
}

/// Figures once no turn runs and nothing is on its way.
async fn quiet(client: &Client) -> Figures {
    eventually("a quiet host", async || {
        let figures = Figures::of(client).await;
        let ended: f64 = ["completed", "failed", "set_aside", "not_cut"]
            .map(|outcome| figures.get(&format!("podium_turns_ended_total {outcome}")))
            .iter()
            .sum();
        let still = figures.get("podium_running_turns") == 0.0 && figures.get("podium_guests") == 0.0;
        (still && ended == figures.get("podium_turns_started_total")).then_some(figures)
    })
    .await
}

#[tokio::test]
async fn figures_move_as_turns_do() {
    let host = Host::start().await;
    let client = host.client();
    client.with_token(None).get("/metrics").await.refused(ErrorCode::Unauthorized);
    let id = client.deployed_instance("probe").await;
    let before = quiet(&client).await;
    for text in ["echo a", "echo b"] {
        client.reply(id, text).await;
    }
    client.failure(id, "boom", ErrorCode::GuestTrap).await;
    let after = quiet(&client).await;
    let grew = |name: &str| after.get(name) - before.get(name);
    assert_eq!(grew("podium_turns_started_total"), 3.0);
    assert_eq!(grew("podium_turns_ended_total completed"), 2.0);
    assert_eq!(grew("podium_turns_ended_total failed"), 1.0);
    assert_eq!(grew("podium_turns_ended_total not_cut"), 0.0);
    let observed = |name: &str| after.observed(name) - before.observed(name);
    assert_eq!(observed("podium_turn_duration_seconds"), 3.0);
    assert_eq!(observed("podium_commit_duration_seconds accept"), 3.0);
    assert_eq!(observed("podium_commit_duration_seconds cut"), 3.0);
    assert!(after.get("podium_turn_duration_seconds_sum") > before.get("podium_turn_duration_seconds_sum"));
    assert_eq!(after.get("podium_instances"), 1.0);
    assert_eq!(after.get("podium_active_instances"), 1.0);
    assert!(after.get("podium_open_databases") >= 1.0);
    assert!(after.get("process_resident_memory_bytes") > 1e6);
    let descriptors = after.get("process_open_fds");
    assert!(descriptors > 3.0 && descriptors < after.get("process_max_fds"));
    assert!(after.get("podium_uptime_seconds") > before.get("podium_uptime_seconds"));
}

#[tokio::test]
async fn figures_show_what_goes_on_now() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    quiet(&client).await;
    let socket = client.socket(id).await;
    client.post_message(id, &message_id(), "sleep 600000").await;
    eventually("a turn, its guest and a client", async || {
        let figures = Figures::of(&client).await;
        let now = ["podium_running_turns", "podium_guests", "podium_clients"].map(|name| figures.get(name));
        (now == [1.0, 1.0, 1.0]).then_some(())
    })
    .await;
    client.post(&format!("/api/v1/instances/{id}/interrupt")).await;
    socket.close().await;
    let after = quiet(&client).await;
    assert_eq!(after.get("podium_turns_ended_total failed"), 1.0, "an interrupted turn has failed");
    eventually("no client", async || (Figures::of(&client).await.get("podium_clients") == 0.0).then_some(())).await;
    // What was deleted in a turn is counted too, and nothing stays behind.
    client.post_message(id, &message_id(), "sleep 600000").await;
    client.until(id, "a turn", |info| info.status != InstanceStatus::Resting).await;
    assert_eq!(client.delete(&format!("/api/v1/instances/{id}")).await.status, 204);
    assert_eq!(quiet(&client).await.get("podium_turns_ended_total set_aside"), 1.0);
}

#[tokio::test]
async fn a_client_that_does_not_keep_up_is_counted() {
    let host = Host::start().await;
    let client = host.client();
    let wide = json!({"output_bytes": 33_554_432, "updates": 1_000_000});
    assert_eq!(client.deploy(agents::with_limits("probe", &wide), None, None).await.status, 201);
    let id = client.instance("probe").await;
    assert_eq!(quiet(&client).await.get("podium_clients_lagged_total"), 0.0);
    // It reads nothing meanwhile: more than any buffer between the two holds, and than its queue.
    let mut lazy = client.socket(id).await;
    for _ in 0..2 {
        assert_eq!(client.ask(id, "stream 100000").await.error, None);
    }
    while lazy.update().await.event_type != EventType::Lagged {}
    let lagged = quiet(&client).await.get("podium_clients_lagged_total");
    assert!(lagged >= 1.0, "{lagged}");
}

#[tokio::test]
async fn who_is_in_a_turn_is_found_among_many() {
    let host = Host::start().await;
    let client = host.client();
    client.deployed("hello").await;
    let older = futures_util::stream::iter(0..1001).map(|_| client.instance("hello")).buffer_unordered(16);
    assert_eq!(older.count().await, 1001);
    client.deployed("probe").await;
    let ids = [client.instance("probe").await, client.instance("probe").await];
    for id in ids {
        client.post_message(id, &message_id(), "sleep 600000").await;
        client.until(id, "a wait", |info| info.status == InstanceStatus::Waiting).await;
    }
    let page = async |query: &str| {
        let page: InstancePage = client.get(&format!("/api/v1/instances?{query}")).await.with(200);
        (page.instances.iter().map(|found| (found.instance_id, found.status)).collect::<Vec<_>>(), page.next)
    };
    let [first, second] = ids.map(|id| (id, InstanceStatus::Waiting));
    // An owner shows its status a moment after it knows it.
    eventually("both in the list", async || {
        (page("status=waiting").await == (vec![first, second], None)).then_some(())
    })
    .await;
    assert_eq!(page("status=running,waiting&limit=1").await, (vec![first], Some(ids[0])));
    assert_eq!(page(&format!("status=waiting&after={}", ids[0])).await, (vec![second], None));
    assert_eq!(page("status=running").await, (vec![], None));
    client.get("/instances?status=resting").await.refused(ErrorCode::BadRequest);
    let shown = host.cli().run(&["top", "--once", "--json"]).await.json();
    let busy: Vec<&str> =
        shown["busy"].as_array().expect("a list").iter().filter_map(|b| b["instance_id"].as_str()).collect();
    assert_eq!(busy, ids.map(|id| id.to_string()));
}

#[tokio::test]
async fn the_guide_explains_every_figure() {
    let host = Host::start().await;
    let text = host.client().get("/metrics").await.text();
    let given: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => (format!("{name}_total"), kind.to_owned()),
            "info" => (format!("{name}_info"), kind.to_owned()),
            _ => (name.to_owned(), kind.to_owned()),
        })
        .collect();
    let guide = std::fs::read_to_string(podium_it::root().join("docs/guide/operating.md")).expect("the guide");
    let explained: BTreeSet<(String, String)> = guide
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let name = name.split('{').next()?;
            Some((name.to_owned(), rest.split_once(" |")?.0.to_owned()))
        })
        .filter(|(name, _)| name.starts_with("podium_") || name.starts_with("process_"))
        .collect();
    assert_eq!(given, explained);
}

#[tokio::test]
async fn a_status_can_be_read_by_a_person() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    host.client().reply(id, "echo a").await;
    let output = host.cli().run(&["status"]).await;
    let shown = output.ok();
    for wanted in ["server", "up ", "instances", "turns", "running", "clients", "memory", "MiB", "descriptors"] {
        assert!(shown.contains(wanted), "no `{wanted}` in {shown}");
    }
    assert_eq!(host.cli().run(&["status", "--json"]).await.json()["instances"], 1);
}

/// The terminal was taken, given back, and is as it was.
#[track_caller]
fn restored(shown: &str) {
    let taken = shown.find("\u{1b}[?1049h").unwrap_or_else(|| panic!("no screen of its own: {shown:?}"));
    let given = shown.find("\u{1b}[?25h\u{1b}[?1049l").unwrap_or_else(|| panic!("it is not given back: {shown:?}"));
    assert!(taken < given);
    let settings = &shown[given..];
    assert!(settings.contains("code 0"), "{settings:?}");
    assert!(settings.contains(" icanon") && settings.contains(" echo "), "{settings:?}");
}

#[tokio::test]
async fn top_shows_what_a_host_does_until_somebody_leaves() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    for _ in 0..3 {
        client.reply(id, "echo a").await;
    }
    client.post_message(id, &message_id(), "sleep 600000").await;
    client.until(id, "a turn", |info| info.status != InstanceStatus::Resting).await;
    // Three pictures, so it is live; then `q`.
    let line = "\"$PODIUM\" top; echo code $?; stty -a";
    let shown = host.cli().typed(line, &[("p99", ""), ("p99", ""), ("p99", "q")]).await;
    restored(&shown);
    for wanted in [host.url(), "1 running", "/s", " ms", "1 in all", "MiB", &id.to_string(), "probe:"] {
        assert!(shown.contains(wanted), "no `{wanted}` in {shown:?}");
    }
    assert!(shown.contains("\u{1b}[1m"), "titles are bold");
    // Ctrl-C leaves as well; the shell ignores it.
    let line = "trap : INT; \"$PODIUM\" top --interval 3600; echo code $?; stty -a";
    restored(&host.cli().typed(line, &[("p99", "\u{3}")]).await);
    // Without colours nothing is styled.
    let plain = host.cli().env("NO_COLOR", "1").typed("\"$PODIUM\" top; echo code $?; stty -a", &[("p99", "q")]).await;
    restored(&plain);
    assert!(!plain.contains("\u{1b}[1m") && !plain.contains("\u{1b}[32m"), "{plain:?}");
}

#[tokio::test]
async fn top_prints_one_picture_and_ends() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.reply(id, "echo a").await;
    let shown = host.cli().on_terminal(&["top", "--once"]).await;
    assert!(shown.ok().contains("p99") && shown.stdout.contains("\u{1b}[1m"), "{shown:?}");
    assert!(!shown.stdout.contains("\u{1b}[?1049h") && !shown.stdout.contains("\u{1b}[H"), "{shown:?}");
    let piped = host.cli().run(&["top", "--once"]).await;
    assert!(piped.ok().contains("p99") && !piped.stdout.contains('\u{1b}'), "{piped:?}");
    let plain = host.cli().env("NO_COLOR", "1").on_terminal(&["top", "--once"]).await;
    assert!(!plain.ok().contains('\u{1b}'), "{plain:?}");
    let json = host.cli().run(&["top", "--once", "--json"]).await.json();
    assert_eq!(json["status"]["instances"], 1);
    assert!(json["turn_p99_seconds"].as_f64() > Some(0.0), "{json}");
    let data = host.data().clone();
    let url = host.url().to_owned();
    host.stop().await;
    // The failure stands where a person reads it, not on a screen that is gone.
    let gone = Cli::new(&data).url(&url).on_terminal(&["top"]).await;
    assert_eq!(gone.code, 4, "{gone:?}");
    assert!(!gone.stdout.contains("\u{1b}[?1049h"), "{gone:?}");
}
