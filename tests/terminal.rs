//! The output of commands on a terminal: within the width, with colours unless the user wants none.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::keyside::{Directory, Finished, Keyside, Setup, finish, free_port};
use crate::support::upstream::Upstream;
use crate::support::{MESSAGES, eventually};

/// Runs a program with its output on a terminal of its own, of some columns, and without input. The
/// module `pty` of Python makes the terminal.
const ON_TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
child, terminal = pty.fork()
if child == 0:
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, int(sys.argv[1]), 0, 0))
    os.execv(sys.argv[2], sys.argv[2:])
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    sys.stdout.buffer.write(piece.replace(b"\r\n", b"\n"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// The wish of a user about colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colors {
    Unset,
    None,
    /// A terminal that shows no colours.
    Dumb,
}

fn on_terminal(columns: usize, colors: Colors, words: &[&str]) -> Finished {
    on_terminal_within(Duration::from_secs(60), columns, colors, words)
}

fn on_terminal_within(
    patience: Duration,
    columns: usize,
    colors: Colors,
    words: &[&str],
) -> Finished {
    let mut command = Command::new("python3");
    command
        .args(["-c", ON_TERMINAL, &columns.to_string()])
        .arg(env!("CARGO_BIN_EXE_keyside"))
        .args(words)
        .env("TERM", "xterm-256color")
        // A service that builds programs sets it; it is no wish for colours.
        .env("CI", "true")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR");
    match colors {
        Colors::Unset => {}
        Colors::None => {
            command.env("NO_COLOR", "1");
        }
        Colors::Dumb => {
            command.env("TERM", "dumb");
        }
    }
    finish(&mut command, patience)
}

/// A configuration whose provider has a host with a name, for a certificate.
const ALIASED: &str = "[credential.acme]\nprovider = \"meta\"\ntoken = \"env:NOT_READ\"\n[[route]]\ncredential = \"acme\"\n";

/// A sidecar with a long table, and with something wrong.
fn troubled() -> Keyside {
    let keyside = Setup::at(&format!("https://localhost:{}", free_port())).start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 502);
    keyside
}

/// The lines of tables: they begin with a name in capitals, up to an empty line.
fn table_lines(output: &str) -> Vec<&str> {
    let mut is_table = false;
    let lines = output.lines().filter(|line| {
        if line.is_empty() {
            is_table = false;
        } else if line.starts_with("CREDENTIAL ") || line.starts_with("ROUTE ") {
            is_table = true;
        }
        is_table
    });
    lines.collect()
}

#[test]
fn the_tables_of_a_status_fit_the_terminal_and_a_pipe_gets_whole_lines() {
    let keyside = troubled();
    let admin = keyside.admin().to_string();
    let words = ["status", "--admin", &admin];
    let mut heights = Vec::new();
    for columns in [200, 132, 100, 80, 40] {
        let done = on_terminal(columns, Colors::None, &words);
        let lines = table_lines(&done.output);
        assert!(lines.len() >= 6, "{}", done.output);
        let longest = lines.iter().map(|line| line.chars().count()).max();
        assert!(longest.unwrap() <= columns, "{columns}:\n{}", done.output);
        heights.push(lines.len());
        if columns >= 80 {
            let longest = done.output.lines().map(|line| line.chars().count()).max();
            assert!(longest.unwrap() <= columns, "{columns}:\n{}", done.output);
        }
    }
    assert!(
        heights[2] > heights[0],
        "{heights:?}: the cells go on below themselves"
    );
    let mut piped = Command::new(env!("CARGO_BIN_EXE_keyside"));
    let done = finish(piped.args(words), Duration::from_secs(10));
    assert_eq!(table_lines(&done.output).len(), 6, "{}", done.output);
}

#[test]
fn help_fits_the_terminal_and_breaks_no_word() {
    let words = |help: &str| {
        let words = help.split_whitespace().map(str::to_owned);
        words.collect::<Vec<_>>()
    };
    let mut piped = Command::new(env!("CARGO_BIN_EXE_keyside"));
    let whole = finish(piped.args(["check", "--help"]), Duration::from_secs(10));
    for columns in [60, 80, 100] {
        let done = on_terminal(columns, Colors::None, &["check", "--help"]);
        assert_eq!(done.code, Some(0));
        let longest = done.output.lines().map(|line| line.chars().count()).max();
        assert!(longest.unwrap() <= columns, "{columns}:\n{}", done.output);
        assert_eq!(words(&done.output), words(&whole.output), "{columns}");
    }
}

#[test]
fn every_command_has_colors_on_a_terminal_alone_and_none_for_a_user_who_wants_none() {
    let keyside = troubled();
    let admin = keyside.admin().to_string();
    let config = keyside.dir().join("proxy.toml").display().to_string();
    let faulty = keyside.dir().write("faulty.toml", "routes = 1\n");
    let faulty = faulty.display().to_string();
    let dir = keyside.dir().path().display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_address = taken.local_addr().unwrap().to_string();
    let key = keyside
        .dir()
        .write("key", "0123456789abcdef")
        .display()
        .to_string();
    let key = format!("file:{key}");
    let made = |name: &str| keyside.dir().join(name).display().to_string();
    let (authority, manuals) = (made("ca"), made("man"));
    let aliased = keyside.dir().write("aliased.toml", ALIASED);
    let aliased = aliased.display().to_string();
    let escape = "\u{1b}[";
    for (words, is_colored) in [
        (&["--help"][..], true),
        (&["status", "--admin", &admin], true),
        (&["status", "--check", "--admin", &admin], false),
        (&["status", "--json", "--admin", &admin], false),
        (&["nonsense"], true),
        (&["check", "-c", &config], false),
        (&["check", &faulty], false),
        (
            &[
                "explain", "POST", MESSAGES, "-c", &config, "--admin", &admin,
            ],
            false,
        ),
        (&["reload", "--admin", &admin], false),
        (&["events", "stats", "--admin", &admin], false),
        (&["providers"], false),
        (&["providers", "meta"], false),
        (&["init"], false),
        (&["scan", &dir], false),
        (&["rotate", "none", "-c", &config], false),
        (&["audit", "verify", &config], false),
        (&["completions", "bash"], false),
        (&["run", "-c", &faulty], false),
        (&["demo", "--help"], true),
        // The address is taken: the emulator ends at once.
        (&["sandbox", "--listen", &taken_address], false),
        (&["sandbox", "--help"], true),
        (&["sign", "--secret", &key], false),
        (&["revoke", "acme", "-c", &config], false),
        (&["ca", &authority, "-c", &aliased], false),
        (&["man", &manuals], false),
        (&["doctor", "-c", &faulty], true),
    ] {
        let plain = on_terminal(100, Colors::None, words);
        assert!(
            !plain.output.contains(escape),
            "{words:?}: {}",
            plain.output
        );
        assert!(plain.code.is_some(), "{words:?} does not end");
        let mut piped = Command::new(env!("CARGO_BIN_EXE_keyside"));
        piped
            .args(words)
            .stdin(std::process::Stdio::null())
            .env("TERM", "xterm-256color")
            .env("CI", "true")
            .env_remove("CLICOLOR_FORCE")
            .env_remove("NO_COLOR");
        let piped = finish(&mut piped, Duration::from_secs(60));
        assert!(
            !piped.output.contains(escape),
            "{words:?}: {}",
            piped.output
        );
        assert_eq!(plain.code, piped.code, "{words:?}");
        if matches!(words[0], "sign" | "ca" | "man") {
            assert_eq!(plain.code, Some(0), "{words:?}: {}", plain.output);
        }
        if is_colored {
            let colored = on_terminal(100, Colors::Unset, words);
            assert!(
                colored.output.contains(escape),
                "{words:?}: {}",
                colored.output
            );
            let dumb = on_terminal(100, Colors::Dumb, words);
            assert!(!dumb.output.contains(escape), "{words:?}: {}", dumb.output);
        }
    }
}

#[test]
fn the_whole_demo_goes_well_on_a_narrow_terminal() {
    let patience = Duration::from_secs(180);
    let done = on_terminal_within(patience, 40, Colors::Unset, &["demo", "--once"]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    let post = |line: &&str| line.starts_with("   {\"messaging_product\"");
    let body = done.output.lines().find(post);
    assert!(
        body.is_some(),
        "what may be copied is whole: {}",
        done.output
    );
    assert!(!done.output.contains("\u{1b}["), "{}", done.output);
}

#[test]
fn a_log_on_a_terminal_has_colors_unless_the_user_wants_none() {
    let upstream = Upstream::ok();
    for (colors, is_colored) in [(Colors::Unset, true), (Colors::None, false)] {
        let setup = Setup::new(&upstream);
        let config = setup.write_config().display().to_string();
        let port = free_port();
        let text = std::fs::read_to_string(&config).unwrap();
        // The port of administration is taken: the start ends at once.
        let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let broken = text.replace(
            "[admin]\nlisten = [\"",
            &format!("[admin]\nlisten = [\"127.0.0.1:{port}\", \""),
        );
        setup.dir().write("proxy.toml", broken);
        let done = on_terminal(100, colors, &["run", "-c", &config]);
        assert_eq!(done.code, Some(1), "{}", done.output);
        let expected = format!("admin.listen: cannot listen on 127.0.0.1:{port}: ");
        assert!(done.output.contains(&expected), "{}", done.output);
        // The token of a test may be read by every user, which is a warning before the listeners
        // are bound.
        assert!(done.output.contains("WARN"), "{}", done.output);
        assert_eq!(
            done.output.contains("\u{1b}["),
            is_colored,
            "{}",
            done.output
        );
        drop(taken);
    }
}

#[test]
fn what_is_not_a_table_breaks_no_line_by_the_width_of_the_terminal() {
    let keyside = troubled();
    let key = keyside.dir().write("key", "0123456789abcdef");
    let key = format!("file:{}", key.display());
    let aliased = keyside.dir().write("aliased.toml", ALIASED);
    let aliased = aliased.display().to_string();
    let [authority, manuals] =
        ["ca", "man"].map(|name| keyside.dir().join(name).display().to_string());
    for words in [
        &["sign", "--secret", &key][..],
        &["ca", &authority, "-c", &aliased],
        &["man", &manuals],
    ] {
        // The first run makes what the others find.
        let wide = on_terminal(200, Colors::None, words);
        let wide = if words[0] == "ca" {
            on_terminal(200, Colors::None, words)
        } else {
            wide
        };
        let narrow = on_terminal(40, Colors::None, words);
        assert_eq!(
            narrow.output, wide.output,
            "{words:?}: what may be copied is whole"
        );
        assert_eq!(narrow.code, Some(0), "{words:?}");
    }
    for columns in [60, 80, 100] {
        for command in ["demo", "sandbox", "sign", "revoke", "ca", "man"] {
            let done = on_terminal(columns, Colors::None, &[command, "--help"]);
            let longest = done.output.lines().map(|line| line.chars().count()).max();
            assert!(longest.unwrap() <= columns, "{columns}:\n{}", done.output);
        }
    }
}

#[test]
fn a_long_scan_shows_on_a_terminal_how_much_was_read() {
    let dir = Directory::new();
    let pipe = dir.join("pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let written = pipe.clone();
    let writer = std::thread::spawn(move || {
        let mut writer = std::fs::OpenOptions::new()
            .write(true)
            .open(written)
            .unwrap();
        writer.write_all(&[b'a'; 100]).unwrap();
        std::thread::sleep(Duration::from_millis(2500));
    });
    let done = on_terminal(100, Colors::Unset, &["scan", pipe.to_str().unwrap()]);
    writer.join().unwrap();
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(done.output.contains(" B read"), "{}", done.output);
    assert!(done.output.contains("0 finds in 1 file"), "{}", done.output);
}

#[test]
fn a_log_on_a_terminal_tells_of_the_first_success_and_not_of_each() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream);
    let config = setup.write_config().display().to_string();
    let text = std::fs::read_to_string(&config).unwrap();
    let (_, behind) = text.split_once("[outbound]\nlisten = [\"").unwrap();
    let outbound = behind.split('"').next().unwrap().to_owned();
    let of_run = config.clone();
    let caller = std::thread::spawn(move || {
        for _ in 0..3 {
            assert!(eventually(Duration::from_secs(20), || {
                send(&outbound).is_ok_and(|answer| answer.contains(" 200 "))
            }));
        }
        kill_process(process_of(&of_run), Signal::TERM).unwrap();
    });
    let done = on_terminal(200, Colors::None, &["run", "-c", &config]);
    caller.join().unwrap();
    assert_eq!(done.code, Some(0), "{}", done.output);
    let told = done.output.matches("requests succeed").count();
    assert_eq!(told, 1, "{}", done.output);
}

/// Sends a message, and returns the answer.
fn send(outbound: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(outbound)?;
    write!(
        stream,
        "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
         Connection: close\r\n\r\n{{}}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns the sidecar that runs with a configuration.
fn process_of(config: &str) -> Pid {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut ids = processes.filter_map(|process| {
        let words = std::fs::read(process.path().join("cmdline")).ok()?;
        let words = String::from_utf8(words).ok()?;
        let is_run = words.starts_with(env!("CARGO_BIN_EXE_keyside")) && words.contains(config);
        let id = process.file_name().to_str()?.parse().ok()?;
        is_run.then_some(id)
    });
    Pid::from_raw(ids.next().unwrap()).unwrap()
}
