//! The errors of the Graph API, in the words and the shape in which Graph sends them.

use http::StatusCode;
use serde::Serialize;

use crate::json::GraphJson;

/// An error as Graph answers it. The texts are recorded from Graph or taken from Meta's
/// documentation.
#[derive(Clone, Debug)]
pub(crate) struct GraphError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) kind: &'static str,
    pub(crate) code: i64,
    pub(crate) subcode: Option<i64>,
    pub(crate) details: Option<String>,
    pub(crate) transient: Option<bool>,
    pub(crate) for_user: Option<Box<UserText>>,
}

/// The title and the text of an error that are meant for people.
#[derive(Clone, Debug)]
pub(crate) struct UserText {
    title: &'static str,
    message: String,
}

impl GraphError {
    /// An error of type `OAuthException`, the usual type.
    pub(crate) fn new(status: StatusCode, code: i64, message: impl Into<String>) -> Self {
        Self {
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

    /// Adds `error_data.details`, the explanation in errors about messages.
    pub(crate) fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    fn subcode(mut self, subcode: i64) -> Self {
        self.subcode = Some(subcode);
        self
    }

    fn method_exception(mut self) -> Self {
        self.kind = "GraphMethodException";
        self
    }

    /// Code 104: the request has no token.
    pub(crate) fn no_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            104,
            "An access token is required to request this resource.",
        )
    }

    /// Code 190: the token was never issued.
    pub(crate) fn unknown_token() -> Self {
        let message = "Invalid OAuth access token - Cannot parse access token";
        Self::new(StatusCode::UNAUTHORIZED, 190, message)
    }

    /// Code 190, subcode 460: the token was revoked.
    pub(crate) fn revoked_token() -> Self {
        let message = "Error validating access token: The session has been invalidated because the user \
                       changed their password or Facebook has changed the session for security reasons.";
        Self::new(StatusCode::UNAUTHORIZED, 190, message).subcode(460)
    }

    /// Code 190, subcode 463: the token is expired.
    pub(crate) fn expired_token(expired: &str, now: &str) -> Self {
        let message = format!(
            "Error validating access token: Session has expired on {expired}. The current time is {now}."
        );
        Self::new(StatusCode::UNAUTHORIZED, 190, message).subcode(463)
    }

    /// Code 100: the request has two `Authorization` headers.
    ///
    /// Meta's front end refuses such a request without a reason. The sandbox names the reason, so
    /// that a proxy with this fault is found.
    pub(crate) fn doubled_authorization() -> Self {
        let message = "(#100) More than one Authorization header";
        Self::new(StatusCode::BAD_REQUEST, 100, message)
    }

    /// Code 10 or 200: the token lacks a scope.
    pub(crate) fn missing_scope(scope: &str) -> Self {
        match scope {
            "whatsapp_business_messaging" => Self::new(
                StatusCode::FORBIDDEN,
                10,
                "(#10) Application does not have permission for this action",
            ),
            scope => Self::new(
                StatusCode::FORBIDDEN,
                200,
                format!("(#200) Requires {scope} permission to manage the object"),
            ),
        }
    }

    /// Code 100: "Require App Secret" is on, and the call has no proof.
    pub(crate) fn no_proof() -> Self {
        let message = "API calls from the server require an appsecret_proof argument";
        Self::new(StatusCode::BAD_REQUEST, 100, message).method_exception()
    }

    /// Code 100: the proof belongs to a different token, secret or time.
    pub(crate) fn wrong_proof() -> Self {
        let message = "Invalid appsecret_proof provided in the API argument";
        Self::new(StatusCode::BAD_REQUEST, 100, message).method_exception()
    }

    /// Code 100, subcode 33: the object does not exist.
    pub(crate) fn unknown_object(method: &str, id: &str) -> Self {
        let message = format!(
            "Unsupported {} request. Object with ID '{id}' does not exist, cannot be loaded due to missing \
             permissions, or does not support this operation. Please read the Graph API documentation at \
             https://developers.facebook.com/docs/graph-api",
            method.to_ascii_lowercase()
        );
        Self::new(StatusCode::BAD_REQUEST, 100, message)
            .method_exception()
            .subcode(33)
    }

    /// Code 2500: the API does not have the path.
    pub(crate) fn unknown_path(path: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            2500,
            format!("Unknown path components: {path}"),
        )
    }

    /// Code 100: a required parameter is missing.
    pub(crate) fn required(name: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            100,
            format!("(#100) The parameter {name} is required."),
        )
    }

    /// Code 100: a parameter has a wrong value.
    pub(crate) fn parameter(message: impl AsRef<str>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            100,
            format!("(#100) {}", message.as_ref()),
        )
    }

    /// Code 100: `(#100) Invalid parameter`, explained in the details.
    pub(crate) fn invalid(details: &str) -> Self {
        Self::parameter("Invalid parameter").details(details)
    }

    /// Code 131008: a part of the message is missing.
    pub(crate) fn missing_part(details: String) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            131_008,
            "(#131008) Required parameter is missing",
        )
        .details(details)
    }

    /// Code 131009: a part of the message has a wrong value.
    pub(crate) fn wrong_part(details: String) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            131_009,
            "(#131009) Parameter value is not valid",
        )
        .details(details)
    }

    /// Code 130429: the sender sends too fast.
    pub(crate) fn throughput(status: StatusCode) -> Self {
        Self::new(status, 130_429, "(#130429) Rate limit hit")
            .details("Cloud API message throughput has been reached.")
            .subcode(2_494_055)
    }

    /// Code 131056: the pair of sender and recipient is too fast.
    pub(crate) fn pair(status: StatusCode) -> Self {
        let message = "(#131056) (Business Account, Consumer Account) pair rate limit hit";
        Self::new(status, 131_056, message).details(
            "Message failed to send because there were too many messages sent from this phone number to the \
             same phone number in a short period of time.",
        )
    }

    /// Code 131000: an unknown error, which leaves open whether the message was sent.
    pub(crate) fn unknown() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            131_000,
            "(#131000) Something went wrong",
        )
        .details("Message failed to send due to an unknown error.")
    }

    /// Code 100, subcode 2593002: no template has the name.
    pub(crate) fn no_template(name: &str) -> Self {
        let mut error =
            Self::new(StatusCode::BAD_REQUEST, 100, "Invalid parameter").subcode(2_593_002);
        error.transient = Some(false);
        error.for_user = Some(Box::new(UserText {
            title: "Message Template Not Found",
            message: format!("The message template {name} wasn't found for this account."),
        }));
        error
    }

    /// Returns true for an error that came before an account was found.
    pub(crate) fn is_before_account(&self) -> bool {
        matches!(
            (self.code, self.subcode),
            (104 | 190 | 2500, _) | (100, Some(33))
        )
    }

    /// Makes the body of the answer, with `trace` as the `fbtrace_id`.
    pub(crate) fn json(&self, trace: &str) -> GraphJson {
        let data = self.details.as_deref().map(|details| ErrorData {
            messaging_product: "whatsapp",
            details,
        });
        GraphJson::new(&ErrorBody {
            error: ErrorFields {
                message: &self.message,
                kind: self.kind,
                code: self.code,
                error_data: data,
                error_subcode: self.subcode,
                is_transient: self.transient,
                error_user_title: self.for_user.as_ref().map(|user| user.title),
                error_user_msg: self.for_user.as_ref().map(|user| user.message.as_str()),
                fbtrace_id: trace,
            },
        })
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorFields<'a>,
}

/// The fields of an error, in the recorded order.
#[derive(Serialize)]
struct ErrorFields<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    code: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_data: Option<ErrorData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_subcode: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_transient: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_user_title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_user_msg: Option<&'a str>,
    fbtrace_id: &'a str,
}

#[derive(Serialize)]
struct ErrorData<'a> {
    messaging_product: &'a str,
    details: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_object_reads_as_recorded() {
        let recorded = r#"{"error":{"message":"Unsupported post request. Object with ID '123123' does not exist, cannot be loaded due to missing permissions, or does not support this operation. Please read the Graph API documentation at https:\/\/developers.facebook.com\/docs\/graph-api","type":"GraphMethodException","code":100,"error_subcode":33,"fbtrace_id":"AzJYAMZdf4WaDlLDXeqjTr9"}}"#;
        let error = GraphError::unknown_object("POST", "123123");
        assert_eq!(error.json("AzJYAMZdf4WaDlLDXeqjTr9").as_str(), recorded);
    }

    #[test]
    fn a_throttled_number_reads_as_documented() {
        let documented = r#"{"error":{"message":"(#130429) Rate limit hit","type":"OAuthException","code":130429,"error_data":{"messaging_product":"whatsapp","details":"Cloud API message throughput has been reached."},"error_subcode":2494055,"fbtrace_id":"Az8or2yhqkZfEZ-_4Qn_Bam"}}"#;
        let error = GraphError::throughput(StatusCode::BAD_REQUEST);
        assert_eq!(error.json("Az8or2yhqkZfEZ-_4Qn_Bam").as_str(), documented);
    }

    #[test]
    fn a_missing_template_reads_as_recorded() {
        let recorded = r#"{"error":{"message":"Invalid parameter","type":"OAuthException","code":100,"error_subcode":2593002,"is_transient":false,"error_user_title":"Message Template Not Found","error_user_msg":"The message template fake name wasn't found for this account.","fbtrace_id":"Ax5tIkALJCP4l5S8jbPvW2n"}}"#;
        assert_eq!(
            GraphError::no_template("fake name")
                .json("Ax5tIkALJCP4l5S8jbPvW2n")
                .as_str(),
            recorded
        );
    }

    #[test]
    fn a_wrong_message_id_reads_as_recorded() {
        let recorded = r#"{"error":{"message":"(#100) Invalid parameter","type":"OAuthException","code":100,"error_data":{"messaging_product":"whatsapp","details":"Please check the message ID you have provided."},"fbtrace_id":"A3PJ2-1aODhbAGAh66zQkwf"}}"#;
        let error = GraphError::invalid("Please check the message ID you have provided.");
        assert_eq!(error.json("A3PJ2-1aODhbAGAh66zQkwf").as_str(), recorded);
    }
}
