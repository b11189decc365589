//! The parts of an application's job that a provider's operations cover.

use http::Method;

use super::definition::Provider;

impl Provider {
    /// Returns the parts of the job that the operations cover, by fixed words in a fixed order.
    ///
    /// `read` is "mark as read" and, where the vendor has one, the sign of typing.
    #[must_use]
    pub fn coverage(&self) -> Vec<&'static str> {
        let has = |name: &str| self.operation(name).is_some();
        let has_media = |method: &Method| {
            let media = self.operations.iter().filter(|own| own.name == "media");
            let mut requests = media.flat_map(|operation| &operation.requests);
            requests.any(|request| request.methods.contains(method))
        };
        let parts = [
            ("send", has("messages")),
            ("media in", has_media(&Method::GET)),
            ("media out", has_media(&Method::POST)),
            ("read", has("read") || !self.limits.receipt.is_empty()),
            ("status", has("status")),
            ("templates", has("templates")),
            ("conversations", has("conversations")),
            ("webhooks", self.webhook.is_some()),
        ];
        let covered = parts.into_iter().filter(|(_, covers)| *covers);
        covered.map(|(part, _)| part).collect()
    }
}
