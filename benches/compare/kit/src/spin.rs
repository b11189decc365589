//! Keeps a virtual CPU from halting: a busy loop that any ordinary task preempts at once. Without
//! the loop, waking an idle virtual CPU costs tens of microseconds, which the latency of every
//! proxy would include.

use crate::args::Args;
use std::time::{Duration, Instant};

pub fn run(args: &Args) {
    unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        assert!(libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) == 0, "SCHED_IDLE");
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    // With autogroup scheduling every session is a group, and this file alone lowers the priority
    // of the group.
    let _ = std::fs::write("/proc/self/autogroup", "19");
    let end = Instant::now() + Duration::from_secs_f64(args.num("secs", 60.0));
    while Instant::now() < end {
        for _ in 0..10_000 {
            std::hint::spin_loop();
        }
    }
}
