//! `transom demo`: every line that it prints is run, as a reader would paste it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

/// The running command. Killed with the handle.
struct Demo {
    process: Child,
    /// What a line shows, and the line.
    lines: Vec<(String, String)>,
}

impl Demo {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(args: &[&str]) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(["demo", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut demo = Self {
            process,
            lines: Vec::new(),
        };
        let stdout = demo.process.stdout.take().expect("it is piped");
        let mut what = None;
        let mut banner = String::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("text");
            banner.push_str(&line);
            banner.push('\n');
            if line.starts_with("Stop with") {
                return demo;
            }
            match (line.strip_prefix("  # "), line.strip_prefix("  ")) {
                (Some(comment), _) => what = Some(comment.to_owned()),
                // What stands before the first comment is no command.
                (None, Some(command)) => {
                    if let Some(what) = what.take() {
                        demo.lines.push((what, command.to_owned()));
                    }
                }
                _ => {}
            }
        }
        panic!("the demo ended after\n{banner}");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// What the command gave: status (of curl's transfer) and body.
fn paste(command: &str, folder: &Path) -> (u16, String) {
    // The reader's line, with only curl's chatter off and the status added.
    let script = format!("curl() {{ command curl -sS -w '\\n%{{http_code}}' \"$@\"; }}\n{command}");
    let output = run(&script, folder);
    let (body, status) = output.rsplit_once('\n').expect("a last line");
    (status.parse().expect("a status"), body.to_owned())
}

fn run(script: &str, folder: &Path) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .output()
        .expect("sh");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{script}\n{stderr}");
    String::from_utf8(stdout).expect("text")
}

fn json(text: &str) -> Value {
    // `curl -i` prints headers first.
    let body = text.rsplit("\r\n\r\n").next().unwrap_or_default();
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}

fn field_violations(body: &Value) -> Vec<&str> {
    let details = body["details"].as_array().expect("details").iter();
    details
        .filter_map(|d| d["fieldViolations"].as_array())
        .flatten()
        .filter_map(|v| v["field"].as_str())
        .collect()
}

/// Checks one line's answer; `false` when the test doesn't know the line.
fn check(what: &str, status: u16, body: &str) -> bool {
    match what
        .split([':', ';', ',', '('])
        .next()
        .unwrap_or(what)
        .trim()
    {
        "one game" => {
            let game = json(body);
            assert_eq!((status, &game["title"]), (200, &json!("Tidal")));
            assert_eq!(game["playCount"], json!("9417220"), "64 bits are strings");
            assert_eq!(
                game["awards"][0]["@type"],
                "type.googleapis.com/gamehub.v1.Award"
            );
        }
        "a list" => {
            let list = json(body);
            let titles: Vec<_> = list["games"].as_array().unwrap().iter().collect();
            assert_eq!((status, titles.len()), (200, 2), "{body}");
            assert_eq!(titles[0]["title"], "Tidal");
            assert_eq!(list["totalSize"], 2);
        }
        "a name of many segments" => {
            assert_eq!(
                (status, &json(body)["title"]),
                (200, &json!("The Long Stair"))
            );
        }
        "create" => {
            let game = json(body);
            assert_eq!((status, &game["id"]), (200, &json!("25")));
            assert_eq!(game["typicalSession"], "600s");
        }
        "change two fields" => {
            let game = json(body);
            assert_eq!((status, &game["tagline"]), (200, &json!("Mind the gap")));
            assert_eq!(game["playersMax"], 16);
            assert_eq!(game["title"], "Ice Circuit", "what isn't in the mask stays");
        }
        "a custom verb" => {
            assert_eq!((status, &json(body)["state"]), (200, &json!("PUBLISHED")));
        }
        "remove" => assert_eq!((status, json(body)), (200, json!({}))),
        "an error of the service" => {
            let error = json(body);
            assert_eq!((status, &error["code"]), (404, &json!(5)));
            assert_eq!(error["details"][0]["reason"], "GAME_NOT_FOUND");
            assert_eq!(error["details"][1]["locale"], "en");
        }
        "every bad field at once" => {
            let error = json(body);
            assert_eq!(status, 400);
            let fields = ["game.title", "game.genre", "game.tags[0]"];
            assert_eq!(field_violations(&error), fields, "{body}");
        }
        "live scores" => {
            let scores = json_lines(body);
            assert_eq!((status, scores.len()), (200, 5), "{body}");
            assert_eq!(scores[4]["sequence"], 5);
        }
        "the same" => {
            let scores = json_lines(body);
            assert_eq!((status, scores.len()), (200, 3), "{body}");
            assert_eq!(scores[1]["sequence"], 2);
            assert_eq!(scores[2]["error"]["code"], 14);
        }
        // curl wrote it to a file, which the next line reads.
        "a picture" => assert_eq!((status, body), (200, "")),
        "and up again" => {
            let kept = json(body);
            assert_eq!(
                (status, &kept["contentType"]),
                (200, &json!("image/svg+xml"))
            );
        }
        "the events of a play" => {
            let summary = json(body);
            assert_eq!((status, &summary["gameId"]), (200, &json!("7")), "{body}");
            assert_eq!(
                (&summary["events"], &summary["length"]),
                (&json!(2), &json!("42s"))
            );
        }
        "the second of these is wrong" => {
            assert_eq!(
                (status, field_violations(&json(body))),
                (400, vec!["[1].at"])
            );
        }
        "a recording in pieces" => {
            let recording = json(body);
            assert_eq!((status, &recording["sizeBytes"]), (200, &json!("1000000")));
            assert_eq!(recording["contentType"], "application/x-moves");
            assert!(recording["pieces"].as_u64().unwrap() >= 16, "{body}");
        }
        "a chat" => {
            let heard = json_lines(body);
            assert_eq!((status, heard.len()), (200, 2), "{body}");
            assert_eq!(heard[0]["room"], "lobby");
            assert_eq!(
                (&heard[1]["text"], &heard[1]["sequence"]),
                (&json!("bye"), &json!("2"))
            );
        }
        "live scores as server-sent events" => {
            assert_eq!(
                (status, body.matches("\ndata: {").count()),
                (200, 2),
                "{body}"
            );
            assert!(body.ends_with("id: 2/end\n\n"), "{body}");
        }
        "a method without annotation" => {
            assert_eq!((status, &json(body)["reportId"]), (200, &json!("1")));
        }
        _ => return false,
    }
    true
}

#[test]
fn every_printed_line_works() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start();
    let (explain, curls) = demo.lines.split_last().expect("lines");
    for (what, line) in curls {
        let (status, body) = paste(line, folder.path());
        println!("{line}\n{status} {body}\n");
        assert!(check(what, status, &body), "no check for \"{what}\"");
    }
    assert_eq!(curls.len(), 19);
    let told = run(&explain.1, folder.path());
    println!("{}\n{told}", explain.1);
    let parts = ["gamehub.v1.Catalogue/ListGames", "min_rating", "water"];
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    let picture = std::fs::read_to_string(folder.path().join("thumbnail.svg")).unwrap();
    assert!(picture.contains("The Long Stair"), "{picture}");

    // It stops in order when told to.
    run(&format!("kill -TERM {}", demo.process.id()), folder.path());
    assert!(demo.process.wait().unwrap().success());
}

#[test]
fn an_address_in_use_is_told_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(["demo", "--listen", &address])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains(&address) && told.contains("--listen"),
        "{told}"
    );
}

#[test]
fn files_that_are_edited_are_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().join("it's here");
    let dir = here.to_str().expect("text");
    let demo = Demo::start_with(&["--dir", dir]);
    let line = |what: &str| {
        let found = demo.lines.iter().find(|(w, _)| w.starts_with(what));
        &*found.unwrap_or_else(|| panic!("no line: {what}")).1
    };
    let began = std::time::Instant::now();
    let until = |status: u16, command: &str| {
        while paste(command, folder.path()).0 != status {
            assert!(
                began.elapsed() < std::time::Duration::from_secs(60),
                "{command}"
            );
        }
    };
    let (old, new) = (line("one game"), line("and ask for it there"));
    until(200, old);
    assert_eq!(paste(new, folder.path()).0, 404);
    run(line("give a method one more path"), folder.path());
    until(200, new);
    assert_eq!(paste(old, folder.path()).0, 200);
    run(line("a mistake changes nothing"), folder.path());
    assert_eq!(paste(new, folder.path()).0, 200);
    run(line("mend it"), folder.path());
    assert_eq!(paste(new, folder.path()).0, 200);
    drop(demo);
    // What was changed is there the next time.
    let again = Demo::start_with(&["--dir", dir]);
    let found = again
        .lines
        .iter()
        .find(|(w, _)| w.starts_with("and ask for it there"));
    let (_, new) = found.expect("the line");
    assert_eq!(paste(new, folder.path()).0, 200);
}
