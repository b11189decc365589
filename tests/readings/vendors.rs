//! Messages of shipped presets with a second, forbidden sender or channel beside the allowed name,
//! in every container and place.

use super::corpus::{Corpus, FORM, JSON, Sent};

/// A shipped preset, with the places that name senders and channels.
pub struct Vendor {
    /// The preset.
    pub preset: &'static str,
    /// The lines of the credential.
    pub credential: &'static str,
    /// The target of messages.
    pub target: &'static str,
    /// The places of senders, with spaces between them.
    pub senders: &'static str,
    /// The places of channels.
    pub channels: &'static str,
    /// A message.
    pub message: fn(&mut Corpus, &str) -> Sent,
}

/// Presets with nested senders, with channels, and with names in forms and queries.
pub const VENDORS: [Vendor; 4] = [
    Vendor {
        preset: "infobip",
        credential: "base = \"x\"\napi_key = \"file:@DIR@/key\"",
        target: "/messages-api/1/messages",
        senders: "from messages/*/from smsFailover/from messages/*/sender messages/*/failover/*/sender",
        channels: "messages/*/channel messages/*/failover/*/channel smsFailover/from smsFailover/text",
        message: infobip,
    },
    Vendor {
        preset: "clickatell",
        credential: "api_key = \"file:@DIR@/key\"",
        target: "/v1/message",
        senders: "messages/*/from",
        channels: "messages/*/channel",
        message: clickatell,
    },
    Vendor {
        preset: "plivo",
        credential: "auth_id = \"MA1\"\nauth_token = \"file:@DIR@/key\"",
        target: "/v1/Account/MA1/Message/",
        senders: "src",
        channels: "type",
        message: plivo,
    },
    Vendor {
        preset: "twilio",
        credential: "account_sid = \"AC1\"\nauth_token = \"file:@DIR@/key\"",
        target: "/2010-04-01/Accounts/AC1/Messages.json",
        senders: "From FallbackFrom",
        channels: "",
        message: twilio,
    },
];

fn infobip(corpus: &mut Corpus, target: &str) -> Sent {
    let mut fields = vec![with_channel(corpus, "sender", "destinations", "failover")];
    for _ in 0..corpus.below(2) {
        fields.push(with_channel(corpus, "sender", "destinations", "failover"));
    }
    let name = corpus.written("messages");
    let messages = in_container(corpus, fields);
    let mut text = format!("{{{name}:{messages}");
    if corpus.one_in(3) {
        let (name, sender) = (corpus.written("from"), corpus.sender());
        text.push_str(&format!(",{name}:{sender}"));
    }
    if corpus.one_in(8) {
        let sender = corpus.sender();
        let name = corpus.pick(&["from", "text"]);
        text.push_str(&format!(",\"smsFailover\":{{\"{name}\":{sender}}}"));
    }
    text.push('}');
    corpus.sent(target.to_owned(), JSON.to_owned(), text.into_bytes())
}

fn clickatell(corpus: &mut Corpus, target: &str) -> Sent {
    let message = with_channel(corpus, "from", "to", "ignored");
    let name = corpus.written("messages");
    let messages = in_container(corpus, vec![message]);
    let text = format!("{{{name}:{messages}}}");
    corpus.sent(target.to_owned(), JSON.to_owned(), text.into_bytes())
}

fn plivo(corpus: &mut Corpus, target: &str) -> Sent {
    let text = with_channel(corpus, "src", "dst", "ignored").replace("\"channel\"", "\"type\"");
    corpus.sent(target.to_owned(), JSON.to_owned(), text.into_bytes())
}

fn twilio(corpus: &mut Corpus, target: &str) -> Sent {
    let mut form = "To=whatsapp%3A%2B1&From=whatsapp%3A%2B1555".to_owned();
    for _ in 0..corpus.below(3) {
        form.push('&');
        form.push_str(&corpus.pair(&["From", "FallbackFrom", "from", "Body"]));
    }
    let mut target = target.to_owned();
    if corpus.one_in(4) {
        target.push('?');
        target.push_str(&corpus.pair(&["From", "FallbackFrom", "PageSize"]));
    }
    corpus.sent(target, FORM.to_owned(), form.into_bytes())
}

/// A message with a sender and a channel, and perhaps with further messages for the case that it
/// fails.
fn with_channel(corpus: &mut Corpus, sender: &str, to: &str, failover: &str) -> String {
    let named = (corpus.written(sender), corpus.sender());
    let channel = (corpus.written("channel"), channel_of(corpus));
    let mut text = format!(
        "{{{}:{},{}:{},\"{to}\":[{{\"to\":\"1\"}}]",
        named.0, named.1, channel.0, channel.1
    );
    if corpus.one_in(3) {
        let (named, channel) = (corpus.sender(), channel_of(corpus));
        let inner = format!("{{\"{sender}\":{named},\"channel\":{channel}}}");
        let name = corpus.written(failover);
        let inner = in_container(corpus, vec![inner]);
        text.push_str(&format!(",{name}:{inner}"));
    }
    text.push('}');
    text
}

/// A channel in JSON, mostly the allowed one.
fn channel_of(corpus: &mut Corpus) -> String {
    if corpus.one_in(8) {
        return corpus
            .pick(&["\"SMS\"", "[\"SMS\"]", "null", "\"sms\""])
            .to_owned();
    }
    corpus.pick(&["\"WHATSAPP\"", "\"whatsapp\""]).to_owned()
}

/// Elements as a list, or in a container with the look of a list for some reader.
pub(super) fn in_container(corpus: &mut Corpus, elements: Vec<String>) -> String {
    let first = elements.first().cloned().unwrap_or_default();
    let list = elements.join(",");
    match corpus.below(12) {
        0 => first,
        1 => format!("[[{list}]]"),
        2 => format!("{{\"0\":{first}}}"),
        3 => format!("{{\"0\":[{list}]}}"),
        4 => format!("[{list},null]"),
        5 => "null".to_owned(),
        _ => format!("[{list}]"),
    }
}
