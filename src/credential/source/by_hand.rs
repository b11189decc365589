//! The commands with which a user writes a secret to its place.
//!
//! Each command reads the new value from standard input, or from the file `NEW`: arguments of
//! commands can be seen by every user of a machine, and stay in the history of a shell.

use std::path::Path;

use serde_json::Value;

use super::file;
use super::file_write::behind_links;
use super::mount::{Mount, MountPoints};
use crate::config::Reference;
use crate::shell::shell_word;

/// Returns the command for the place that a reference names; `None` for a place that only the user
/// knows.
pub(super) fn command(place: &Reference) -> Option<String> {
    match place {
        Reference::File(path) => Some(at_home(path, None)),
        Reference::FileField { path, field } => Some(at_home(path, Some(field))),
        Reference::Systemd(name) => Some(format!(
            "write the file that LoadCredential={name}: of the unit names, then: systemctl restart UNIT"
        )),
        Reference::Vault { path, field } => Some(vault(path, field)),
        Reference::Aws { name, field } => Some(aws(name, field.as_deref())),
        Reference::Gcp { secret } => gcp(secret),
        Reference::Azure { vault, name } => {
            let vault = vault.split('.').next().unwrap_or(vault);
            Some(format!(
                "az keyvault secret set {} {} --file /dev/stdin --encoding utf-8",
                option("--vault-name", vault),
                option("--name", name)
            ))
        }
        Reference::Kubernetes {
            namespace,
            name,
            key,
        } => Some(kubectl(name, namespace.as_deref(), key)),
        Reference::Env(_) | Reference::Exec { .. } => None,
    }
}

/// Returns the command for a file, where the file can be written: a command for a read-only mount
/// would fail there.
fn at_home(path: &Path, field: Option<&str>) -> String {
    let home = FileHome::of(path);
    let command = |path: &Path| match field {
        None => file(path),
        Some(field) => file_field(path, field),
    };
    match home {
        FileHome::Here => command(path),
        FileHome::ClusterVolume { key } => match field {
            None => format!(
                "in place of SECRET, with the name of the volume's Secret from the manifest of the pod: {}",
                kubectl("SECRET", None, &key)
            ),
            Some(_) => format!(
                "change the key {key} of the volume's Secret, which the manifest of the pod names, with kubectl"
            ),
        },
        FileHome::Mounted(mount) => {
            let point = mount.point.display();
            let source = &mount.source;
            match mount.path_at_source(&behind_links(path).unwrap_or(path.to_owned())) {
                Some(there) => format!(
                    "outside of this mount, in the file system of {source}, of which {point} is a part: {}",
                    command(&there)
                ),
                None => format!(
                    "write it at the source of the read-only mount {point}, {source}, or mount a folder that can be written there"
                ),
            }
        }
        FileHome::MountPoint => format!(
            "{} is mounted by itself: write the file that is mounted there, then start the container again",
            path.display()
        ),
    }
}

/// The place where a file can be written.
enum FileHome {
    /// The file to which the path leads.
    Here,
    /// The Secret of Kubernetes whose volume the kubelet keeps, under this key unless the manifest
    /// maps the key.
    ClusterVolume { key: String },
    /// The source of a read-only mount.
    Mounted(Mount),
    /// The source of a mount of the file alone.
    MountPoint,
}

impl FileHome {
    fn of(path: &Path) -> Self {
        let has_data = |folder: &Path| folder.join("..data").is_symlink();
        if MountPoints::of_this_process().has(path) {
            return Self::MountPoint;
        }
        let mount = behind_links(path).map(|file| Mount::read_only_of(&file));
        match mount.ok().flatten() {
            None => Self::Here,
            Some(_) if path.parent().is_some_and(has_data) => Self::ClusterVolume {
                key: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            },
            Some(mount) => Self::Mounted(mount),
        }
    }
}

/// Returns an option with its value. A value with a hyphen first would be an option of its own as a
/// word of its own.
fn option(name: &str, value: &str) -> String {
    let between = if value.starts_with('-') { '=' } else { ' ' };
    format!("{name}{between}{}", shell_word(value))
}

/// Returns the command for a field of a secret of Vault.
fn vault(path: &str, field: &str) -> String {
    // Two hyphens end the options, so that a path with a hyphen first is no option.
    let end = if path.starts_with('-') { "-- " } else { "" };
    let patch = format!("vault kv patch {end}{}", shell_word(path));
    // The name of a field in an argument ends at the first equals sign.
    if field.contains('=') {
        let key = Value::String(field.to_owned());
        let object = format!("{{{key}: ($new | rtrimstr(\"\\n\"))}}");
        return format!(
            "jq -n --rawfile new NEW {} | {patch} -",
            shell_word(&object)
        );
    }
    format!("{patch} {}", shell_word(&format!("{field}=-")))
}

/// Returns the command for a secret of AWS, or for a field of the secret.
fn aws(name: &str, field: Option<&str>) -> String {
    let id = option("--secret-id", name);
    let put = format!("aws secretsmanager put-secret-value {id} --secret-string file:///dev/stdin");
    match field {
        None => put,
        Some(field) => format!(
            "aws secretsmanager get-secret-value {id} --query SecretString --output text | {} | {put}",
            jq(field)
        ),
    }
}

/// Returns the command that replaces a field of a JSON object.
fn jq(field: &str) -> String {
    let program = format!(
        ".[{}] = ($new | rtrimstr(\"\\n\"))",
        Value::String(field.to_owned())
    );
    format!("jq --rawfile new NEW {}", shell_word(&program))
}

/// Returns the command for a key of a Secret of Kubernetes.
fn kubectl(secret: &str, namespace: Option<&str>, key: &str) -> String {
    // The text is the format of `printf`, in which two characters have a meaning.
    let key = Value::String(key.to_owned()).to_string();
    let key = key.replace('\\', r"\\").replace('%', "%%");
    let patch = format!("{{\"data\":{{{key}:\"%s\"}}}}");
    let namespace = namespace.map_or_else(String::new, |namespace| {
        format!(" {}", option("--namespace", namespace))
    });
    format!(
        "printf {} \"$(base64 -w0)\" | kubectl patch secret {}{namespace} --type merge --patch-file /dev/stdin",
        shell_word(&patch),
        shell_word(secret)
    )
}

/// A file beside the old one, and a rename: no reader ever sees half of a value.
fn file(path: &Path) -> String {
    let shown = path.display().to_string();
    let path = shell_word(&shown);
    format!("(umask 077 && cat > {path}.new && mv {path}.new {path})")
}

/// Returns the command to replace a field of a JSON object, or the lines of a name, in a file.
fn file_field(path: &Path, field: &str) -> String {
    let is_object = is_object(path);
    let shown = path.display().to_string();
    let path = shell_word(&shown);
    if !is_object {
        let lines = format!(r"^ *\(export *\)\{{0,1\}}{} *=", literal(field));
        // `printf` is a part of the shell: no list of processes shows the value.
        return format!(
            "(umask 077 && {{ grep -v {} {path}; printf '%s=%s\\n' {} \"$(cat NEW)\"; }} > {path}.new && \
             mv {path}.new {path})",
            shell_word(&lines),
            shell_word(field)
        );
    }
    format!(
        "(umask 077 && {} {path} > {path}.new && mv {path}.new {path})",
        jq(field)
    )
}

/// Returns the pattern of `grep` that only the text itself matches.
fn literal(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if r"\.[]*^$".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// True for a file with a JSON object, as far as can be seen. A file that cannot be read has lines
/// as likely.
fn is_object(path: &Path) -> bool {
    file::read(path).is_ok_and(|(raw, _)| raw.bytes.trim_ascii_start().starts_with(b"{"))
}

fn gcp(secret: &str) -> Option<String> {
    let mut parts = secret.split('/');
    let project = parts.nth(1)?;
    let name = parts.nth(1)?;
    Some(if name.starts_with('-') {
        let whole = format!("projects/{project}/secrets/{name}");
        format!(
            "gcloud secrets versions add {} --data-file=-",
            shell_word(&whole)
        )
    } else {
        format!(
            "gcloud secrets versions add {} --project={} --data-file=-",
            shell_word(name),
            shell_word(project)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_the_value_from_standard_input_or_a_file() {
        for (place, expected) in [
            (
                Reference::File("/run/secrets/token".into()),
                Some(
                    "(umask 077 && cat > /run/secrets/token.new && mv /run/secrets/token.new /run/secrets/token)",
                ),
            ),
            (
                Reference::File("/run/a b'c".into()),
                Some(
                    r"(umask 077 && cat > '/run/a b'\''c'.new && mv '/run/a b'\''c'.new '/run/a b'\''c')",
                ),
            ),
            (
                Reference::Vault {
                    path: "kv/apps/acme".into(),
                    field: "token".into(),
                },
                Some("vault kv patch kv/apps/acme token=-"),
            ),
            (
                Reference::Aws {
                    name: "apps/acme".into(),
                    field: None,
                },
                Some(
                    "aws secretsmanager put-secret-value --secret-id apps/acme --secret-string file:///dev/stdin",
                ),
            ),
            (
                Reference::Gcp {
                    secret: "projects/p/secrets/s/versions/latest".into(),
                },
                Some("gcloud secrets versions add s --project=p --data-file=-"),
            ),
            (
                Reference::Azure {
                    vault: "acme.vault.azure.net".into(),
                    name: "token".into(),
                },
                Some(
                    "az keyvault secret set --vault-name acme --name token --file /dev/stdin --encoding utf-8",
                ),
            ),
            (
                Reference::Kubernetes {
                    namespace: Some("shop".into()),
                    name: "acme".into(),
                    key: "token".into(),
                },
                Some(
                    "printf '{\"data\":{\"token\":\"%s\"}}' \"$(base64 -w0)\" | \
                     kubectl patch secret acme --namespace shop --type merge --patch-file /dev/stdin",
                ),
            ),
            (Reference::Env("TOKEN".into()), None),
        ] {
            assert_eq!(command(&place).as_deref(), expected, "{place}");
        }
    }

    /// Names with a meaning for a shell, for `printf`, for a pattern, for JSON or for options.
    const HOSTILE: [&str; 11] = [
        "a b", "it's", "$(id)", "-x", "a\"b", "%s", r"a\b", "*.c", "#", "@x", "a=b",
    ];

    /// Runs a command with a value on standard input. Returns the words that each program of the
    /// clouds gets, and what the last one reads.
    fn seen(command: &str, folder: &Path) -> Vec<String> {
        let script = format!(
            "see() {{ printf '%s\\n' \"$@\" >&3; }}\n\
             vault() {{ see vault \"$@\"; }}\n\
             aws() {{ see aws \"$@\"; }}\n\
             jq() {{ see jq \"$@\"; }}\n\
             az() {{ see az \"$@\"; }}\n\
             gcloud() {{ see gcloud \"$@\"; }}\n\
             kubectl() {{ see kubectl \"$@\"; cat >&3; }}\n\
             exec 3>&1\nprintf new | {command}"
        );
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        assert!(output.stderr.is_empty(), "{command}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let folder =
            std::env::temp_dir().join(format!("keyside-by-hand-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    /// Returns the words of the command for a field of Vault. An argument `@x=-` is a field and no
    /// file, because of the equals sign.
    fn vault_words(path: String, field: &str) -> Vec<String> {
        if field.contains('=') {
            let object = format!("{{\"{field}\": ($new | rtrimstr(\"\\n\"))}}");
            return vec![path, object, "-".to_owned()];
        }
        vec![path, format!("{field}=-")]
    }

    /// Returns places with a name in each part that a user chooses, each with words of its command.
    fn places(name: &str) -> Vec<(Reference, Vec<String>)> {
        let own = || name.to_owned();
        let option = |option: &str| {
            if name.starts_with('-') {
                vec![format!("{option}={name}")]
            } else {
                vec![option.to_owned(), own()]
            }
        };
        let aws = |field: Option<String>| Reference::Aws { name: own(), field };
        let path = format!("{name}/acme");
        let secret = format!("projects/p/secrets/{name}");
        let whole_name = name.starts_with('-').then(|| secret.clone());
        let key = Value::String(own());
        let program = format!(".[{key}] = ($new | rtrimstr(\"\\n\"))");
        let patch = format!("{{\"data\":{{{key}:\"bmV3\"}}}}");
        let vault = Reference::Vault {
            path: path.clone(),
            field: own(),
        };
        let azure = Reference::Azure {
            vault: "acme".into(),
            name: own(),
        };
        let kubernetes = Reference::Kubernetes {
            namespace: Some(own()),
            name: "acme".into(),
            key: own(),
        };
        vec![
            (vault, vault_words(path, name)),
            (aws(None), option("--secret-id")),
            (
                aws(Some(own())),
                [option("--secret-id"), vec![program]].concat(),
            ),
            (azure, option("--name")),
            (
                Reference::Gcp { secret },
                vec![whole_name.unwrap_or_else(own)],
            ),
            (kubernetes, [option("--namespace"), vec![patch]].concat()),
        ]
    }

    #[test]
    fn a_shell_takes_a_hostile_name_in_a_command_as_the_name() {
        let folder = folder("clouds");
        for (place, expected) in HOSTILE.into_iter().flat_map(places) {
            let command = command(&place).unwrap();
            let seen = seen(&command, &folder);
            for word in &expected {
                assert!(seen.contains(word), "{command}: {seen:?}");
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_command_for_a_file_with_a_hostile_name_changes_the_file_alone() {
        let folder = folder("files");
        for name in HOSTILE {
            let own = folder.join(name);
            std::fs::create_dir(&own).unwrap();
            let file = own.join(name);
            std::fs::write(&file, "old").unwrap();
            seen(&command(&Reference::File(file.clone())).unwrap(), &own);
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "new", "{name}");
            let of = |value: &str| format!("{name}={value}\n");
            std::fs::write(&file, format!("{}a7c=other\n", of("old"))).unwrap();
            std::fs::write(own.join("NEW"), "new\n").unwrap();
            let field = Reference::FileField {
                path: file.clone(),
                field: name.to_owned(),
            };
            seen(&command(&field).unwrap(), &own);
            let lines = std::fs::read_to_string(&file).unwrap();
            assert_eq!(lines, format!("a7c=other\n{}", of("new")), "{name}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
