//! `keyside ca`: a certificate authority and a certificate for alias mode.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use time::OffsetDateTime;

use super::config::ConfigArgs;
use crate::ca::{Made, NewReason, make};
use crate::config::{Config, ListenAddress};
use crate::shell::shell_word;

/// The options of `keyside ca`.
#[derive(Debug, clap::Args)]
pub(super) struct CaArgs {
    /// The folder for the authority and the certificate; made if missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Makes or renews the files, and prints what to do next. Exits with 78 without a usable
/// configuration.
pub(super) fn run(args: CaArgs) -> ExitCode {
    super::harden();
    let file = args.config.file();
    let config = match Config::load(&file) {
        Ok(config) => config,
        Err(faults) => {
            complain!("{faults}");
            complain!(
                "keyside: `ca` makes a certificate for the hosts of the configured providers: name the configuration with --config"
            );
            return ExitCode::from(super::BAD_CONFIGURATION);
        }
    };
    let hosts = hosts(&config);
    match make(&args.dir, &hosts, OffsetDateTime::now_utc()) {
        Ok(made) => {
            print(&made, &hosts, &address(&config));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("keyside: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the names of the hosts of every provider with a route, without the names of this
/// machine.
fn hosts(config: &Config) -> Vec<String> {
    let credentials = config
        .routes
        .iter()
        .filter_map(|route| config.credentials.get(&route.credential));
    let hosts: BTreeSet<_> = credentials
        .flat_map(|credential| credential.provider.aliased_origins())
        .map(|origin| origin.host.clone())
        .collect();
    hosts.into_iter().filter(|host| is_dns_name(host)).collect()
}

fn is_dns_name(host: &str) -> bool {
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    !is_address && host != "localhost"
}

/// Returns the address for hosts entries: where Keyside listens with TLS, or else loopback.
fn address(config: &Config) -> String {
    let mut addresses = config
        .outbound
        .tls
        .iter()
        .flat_map(|tls| &tls.listen)
        .filter_map(|address| match address {
            ListenAddress::Tcp(address) if !address.ip().is_unspecified() => Some(address.ip()),
            _ => None,
        });
    addresses
        .next()
        .map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string())
}

fn print(made: &Made, hosts: &[String], address: &str) {
    let names = hosts.join(" ");
    match &made.new_ca {
        None => say!("Kept  {} until {}", shown(&made.ca), day(made.ca_ends)),
        Some(reason) => {
            say!("Made  {} until {}", shown(&made.ca), day(made.ca_ends));
            say!("      a new authority for {names}, and for no other name: {reason}");
            if *reason != NewReason::First {
                say!(
                    "      EVERY APPLICATION MUST TRUST THE NEW ONE: give each {} or",
                    shown(&made.ca)
                );
                say!("      {} again, and restart it", shown(&made.bundle));
            }
        }
    }
    say!("Made  {} until {}", shown(&made.cert), day(made.ends));
    say!("      a certificate for {names}; run this command again to renew it");
    say!(
        "Keep  {} to yourself. Keyside does not need it; whoever has it can pose as",
        shown(&made.ca_key)
    );
    say!("      these hosts towards your applications");
    if made.ca_key_was_open {
        complain!(
            "keyside: warning: other users may have read {}: delete it with {} and run this command again",
            made.ca_key.display(),
            made.ca.display()
        );
    }
    print_steps(made, &names, address);
}

fn print_steps(made: &Made, names: &str, address: &str) {
    say!("\n1. Let Keyside listen, in its configuration. It must be able to read both files:");
    say!("     [outbound.tls]");
    say!("     listen = [\"127.0.0.1:443\"]");
    say!("     cert   = \"{}\"", shown(&made.cert));
    say!("     key    = \"{}\"", shown(&made.key));
    say!(
        "\n2. Let the applications, and not Keyside, find it under these names, in their /etc/hosts:"
    );
    say!("     {address} {names}");
    say!("\n3. Let the applications trust the authority, in their environment:");
    let ca = shown(&made.ca);
    let bundle = shown(&made.bundle);
    say!(
        "     Node.js             NODE_EXTRA_CA_CERTS={}",
        shell_word(&ca)
    );
    say!(
        "     Python's requests   REQUESTS_CA_BUNDLE={}",
        shell_word(&bundle)
    );
    say!(
        "     OpenSSL, others     SSL_CERT_FILE={}",
        shell_word(&bundle)
    );
    match made.of_system {
        0 => say!(
            "   This system has no list of authorities: with the bundle, an application can call only these hosts."
        ),
        count => say!(
            "   The bundle has the {count} authorities of this system besides, because it replaces an application's own list."
        ),
    }
    say!("\n`keyside check` tells if the names lead Keyside to itself. More: docs/alias.md");
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Returns a time as a date.
fn day(time: OffsetDateTime) -> String {
    time.date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_names_of_other_machines() {
        for (host, expected) in [
            ("graph.facebook.com", true),
            ("localhost", false),
            ("127.0.0.1", false),
            ("[::1]", false),
        ] {
            assert_eq!(is_dns_name(host), expected, "{host}");
        }
    }
}
