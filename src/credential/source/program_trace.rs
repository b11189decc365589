//! The trace of a started program, by which a later process finds the program again.

use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// The identity of a program that leads a process group of its own. Ids of processes and groups are
/// used again, so the identity has the time of the start, the system, and a mark in the
/// environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramTrace {
    /// The program; `None` before its start, so that only the mark finds it.
    #[serde(flatten)]
    leader: Option<ProgramLeader>,
    /// The boot of the system, and the namespace of the id.
    system: String,
    /// The mark of the program and of the processes that it starts.
    mark: ProgramMark,
}

/// A program as the leader of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ProgramLeader {
    /// The id of the program and of its group.
    pid: i32,
    /// The start of the program, in the kernel's ticks since the boot.
    started: u64,
}

/// A random text in the environment of a program, which the processes that it starts inherit. Of a
/// group whose leader has ended, only the mark proves that the group is not another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProgramMark(String);

impl ProgramMark {
    /// The variable that holds the mark.
    pub(super) const VARIABLE: &str = "KEYSIDE_PLACE_ID";

    /// Returns a new mark; `None` without randomness.
    pub(super) fn new() -> Option<Self> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        Some(Self(HEXLOWER.encode(&bytes)))
    }

    /// The value of the variable.
    pub(super) fn value(&self) -> &str {
        &self.0
    }

    /// True for a process with the mark in its environment.
    fn is_of(&self, pid: &str) -> bool {
        let expected = format!("{}={}", Self::VARIABLE, self.0);
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|all| {
            all.split(|byte| *byte == 0)
                .any(|one| one == expected.as_bytes())
        })
    }
}

/// The life of a program, as far as this process can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramLife {
    /// The program, or a process that the program started, runs.
    Running,
    /// The program, all processes of its group, and all daemons that it has started have ended.
    Ended,
    /// The program was started where this process cannot look: on another system, or in another
    /// container.
    Unseen,
}

/// The failure to end a program.
#[derive(Debug)]
pub struct ProgramGoesOn {
    /// The id of the program, if it is known.
    pid: Option<i32>,
    /// The error of the system.
    error: Option<Errno>,
}

impl fmt::Display for ProgramGoesOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, error } = self;
        f.write_str("the program that an earlier rotation gave a secret runs")?;
        if let Some(pid) = pid {
            write!(f, " as process {pid}")?;
        }
        f.write_str(", and could not be ended")?;
        match error {
            Some(error) => write!(f, ": {error}; end it as its user, or as root"),
            None => f.write_str("; end it by hand"),
        }
    }
}

impl std::error::Error for ProgramGoesOn {}

impl ProgramTrace {
    /// Returns the trace of a child of this process that has the mark; `None` without `/proc`.
    pub(super) fn of(pid: Pid, mark: ProgramMark) -> Option<Self> {
        let pid = pid.as_raw_nonzero().get();
        let started = ProcessStat::read(&pid.to_string())?.started;
        Some(Self {
            leader: Some(ProgramLeader { pid, started }),
            ..Self::ahead(mark)?
        })
    }

    /// Returns the trace of a program that this process is about to start with the mark; `None`
    /// without `/proc`.
    pub(super) fn ahead(mark: ProgramMark) -> Option<Self> {
        Some(Self {
            leader: None,
            system: system()?,
            mark,
        })
    }

    /// Returns the life of the program.
    pub async fn life(&self) -> ProgramLife {
        let trace = self.clone();
        let looked = spawn_blocking(move || trace.look()).await;
        // A look that was given up proves no end.
        looked.unwrap_or(ProgramLife::Running)
    }

    /// Looks through the processes of the system, which takes too long for the thread of requests.
    fn look(&self) -> ProgramLife {
        if system().as_ref() != Some(&self.system) {
            return ProgramLife::Unseen;
        }
        let Some(leader) = self.leader else {
            // A program of another user hides its mark.
            return match self.marked(|_| true).next() {
                Some(_) => ProgramLife::Running,
                None => ProgramLife::Unseen,
            };
        };
        // A daemon has left the group and keeps the mark.
        if self.has_group(leader) || self.marked(|_| true).next().is_some() {
            ProgramLife::Running
        } else {
            ProgramLife::Ended
        }
    }

    /// True while the group is that of the program.
    fn has_group(&self, leader: ProgramLeader) -> bool {
        match ProcessStat::read(&leader.pid.to_string()) {
            Some(found) if found.started != leader.started => false,
            Some(found) if !found.has_ended() => true,
            // The id of a group may be another's by now.
            Some(_) | None => {
                let is_member = |of: &ProcessStat| of.group == leader.pid;
                self.marked(is_member).next().is_some()
            }
        }
    }

    /// Returns the ids of the processes with the mark that have not ended, among those of a kind.
    fn marked(&self, is_of_kind: impl Fn(&ProcessStat) -> bool) -> impl Iterator<Item = i32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ids = names.filter_map(|name| name.parse().ok());
        ids.filter(move |id: &i32| {
            let id = id.to_string();
            let process = ProcessStat::read(&id);
            process.is_some_and(|process| !process.has_ended() && is_of_kind(&process))
                && self.mark.is_of(&id)
        })
    }

    /// Waits for the end of the program, at most for the given time.
    pub async fn wait(&self, longest: Duration) {
        let end = Instant::now() + longest;
        while Instant::now() < end {
            if self.life().await != ProgramLife::Running {
                return;
            }
            tokio::time::sleep(LIFE_INTERVAL).await;
        }
    }

    /// Ends the program, its group, and the daemons that it has started.
    ///
    /// # Errors
    /// If the program goes on.
    pub async fn end(&self) -> Result<(), ProgramGoesOn> {
        let mut refusal = None;
        for _ in 0..END_ATTEMPTS {
            let trace = self.clone();
            match spawn_blocking(move || trace.kill_if_running()).await {
                Ok(None) => return Ok(()),
                Ok(Some(killed)) => refusal = killed.err(),
                // The process ends.
                Err(_) => break,
            }
            tokio::time::sleep(END_INTERVAL).await;
        }
        Err(ProgramGoesOn {
            pid: self.leader.map(|leader| leader.pid),
            error: refusal,
        })
    }

    /// Kills a program that runs, with its group. Returns `None` if the program does not run.
    fn kill_if_running(&self) -> Option<Result<(), Errno>> {
        (self.look() == ProgramLife::Running).then(|| self.kill())
    }

    fn kill(&self) -> Result<(), Errno> {
        let leader = self.leader.filter(|leader| self.has_group(*leader));
        let group = leader.and_then(|leader| Pid::from_raw(leader.pid));
        let mut outcome = group.map_or(Ok(()), |group| kill_process_group(group, Signal::KILL));
        // The kill goes on behind a process that this user may not kill, such as a set-uid program:
        // the others could still put the secret in place.
        let marked = self.marked(|_| true).filter_map(Pid::from_raw);
        for process in marked {
            outcome = kill_process(process, Signal::KILL).and(outcome);
        }
        outcome
    }
}

/// The fields of proc(5) about a process.
struct ProcessStat {
    /// `Z` for a process that has ended, and whose parent has not asked for the status.
    state: String,
    group: i32,
    started: u64,
}

impl ProcessStat {
    fn has_ended(&self) -> bool {
        ["Z", "X"].contains(&&*self.state)
    }

    fn read(pid: &str) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The second field, the name of the program, may have spaces and brackets.
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
        let mut fields = fields.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.to_owned(),
            group: fields.nth(1)?.parse().ok()?,
            started: fields.nth(16)?.parse().ok()?,
        })
    }
}

/// Returns the boot of the system and the namespace of this process's ids.
fn system() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// The time between two looks at a program: a look reads a few files of `/proc`, and a person
/// notices no tenth of a second.
const LIFE_INTERVAL: Duration = Duration::from_millis(100);
/// The number of looks at a program that was killed: together 2 s, far more than the kernel takes.
const END_ATTEMPTS: usize = 100;
/// The time between two looks at a program that was killed: the kernel takes some milliseconds.
const END_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// The number of looks for a daemon that is being started: together 10 s, which a busy machine
    /// may take.
    const START_LOOKS: usize = 100;

    /// Starts a shell that leads a group of its own.
    fn shell(script: &str) -> (Child, ProgramTrace) {
        let mark = ProgramMark::new().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).process_group(0);
        command.env(ProgramMark::VARIABLE, mark.value());
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        let trace = ProgramTrace::of(pid, mark).unwrap();
        (child, trace)
    }

    #[tokio::test]
    async fn a_group_lives_until_its_last_process_has_ended() {
        let (mut child, trace) = shell("sleep 60 & :");
        child.wait().unwrap();
        assert_eq!(
            trace.look(),
            ProgramLife::Running,
            "a child in the background"
        );
        trace.end().await.unwrap();
        assert_eq!(trace.look(), ProgramLife::Ended);
    }

    #[tokio::test]
    async fn a_program_is_found_and_ended_by_its_mark_alone() {
        let (mut child, trace) = shell("sleep 60 & wait");
        let ahead = ProgramTrace {
            leader: None,
            ..trace.clone()
        };
        let text = serde_json::to_string(&ahead).unwrap();
        assert!(!text.contains("pid\":"), "{text}");
        assert_eq!(serde_json::from_str::<ProgramTrace>(&text).unwrap(), ahead);
        assert_eq!(ahead.look(), ProgramLife::Running);
        ahead.end().await.unwrap();
        child.wait().unwrap();
        assert_eq!(ahead.look(), ProgramLife::Unseen);
        assert_eq!(trace.look(), ProgramLife::Ended);
    }

    #[tokio::test]
    async fn a_daemon_that_a_program_leaves_behind_is_found_and_ended() {
        let (mut child, trace) = shell("setsid sh -c 'sleep 60 & exec sleep 60' & :");
        child.wait().unwrap();
        let has_left = || {
            trace
                .marked(|of| of.group != trace.leader.unwrap().pid)
                .count()
                == 2
        };
        for _ in 0..START_LOOKS {
            if has_left() {
                break;
            }
            tokio::time::sleep(LIFE_INTERVAL).await;
        }
        assert!(has_left(), "the two processes of the daemon");
        assert_eq!(trace.look(), ProgramLife::Running);
        trace.end().await.unwrap();
        assert_eq!(trace.look(), ProgramLife::Ended);
        assert_eq!(trace.marked(|_| true).count(), 0);
    }

    /// The group lives on after its leader, as `foo | bar &` in a shell leaves it.
    #[tokio::test]
    async fn a_group_without_the_mark_is_another_and_is_not_killed() {
        let (mut leader, trace) = shell("sleep 60 & :");
        leader.wait().unwrap();
        let of_ours = ProgramTrace {
            mark: ProgramMark::new().unwrap(),
            ..trace.clone()
        };
        assert_eq!(of_ours.look(), ProgramLife::Ended);
        of_ours.end().await.unwrap();
        assert_eq!(trace.look(), ProgramLife::Running, "it was not killed");
        trace.end().await.unwrap();
    }

    #[test]
    fn another_process_of_the_id_is_not_the_program() {
        let (mut child, trace) = shell("sleep 60");
        let leader = trace.leader.unwrap();
        let later = ProgramLeader {
            started: leader.started + 1,
            ..leader
        };
        for (other, expected) in [
            (trace.clone(), ProgramLife::Running),
            (
                ProgramTrace {
                    leader: Some(later),
                    mark: ProgramMark::new().unwrap(),
                    ..trace.clone()
                },
                ProgramLife::Ended,
            ),
            (
                ProgramTrace {
                    system: "another".to_owned(),
                    ..trace
                },
                ProgramLife::Unseen,
            ),
        ] {
            assert_eq!(other.look(), expected, "{other:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
