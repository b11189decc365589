//! What a sandbox says when it is up: what to know, and what to paste into `proxy.toml`.

use std::fmt::{self, Write as _};
use std::path::Path;

use super::account::Account;
use super::files::quoted;
use super::magic_recipients;
use crate::sandbox::{Dialect, Sandbox};

/// All of it.
pub(super) struct Introduction<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) provider: Option<&'static Dialect>,
    pub(super) account: &'a Account,
    pub(super) dir: &'a Path,
    pub(super) tls: bool,
    /// The URL that gets webhooks.
    pub(super) callback: &'a str,
}

impl Introduction<'_> {
    /// The text.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        self.greet(&mut text)?;
        self.configure(&mut text)?;
        write!(text, "\n{}", magic_recipients(self.provider))?;
        Ok(text)
    }

    fn greet(&self, text: &mut String) -> fmt::Result {
        let at = self.origin();
        writeln!(text, "The sandbox answers for {} on {at}", self.provider.map_or("graph.facebook.com", |it| it.host))?;
        if self.provider.is_none() {
            writeln!(text, "                and for lookaside.fbsbx.com on {}", self.media_origin())?;
        }
        writeln!(text, "Its secrets are in {}", self.dir.display())?;
        if let Some(dialect) = self.provider {
            writeln!(text, "A message is sent: POST {at}{}", dialect.path())?;
        }
        writeln!(text, "What was sent:     {at}/_sandbox/sends")?;
        writeln!(
            text,
            "A user writes:     POST {at}/_sandbox/events, such as {{\"type\":\"text\",\"text\":\"Hello\"}}"
        )?;
        writeln!(text, "What came of it:   {at}/_sandbox/deliveries\n")
    }

    fn configure(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "[provider.sandbox]")?;
        writeln!(text, "extends        = \"{}\"", self.provider.map_or("meta", |dialect| dialect.name))?;
        writeln!(text, "upstream       = \"{}\"", self.origin())?;
        if self.provider.is_none() {
            writeln!(text, "media_upstream = \"{}\"", self.media_origin())?;
        }
        if self.tls {
            writeln!(text, "ca             = {}", quoted("", &self.dir.join("ca.pem")))?;
        }
        if self.provider.is_some_and(Dialect::exchanges_elsewhere) {
            writeln!(text, "\n[provider.sandbox.access_token]\nupstream       = \"{}\"", self.origin())?;
        }
        writeln!(text, "\n[credential.sandbox]")?;
        writeln!(text, "provider     = \"sandbox\"")?;
        for (key, value) in &self.account.credential {
            writeln!(text, "{key:<12} = {value}")?;
        }
        writeln!(text, "\n[[route]]\ncredential = \"sandbox\"")?;
        if self.provider.is_none_or(|dialect| dialect.webhook.is_some()) {
            writeln!(text, "\n[[webhook]]\npath       = \"/webhooks/whatsapp\"\ncredential = \"sandbox\"")?;
            if self.provider.is_some() {
                // What is signed has the query of the request.
                let public_url = self.callback.split('?').next().unwrap_or_default();
                writeln!(text, "public_url = \"{public_url}\"")?;
            }
            writeln!(text, "forward    = \"http://127.0.0.1:3000/webhooks/whatsapp\"")?;
        }
        Ok(())
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
    use super::super::files::directory;
    use super::*;
    use crate::sandbox::Options;

    async fn introduction(provider: Option<&'static Dialect>) -> String {
        let dir = directory(None).unwrap().join("x \"y\"");
        std::fs::create_dir(&dir).unwrap();
        let account = Account::new(&dir, provider).unwrap();
        let sandbox = Sandbox::start(Options { provider, ..Options::default() }).await.unwrap();
        let callback = "http://127.0.0.1:8081/webhooks/whatsapp";
        let text = Introduction { sandbox: &sandbox, provider, account: &account, dir: &dir, tls: true, callback }
            .text()
            .unwrap();
        assert!(!text.contains(account.key.trim()), "{text}");
        std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
        text
    }

    #[tokio::test]
    async fn what_it_prints_holds_no_secret_and_quotes_paths() {
        let text = introduction(None).await;
        assert!(text.contains("token        = \"file:/") && text.contains("/x \\\"y\\\"/token\"\n"), "{text}");
    }

    #[tokio::test]
    async fn for_another_provider_it_has_the_parameters_of_the_account() {
        let text = introduction(Dialect::named("vonage")).await;
        assert!(text.contains("private_key  = \"file:/") && text.contains("application_id = \""), "{text}");
        assert!(text.contains("A message is sent: POST https://127.0.0.1:"), "{text}");
    }
}
