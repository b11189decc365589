//! The errors of the Graph API, in the words and the shape in which it sends them.

use http::StatusCode;

use super::json::{Json, object};

/// An error as Graph answers it.
#[derive(Clone, Debug)]
pub(super) struct GraphError {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) kind: &'static str,
    pub(super) code: i64,
    pub(super) subcode: Option<i64>,
    pub(super) details: Option<String>,
    pub(super) transient: Option<bool>,
    pub(super) for_user: Option<Box<(String, String)>>,
}

impl GraphError {
    /// An `OAuthException`, which most are.
    pub(super) fn new(status: StatusCode, code: i64, message: impl Into<String>) -> GraphError {
        GraphError {
            status,
            message: message.into(),
            kind: "OAuthException",
            code,
            subcode: None,
            details: None,
            transient: None,
            for_user: None,
        }
    }

    /// `error_data.details`, with which messaging errors explain themselves.
    pub(super) fn details(mut self, details: impl Into<String>) -> GraphError {
        self.details = Some(details.into());
        self
    }

    fn subcode(mut self, subcode: i64) -> GraphError {
        self.subcode = Some(subcode);
        self
    }

    fn method_exception(mut self) -> GraphError {
        self.kind = "GraphMethodException";
        self
    }

    /// No token at all.
    pub(super) fn no_token() -> GraphError {
        GraphError::new(StatusCode::UNAUTHORIZED, 104, "An access token is required to request this resource.")
    }

    /// A token that nobody issued.
    pub(super) fn unknown_token() -> GraphError {
        let message = "Invalid OAuth access token - Cannot parse access token";
        GraphError::new(StatusCode::UNAUTHORIZED, 190, message)
    }

    /// A token that was taken back.
    pub(super) fn revoked_token() -> GraphError {
        let message = "Error validating access token: The session has been invalidated because the user \
                       changed their password or Facebook has changed the session for security reasons.";
        GraphError::new(StatusCode::UNAUTHORIZED, 190, message).subcode(460)
    }

    /// A token past its time.
    pub(super) fn expired_token(expired: &str, now: &str) -> GraphError {
        let message =
            format!("Error validating access token: Session has expired on {expired}. The current time is {now}.");
        GraphError::new(StatusCode::UNAUTHORIZED, 190, message).subcode(463)
    }

    /// A request that carries its credential twice. Graph's front end refuses it before Graph sees it;
    /// here it says what is wrong, so that a proxy which doubles the header is caught.
    pub(super) fn doubled_authorization() -> GraphError {
        let message = "(#100) More than one Authorization header";
        GraphError::new(StatusCode::BAD_REQUEST, 100, message)
    }

    /// A token without the scope for what it asks.
    pub(super) fn missing_scope(scope: &str) -> GraphError {
        match scope {
            "whatsapp_business_messaging" => {
                GraphError::new(StatusCode::FORBIDDEN, 10, "(#10) Application does not have permission for this action")
            }
            scope => GraphError::new(
                StatusCode::FORBIDDEN,
                200,
                format!("(#200) Requires {scope} permission to manage the object"),
            ),
        }
    }

    /// "Require App Secret" is on and the call has no proof.
    pub(super) fn no_proof() -> GraphError {
        let message = "API calls from the server require an appsecret_proof argument";
        GraphError::new(StatusCode::BAD_REQUEST, 100, message).method_exception()
    }

    /// The proof is of another token, another secret or another time.
    pub(super) fn wrong_proof() -> GraphError {
        let message = "Invalid appsecret_proof provided in the API argument";
        GraphError::new(StatusCode::BAD_REQUEST, 100, message).method_exception()
    }

    /// An object that is not there, or not for this token.
    pub(super) fn unknown_object(method: &str, id: &str) -> GraphError {
        let message = format!(
            "Unsupported {} request. Object with ID '{id}' does not exist, cannot be loaded due to missing \
             permissions, or does not support this operation. Please read the Graph API documentation at \
             https://developers.facebook.com/docs/graph-api",
            method.to_ascii_lowercase()
        );
        GraphError::new(StatusCode::BAD_REQUEST, 100, message).method_exception().subcode(33)
    }

    /// A path that the API does not have.
    pub(super) fn unknown_path(path: &str) -> GraphError {
        GraphError::new(StatusCode::BAD_REQUEST, 2500, format!("Unknown path components: {path}"))
    }

    /// A parameter that must be there.
    pub(super) fn required(name: &str) -> GraphError {
        GraphError::new(StatusCode::BAD_REQUEST, 100, format!("(#100) The parameter {name} is required."))
    }

    /// A parameter with a value it cannot have.
    pub(super) fn parameter(message: impl AsRef<str>) -> GraphError {
        GraphError::new(StatusCode::BAD_REQUEST, 100, format!("(#100) {}", message.as_ref()))
    }

    /// `(#100) Invalid parameter`, explained in the details.
    pub(super) fn invalid(details: &str) -> GraphError {
        GraphError::parameter("Invalid parameter").details(details)
    }

    /// 131008: a part of the message is missing.
    pub(super) fn missing_part(details: String) -> GraphError {
        GraphError::new(StatusCode::BAD_REQUEST, 131_008, "(#131008) Required parameter is missing").details(details)
    }

    /// 131009: a part of the message cannot be used.
    pub(super) fn wrong_part(details: String) -> GraphError {
        GraphError::new(StatusCode::BAD_REQUEST, 131_009, "(#131009) Parameter value is not valid").details(details)
    }

    /// 130429: this number sends too fast.
    pub(super) fn throughput(status: StatusCode) -> GraphError {
        GraphError::new(status, 130_429, "(#130429) Rate limit hit")
            .details("Cloud API message throughput has been reached.")
            .subcode(2_494_055)
    }

    /// 131056: this number sends to that one too often.
    pub(super) fn pair(status: StatusCode) -> GraphError {
        let message = "(#131056) (Business Account, Consumer Account) pair rate limit hit";
        GraphError::new(status, 131_056, message).details(
            "Message failed to send because there were too many messages sent from this phone number to the \
             same phone number in a short period of time.",
        )
    }

    /// 131000: nobody knows, and nobody knows either whether the message was sent.
    pub(super) fn unknown() -> GraphError {
        GraphError::new(StatusCode::INTERNAL_SERVER_ERROR, 131_000, "(#131000) Something went wrong")
            .details("Message failed to send due to an unknown error.")
    }

    /// No template has that name.
    pub(super) fn no_template(name: &str) -> GraphError {
        let mut error = GraphError::new(StatusCode::BAD_REQUEST, 100, "Invalid parameter").subcode(2_593_002);
        error.transient = Some(false);
        error.for_user = Some(Box::new((
            "Message Template Not Found".to_owned(),
            format!("The message template {name} wasn't found for this account."),
        )));
        error
    }

    /// Whether it concerns an object of an account, or came before one was found.
    pub(super) fn before_any_account(&self) -> bool {
        matches!((self.code, self.subcode), (104 | 190 | 2500, _) | (100, Some(33)))
    }

    /// The body, with the keys in the recorded order.
    pub(super) fn json(&self, trace: &str) -> Json {
        let mut error =
            object([("message", self.message.as_str().into()), ("type", self.kind.into()), ("code", self.code.into())]);
        if let Some(details) = &self.details {
            let data = object([("messaging_product", "whatsapp".into()), ("details", details.as_str().into())]);
            error = error.with("error_data", data);
        }
        if let Some(subcode) = self.subcode {
            error = error.with("error_subcode", subcode);
        }
        if let Some(transient) = self.transient {
            error = error.with("is_transient", transient);
        }
        if let Some((title, text)) = self.for_user.as_deref() {
            error = error.with("error_user_title", title.as_str()).with("error_user_msg", text.as_str());
        }
        object([("error", error.with("fbtrace_id", trace))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_object_reads_as_recorded() {
        let recorded = r#"{"error":{"message":"Unsupported post request. Object with ID '123123' does not exist, cannot be loaded due to missing permissions, or does not support this operation. Please read the Graph API documentation at https:\/\/developers.facebook.com\/docs\/graph-api","type":"GraphMethodException","code":100,"error_subcode":33,"fbtrace_id":"AzJYAMZdf4WaDlLDXeqjTr9"}}"#;
        let error = GraphError::unknown_object("POST", "123123");
        assert_eq!(error.json("AzJYAMZdf4WaDlLDXeqjTr9").graph(), recorded);
    }

    #[test]
    fn a_throttled_number_reads_as_documented() {
        let documented = r#"{"error":{"message":"(#130429) Rate limit hit","type":"OAuthException","code":130429,"error_data":{"messaging_product":"whatsapp","details":"Cloud API message throughput has been reached."},"error_subcode":2494055,"fbtrace_id":"Az8or2yhqkZfEZ-_4Qn_Bam"}}"#;
        let error = GraphError::throughput(StatusCode::BAD_REQUEST);
        assert_eq!(error.json("Az8or2yhqkZfEZ-_4Qn_Bam").graph(), documented);
    }

    #[test]
    fn a_missing_template_reads_as_recorded() {
        let recorded = r#"{"error":{"message":"Invalid parameter","type":"OAuthException","code":100,"error_subcode":2593002,"is_transient":false,"error_user_title":"Message Template Not Found","error_user_msg":"The message template fake name wasn't found for this account.","fbtrace_id":"Ax5tIkALJCP4l5S8jbPvW2n"}}"#;
        assert_eq!(GraphError::no_template("fake name").json("Ax5tIkALJCP4l5S8jbPvW2n").graph(), recorded);
    }

    #[test]
    fn a_wrong_message_id_reads_as_recorded() {
        let recorded = r#"{"error":{"message":"(#100) Invalid parameter","type":"OAuthException","code":100,"error_data":{"messaging_product":"whatsapp","details":"Please check the message ID you have provided."},"fbtrace_id":"A3PJ2-1aODhbAGAh66zQkwf"}}"#;
        let error = GraphError::invalid("Please check the message ID you have provided.");
        assert_eq!(error.json("A3PJ2-1aODhbAGAh66zQkwf").graph(), recorded);
    }
}
