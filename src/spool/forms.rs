//! The contents of events in other forms than the Cloud API's, by the forms in the provider's
//! definition.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::contents::EventContents;
use super::items::Class;
use super::record::Request;
use crate::json;
use crate::provider::event_form::{EventForm, EventKind, EventMark};
use crate::provider::party;
use crate::query;

impl EventContents {
    /// Reads a request. An event that is not in the Cloud API's form has the conversations that the
    /// first fitting form names, and else the lane of all events without a form.
    #[must_use]
    pub fn of_request(request: &Request, forms: &[EventForm]) -> Self {
        let mut contents = Self::read(&request.body);
        if contents.is_by_body() {
            let source = NamingPart::of(request);
            let named = forms.iter().find_map(|form| {
                let ends = source.as_ref()?.ends(form)?;
                Some((form.kind, ends))
            });
            if let Some((kind, ends)) = named {
                contents.have(kind, ends);
            }
        }
        contents
    }

    fn have(&mut self, kind: EventKind, ends: Vec<ConversationEnds>) {
        self.class = match kind {
            EventKind::Message => Class::Message,
            EventKind::Status => Class::Status,
        };
        self.lanes = ends.iter().map(ConversationEnds::lane).collect();
        let senders = ends.iter().filter_map(|ends| ends.sender.clone());
        self.senders = senders.collect();
        self.is_partial = false;
        let users: BTreeSet<_> = ends.into_iter().filter_map(|ends| ends.user).collect();
        // The body is a single item: the provider repeats the event as a whole.
        if let Some(item) = self.items.first_mut() {
            item.class = self.class;
            item.sender = self.senders.first().cloned();
            item.users = users.into_iter().collect();
        }
    }
}

/// The two ends of a conversation, in the form in which numbers are compared.
struct ConversationEnds {
    sender: Option<String>,
    /// `None` for an element of a list that names nobody.
    user: Option<String>,
}

impl ConversationEnds {
    fn lane(&self) -> String {
        match &self.user {
            Some(user) => format!("{}\n{user}", self.sender.as_deref().unwrap_or_default()),
            None => SHARED_LANE.to_owned(),
        }
    }
}

/// The part of a request that names the ends.
enum NamingPart<'r> {
    Json(&'r str),
    /// A form, or the query of a request without a body.
    Pairs(&'r str),
}

/// The texts at a place, one for each element of a list on the way.
type Texts<'r> = Vec<Option<Cow<'r, str>>>;

impl<'r> NamingPart<'r> {
    /// Returns the part that names the ends; `None` for a body that is no text, or larger than a
    /// provider's events are.
    fn of(request: &'r Request) -> Option<Self> {
        if request.body.len() > MAX_BODY {
            return None;
        }
        let body = std::str::from_utf8(&request.body).ok()?.trim();
        if body.starts_with(['{', '[']) {
            return Some(Self::Json(body));
        }
        if !body.is_empty() {
            return Some(Self::Pairs(body));
        }
        request.query.as_deref().map(Self::Pairs)
    }

    /// Returns the ends that an event of a form names; `None` for an event of another form.
    fn ends(&self, form: &EventForm) -> Option<Vec<ConversationEnds>> {
        if form.mark.as_ref().is_some_and(|mark| !self.has(mark)) {
            return None;
        }
        let users = self.first(&form.user)?;
        let mut senders = self.first(&form.sender).unwrap_or_default();
        // A sender beside a list belongs to every element.
        if let [sender] = senders.as_slice() {
            senders = vec![sender.clone(); users.len()];
        }
        if senders.is_empty() {
            senders = vec![None; users.len()];
        }
        let is_paired = senders.len() == users.len();
        let ends = senders
            .iter()
            .zip(&users)
            .map(|(sender, user)| ConversationEnds {
                sender: named(sender.as_ref()),
                user: named(user.as_ref()),
            });
        is_paired.then(|| ends.collect())
    }

    fn has(&self, mark: &EventMark) -> bool {
        let is_there =
            |text: &str| mark.values.is_empty() || mark.values.iter().any(|value| value == text);
        let texts = self.texts(&mark.place);
        texts.iter().flatten().any(|text| is_there(text))
    }

    /// Returns the texts at the first place that has any.
    fn first(&self, places: &[Vec<String>]) -> Option<Texts<'r>> {
        let texts = places.iter().map(|place| self.texts(place));
        texts
            .into_iter()
            .find(|texts| texts.iter().flatten().any(|text| !text.is_empty()))
    }

    fn texts(&self, place: &[String]) -> Texts<'r> {
        match (self, place) {
            (Self::Json(text), place) => json::texts_at(text, place),
            (Self::Pairs(text), [name]) => {
                let pairs = query::fields(text).filter(|pair| pair.name() == name.as_str());
                vec![pairs.last().map(|pair| pair.value())]
            }
            (Self::Pairs(_), _) => Vec::new(),
        }
    }
}

fn named(text: Option<&Cow<'_, str>>) -> Option<String> {
    let name = party(text?);
    (!name.is_empty()).then(|| name.into_owned())
}

/// The bound on bodies that are searched for names. An element of a list takes 16 bytes, and may be
/// two bytes of the body.
const MAX_BODY: usize = 256 * 1024;
/// The lane of events without a form; [`EventContents::read`] gives it to every body of unknown
/// form.
const SHARED_LANE: &str = "body";

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::provider::presets;

    fn contents(provider: &str, body: &str, query: Option<&str>) -> EventContents {
        let provider = presets::provider(provider).unwrap();
        let forms = provider.webhook.clone().unwrap().forms;
        let request = Request {
            method: "POST".to_owned(),
            query: query.map(str::to_owned),
            headers: Vec::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        EventContents::of_request(&request, &forms)
    }

    /// Asserts the class and the lanes of an event of a provider; `/` stands between the number and
    /// the person.
    #[track_caller]
    fn assert_lanes(provider: &str, body: &str, class: Class, lanes: &[&str]) {
        let contents = contents(provider, body, None);
        let found: Vec<_> = contents
            .lanes
            .iter()
            .map(|lane| lane.replace('\n', "/"))
            .collect();
        assert_eq!(
            (contents.class, found),
            (class, lanes.iter().map(|&lane| lane.to_owned()).collect()),
            "{provider}: {body}"
        );
    }

    /// The lane of the number and the person of most events below.
    const LANE: &str = "15550001111/16505551234";

    /// Events of each provider as its documentation shows them: class and lane.
    const DOCUMENTED: &[(&str, &str, Class, &str)] = &[
        (
            "twilio",
            "From=whatsapp%3A%2B16505551234&To=whatsapp%3A%2B15550001111&SmsStatus=received&Body=a%3Db",
            Class::Message,
            LANE,
        ),
        (
            "twilio",
            "MessageSid=SM1&MessageStatus=read&From=whatsapp:%2B15550001111&To=whatsapp:%2B16505551234",
            Class::Status,
            LANE,
        ),
        (
            "vonage",
            r#"{"channel":"whatsapp","message_uuid":"a","to":"15550001111","from":"16505551234","text":"x","message_type":"text"}"#,
            Class::Message,
            LANE,
        ),
        (
            "vonage",
            r#"{"channel":"whatsapp","message_uuid":"a","to":"16505551234","from":"15550001111","status":"read"}"#,
            Class::Status,
            LANE,
        ),
        (
            "gupshup",
            r#"{"app":"Demo","timestamp":1580227766370,"version":2,"type":"message","payload":{"id":"A","source":"16505551234","type":"text","payload":{"text":"Hi"},"sender":{"phone":"16505551234","name":"D"}}}"#,
            Class::Message,
            "Demo/16505551234",
        ),
        (
            "gupshup",
            r#"{"app":"Demo","timestamp":1580546677791,"version":2,"type":"message-event","payload":{"id":"e","type":"delivered","destination":"16505551234","payload":{"ts":1}}}"#,
            Class::Status,
            "Demo/16505551234",
        ),
        (
            "sinch",
            r#"{"app_id":"01E","message":{"id":"m","direction":"TO_APP","channel_identity":{"channel":"WHATSAPP","identity":"+16505551234","app_id":""},"conversation_id":"c","contact_id":"k"}}"#,
            Class::Message,
            "01E/16505551234",
        ),
        (
            "sinch",
            r#"{"app_id":"01E","message_delivery_report":{"message_id":"m","status":"READ","channel_identity":{"channel":"WHATSAPP","identity":"+16505551234","app_id":""},"contact_id":"k"}}"#,
            Class::Status,
            "01E/16505551234",
        ),
        (
            "telnyx",
            r#"{"data":{"event_type":"message.received","payload":{"direction":"inbound","from":{"phone_number":"+16505551234"},"to":[{"phone_number":"+15550001111","status":"delivered"}]}}}"#,
            Class::Message,
            LANE,
        ),
        (
            "telnyx",
            r#"{"data":{"event_type":"message.finalized","payload":{"direction":"outbound","from":{"phone_number":"+15550001111"},"to":[{"phone_number":"+16505551234","status":"delivered"}]}}}"#,
            Class::Status,
            LANE,
        ),
        (
            "plivo",
            "From=16505551234&To=15550001111&MessageUUID=a&ContentType=text&Body=hi",
            Class::Message,
            LANE,
        ),
        (
            "plivo",
            "From=15550001111&To=16505551234&MessageUUID=a&Status=delivered",
            Class::Status,
            LANE,
        ),
        (
            "ycloud",
            r#"{"id":"e","type":"whatsapp.inbound_message.received","whatsappInboundMessage":{"id":"m","from":"+16505551234","to":"+15550001111"}}"#,
            Class::Message,
            LANE,
        ),
        (
            "ycloud",
            r#"{"id":"e","type":"whatsapp.message.updated","whatsappMessage":{"id":"m","from":"+15550001111","to":"+16505551234","status":"read"}}"#,
            Class::Status,
            LANE,
        ),
        (
            "messagebird",
            r#"{"type":"message.created","contact":{"id":"c","msisdn":16505551234},"message":{"id":"m","channelId":"ch","direction":"received"}}"#,
            Class::Message,
            "ch/16505551234",
        ),
        (
            "bird",
            r#"{"service":"channels","event":"whatsapp.inbound","payload":{"id":"4","channelId":"52","sender":{"contact":{"id":"d4","identifierKey":"phonenumber","identifierValue":"+16505551234"}},"direction":"incoming"}}"#,
            Class::Message,
            "52/16505551234",
        ),
        (
            "wati",
            r#"{"eventType":"newContactMessageReceived","id":"6","waId":"16505551234","senderName":"New"}"#,
            Class::Message,
            "/16505551234",
        ),
        (
            "zenvia",
            r#"{"id":"e","type":"MESSAGE","subscriptionId":"s","channel":"whatsapp","direction":"IN","message":{"id":"m","from":"16505551234","to":"15550001111","direction":"IN"}}"#,
            Class::Message,
            LANE,
        ),
        (
            "zenvia",
            r#"{"id":"e","type":"MESSAGE","subscriptionId":"s","channel":"whatsapp","direction":"OUT","message":{"id":"m","from":"15550001111","to":"16505551234","direction":"OUT"}}"#,
            Class::Message,
            LANE,
        ),
        (
            "wassenger",
            r#"{"object":"message","event":"message:in:new","device":{"id":"d"},"data":{"id":"m","fromNumber":"+16505551234","toNumber":"+15550001111"}}"#,
            Class::Message,
            LANE,
        ),
        (
            "wassenger",
            r#"{"id":"evt_01","event":"message:in:new","device":"d","data":{"message":{"id":"m","from":"16505551234","to":"15550001111","fromMe":false}}}"#,
            Class::Message,
            "d/16505551234",
        ),
        (
            "clickatell",
            r#"{"event":{"moText":[{"channel":"whatsapp","messageId":"a","from":"16505551234","to":"15550001111","content":"x","whatsapp":{"profileName":"New"}}]}}"#,
            Class::Message,
            LANE,
        ),
        (
            "clickatell",
            r#"{"event":{"moMedia":[{"channel":"whatsapp","messageId":"a","from":"16505551234","to":"15550001111","files":[{"fileId":"f"}]}]}}"#,
            Class::Message,
            LANE,
        ),
        (
            "clickatell",
            r#"{"event":{"messageStatusUpdate":[{"channel":"whatsapp","messageId":"a1","status":"READ"}]}}"#,
            Class::Status,
            "/a1",
        ),
        (
            "bird",
            r#"{"service":"channels","event":"whatsapp.outbound","payload":{"id":"4","channelId":"52","receiver":{"contacts":[{"id":"d4","identifierKey":"phonenumber","identifierValue":"+16505551234"}]},"status":"delivered","direction":"outgoing"}}"#,
            Class::Status,
            "52/16505551234",
        ),
        (
            "kaleyra",
            r#"{"meta_object":{"value":{"metadata":{"display_phone_number":"15550001111","phone_number_id":"15550001111"},"contacts":[{"wa_id":"16505551234"}],"messages":[{"from":"16505551234","id":"wamid.1","type":"text"}]},"field":"messages"},"extra_info":{}}"#,
            Class::Message,
            LANE,
        ),
        (
            "route-mobile",
            r#"{"messages":[{"id":"6","from":"16505551234","type":"text","timestamp":"1670051363","text":{"body":"Hi"}}],"contacts":[{"wa_id":"16505551234"}],"brand_msisdn":"15550001111","request_id":"6"}"#,
            Class::Message,
            LANE,
        ),
        (
            "route-mobile",
            r#"{"statuses":[{"id":"6","recipient_id":"16505551234","status":"read","timestamp":"1"}],"brand_msisdn":"15550001111"}"#,
            Class::Status,
            LANE,
        ),
        (
            "interakt",
            r#"{"version":"1.0","type":"message_received","data":{"customer":{"id":"c","channel_phone_number":"16505551234"},"message":{"id":"m","chat_message_type":"CustomerMessage"}}}"#,
            Class::Message,
            "/16505551234",
        ),
    ];

    #[test]
    fn the_events_of_each_provider_stand_in_the_lane_of_the_conversation() {
        for &(provider, body, class, lane) in DOCUMENTED {
            assert_lanes(provider, body, class, &[lane]);
        }
    }

    #[test]
    fn a_list_has_a_lane_for_each_person() {
        let body = r#"{"results":[{"from":"1","to":"9","integrationType":"WHATSAPP"},{"from":"2","to":"9","integrationType":"WHATSAPP"}],"messageCount":2}"#;
        assert_lanes("infobip", body, Class::Message, &["/1", "/2"]);
        let report = r#"{"results":[{"messageId":"a","to":"1","doneAt":"2026"},{"messageId":"b","doneAt":"2026"}]}"#;
        assert_lanes("infobip", report, Class::Status, &["/1", "body"]);
        let seen = r#"{"results":[{"messageId":"a","from":"1","to":"9","seenAt":"2026"}]}"#;
        assert_lanes("infobip", seen, Class::Status, &["/1"]);
    }

    #[test]
    fn an_event_without_a_form_has_the_lane_of_all_such_events() {
        let large = format!(
            r#"{{"type":"message","app":"a","payload":{{"source":"1","x":"{}"}}}}"#,
            "x".repeat(MAX_BODY)
        );
        for (provider, body) in [
            (
                "gupshup",
                r#"{"app":"a","type":"user-event","payload":{"phone":"1","type":"opted-in"}}"#,
            ),
            (
                "gupshup",
                r#"{"app":"a","type":"message","payload":{"source":""}}"#,
            ),
            ("gupshup", large.as_str()),
            ("vonage", "not JSON"),
            (
                "telnyx",
                r#"{"data":{"event_type":"message.received","payload":{"from":{"phone_number":"1"},"to":[{"phone_number":"2"},{"phone_number":"3"}]}}}"#,
            ),
            ("generic", r#"{"from":"1","to":"2"}"#),
            ("twilio", ""),
        ] {
            assert_lanes(provider, body, Class::Other, &["body"]);
        }
    }

    #[test]
    fn a_person_is_found_by_the_number_and_a_query_is_read_where_there_is_no_body() {
        let query = Some("From=whatsapp%3A%2B16505551234&To=whatsapp%3A%2B15550001111");
        let contents = contents("twilio", "", query);
        assert_eq!(contents.items.len(), 1);
        assert_eq!(contents.items[0].users, ["16505551234"]);
        assert_eq!(contents.items[0].sender.as_deref(), Some("15550001111"));
        assert!(contents.senders.contains("15550001111"));
    }

    #[test]
    fn the_cloud_api_s_form_needs_no_entry() {
        let body = r#"{"entry":[{"id":"1","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"9"},"messages":[{"id":"wamid.A","from":"1"}]}}]}]}"#;
        assert_lanes("360dialog", body, Class::Message, &["9/1"]);
        assert_lanes("twilio", body, Class::Message, &["9/1"]);
    }
}
