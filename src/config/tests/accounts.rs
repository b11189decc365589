//! Accounts of other providers, with values beside secrets.

use super::{faults, parse};

#[test]
fn a_route_needs_every_value_of_the_account() {
    let route = |provider: &str, credential: &str, route: &str| {
        let text = format!(
            "[credential.t]\nprovider = \"{provider}\"\n{credential}\n[[route]]\ncredential = \"t\"\n{route}"
        );
        faults(&text)
    };
    let token = "auth_token = \"file:/t\"";
    for (found, expected) in [
        (
            route("standard-webhooks", "secret = \"file:/t\"", ""),
            "f:4:1: route: the provider of its credential only sends events, expected one that accepts requests",
        ),
        (
            route("twilio", token, ""),
            "f:1:1: credential.t.account_sid: missing, expected a value of the account, written here itself: a route uses this credential",
        ),
        (
            route(
                "twilio",
                &format!("account_sid = \"file:/sid\"\n{token}"),
                "",
            ),
            "f:3:15: credential.t.account_sid: not a value, expected letters, digits and -._~, written here itself and no reference",
        ),
        (
            route(
                "sinch",
                "region = \"eu.evil\"\nproject_id = \"p\"\nkey_id = \"k\"\nkey_secret = \"file:/t\"",
                "",
            ),
            "f:3:10: credential.t.region: not a part of a host name, expected letters, digits and hyphens, such as \"eu\"",
        ),
        (
            route(
                "haptik",
                "host = \"h.example\"\nclient_id = \"1\"\ntoken = \"file:/t\"",
                "senders = [\"1\"]",
            ),
            "f:8:11: route.senders: the provider's requests name no sender, expected []",
        ),
        (
            route(
                "vonage",
                "application_id = \"a\"\nprivate_key = \"file:/t\"",
                "senders = [\"a b\"]",
            ),
            "f:7:12: route.senders: not a sender, expected a number such as \"+15550001234\", or the provider's own name of one",
        ),
    ] {
        assert!(
            found.iter().any(|fault| fault == expected),
            "{expected}\n{found:#?}"
        );
    }
}

#[test]
fn an_upstream_has_the_values_of_its_account() {
    let text = "[credential.i]\nprovider = \"infobip\"\nbase = \"y3vn4g\"\napi_key = \"file:/k\"\n\
        [credential.s]\nprovider = \"sinch\"\nregion = \"eu\"\nproject_id = \"p\"\nkey_id = \"k\"\nkey_secret = \"file:/k\"\n\
        [credential.w]\nprovider = \"wati\"\ntenant = \"1\"\ntoken = \"file:/k\"\n\
        [[route]]\ncredential = \"i\"\npath = \"/i\"\nsenders = [\"+441134960000\", \"Acme\"]\n\
        [[route]]\ncredential = \"s\"\npath = \"/s\"\n[[route]]\ncredential = \"w\"\npath = \"/w\"\n";
    let config = parse(text);
    let upstream = |name: &str| {
        config.credentials[name]
            .provider
            .upstream
            .as_ref()
            .unwrap()
            .to_string()
    };
    assert_eq!(upstream("i"), "https://y3vn4g.api.infobip.com");
    assert_eq!(upstream("s"), "https://eu.conversation.api.sinch.com");
    assert_eq!(upstream("w"), "https://live-mt-server.wati.io");
    let exchange = config.credentials["s"].provider.exchange().unwrap();
    assert_eq!(
        exchange.upstream.as_ref().unwrap().to_string(),
        "https://auth.sinch.com"
    );
    assert_eq!(config.routes[0].senders, ["441134960000", "Acme"]);
}

#[test]
fn routes_whose_senders_stand_in_bodies_need_paths_of_their_own() {
    let twilio =
        "[credential.t]\nprovider = \"twilio\"\naccount_sid = \"AC1\"\nauth_token = \"file:/t\"\n";
    // Only requests with places of their own have senders in bodies.
    let own = |request: &str| {
        format!(
            "[credential.t]\nprovider = \"p\"\nkey = \"file:/t\"\n[provider.p]\nupstream = \"https://a.example\"\n\
             inject = [{{ header = \"Key\", value = \"{{key}}\" }}]\n[provider.p.secrets]\nkey = {{ required = true }}\n\
             [provider.p.operations.messages]\nkind = \"send\"\ndefault = true\nrequests = [\"POST /{{sender}}/messages\", {request}]\n"
        )
    };
    let in_body = own("{ request = \"POST /webhooks\", senders = [\"/device\"] }");
    for (provider, clashes) in [
        (twilio, true),
        (&in_body, true),
        (&own("\"POST /webhooks\""), false),
    ] {
        let text = format!(
            "{provider}[[route]]\ncredential = \"t\"\nsenders = [\"+1\"]\n\
             [[route]]\ncredential = \"t\"\nname = \"u\"\nsenders = [\"+2\"]\n"
        );
        if clashes {
            let found = faults(&text);
            let mut told = found.iter();
            assert!(
                told.any(|fault| fault.contains("the same path as the route at")),
                "{found:#?}"
            );
        } else {
            assert_eq!(parse(&text).routes.len(), 2);
        }
    }
}
