//! Processes that follow one another on the same sockets, and the service manager's part in it.

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};

use rustix::process::Signal;
use support::client::Http1;
use support::line::Line;
use support::load::Load;
use support::ports::free;
use support::{PATIENCE, soon};

const PATH: &str = "/fixed";

fn config(listeners: &str, more: &str) -> String {
    format!(
        "listeners: [{listeners}]\nworkers: 2\n\
         routes: [{{ path: {PATH}, respond: {{ body: here }} }}]\n\
         timeouts: {{ drain_delay: 200ms }}\n{more}\n"
    )
}

const ANY: &str = "{ address: \"127.0.0.1:0\" }";

#[tokio::test]
async fn another_process_follows_and_no_request_fails() {
    let both = format!("{ANY}, {{ address: \"127.0.0.1:0\", accept: deal }}");
    let admin = "admin: { address: \"127.0.0.1:0\" }";
    let mut line = Line::plain(&config(&both, admin));
    let shared = line.address("listening on");
    let dealt = line.address("listening on");
    let operators = line.address("admin on");
    let loads = [shared, dealt].map(|address| Load::start(address, PATH, 3, 2));
    for load in &loads {
        load.goes_on(20).await;
    }
    for _ in 0..3 {
        line.hand_over();
        for load in &loads {
            load.goes_on(100).await;
        }
        let (status, text) = status(operators).await;
        assert_eq!(
            (status, text.contains(&format!("\"pid\":{}", line.pid))),
            (200, true),
            "{text}"
        );
    }
    assert_eq!(line.first_ended().await, Some(0));
    for load in loads {
        load.goes_on(100).await;
        load.finish().await;
    }
    line.signal(Signal::INT);
    let refused = async { while Http1::try_connect(shared).await.is_some() {} };
    soon("the end of the last process", refused).await;
}

async fn status(operators: SocketAddr) -> (u16, String) {
    let mut client = Http1::connect(operators).await;
    let request = "GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n";
    client.send(request).await;
    let reply = client.reply().await.expect("a reply");
    (reply.status, reply.text().to_owned())
}

fn upgrade(operators: SocketAddr) -> Output {
    Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(["upgrade", "--admin", &operators.to_string()])
        .output()
        .expect("the command runs")
}

#[tokio::test]
async fn a_new_process_that_does_not_start_leaves_the_old_one_serving() {
    let admin = "reload: { watch: false }\nadmin: { address: \"127.0.0.1:0\" }";
    let good = config(ANY, admin);
    let mut line = Line::plain(&good);
    let address = line.address("listening on");
    let operators = line.address("admin on");
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = taken
        .local_addr()
        .map(|address| (taken, address))
        .expect("address");
    let in_use = format!("{ANY}, {{ address: \"{}\" }}", taken.1);
    for (bad, why) in [
        (good.replace("path:", "pth:"), "unknown key `pth`"),
        (config(&in_use, admin), "the address is in use"),
    ] {
        fs::write(line.file(), bad).expect("written");
        let refused = upgrade(operators);
        assert_eq!(refused.status.code(), Some(1));
        let told = String::from_utf8_lossy(&refused.stderr);
        assert!(told.contains("the new process doesn't start"), "{told}");
        assert!(told.contains(why), "{told}");
        line.says("no other process follows, this one serves on");
        assert_eq!(Http1::connect(address).await.get(PATH).await.status, 200);
        assert!(status(operators).await.1.contains("\"stage\":\"serving\""));
    }
    fs::write(line.file(), good).expect("written");
    let done = upgrade(operators);
    let told = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{told}");
    let words: Vec<_> = told.split(' ').collect();
    line.pid = words[1].parse().expect("a number");
    assert_eq!(words[2..].join(" "), "has taken over\n");
    assert_eq!(line.first_ended().await, Some(0));
    assert_eq!(Http1::connect(address).await.get(PATH).await.status, 200);
}

/// As systemd does it: opens a socket, passes it as number 3, and becomes the service.
const ACTIVATE: &str = "
import os, socket, sys
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind(('127.0.0.1', int(sys.argv[1])))
listening.listen(128)
pid = os.getpid() + int(sys.argv[2])
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(pid), LISTEN_FDNAMES='web')
if listening.fileno() == 3: os.set_inheritable(3, True)
else: os.dup2(listening.fileno(), 3)
os.execv(sys.argv[3], sys.argv[3:])
";

fn activated(port: u16, pid_is_off_by: &str, notified: &UnixDatagram, listeners: &str) -> Line {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("python3");
    command.args(["-c", ACTIVATE, &port.to_string(), pid_is_off_by]);
    command.arg(env!("CARGO_BIN_EXE_transom"));
    let manager = notified.local_addr().expect("an address");
    command.env("NOTIFY_SOCKET", manager.as_pathname().expect("a path"));
    Line::start(command, folder, &config(listeners, ""))
}

fn notified() -> (tempfile::TempDir, UnixDatagram) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = UnixDatagram::bind(folder.path().join("notify")).expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (folder, socket)
}

fn next(notified: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = notified.recv(&mut bytes).expect("a message");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[tokio::test]
async fn a_socket_of_the_service_manager_is_served_and_the_manager_told() {
    let (_folder, notify) = notified();
    let address = free();
    let listener = format!("{{ address: \"{address}\" }}");
    let mut line = activated(address.port(), "0", &notify, &listener);
    assert_eq!(line.address("listening on"), address);
    assert_eq!(next(&notify).trim(), "READY=1");
    let load = Load::start(address, PATH, 3, 1);
    load.goes_on(50).await;

    line.signal(Signal::HUP);
    let reloading = next(&notify);
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(next(&notify).trim(), "READY=1");

    line.hand_over();
    let mut told = [next(&notify), next(&notify)].map(|m| m.trim().to_owned());
    told.sort();
    assert_eq!(
        told,
        [format!("MAINPID={}", line.pid), "READY=1".to_owned()]
    );
    load.goes_on(50).await;
    load.finish().await;
    line.signal(Signal::TERM);
    assert_eq!(next(&notify).trim(), "STOPPING=1");
}

#[tokio::test]
async fn sockets_for_another_process_or_of_no_listener_are_left_alone() {
    let (_folder, notify) = notified();
    let address = free();
    let listener = format!("{{ address: \"{address}\" }}");
    let line = activated(address.port(), "1", &notify, &listener);
    line.says("the address is in use");
    let elsewhere = free();
    let listener = format!("{{ address: \"{elsewhere}\" }}");
    let line = activated(address.port(), "0", &notify, &listener);
    line.says(&format!(
        "nothing is to listen on {address}, the socket `web`"
    ));
    let served = async {
        while Http1::try_connect(elsewhere).await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    soon("the other address", served).await;
    assert_eq!(Http1::connect(elsewhere).await.get(PATH).await.status, 200);
}
