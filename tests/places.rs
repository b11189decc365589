//! Writing a secret to its place: only over the expected value, and with a true report.
//!
//! The environment names the addresses of managers, so each write happens in a separate process:
//! the test program, started again for the test [`a_process_that_writes_one_place`].

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyside::credential::source::{Managers, SecretPlace};
use keyside::secret::Secret;
use serde_json::json;
use zeroize::Zeroizing;

use crate::managers::tunnel_to;
use crate::support::authority::Authority;
use crate::support::base64;
use crate::support::keyside::Directory;
use crate::support::kubernetes::KubernetesSecretApi;
use crate::support::manager::{Bao, Moto, ROOT};
use crate::support::upstream::{After, Upstream, answer, json as json_answer};

type Environment = [(&'static str, String)];

/// Starts a process that writes `EAANEW` over `EAAOLD`, or only asks if that could be done.
fn start(action: &str, place: &str, new: &str, environment: &Environment) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("places::a_process_that_writes_one_place")
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .env("PLACE_ACTION", action)
        .env("PLACE", place)
        .env("PLACE_NEW", new)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits for the process, and returns the outcome as text.
fn outcome(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.split("OUTCOME ").nth(1));
    line.unwrap_or_else(|| panic!("no outcome: {text}"))
        .to_owned()
}

fn write(place: &str, environment: &Environment) -> String {
    outcome(start("write", place, "EAANEW", environment))
}

fn ask(place: &str, environment: &Environment) -> String {
    outcome(start("ask", place, "EAANEW", environment))
}

fn secret(text: &str) -> Secret {
    Secret::parse_text_or_pem(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
}

#[test]
#[ignore = "a process of other tests"]
fn a_process_that_writes_one_place() {
    let Ok(action) = std::env::var("PLACE_ACTION") else {
        return;
    };
    let place = SecretPlace::parse(&std::env::var("PLACE").unwrap()).unwrap();
    let new = std::env::var("PLACE_NEW").unwrap();
    let managers = Managers::default();
    let work = async {
        if action == "ask" {
            return match place.can_write(&managers).await {
                Ok(()) => "yes".to_owned(),
                Err(error) => format!("{error:?}: {error}"),
            };
        }
        match place
            .replace(&managers, Some(&secret("EAAOLD")), &secret(&new))
            .await
        {
            Ok(()) => match place.read(&managers).await.unwrap() {
                Some(read) if read.same_as(&secret(&new)) => "written".to_owned(),
                Some(_) => "written, and something else is there".to_owned(),
                None => "written unread".to_owned(),
            },
            Err(error) => format!("{error:?}: {error}"),
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(work);
    writeln!(std::io::stdout(), "OUTCOME {outcome}").unwrap();
}

#[test]
fn a_file_is_replaced_only_if_it_holds_the_expected_secret() {
    let dir = Directory::new();
    for (present, expected, left) in [
        ("EAAOLD\n", "written", "EAANEW"),
        ("EAANEW\n", "written", "EAANEW\n"),
        ("EAAOTHER", "Changed", "EAAOTHER"),
        ("", "NotWritten", ""),
    ] {
        let path = dir.write("token", present);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // The remains of a killed write are no obstacle.
        dir.write(".token.keyside", "half");
        let place = format!("file:{}", path.display());
        let outcome = write(&place, &[]);
        assert!(outcome.starts_with(expected), "{present:?}: {outcome}");
        assert_eq!(fs::read_to_string(&path).unwrap(), left);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    }
}

#[test]
fn of_six_writers_of_one_file_one_wins() {
    let dir = Directory::new();
    let path = dir.write("token", "EAAOLD");
    let link = dir.join("link");
    symlink(&path, &link).unwrap();
    let place = format!("file:{}", link.display());
    one_of_six_wins(&place, &[]);
    assert!(link.symlink_metadata().unwrap().is_symlink());
}

/// Runs six writers at once: one has written, and five know that the place was changed.
fn one_of_six_wins(place: &str, environment: &Environment) {
    let writers: Vec<_> = (0..6)
        .map(|number| start("write", place, &format!("EAANEW{number}"), environment))
        .collect();
    let outcomes: Vec<_> = writers.into_iter().map(outcome).collect();
    let count = |word: &str| outcomes.iter().filter(|one| one.starts_with(word)).count();
    assert_eq!(
        (count("written"), count("Changed")),
        (1, 5),
        "{outcomes:#?}"
    );
    assert!(outcomes.contains(&"written".to_owned()), "{outcomes:#?}");
}

#[test]
fn a_question_about_a_file_changes_nothing_and_finds_what_stands_in_the_way() {
    let dir = Directory::new();
    let path = dir.write("token", "EAAOLD");
    let place = format!("file:{}", path.display());
    assert_eq!(ask(&place, &[]), "yes");
    let entries: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(ask(&format!("{place}.new"), &[]), "yes");
    let absent = format!("file:{}/absent/token", dir.path().display());
    assert!(
        ask(&absent, &[]).contains("No such file"),
        "{}",
        ask(&absent, &[])
    );
    for (place, advice) in [
        ("file:/proc/self/status", "cannot be written"),
        (
            "env:TOKEN",
            "a variable of a running process keeps its value",
        ),
        ("systemd:token", "restart the unit"),
    ] {
        let answer = ask(place, &[]);
        assert!(answer.starts_with("NotWritten"), "{place}: {answer}");
        assert!(answer.contains(advice), "{place}: {answer}");
    }
}

#[test]
fn a_program_gets_the_new_secret_on_standard_input_and_its_complaint_shows_no_secret() {
    let dir = Directory::new();
    let taker = |script: &str| {
        let path = dir.write("take", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        format!("exec:{} {}", path.display(), dir.join("stored").display())
    };
    let place = taker("cat > \"$1\"; env | grep -c CANARY >> \"$1\"; true");
    let environment = [("PLACE_SECRET", "CANARY".to_owned())];
    assert_eq!(write(&place, &environment), "written unread");
    let stored = fs::read_to_string(dir.join("stored")).unwrap();
    assert_eq!(
        stored, "EAANEW0\n",
        "the value, and no variable of the sidecar"
    );
    let place = taker("echo \"no login for $(cat)\" >&2; exit 3");
    let outcome = write(&place, &[]);
    assert!(outcome.starts_with("Unknown"), "{outcome}");
    assert!(
        outcome.contains("exit status: 3: no login for [redacted]"),
        "{outcome}"
    );
    assert!(
        outcome.ends_with("may be in place nevertheless"),
        "{outcome}"
    );
    assert!(!outcome.contains("EAANEW"), "{outcome}");
    assert!(
        ask(&place, &[]).starts_with("Unknown(Unchecked"),
        "{}",
        ask(&place, &[])
    );
    let absent = "exec:/nonexistent/program";
    assert!(
        write(absent, &[]).starts_with("NotWritten"),
        "{}",
        write(absent, &[])
    );
    assert!(ask(absent, &[]).starts_with("NotWritten"));
}

#[test]
fn a_secret_of_the_cluster_is_patched_by_version_and_other_keys_stay() {
    let api = KubernetesSecretApi::start(&[("token", "EAAOLD"), ("other", "EAAX")]);
    let environment = api.environment();
    assert_eq!(ask("k8s:acme#token", &environment), "yes");
    // Changes of another key in between are no obstacle.
    api.conflict(2);
    assert_eq!(write("k8s:acme#token", &environment), "written");
    assert_eq!(api.stored("token"), base64(b"EAANEW"));
    assert_eq!(api.stored("other"), base64(b"EAAOTHER"));
    api.put("token", "EAATHIRD");
    let outcome = write("k8s:shop/acme#token", &environment);
    assert!(outcome.starts_with("Changed"), "{outcome}");
    assert_eq!(api.stored("token"), base64(b"EAATHIRD"));
    let patches = api
        .requests()
        .into_iter()
        .filter(|one| one.method() == "PATCH");
    for patch in patches {
        assert!(
            patch.target().ends_with("?fieldManager=keyside"),
            "{}",
            patch.line()
        );
        let body = String::from_utf8_lossy(&patch.body).into_owned();
        assert!(!body.contains("other"), "only one key is written: {body}");
    }
}

#[test]
fn of_six_writers_of_one_secret_of_the_cluster_one_wins() {
    let api = KubernetesSecretApi::start(&[("token", "EAAOLD")]);
    one_of_six_wins("k8s:shop/acme#token", &api.environment());
}

#[test]
fn a_cluster_that_does_not_allow_the_write_is_asked_before_and_named_after() {
    let api = KubernetesSecretApi::start(&[("token", "EAAOLD")]);
    let environment = api.environment();
    api.allow(&["get"]);
    for answer in [
        ask("k8s:acme#token", &environment),
        write("k8s:acme#token", &environment),
    ] {
        assert!(answer.starts_with("NotWritten"), "{answer}");
        assert!(
            answer.contains("resourceNames: [\"acme\"], verbs: [\"patch\"]"),
            "{answer}"
        );
    }
    api.allow(&["get", "patch"]);
    api.make_immutable();
    let outcome = write("k8s:acme#token", &environment);
    assert!(outcome.contains("field is immutable"), "{outcome}");
    assert_eq!(api.stored("token"), base64(b"EAAOLD"));
}

#[test]
fn a_lost_answer_of_the_cluster_is_an_unknown_outcome() {
    let api = KubernetesSecretApi::start(&[("token", "EAAOLD")]);
    api.fail_after_writes(1);
    let outcome = write("k8s:acme#token", &api.environment());
    assert!(outcome.starts_with("Unknown"), "{outcome}");
    assert_eq!(api.stored("token"), base64(b"EAANEW"));
    // The same write once more finds the new value in place.
    assert_eq!(write("k8s:acme#token", &api.environment()), "written");
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn vault_is_written_by_version_and_asked_for_capabilities_before() {
    let bao = Bao::start();
    let place = "vault:secret/apps/acme#token";
    let environment = bao.environment(ROOT);
    let put = |token: &str| bao.put("apps/acme", &json!({ "token": token, "app_secret": "abc" }));
    put("EAAOLD");
    assert_eq!(ask(place, &environment), "yes");
    assert_eq!(write(place, &environment), "written");
    let stored = || bao.must("GET", "secret/data/apps/acme", &json!({}))["data"]["data"].clone();
    assert_eq!(stored(), json!({ "token": "EAANEW", "app_secret": "abc" }));
    put("EAAOTHER");
    let outcome = write(place, &environment);
    assert!(outcome.starts_with("Changed"), "{outcome}");
    assert_eq!(stored()["token"], "EAAOTHER");
    put("EAAOLD");
    // The least policy reads, and has no right to ask for capabilities.
    let reader = bao.environment(&bao.token(json!({})));
    let outcome = write(place, &reader);
    assert!(outcome.starts_with("NotWritten"), "{outcome}");
    assert!(outcome.contains("denies permission"), "{outcome}");
    let answer = ask(place, &reader);
    assert!(answer.starts_with("Unknown(Unchecked"), "{answer}");
    let asker = bao.environment(&bao.token(json!({ "no_default_policy": false })));
    let answer = ask(place, &asker);
    assert!(answer.starts_with("NotWritten"), "{answer}");
    assert!(
        answer.contains("path \"secret/data/apps/acme\" { capabilities = [\"read\", \"update\"] }"),
        "{answer}"
    );
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn of_six_writers_of_one_path_in_vault_one_wins() {
    let bao = Bao::start();
    bao.put(
        "apps/acme",
        &json!({ "token": "EAAOLD", "app_secret": "abc" }),
    );
    one_of_six_wins("vault:secret/apps/acme#token", &bao.environment(ROOT));
    let stored = bao.must("GET", "secret/data/apps/acme", &json!({}));
    assert_eq!(stored["data"]["metadata"]["version"], 2, "{stored}");
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn vault_version_1_is_compared_and_written() {
    let bao = Bao::start();
    bao.must("POST", "old/acme", &json!({ "token": "EAAOLD", "n": "1" }));
    let environment = bao.environment(ROOT);
    assert_eq!(write("vault:old/acme#token", &environment), "written");
    let stored = bao.must("GET", "old/acme", &json!({}));
    assert_eq!(stored["data"], json!({ "token": "EAANEW", "n": "1" }));
    assert!(write("vault:old/acme#n", &environment).starts_with("Changed"));
}

#[test]
#[ignore = "needs moto: tests/run servers"]
fn aws_moves_the_current_label_only_from_the_version_that_was_compared() {
    let moto = Moto::start();
    let environment = moto.environment();
    let text = r#"{"app_secret":"abc","token":"EAAOLD"}"#;
    moto.ask(
        "CreateSecret",
        &json!({ "Name": "acme", "SecretString": text }),
    );
    assert!(ask("aws-sm:acme#token", &environment).contains("secretsmanager:PutSecretValue"));
    assert_eq!(write("aws-sm:acme#token", &environment), "written");
    let current = json!({ "SecretId": "acme", "VersionStage": "AWSCURRENT" });
    let stored = moto.ask("GetSecretValue", &current);
    let stored: serde_json::Value =
        serde_json::from_str(stored["SecretString"].as_str().unwrap()).unwrap();
    assert_eq!(stored, json!({ "app_secret": "abc", "token": "EAANEW" }));
    let outcome = write("aws-sm:acme#app_secret", &environment);
    assert!(outcome.starts_with("Changed"), "{outcome}");
    let binary = base64(b"EAAOLD");
    moto.ask(
        "CreateSecret",
        &json!({ "Name": "whole", "SecretBinary": binary }),
    );
    one_of_six_wins("aws-sm:whole", &environment);
    let current = json!({ "SecretId": "whole", "VersionStage": "AWSCURRENT" });
    let stored = moto.ask("GetSecretValue", &current);
    assert!(
        stored["SecretBinary"].is_string(),
        "binary stays binary: {stored}"
    );
    let described = moto.ask("DescribeSecret", &json!({ "SecretId": "whole" }));
    assert!(
        !described.to_string().contains("KEYSIDEPENDING"),
        "{described}"
    );
    let outcome = write("aws-sm:absent", &environment);
    assert!(outcome.starts_with("NotWritten"), "{outcome}");
}

/// The test's own server speaks the documented REST of Secret Manager and of a machine's metadata.
#[test]
#[cfg_attr(not(feature = "gcp"), ignore = "needs the feature gcp")]
fn google_gets_a_new_version_only_over_the_expected_one() {
    let versions = std::sync::Mutex::new(vec![base64(b"EAAOLD")]);
    let google = Upstream::plain(move |request, wire| {
        let mut versions = versions.lock().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let target = request.target();
        let (status, body) = match target.split('?').next().unwrap() {
            "/computeMetadata/v1/instance/service-accounts/default/token" => (
                "200 OK",
                json!({ "access_token": "ya29.CANARY", "expires_in": 3600, "token_type": "Bearer" }),
            ),
            "/v1/projects/acme/secrets/token/versions/latest:access" => (
                "200 OK",
                json!({ "name": format!("projects/1/secrets/token/versions/{}", versions.len()),
                    "payload": { "data": versions.last() } }),
            ),
            "/v1/projects/acme/secrets/token:addVersion" => {
                versions.push(body["payload"]["data"].as_str().unwrap().to_owned());
                let name = format!("projects/1/secrets/token/versions/{}", versions.len());
                ("200 OK", json!({ "name": name }))
            }
            "/v1/projects/acme/secrets/token:testIamPermissions" => {
                assert_eq!(body["permissions"], json!(["secretmanager.versions.add"]));
                ("200 OK", json!({ "permissions": body["permissions"] }))
            }
            _ => ("404 Not Found", json!({})),
        };
        let kind = [
            ("Content-Type", "application/json"),
            ("Metadata-Flavor", "Google"),
        ];
        wire.write(&answer(status, &kind, body.to_string().as_bytes()));
        After::Keep
    });
    let environment = [
        ("GCE_METADATA_HOST", google.authority()),
        (
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER",
            format!("http://{}", google.authority()),
        ),
    ];
    let place = "gcp-sm:projects/acme/secrets/token";
    assert_eq!(ask(place, &environment), "yes");
    assert_eq!(write(place, &environment), "written");
    let other = outcome(start("write", place, "EAAOTHER", &environment));
    assert!(other.starts_with("Changed"), "{other}");
    let fixed = format!("{place}/versions/1");
    assert!(ask(&fixed, &environment).contains("a version keeps its value"));
}

/// The test's own server speaks the documented REST of Key Vault and of App Service's identities.
#[test]
#[cfg_attr(not(feature = "azure"), ignore = "needs the feature azure")]
fn an_azure_key_vault_is_set_only_over_the_expected_value() {
    let stored = std::sync::Mutex::new(
        json!({ "value": "EAAOLD", "contentType": "text/plain", "tags": { "a": "b" } }),
    );
    let azure = Upstream::answering(move |request| {
        let target = request.target();
        let path = target.split('?').next().unwrap().trim_end_matches('/');
        if path == "/identity" {
            return json_answer(
                r#"{"access_token":"CANARYentra","expires_on":"4102444800","resource":"x","token_type":"Bearer"}"#,
            );
        }
        assert_eq!(path, "/secrets/wa-token", "{target}");
        if request.header("authorization").is_none() {
            let challenge = "Bearer authorization=\"https://login.microsoftonline.com/t\", resource=\"https://test\"";
            return answer(
                "401 Unauthorized",
                &[("WWW-Authenticate", challenge)],
                b"{}",
            );
        }
        let mut stored = stored.lock().unwrap();
        if request.method() == "PUT" {
            *stored = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(stored["contentType"], "text/plain", "{stored}");
            assert_eq!(stored["tags"], json!({ "a": "b" }), "{stored}");
        }
        let mut secret = stored.clone();
        secret["id"] = json!("https://127.0.0.1/secrets/wa-token/1");
        secret["attributes"] =
            json!({ "enabled": true, "created": 1_700_000_000, "updated": 1_700_000_000 });
        json_answer(&secret.to_string())
    });
    let dir = Directory::new();
    let authority = dir.write("ca.pem", Authority::trusted().pem());
    let environment = [
        ("SSL_CERT_FILE", authority.display().to_string()),
        (
            "HTTPS_PROXY",
            format!("http://127.0.0.1:{}", tunnel_to(azure.port())),
        ),
        ("IDENTITY_ENDPOINT", format!("{}/identity", azure.url())),
        ("IDENTITY_HEADER", "CANARYheader".to_owned()),
    ];
    let place = "azure-kv:graph.test/wa-token";
    let answer = ask(place, &environment);
    assert!(answer.contains("Key Vault Secrets Officer"), "{answer}");
    assert_eq!(write(place, &environment), "written");
    let other = outcome(start("write", place, "EAAOTHER", &environment));
    assert!(other.starts_with("Changed"), "{other}");
}

#[test]
fn a_wait_for_another_writer_of_a_folder_ends() {
    let dir = Directory::new();
    let path = dir.write("token", "EAAOLD");
    let folder = fs::File::open(dir.path()).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let began = Instant::now();
    let outcome = write(&format!("file:{}", path.display()), &[]);
    assert!(outcome.starts_with("NotWritten(Busy)"), "{outcome}");
    assert!(began.elapsed() > Duration::from_secs(1));
    assert_eq!(fs::read_to_string(&path).unwrap(), "EAAOLD");
}
