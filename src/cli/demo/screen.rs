//! The screen of the person who watches the demo.

use std::process::Stdio;

use tokio::process::Command;

/// True where a browser could show a page: on a Mac, or with a display.
pub(super) fn is_there() -> bool {
    let has_display = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    cfg!(target_os = "macos") || DISPLAYS.into_iter().any(has_display)
}

/// Opens a page in the browser of the person. Without a program for that, the printed address has
/// to do.
pub(super) fn open(page: &str) {
    let opened = Command::new(OPENER)
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut child) = opened {
        // The opener ends by itself; a browser that it starts goes on.
        tokio::spawn(async move { child.wait().await.ok() });
    }
}

/// The variables that name a display.
const DISPLAYS: [&str; 2] = ["WAYLAND_DISPLAY", "DISPLAY"];
/// The program that opens an address in the browser.
const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};
