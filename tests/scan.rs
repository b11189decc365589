//! `keyside scan`: finds, formats, what is left out, and no value in any output.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::keyside::{Directory, Finished, finish};
use crate::support::{base64, stretched};

const TOKEN: &str = "EAAGm0PX4ZCpsBAKzZBhZAQ6d1vT5yLkW8nRx3JfC0uD7eHoM2sI9bN4";
/// `printf keyside:TOKEN | sha256sum`, the first 12 digits.
const FINGERPRINT: &str = "53363f29dee5";
const APP_SECRET: &str = "9b1f0c7de8a3427f6655d10ab3c4e92f";
/// Parts of the values, which no output may have.
const CANARIES: [&str; 4] = ["Gm0PX4", "T5yLkW8n", "9b1f0c7d", "RUFBR20w"];

fn scan(dir: &Directory, arguments: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.current_dir(dir.path()).arg("scan").args(arguments);
    finished(&mut command)
}

fn finished(command: &mut Command) -> Finished {
    let done = finish(command, Duration::from_secs(20));
    for canary in CANARIES {
        assert!(!done.output.contains(canary), "{}", done.output);
    }
    done
}

/// The lines of finds.
fn finds(done: &Finished) -> Vec<&str> {
    let is_find = |line: &&str| line.contains(": meta.") || line.contains(": credential");
    done.output.lines().filter(is_find).collect()
}

#[test]
fn a_credential_is_found_with_file_and_line_and_without_its_value() {
    let dir = Directory::new();
    std::fs::create_dir(dir.join("app")).unwrap();
    dir.write("app/.env", format!("# acme\nWHATSAPP_TOKEN={TOKEN}\n"));
    dir.write("app/settings.py", format!("APP_SECRET = '{APP_SECRET}'\n"));
    dir.write(
        "app/secret.yaml",
        format!("data:\n  token: {}\n", base64(TOKEN.as_bytes())),
    );
    dir.write(
        "app/clean.txt",
        "EAA is how a token begins. app_secret=...\n",
    );
    let done = scan(&dir, &["."]);
    assert_eq!(done.code, Some(1), "{}", done.output);
    let found = finds(&done);
    assert_eq!(found.len(), 3, "{}", done.output);
    assert_eq!(found[0], format!("./app/.env:2: meta.token {FINGERPRINT}"));
    assert_eq!(
        found[1],
        format!("./app/secret.yaml:2: meta.token/base64 {FINGERPRINT}")
    );
    assert!(found[2].starts_with("./app/settings.py:1: meta.app_secret "));
}

#[test]
fn nothing_found_is_0_and_wrong_usage_is_2_and_repeats_no_argument() {
    let dir = Directory::new();
    dir.write("a.txt", "nothing");
    let done = scan(&dir, &["a.txt"]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(done.output.contains("0 finds in 1 file"), "{}", done.output);
    for arguments in [&[TOKEN][..], &[], &["a.txt", "--format", TOKEN]] {
        let done = scan(&dir, arguments);
        assert_eq!(done.code, Some(2), "{}", done.output);
    }
    let done = scan(&dir, &["a.txt", "--config", "none.toml"]);
    assert_eq!(done.code, Some(78), "{}", done.output);
}

#[test]
fn standard_input_is_scanned_and_a_credential_at_a_seam_of_pieces_is_found() {
    let dir = Directory::new();
    // Pieces have some 300 KiB: one of the many places falls on a seam.
    for before in (0..600_000).step_by(29_989) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        let mut child = command
            .current_dir(dir.path())
            .args(["scan", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let text = format!(
            "{}\n{TOKEN}\n{}",
            "x\n".repeat(before / 2),
            "y".repeat(400_000)
        );
        input.write_all(text.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        let line = before / 2 + 2;
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("-:{line}: meta.token {FINGERPRINT}\n")
        );
        assert_eq!(output.status.code(), Some(1));
    }
}

/// Whoever may put a file into a folder must not hold up the scan of the rest.
#[test]
fn a_file_full_of_begins_of_keys_is_scanned_in_time() {
    let label = base64(b"-----BEGIN PRIVATE KEY-----");
    for begin in ["LS0tLS1CRUdJ", &label, &format!("{label}A")] {
        let dir = Directory::new();
        dir.write("begins", begin.repeat(2 * 1024 * 1024 / begin.len()));
        let begun = Instant::now();
        let done = scan(&dir, &["."]);
        let took = begun.elapsed();
        assert_eq!(done.code, Some(0), "{begin}: {}", done.output);
        assert!(
            took < stretched(Duration::from_secs(10)),
            "{begin}: {took:?}"
        );
    }
}

#[test]
fn a_named_pipe_is_read_as_a_stream_and_a_pipe_inside_of_a_folder_is_not() {
    let dir = Directory::new();
    dir.write("text", format!("token={TOKEN}\n"));
    let run = |script: &str| {
        let mut command = Command::new("bash");
        command
            .current_dir(dir.path())
            .env("KEYSIDE", env!("CARGO_BIN_EXE_keyside"))
            .args(["-c", script]);
        finished(&mut command)
    };
    for script in [
        "cat text | \"$KEYSIDE\" scan /dev/stdin",
        "\"$KEYSIDE\" scan <(cat text)",
        "mkfifo pipe && { cat text > pipe & } && \"$KEYSIDE\" scan pipe",
    ] {
        let done = run(script);
        assert_eq!(done.code, Some(1), "{script}: {}", done.output);
        assert_eq!(finds(&done).len(), 1, "{script}: {}", done.output);
        assert!(done.output.contains("in 1 file"), "{}", done.output);
    }
    // A pipe that nobody writes to would hold up the scan of a folder.
    let done = scan(&dir, &["."]);
    assert_eq!(finds(&done).len(), 1, "{}", done.output);
}

#[test]
fn the_secrets_of_the_configuration_are_found_in_every_spelling() {
    let dir = Directory::new();
    let password = "s3cr/t+with%signs=and&more";
    dir.write("verify", password);
    dir.write("token", "short-token-1");
    dir.write(
        "proxy.toml",
        format!(
            "[credential.acme]\nprovider = \"meta\"\ntoken = \"file:{0}/token\"\nverify_token = \"file:{0}/verify\"\n\
             [[route]]\ncredential = \"acme\"\n",
            dir.path().display()
        ),
    );
    let codes = |code: fn(u8) -> String| password.bytes().map(code).collect::<String>();
    let spellings = [
        codes(|byte| format!("%{byte:02x}")),
        codes(|byte| format!("%{byte:02X}")),
        codes(|byte| format!("\\u{byte:04x}")),
        codes(|byte| format!("{byte:02X}")),
        password.to_owned(),
        "s3cr%2Ft%2Bwith%25signs%3Dand%26more".to_owned(),
        "s3cr\\/t+with%signs\\u003dand\\u0026more".to_owned(),
        base64(password.as_bytes()),
        base64(format!("a{password}").as_bytes()),
        base64(format!("ab{password}z").as_bytes()),
    ];
    let text: String = spellings.iter().map(|s| format!("x={s}\n")).collect();
    dir.write("log.txt", text);
    let done = scan(&dir, &[".", "--config", "proxy.toml"]);
    assert_eq!(done.code, Some(1), "{}", done.output);
    let found = finds(&done);
    assert_eq!(found.len(), spellings.len(), "{}", done.output);
    for (index, line) in found.iter().enumerate() {
        let begin = format!("./log.txt:{}: credential.acme.verify_token", index + 1);
        assert!(line.starts_with(&begin), "{line}");
        // A value that a person may have chosen has a keyed fingerprint.
        assert!(line.contains(" keyed:"), "{line}");
    }
    for part in ["s3cr", "signs", &base64(password.as_bytes())[..12]] {
        assert!(!done.output.contains(part), "{}", done.output);
    }
    assert!(
        done.output
            .contains("2 files left out, where the configuration has its secrets"),
        "{}",
        done.output
    );
}

#[test]
fn a_secret_with_spaces_is_found_in_a_form() {
    let dir = Directory::new();
    dir.write("token", "short-token-1");
    for (password, form) in [
        ("correct horse battery", "correct+horse+battery"),
        ("to be or not to be it", "to+be+or+not+to+be+it"),
        ("go, cat & dog go", "go%2C+cat+%26+dog+go"),
        ("go, cat & dog go", "go%2c+cat+%26+dog+go"),
        ("go, cat! dog go", "go,+cat!+dog+go"),
    ] {
        dir.write("verify", password);
        dir.write(
            "proxy.toml",
            format!(
                "[credential.acme]\nprovider = \"meta\"\ntoken = \"file:{0}/token\"\nverify_token = \"file:{0}/verify\"\n\
                 [[route]]\ncredential = \"acme\"\n",
                dir.path().display()
            ),
        );
        dir.write(
            "log.txt",
            format!("{password}\nhub.verify_token={form}&a=b+c\n"),
        );
        let done = scan(&dir, &["log.txt", "--config", "proxy.toml"]);
        let found = finds(&done);
        assert_eq!(found.len(), 2, "{password}: {}", done.output);
        assert!(
            found[1].contains("log.txt:2: credential.acme.verify_token/escaped"),
            "{found:?}"
        );
        assert!(!done.output.contains(form), "{}", done.output);
    }
}

#[test]
fn a_file_that_is_named_twice_is_scanned_once() {
    let dir = Directory::new();
    dir.write("sub/deep/log.txt", TOKEN);
    dir.write("sub/other.txt", TOKEN);
    dir.write("sub/.keysideignore", "ignored.txt\n");
    dir.write("sub/ignored.txt", TOKEN);
    symlink("deep/log.txt", dir.join("sub/link")).unwrap();
    for (arguments, expected) in [
        (&["sub"][..], 2),
        (&["sub", "sub"], 2),
        (&["sub", "./sub/"], 2),
        (&["sub", "sub/deep/log.txt"], 2),
        (&["sub/deep/log.txt", "sub", "sub/deep"], 2),
        (&["sub/deep", "."], 2),
        (&["sub/link", "sub/deep/log.txt"], 1),
        // A file that the user names is scanned, whatever an ignore file says.
        (&["sub", "sub/ignored.txt"], 3),
    ] {
        let done = scan(&dir, arguments);
        assert_eq!(
            finds(&done).len(),
            expected,
            "{arguments:?}: {}",
            done.output
        );
    }
}

#[test]
fn the_secrets_of_the_sidecar_itself_are_found_as_those_of_credentials() {
    let dir = Directory::new();
    let (key, sign) = (base64(&[7; 32]), base64(&[8; 32]));
    dir.write("token", TOKEN);
    dir.write("key", &key);
    dir.write("sign", format!("whsec_{sign}"));
    let login = |password: &str| format!("user:{password}@127.0.0.1:1");
    let urls = [
        ("redis", "redis", "passwordOfRedis"),
        ("proxy", "http", "passwordOfProxy"),
        ("stream", "redis", "pass%2FwordOfStream"),
    ];
    for (name, scheme, password) in urls {
        dir.write(name, format!("{scheme}://{}", login(password)));
    }
    let config = "\
[credential.acme]
provider = \"meta\"
token = \"file:@DIR@/token\"
verify_token = \"file:@DIR@/token\"
app_secret = \"file:@DIR@/app\"
[[route]]
credential = \"acme\"
[limits]
redis = \"file:@DIR@/redis\"
[egress]
proxy = \"file:@DIR@/proxy\"
[state]
dir = \"@DIR@/state\"
key = \"file:@DIR@/key\"
[spool]
dir = \"@DIR@/spool\"
[[webhook]]
path = \"/hook\"
credential = \"acme\"
sign = \"file:@DIR@/sign\"
[[webhook.to]]
name = \"crm\"
publish = \"redis-stream:events\"
server = \"file:@DIR@/stream\"
";
    dir.write("app", APP_SECRET);
    let config = config.replace("@DIR@", &dir.path().display().to_string());
    dir.write("proxy.toml", config);
    let lines = [
        ("limits.redis", "passwordOfRedis"),
        ("egress.proxy", "passwordOfProxy"),
        ("webhook.acme.to.crm.server", "pass/wordOfStream"),
        ("webhook.acme.to.crm.server", "pass%2FwordOfStream"),
        ("state.key", &key),
        ("webhook.acme.sign", &sign),
    ];
    let text: String = lines.iter().map(|(_, it)| format!("x={it}\n")).collect();
    dir.write("log.txt", text);
    let done = scan(&dir, &[".", "--config", "proxy.toml"]);
    assert_eq!(done.code, Some(1), "{}", done.output);
    for (number, (kind, value)) in (1..).zip(lines) {
        let line = format!("./log.txt:{number}: {kind}");
        assert!(done.output.contains(&line), "{line}: {}", done.output);
        assert!(!done.output.contains(value), "{kind}: {}", done.output);
    }
    let left_out = "7 files left out, where the configuration has its secrets";
    assert!(done.output.contains(left_out), "{}", done.output);
    std::fs::remove_file(dir.join("key")).unwrap();
    let done = scan(&dir, &["log.txt", "--config", "proxy.toml"]);
    assert_eq!(done.code, Some(78), "{}", done.output);
    assert!(done.output.contains("state.key: "), "{}", done.output);
}

#[test]
fn the_password_of_a_proxy_in_the_environment_is_found_as_that_of_the_configuration() {
    let dir = Directory::new();
    dir.write("token", TOKEN);
    let config = "[credential.acme]\nprovider = \"meta\"\ntoken = \"file:@DIR@/token\"\n[[route]]\ncredential = \"acme\"\n";
    let config = config.replace("@DIR@", &dir.path().display().to_string());
    dir.write("proxy.toml", config);
    dir.write("log.txt", "x=passwordOfProxy\n");
    for (url, code, find) in [
        (
            "http://user:passwordOfProxy@127.0.0.1:1",
            1,
            "log.txt:1: HTTPS_PROXY",
        ),
        ("http://127.0.0.1:1", 0, ""),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command
            .current_dir(dir.path())
            .env("HTTPS_PROXY", url)
            .args(["scan", "log.txt", "--config", "proxy.toml"]);
        let done = finished(&mut command);
        assert_eq!(done.code, Some(code), "{url}: {}", done.output);
        assert!(done.output.contains(find), "{}", done.output);
        assert!(!done.output.contains("passwordOfProxy"), "{}", done.output);
    }
}

#[test]
fn json_and_sarif_have_the_finds_in_their_forms_and_no_value() {
    let dir = Directory::new();
    dir.write("a b.env", format!("\nT={TOKEN}\nAPP_SECRET={APP_SECRET}\n"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .current_dir(dir.path())
        .args(["scan", "--format", "json", "."])
        .stderr(Stdio::null());
    let output = command.output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["finds"][0]["file"], "./a b.env");
    assert_eq!(json["finds"][0]["line"], 2);
    assert_eq!(json["finds"][0]["kind"], "meta.token");
    assert_eq!(json["finds"][0]["fingerprint"], FINGERPRINT);

    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .current_dir(dir.path())
        .args(["scan", "--format", "sarif", "."])
        .stderr(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    for canary in CANARIES {
        assert!(!text.contains(canary), "{text}");
    }
    check_sarif(&serde_json::from_str(&text).unwrap());
}

/// Checks what the schema of SARIF 2.1.0 requires, and what code hosts require besides.
fn check_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().contains("sarif-2.1.0"));
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "keyside");
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        assert!(rule["id"].is_string() && rule["shortDescription"]["text"].is_string());
        assert_eq!(rule["defaultConfiguration"]["level"], "error");
    }
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for (result, line) in results.iter().zip(2..) {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(result["ruleId"], rules[index]["id"]);
        assert!(result["message"]["text"].is_string());
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.env");
        assert_eq!(place["region"]["startLine"], line);
        let prints = result["partialFingerprints"].as_object().unwrap();
        assert!(prints.values().all(Value::is_string));
    }
}

#[test]
fn files_of_an_ignore_file_and_accepted_fingerprints_are_left_out() {
    let dir = Directory::new();
    for folder in [".git", "vendor", "src"] {
        std::fs::create_dir(dir.join(folder)).unwrap();
        dir.write(&format!("{folder}/token.txt"), TOKEN);
    }
    dir.write(".gitignore", "local.txt\n");
    dir.write("local.txt", TOKEN);
    dir.write(".keysideignore", "vendor/\n");
    let found = |arguments: &[&str]| {
        let done = scan(&dir, arguments);
        let files = finds(&done).into_iter().map(|line| line.split(':').next());
        files
            .map(|file| file.unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&["."]), ["./src/token.txt"]);
    assert_eq!(
        found(&[".", "--no-ignore"]),
        ["./local.txt", "./src/token.txt"]
    );
    // A file that the command line names is scanned whatever the lines say.
    assert_eq!(found(&["local.txt"]), ["local.txt"]);
    dir.write(".keysideignore", format!("fingerprint:{FINGERPRINT}\n"));
    let done = scan(&dir, &["src"]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(
        done.output.contains("1 accepted by fingerprint"),
        "{}",
        done.output
    );
    dir.write(".keysideignore", format!("fingerprint:{TOKEN}\n"));
    let done = scan(&dir, &["src"]);
    assert_eq!(done.code, Some(1), "{}", done.output);
    assert!(done.output.contains("not a fingerprint"), "{}", done.output);
}

#[test]
fn binary_files_and_utf_16_are_scanned_and_links_are_not_followed() {
    let dir = Directory::new();
    let text = format!("a\r\ntoken={TOKEN}\r\n");
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    dir.write("wide.txt", [&[0xff, 0xfe], &wide[..]].concat());
    dir.write(
        "program",
        [&[0, 1, 0x7f, 0xff], TOKEN.as_bytes(), &[0, 0]].concat(),
    );
    let outside = Directory::new();
    outside.write("token", TOKEN);
    symlink(outside.path(), dir.join("link")).unwrap();
    symlink(outside.join("token"), dir.join("link.txt")).unwrap();
    symlink(dir.join("none"), dir.join("broken")).unwrap();
    let done = scan(&dir, &["."]);
    assert_eq!(
        finds(&done),
        [
            format!("./program:1: meta.token {FINGERPRINT}"),
            format!("./wide.txt:2: meta.token {FINGERPRINT}"),
        ]
    );
    // A link on the command line is meant.
    for named in ["link", "link.txt"] {
        assert_eq!(finds(&scan(&dir, &[named])).len(), 1, "{named}");
    }
}

#[test]
fn of_an_archive_the_names_of_the_members_are_looked_at() {
    let dir = Directory::new();
    std::fs::create_dir(dir.join("in")).unwrap();
    for name in [".env", ".env.example", "api_key", "notes.txt", TOKEN] {
        dir.write(&format!("in/{name}"), TOKEN);
    }
    let long = "d".repeat(120);
    std::fs::create_dir(dir.join("in").join(&long)).unwrap();
    dir.write(&format!("in/{long}/.env"), "x");
    let pack = |program: &str, arguments: &[&str]| {
        let status = Command::new(program)
            .args(arguments)
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{program}");
    };
    pack("tar", &["-cf", "a.tar", "in"]);
    pack("tar", &["--format=posix", "-czf", "a.tgz", "in"]);
    let script = "import shutil; shutil.make_archive('a', 'zip', '.', 'in')";
    pack("python3", &["-c", script]);
    for archive in ["a.tar", "a.tgz", "a.zip"] {
        let done = scan(&dir, &[archive]);
        assert_eq!(done.code, Some(1), "{}", done.output);
        let expected = [
            "in/.env:1: credential-file -".to_owned(),
            format!("in/[redacted]:1: meta.token {FINGERPRINT}"),
            "in/api_key:1: credential-file -".to_owned(),
            format!("in/{long}/.env:1: credential-file -"),
        ];
        let lines = expected.map(|line| format!("{archive}!/{line}"));
        assert_eq!(finds(&done), lines, "{}", done.output);
        assert!(
            done.output.contains("of 1 archive only the names"),
            "{}",
            done.output
        );
    }
    dir.write("cut.zip", b"PK\x03\x04cut");
    let done = scan(&dir, &["cut.zip"]);
    assert_eq!(done.code, Some(1), "{}", done.output);
    assert!(
        done.output.contains("not scanned: cut.zip: "),
        "{}",
        done.output
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_and_fails_the_scan() {
    let dir = Directory::new();
    let closed = dir.write(&format!("{TOKEN}.txt"), "x");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // root reads every file: the test becomes a user without rights.
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--",
        ])
        .arg(env!("CARGO_BIN_EXE_keyside"))
        .args(["scan", "."])
        .current_dir(dir.path());
    let done = finished(&mut command);
    assert_eq!(done.code, Some(1), "{}", done.output);
    assert!(
        done.output
            .contains("not scanned: ./[redacted].txt: Permission denied"),
        "{}",
        done.output
    );
}

#[test]
fn the_form_of_a_provider_of_the_configuration_is_found_with_it() {
    let dir = Directory::new();
    dir.write("token", "short-token-1");
    let config = format!(
        "[provider.own]\nextends = \"meta\"\n[provider.own.secrets.other]\n\
         text = {{ begins = \"own-\", letters = \"url\", min = 24, max = 40 }}\n\
         [credential.acme]\nprovider = \"own\"\ntoken = \"file:{}/token\"\n[[route]]\ncredential = \"acme\"\n",
        dir.path().display()
    );
    dir.write("proxy.toml", config);
    dir.write("log.txt", "key=own-4fGk29xQz7LmP0aRt3Ws\n");
    let done = scan(&dir, &["log.txt", "--config", "proxy.toml"]);
    assert_eq!(done.code, Some(1), "{}", done.output);
    assert!(
        done.output.contains("log.txt:1: own.other "),
        "{}",
        done.output
    );
    assert_eq!(scan(&dir, &["log.txt"]).code, Some(0));
}
