//! Callers: who may talk to the sidecar at all.

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use crate::support::client::{Client, NoAnswer, get, post};
use crate::support::keyside::{Keyside, Setup, finish};
use crate::support::upstream::Upstream;
use crate::support::{MEDIA, MESSAGES};

/// A program that asks a Unix socket for a path and prints the answer. Some tests run the program
/// as another user.
const ASK: &str = r#"
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
try:
    s.connect(sys.argv[1])
    s.sendall(("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % sys.argv[2]).encode())
    out = b""
    while True:
        data = s.recv(65536)
        if not data: break
        out += data
    print("answer", out.decode())
except OSError as error:
    print("error", error)
"#;

fn ask_as(uid: u32, keyside: &Keyside, socket: &str) -> String {
    let path = keyside.dir().join(socket).display().to_string();
    let uid = uid.to_string();
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        &uid,
        "--regid",
        &uid,
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
        ASK,
        &path,
        MEDIA,
    ]);
    finish(&mut command, Duration::from_secs(8)).output
}

/// True for root, who alone can run programs as another user. Without root the tests are skipped.
fn is_root() -> bool {
    let root =
        rustix::process::geteuid().is_root() && std::path::Path::new("/usr/bin/python3").exists();
    if !root {
        eprintln!("skipped: not root, or no /usr/bin/python3");
    }
    root
}

fn with_socket(upstream: &Upstream, more: &str) -> Setup {
    let setup = Setup::new(upstream);
    setup.config(&config_with_socket("@DIR@/send.sock", more))
}

fn config_with_socket(socket: &str, more: &str) -> String {
    format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\", \"unix:{socket}\"]\n{more}\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\", \"unix:@DIR@/admin.sock\"]\n[reload]\nwatch = \"off\"\n\
         [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
         [credential.acme]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/token\"\n[[route]]\ncredential = \"acme\"\n"
    )
}

#[test]
fn a_unix_socket_serves_its_owner() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let upstream = Upstream::ok();
    let keyside = with_socket(&upstream, "").start();
    let path = keyside.dir().join("send.sock");
    let meta = std::fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    let mut client = Client::connect_unix(&path).unwrap();
    for _ in 0..2 {
        assert_eq!(client.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
    }
    let mut admin = Client::connect_unix(&keyside.dir().join("admin.sock")).unwrap();
    assert_eq!(admin.ask(&get("/livez")).unwrap().status, 200);
    assert_eq!(upstream.arrivals(), 2);
}

#[test]
fn the_path_of_a_socket_may_have_the_whole_length_that_linux_allows() {
    use std::os::unix::fs::PermissionsExt;
    let upstream = Upstream::ok();
    for name in [
        "s",
        "a-name-that-is-longer-than-what-stands-beside-it-for-a-while",
    ] {
        let setup = Setup::new(&upstream);
        let room = 107 - setup.dir().join("").as_os_str().len() - name.len() - 1;
        let folder = setup.dir().join(&"d".repeat(room));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join(name);
        assert_eq!(path.as_os_str().len(), 107);
        let config = config_with_socket(&path.display().to_string(), "");
        let _keyside = setup.config(&config).start();
        let mut client = Client::connect_unix(&path).unwrap();
        assert_eq!(client.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }
}

#[test]
fn a_socket_that_an_earlier_run_left_is_replaced() {
    let upstream = Upstream::ok();
    let setup = with_socket(&upstream, "");
    drop(std::os::unix::net::UnixListener::bind(setup.dir().join("send.sock")).unwrap());
    let keyside = setup.start();
    assert_eq!(
        Client::connect_unix(&keyside.dir().join("send.sock"))
            .unwrap()
            .ask(&get(MEDIA))
            .unwrap()
            .status,
        200
    );
}

#[test]
fn what_is_at_the_path_of_a_socket_and_lives_is_not_replaced() {
    let upstream = Upstream::ok();
    let first = with_socket(&upstream, "").start();
    let path = first.dir().join("send.sock");
    for (socket, reason) in [
        (path.display().to_string(), "another process listens"),
        ("@DIR@/file.sock".to_owned(), "not a socket"),
        ("@DIR@/link.sock".to_owned(), "not a socket"),
    ] {
        let setup = with_socket(&upstream, "");
        setup.dir().write("file.sock", "precious");
        std::os::unix::fs::symlink(&path, setup.dir().join("link.sock")).unwrap();
        let setup = setup.config(&format!(
            "[outbound]\nlisten = [\"unix:{socket}\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
             [credential.acme]\nprovider = \"meta\"\ncheck = \"off\"\ntoken = \"file:@DIR@/token\"\n[[route]]\ncredential = \"acme\"\n"
        ));
        let ended = setup.finish("run");
        assert_eq!(ended.code, Some(1), "{}", ended.output);
        assert!(ended.output.contains(reason), "{}", ended.output);
        assert_eq!(
            std::fs::read(setup.dir().join("file.sock")).unwrap(),
            b"precious"
        );
        assert!(setup.dir().join("link.sock").is_symlink());
    }
    assert_eq!(
        Client::connect_unix(&path)
            .unwrap()
            .ask(&get(MEDIA))
            .unwrap()
            .status,
        200
    );
}

#[test]
fn a_user_outside_the_list_is_not_served() {
    if !is_root() {
        return;
    }
    let upstream = Upstream::ok();
    let keyside = with_socket(&upstream, "allow_uids = [54321]").start();
    // The mode of the socket would refuse other users before the list does, so all users get
    // access.
    open_to_all(&keyside, "send.sock");
    let allowed = ask_as(54321, &keyside, "send.sock");
    assert!(allowed.starts_with("answer HTTP/1.1 200"), "{allowed}");
    let arrivals = upstream.heads();
    let other = ask_as(54322, &keyside, "send.sock");
    assert!(!other.contains("HTTP/1.1 200"), "{other}");
    assert_eq!(
        upstream.heads(),
        arrivals,
        "nothing went out for the other user"
    );
}

#[test]
fn without_a_list_only_the_owner_is_served() {
    if !is_root() {
        return;
    }
    let upstream = Upstream::ok();
    let keyside = with_socket(&upstream, "").start();
    for socket in ["send.sock", "admin.sock"] {
        open_to_all(&keyside, socket);
        let other = ask_as(54322, &keyside, socket);
        assert!(
            !other.contains("HTTP/1.1 200") && !other.contains("HTTP/1.1 404"),
            "{socket}: {other}"
        );
    }
    assert_eq!(upstream.heads(), 0);
    assert_eq!(
        Client::connect_unix(&keyside.dir().join("send.sock"))
            .unwrap()
            .ask(&get(MEDIA))
            .unwrap()
            .status,
        200
    );
}

fn open_to_all(keyside: &Keyside, socket: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(
        keyside.dir().join(socket),
        std::fs::Permissions::from_mode(0o666),
    )
    .unwrap();
}

#[test]
fn the_admin_listener_has_the_same_rules_for_hosts_and_browsers() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        let ask = |lines: &str| {
            keyside.ask_admin(format!("GET {path} HTTP/1.1\r\n{lines}\r\n\r\n").as_bytes())
        };
        assert_eq!(ask("Host: localhost").status, 200, "{path}");
        assert_eq!(ask("Host: [::1]:9900").status, 200, "{path}");
        for (lines, status) in [
            ("Host: evil.test", 421),
            ("X: no host at all", 421),
            ("Host: localhost\r\nHost: localhost", 421),
            ("Host: localhost\r\nOrigin: http://evil.test", 403),
            ("Host: localhost\r\nOrigin: null", 403),
            ("Host: localhost\r\nSec-Fetch-Site: cross-site", 403),
            ("Host: localhost\r\nSec-Fetch-Site: same-site", 403),
        ] {
            let answer = ask(lines);
            assert_eq!(answer.status, status, "{path} {lines:?}");
            answer.must_be_a_refusal(lines);
        }
    }
    let before = keyside.reloads();
    for (lines, status) in [
        ("Host: evil.test", 421),
        ("Host: localhost\r\nOrigin: http://evil.test", 403),
        ("Host: localhost\r\nSec-Fetch-Site: same-site", 403),
    ] {
        let answer = keyside.ask_admin(
            format!("POST /reload HTTP/1.1\r\n{lines}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
        );
        assert_eq!(answer.status, status, "{lines:?}");
    }
    assert!(
        (keyside.reloads() - before).abs() < 0.5,
        "a browser reloaded it"
    );
}

#[test]
fn a_get_changes_nothing_and_the_admin_listener_sends_nothing() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let before = keyside.reloads();
    let answer = keyside.ask_admin(&get("/reload"));
    assert_eq!(answer.status, 405, "{}", answer.text());
    assert!(
        answer
            .header("allow")
            .is_some_and(|allow| allow.contains("POST"))
    );
    assert!((keyside.reloads() - before).abs() < 0.5);
    assert_eq!(keyside.ask_admin(&get("/nothing")).status, 404);
    assert_ne!(keyside.ask_admin(&post(MESSAGES, "{}")).status, 200);
    assert_ne!(
        keyside.get("/metrics").status,
        200,
        "and the outbound listener tells nothing"
    );
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn garbage_at_the_admin_listener_is_answered_and_harmless() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for raw in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaa".as_slice(),
        b"GET /livez\r\n\r\n",
        b"CONNECT evil:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.test/livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut client = Client::connect(keyside.admin())
            .unwrap()
            .patience(Duration::from_secs(3));
        match client.ask(raw) {
            Ok(answer) => assert!((400..500).contains(&answer.status), "{answer:?}"),
            Err(why) => assert!(matches!(why, NoAnswer::Closed | NoAnswer::Reset), "{why:?}"),
        }
    }
    assert_eq!(keyside.ask_admin(&get("/livez")).status, 200);
}

#[test]
fn an_address_that_others_reach_must_be_asked_for() {
    let upstream = Upstream::ok();
    let config = |allow: &str| {
        format!(
            "[outbound]\nlisten = [\"0.0.0.0:@PORT@\"]\n{allow}\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
             [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             [credential.acme]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/token\"\n[[route]]\ncredential = \"acme\"\n"
        )
    };
    let refused = Setup::new(&upstream).config(&config("")).finish("check");
    assert_eq!(refused.code, Some(78), "{}", refused.output);
    assert!(
        refused.output.contains("allow_remote"),
        "{}",
        refused.output
    );
    let keyside = Setup::new(&upstream)
        .config(&config("allow_remote = true"))
        .start();
    assert_eq!(keyside.get(MEDIA).status, 200);
}

/// An address of the machine besides loopback, if there is any. No packet is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn the_address_at_which_a_connection_arrived_is_a_name_of_keyside() {
    let Some(address) = own_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .config(
            "[outbound]\nlisten = [\"0.0.0.0:@PORT@\"]\nallow_remote = true\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
             [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             [credential.acme]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/token\"\n[[route]]\ncredential = \"acme\"\n"
        )
        .start();
    let port = keyside.outbound().port();
    let here = (address, port).into();
    for (target, host, status) in [
        (MEDIA.to_owned(), address.to_string(), 200),
        (MEDIA.to_owned(), format!("{address}:{port}"), 200),
        (
            format!("http://{address}:{port}{MEDIA}"),
            format!("{address}:{port}"),
            200,
        ),
        (MEDIA.to_owned(), "192.0.2.1".to_owned(), 421),
        (
            format!("http://{address}:1{MEDIA}"),
            address.to_string(),
            421,
        ),
    ] {
        let mut client = Client::connect(here).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = client.ask(request.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{target} {host}: {}", answer.text());
    }
    // On loopback the address of the machine is a foreign name.
    let request = format!("GET {MEDIA} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    assert_eq!(keyside.send(request.as_bytes()).status, 421);
}
