//! CPU time, read from /proc: of a session with all its processes, of this process, of the machine.

use std::fs;

/// The CPU time used by every task of a session, in ns (schedstat), and in clock ticks as user and
/// system time.
#[derive(Clone, Copy, Default)]
pub struct SessionCpu {
    pub ns: u64,
    pub user: u64,
    pub system: u64,
}

pub fn session_cpu(sid: i64) -> SessionCpu {
    let mut cpu = SessionCpu::default();
    let Ok(processes) = fs::read_dir("/proc") else { return cpu };
    for process in processes.flatten() {
        let Ok(stat) = fs::read_to_string(process.path().join("stat")) else { continue };
        let Some(name_end) = stat.rfind(')') else { continue };
        let fields: Vec<&str> = stat[name_end + 2..].split(' ').collect();
        if fields.len() < 13 || fields[3].parse() != Ok(sid) {
            continue;
        }
        cpu.user += fields[11].parse::<u64>().unwrap_or(0);
        cpu.system += fields[12].parse::<u64>().unwrap_or(0);
        let Ok(tasks) = fs::read_dir(process.path().join("task")) else { continue };
        for task in tasks.flatten() {
            let schedstat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            cpu.ns += schedstat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    cpu
}

pub fn own_cpu_ns() -> u64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

pub fn now_ns() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(id, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Clock ticks of all CPUs since boot: busy ticks (neither idle nor waiting nor stolen), and stolen
/// ticks.
pub fn machine_ticks() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> =
        stat.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    match ticks[..] {
        [user, nice, system, _idle, _wait, irq, softirq, steal, ..] => (user + nice + system + irq + softirq, steal),
        _ => (0, 0),
    }
}
