//! `keyside check --candidate`: a new secret is proved before it is put into place, and nothing
//! changes.

use crate::support::keyside::{Finished, Setup};
use crate::support::upstream::{Upstream, json};
use crate::support::{APP_SECRET, TOKEN};

const NEW: &str = "EAASECONDTOKEN";
const SENDER: &str = "106540352242922";
const VALID: &str = r#""is_valid":true,"#;
/// The scopes with which a token can send and can be asked about senders.
const BOTH: &str = r#""whatsapp_business_management","whatsapp_business_messaging""#;

/// Meta, where the candidate is described by `about`.
fn meta(about: &'static str, scope: &'static str) -> Upstream {
    Upstream::answering(move |request| {
        if request.target().starts_with("/debug_token") {
            json(&format!(
                r#"{{"data":{{"app_id":"6","type":"SYSTEM_USER","data_access_expires_at":0,"expires_at":0,{about}"scopes":[{scope}]}}}}"#
            ))
        } else {
            json(&format!(r#"{{"id":"{SENDER}"}}"#))
        }
    })
}

fn check(setup: &Setup, arguments: &str) -> Finished {
    let done = setup.finish(&format!("check {arguments}"));
    for value in [NEW, TOKEN, APP_SECRET] {
        assert!(!done.output.contains(value), "{}", done.output);
    }
    done
}

#[test]
fn a_candidate_is_proved_with_the_rest_of_its_credential_and_nothing_changes() {
    let upstream = meta(VALID, BOTH);
    let setup = Setup::new(&upstream)
        .route(&format!("senders = [\"{SENDER}\"]\n"))
        .file("new", NEW);
    let new = format!(
        "--candidate acme.token=file:{}",
        setup.dir().join("new").display()
    );
    let done = check(&setup, &new);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(
        done.output.contains("the provider accepts 1 credential"),
        "{}",
        done.output
    );
    assert!(
        done.output.contains("nothing was changed"),
        "{}",
        done.output
    );
    let asked = upstream.requests();
    assert_eq!(asked[0].target(), format!("/debug_token?input_token={NEW}"));
    assert_eq!(asked[1].target(), format!("/{SENDER}?fields=id"));
    assert_eq!(
        std::fs::read_to_string(setup.dir().join("token")).unwrap(),
        TOKEN
    );
    let json = check(&setup, &format!("{new} --json"));
    assert!(
        json.output.contains("\"providers_asked\": true"),
        "{}",
        json.output
    );
}

#[test]
fn a_candidate_that_is_refused_or_cannot_do_enough_or_is_malformed_is_78() {
    for (about, scope, file, reason) in [
        (
            r#""error":{"code":190,"message":"x","subcode":460},"is_valid":false,"#,
            BOTH,
            NEW,
            "460",
        ),
        (
            VALID,
            r#""whatsapp_business_management""#,
            NEW,
            "whatsapp_business_messaging",
        ),
        (VALID, BOTH, "TOKEN=EAASECONDTOKEN", "NAME=value"),
        (VALID, BOTH, "", "no value"),
    ] {
        let upstream = meta(about, scope);
        let setup = Setup::new(&upstream).file("new", file);
        let new = setup.dir().join("new");
        let done = check(
            &setup,
            &format!("--candidate acme.token=file:{}", new.display()),
        );
        assert_eq!(done.code, Some(78), "{}", done.output);
        assert!(done.output.contains(reason), "{}", done.output);
    }
}

#[test]
fn a_candidate_that_nobody_can_prove_is_1_and_a_wrong_argument_2() {
    let silent = Setup::at("http://127.0.0.1:1").file("new", NEW);
    let new = silent.dir().join("new");
    let done = check(
        &silent,
        &format!("--candidate acme.token=file:{}", new.display()),
    );
    assert_eq!(done.code, Some(1), "{}", done.output);
    assert!(
        done.output.contains("could not be proved"),
        "{}",
        done.output
    );

    let wati = Setup::at("http://127.0.0.1:1")
        .file("new", "eyJhbGciOiJIUzI1NiJ9")
        .config(
            "[provider.own]\nupstream = \"http://127.0.0.1:1\"\ninject = [{ header = \"Key\", value = \"{key}\" }]\n\
             [provider.own.secrets]\nkey = { required = true, random = true }\n\
             [provider.own.operations.messages]\nkind = \"send\"\ndefault = true\nrequests = [{ request = \"POST /m\" }]\n\
             [credential.own]\nprovider = \"own\"\nkey = \"file:@DIR@/new\"\n[[route]]\ncredential = \"own\"\n",
        );
    let new = wati.dir().join("new");
    let done = check(
        &wati,
        &format!("--candidate own.key=file:{}", new.display()),
    );
    assert_eq!(done.code, Some(1), "{}", done.output);
    assert!(
        done.output.contains("the provider cannot be asked"),
        "{}",
        done.output
    );
    assert!(!done.output.contains("good;"), "{}", done.output);

    let gone = check(&silent, "--candidate acme.token=file:/nowhere/new");
    assert_eq!(gone.code, Some(78), "{}", gone.output);
    assert!(
        gone.output.contains("file:/nowhere/new") && !gone.output.contains("is good"),
        "{}",
        gone.output
    );

    for wrong in [
        NEW.to_owned(),
        format!("acme.token={NEW}"),
        format!("{NEW}.token=file:/x"),
    ] {
        let done = check(&silent, &format!("--candidate {wrong}"));
        assert_eq!(done.code, Some(2), "{}", done.output);
    }
}
