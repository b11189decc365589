//! A configuration in many files: `include`, folders, names that are unique over all of them; and
//! users of a route.

use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::support::MESSAGES;
use crate::support::client::{Client, get, post};
use crate::support::keyside::{Directory, Keyside, Setup};
use crate::support::upstream::Upstream;
use crate::support::{TOKEN, eventually};

/// A tenant in a file of its own.
fn tenant(name: &str) -> String {
    format!(
        "[credential.{name}]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:token\"\n\
         [[route]]\ncredential = \"{name}\"\npath = \"/{name}\"\n"
    )
}

/// A sidecar whose tenants stand in `conf.d`.
fn with_tenants(upstream: &Upstream, tenants: &[(&str, String)]) -> Setup {
    let base = "include = [\"conf.d/*.toml\"]\n[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
                [reload]\nwatch = \"100ms\"\n[provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n";
    let setup = Setup::new(upstream).config(base);
    for (file, text) in tenants {
        let text = place_token(&setup, text);
        setup.dir().write(file, text);
    }
    setup
}

fn place_token(setup: &Setup, text: &str) -> String {
    let token = setup.dir().join("token").display().to_string();
    text.replace("file:token", &format!("file:{token}"))
}

fn send(keyside: &Keyside, tenant: &str) -> u16 {
    keyside.post(&format!("/{tenant}{MESSAGES}"), "{}").status
}

#[test]
fn tenants_stand_in_files_of_their_own_and_a_new_file_is_a_new_tenant() {
    let upstream = Upstream::ok();
    let setup = with_tenants(
        &upstream,
        &[
            ("conf.d/one.toml", tenant("one")),
            ("conf.d/two.toml", tenant("two")),
        ],
    );
    let third = place_token(&setup, &tenant("three"));
    let keyside = setup.start();
    assert_eq!(
        [
            send(&keyside, "one"),
            send(&keyside, "two"),
            send(&keyside, "three")
        ],
        [200, 200, 404]
    );
    keyside.dir().write("conf.d/three.toml", third);
    assert!(
        eventually(Duration::from_secs(5), || send(&keyside, "three") == 200),
        "the watch finds it"
    );
    std::fs::remove_file(keyside.dir().join("conf.d/one.toml")).unwrap();
    assert!(eventually(Duration::from_secs(5), || send(&keyside, "one") == 404));
    keyside
        .dir()
        .write("conf.d/two.toml", "[credential.two]\nprovider = \"meat\"\n");
    let refused = keyside.reload();
    assert_eq!(refused.status, 422);
    assert!(
        refused.text().contains("conf.d/two.toml:2:"),
        "{}",
        refused.text()
    );
    assert_eq!(
        [send(&keyside, "two"), send(&keyside, "three")],
        [200, 200],
        "everything stays"
    );
}

#[test]
fn a_file_of_a_tenant_that_cannot_be_read_refuses_the_reload() {
    let upstream = Upstream::ok();
    let keyside = with_tenants(&upstream, &[("conf.d/one.toml", tenant("one"))]).start();
    let folder = keyside.dir().join("conf.d");
    let file = folder.join("one.toml");
    std::fs::create_dir(folder.join("folder.toml")).unwrap();
    assert_eq!(keyside.reload().status, 200, "a folder is no file");
    std::fs::remove_file(&file).unwrap();
    symlink(folder.join("gone"), &file).unwrap();
    let refused = |words: &str| {
        let answer = keyside.reload();
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(answer.text().contains(words), "{}", answer.text());
        assert_eq!(send(&keyside, "one"), 200);
    };
    refused("conf.d/one.toml cannot be read: it is a link to a file that does not exist");
    std::fs::remove_file(&file).unwrap();
    mkfifoat(CWD, &file, Mode::RUSR | Mode::WUSR).unwrap();
    refused("conf.d/one.toml cannot be read: it is not a regular file");
}

#[test]
fn a_table_below_another_may_stand_in_another_file() {
    let upstream = Upstream::ok();
    let tls = "[inbound.tls]\ncert = \"/c\"\nkey = \"/k\"\n";
    let inbound = "[inbound]\nlisten = [\"127.0.0.1:0\"]\n";
    let limits = "[provider.mine.limits]\nper_sender = \"5/s\"\n";
    let provider = "[provider.mine]\nextends = \"meta\"\n";
    let secrets =
        |name: &str| format!("[provider.mine.secrets]\n{name} = {{ form = \"token\" }}\n");
    for (first, second, fault) in [
        (inbound.to_owned(), tls.to_owned(), None),
        (tls.to_owned(), inbound.to_owned(), None),
        (limits.to_owned(), provider.to_owned(), None),
        (provider.to_owned(), limits.to_owned(), None),
        (
            format!("{inbound}{tls}"),
            tls.to_owned(),
            Some("b.toml:1:10: inbound.tls: the same as at "),
        ),
        // Tables with a header of their own are not joined, whatever they hold.
        (
            format!("{provider}{}", secrets("one")),
            secrets("two"),
            Some("b.toml:1:16: provider.mine.secrets: the same as at "),
        ),
        (
            inbound.to_owned(),
            format!("{inbound}{tls}"),
            Some("b.toml:1:2: inbound: the same as at "),
        ),
        (
            "[metrics]\n".to_owned(),
            "[metrics]\n".to_owned(),
            Some("b.toml:1:2: metrics: the same as at "),
        ),
    ] {
        let c = tenant("c");
        let files = [
            ("conf.d/a.toml", first),
            ("conf.d/b.toml", second),
            ("conf.d/c.toml", c),
        ];
        let done = with_tenants(&upstream, &files).finish("check --no-secrets");
        let expected = fault.map_or(Some(0), |_| Some(78));
        assert_eq!(done.code, expected, "{}", done.output);
        assert!(
            fault.is_none_or(|fault| done.output.contains(fault)),
            "{}",
            done.output
        );
    }
}

#[test]
fn a_name_in_two_files_is_a_fault_with_both_places() {
    let upstream = Upstream::ok();
    for (first, second, parts) in [
        (
            "[credential.a]\nprovider = \"meta\"\ntoken = \"file:/t\"\n".to_owned(),
            "\n[credential.a]\nprovider = \"meta\"\ntoken = \"file:/t\"\n".to_owned(),
            ["b.toml:2:", "credential.a: the same as at ", "a.toml:1:"],
        ),
        (
            tenant("a"),
            tenant("b").replace("path = \"/b\"", "path = \"/b\"\nname = \"a\""),
            ["b.toml:", "the same name", "a.toml:"],
        ),
        (
            "[log]\nlevel = \"info\"\n".to_owned(),
            "[log]\nlevel = \"warn\"\n".to_owned(),
            ["b.toml:1:", "log: the same as at ", "a.toml:1:"],
        ),
        (
            String::new(),
            "include = [\"other.toml\"]\n".to_owned(),
            ["b.toml:1:1", "include: ", "the named file alone"],
        ),
        (
            String::new(),
            "[[route]\n".to_owned(),
            ["b.toml:1:", "", ""],
        ),
    ] {
        let setup = with_tenants(
            &upstream,
            &[("conf.d/a.toml", first), ("conf.d/b.toml", second.clone())],
        );
        let done = setup.finish("check --no-secrets");
        assert_eq!(done.code, Some(78), "{}", done.output);
        for part in parts {
            assert!(
                done.output.contains(part),
                "{part} in {}\n{second}",
                done.output
            );
        }
    }
}

#[test]
fn a_folder_is_a_configuration_and_a_missing_file_is_named() {
    let upstream = Upstream::ok();
    let setup = with_tenants(&upstream, &[("conf.d/one.toml", tenant("one"))]);
    let path = setup.write_config();
    let base = std::fs::read_to_string(&path).unwrap();
    setup.dir().write(
        "all/0-base.toml",
        base.replace("include = [\"conf.d/*.toml\"]\n", ""),
    );
    let one = place_token(&setup, &tenant("one"));
    setup.dir().write("all/one.toml", one);
    setup.dir().write("all/.hidden.toml", "not TOML");
    setup.dir().write("all/notes.txt", "not TOML");
    let check = |path: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keyside"));
        command
            .args(["check", "--no-secrets", "-c", path])
            .current_dir(setup.dir().path());
        crate::support::keyside::finish(&mut command, Duration::from_secs(10))
    };
    let whole = check("all");
    assert_eq!(whole.code, Some(0), "{}", whole.output);
    setup.dir().write("empty/notes.txt", "");
    let empty = check("empty");
    assert_eq!(empty.code, Some(78), "{}", empty.output);
    assert!(
        empty
            .output
            .contains("empty: no file with the ending .toml"),
        "{}",
        empty.output
    );
    setup.dir().write(
        "gone.toml",
        base.replace("conf.d/*.toml", "tenants/gone.toml"),
    );
    let gone = check("gone.toml");
    let expected = "gone.toml:1:12: include: tenants/gone.toml does not exist";
    assert!(gone.output.contains(expected), "{}", gone.output);
    assert_eq!(gone.code, Some(78));
    let folder = base.replace("conf.d", "tenants");
    setup.dir().write("folder.toml", folder);
    let gone = check("folder.toml");
    let expected = "folder.toml:1:12: include: tenants does not exist";
    assert!(gone.output.contains(expected), "{}", gone.output);
    assert_eq!(gone.code, Some(78));
}

#[test]
fn a_route_is_for_its_users_alone() {
    let upstream = Upstream::ok();
    let own = rustix::process::getuid().as_raw();
    let route = |name: &str, uid: u32| {
        format!(
            "[[route]]\nname = \"{name}\"\ncredential = \"acme\"\npath = \"/{name}\"\nallow_uids = [{uid}]\n"
        )
    };
    let setup = Setup::new(&upstream);
    let socket = setup.dir().join("send.sock");
    let more = format!("{}{}", route("own", own), route("other", own + 1));
    let setup = setup
        .outbound(
            "allow_uids = [@UID@]"
                .replace("@UID@", &own.to_string())
                .as_str(),
        )
        .more(&more);
    let config = std::fs::read_to_string(setup.write_config()).unwrap();
    let tcp = config
        .lines()
        .find(|line| line.starts_with("listen = [\"127.0.0.1:"))
        .unwrap();
    let config = config.replacen(tcp, &format!("listen = [\"unix:{}\"]", socket.display()), 1);
    let warned = Setup::new(&upstream)
        .more(&route("own", own))
        .finish("check");
    assert!(
        warned.output.contains("users cannot be told apart"),
        "{}",
        warned.output
    );
    let warned = Setup::new(&upstream)
        .outbound("allow_uids = [0]")
        .finish("check --strict");
    let warning = "any user can send over TCP";
    assert!(
        warned.code == Some(1) && warned.output.contains(warning),
        "{}",
        warned.output
    );
    let setup = setup.config(&config);
    let silent = setup.finish("check");
    assert!(!silent.output.contains(warning), "{}", silent.output);
    let keyside = setup.start();
    for (path, status, slug) in [
        ("/own", 200, ""),
        ("/other", 403, "user_not_allowed"),
        ("", 200, ""),
    ] {
        let mut client = Client::connect_unix(&socket).unwrap();
        let answer = client
            .ask(&post(&format!("{path}{MESSAGES}"), "{}"))
            .unwrap();
        assert_eq!(
            (answer.status, answer.slug()),
            (status, slug.to_owned().as_str()),
            "{path}"
        );
    }
    assert_eq!(keyside.ask_admin(&get("/livez")).status, 200);
    assert!(!keyside.log().contains(TOKEN));
}

/// The kernel tells of no change in a folder that only the refused configuration names.
#[test]
fn a_refused_configuration_heals_without_a_reload_however_it_is_mended() {
    let upstream = Upstream::ok();
    let setup = with_tenants(&upstream, &[("conf.d/one.toml", tenant("one"))]);
    let one = place_token(&setup, &tenant("one"));
    let two = place_token(&setup, &tenant("two"));
    let three = place_token(&setup, &tenant("three"));
    let keyside = setup.start();
    let is_refused = || keyside.status()["reload"]["last_result"] == "refused";
    let turns = |refused: bool| eventually(Duration::from_secs(25), || is_refused() == refused);
    let dir = keyside.dir();

    dir.write("conf.d/one.toml", "[credential.one]\nprovider = \"meat\"\n");
    assert!(turns(true), "a broken file");
    dir.write("conf.d/one.toml", &one);
    assert!(turns(false), "the same bytes as before");

    dir.write("conf.d/two.toml", "[[route]\n");
    assert!(turns(true), "a new file that is broken");
    dir.write("conf.d/two.toml", two);
    assert!(turns(false), "the new file, corrected");

    let folder = Directory::new();
    let authority = folder.join("later.pem");
    let provider = format!(
        "[provider.third]\nextends = \"meta\"\nupstream = \"{}\"\nca = \"{}\"\n{}",
        upstream.url(),
        authority.display(),
        three.replace("\"test\"", "\"third\"")
    );
    // A missing authority refuses no configuration: it holds up the routes of its provider.
    dir.write("conf.d/three.toml", provider);
    let held = || keyside.problems().contains("later.pem");
    let turns = |is_held: bool| eventually(Duration::from_secs(25), || held() == is_held);
    assert!(turns(true), "an authority that is missing");
    std::fs::copy(dir.join("ca.pem"), &authority).unwrap();
    assert!(turns(false), "the authority, there at last");
    let sent = keyside.post(&format!("/three{MESSAGES}"), "{}");
    assert_eq!(sent.status, 200, "{}", sent.text());
}
