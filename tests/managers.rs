//! Secrets in secret managers: OpenBao, moto's AWS, and imitations of Google's and Azure's servers.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::get;
use crate::support::keyside::{Keyside, Setup};
use crate::support::load::under_load;
use crate::support::manager::{Bao, Moto, ROOT};
use crate::support::upstream::{After, Upstream, answer, json as json_answer};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, base64, eventually, stretched};

const FROM_VAULT: &str =
    "token = \"vault:secret/apps/acme#token\"\napp_secret = \"vault:secret/apps/acme#app_secret\"";

/// Returns the token of the last request.
fn token_sent(keyside: &Keyside, upstream: &Upstream) -> String {
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        200,
        "{}",
        keyside.log()
    );
    upstream
        .last()
        .header("authorization")
        .unwrap_or_default()
        .replace("Bearer ", "")
}

fn sends(keyside: &Keyside, upstream: &Upstream, token: &str, within: Duration) -> bool {
    eventually(within, || token_sent(keyside, upstream) == token)
}

fn status_of(keyside: &Keyside, credential: &str) -> Value {
    let status = keyside.status();
    let all = status["credentials"].as_array().unwrap();
    all.iter()
        .find(|one| one["name"] == credential)
        .unwrap()
        .clone()
}

/// Writes a token beside the app secret, where [`FROM_VAULT`] reads both.
fn put_token(bao: &Bao, token: &str) {
    let secrets = json!({ "token": token, "app_secret": APP_SECRET });
    bao.put("apps/acme", &secrets);
}

fn refreshing(upstream: &Upstream, every: &str) -> Setup {
    Setup::new(upstream).refresh(every)
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn vault_is_read_in_both_kv_versions_with_the_age_of_the_secret() {
    let bao = Bao::start();
    bao.put(
        "apps/acme",
        &json!({ "token": TOKEN, "app_secret": APP_SECRET }),
    );
    bao.must(
        "POST",
        "old/deep/path/acme",
        &json!({ "token": "EAAVERSIONONE" }),
    );
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .envs(&bao.environment(ROOT))
        .credential(FROM_VAULT)
        .more(
            "[credential.old]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"vault:old/deep/path/acme#token\"\n\
             [[route]]\ncredential = \"old\"\npath = \"/old\"",
        )
        .start();
    assert_eq!(token_sent(&keyside, &upstream), TOKEN);
    assert!(upstream.last().target().contains("appsecret_proof="));
    assert_eq!(keyside.post(&format!("/old{MESSAGES}"), "{}").status, 200);
    assert_eq!(
        upstream.last().header("authorization").unwrap(),
        "Bearer EAAVERSIONONE"
    );
    let (new, old) = (status_of(&keyside, "acme"), status_of(&keyside, "old"));
    for (status, since) in [
        (&new["secrets"][1], "source"),
        (&old["secrets"][0], "first sight"),
    ] {
        assert_eq!(
            (&status["name"], &status["since_from"]),
            (&json!("token"), &json!(since))
        );
        assert!(status["confirmed"].as_u64().is_some(), "{status}");
    }
    assert!(
        !format!("{}{}", keyside.log(), keyside.status()).contains("CANARY"),
        "Vault's own token is a secret too"
    );
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_change_of_another_field_makes_no_secret_younger() {
    let bao = Bao::start();
    let put = |app_secret: &str| {
        bao.put(
            "apps/acme",
            &json!({ "token": TOKEN, "app_secret": app_secret }),
        );
    };
    put(APP_SECRET);
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .envs(&bao.environment(ROOT))
        .credential(FROM_VAULT)
        .start();
    let secrets = || status_of(&keyside, "acme")["secrets"].clone();
    let before = secrets();
    thread::sleep(Duration::from_secs(2));
    put("abcdefabcdefabcdefabcdefabcdefab");
    assert_eq!(keyside.reload().status, 200);
    let after = secrets();
    assert_eq!(after[0]["since_from"], "change", "{after}");
    assert_eq!(
        (
            &after[1]["name"],
            &after[1]["since_from"],
            &after[1]["since"]
        ),
        (&json!("token"), &json!("source"), &before[1]["since"])
    );
    assert!(after[1]["age_seconds"].as_u64().unwrap() >= 2, "{after}");
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_new_version_is_noticed_by_the_refresh_and_by_a_reload() {
    let bao = Bao::start();
    put_token(&bao, "EAAFIRST");
    let upstream = Upstream::ok();
    let keyside = refreshing(&upstream, "300ms")
        .envs(&bao.environment(&bao.token(json!({}))))
        .credential(FROM_VAULT)
        .start();
    assert_eq!(token_sent(&keyside, &upstream), "EAAFIRST");
    let generation = keyside.status()["generation"].clone();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(
        keyside.status()["generation"],
        generation,
        "what is the same is no reload"
    );
    put_token(&bao, "EAASECOND");
    assert!(
        sends(&keyside, &upstream, "EAASECOND", Duration::from_secs(3)),
        "{}",
        keyside.log()
    );
    let keyside = refreshing(&upstream, "1h")
        .envs(&bao.environment(ROOT))
        .credential(FROM_VAULT)
        .start();
    put_token(&bao, "EAATHIRD");
    assert_eq!(token_sent(&keyside, &upstream), "EAASECOND");
    keyside.signal(Signal::HUP);
    assert!(
        sends(&keyside, &upstream, "EAATHIRD", Duration::from_secs(2)),
        "{}",
        keyside.log()
    );
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn no_send_fails_while_vault_is_away_and_its_next_value_is_taken() {
    let upstream = Upstream::ok();
    let mut bao = Bao::start();
    put_token(&bao, "EAAFIRST");
    let token = bao.token(json!({}));
    let keyside = refreshing(&upstream, "200ms")
        .envs(&bao.environment(&token))
        .credential(FROM_VAULT)
        .start();
    assert_eq!(token_sent(&keyside, &upstream), "EAAFIRST");
    let problem = |part: &str| {
        let found = eventually(Duration::from_secs(15), || {
            let unread = status_of(&keyside, "acme")["unread"].clone();
            unread
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one["problem"].as_str().unwrap().contains(part))
        });
        assert!(found, "{part}: {}", status_of(&keyside, "acme"));
        // A reload during the outage keeps the secrets in use, and tells that the manager gave
        // none.
        assert_eq!(keyside.reload().status, 422);
        assert_eq!(
            keyside
                .ask_admin(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .status,
            200
        );
    };
    let (sent, failed) = under_load(&keyside, || {
        bao.signal(Signal::STOP);
        problem("too long");
        bao.signal(Signal::CONT);
        put_token(&bao, "EAASECOND");
        assert!(
            sends(&keyside, &upstream, "EAASECOND", Duration::from_secs(10)),
            "after slow: {}",
            keyside.log()
        );
        bao.must(
            "POST",
            "sys/policies/acl/keyside",
            &json!({ "policy": "path \"nothing\" { capabilities = [\"read\"] }" }),
        );
        problem("denies permission for `secret/apps/acme`");
        bao.policy();
        put_token(&bao, "EAATHIRD");
        assert!(
            sends(&keyside, &upstream, "EAATHIRD", Duration::from_secs(10)),
            "after denied: {}",
            keyside.log()
        );
        bao.must("DELETE", "secret/data/apps/acme", &json!({}));
        problem("has nothing at");
        bao.put("apps/acme", &json!({ "token": "EAAFOURTH" }));
        problem("no field `app_secret`");
        bao.put(
            "apps/acme",
            &json!({ "token": "", "app_secret": APP_SECRET }),
        );
        problem("no value");
        bao.must("PUT", "sys/seal", &json!({}));
        problem("sealed");
        bao.stop();
        problem("no answer");
    });
    assert!(
        failed.is_empty(),
        "{} of {sent}: {:?}",
        failed.len(),
        failed.first()
    );
    assert_eq!(token_sent(&keyside, &upstream), "EAATHIRD");
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_token_revoked_before_vault_was_asked_again_costs_no_send() {
    let bao = Bao::start();
    put_token(&bao, "EAAFIRST");
    let revoked = Arc::new(AtomicBool::new(false));
    let is_revoked = Arc::clone(&revoked);
    let upstream = Upstream::answering(move |request| {
        let is_first = request.header("authorization").as_deref() == Some("Bearer EAAFIRST");
        if is_first && is_revoked.load(Ordering::Relaxed) {
            answer(
                "401 Unauthorized",
                &[("Content-Type", "application/json")],
                br#"{"error":{"code":190}}"#,
            )
        } else {
            json_answer("{}")
        }
    });
    let keyside = refreshing(&upstream, "1h")
        .envs(&bao.environment(ROOT))
        .credential(FROM_VAULT)
        .start();
    let (sent, failed) = under_load(&keyside, || {
        put_token(&bao, "EAASECOND");
        thread::sleep(Duration::from_millis(100));
        revoked.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_secs(1));
    });
    assert!(
        failed.is_empty() && sent > 300,
        "{} of {sent}: {:?}",
        failed.len(),
        failed.first()
    );
    assert_eq!(token_sent(&keyside, &upstream), "EAASECOND");
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_secret_that_vault_cannot_give_at_the_start_stops_its_own_route_alone() {
    let mut bao = Bao::start();
    bao.stop();
    let upstream = Upstream::ok();
    let setup = refreshing(&upstream, "5m").envs(&bao.environment(ROOT)).more(
        "[credential.far]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"vault:secret/far#token\"\n\
             app_secret = \"vault:secret/far#app_secret\"\n\
             [[route]]\ncredential = \"far\"\npath = \"/far\"\n\
             [inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [[webhook]]\npath = \"/hook\"\ncredential = \"far\"\nforward = \"http://127.0.0.1:9/\"",
    );
    let checked = setup.finish("check");
    assert_eq!(checked.code, Some(78), "{}", checked.output);
    assert!(
        checked
            .output
            .contains("credential.far.token: `vault:secret/far#token`"),
        "{}",
        checked.output
    );
    let keyside = setup.start();
    assert_eq!(token_sent(&keyside, &upstream), TOKEN);
    let far = format!("/far{MESSAGES}");
    let refused = keyside.post(&far, "{}");
    assert_eq!(
        (refused.status, refused.slug()),
        (503, "credential_unavailable"),
        "{}",
        refused.text()
    );
    assert!(refused.header("retry-after").is_some());
    let event = keyside
        .event(b"POST /hook HTTP/1.1\r\nHost: a\r\nX-Hub-Signature-256: sha256=00\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(event.status, 503, "{}", event.text());
    let ready = keyside.ask_admin(&get("/readyz?route=far"));
    assert_eq!(ready.status, 503);
    assert!(
        ready
            .text()
            .contains("`vault:secret/far#token`: Vault gave no answer"),
        "{}",
        ready.text()
    );
    bao.start_again();
    bao.put(
        "far",
        &json!({ "token": "EAAFAR", "app_secret": APP_SECRET }),
    );
    let back = eventually(Duration::from_secs(10), || {
        keyside.post(&far, "{}").status == 200
    });
    assert!(back, "{}", keyside.log());
    assert_eq!(keyside.ask_admin(&get("/readyz?route=far")).status, 200);
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_start_does_not_wait_for_a_vault_that_hangs() {
    let bao = Bao::start();
    bao.put("far", &json!({ "token": "EAAFAR" }));
    bao.signal(Signal::STOP);
    let upstream = Upstream::ok();
    let setup = refreshing(&upstream, "5m").envs(&bao.environment(ROOT)).more(
        "[credential.far]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"vault:secret/far#token\"\n\
         [[route]]\ncredential = \"far\"\npath = \"/far\"\n",
    );
    let began = Instant::now();
    let keyside = setup.start();
    assert_eq!(token_sent(&keyside, &upstream), TOKEN);
    let took = began.elapsed();
    assert!(took < stretched(Duration::from_secs(4)), "{took:?}");
    let far = format!("/far{MESSAGES}");
    let refused = keyside.post(&far, "{}");
    assert_eq!(
        (refused.status, refused.slug()),
        (503, "credential_unavailable")
    );
    assert_eq!(keyside.ask_admin(&get("/readyz?route=far")).status, 503);
    bao.signal(Signal::CONT);
    let is_back = || keyside.post(&far, "{}").status == 200;
    assert!(
        eventually(Duration::from_secs(15), is_back),
        "{}",
        keyside.log()
    );
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_version_without_the_app_secret_changes_nothing_of_the_credential() {
    let bao = Bao::start();
    let whole = |token: &str| json!({ "token": token, "app_secret": APP_SECRET });
    bao.put("acme", &whole("EAAFIRST"));
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .refresh("5m")
        .envs(&bao.environment(ROOT))
        .credential(
            "token = \"vault:secret/acme#token\"\napp_secret = \"vault:secret/acme#app_secret\"\n",
        )
        .start();
    bao.put("acme", &json!({ "token": "EAASECOND" }));
    keyside.reload();
    assert_eq!(token_sent(&keyside, &upstream), "EAAFIRST");
    for told in [keyside.problems(), keyside.log()] {
        assert!(told.contains("app_secret"), "{told}");
    }
    bao.put("acme", &whole("EAATHIRD"));
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(token_sent(&keyside, &upstream), "EAATHIRD");
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_login_by_app_role_outlives_its_tokens() {
    let bao = Bao::start();
    put_token(&bao, "EAAFIRST");
    bao.policy();
    bao.must("POST", "sys/auth/approle", &json!({ "type": "approle" }));
    let role = json!({ "token_policies": ["keyside"], "token_ttl": "2s", "token_max_ttl": "6s" });
    bao.must("POST", "auth/approle/role/keyside", &role);
    let id = bao.must("GET", "auth/approle/role/keyside/role-id", &json!({}));
    let secret = bao.must("POST", "auth/approle/role/keyside/secret-id", &json!({}));
    let upstream = Upstream::ok();
    let setup = refreshing(&upstream, "300ms")
        .envs(&bao.place())
        .credential(FROM_VAULT);
    let path = setup
        .dir()
        .write("secret-id", secret["data"]["secret_id"].as_str().unwrap());
    let keyside = setup
        .env("VAULT_ROLE_ID", id["data"]["role_id"].as_str().unwrap())
        .env("VAULT_SECRET_ID_FILE", &path.display().to_string())
        .start();
    assert_eq!(token_sent(&keyside, &upstream), "EAAFIRST");
    // Past the maximum lifetime of a token, with two renewals on the way.
    thread::sleep(Duration::from_secs(8));
    put_token(&bao, "EAASECOND");
    assert!(
        sends(&keyside, &upstream, "EAASECOND", Duration::from_secs(3)),
        "{}",
        keyside.log()
    );
    let log = keyside.log();
    assert!(
        !log.contains("cannot be read"),
        "it never was without a good token: {log}"
    );
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_pod_logs_in_with_its_service_account() {
    let bao = Bao::start();
    bao.put(
        "apps/acme",
        &json!({ "token": TOKEN, "app_secret": APP_SECRET }),
    );
    bao.policy();
    // The answer of Kubernetes about a token of a service account.
    let kubernetes = Upstream::answering(|_| {
        json_answer(
            r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":{"authenticated":true,"user":{"username":"system:serviceaccount:shop:keyside","uid":"1","groups":["system:serviceaccounts"]}}}"#,
        )
    });
    bao.must("POST", "sys/auth/cluster", &json!({ "type": "kubernetes" }));
    let authority = crate::support::authority::Authority::trusted().pem();
    let config = json!({
        "kubernetes_host": kubernetes.url(), "kubernetes_ca_cert": authority, "disable_local_ca_jwt": true,
        "token_reviewer_jwt": "reviewer"
    });
    bao.must("POST", "auth/cluster/config", &config);
    let role = json!({
        "bound_service_account_names": ["keyside"], "bound_service_account_namespaces": ["shop"], "token_policies": ["keyside"],
        "audience": ""
    });
    bao.must("POST", "auth/cluster/role/sidecar", &role);
    let claims = r#"{"iss":"kubernetes/serviceaccount","kubernetes.io":{"namespace":"shop","serviceaccount":{"name":"keyside","uid":"1"}},"nbf":1700000000,"exp":4102444800,"sub":"system:serviceaccount:shop:keyside"}"#;
    let part = |text: &str| {
        base64(text.as_bytes())
            .replace('+', "-")
            .replace('/', "_")
            .replace('=', "")
    };
    let jwt = format!(
        "{}.{}.{}",
        part(r#"{"alg":"RS256","kid":"1"}"#),
        part(claims),
        part("signature")
    );
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream)
        .envs(&bao.place())
        .credential(FROM_VAULT);
    let path = setup.dir().write("jwt", &jwt);
    let keyside = setup
        .env("VAULT_ROLE", "sidecar")
        .env("VAULT_AUTH_MOUNT", "cluster")
        .env("VAULT_JWT_FILE", &path.display().to_string())
        .start();
    assert_eq!(token_sent(&keyside, &upstream), TOKEN, "{}", keyside.log());
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_token_from_an_agents_file_is_replaced_when_it_is_refused() {
    let bao = Bao::start();
    put_token(&bao, "EAAFIRST");
    let upstream = Upstream::ok();
    let setup = refreshing(&upstream, "300ms")
        .envs(&bao.place())
        .credential(FROM_VAULT);
    let first = bao.token(json!({}));
    let path = setup.dir().write("sink", &first);
    let keyside = setup
        .env("VAULT_TOKEN_FILE", &path.display().to_string())
        .start();
    assert_eq!(token_sent(&keyside, &upstream), "EAAFIRST");
    keyside.dir().write("sink", bao.token(json!({})));
    bao.must("POST", "auth/token/revoke", &json!({ "token": first }));
    put_token(&bao, "EAASECOND");
    assert!(
        sends(&keyside, &upstream, "EAASECOND", Duration::from_secs(5)),
        "{}",
        keyside.log()
    );
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_mount_that_is_not_kv_is_refused_with_the_reason() {
    let bao = Bao::start();
    bao.put(
        "apps/acme",
        &json!({ "token": 7, "app_secret": APP_SECRET }),
    );
    bao.must("POST", "sys/mounts/transit", &json!({ "type": "transit" }));
    let upstream = Upstream::ok();
    for (reference, expected) in [
        ("vault:transit/keys/acme#token", "type `transit`"),
        ("vault:secret/apps/acme#token", "`token` is not a text"),
        ("vault:secret/apps/acme#other", "no field `other`"),
        (
            "vault:secret/data/apps/acme#token",
            "nothing at `secret/data/data/apps/acme`",
        ),
        (
            "vault:nowhere/apps#token",
            "denies permission for `nowhere/apps`",
        ),
    ] {
        let setup = Setup::new(&upstream)
            .envs(&bao.environment(ROOT))
            .credential(&format!("token = \"{reference}\""));
        let checked = setup.finish("check");
        assert_eq!(checked.code, Some(78), "{}", checked.output);
        assert!(
            checked.output.contains(expected),
            "{reference}: {}",
            checked.output
        );
    }
}

#[test]
#[ignore = "needs moto: tests/run servers"]
fn aws_secrets_manager_is_read_whole_or_by_field_and_again() {
    let mut moto = Moto::start();
    moto.ask(
        "CreateSecret",
        &json!({ "Name": "apps/acme", "SecretString": "{\"token\":\"EAAFIRST\"}" }),
    );
    let key = base64(APP_SECRET.as_bytes());
    moto.ask(
        "CreateSecret",
        &json!({ "Name": "apps/acme-app", "SecretBinary": key }),
    );
    let upstream = Upstream::ok();
    let keyside = refreshing(&upstream, "300ms")
        .envs(&moto.environment())
        .credential("token = \"aws-sm:apps/acme#token\"\napp_secret = \"aws-sm:apps/acme-app\"")
        .start();
    assert_eq!(token_sent(&keyside, &upstream), "EAAFIRST");
    assert!(upstream.last().target().contains("appsecret_proof="));
    assert_eq!(
        status_of(&keyside, "acme")["secrets"][1]["since_from"],
        "source"
    );
    moto.ask(
        "PutSecretValue",
        &json!({ "SecretId": "apps/acme", "SecretString": "{\"token\":\"EAASECOND\"}" }),
    );
    assert!(
        sends(&keyside, &upstream, "EAASECOND", Duration::from_secs(3)),
        "{}",
        keyside.log()
    );
    moto.ask("DeleteSecret", &json!({ "SecretId": "apps/acme" }));
    let unread = |part: &str| {
        eventually(Duration::from_secs(10), || {
            status_of(&keyside, "acme")["unread"]
                .to_string()
                .contains(part)
        })
    };
    assert!(
        unread("InvalidRequestException"),
        "{}",
        status_of(&keyside, "acme")
    );
    moto.stop();
    assert!(
        unread("Connection refused"),
        "{}",
        status_of(&keyside, "acme")
    );
    assert_eq!(token_sent(&keyside, &upstream), "EAASECOND");
    assert!(
        !format!("{}{}", keyside.log(), keyside.status()).contains("CANARY"),
        "AWS's own key is a secret too"
    );
}

/// The test's own server speaks the documented REST of Secret Manager and of a machine's metadata.
#[test]
#[cfg_attr(not(feature = "gcp"), ignore = "needs the feature gcp")]
fn google_secret_manager_is_read_with_the_machines_own_identity() {
    let google = Upstream::plain(|request, wire| {
        let body = match request.target().split('?').next().unwrap() {
            "/computeMetadata/v1/instance/service-accounts/default/token" => {
                r#"{"access_token":"ya29.CANARY","expires_in":3600,"token_type":"Bearer"}"#
                    .to_owned()
            }
            "/v1/projects/acme/secrets/token/versions/latest:access" => {
                assert_eq!(
                    request.header("authorization").unwrap(),
                    "Bearer ya29.CANARY"
                );
                json!({ "name": "projects/1/secrets/token/versions/3", "payload": { "data": base64(TOKEN.as_bytes()) } })
                    .to_string()
            }
            _ => String::new(),
        };
        let status = if body.is_empty() {
            "404 Not Found"
        } else {
            "200 OK"
        };
        let kind = [
            ("Content-Type", "application/json"),
            ("Metadata-Flavor", "Google"),
        ];
        wire.write(&answer(status, &kind, body.as_bytes()));
        After::Keep
    });
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .env("GCE_METADATA_HOST", &google.authority())
        .env(
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER",
            &format!("http://{}", google.authority()),
        )
        .credential("token = \"gcp-sm:projects/acme/secrets/token\"")
        .start();
    assert_eq!(token_sent(&keyside, &upstream), TOKEN, "{}", keyside.log());
    assert!(!keyside.log().contains("CANARY"));
}

/// The test's own server speaks the documented REST of Key Vault and of App Service's identities.
#[test]
#[cfg_attr(not(feature = "azure"), ignore = "needs the feature azure")]
fn an_azure_key_vault_is_read_with_the_platforms_own_identity() {
    let azure = Upstream::answering(|request| {
        match request
            .target()
            .split('?')
            .next()
            .unwrap()
            .trim_end_matches('/')
        {
            "/identity" => {
                assert_eq!(request.header("x-identity-header").unwrap(), "CANARYheader");
                json_answer(
                    r#"{"access_token":"CANARYentra","expires_on":"4102444800","resource":"x","token_type":"Bearer"}"#,
                )
            }
            "/secrets/wa-token" if request.header("authorization").is_none() => {
                let challenge = "Bearer authorization=\"https://login.microsoftonline.com/t\", resource=\"https://test\"";
                answer(
                    "401 Unauthorized",
                    &[("WWW-Authenticate", challenge)],
                    b"{}",
                )
            }
            "/secrets/wa-token" => {
                assert_eq!(
                    request.header("authorization").unwrap(),
                    "Bearer CANARYentra"
                );
                let id = "https://127.0.0.1/secrets/wa-token/1";
                let attributes =
                    json!({ "enabled": true, "created": 1_700_000_000, "updated": 1_700_000_000 });
                json_answer(
                    &json!({ "value": TOKEN, "id": id, "attributes": attributes }).to_string(),
                )
            }
            _ => answer("404 Not Found", &[], b""),
        }
    });
    let upstream = Upstream::ok();
    // The certificate is for this name, and the client takes the challenge under it; the proxy
    // resolves the name.
    let setup = Setup::new(&upstream).credential("token = \"azure-kv:graph.test/wa-token\"");
    let authorities = setup.dir().join("ca.pem").display().to_string();
    let keyside = setup
        .env("SSL_CERT_FILE", &authorities)
        .env(
            "HTTPS_PROXY",
            &format!("http://127.0.0.1:{}", tunnel_to(azure.port())),
        )
        .env("IDENTITY_ENDPOINT", &format!("{}/identity", azure.url()))
        .env("IDENTITY_HEADER", "CANARYheader")
        .start();
    assert_eq!(token_sent(&keyside, &upstream), TOKEN, "{}", keyside.log());
    let secret = status_of(&keyside, "acme")["secrets"][0].clone();
    assert_eq!(
        (&secret["since_from"], &secret["since"]),
        (&json!("source"), &json!(1_700_000_000))
    );
    assert!(!keyside.log().contains("CANARY"));
}

/// Starts a proxy with one destination port for all hosts. Returns the port of the proxy.
pub fn tunnel_to(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                return;
            };
            thread::spawn(move || {
                let mut head = BufReader::new(client.try_clone().unwrap());
                let mut line = String::new();
                while head.read_line(&mut line).is_ok() && !line.ends_with("\r\n\r\n") {}
                (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let (mut back, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let answers = thread::spawn(move || io::copy(&mut &server, &mut back));
                io::copy(&mut head, &mut to).ok();
                to.shutdown(Shutdown::Both).ok();
                answers.join().unwrap().ok();
            });
        }
    });
    own
}
