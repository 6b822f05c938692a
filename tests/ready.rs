//! `transom ready`, as a container's health check calls it.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use support::process::Process;

fn ready(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transom"));
    command.arg("ready").args(args).output().expect("it runs")
}

fn said(output: &Output) -> String {
    let both = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8(both).expect("text")
}

#[tokio::test]
async fn the_code_tells_whether_it_takes_requests() {
    // A port that is free now, since the config has to name it.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\n\
         probes: {{ address: \"0.0.0.0:{port}\" }}\n\
         routes: [{{ path: /, respond: {{ status: 200 }} }}]\n\
         workers: 1\n"
    );
    fs::write(folder.path().join("transom.yaml"), config).expect("written");
    let file = folder.path().join("transom.yaml").display().to_string();
    let before = ready(&["-c", &file]);
    assert_eq!(before.status.code(), Some(1));
    assert!(said(&before).contains(&format!("nobody answers at 127.0.0.1:{port}")));

    let process = Process::start(folder);
    let done = ready(&["-c", &file]);
    assert_eq!((done.status.code(), &*said(&done)), (Some(0), ""));
    let other = ready(&["--url", &format!("http://localhost:{port}/nothing")]);
    assert_eq!(other.status.code(), Some(1));
    assert!(said(&other).contains("answers 404"), "{}", said(&other));
    drop(process);
}

#[test]
fn what_does_not_answer_as_it_should_is_not_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let scripts: [&[u8]; 3] = [b"", b"SSH-2.0-other\r\n", b"HTTP/1.1 503 \r\n\r\nleaving"];
    let served = std::thread::spawn(move || {
        for script in scripts {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut asked = [0; 1024];
            let read = stream.read(&mut asked).expect("a request");
            assert!(asked[..read].starts_with(b"GET /livez HTTP/1.1\r\nHost: "));
            stream.write_all(script).expect("written");
        }
    });
    let url = format!("http://{address}/livez");
    for words in [
        "doesn't speak HTTP",
        "doesn't speak HTTP",
        "answers 503: leaving",
    ] {
        let done = ready(&["--url", &url]);
        assert_eq!(done.status.code(), Some(1));
        assert!(said(&done).contains(words), "{}", said(&done));
    }
    served.join().expect("asked as it should be");
    for wrong in ["https://localhost/", "/livez"] {
        let done = ready(&["--url", wrong]);
        assert_eq!(done.status.code(), Some(2), "{}", said(&done));
    }
}
