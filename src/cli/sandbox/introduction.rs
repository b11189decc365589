//! The text that a sandbox prints at the start: its addresses, and a configuration for
//! `proxy.toml`.

use std::fmt::{self, Write as _};
use std::path::Path;

use keyside_sandbox::{Dialect, Sandbox};

use super::account::SandboxAccount;
use super::describe_magic_recipients;
use super::files::toml_string;

/// The facts for the text.
pub(super) struct Introduction<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) provider: Option<&'static Dialect>,
    pub(super) account: &'a SandboxAccount,
    pub(super) dir: &'a Path,
    pub(super) tls: bool,
    /// The callback URL of webhooks.
    pub(super) callback: &'a str,
}

impl Introduction<'_> {
    /// Writes the text.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        self.write_addresses(&mut text)?;
        self.write_provider(&mut text)?;
        self.write_credential(&mut text)?;
        self.write_webhook(&mut text)?;
        write!(text, "\n{}", describe_magic_recipients(self.provider))?;
        Ok(text)
    }

    fn write_addresses(&self, text: &mut String) -> fmt::Result {
        let origin = self.origin();
        let host = self.provider.map_or("graph.facebook.com", |it| it.host);
        writeln!(text, "The sandbox answers for {host} on {origin}")?;
        if self.provider.is_none() {
            let media = self.media_origin();
            writeln!(
                text,
                "                and for lookaside.fbsbx.com on {media}"
            )?;
        }
        writeln!(text, "The secrets are in {}", self.dir.display())?;
        if let Some(dialect) = self.provider {
            writeln!(
                text,
                "Send a message:       POST {origin}{}",
                dialect.path()
            )?;
        }
        writeln!(text, "See the messages:     {origin}/_sandbox/sends")?;
        writeln!(
            text,
            "Let a user write:     POST {origin}/_sandbox/events, such as {{\"type\":\"text\",\"text\":\"Hello\"}}"
        )?;
        writeln!(text, "See the deliveries:   {origin}/_sandbox/deliveries\n")
    }

    fn write_provider(&self, text: &mut String) -> fmt::Result {
        let preset = self.provider.map_or("meta", |dialect| dialect.name);
        writeln!(text, "[provider.sandbox]")?;
        writeln!(text, "extends        = \"{preset}\"")?;
        writeln!(text, "upstream       = \"{}\"", self.origin())?;
        if self.provider.is_none() {
            writeln!(text, "media_upstream = \"{}\"", self.media_origin())?;
            writeln!(text, "upstreams      = {{ api = \"{}\" }}", self.origin())?;
        }
        let further = self.provider.map_or(&[][..], |dialect| dialect.further);
        if !further.is_empty() {
            let origin = self.origin();
            let hosts = further
                .iter()
                .map(|(name, _)| format!("{name} = \"{origin}\""))
                .collect::<Vec<_>>()
                .join(", ");
            writeln!(text, "upstreams      = {{ {hosts} }}")?;
        }
        if self.tls {
            let file = toml_string("", &self.dir.join("ca.pem"));
            writeln!(text, "ca             = {file}")?;
        }
        if self.provider.is_some_and(Dialect::exchanges_elsewhere) {
            writeln!(text, "\n[provider.sandbox.access_token]")?;
            writeln!(text, "upstream       = \"{}\"", self.origin())?;
        }
        Ok(())
    }

    fn write_credential(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "\n[credential.sandbox]")?;
        writeln!(text, "provider     = \"sandbox\"")?;
        for (key, value) in &self.account.credential {
            writeln!(text, "{key:<12} = {value}")?;
        }
        writeln!(text, "\n[[route]]\ncredential = \"sandbox\"")
    }

    fn write_webhook(&self, text: &mut String) -> fmt::Result {
        let has_events = |dialect: &Dialect| dialect.events.is_some();
        if !self.provider.is_none_or(has_events) {
            return Ok(());
        }
        writeln!(text, "\n[[webhook]]")?;
        writeln!(text, "path       = \"/webhooks/whatsapp\"")?;
        writeln!(text, "credential = \"sandbox\"")?;
        if self.provider.is_some() {
            // The query of a request is added before a signature over the URL is verified.
            let public_url = self.callback.split('?').next().unwrap_or_default();
            writeln!(text, "public_url = \"{public_url}\"")?;
        }
        writeln!(
            text,
            "forward    = \"http://127.0.0.1:3000/webhooks/whatsapp\""
        )
    }

    fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.sandbox.graph())
    }

    fn media_origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.sandbox.media())
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

#[cfg(test)]
mod tests {
    use keyside_sandbox::Options;

    use super::super::files::directory;
    use super::*;

    async fn introduction(provider: Option<&'static Dialect>) -> String {
        let dir = directory(None).unwrap().join("x \"y\"");
        std::fs::create_dir(&dir).unwrap();
        let account = SandboxAccount::new(&dir, provider).unwrap();
        let options = Options {
            provider,
            ..Options::default()
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let introduction = Introduction {
            sandbox: &sandbox,
            provider,
            account: &account,
            dir: &dir,
            tls: true,
            callback: "http://127.0.0.1:8081/webhooks/whatsapp",
        };
        let text = introduction.text().unwrap();
        assert!(!text.contains(account.key.trim()), "{text}");
        std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
        text
    }

    #[tokio::test]
    async fn the_introduction_contains_no_secret_and_quotes_paths() {
        let text = introduction(None).await;
        assert!(text.contains("token        = \"file:/"), "{text}");
        assert!(text.contains("/x \\\"y\\\"/token\"\n"), "{text}");
    }

    #[tokio::test]
    async fn the_introduction_for_another_provider_contains_the_parameters_of_the_account() {
        let text = introduction(Dialect::named("vonage")).await;
        assert!(text.contains("private_key  = \"file:/"), "{text}");
        assert!(text.contains("application_id = \""), "{text}");
        assert!(text.contains("POST https://127.0.0.1:"), "{text}");
    }
}
