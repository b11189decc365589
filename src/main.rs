//! Arguments, command, exit status.

use std::alloc::System;
use std::io::Write;
use std::process::ExitCode;

use keyside::cli::{Arguments, run};
use zeroizing_alloc::ZeroAlloc;

/// Wipes every block of memory when it is freed or moved. A secret passes through buffers that are
/// not Keyside's own: of TLS, of JSON, of a text that grows. None of them leaves a copy behind.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    // The message of a panic might contain a secret: only the place of the panic is printed.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| {
            format!(" at {}:{}", place.file(), place.line())
        });
        let mut stderr = std::io::stderr();
        writeln!(
            stderr,
            "keyside: internal error{place}; the request under way was given up"
        )
        .ok();
    }));
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            writeln!(
                std::io::stderr(),
                "keyside: the runtime cannot start: {error}"
            )
            .ok();
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(arguments));
    runtime.shutdown_background();
    code
}
