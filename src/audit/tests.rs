//! Tests of the chain, over whole files.

use std::path::Path;

use super::chain::FIRST;
use super::*;

fn open(path: &Path) -> Audit {
    let audit = Audit::start(AuditMetrics::default());
    audit.follow(Some(&settings(path))).unwrap();
    audit
}

fn settings(path: &Path) -> AuditSettings {
    AuditSettings {
        file: path.to_owned(),
        scope: AuditScope::Secrets,
    }
}

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("keyside-audit-{}-{name}", std::process::id()));
    std::fs::remove_file(&path).ok();
    path
}

fn written(name: &str, events: u64) -> PathBuf {
    let path = path(name);
    record(&open(&path), events);
    path
}

fn record(audit: &Audit, events: u64) {
    for number in 0..events {
        audit.record("reload", [("generation", number.into())]);
    }
    audit.flush();
}

fn check(path: &Path, kept: Option<&str>) -> Result<VerifiedFiles, AuditError> {
    verify(&[path.to_owned()], kept).map_err(|fault| fault.error)
}

#[test]
fn a_file_verifies_and_a_restart_continues_its_chain() {
    let path = written("whole", 3);
    record(&open(&path), 1);
    let whole = check(&path, None).unwrap();
    assert_eq!((whole.lines, whole.cut, whole.last.len()), (4, 0, 64));
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .starts_with(&format!("{{\"before\":\"{FIRST}\""))
    );
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_line_changed_added_or_removed_is_found() {
    let path = written("changed", 4);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let table = [
        (
            "changed",
            text.replace("\"generation\":1", "\"generation\":7"),
            3,
        ),
        ("removed", [lines[0], lines[2], lines[3]].join("\n"), 2),
        ("the first removed", lines[1..].join("\n"), 1),
        ("added", [lines[0], lines[0], lines[1]].join("\n"), 2),
        (
            "in another order",
            [lines[0], lines[2], lines[1]].join("\n"),
            2,
        ),
        (
            "one made unreadable",
            [lines[0], "x", lines[2], lines[3]].join("\n"),
            3,
        ),
    ];
    for (what, text, expected) in table {
        std::fs::write(&path, text).unwrap();
        let broken = check(&path, None);
        assert!(
            matches!(broken, Err(AuditError::Broken { line }) if line == expected),
            "{what}: {broken:?}"
        );
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_file_that_was_shortened_is_found() {
    let path = written("shortened", 3);
    let text = std::fs::read_to_string(&path).unwrap();
    let last = check(&path, None).unwrap().last;
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    std::fs::write(&path, text.trim_end()).unwrap();
    assert!(matches!(check(&path, None), Err(AuditError::Cut)));
    std::fs::write(&path, lines[..2].concat()).unwrap();
    assert_eq!(
        check(&path, None).unwrap().lines,
        2,
        "without a kept hash, lines missing at the end do not show"
    );
    assert!(
        matches!(check(&path, Some(&last)), Err(AuditError::Missing)),
        "a kept hash must show lines missing at the end"
    );
    let status = open(&path).status().unwrap();
    assert_ne!(status.resumed_after, last);
    std::fs::write(&path, text).unwrap();
    assert_eq!(check(&path, Some(&last)).unwrap().lines, 3);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_line_cut_off_by_a_crash_does_not_break_the_chain() {
    let path = written("cut", 2);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.trim_end_matches(|c| c != ':')).unwrap();
    record(&open(&path), 1);
    let whole = check(&path, None).unwrap();
    assert_eq!((whole.lines, whole.cut, whole.lost), (3, 1, 1));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_chain_goes_on_in_another_file_and_is_verified_over_the_border() {
    let old = path("moved");
    let new = path("opened");
    for how in ["moved away", "shortened", "changed in the configuration"] {
        for path in [&old, &new] {
            std::fs::remove_file(path).ok();
        }
        let is_other_path = how == "changed in the configuration";
        let audit = open(if is_other_path { &old } else { &new });
        record(&audit, 2);
        if how == "moved away" {
            std::fs::rename(&new, &old).unwrap();
        } else if !is_other_path {
            std::fs::copy(&new, &old).unwrap();
            std::fs::write(&new, "").unwrap();
        }
        audit.follow(Some(&settings(&new))).unwrap();
        record(&audit, 2);
        let both = verify(&[old.clone(), new.clone()], None).unwrap();
        assert_eq!((both.lines, both.goes_on_after), (5, None), "{how}");
        let older = check(&old, None).unwrap();
        let newer = check(&new, None).unwrap();
        assert_eq!(
            (newer.lines, newer.goes_on_after),
            (3, Some(older.last)),
            "{how}"
        );
        let text = std::fs::read_to_string(&new).unwrap();
        assert!(
            text.lines()
                .next()
                .unwrap()
                .contains("\"event\":\"goes on\""),
            "{text}"
        );
        let turned = verify(&[new.clone(), old.clone()], None).map_err(|fault| fault.error);
        assert!(
            matches!(turned, Err(AuditError::Border(_))),
            "{how}: {turned:?}"
        );
        let rest = text.split_once('\n').unwrap().1;
        std::fs::write(&new, rest).unwrap();
        let broken = check(&new, None);
        assert!(
            matches!(broken, Err(AuditError::Broken { line: 1 })),
            "{how}: {broken:?}"
        );
    }
    std::fs::remove_file(old).unwrap();
    std::fs::remove_file(new).unwrap();
}

#[test]
fn a_path_that_cannot_be_opened_anew_loses_no_line() {
    let folder = path("folder");
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("audit.jsonl");
    let moved = path("kept");
    let audit = open(&file);
    record(&audit, 1);
    std::fs::rename(&file, &moved).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    audit.follow(Some(&settings(&file))).unwrap();
    record(&audit, 1);
    let status = audit.status().unwrap();
    assert!(status.problem.is_some() && status.lost == 0, "{status:?}");
    assert_eq!(check(&moved, None).unwrap().lines, 2);
    std::fs::create_dir(&folder).unwrap();
    record(&audit, 1);
    assert!(audit.status().unwrap().problem.is_none());
    assert_eq!(verify(&[moved.clone(), file], None).unwrap().lines, 4);
    let other = settings(&folder.join("missing/audit.jsonl"));
    assert!(audit.follow(Some(&other)).is_err(), "a new path is refused");
    std::fs::remove_file(moved).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_disk_that_hangs_holds_up_no_reload() {
    let (entries, _unread) = sync_channel(1);
    let audit = Audit {
        entries: Some(entries),
        shared: Arc::default(),
    };
    let file = settings(Path::new("/var/log/audit.jsonl"));
    for (settings, is_refused) in [(Some(&file), true), (None, false)] {
        let result = audit.follow(settings);
        assert_eq!(result.is_err(), is_refused, "{settings:?}: {result:?}");
    }
}

#[test]
fn two_writers_of_one_file_make_one_chain() {
    let path = path("shared");
    let writers = [open(&path), open(&path)];
    for _ in 0..5 {
        for writer in &writers {
            record(writer, 3);
        }
    }
    let threads = writers.map(|writer| std::thread::spawn(move || record(&writer, 100)));
    for thread in threads {
        thread.join().unwrap();
    }
    let whole = check(&path, None).unwrap();
    assert_eq!((whole.lines, whole.cut, whole.lost), (230, 0, 0));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_path_is_checked_without_creating_the_file() {
    let file = path("absent");
    check_writable(&file).unwrap();
    assert!(!file.exists());
    for bad in [
        "/nonexistent/audit.jsonl",
        "/dev/null/audit.jsonl",
        "/dev/null",
    ] {
        assert!(check_writable(Path::new(bad)).is_err(), "{bad}");
    }
}
