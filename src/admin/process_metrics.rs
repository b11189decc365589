//! The metrics that every process has under the same names: processor, memory, file descriptors,
//! start.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::log;

/// Makes a registry whose metrics are read from the system at each reading. No prefix stands before
/// their names.
pub(super) fn process_registry() -> Registry {
    let mut registry = Registry::default();
    let started = SystemTime::now().duration_since(UNIX_EPOCH);
    registry.register_collector(Box::new(ProcessCollector {
        started: started.unwrap_or_default().as_secs_f64(),
    }));
    registry
}

/// The counter of lost log lines, kept outside the registry.
#[derive(Debug)]
pub(super) struct LogCollector;

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Lines of the log that were lost because nobody read the lines before";
        let lost = ConstCounter::new(log::lost_lines());
        lost.encode(encoder.encode_descriptor("log_lost", help, None, MetricType::Counter)?)
    }
}

#[derive(Debug)]
struct ProcessCollector {
    /// The start of the process as Unix time.
    started: f64,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new(cpu_seconds());
        let name = "process_cpu_seconds";
        let help = "Time of the processors that the process has used";
        counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let memory = memory();
        for (name, help, value) in [
            (
                "process_start_time_seconds",
                "Start of the process, as Unix time",
                Some(self.started),
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                std::fs::read_dir("/proc/self/fd")
                    .ok()
                    .map(|open| open.count() as f64),
            ),
            (
                "process_max_fds",
                "File descriptors that the process may open",
                getrlimit(Resource::Nofile).current.map(|most| most as f64),
            ),
            (
                "process_resident_memory_bytes",
                "Memory of the process that is not swapped out",
                memory.resident,
            ),
            (
                "process_virtual_memory_bytes",
                "Addresses that the process has taken",
                memory.taken,
            ),
        ] {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
            }
        }
        Ok(())
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The memory of the process in bytes.
struct Memory {
    taken: Option<f64>,
    resident: Option<f64>,
}

fn memory() -> Memory {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |name: &str| {
        let number: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()?;
        Some(number * 1024.0)
    };
    Memory {
        taken: kibibytes("VmSize:"),
        resident: kibibytes("VmRSS:"),
    }
}
