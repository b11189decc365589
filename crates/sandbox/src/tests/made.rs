//! Tests of what the sandbox of Meta keeps: templates, flows and QR codes, each read back as it was
//! made.

use serde_json::{Value, json};

use super::{Options, SENDER, Sandbox, ask, authorized, sandbox};

pub(super) const ACCOUNT: &str = "114503234599312";

/// A call of the newest version, with its answer.
pub(super) async fn call(sandbox: &Sandbox, method: &str, path: &str, body: &Value) -> Value {
    let head = authorized(&format!("{method} /v26.0{path}"));
    let body = match body {
        Value::Null => Vec::new(),
        body => body.to_string().into(),
    };
    let got = ask(sandbox.graph(), &head, &body).await;
    let mut answer = got.json();
    answer["status_of_answer"] = got.status.into();
    answer
}

pub(super) async fn get(sandbox: &Sandbox, path: &str) -> Value {
    call(sandbox, "GET", path, &Value::Null).await
}

#[tokio::test]
async fn an_edited_template_is_read_as_it_was_changed() {
    let sandbox = sandbox(Options::default()).await;
    let list = format!("/{ACCOUNT}/message_templates");
    let new = json!({"name": "order", "language": "en_US", "category": "UTILITY"});
    let id = call(&sandbox, "POST", &list, &new).await["id"].clone();
    // The second is a sample of the account.
    for id in [id.as_str().unwrap(), "711633970112948"] {
        let changes =
            json!({"category": "marketing", "components": [{"type": "BODY", "text": "New"}]});
        let answer = call(&sandbox, "POST", &format!("/{id}"), &changes).await;
        assert_eq!(answer["success"], true, "{answer}");
        let read = get(&sandbox, &format!("/{id}")).await;
        assert_eq!(read["components"][0]["text"], "New", "{read}");
        assert_eq!(read["category"], "MARKETING", "{read}");
        assert_eq!(read["status"], "PENDING", "{read}");
    }
}

#[tokio::test]
async fn templates_in_several_languages_are_made_once_and_then_changed() {
    let sandbox = sandbox(Options::default()).await;
    let upsert = format!("/{ACCOUNT}/upsert_message_templates");
    let order = json!({"name": "code", "languages": ["en_US", "es"], "category": "AUTHENTICATION",
        "components": [{"type": "BODY"}]});
    let made = call(&sandbox, "POST", &upsert, &order).await;
    let again = call(&sandbox, "POST", &upsert, &order).await;
    assert_eq!(made["data"], again["data"], "the same ids");
    let listed = get(&sandbox, &format!("/{ACCOUNT}/message_templates?name=code")).await;
    let ids = |list: &Value| -> Vec<String> {
        let list = list["data"].as_array().unwrap().iter();
        list.map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&listed), ids(&made));
    assert_eq!(listed["data"][1]["language"], "es");
}

#[tokio::test]
async fn a_flow_is_listed_changed_published_and_gone_once_it_is_deleted() {
    let sandbox = sandbox(Options::default()).await;
    let list = format!("/{ACCOUNT}/flows");
    let new = json!({"name": "order", "categories": ["SIGN_UP"]});
    let id = call(&sandbox, "POST", &list, &new).await["id"].clone();
    let flow = format!("/{}", id.as_str().unwrap());
    let read = get(&sandbox, &flow).await;
    let facts =
        |flow: &Value| json!([flow["id"], flow["name"], flow["status"], flow["categories"]]);
    assert_eq!(facts(&read), json!([id, "order", "DRAFT", ["SIGN_UP"]]));
    let listed = get(&sandbox, &format!("{list}?fields=id,name")).await;
    assert_eq!(listed["data"], json!([{"id": id, "name": "order"}]));
    let renamed = call(&sandbox, "POST", &flow, &json!({"name": "orders"})).await;
    assert_eq!(renamed["success"], true);
    call(&sandbox, "POST", &format!("{flow}/publish"), &Value::Null).await;
    let read = get(&sandbox, &flow).await;
    assert_eq!(
        facts(&read),
        json!([id, "orders", "PUBLISHED", ["SIGN_UP"]])
    );
    call(&sandbox, "DELETE", &flow, &Value::Null).await;
    assert_eq!(get(&sandbox, &flow).await["status_of_answer"], 400);
    assert_eq!(get(&sandbox, &list).await["data"], json!([]));
}

#[tokio::test]
async fn a_code_is_listed_changed_and_gone_once_it_is_deleted() {
    let sandbox = sandbox(Options::default()).await;
    let list = format!("/{SENDER}/message_qrdls");
    let made = call(&sandbox, "POST", &list, &json!({"prefilled_message": "Hi"})).await;
    let code = made["code"].as_str().unwrap().to_owned();
    assert_eq!(
        made["deep_link_url"],
        format!("https://wa.me/message/{code}")
    );
    let changed = json!({"code": code, "prefilled_message": "Bye"});
    let changed = call(&sandbox, "POST", &list, &changed).await;
    assert_eq!(changed["prefilled_message"], "Bye", "{changed}");
    let one = format!("{list}/{code}");
    assert_eq!(
        get(&sandbox, &one).await["data"][0]["prefilled_message"],
        "Bye"
    );
    assert_eq!(
        get(&sandbox, &list).await["data"].as_array().unwrap().len(),
        1
    );
    call(&sandbox, "DELETE", &one, &Value::Null).await;
    assert_eq!(get(&sandbox, &one).await["status_of_answer"], 400);
    assert_eq!(get(&sandbox, &list).await["data"], json!([]));
}
