//! Commands at a terminal, in scripts and in pipelines.

use std::io::pipe;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::TOKEN;
use crate::support::keyside::{Finished, Setup, finish};
use crate::support::upstream::Upstream;

fn keyside(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(words);
    command
}

fn run(words: &[&str]) -> Finished {
    finish(&mut keyside(words), Duration::from_secs(10))
}

/// Runs `keyside check` with a configuration and more arguments.
fn check(setup: &Setup, more: &[&str]) -> Finished {
    let config = setup.write_config();
    let mut command = keyside(&["check", "-c", config.to_str().unwrap()]);
    finish(command.args(more), Duration::from_secs(20))
}

/// Runs a command whose standard output, or both outputs, nobody reads. Returns the exit code and
/// standard error.
fn run_unread(words: &[&str], is_error_read: bool) -> (Option<i32>, String) {
    let unread = || {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let mut command = keyside(words);
    command.stdin(Stdio::null()).stdout(unread());
    if is_error_read {
        command.stderr(Stdio::piped());
    } else {
        command.stderr(unread());
    }
    let ended = command.spawn().unwrap().wait_with_output().unwrap();
    (
        ended.status.code(),
        String::from_utf8_lossy(&ended.stderr).into_owned(),
    )
}

#[test]
fn a_closed_pipe_ends_every_command_quietly() {
    let upstream = Upstream::ok();
    let sidecar = Setup::new(&upstream).start();
    let admin = sidecar.admin().to_string();
    let config = sidecar.dir().join("proxy.toml").display().to_string();
    let token = format!("file:{}", sidecar.dir().join("token").display());
    let audit = sidecar.dir().write("audit.jsonl", "");
    let audit = audit.display().to_string();
    let faulty = sidecar.dir().write("faulty.toml", "routes = 1\n");
    let faulty = faulty.display().to_string();
    let send = "/v23.0/106540352242922/messages";
    for (words, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["check", "--config", &config], 0),
        (&["check", "--json", "--config", &config], 0),
        (&["check", "--no-secrets", "--config", &config], 0),
        (&["check", &faulty], 78),
        (
            &["explain", "POST", send, "-c", &config, "--admin", &admin],
            0,
        ),
        (&["explain", "POST", "/none", "-c", &config], 1),
        (&["reload", "--admin", &admin], 0),
        (&["status", "--admin", &admin], 0),
        (&["status", "--json", "--admin", &admin], 0),
        (&["status", "--admin", "127.0.0.1:1"], 1),
        (&["sign", "--secret", &token], 0),
        (&["rotate", "none", "-c", &config], 1),
        (&["audit", "verify", &audit], 0),
        (&["providers"], 0),
        (&["providers", "meta"], 0),
        (&["providers", "none"], 2),
        (&["demo", "--once"], 0),
        (&["run", "-c", &faulty], 78),
        (&["nonsense"], 2),
    ] {
        let (ended, errors) = run_unread(words, true);
        assert_eq!(ended, Some(code), "{words:?}: {errors}");
        for noise in ["internal error", "panicked", "pipe"] {
            assert!(!errors.contains(noise), "{words:?}: {errors}");
        }
        if words[0] == "demo" {
            continue; // It takes half a minute.
        }
        let (ended, _) = run_unread(words, false);
        assert_eq!(ended, Some(code), "{words:?} without standard error");
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = keyside(&["providers"]);
    let ended = command
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("standard output cannot be written"));
}

#[test]
fn the_configuration_is_named_by_a_short_option_or_as_an_argument() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream);
    let config = setup.write_config();
    let config = config.to_str().unwrap();
    for words in [["check", "-c", config].as_slice(), &["check", config]] {
        let done = run(words);
        assert_eq!(done.code, Some(0), "{words:?}: {}", done.output);
    }
    for words in [
        ["check", config, "-c", config].as_slice(),
        &["check", TOKEN],
        &["check", config, TOKEN],
        &["run", TOKEN],
        &[TOKEN],
    ] {
        let done = run(words);
        assert_eq!(done.code, Some(2), "{words:?}: {}", done.output);
        assert!(!done.output.contains(TOKEN), "{}", done.output);
    }
    let long = "EAAGm0PX4ZCpsBAKzZBhZAQ6d1v";
    for words in [["rotate", long, "-c", config].as_slice(), &["status", long]] {
        let done = run(words);
        assert_eq!(done.code, Some(1), "{words:?}: {}", done.output);
        assert!(!done.output.contains(long), "{}", done.output);
    }
    let done = run(&["rotate", long, "-c", config]);
    assert_eq!(done.code, Some(1), "{}", done.output);
    assert!(!done.output.contains(long), "{}", done.output);
}

#[test]
fn a_check_without_secrets_reads_none_and_runs_no_program() {
    let upstream = Upstream::ok();
    let setup = || {
        Setup::new(&upstream)
            .check()
            .credential("token = \"exec:/usr/bin/touch @DIR@/ran\"\napp_secret = \"env:NOT_SET\"\n")
    };
    let alone = setup();
    let done = check(&alone, &["--no-secrets"]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(
        done.output.contains("well formed; secrets were not read"),
        "{}",
        done.output
    );
    assert!(!alone.dir().join("ran").exists(), "the program ran");
    assert_eq!(upstream.arrivals(), 0);
    let json = check(&alone, &["--no-secrets", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(json["secrets_read"], false);
    let faulty = setup().more("[[route]]\ncredential = \"acne\"\n");
    let done = check(&faulty, &["--no-secrets"]);
    assert_eq!(done.code, Some(78), "{}", done.output);
    assert!(done.output.contains("proxy.toml:"), "{}", done.output);
    // With secrets, the program runs and its empty output is a fault.
    assert_eq!(check(&alone, &[]).code, Some(78));
    assert!(alone.dir().join("ran").exists());
}

#[test]
fn a_check_says_what_was_proved_and_what_was_not() {
    let upstream = Upstream::ok();
    let done = check(&Setup::new(&upstream).check(), &[]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(
        done.output.contains(
            "the configuration and 1 secret are well formed; no provider was asked: add --online"
        ),
        "{}",
        done.output
    );
    // The upstream answers, and not as Meta would.
    let silent = check(&Setup::new(&upstream).check(), &["--online"]);
    assert_eq!(silent.code, Some(1), "{}", silent.output);
    for part in [
        "not proved: credential.acme: ",
        "1 credential could not be proved",
    ] {
        assert!(silent.output.contains(part), "{}", silent.output);
    }
    for part in [
        "good",
        "in use without proof",
        "No credential has a problem",
    ] {
        assert!(!silent.output.contains(part), "{}", silent.output);
    }
}

#[test]
fn a_strict_check_fails_after_any_warning() {
    let upstream = Upstream::ok();
    let guarded = |setup: Setup, name: &str, bytes: &str| {
        let file = setup.dir().write(name, bytes);
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o400)).unwrap();
        setup.credential(&format!("token = \"file:@DIR@/{name}\""))
    };
    let plain = |bytes: &str| guarded(Setup::new(&upstream), "guarded", bytes);
    let old = || {
        let setup = plain(TOKEN);
        let file = std::fs::File::open(setup.dir().join("guarded")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        setup.credential("token = \"file:@DIR@/guarded\"\nmax_age = \"1s\"")
    };
    for (what, setup, code) in [
        ("no warning", plain(TOKEN), 0),
        ("a warning", plain(&format!("\u{feff}{TOKEN}")), 1),
        ("an old secret", old(), 1),
        ("a fault", plain("a\nb"), 78),
    ] {
        let done = check(&setup, &["--strict"]);
        assert_eq!(done.code, Some(code), "{what}: {}", done.output);
        if code < 78 {
            let loose = check(&setup, &[]);
            assert_eq!(loose.code, Some(0), "{what}: {}", loose.output);
        }
    }
}

#[test]
fn no_message_repeats_an_argument_that_may_be_a_secret() {
    let token = "EAAGm0PX4ZCpsBAKzZBhZAQ6d1vT5yLkW8nRx3JfC0";
    let below_a_file = format!("/dev/null/{token}");
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream);
    let config = setup.write_config().display().to_string();
    for words in [
        &["run", "-c", token][..],
        &["check", "-c", token],
        &["check", token],
        &["check", "--candidate", token],
        &["status", "--admin", token],
        &["reload", "--admin", token],
        &["audit", "verify", token],
        &["explain", "POST", token],
        &["explain", "GET", "/1", "--body", token],
        &["doctor", "-c", token],
        &["ca", token, "-c", token],
        &["ca", &below_a_file, "-c", &config],
        &["man", &below_a_file],
        &["sign", "--secret", token],
        &["sign", "--secret", "env:A", "--scheme", token],
        &["sandbox", "--listen", token],
        &["sandbox", "--provider", token],
        &["sandbox", "--latency", token],
        &["sandbox", "--per-sender", token],
        &["providers", token],
        &["rotate", token],
        &["scan", token],
        &["scan", ".", "--format", token],
    ] {
        let done = run(words);
        assert!(
            !matches!(done.code, None | Some(0)),
            "{words:?}: {}",
            done.output
        );
        assert!(
            !done.output.contains("Gm0PX4"),
            "{words:?}: {}",
            done.output
        );
    }
}

#[test]
fn shells_and_man_know_every_command() {
    let help = run(&["--help"]).output;
    let commands: Vec<_> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .map_while(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|command| !matches!(*command, "" | "help"))
        .collect();
    assert!(commands.len() > 12, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.code, Some(0), "{}", script.output);
        for command in &commands {
            assert!(script.output.contains(command), "{shell}: {command}");
        }
    }
    let dir = crate::support::keyside::Directory::new();
    let folder = dir.join("man1").display().to_string();
    let done = run(&["man", &folder]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    for command in &commands {
        let page = std::fs::read_to_string(dir.join(&format!("man1/keyside-{command}.1")));
        assert!(
            page.is_ok_and(|page| page.contains(".SH NAME")),
            "{command}"
        );
    }
    assert!(std::fs::metadata(dir.join("man1/keyside.1")).is_ok());
}

#[test]
fn a_pasted_url_is_taken_and_several_sidecars_are_reloaded() {
    let upstream = Upstream::ok();
    let webhook = "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[[webhook]]\npath = \"/hook\"\ncredential = \"acme\"\n\
                   forward = \"http://127.0.0.1:9/\"";
    let secrets = "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/token\"\nverify_token = \"file:@DIR@/token\"\nproof = \"off\"";
    let setup = Setup::new(&upstream).credential(secrets).more(webhook);
    let one = setup.start();
    let other = crate::support::keyside::Keyside::start(&upstream);
    let explain = |target: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        let admin = format!("http://{}/status", one.admin());
        command.args(["explain", "POST", target, "--admin", &admin]);
        finish(
            command.current_dir(one.dir().path()),
            Duration::from_secs(10),
        )
    };
    let url = format!("http://{}/v23.0/1/messages", one.outbound());
    let sent = explain(&url);
    assert_eq!(sent.code, Some(0), "{}", sent.output);
    assert!(sent.output.contains("sent at once"), "{}", sent.output);
    let of_webhook = explain("/hook");
    assert!(
        of_webhook
            .output
            .contains("acme: providers send events there"),
        "{}",
        of_webhook.output
    );
    let gone = "127.0.0.1:9";
    let both = [one.admin().to_string(), other.admin().to_string()];
    let done = run(&[
        "reload", "--admin", &both[0], "--admin", gone, "--admin", &both[1],
    ]);
    assert_eq!(done.code, Some(1), "{}", done.output);
    for admin in &both {
        assert!(
            done.output
                .contains(&format!("{admin}: reloaded: generation 2")),
            "{}",
            done.output
        );
    }
}

#[test]
fn a_command_that_asks_another_listener_says_so() {
    let upstream = Upstream::ok();
    let sidecar = Setup::new(&upstream).start();
    let outbound = sidecar.outbound().to_string();
    for words in [
        &["reload"][..],
        &["status"],
        &["events", "list"],
        &["events", "stats"],
    ] {
        let words = [words, &["--admin", &outbound]].concat();
        let done = run(&words);
        assert_eq!(done.code, Some(1), "{}", done.output);
        let expected =
            format!("keyside: the program at {outbound} is not the admin listener of a sidecar");
        assert!(done.output.contains(&expected), "{}", done.output);
    }
    // The admin listener itself refuses in its own words.
    let admin = sidecar.admin().to_string();
    let done = run(&["events", "list", "--admin", &admin]);
    assert!(
        done.output.contains("the sidecar has no spool"),
        "{}",
        done.output
    );
}

#[test]
fn wrong_arguments_are_told_with_what_is_expected() {
    for (words, expected) in [
        (
            &["events", "show", "nope"][..],
            "expected 32 hexadecimal digits",
        ),
        (&["events", "drop"], "a person by `--user NUMBER`"),
        (
            &["events", "drop", "nope"],
            "expected 32 hexadecimal digits",
        ),
        (
            &["audit", "verify", "/dev/null", "--kept", "zz"],
            "expected 64 hexadecimal digits",
        ),
        (
            &["explain", "POST", "localhost:8080/v23.0/1/messages"],
            "expected a path such as /v23.0/1055/messages, or a whole URL",
        ),
        (
            &["explain", "POST", "v23.0/1/messages"],
            "expected a path such as /v23.0/1055/messages, or a whole URL",
        ),
    ] {
        let done = run(words);
        assert_eq!(done.code, Some(2), "{}", done.output);
        assert!(done.output.contains(expected), "{}", done.output);
    }
}

#[test]
fn a_check_without_a_usable_secret_prints_no_table() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream);
    setup.dir().write("token", "");
    let done = check(&setup, &[]);
    assert_eq!(done.code, Some(78), "{}", done.output);
    assert!(!done.output.contains("SIDECAR"), "{}", done.output);
}

#[test]
fn a_fault_of_authorities_names_key_and_file() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream);
    let empty = setup.dir().write("empty.pem", "");
    let empty = empty.display().to_string();
    for (file, expected) in [
        ("/nowhere/ca.pem", "/nowhere/ca.pem cannot be read"),
        (&empty, &format!("{empty}: no certificate")),
    ] {
        let more = format!(
            "[provider.own]\nextends = \"meta\"\nca = \"{file}\"\n[credential.own]\nprovider = \"own\"\n\
             token = \"file:@DIR@/token\"\n[[route]]\ncredential = \"own\"\npath = \"/own\"\n"
        );
        let setup = Setup::new(&upstream).more(&more);
        let done = check(&setup, &[]);
        assert_eq!(done.code, Some(78), "{}", done.output);
        let text = std::fs::read_to_string(setup.dir().join("proxy.toml")).unwrap();
        let before = text
            .lines()
            .take_while(|line| !line.ends_with(&format!("{file}\"")));
        let line = before.count() + 1;
        let expected = format!("proxy.toml:{line}:6: provider.own.ca: {expected}");
        assert!(
            done.output.contains(&expected),
            "{expected}: {}",
            done.output
        );
    }
}
