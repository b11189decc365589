//! `keyside reload`

use std::process::ExitCode;

use serde_json::Value;

use super::client::ask;

/// The options of `keyside reload`.
#[derive(Debug, clap::Args)]
pub(super) struct ReloadArgs {
    /// The admin listener: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900")]
    admin: String,
}

pub(super) fn run(args: &ReloadArgs) -> ExitCode {
    match ask(&args.admin, "POST", "/reload") {
        Ok((200, answer)) => {
            println!("reloaded: generation {}", answer.get("generation").unwrap_or(&Value::Null));
            lines(answer.get("changes"), "nothing changed").for_each(|line| println!("  {line}"));
            ExitCode::SUCCESS
        }
        Ok((_, answer)) => {
            eprintln!("refused; everything stays as it was:");
            lines(answer.get("reasons"), "no reason was given").for_each(|line| eprintln!("  {line}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("keyside: {error}");
            ExitCode::FAILURE
        }
    }
}

fn lines<'a>(list: Option<&'a Value>, otherwise: &'a str) -> impl Iterator<Item = &'a str> {
    let texts = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let none = list.and_then(Value::as_array).is_none_or(Vec::is_empty).then_some(otherwise);
    texts.chain(none)
}
