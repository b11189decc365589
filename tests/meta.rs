//! Meta's operations: the page about them agrees with the preset, and each request leaves with the
//! key in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use keyside::provider::{Operation, RequestPattern, presets};

use crate::support::client::with_body;
use crate::support::keyside::{Keyside, Setup};
use crate::support::policy::Loaded;
use crate::support::upstream::{Request, Upstream, answer, json};
use crate::support::{APP_SECRET, MESSAGES, TOKEN};

/// The table of `docs/meta.md`, made from the preset.
fn table() -> String {
    let meta = presets::provider("meta").unwrap();
    let rows: Vec<String> = meta.operations.iter().flat_map(rows).collect();
    format!(
        "| request | operation | right of the token |\n|---|---|---|\n{}\n",
        rows.join("\n")
    )
}

fn rows(operation: &Operation) -> Vec<String> {
    let right = match operation.caller_credential {
        true => "the application's own credential".to_owned(),
        false => operation
            .scopes
            .iter()
            .map(|scope| format!("`{scope}`"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let mut name = format!("`{}`", operation.name);
    if operation.default {
        name.push_str(", default");
    }
    let requests = operation.requests.iter();
    requests
        .map(|request| format!("| {} | {name} | {right} |", described(request)))
        .collect()
}

/// A request with its conditions.
fn described(request: &RequestPattern) -> String {
    let quoted = |words: &[String]| {
        words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let methods: Vec<_> = request
        .methods
        .iter()
        .map(|method| method.as_str())
        .collect();
    let mut text = format!("`{} {}`", methods.join(" "), request.path);
    let mut add = |condition: String| {
        text.push_str("; ");
        text.push_str(&condition);
    };
    match request.query.as_deref() {
        None => {}
        Some([]) => add("without a query".to_owned()),
        Some(names) => add(format!("in the query only {}", quoted(names))),
    }
    for words in &request.only {
        add(format!("`{}` only of {}", words.name, quoted(&words.words)));
    }
    for words in &request.without {
        add(format!("`{}` without {}", words.name, quoted(&words.words)));
    }
    match request.body.as_deref() {
        None => {}
        Some([]) => add("without a field in the body".to_owned()),
        Some(fields) => add(format!("in the JSON body only {}", quoted(fields))),
    }
    if request.media {
        add("at the media host".to_owned());
    }
    if let Some(host) = &request.upstream {
        add(format!("at the host `{host}`"));
    }
    text
}

#[test]
fn the_page_about_meta_has_every_request_of_the_preset() {
    let page = include_str!("../docs/meta.md");
    let table = table();
    assert!(
        page.contains(&table),
        "docs/meta.md needs this table:\n{table}"
    );
}

/// Requests of Meta's API: method, target, the least operation, the source.
const DATA: [&str; 3] = [
    include_str!("data/meta-openapi.tsv"),
    include_str!("data/meta-pywa.tsv"),
    include_str!("data/meta-more.tsv"),
];

fn requests() -> Vec<[&'static str; 4]> {
    DATA.iter().flat_map(|data| requests_of(data)).collect()
}

fn requests_of(data: &'static str) -> Vec<[&'static str; 4]> {
    let fields = data
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let rows = fields.map(|fields| <[&str; 4]>::try_from(fields).unwrap());
    rows.filter(|[_, _, operation, _]| *operation != "-")
        .collect()
}

#[test]
fn every_request_of_the_preset_stands_in_the_data() {
    let meta = presets::provider("meta").unwrap();
    let requests = requests();
    let patterns = meta
        .operations
        .iter()
        .flat_map(|operation| &operation.requests);
    for pattern in patterns {
        for method in pattern.methods.iter().filter(|method| *method != "HEAD") {
            let found = requests.iter().any(|[own, target, ..]| {
                let path = target.split('?').next().unwrap();
                *own == method.as_str() && pattern.path.matches(path).is_some()
            });
            assert!(found, "{method} {}", pattern.path);
        }
    }
}

/// The proof of the token by the app secret in its form without a time.
const PROOF: &str =
    "appsecret_proof=bad6df0b858104754a0ffde2f0c05fe9731f1a5e141ee1bccf316d05f28d5135";

/// The host, the target and the authorization with which a request leaves.
fn expected(target: &str, operation: &str) -> (&'static str, String, String) {
    let proved = |target: &str| {
        let separator = if target.contains('?') { '&' } else { '?' };
        format!("{target}{separator}{PROOF}")
    };
    let token = format!("Bearer {TOKEN}");
    if target.starts_with("/whatsapp_business/") {
        return ("media", target.to_owned(), token);
    }
    if target.contains("/upload:") {
        return ("graph", target.to_owned(), format!("OAuth {TOKEN}"));
    }
    if target.ends_with("/archive") || target.ends_with("/unarchive") {
        return ("api", proved(target.trim_start_matches("/v26.0")), token);
    }
    // A template below its account is read by its id.
    if let Some((_, template)) = target.split_once("/102290129340398/message_templates/") {
        return ("graph", proved(&format!("/v24.0/{template}")), token);
    }
    match operation {
        "oauth" | "subscriptions" => (
            "graph",
            target.to_owned(),
            "Bearer of-the-application".to_owned(),
        ),
        _ => ("graph", proved(target), token),
    }
}

#[test]
fn each_request_of_meta_leaves_with_the_token_in_its_place_and_nowhere_else() {
    let [graph, media, api] = ["graph", "media", "api"].map(|name| (name, Upstream::ok()));
    let keyside = Setup::new(&graph.1)
        .media(&media.1)
        .provider(&format!("upstreams = {{ api = \"{}\" }}", api.1.url()))
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nproof = \"classic\"\n")
        .route("operations = [\"*\"]")
        .limits("per_sender = \"1000/s\"\nmanagement = \"1000/s\"\nper_recipient = { rate = \"1000/s\" }")
        .start();
    for [method, target, operation, source] in requests() {
        let body = if method == "GET" {
            ""
        } else {
            r#"{"to":"15550001234"}"#
        };
        let answer = keyside.send(
            format!(
                "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer of-the-application\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
        assert_eq!(
            answer.status,
            200,
            "{method} {target}: {source}: {}",
            answer.text()
        );
        let (host, on_wire, authorization) = expected(target, operation);
        for (name, upstream) in [&graph, &media, &api] {
            assert_eq!(
                upstream.heads(),
                usize::from(*name == host),
                "{name}: {method} {target}"
            );
            if *name == host {
                let seen = upstream.last();
                assert_eq!(
                    seen.line(),
                    format!("{method} {on_wire} HTTP/1.1"),
                    "{source}"
                );
                assert_eq!(
                    seen.all("authorization"),
                    [authorization.as_str()],
                    "{source}"
                );
                assert_eq!(
                    tokens_in(&seen),
                    usize::from(authorization.contains(TOKEN)),
                    "{source}"
                );
            }
            upstream.forget();
        }
    }
}

/// The number of places in a request that have the token.
fn tokens_in(request: &Request) -> usize {
    String::from_utf8_lossy(&request.raw).matches(TOKEN).count()
}

#[test]
fn a_template_is_edited_without_the_right_to_set_a_pin() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"templates\"]")
        .start();
    let path = "/v23.0/564750795574598";
    assert_eq!(
        keyside
            .post(path, r#"{"category":"UTILITY","components":[]}"#)
            .status,
        200
    );
    assert_eq!(upstream.heads(), 1);
    for (path, body) in [
        (path, r#"{"pin":"123456"}"#),
        (
            path,
            r#"{"components":[],"webhook_configuration":{"override_callback_uri":"https://x"}}"#,
        ),
        (path, r#"{"components":[],"PIN[]":"123456"}"#),
        ("/v23.0/564750795574598?pin=123456", "{}"),
    ] {
        let answer = keyside.post(path, body);
        assert_eq!(
            (answer.status, answer.slug()),
            (403, "operation_not_allowed"),
            "{path} {body}"
        );
    }
    let answer = keyside.send(
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\npin=123456").as_bytes(),
    );
    assert_eq!(answer.status, 415, "{}", answer.text());
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn administration_is_counted_for_each_account_and_only_where_meta_counts() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"templates\", \"insights\"]")
        .limits("management = \"1/h\"\nmax_wait = \"1ms\"")
        .start();
    for (path, status) in [
        ("/v23.0/111111/message_templates", 200),
        ("/v23.0/111111/message_templates", 429),
        ("/v23.0/222222/message_templates", 200),
        ("/v23.0/111111/template_analytics", 200),
        ("/v23.0/111111/template_analytics", 200),
        ("/v23.0/333333/compare", 200),
        ("/v23.0/333333/compare", 200),
    ] {
        let answer = keyside.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    assert_eq!(upstream.heads(), 6);
}

#[test]
fn a_group_has_no_pair_limit() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .limits("per_recipient = { rate = \"1/60s\", burst = 1 }\nmax_wait = \"1ms\"")
        .start();
    let group = r#"{"recipient_type":"group","to":"Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD"}"#;
    let user = r#"{"to":"15550001234"}"#;
    let nobody = r#"{"to":"","recipient":"US.13491208655302741918"}"#;
    let another = r#"{"to":"","recipient":"US.13491208655302741919"}"#;
    for (body, status) in [
        (group, 200),
        (group, 200),
        (group, 200),
        (user, 200),
        (user, 429),
        (nobody, 200),
        (another, 200),
        (nobody, 429),
    ] {
        assert_eq!(keyside.post(MESSAGES, body).status, status, "{body}");
    }
}

#[test]
fn a_throttle_of_one_request_pauses_this_request_alone() {
    let too_fast = |code: u32, subcode: u32| {
        format!(
            r#"{{"error":{{"message":"too fast","type":"OAuthException","code":{code},"error_subcode":{subcode}}}}}"#
        )
    };
    let upstream = Upstream::answering(move |request| {
        let target = request.target();
        let error = if target.contains("/call_permissions") {
            too_fast(4, 2_390_008)
        } else if target.contains("/join_requests") {
            too_fast(131_208, 0)
        } else if target.contains("/register") {
            too_fast(133_016, 0)
        } else if target.contains("/message_qrdls") {
            too_fast(613, 0)
        } else if target.contains("/block_users") {
            too_fast(138_012, 0)
        } else {
            return json("{}");
        };
        answer(
            "400 Bad Request",
            &[("Retry-After", "100")],
            error.as_bytes(),
        )
    });
    let keyside = Setup::new(&upstream)
        .route("operations = [\"*\"]")
        .limits("max_wait = \"1ms\"")
        .start();
    let group = "Y2FwaV9ncm91cDox";
    for (throttled, others) in [
        (
            "GET /v23.0/1234567890/call_permissions?user_wa_id=1".to_owned(),
            [
                "POST /v23.0/1234567890/calls",
                "POST /v23.0/1234567890/messages",
            ]
            .map(str::to_owned),
        ),
        (
            format!("GET /v23.0/{group}/join_requests"),
            [
                format!("GET /v23.0/{group}"),
                format!("GET /v23.0/{group}/invite_link"),
            ],
        ),
        (
            "GET /v23.0/1234567890/message_qrdls".to_owned(),
            [
                "GET /v23.0/1234567890/settings",
                "POST /v23.0/1234567890/messages",
            ]
            .map(str::to_owned),
        ),
        (
            "GET /v23.0/1234567890/block_users".to_owned(),
            [
                "GET /v23.0/1234567890/settings",
                "POST /v23.0/1234567890/messages",
            ]
            .map(str::to_owned),
        ),
        (
            "POST /v23.0/1234567890/register".to_owned(),
            [
                "GET /v23.0/1234567890/settings",
                "POST /v23.0/1234567890/verify_code",
            ]
            .map(str::to_owned),
        ),
    ] {
        let ask = |line: &str| {
            let (method, target) = line.split_once(' ').unwrap();
            match method {
                "GET" => keyside.get(target),
                _ => keyside.post(target, "{}"),
            }
        };
        assert_eq!(ask(&throttled).status, 400, "{throttled}");
        assert_eq!(ask(&throttled).status, 429, "{throttled} is paused");
        for other in &others {
            assert_eq!(ask(other).status, 200, "{other} beside {throttled}");
        }
    }
}

#[test]
fn an_account_that_has_not_paid_or_sends_spam_is_a_matter_of_policy() {
    let told = Arc::new(AtomicU32::new(0));
    let code = Arc::clone(&told);
    let upstream = Upstream::answering(move |_| {
        let code = code.load(Ordering::SeqCst);
        let error =
            format!(r#"{{"error":{{"message":"no","type":"OAuthException","code":{code}}}}}"#);
        answer("400 Bad Request", &[], error.as_bytes())
    });
    let keyside = Keyside::start(&upstream);
    for (count, code) in (1_u8..).zip([
        131_064, 131_048, 131_042, 131_044, 131_045, 133_010, 134_011, 131_037,
    ]) {
        told.store(code, Ordering::SeqCst);
        assert_eq!(
            keyside.post(MESSAGES, r#"{"to":"15550001234"}"#).status,
            400
        );
        let policy = keyside.metric("keyside_upstream_errors_total", &["class=\"policy\""]);
        assert_eq!(policy, f64::from(count), "{code}");
    }
}

#[test]
fn every_request_of_metas_description_belongs_to_its_operation() {
    let meta = presets::provider("meta").unwrap();
    let upstream = Upstream::ok();
    let routes: String = meta
        .operations
        .iter()
        .map(|operation| &operation.name)
        .map(|name| {
            format!(
                "[[route]]\ncredential = \"acme\"\nname = \"{name}\"\npath = \"/of/{name}\"\noperations = [\"{name}\"]\n"
            )
        })
        .collect();
    let setup = Setup::new(&upstream).more(&routes);
    let loaded = Loaded::of(setup.write_config());
    let openapi = requests_of(DATA[0]);
    assert!(openapi.len() > 100, "{}", openapi.len());
    for [method, target, operation, path] in openapi {
        let told = loaded.operation_of(method, &format!("/of/{operation}{target}"));
        assert_eq!(told, operation, "{method} {path}");
    }
}

#[test]
fn no_request_is_answered_with_a_token_among_the_fields_of_an_object() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"*\"]\n")
        .start();
    for path in [
        "/v23.0/123?fields=access_token",
        "/me/businesses?fields=access_token",
        "/v23.0/123/system_users?fields=id,access_token",
        "/v23.0/123/assigned_users?fields=id%2Caccess_token",
        "/v23.0/123/owned_whatsapp_business_accounts?fields=owner_business_info{access_token}",
        "/v23.0/123/owned_whatsapp_business_accounts?fields[]=Access_Token",
    ] {
        let answer = keyside.get(path);
        assert_eq!(
            (answer.status, answer.slug()),
            (400, "bad_request"),
            "{path}"
        );
    }
    let form = "application/x-www-form-urlencoded";
    for (kind, body) in [
        (form, "name=a&fields=id,access_token"),
        (
            "application/json",
            r#"{"name":"a","fields":"id,\u0061ccess_token"}"#,
        ),
        (
            "application/json",
            r#"{"name":"a","fields":["id","access_token"]}"#,
        ),
    ] {
        let answer = keyside.send(&with_body("POST", "/v23.0/123", kind, body.as_bytes()));
        assert_eq!(
            (answer.status, answer.slug()),
            (400, "bad_request"),
            "{body}"
        );
    }
    let parts = "--b\r\nContent-Disposition: form-data; name=\"fields\"\r\n\r\nowner{access_token}\r\n--b--\r\n";
    for path in ["/v23.0/123/media", "/v23.0/123"] {
        let kind = "multipart/form-data; boundary=b";
        let answer = keyside.send(&with_body("POST", path, kind, parts.as_bytes()));
        assert_eq!(answer.status, 400, "{path}");
    }
    let message = with_body("POST", MESSAGES, "application/json", b"\"\"");
    assert_eq!(
        keyside.send(&message).status,
        400,
        "a message is one object"
    );
    assert_eq!(upstream.arrivals(), 0);
    let own = keyside.get("/v23.0/123/owned_whatsapp_business_accounts?fields=id,name");
    assert_eq!(own.status, 200);
}
