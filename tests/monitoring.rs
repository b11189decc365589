//! The alerts and the dashboard in `deploy/`, with the tools of Prometheus and a real Prometheus.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::client::{Client, get, post};
use crate::support::keyside::{Directory, Keyside, Setup, finish, free_port};
use crate::support::upstream::Upstream;
use crate::support::{APP_SECRET, MESSAGES, eventually};

fn deployed(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    folder.join(file).display().to_string()
}

#[test]
#[ignore = "needs promtool: tests/run servers"]
fn each_alert_fires_in_its_incident_and_none_for_a_healthy_sidecar() {
    let mut promtool = Command::new("promtool");
    promtool.args(["test", "rules", &deployed("prometheus/keyside.test.yml")]);
    let done = finish(&mut promtool, Duration::from_secs(30));
    assert_eq!(done.code, Some(0), "{}", done.output);
    let rules = fs::read_to_string(deployed("prometheus/keyside.rules.yml")).unwrap();
    let tests = fs::read_to_string(deployed("prometheus/keyside.test.yml")).unwrap();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let mut count = 0;
    for alert in alerts {
        assert!(
            tests.contains(&format!("- name: {alert}\n")),
            "{alert} has no incident"
        );
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

/// A Prometheus that reads the metrics of a sidecar each second, killed when dropped.
struct Prometheus {
    child: Child,
    port: u16,
    _dir: Directory,
}

impl Prometheus {
    fn start(keyside: u16) -> Self {
        let (dir, port) = (Directory::new(), free_port());
        let rules = deployed("prometheus/keyside.rules.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nrule_files: [\"{rules}\"]\nscrape_configs:\n  - job_name: keyside\n    \
             static_configs: [{{ targets: [\"127.0.0.1:{keyside}\"] }}]\n"
        );
        let file = dir.write("prometheus.yml", config);
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed");
        Self {
            child,
            port,
            _dir: dir,
        }
    }

    /// Asks, and returns the data of the answer; `None` while Prometheus does not answer.
    fn ask(&self, target: &str) -> Option<Value> {
        let mut client = Client::connect(([127, 0, 0, 1], self.port).into()).ok()?;
        let answer = client.ask(&get(target)).ok()?;
        (answer.status == 200).then(|| answer.json()["data"].clone())
    }

    /// The number of series that a query finds; `None` for a query that Prometheus refuses.
    fn series(&self, query: &str) -> Option<usize> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.ask(&format!("/api/v1/query?query={query}"))?;
        Some(data["result"].as_array()?.len())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sidecar with traffic of each kind that the dashboard shows.
fn busy(upstream: &Upstream) -> Keyside {
    let keyside = Setup::new(upstream)
        .file("app_secret", APP_SECRET)
        .file("verify_token", "a verify token")
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nverify_token = \"file:@DIR@/verify_token\"",
        )
        .more(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[[webhook]]\npath = \"/hook\"\ncredential = \"acme\"\n\
             forward = \"http://127.0.0.1:9/\"",
        )
        .start();
    keyside.event(&post("/hook", "{}"));
    keyside
}

#[test]
#[ignore = "needs Prometheus: tests/run servers"]
fn a_real_prometheus_reads_the_metrics_and_answers_each_query_of_the_dashboard() {
    let upstream = Upstream::ok();
    let keyside = busy(&upstream);
    let prometheus = Prometheus::start(keyside.admin().port());
    let is_up = || prometheus.series("up{job=\"keyside\"} == 1") == Some(1);
    assert!(
        eventually(Duration::from_secs(20), is_up),
        "{}",
        keyside.log()
    );
    let dashboard = fs::read_to_string(deployed("grafana/keyside.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let targets = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| {
            panel["targets"]
                .as_array()
                .unwrap()
                .iter()
                .map(|target| target["expr"].as_str().unwrap())
        });
    let mut asked = 0;
    for expression in targets {
        let query = expression
            .replace("$__rate_interval", "10s")
            .replace("$instance", ".*")
            .replace("$route", ".*");
        // A static token without an answer of the provider has no known end, so the sidecar has no
        // such series.
        let may_be_empty = query.contains("expires") || query.contains("class, code");
        let is_answered = eventually(Duration::from_secs(20), || {
            keyside.post(MESSAGES, "{}");
            keyside.event(&post("/hook", "{}"));
            prometheus
                .series(&query)
                .is_some_and(|found| found > 0 || may_be_empty)
        });
        assert!(is_answered, "{query}: {:?}", prometheus.series(&query));
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
    let rules = prometheus.ask("/api/v1/rules").unwrap();
    let broken = rules["groups"][0]["rules"].as_array().unwrap().iter();
    let broken: Vec<_> = broken.filter(|rule| rule["health"] == "err").collect();
    assert!(broken.is_empty(), "{broken:?}");
}
