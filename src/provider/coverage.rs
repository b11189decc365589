//! The parts of an application's job that a provider's operations cover.

use http::Method;

use super::definition::Provider;
use super::received::{Receipt, ReceivedMedia};

impl Provider {
    /// Returns the parts of the job that the operations cover, by fixed words in a fixed order.
    #[must_use]
    pub fn coverage(&self) -> Vec<&'static str> {
        let has = |name: &str| self.operation(name).is_some();
        let parts = [
            ("send", has("messages")),
            (
                "media in",
                self.has_media(&Method::GET) && self.received_media == Some(ReceivedMedia::Fetched),
            ),
            (
                "media in by link",
                self.received_media == Some(ReceivedMedia::Linked),
            ),
            (
                "media in by URL",
                self.received_media == Some(ReceivedMedia::Named),
            ),
            ("media out", self.has_media(&Method::POST)),
            ("read", self.receipts.contains(&Receipt::Read)),
            ("typing", self.receipts.contains(&Receipt::Typing)),
            ("status", has("status")),
            ("templates", has("templates")),
            ("conversations", has("conversations")),
            ("webhooks", self.webhook.is_some()),
        ];
        let covered = parts.into_iter().filter(|(_, covers)| *covers);
        covered.map(|(part, _)| part).collect()
    }

    /// True if the operation `media` has a request with this method.
    fn has_media(&self, method: &Method) -> bool {
        let media = self.operations.iter().filter(|own| own.name == "media");
        let mut requests = media.flat_map(|operation| &operation.requests);
        requests.any(|request| request.methods.contains(method))
    }
}
