//! The commands with which a user writes a secret to its place.
//!
//! Each command reads the new value from standard input, or from the file `NEW`: arguments of
//! commands can be seen by every user of a machine, and stay in the history of a shell.

use std::path::Path;

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
        Reference::Vault { path, field } => {
            let value = format!("{field}=-");
            Some(format!(
                "vault kv patch {} {}",
                shell_word(path),
                shell_word(&value)
            ))
        }
        Reference::Aws { name, field: None } => Some(format!(
            "aws secretsmanager put-secret-value --secret-id {} --secret-string file:///dev/stdin",
            shell_word(name)
        )),
        Reference::Aws {
            name,
            field: Some(field),
        } => Some(format!(
            "aws secretsmanager get-secret-value --secret-id {name} --query SecretString --output text | \
             jq --rawfile new NEW '.[\"{field}\"] = ($new | rtrimstr(\"\\n\"))' | \
             aws secretsmanager put-secret-value --secret-id {name} --secret-string file:///dev/stdin"
        )),
        Reference::Gcp { secret } => gcp(secret),
        Reference::Azure { vault, name } => {
            let vault = vault.split('.').next().unwrap_or(vault);
            Some(format!(
                "az keyvault secret set --vault-name {vault} --name {name} --file /dev/stdin --encoding utf-8"
            ))
        }
        Reference::Kubernetes {
            namespace,
            name,
            key,
        } => {
            let namespace = namespace
                .as_ref()
                .map_or(String::new(), |own| format!(" --namespace {own}"));
            Some(kubectl(&format!("{name}{namespace}"), key))
        }
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
                kubectl("SECRET", &key)
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

/// Returns the command for a key of a Secret of Kubernetes.
fn kubectl(secret: &str, key: &str) -> String {
    format!(
        "printf '{{\"data\":{{\"{key}\":\"%s\"}}}}' \"$(base64 -w0)\" | \
         kubectl patch secret {secret} --type merge --patch-file /dev/stdin"
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
        // `printf` is a part of the shell: no list of processes shows the value.
        return format!(
            "(umask 077 && {{ grep -v '^ *\\(export *\\)\\{{0,1\\}}{field} *=' {path}; printf '{field}=%s\\n' \"$(cat NEW)\"; }} \
             > {path}.new && mv {path}.new {path})"
        );
    }
    format!(
        "(umask 077 && jq --rawfile new NEW '.[\"{field}\"] = ($new | rtrimstr(\"\\n\"))' {path} > {path}.new && \
         mv {path}.new {path})"
    )
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
    Some(format!(
        "gcloud secrets versions add {name} --project={project} --data-file=-"
    ))
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
}
