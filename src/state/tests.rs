use std::os::unix::fs::PermissionsExt;

use zeroize::Zeroizing;

use super::*;

const KEY_TEXT: &str = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";
const OTHER_KEY: &str = "0123456789abcdef0123456789abcdef";
const CANARY: &[u8] = b"EAACANARYCANARYCANARY";

struct TestFolder(PathBuf);

impl TestFolder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("keyside-state-{}-{name}", std::process::id()));
        std::fs::remove_dir_all(&path).ok();
        Self(path)
    }

    fn state(&self, keys: &[&str]) -> State {
        let secrets: Vec<_> = keys.iter().map(|key| secret(key)).collect();
        let secrets: Vec<_> = secrets.iter().collect();
        State::new(&self.0, &secrets)
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn secret(text: &str) -> Secret {
    Secret::parse(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn journal() -> EntryName {
    EntryName::new("rotation", "acme")
}

#[test]
fn an_entry_is_there_after_a_restart_and_only_its_owner_can_read_the_file() {
    let folder = TestFolder::new("restart");
    folder
        .state(&[KEY_TEXT])
        .sealed()
        .unwrap()
        .put(&journal(), CANARY)
        .unwrap();
    let state = folder.state(&[KEY_TEXT]);
    let sealed = state.sealed().unwrap();
    assert_eq!(**sealed.get(&journal()).unwrap().unwrap(), *CANARY);
    assert_eq!(sealed.names("rotation").unwrap(), [journal()]);
    let file = folder.0.join("rotation+acme.sealed");
    assert_eq!((mode(&folder.0), mode(&file)), (0o700, 0o600));
    let written = std::fs::read(&file).unwrap();
    assert!(!written.windows(6).any(|part| part == b"CANARY"));
    sealed.remove(&journal()).unwrap();
    assert!(sealed.get(&journal()).unwrap().is_none() && !file.exists());
}

#[test]
fn without_a_key_there_is_no_place_for_secrets() {
    let folder = TestFolder::new("keyless");
    let state = folder.state(&[]);
    assert!(state.sealed().is_none() && state.problems().is_empty());
}

#[test]
fn a_new_key_opens_what_the_old_one_sealed_and_seals_it_anew() {
    let folder = TestFolder::new("keys");
    folder
        .state(&[KEY_TEXT])
        .sealed()
        .unwrap()
        .put(&journal(), b"text")
        .unwrap();
    let stranger = folder.state(&[OTHER_KEY]);
    let opened = stranger.sealed().unwrap().get(&journal());
    assert!(stranger.note("rotation/acme", opened).is_none());
    assert!(stranger.problems()[0].contains("sealed with another key"));
    let other = EntryName::new("rotation", "other");
    let put = |key: &str| folder.state(&[key]).sealed().unwrap().put(&other, b"text");
    put(KEY_TEXT).unwrap();
    put(OTHER_KEY).unwrap();
    assert!(folder.0.join("rotation+other.sealed.unread").exists());
    folder.state(&[OTHER_KEY, KEY_TEXT]).prepare();
    let text = folder.state(&[OTHER_KEY]).sealed().unwrap().get(&journal());
    assert_eq!(**text.unwrap().unwrap(), *b"text");
}

#[test]
fn a_folder_that_cannot_be_made_is_a_problem_and_no_end() {
    let folder = TestFolder::new("file-in-the-way");
    std::fs::write(&folder.0, "").unwrap();
    for check in [State::prepare, State::check] {
        let state = folder.state(&[KEY_TEXT]);
        check(&state);
        let problems = state.problems();
        assert!(problems[0].starts_with("state.dir: "), "{problems:?}");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
    std::fs::remove_file(&folder.0).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_a_problem_though_its_entries_can_be_listed() {
    // Not even root makes files there.
    let folder = TestFolder("/proc/self".into());
    for check in [State::prepare, State::check] {
        let state = folder.state(&[KEY_TEXT]);
        check(&state);
        let problems = state.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("state.dir: "), "{problems:?}");
    }
}

#[test]
fn a_look_finds_what_is_wrong_and_changes_nothing() {
    let folder = TestFolder::new("check");
    let good = folder.state(&[KEY_TEXT]);
    good.check();
    assert!(good.problems().is_empty() && !folder.0.exists());
    good.sealed().unwrap().put(&journal(), b"text").unwrap();
    let file = folder.0.join("rotation+acme.sealed");
    let mut damaged = std::fs::read(&file).unwrap();
    damaged.pop();
    std::fs::write(&file, &damaged).unwrap();
    for check in [State::check, State::prepare] {
        let state = folder.state(&[KEY_TEXT]);
        check(&state);
        assert!(state.problems()[0].contains("`rotation/acme` is damaged"));
    }
    assert_eq!(std::fs::read(&file).unwrap(), damaged);
}

#[test]
fn processes_that_write_at_one_time_wait_for_each_other() {
    let folder = TestFolder::new("together");
    std::thread::scope(|scope| {
        for owner in 0..4 {
            let state = folder.state(&[KEY_TEXT]);
            scope.spawn(move || {
                for round in 0..10_u8 {
                    let name = EntryName::new("rotation", &format!("c{}", owner % 2));
                    state.sealed().unwrap().put(&name, &[round]).unwrap();
                }
            });
        }
    });
    let state = folder.state(&[KEY_TEXT]);
    for name in state.sealed().unwrap().names("rotation").unwrap() {
        assert_eq!(**state.sealed().unwrap().get(&name).unwrap().unwrap(), [9]);
    }
}
