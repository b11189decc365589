//! `keyside ca`: the authority and the certificate of alias mode.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::support::keyside::{Directory, Finished, finish};

const META: &str =
    "[credential.a]\nprovider = \"meta\"\ntoken = \"file:/t\"\n[[route]]\ncredential = \"a\"\n";
const TWILIO: &str = "[credential.b]\nprovider = \"twilio\"\naccount_sid = \"AC11111111111111111111111111111111\"\n\
                      auth_token = \"file:/t\"\n[[route]]\ncredential = \"b\"\npath = \"/b\"\n";
const FILES: [&str; 5] = ["ca.pem", "ca.key", "bundle.pem", "alias.pem", "alias.key"];

/// Runs `keyside ca` with a configuration into a folder below `dir`.
fn ca(dir: &Directory, config: &str, folder: &str) -> Finished {
    let config = dir.write("proxy.toml", config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .arg("ca")
        .arg(dir.join(folder))
        .arg("-c")
        .arg(config);
    finish(&mut command, Duration::from_secs(10))
}

fn read(dir: &Directory, name: &str) -> String {
    std::fs::read_to_string(dir.join("ca").join(name)).unwrap()
}

/// Verifies a certificate for a name, as a client does that trusts the authority alone.
fn verify(authority: &str, certificate: &str, name: &str) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
        .unwrap();
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto)
        .build()
        .unwrap();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier
        .verify_server_cert(&certificate, &[], &name, &[], UnixTime::now())
        .map(|_| ())
}

#[test]
fn the_certificate_is_for_the_providers_hosts_and_only_the_keys_are_secret() {
    let dir = Directory::new();
    let made = ca(&dir, &format!("{META}{TWILIO}"), "ca");
    assert_eq!(made.code, Some(0), "{}", made.output);
    let (authority, certificate) = (read(&dir, "ca.pem"), read(&dir, "alias.pem"));
    for name in [
        "graph.facebook.com",
        "lookaside.fbsbx.com",
        "api.facebook.com",
        "api.twilio.com",
    ] {
        assert_eq!(verify(&authority, &certificate, name), Ok(()), "{name}");
        assert!(made.output.contains(name), "{}", made.output);
    }
    assert!(verify(&authority, &certificate, "bank.example.com").is_err());
    for name in FILES {
        let path = dir.join("ca").join(name);
        let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let expected = if name.ends_with(".key") { 0o600 } else { 0o644 };
        assert_eq!(mode, expected, "{name}");
    }
    assert!(read(&dir, "bundle.pem").contains(authority.split_once('\n').unwrap().1.trim()));
    for told in [
        "[outbound.tls]",
        "NODE_EXTRA_CA_CERTS=",
        "REQUESTS_CA_BUNDLE=",
        "SSL_CERT_FILE=",
        "127.0.0.1 api.facebook.com api.twilio.com content.twilio.com graph.facebook.com lookaside.fbsbx.com messaging.twilio.com",
    ] {
        assert!(made.output.contains(told), "{told}: {}", made.output);
    }
    assert!(!made.output.contains("PRIVATE KEY"), "{}", made.output);
}

#[test]
fn clients_refuse_what_the_authority_signs_for_another_name() {
    let dir = Directory::new();
    assert_eq!(ca(&dir, META, "ca").code, Some(0));
    let authority = read(&dir, "ca.pem");
    let der = CertificateDer::from_pem_slice(authority.as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let common = parsed.subject().iter_common_name().next().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common.as_str().unwrap());
    let issuer = Issuer::new(params, KeyPair::from_pem(&read(&dir, "ca.key")).unwrap());
    let issued = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &issuer).unwrap().pem()
    };
    for (names, asked, passes) in [
        (&["graph.facebook.com"][..], "graph.facebook.com", true),
        (&["bank.example.com"], "bank.example.com", false),
        (&["facebook.com"], "facebook.com", false),
        (&["10.0.0.1"], "10.0.0.1", false),
        (
            &["graph.facebook.com", "bank.example.com"],
            "graph.facebook.com",
            false,
        ),
    ] {
        let certificate = issued(names);
        let verified = verify(&authority, &certificate, asked);
        assert_eq!(verified.is_ok(), passes, "{names:?}: {verified:?}");
        if let Some(said) = verify_by_openssl(&dir, &certificate) {
            let refused = said.contains("subtree violation");
            assert_eq!(!refused, passes, "{names:?}: {said}");
        }
    }
}

/// The words of OpenSSL, with which Python and Node verify; `None` without the program.
fn verify_by_openssl(dir: &Directory, certificate: &str) -> Option<String> {
    let file = dir.write("other.pem", certificate);
    let mut command = Command::new("openssl");
    command
        .arg("verify")
        .arg("-CAfile")
        .arg(dir.join("ca").join("ca.pem"))
        .arg(file);
    let Ok(output) = command.output() else {
        eprintln!("skipped in part: there is no openssl");
        return None;
    };
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_second_run_keeps_the_authority_and_renews_the_certificate() {
    let dir = Directory::new();
    assert_eq!(ca(&dir, META, "ca").code, Some(0));
    let before: Vec<_> = FILES.iter().map(|name| read(&dir, name)).collect();
    let again = ca(&dir, META, "ca");
    assert!(again.output.contains("Kept "), "{}", again.output);
    let after: Vec<_> = FILES.iter().map(|name| read(&dir, name)).collect();
    let changed: Vec<_> = (0..5).filter(|&at| before[at] != after[at]).collect();
    assert_eq!(changed, [3, 4], "the certificate and its key");
    assert_eq!(verify(&after[0], &after[3], "graph.facebook.com"), Ok(()));

    let more = ca(&dir, &format!("{META}{TWILIO}"), "ca");
    assert_eq!(more.code, Some(0), "{}", more.output);
    for told in [
        "the authority before may not vouch for api.twilio.com",
        "EVERY APPLICATION MUST TRUST THE NEW ONE",
    ] {
        assert!(more.output.contains(told), "{told}: {}", more.output);
    }
    let certificate = read(&dir, "alias.pem");
    assert_eq!(
        verify(&read(&dir, "ca.pem"), &certificate, "api.twilio.com"),
        Ok(())
    );
    assert!(verify(&before[0], &certificate, "api.twilio.com").is_err());

    // Fewer hosts are no reason for a new authority.
    let fewer = ca(&dir, TWILIO, "ca");
    assert!(fewer.output.contains("Kept "), "{}", fewer.output);
    let certificate = read(&dir, "alias.pem");
    assert!(verify(&read(&dir, "ca.pem"), &certificate, "graph.facebook.com").is_err());
}

#[test]
fn a_damaged_authority_is_replaced_and_said_so() {
    let dir = Directory::new();
    assert_eq!(ca(&dir, META, "ca").code, Some(0));
    std::fs::remove_file(dir.join("ca").join("ca.key")).unwrap();
    let again = ca(&dir, META, "ca");
    assert_eq!(again.code, Some(0), "{}", again.output);
    assert!(again.output.contains("are damaged"), "{}", again.output);
    assert!(
        again.output.contains("EVERY APPLICATION"),
        "{}",
        again.output
    );
}

#[test]
fn no_file_of_somebody_else_is_replaced() {
    for name in FILES {
        let dir = Directory::new();
        std::fs::create_dir(dir.join("ca")).unwrap();
        let path = dir.join("ca").join(name);
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nmine\n").unwrap();
        let refused = ca(&dir, META, "ca");
        assert_eq!(refused.code, Some(1), "{name}: {}", refused.output);
        assert!(
            refused.output.contains("`keyside ca` has not made it"),
            "{}",
            refused.output
        );
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(kept, "-----BEGIN CERTIFICATE-----\nmine\n");
        assert_eq!(std::fs::read_dir(dir.join("ca")).unwrap().count(), 1);
    }
}

#[test]
fn each_failure_says_what_to_do() {
    let dir = Directory::new();
    dir.write("file", "");
    let hostless = "[provider.here]\nextends = \"meta\"\nupstream = \"https://127.0.0.1:9\"\nmedia_upstream = \"https://127.0.0.1:9\"\n\
                    [provider.here.upstreams]\napi = \"https://127.0.0.1:9\"\n\
                    [credential.a]\nprovider = \"here\"\ntoken = \"file:/t\"\n[[route]]\ncredential = \"a\"\n";
    for (config, folder, code, told) in [
        (
            "nonsense = 1\n",
            "ca",
            78,
            "name the configuration with --config",
        ),
        (
            hostless,
            "ca",
            1,
            "no route has a provider with a host name",
        ),
        (META, "file/ca", 1, "name a folder that this user may write"),
    ] {
        let refused = ca(&dir, config, folder);
        assert_eq!(refused.code, Some(code), "{}", refused.output);
        assert!(refused.output.contains(told), "{told}: {}", refused.output);
    }
    let mut missing = Command::new(env!("CARGO_BIN_EXE_keyside"));
    missing
        .arg("ca")
        .arg(dir.join("ca"))
        .arg("-c")
        .arg(dir.join("none.toml"));
    let missing = finish(&mut missing, Duration::from_secs(10));
    assert_eq!(missing.code, Some(78), "{}", missing.output);
    assert!(!dir.join("ca").exists());
}
