//! `keyside rotate`

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::client::ask;
use crate::reload::Live;
use crate::rotation::{Rotation, TOKEN};

/// The options of `keyside rotate`.
#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    /// The credential
    name: String,
    /// The configuration [default: proxy.toml, then /etc/keyside/proxy.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin listener of the running sidecar: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900")]
    admin: String,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: RotateArgs) -> ExitCode {
    let live = match super::loaded(args.config.clone()).await {
        Ok(live) => live,
        Err(exit) => return exit,
    };
    match rotate(&args, &live).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("keyside: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn rotate(args: &RotateArgs, live: &Live) -> Result<(), Box<dyn std::error::Error>> {
    let rotation = Rotation::begin(live, &args.name).await?;
    println!("1. the token in use is good: {}, of app {}", rotation.old(), rotation.app());
    if args.dry_run {
        println!("2. it would be exchanged for a new one, and that written to {}", rotation.home);
        println!("3. the sidecar at {} would be reloaded, and the old token then revoked", args.admin);
        return Ok(());
    }
    let new = rotation.exchange().await?;
    println!("2. exchanged for {}, which is good", new.fingerprint());
    rotation.put(&new).await?;
    println!("3. written to {}", rotation.home);
    if let Err(problem) = take_up(args, &new.fingerprint().to_string()) {
        return Err(rotation.undo(&new, &problem).await.into());
    }
    println!("4. the sidecar at {} sends with it", args.admin);
    rotation.revoke(&new).await?;
    println!("5. the old token is revoked, and dead");
    println!("Other sidecars with the old token need the new one too: give it to them where they read it from.");
    Ok(())
}

/// Reloads the sidecar and makes sure that it sends with the token of this fingerprint.
fn take_up(args: &RotateArgs, fingerprint: &str) -> Result<(), String> {
    let (status, answer) = ask(&args.admin, "POST", "/reload").map_err(|error| error.to_string())?;
    if status != 200 {
        let reasons = answer.get("reasons").unwrap_or(&Value::Null);
        return Err(format!("the sidecar refused it: {reasons}"));
    }
    let (_, status) = ask(&args.admin, "GET", "/status").map_err(|error| error.to_string())?;
    let mut credentials = status.get("credentials").and_then(Value::as_array).into_iter().flatten();
    let uses = credentials.any(|credential| {
        let mut secrets = credential["secrets"].as_array().into_iter().flatten();
        credential["name"] == args.name.as_str()
            && credential["sends"] == "current"
            && secrets.any(|secret| secret["name"] == TOKEN && secret["fingerprint"] == fingerprint)
    });
    if uses { Ok(()) } else { Err("the sidecar does not send with it".to_owned()) }
}
