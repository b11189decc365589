//! Replaced secrets leave the memory of the process, wherever they came from and whatever has
//! passed since.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::post;
use crate::support::keyside::{Directory, Keyside, Setup};
use crate::support::kubernetes::KubernetesSecretApi;
use crate::support::manager::{Bao, Moto, ROOT};
use crate::support::sandbox::Sandbox;
use crate::support::upstream::Upstream;
use crate::support::{APP_SECRET, MESSAGES, eventually, hmac_sha256};

/// A token of the usual length.
fn token(name: &str) -> String {
    format!("EAA{name}{}", hmac_sha256("a", name).repeat(3))
}

/// Counts a secret in the memory of a process, whole or by an end; `None` if the user may not look.
fn copies(keyside: &Keyside, secret: &str) -> Option<usize> {
    count(keyside, &[&secret[..40], &secret[secret.len() - 40..]])
}

/// Counts a secret in use, whole alone: the block of a hash that was just made of it holds an end
/// until the next hash.
fn whole_copies(keyside: &Keyside, secret: &str) -> Option<usize> {
    count(keyside, &[secret])
}

/// Counts the most frequent of some texts in each mapping of a process's memory.
fn count(keyside: &Keyside, texts: &[&str]) -> Option<usize> {
    let pid = keyside.pid();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let (start, end) = (
            u64::from_str_radix(start, 16).ok()?,
            u64::from_str_radix(end, 16).ok()?,
        );
        let mut bytes = Vec::new();
        memory.seek(SeekFrom::Start(start)).ok()?;
        // A mapping of the kernel's own cannot be read.
        if memory
            .by_ref()
            .take(end - start)
            .read_to_end(&mut bytes)
            .is_ok()
        {
            let found = texts
                .iter()
                .map(|text| memchr::memmem::find_iter(&bytes, text.as_bytes()).count());
            count += found.max().unwrap_or_default();
        }
    }
    Some(count)
}

/// Replaces `old` by `new` with `replace`, and panics if a copy of `old` stays in memory.
fn must_forget(keyside: &Keyside, old: &str, new: &str, replace: impl Fn(&str)) {
    let found = copies(keyside, old);
    if found.is_none() {
        eprintln!("skipped: this user may not read the memory of a process that cannot be dumped");
        return;
    }
    assert!(found > Some(0), "it is found while it is in use");
    replace(new);
    assert_eq!(keyside.reload().status, 200);
    let is_gone = || copies(keyside, old) == Some(0);
    let gone = eventually(Duration::from_secs(10), is_gone);
    assert!(gone, "{:?} copies after the overlap", copies(keyside, old));
    let mut client = keyside.connect();
    for _ in 0..1200 {
        assert_eq!(client.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
    }
    drop(client);
    let of_new = whole_copies(keyside, new);
    for _ in 0..20 {
        assert_eq!(keyside.reload().status, 200);
    }
    assert_eq!(copies(keyside, old), Some(0), "after requests and reloads");
    assert!(
        whole_copies(keyside, new) <= of_new,
        "reloads leave no copies"
    );
}

fn with_overlap(setup: Setup, reference: &str) -> Keyside {
    setup
        .level("info")
        .credential(&format!("token = \"{reference}\"\noverlap = \"500ms\"\n"))
        .start()
}

#[test]
fn a_replaced_secret_of_a_file_is_forgotten() {
    let upstream = Upstream::ok();
    let (old, new) = (token("OLD"), token("NEW"));
    let keyside = with_overlap(
        Setup::new(&upstream).file("token", &old),
        "file:@DIR@/token",
    );
    must_forget(&keyside, &old, &new, |new| {
        keyside.dir().write("token", new);
    });
}

#[test]
fn a_replaced_secret_of_a_program_is_forgotten() {
    let upstream = Upstream::ok();
    let (old, new) = (token("OLD"), token("NEW"));
    let source = Directory::new();
    source.write("value", &old);
    let script = format!("#!/bin/sh\ncat {}/value\n", source.path().display());
    let program = source.write("program", script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o500)).unwrap();
    let reference = format!("exec:{}", program.display());
    let keyside = with_overlap(Setup::new(&upstream), &reference);
    must_forget(&keyside, &old, &new, |new| {
        source.write("value", new);
    });
}

#[test]
fn a_replaced_secret_of_a_cluster_is_forgotten() {
    let upstream = Upstream::ok();
    let (old, new) = (token("OLD"), token("NEW"));
    let cluster = KubernetesSecretApi::start(&[("token", &old), ("other", &token("OTHER"))]);
    let old_in_base64 = cluster.stored("token");
    let setup = Setup::new(&upstream)
        .envs(&cluster.environment())
        .refresh("1s");
    let keyside = with_overlap(setup, "k8s:shop/acme#token");
    must_forget(&keyside, &old, &new, |new| cluster.put("token", new));
    if let Some(left) = copies(&keyside, &old_in_base64) {
        assert_eq!(left, 0, "in the form in which the cluster sends it");
    }
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_replaced_secret_of_vault_is_forgotten() {
    let bao = Bao::start();
    let (old, new) = (token("OLD"), token("NEW"));
    let put = |token: &str| {
        let other = "x".repeat(20_000);
        bao.put("apps/acme", &json!({ "token": token, "other": other }));
        bao.must("POST", "old/acme", &json!({ "token": token }));
    };
    put(&old);
    for path in ["secret/apps/acme", "old/acme"] {
        put(&old);
        let upstream = Upstream::ok();
        let setup = Setup::new(&upstream)
            .envs(&bao.environment(ROOT))
            .refresh("1s");
        let keyside = with_overlap(setup, &format!("vault:{path}#token"));
        must_forget(&keyside, &old, &new, put);
    }
}

#[test]
#[ignore = "needs moto and the feature aws: tests/run servers"]
fn a_replaced_secret_of_aws_is_forgotten() {
    let moto = Moto::start();
    let (old, new) = (token("OLD"), token("NEW"));
    let text = |token: &str| json!({ "token": token, "other": "x".repeat(20_000) }).to_string();
    moto.ask(
        "CreateSecret",
        &json!({ "Name": "acme", "SecretString": text(&old) }),
    );
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream)
        .envs(&moto.environment())
        .refresh("1s");
    let keyside = with_overlap(setup, "aws-sm:acme#token");
    must_forget(&keyside, &old, &new, |new| {
        let version = json!({ "SecretId": "acme", "SecretString": text(new) });
        moto.ask("PutSecretValue", &version);
    });
}

#[test]
fn a_token_and_its_renewed_successor_leave_no_copy_behind() {
    let old = token("OLD");
    let secrets = Directory::new();
    secrets.write("token", &old);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let in_ten_days = now.as_secs() + 10 * 86_400;
    sandbox.ask(
        "POST",
        "tokens",
        &json!({ "token": old, "expires_at": in_ten_days }),
    );
    let mut keyside = Setup::at(&sandbox.url())
        .check()
        .level("info")
        .file("token", &old)
        .file("app_secret", APP_SECRET)
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nrenew = \"14d\"\noverlap = \"3s\"\n",
        )
        .start();
    if copies(&keyside, &old).is_none() {
        eprintln!("skipped: this user may not read the memory of a process that cannot be dumped");
        return;
    }
    let read = |keyside: &Keyside| fs::read_to_string(keyside.dir().join("token")).unwrap();
    let is_dead = || keyside.log().contains("the old token is revoked, and dead");
    assert!(
        eventually(Duration::from_secs(20), is_dead),
        "{}",
        keyside.log()
    );
    let new = read(&keyside);
    assert!(new != old && new.len() >= 40, "{}", new.len());
    let is_gone = || copies(&keyside, &old) == Some(0);
    let gone = eventually(Duration::from_secs(10), is_gone);
    assert!(gone, "{:?} copies of the old token", copies(&keyside, &old));
    let after_renewal = whole_copies(&keyside, &new);
    keyside.end(Signal::TERM);
    keyside.begin();
    let after_start = whole_copies(&keyside, &new);
    assert!(
        after_renewal <= after_start,
        "{after_renewal:?} copies after the renewal, {after_start:?} after a start"
    );
}
