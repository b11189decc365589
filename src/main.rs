//! Arguments, command, exit status.

#![expect(clippy::print_stderr, reason = "before the log is there, and for the panic hook")]

use std::process::ExitCode;

use clap::Parser;
use keyside::cli::{Arguments, run};

fn main() -> ExitCode {
    // A panic names its place and never what it was working on: that might be a secret.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        eprintln!("keyside: internal error{place}; the request it happened in was given up");
    }));
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("keyside: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(arguments));
    runtime.shutdown_background();
    code
}
