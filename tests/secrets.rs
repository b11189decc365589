//! Secrets: from whatever source, only the provider sees the value.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::client::{get, post};
use crate::support::keyside::{Directory, Keyside, Setup, finish};
use crate::support::upstream::{Upstream, answer};
use crate::support::{base64, contains, eventually, hex};

const FROM_ENV: &str = "EAACANARYenv5d41402abc4b2a76b9719d911017c592";
const FROM_FILE: &str = "EAACANARYfile7d793037a0760186574b0282f2f435e7";
const FROM_SYSTEMD: &str = "EAACANARYsystemd9d5ed678fe57bcca610140957afab571";
const FROM_EXEC: &str = "EAACANARYexec0cc175b9c0f1b6a831c399e269772661";
const APP_SECRET: &str = "CANARYapp92eb5ffee6ae2fec3ad71c777531578f";
const CANARIES: [&str; 5] = [FROM_ENV, FROM_FILE, FROM_SYSTEMD, FROM_EXEC, APP_SECRET];

/// The forms of a canary to search for: plain, in hex, and in base64 at all three alignments.
fn forms(canary: &str) -> Vec<String> {
    let mut forms = vec![
        canary.to_owned(),
        hex(canary.as_bytes()),
        hex(canary.as_bytes()).to_uppercase(),
    ];
    let half = &canary[canary.len() / 2..];
    forms.push(half.to_owned());
    forms.push(canary.chars().rev().collect());
    for before in ["", "x", "xx"] {
        let text = base64(format!("{before}{canary}").as_bytes());
        forms.push(text[4..text.len() - 4].to_owned());
    }
    forms.push(canary.bytes().map(|byte| format!("%{byte:02X}")).collect());
    forms
}

/// Returns the canaries found in the bytes.
fn seen_in(bytes: &[u8]) -> Vec<String> {
    CANARIES
        .iter()
        .flat_map(|canary| forms(canary))
        .filter(|form| contains(bytes, form.as_bytes()))
        .collect()
}

#[track_caller]
fn must_be_clean(place: &str, bytes: impl AsRef<[u8]>) {
    let seen = seen_in(bytes.as_ref());
    assert!(seen.is_empty(), "{place} tells {seen:?}");
}

fn program(dir: &Directory, name: &str, text: &str) {
    let path = dir.write(name, text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

/// Four routes, one per source, with the log at the lowest level.
fn with_all_sources(upstream: &Upstream) -> Setup {
    let credential = |name: &str, token: &str| {
        format!(
            "[credential.{name}]\nprovider = \"test\"\nhold = \"off\"\ntoken = \"{token}\"\napp_secret = \"file:@DIR@/app_secret\"\n[[route]]\ncredential = \"{name}\"\npath = \"/{name}\"\n"
        )
    };
    let config = format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n[log]\nlevel = \"trace\"\n\
         [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n{}{}{}{}",
        credential("env", "env:KEYSIDE_TEST_TOKEN"),
        credential("file", "file:@DIR@/token"),
        credential("systemd", "systemd:token"),
        credential("exec", "exec:@DIR@/helper an-argument"),
    );
    let setup = Setup::new(upstream)
        .file("token", FROM_FILE)
        .file("app_secret", APP_SECRET)
        .file("credentials/token", format!("{FROM_SYSTEMD}\n"))
        .env("KEYSIDE_TEST_TOKEN", FROM_ENV)
        .config(&config);
    let credentials = setup.dir().join("credentials").display().to_string();
    let dump = setup.dir().join("environment").display().to_string();
    program(
        setup.dir(),
        "helper",
        &format!(
            "#!/bin/sh\n/usr/bin/env >> {dump}\necho \"$@\" >> {dump}\ncat /proc/$$/cmdline >> {dump}\necho {FROM_EXEC}\n"
        ),
    );
    setup.env("CREDENTIALS_DIRECTORY", &credentials)
}

const ROUTES: [(&str, &str); 4] = [
    ("env", FROM_ENV),
    ("file", FROM_FILE),
    ("systemd", FROM_SYSTEMD),
    ("exec", FROM_EXEC),
];

/// The path of all sends in the tests.
const SENT: &str = "/v23.0/1";

/// Echoes the request: in headers, in the body, in an error.
fn parrot() -> Upstream {
    Upstream::answering(|request| {
        let credential = request.header("authorization").unwrap_or_default();
        let bare = credential.replace("Bearer ", "");
        let headers: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let body = serde_json::json!({
            "url": format!("https://{}/x?access_token={bare}&a=1", request.header("host").unwrap_or_default()),
            "error": { "message": format!("bad {credential} and {APP_SECRET}"), "code": 190 },
            "head": headers,
            "body": String::from_utf8_lossy(&request.body),
        });
        let status = request
            .header("x-status")
            .unwrap_or_else(|| "200 OK".to_owned());
        let challenge = format!("OAuth \"{bare}\"");
        answer(
            &status,
            &[
                ("Content-Type", "application/json"),
                ("WWW-Authenticate", &challenge),
                ("X-Echo", &bare),
                ("X-App-Secret", APP_SECRET),
            ],
            body.to_string().as_bytes(),
        )
    })
}

#[test]
fn no_secret_is_seen_outside_whatever_the_provider_echoes() {
    let upstream = parrot();
    let mut keyside = with_all_sources(&upstream).start();
    for (route, canary) in ROUTES {
        for status in ["200 OK", "400 Bad Request", "401 Unauthorized", "500 Oops"] {
            let requests = [
                format!(
                    "POST /{route}/v23.0/1/messages?a=1 HTTP/1.1\r\nHost: localhost\r\nX-Status: {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
                ),
                format!(
                    "GET /{route}/v23.0/1 HTTP/1.1\r\nHost: localhost\r\nX-Status: {status}\r\n\r\n"
                ),
            ];
            for request in requests {
                let answer = keyside.send(request.as_bytes());
                assert_eq!(
                    upstream.last_to(SENT).header("authorization"),
                    Some(format!("Bearer {canary}")),
                    "{route}"
                );
                assert!(
                    contains(&answer.body, b"[redacted]"),
                    "it was echoed: {}",
                    answer.text()
                );
                must_be_clean("an answer's body", &answer.body);
                must_be_clean("an answer's headers", format!("{:?}", answer.headers));
            }
        }
        keyside.send(&post(&format!("/{route}/v23.0/1/register"), "{}"));
        keyside.send(&get(&format!("/{route}/../x")));
    }
    let questions = || {
        upstream
            .requests()
            .iter()
            .filter(|asked| asked.target().starts_with("/debug_token"))
            .count()
    };
    assert!(
        eventually(Duration::from_secs(5), || questions() >= ROUTES.len()),
        "each token is asked about"
    );
    assert_eq!(keyside.reload().status, 200);
    must_be_clean("a reload's answer", keyside.reload().text());
    // Reloads that fail over a file with a secret, and over a configuration with a literal secret.
    keyside
        .dir()
        .write("token", format!("{FROM_FILE}\n{FROM_FILE}"));
    must_be_clean("a refused reload", keyside.reload().text());
    keyside.dir().write("token", FROM_FILE);
    let good = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    for bad in [
        good.replace("env:KEYSIDE_TEST_TOKEN", FROM_ENV),
        format!("{good}\n{FROM_ENV} = \"{FROM_FILE}\"\n"),
        good.replace("[admin]", &format!("{FROM_ENV}\n[admin]")),
    ] {
        keyside.dir().write("proxy.toml", bad);
        let answer = keyside.reload();
        assert_eq!(answer.status, 422, "{}", answer.text());
        must_be_clean("a refused reload", answer.text());
    }
    keyside.dir().write("proxy.toml", good);

    must_be_clean("/metrics", keyside.metrics());
    must_be_clean("/status", keyside.status().to_string());
    must_be_clean("/", keyside.ask_admin(&get("/")).text());
    must_be_clean("/readyz", keyside.ask_admin(&get("/readyz")).text());
    let process = std::path::PathBuf::from(format!("/proc/{}", keyside.pid()));
    must_be_clean(
        "the command line",
        std::fs::read(process.join("cmdline")).unwrap(),
    );
    let children = std::fs::read(keyside.dir().join("environment")).expect("the helper ran");
    must_be_clean("the environment of a child", &children);
    assert!(
        contains(&children, b"an-argument"),
        "the helper had its argument"
    );
    let mut status = Command::new(env!("CARGO_BIN_EXE_keyside"));
    status.args(["status", "--admin", &keyside.admin().to_string()]);
    must_be_clean(
        "keyside status",
        finish(&mut status, Duration::from_secs(10)).output,
    );
    keyside.signal(rustix::process::Signal::TERM);
    assert!(
        keyside.wait_exit(Duration::from_secs(8)).is_some(),
        "it ends"
    );
    let log = keyside.log();
    assert!(
        log.lines().count() > 10,
        "a log at trace level has lines: {log}"
    );
    must_be_clean("the log", &log);
}

#[test]
fn a_media_answer_in_an_encoding_that_hides_a_secret_is_not_asked_for() {
    let upstream = parrot();
    let keyside = with_all_sources(&upstream).start();
    keyside.send(
        b"GET /file/v23.0/1 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, br\r\n\r\n",
    );
    let asked = upstream.last_to(SENT).all("accept-encoding").join(",");
    assert!(
        !asked.contains("gzip") && !asked.contains("br"),
        "the redactor would be blind: {asked}"
    );
}

#[test]
fn a_check_never_prints_a_secret() {
    let upstream = Upstream::ok();
    for (config_from, config_to) in [
        ("env:KEYSIDE_TEST_TOKEN", FROM_ENV),
        ("file:@DIR@/token", FROM_FILE),
        (
            "provider = \"test\"",
            &format!("provider = \"{FROM_FILE}\""),
        ),
        ("[admin]", &format!("[admin]\n{FROM_FILE} = 1")),
        ("level = \"trace\"", &format!("level = \"{FROM_FILE}\"")),
        ("watch = \"off\"", &format!("watch = \"{FROM_FILE}\"")),
        ("watch = \"off\"", &format!("watch = {FROM_FILE}")),
        ("extends = \"meta\"", &format!("extends = \"{FROM_FILE}\"")),
    ] as [(&str, &str); 8]
    {
        let setup = with_all_sources(&upstream);
        let path = setup.write_config();
        let text = std::fs::read_to_string(&path).unwrap();
        let from = config_from.replace("@DIR@", &setup.dir().path().display().to_string());
        let changed = text.replace(&from, config_to);
        assert_ne!(text, changed, "{config_from}");
        let done = setup.config(&changed).finish("check");
        assert_eq!(done.code, Some(78), "{config_to}: {}", done.output);
        must_be_clean("check", &done.output);
    }
}

#[test]
fn no_option_takes_a_secret() {
    for words in [
        ["run", "--token", FROM_FILE],
        ["check", "--app-secret", FROM_FILE],
        ["run", FROM_FILE, "x"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command.args(words);
        let done = finish(&mut command, Duration::from_secs(5));
        assert_eq!(done.code, Some(2), "{}", done.output);
    }
}

fn limits_line(keyside: &Keyside) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", keyside.pid())).unwrap();
    limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_crash_leaves_no_core_file() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .under(&["prlimit", "--core=unlimited:unlimited"])
        .start();
    let words: Vec<String> = limits_line(&keyside)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        words.get(4..6),
        Some(&["0".to_owned(), "0".to_owned()][..]),
        "{words:?}"
    );
}

#[test]
fn memory_and_environment_are_closed_to_the_user_of_the_process() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let upstream = Upstream::ok();
    let as_nobody = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    ];
    let keyside = Setup::new(&upstream)
        .env("KEYSIDE_TEST_TOKEN", FROM_ENV)
        .credential("token = \"env:KEYSIDE_TEST_TOKEN\"")
        .under(&as_nobody)
        .start();
    let mut other = Command::new("sleep")
        .arg("20")
        .env("KEYSIDE_TEST_TOKEN", FROM_ENV)
        .spawn()
        .unwrap();
    let read = |pid: u32, file: &str| {
        let mut command = Command::new(as_nobody[0]);
        command
            .args(&as_nobody[1..])
            .args(["head", "-c", "1", &format!("/proc/{pid}/{file}")]);
        finish(&mut command, Duration::from_secs(5))
    };
    // An equal read works for a process without the protection.
    let mut plain = Command::new(as_nobody[0])
        .args(&as_nobody[1..])
        .args(["sleep", "20"])
        .env("X", "y")
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let control = read(plain.id(), "environ");
    for child in [&mut other, &mut plain] {
        let _ = child.kill();
        let _ = child.wait();
    }
    assert_eq!(control.code, Some(0), "the control: {}", control.output);
    for file in ["environ", "mem", "maps"] {
        let done = read(keyside.pid(), file);
        assert_ne!(done.code, Some(0), "{file} is open: {}", done.output);
    }
    assert_eq!(
        keyside.post(crate::support::MESSAGES, "{}").status,
        200,
        "and it works"
    );
}

#[test]
fn tls_keys_are_written_nowhere() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream);
    let file = setup.dir().join("keys.log");
    let keyside = setup
        .env("SSLKEYLOGFILE", &file.display().to_string())
        .start();
    assert_eq!(keyside.post(crate::support::MESSAGES, "{}").status, 200);
    assert!(!Path::new(&file).exists());
}

#[test]
fn a_request_cannot_forge_a_line_of_the_log() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).level("trace").start();
    keyside.send(b"GET /v23.0/1?x=%1b]0;owned%07%0aforged-line HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a\x1b]0;owned\x07\r\n\r\n");
    keyside.send(b"GET /v23.0/1\x1b]0;owned HTTP/1.1\r\nHost: localhost\r\n\r\n");
    keyside.send("GET /v23.0/1 HTTP/1.1\r\nHost: evil\u{1b}[2J\r\n\r\n".as_bytes());
    keyside.send(b"GET /v23.0/1 HTTP/1.1\r\nHost: evil.test\r\nX: forged-line\r\n\r\n");
    let log = keyside.log();
    assert!(!log.is_empty());
    assert!(!log.contains('\u{1b}'), "an escape sequence is in the log");
    assert!(
        !log.lines()
            .any(|line| line.trim_start().starts_with("forged-line")),
        "a forged line is in the log"
    );
    for line in log.lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn numbers_and_texts_of_messages_are_not_logged() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).level("debug").start();
    let body = r#"{"messaging_product":"whatsapp","to":"4915550001234","type":"text","text":{"body":"a very private text"}}"#;
    assert_eq!(
        keyside.post("/v23.0/1098765432101/messages", body).status,
        200
    );
    assert_eq!(
        keyside.post("/v23.0/1098765432101/register", body).status,
        403
    );
    let (log, metrics) = (keyside.log(), keyside.metrics());
    for private in ["4915550001234", "very private", "1098765432101"] {
        assert!(!log.contains(private), "{private} is in the log");
        assert!(!metrics.contains(private), "{private} is in the metrics");
    }
}

/// The fingerprint that everybody could compute of every word of a dictionary.
fn plain_fingerprint(value: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("keyside:{value}"));
    hex(&digest[..6])
}

#[test]
fn a_value_that_a_person_may_have_chosen_is_shown_by_no_hash_that_a_dictionary_finds() {
    let upstream = Upstream::ok();
    let chosen = ["whatsapp", "letmein-please", "user:hunter2-hunter2"];
    let [verify_token, own_secret, changed] = chosen;
    let more = "[provider.own]\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
         inject = [{ header = \"Authorization\", value = \"Key {key}\" }]\n\
         [provider.own.secrets]\nkey = { required = true }\n\
         [provider.own.operations.messages]\nkind = \"send\"\ndefault = true\nrequests = [\"POST /messages\"]\n\
         [credential.own]\nprovider = \"own\"\nkey = \"file:@DIR@/own\"\n\
         [[route]]\ncredential = \"own\"\npath = \"/own\"\n[audit]\nfile = \"@DIR@/audit\"\nrequests = true\n";
    let keyside = Setup::new(&upstream)
        .file("verify", verify_token)
        .file("own", own_secret)
        .credential("token = \"file:@DIR@/token\"\nverify_token = \"file:@DIR@/verify\"")
        .more(more)
        .level("trace")
        .start();
    let shown = |name: &str| {
        let status = keyside.status();
        let credentials = status["credentials"].as_array().unwrap().iter();
        let mut secrets = credentials.flat_map(|row| row["secrets"].as_array().unwrap().clone());
        let secret = secrets.find(|secret| secret["name"] == name).unwrap();
        secret["fingerprint"].as_str().unwrap().to_owned()
    };
    let before = ["token", "verify_token", "key"].map(shown);
    assert_eq!(before[0], plain_fingerprint(crate::support::TOKEN));
    assert!(before[1..].iter().all(|shown| shown.starts_with("keyed:")));
    assert_eq!(keyside.post("/own/messages", "{}").status, 200);
    keyside.dir().write("verify", changed);
    let reload = keyside.reload().text();
    // A change is seen, and an unchanged value as well.
    assert!(reload.contains(&before[1]), "{reload}");
    let after = ["token", "verify_token", "key"].map(shown);
    let is_same: Vec<_> = before.iter().zip(&after).map(|(a, b)| a == b).collect();
    assert_eq!(is_same, [true, false, true]);

    let config = keyside.dir().join("proxy.toml").display().to_string();
    let admin = keyside.admin().to_string();
    let told = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        finish(command.args(words), Duration::from_secs(10)).output
    };
    for (place, text) in [
        ("a reload", reload),
        ("/status", keyside.status().to_string()),
        ("/metrics", keyside.metrics()),
        ("the log", keyside.log()),
        (
            "the audit file",
            std::fs::read_to_string(keyside.dir().join("audit")).unwrap(),
        ),
        ("check", told(&["check", "--config", &config])),
        (
            "check --json",
            told(&["check", "--json", "--config", &config]),
        ),
        (
            "explain",
            told(&[
                "explain",
                "POST",
                "/own/messages",
                "--config",
                &config,
                "--admin",
                &admin,
            ]),
        ),
        ("status", told(&["status", "--admin", &admin])),
    ] {
        for value in chosen {
            let hash = plain_fingerprint(value);
            assert!(!text.contains(&hash), "{place} shows the hash of {value}");
        }
    }
}

#[test]
fn a_command_that_reads_secrets_is_as_closed_as_run() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream).credential("token = \"exec:@DIR@/helper\"");
    let dir = setup.dir();
    let limits = dir.join("limits").display().to_string();
    program(
        dir,
        "helper",
        &format!(
            "#!/bin/sh\ncat /proc/$PPID/limits > {limits}\nstat -c %U /proc/$PPID/mem >> {limits}\necho {FROM_EXEC}\n"
        ),
    );
    let config = setup.write_config().display().to_string();
    let helper = format!("exec:{}", dir.join("helper").display());
    for words in [
        &["check", "--config", &config][..],
        &["explain", "GET", "/v23.0/1", "--config", &config],
        &["rotate", "acme", "--config", &config, "--dry-run"],
        &["sign", "--scheme", "meta", "--secret", &helper],
    ] {
        let mut command = Command::new("prlimit");
        command.args(["--core=unlimited:unlimited", env!("CARGO_BIN_EXE_keyside")]);
        let done = finish(command.args(words), Duration::from_secs(10));
        let seen = std::fs::read_to_string(&limits)
            .unwrap_or_else(|_| panic!("{words:?}: the helper ran\n{}", done.output));
        let core = seen
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let bounds: Vec<_> = core.unwrap().split_whitespace().skip(4).take(2).collect();
        assert_eq!(bounds, ["0", "0"], "{words:?}");
        std::fs::remove_file(&limits).unwrap();
    }
}

#[test]
fn a_configuration_that_nobody_named_runs_no_program_that_another_user_could_choose() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream);
    program(
        setup.dir(),
        "helper",
        &format!("#!/bin/sh\necho {FROM_EXEC}\n"),
    );
    let file = setup.write_config();
    let plain = std::fs::read_to_string(&file).unwrap();
    let helper = format!("exec:{}", setup.dir().join("helper").display());
    let token = format!("file:{}", setup.dir().join("token").display());
    let with_program = plain.replace(&token, &helper);
    let open = "other users may write it";
    let replaceable = "another user may replace it, or a directory above it";
    for (folder_mode, mode, text, named, code, said) in [
        (0o755, 0o644, &plain, false, 0, ""),
        (0o755, 0o644, &with_program, false, 0, ""),
        (0o755, 0o666, &plain, false, 0, open),
        (0o755, 0o666, &with_program, false, 78, open),
        (0o755, 0o620, &with_program, false, 78, open),
        (0o777, 0o644, &plain, false, 0, replaceable),
        (0o777, 0o644, &with_program, false, 78, replaceable),
        (0o1777, 0o644, &with_program, false, 0, ""),
        // A person who names a file has chosen it, and is told.
        (0o777, 0o666, &with_program, true, 0, open),
        (0o755, 0o644, &with_program, true, 0, ""),
    ] {
        std::fs::write(&file, text).unwrap();
        let permissions = std::fs::Permissions::from_mode;
        std::fs::set_permissions(&file, permissions(mode)).unwrap();
        std::fs::set_permissions(setup.dir().path(), permissions(folder_mode)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command.arg("check").current_dir(setup.dir().path());
        if named {
            command.args(["--config", "proxy.toml"]);
        }
        let done = finish(&mut command, Duration::from_secs(10));
        let case = format!("{folder_mode:o} {mode:o} {named}: {}", done.output);
        assert_eq!(done.code, Some(code), "{case}");
        let is_said = [open, replaceable]
            .iter()
            .any(|said| done.output.contains(said));
        assert_eq!(is_said, !said.is_empty(), "{case}");
        assert!(done.output.contains(said), "{case}");
    }
}
