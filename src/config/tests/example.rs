//! The configurations that ship with Keyside.

use std::collections::BTreeSet;

use super::parse;
use crate::config::{Config, file};
use crate::document::{Document, FaultReport, Reader};

/// The example, and the example with every key of it in use.
fn examples() -> [String; 2] {
    let text = include_str!("../../../proxy.toml.example");
    let used = text.lines().map(|line| match line.strip_prefix('#') {
        // `#key` and `#  { continued }` are keys, `# Prose` is a comment.
        Some(rest) if !rest.starts_with(' ') || rest.starts_with("  {") => rest,
        _ => line,
    });
    [text.to_owned(), used.collect::<Vec<_>>().join("\n")]
}

#[test]
fn the_example_parses_as_it_is_and_with_every_key_in_use() {
    for text in examples() {
        match Config::parse(&text, "proxy.toml.example") {
            Ok(config) => assert_eq!(config.warnings, []),
            Err(faults) if !cfg!(feature = "otlp") => {
                let fault =
                    "telemetry: this build has no `otlp`; build Keyside with `--features otlp`";
                let all = faults.to_string();
                assert!(all.ends_with(fault) && all.lines().count() == 1, "{all}");
            }
            Err(faults) => unreachable!("{faults}"),
        }
    }
}

/// The TOML examples of a page of the documentation.
fn toml_blocks(page: &str) -> Vec<&str> {
    let blocks = page.split("```toml\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

#[test]
fn the_configurations_in_the_documentation_are_valid() {
    for complete in toml_blocks(include_str!("../../../README.md")) {
        parse(complete);
    }
    for indented in toml_blocks(include_str!("../../../docs/alias.md")) {
        parse(indented);
    }
    let account = "[credential.acme]\nprovider = \"meta\"\napp_secret = \"env:A\"\nverify_token = \"env:V\"\n";
    for webhook in toml_blocks(include_str!("../../../docs/events.md")) {
        parse(&format!("{account}{webhook}"));
    }
    let providers = toml_blocks(include_str!("../../../docs/providers.md"));
    let [twilio, mine, account_at_mine] = providers[..] else {
        unreachable!("three examples: {providers:?}");
    };
    parse(twilio);
    let config = parse(&format!("{mine}{account_at_mine}"));
    let upstream = config.credentials["acme"].provider.upstream.as_ref();
    assert_eq!(upstream.unwrap().host, "eu.api.vendor.example");
}

/// The configuration in a manifest of Kubernetes.
fn deployed(yaml: &str) -> Config {
    let (_, text) = yaml.split_once("proxy.toml: |\n").unwrap();
    let lines = text
        .lines()
        .take_while(|line| *line != "---")
        .map(|line| line.trim_start());
    parse(&lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_deployment_with_a_spool_has_room_for_it_on_the_volume_of_each_pod() {
    let yaml = include_str!("../../../deploy/kubernetes/spool.yaml");
    let spool = deployed(yaml).spool.unwrap();
    assert!(spool.dir.starts_with("/var/lib/keyside"), "{:?}", spool.dir);
    assert!(yaml.contains("{ name: events, mountPath: /var/lib/keyside }"));
    let (_, size) = yaml.split_once("storage: ").unwrap();
    let gibibytes: u64 = size.split_once("Gi").unwrap().0.parse().unwrap();
    assert!(gibibytes << 30 >= 2 * spool.max_size, "{gibibytes} GiB");
}

#[test]
fn the_configuration_of_the_deployment_parses_and_shares_its_limits_among_all_pods() {
    let yaml = include_str!("../../../deploy/kubernetes/keyside.yaml");
    let config = deployed(yaml);
    assert_eq!((config.routes.len(), config.webhooks.len()), (1, 1));
    let replicas = config.limits.unwrap().replicas;
    assert!(
        yaml.contains(&format!("\n  replicas: {replicas}\n")),
        "as many pods as share the limits"
    );
}

#[test]
fn the_example_shows_every_key_that_is_read() {
    let [_, text] = examples();
    let report = FaultReport::with_asked_keys();
    let document = Document::parse(&text, "f", &report).unwrap();
    file::read(&document, &report);
    let asked: BTreeSet<String> = report
        .asked()
        .into_iter()
        // The presets show the parts of operations, injection, paths and verification, their own
        // secrets, and codes.
        .filter(|key| {
            ![
                "inject.",
                "paths.",
                "operations.",
                "webhook.verify.",
                "errors.advice.",
            ]
            .iter()
            .any(|part| key.contains(part))
        })
        .filter(|key| !key.contains("secrets.verify_token") && !key.contains("secrets.app_secret"))
        .collect();
    let mut missing = Vec::new();
    for key in &asked {
        if !stands_in(&document, key) {
            missing.push(key);
        }
    }
    assert!(asked.len() > 40, "{asked:?}");
    assert_eq!(missing, Vec::<&String>::new());
}

fn stands_in(document: &Document, path: &str) -> bool {
    let report = FaultReport::default();
    let mut readers = vec![Reader::new(document, &report)];
    let mut keys = path.split('.').peekable();
    while let Some(key) = keys.next() {
        if keys.peek().is_none() {
            return readers.iter().any(|reader| reader.has(key));
        }
        let fields = readers.iter_mut().filter_map(|reader| reader.field(key));
        readers = fields
            .flat_map(|field| {
                if field.is_table() {
                    field.table().into_iter().collect()
                } else {
                    field.tables()
                }
            })
            .collect();
    }
    false
}

/// A token in Meta's form, an app secret, and a text that could be a name.
const CANARIES: [&str; 3] = [
    "EAAGm0PX4ZCpsBACANARYZCZCsecretsecretsecret0123456789",
    "0123456789abcdef0123456789abcdef",
    "CANARY with spaces",
];

/// The lines that may stand in the place of `KEY = VALUE`, each with a secret where it does not
/// belong.
fn replacements(key: &str, canary: &str) -> [String; 22] {
    [
        format!("{key} = \"{canary}\""),
        format!("{key} = [\"{canary}\"]"),
        format!("{key} = [[\"{canary}\"]]"),
        format!("{key} = {{ {key} = \"{canary}\" }}"),
        format!("{key} = {{ \"{canary}\" = 1 }}"),
        format!("{key} = {canary}"),
        format!("{key} = \"{canary}"),
        format!("{key} = '{canary}"),
        format!("{key} \"{canary}\""),
        format!("{canary} = 1"),
        format!("\"{canary}\" = 1"),
        format!("\"{canary}\" = \"{canary}\""),
        format!("{key}x = \"{canary}\""),
        format!("{key} = \"env:{canary}\""),
        format!("{key} = \"vault:{canary}\""),
        format!("{key} = \"https://{canary}@example.com\""),
        format!("{key} = \"Bearer {canary} {{token\""),
        format!("[{canary}]"),
        format!("[[\"{canary}\"]]"),
        format!("[credential.\"{canary}\"]"),
        format!("[provider.\"{canary}\"]"),
        canary.to_owned(),
    ]
}

/// The tables of the example as small documents: each table alone, but a route with its limits and
/// a webhook with its destinations.
///
/// No fault of a table depends on an unrelated table, so thousands of faulty documents are read in
/// a second.
fn documents(text: &str) -> Vec<Vec<&str>> {
    let mut documents: Vec<Vec<&str>> = Vec::new();
    for line in text.lines() {
        let is_part = line.starts_with("[route.") || line.starts_with("[[webhook.");
        if line.starts_with('[') && !is_part {
            documents.push(Vec::new());
        }
        // Without a preset below, the same code reads the provider in a fraction of the time.
        let is_read = !line.is_empty() && !line.starts_with('#') && !line.starts_with("extends");
        if let Some(document) = documents.last_mut().filter(|_| is_read) {
            document.push(line);
        }
    }
    documents
}

/// The smallest tables that a document refers to, or that refer to the document.
fn context(document: &[&str]) -> &'static str {
    match document.first() {
        Some(&"[credential.acme]") => "[[route]]\ncredential = \"acme\"\n",
        Some(&("[[route]]" | "[[webhook]]")) => {
            "[spool]\ndir = \"/s\"\n[credential.acme]\nprovider = \"meta\"\ntoken = \"file:/t\"\napp_secret = \"file:/s\"\n"
        }
        _ => "",
    }
}

/// Returns everything that a refused configuration shows.
fn shown(text: &str) -> String {
    match Config::parse(text, "f") {
        Ok(_) => String::new(),
        // The debug form has every part of the form for people.
        Err(faults) => format!("{faults:?}"),
    }
}

#[test]
fn no_value_is_ever_repeated_wherever_it_stands() {
    let [_, text] = examples();
    let mut documents = documents(&text);
    documents.push(vec!["[provider.mine]", "extends = \"meta\""]);
    let tried: usize = std::thread::scope(|scope| {
        let tables: Vec<_> = documents
            .iter()
            .map(|document| scope.spawn(|| try_canaries_in(document)))
            .collect();
        tables.into_iter().map(|table| table.join().unwrap()).sum()
    });
    assert!(tried > 2000, "{tried}");
}

/// Puts secrets in the place of each value of a table. Each form of a line has each canary at every
/// third key: all of them at each key would find nothing more, in three times the time. Returns the
/// number of configurations tried.
fn try_canaries_in(document: &[&str]) -> usize {
    let keys = document.iter().enumerate().filter_map(|(index, line)| {
        let (key, _) = line.split_once('=')?;
        Some((index, key.trim()))
    });
    let mut tried = 0;
    for (index, key) in keys {
        let before = document[..index].join("\n");
        let after = document[index + 1..].join("\n");
        for (turn, canary) in CANARIES.into_iter().enumerate() {
            for (form, replacement) in replacements(key, canary).iter().enumerate() {
                if (index + form) % CANARIES.len() != turn {
                    continue;
                }
                let text = [context(document), &before, replacement, &after].join("\n");
                let shown = shown(&text);
                assert!(!shown.contains(canary), "{replacement}\n{shown}");
                assert!(!shown.contains("CANARY"), "{replacement}\n{shown}");
                tried += 1;
            }
        }
    }
    tried
}

proptest::proptest! {
    #[test]
    fn no_text_panics_the_reader(text in "(?s).{0,200}") {
        let _result = Config::parse(&text, "f");
    }

    #[test]
    fn no_damage_to_the_example_panics_the_reader(from in 0usize..21_000, length in 0usize..80, by in "[\\[\\]{}=.,\"'#\\n a0é{}/:-]{0,6}") {
        let [_, text] = examples();
        let mut damaged: Vec<char> = text.chars().collect();
        let from = from.min(damaged.len());
        let to = (from + length).min(damaged.len());
        damaged.splice(from..to, by.chars());
        let text: String = damaged.into_iter().collect();
        let _result = Config::parse(&text, "f");
    }
}
