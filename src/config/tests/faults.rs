//! The faults of a configuration, each with place and expected form.

use super::{SMALL, allowed, faults, parse};
use crate::config::{Config, ConfigFile};
use crate::document::Fault;

#[test]
fn warnings_have_their_place() {
    let text =
        SMALL.replace("file:/run/secrets/acme/token", "env:ACME_TOKEN") + "operations = [\"*\"]\n";
    let config = parse(&text);
    let warnings: Vec<String> = config.warnings.iter().map(Fault::to_string).collect();
    assert_eq!(
        warnings,
        [
            "f:3:9: credential.acme.token: an environment can be read by every process of the same user, \
             and its value cannot be replaced while running; prefer file: or systemd:",
            "f:7:15: route.operations: allows everything that the provider defines, administration too; \
             prefer naming operations",
        ]
    );
    let provider = &config.credentials[&config.routes[0].credential].provider;
    assert_eq!(allowed(&config, 0).len(), provider.operations.len());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_fault_is_named_with_its_place_and_what_is_expected() {
    // The small configuration fills lines 1 to 6; the added text begins at line 7.
    for (added, expected) in [
        (
            "[outbond]",
            "f:7:2: outbond: unknown key, did you mean `outbound`? expected one of `include`, `outbound`, `inbound`, `admin`, `metrics`, `limits`, `egress`, `reload`, `log`, `audit`, `state`, `telemetry`, `spool`, `provider`, `credential`, `route`, `webhook`",
        ),
        (
            "[inbond]",
            "f:7:2: inbond: unknown key, did you mean `inbound`? expected one of `include`, `outbound`, `inbound`, `admin`, `metrics`, `limits`, `egress`, `reload`, `log`, `audit`, `state`, `telemetry`, `spool`, `provider`, `credential`, `route`, `webhook`",
        ),
        (
            "[outbound]\nlistne = []",
            "f:8:1: outbound.listne: unknown key, did you mean `listen`? expected one of `allow_remote`, `listen`, `allowed_hosts`, `public_origin`, `trusted_proxies`, `allow_uids`, `drain`, `linger`, `max_connections`, `max_media`, `media_timeout`, `tls`",
        ),
        (
            "[outbound]\nlisten = \"127.0.0.1:1\"",
            "f:8:10: outbound.listen: wrong type, expected an array, such as [\"127.0.0.1:8080\"]",
        ),
        (
            "[egress]\nproxy = \"http://user:hunter2@proxy:3128\"",
            "f:8:9: egress.proxy: not a choice, expected \"auto\" (the proxy of the environment), \"off\", or a reference to the URL of a proxy (env:NAME, file:/path, systemd:NAME, exec:/program or k8s:NAMESPACE/NAME#KEY); a URL may hold a password and never stands in a configuration",
        ),
        (
            "[egress]\nproxy = \"vault:kv/site#proxy\"",
            "f:8:9: egress.proxy: a secret manager, which would be asked through this very proxy: expected env:NAME, file:/path, systemd:NAME, exec:/program or k8s:NAMESPACE/NAME#KEY",
        ),
        (
            "[egress]\nno_proxy = [\"https://vault.corp\"]",
            "f:8:13: egress.no_proxy: not a host, expected one such as \"example.com\", \".example.com\", \"10.0.0.0/8\", \"host:8443\" or \"*\"",
        ),
        (
            "[egress]\nwarm = 17",
            "f:8:8: egress.warm: out of range, expected 0 to 16 connections",
        ),
        (
            "[reload]\nwatch = 5",
            "f:8:9: reload.watch: wrong type, expected a string, such as \"5s\"",
        ),
        (
            "operations = \"messages\"",
            "f:7:14: route.operations: wrong type, expected an array, such as [\"messages\", \"media\"]",
        ),
        (
            "[outbound]\nlisten = []",
            "f:8:10: outbound.listen: empty, expected at least one address",
        ),
        (
            "[outbound]\nlisten = [1]",
            "f:8:11: outbound.listen: wrong type, expected a string, such as \"127.0.0.1:8080\"",
        ),
        (
            "[outbound]\nlisten = [\"localhost:8080\"]",
            "f:8:11: outbound.listen: not an address, expected IP:PORT such as \"127.0.0.1:8080\" or \"unix:/run/keyside/send.sock\"",
        ),
        (
            "[outbound]\nlisten = [\"unix:send.sock\"]",
            "f:8:11: outbound.listen: not a socket, expected unix: and an absolute path of at most 107 bytes",
        ),
        (
            "[outbound]\nlisten = [\"0.0.0.0:8080\"]",
            "f:8:11: outbound.listen: not on loopback, so other machines could use the credential: expected 127.0.0.1, [::1] or unix:, or allow_remote = true in [outbound]",
        ),
        (
            "[admin]\nlisten = [\"[::]:9900\"]",
            "f:8:11: admin.listen: not on loopback, so other machines could read the status and reload: expected 127.0.0.1, [::1] or unix:; for probes and metrics of other machines use `listen` in [metrics]",
        ),
        (
            "[outbound]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
            "f:8:26: outbound.listen: the same address as at f:8:11, expected another",
        ),
        (
            "[outbound]\nlisten = [\"127.0.0.1:9\"]\n[admin]\nlisten = [\"127.0.0.1:9\"]",
            "f:10:11: admin.listen: the same address as at f:8:11, expected another",
        ),
        (
            "[admin]\nlisten = [\"127.0.0.1:8080\"]",
            "f:8:11: admin.listen: the same address as at the default of outbound.listen, expected another",
        ),
        (
            "[outbound]\nlisten = [\"127.0.0.1:9900\"]",
            "f:1:1: admin.listen: its default is taken at f:8:11, expected another address",
        ),
        (
            "[outbound]\nallow_remote = \"yes\"",
            "f:8:16: outbound.allow_remote: wrong type, expected true or false",
        ),
        (
            "[outbound]\nallowed_hosts = [\"a:80\"]",
            "f:8:18: outbound.allowed_hosts: not a host name, expected one without scheme, port and path",
        ),
        (
            "[outbound]\nallow_uids = [-1]",
            "f:8:15: outbound.allow_uids: out of range, expected a smaller number that is not negative",
        ),
        (
            "[outbound]\ndrain = 25",
            "f:8:9: outbound.drain: wrong type, expected a string, such as \"25s\"",
        ),
        (
            "[outbound]\ndrain = \"25\"",
            "f:8:9: outbound.drain: not a duration, expected a whole number with ms, s, m, h or d, such as \"25s\"",
        ),
        (
            "[outbound]\ndrain = \"0s\"",
            "f:8:9: outbound.drain: zero, expected more than 0",
        ),
        (
            "[outbound]\nmax_connections = 0",
            "f:8:19: outbound.max_connections: out of range, expected 1 to 100000 connections",
        ),
        (
            "[outbound]\nlinger = \"5\"",
            "f:8:10: outbound.linger: not a duration, expected a whole number with ms, s, m, h or d, such as \"25s\"",
        ),
        (
            "[inbound]\ntrusted_proxies = [\"10.0.0.0/33\"]",
            "f:8:20: inbound.trusted_proxies: not an address, expected one such as \"192.0.2.1\" or a network such as \"192.0.2.0/24\"",
        ),
        (
            "[outbound.tls]\ncert = \"/a\"",
            "f:7:1: outbound.tls.key: missing, expected the file with the certificate's private key, in PEM",
        ),
        (
            "[outbound]\nlisten = [\"unix:/a\"]\n[outbound.tls]\ncert = \"/a\"\nkey = \"/b\"",
            "f:9:1: outbound.tls: no TCP address for TLS, expected `listen` here with IP:PORT such as \"127.0.0.1:443\"",
        ),
        (
            "[outbound.tls]\nlisten = [\"unix:/x\"]\ncert = \"/a\"\nkey = \"/b\"",
            "f:7:1: outbound.tls: no TCP address for TLS, expected `listen` here with IP:PORT such as \"127.0.0.1:443\"",
        ),
        (
            "[outbound.tls]\nlisten = [\"0.0.0.0:443\"]\ncert = \"/a\"\nkey = \"/b\"",
            "f:8:11: outbound.tls.listen: not on loopback, so other machines could use the credential: expected 127.0.0.1, [::1] or unix:, or allow_remote = true in [outbound]",
        ),
        (
            "[outbound.tls]\nlisten = [\"127.0.0.1:8080\"]\ncert = \"/a\"\nkey = \"/b\"",
            "f:8:11: outbound.tls.listen: the same address as at the default of outbound.listen, expected another",
        ),
        (
            "[outbound.tls]\nlistne = []\ncert = \"/a\"\nkey = \"/b\"",
            "f:8:1: outbound.tls.listne: unknown key, did you mean `listen`? expected one of `listen`, `cert`, `key`",
        ),
        (
            "[outbound]\npublic_origin = \"wa.example.com\"",
            "f:8:17: outbound.public_origin: not an origin, expected scheme and host alone, such as \"https://whatsapp.example.com\"",
        ),
        (
            "[outbound]\ntrusted_proxies = [\"proxy\"]",
            "f:8:20: outbound.trusted_proxies: not an address, expected one such as \"192.0.2.1\" or a network such as \"192.0.2.0/24\"",
        ),
        (
            "[reload]\nwatch = \"of\"",
            "f:8:9: reload.watch: not a time, expected \"off\", or a whole number over 0 with ms, s, m, h or d, such as \"25s\"",
        ),
        (
            "[log]\nlevel = \"inf\"",
            "f:8:9: log.level: unknown word, did you mean `info`? expected one of `off`, `error`, `warn`, `info`, `debug`, `trace`",
        ),
        (
            "[log]\nformat = \"xml\"",
            "f:8:10: log.format: unknown word, expected one of `auto`, `text`, `json`",
        ),
        (
            "[credential.b]",
            "f:7:1: credential.b.provider: missing, expected the API that the secrets are for, such as \"meta\"",
        ),
        (
            "[credential.b]\nprovider = \"mate\"",
            "f:8:12: credential.b.provider: unknown provider, did you mean `meta`? expected one of `meta`, `360dialog`, `infobip`, `twilio`, `vonage`, `bird`, `bird-platform`, `messagebird`, `sinch`, `ycloud`, `telnyx`, `wati`, `zenvia`, `cm`, `plivo`, `gupshup`, `wassenger`, `clickatell`, `haptik`, `interakt`, `aisensy`, `kaleyra`, `respond-io`, `route-mobile`, `chat-api`, `standard-webhooks`, `generic`",
        ),
        (
            "[credential.b]\nprovider = \"whatsapp\"",
            "f:8:12: credential.b.provider: unknown provider, did you mean `meta`? expected one of `meta`, `360dialog`, `infobip`, `twilio`, `vonage`, `bird`, `bird-platform`, `messagebird`, `sinch`, `ycloud`, `telnyx`, `wati`, `zenvia`, `cm`, `plivo`, `gupshup`, `wassenger`, `clickatell`, `haptik`, `interakt`, `aisensy`, `kaleyra`, `respond-io`, `route-mobile`, `chat-api`, `standard-webhooks`, `generic`",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\napi_key = \"file:/a\"",
            "f:9:1: credential.b.api_key: unknown key, expected one of `provider`, `max_age`, `overlap`, `hold`, `proof`, `check`, `place`, `renew`, `token`, `app_secret`, `verify_token`",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\ntoken = \"EAACANARY\"",
            "f:9:9: credential.b.token: not a reference, expected where the secret lives (env:NAME, file:/path, systemd:NAME, exec:/program, vault:MOUNT/PATH#FIELD, aws-sm:NAME, gcp-sm:projects/P/secrets/S, azure-kv:VAULT/NAME or k8s:NAMESPACE/NAME#KEY); the secret itself never stands in a configuration",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\ntoken = \"vault:CANARY\"",
            "f:9:9: credential.b.token: not a reference, expected vault:MOUNT/PATH#FIELD as the vault command takes them, such as vault:kv/whatsapp/acme#token",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\ntoken = [\"file:/a\", \"file:b\"]",
            "f:9:21: credential.b.token: not a reference, expected file: and an absolute path, such as file:/run/secrets/token, with #FIELD where the file is a JSON object or has lines NAME=value",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\ntoken = []",
            "f:9:9: credential.b.token: empty, expected at least one reference",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\ntoken = 5",
            "f:9:9: credential.b.token: wrong type, expected a string or an array of strings, such as \"file:/run/secrets/acme/token\"",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nproof = \"classic\"",
            "f:9:9: credential.b.proof: there is no `app_secret` to sign with, expected one in this credential",
        ),
        (
            "[credential.b]\nprovider = \"360dialog\"\nrenew = \"14d\"",
            "f:9:9: credential.b.renew: only Meta's tokens can be exchanged, expected \"off\"",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nrenew = \"14d\"\ntoken = \"file:/t\"",
            "f:9:9: credential.b.renew: Meta exchanges no token without `app_secret`, expected one in this credential",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nrenew = \"14d\"\ntoken = \"exec:/bin/t\"\napp_secret = \"file:/s\"",
            "f:9:9: credential.b.renew: the token comes from exec:/bin/t, which cannot be written, expected `place` with a place that can",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nrenew = \"14d\"\ntoken = \"systemd:t\"\napp_secret = \"file:/s\"",
            "f:9:9: credential.b.renew: the token comes from systemd:t, which cannot be written, expected `place` with a place that can",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nplace = \"env:TOKEN\"",
            "f:9:9: credential.b.place: cannot be written: a variable of a running process keeps its value; use file: or a secret manager",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nplace = 7",
            "f:9:9: credential.b.place: wrong type, expected a string",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nrenew = \"14d\"\ncheck = \"off\"\ntoken = \"file:/t\"\napp_secret = \"file:/s\"",
            "f:9:9: credential.b.renew: with check = \"off\" the end of a token is unknown, expected check = \"auto\"",
        ),
        (
            "[credential.b]\nprovider = \"360dialog\"\nproof = \"classic\"",
            "f:9:9: credential.b.proof: the provider has no appsecret_proof, expected \"auto\" or \"off\"",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nmax_age = \"0d\"",
            "f:9:11: credential.b.max_age: zero, expected more than 0",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\noverlap = \"0s\"",
            "f:9:11: credential.b.overlap: not a time, expected \"off\", or a whole number over 0 with ms, s, m, h or d, such as \"25s\"",
        ),
        (
            "[credential.\"b c\"]\n[[route]]\ncredential = \"b c\"",
            "f:7:13: credential.(name not shown): not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -, the first of them neither . nor -",
        ),
        (
            "[outbound]\nallow_uids = [\"www-data\"]",
            "f:8:15: outbound.allow_uids: not the number of a user, expected one such as 1000: `id -u NAME` prints it",
        ),
        (
            "[outbound]\ninclude = [\"conf.d/*.toml\"]",
            "f:8:1: outbound.include: unknown key here, expected it at the top of the file, above every [table]",
        ),
        (
            "[outbound]\nallow_remote = true\nlisten = [\"0.0.0.0:9000\"]\n[admin]\nlisten = [\"127.0.0.1:9000\"]",
            "f:11:11: admin.listen: the same port as at f:9:11, and one of both takes every address of the machine: expected another port",
        ),
        (
            "[outbound]\nallow_remote = true\nlisten = [\"0.0.0.0:9900\"]",
            "f:1:1: admin.listen: its default is taken at f:9:11, expected another address",
        ),
        (
            "[credential.\"b c\"]",
            "f:7:13: credential.(name not shown): not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -, the first of them neither . nor -",
        ),
        (
            "[credential.-b]",
            "f:7:13: credential.-b: not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -, the first of them neither . nor -",
        ),
        (
            "[provider.-b]\nextends = \"meta\"",
            "f:7:11: provider.-b: not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -, the first of them neither . nor -",
        ),
        (
            "[[route]]\ncredential = \"acme\"\nname = \"..\"\npath = \"/b\"",
            "f:9:8: route.name: not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -, the first of them neither . nor -",
        ),
        (
            "[[webhook]]\ncredential = \"acme\"\nname = \"-b\"\npath = \"/b\"\nforward = \"http://127.0.0.1:1/\"",
            "f:9:8: webhook.name: not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -, the first of them neither . nor -",
        ),
        (
            "[credential.\"acme.token\"]\nprovider = \"meta\"",
            "f:7:13: credential.acme.token: commands such as `keyside rotate` call `token` of the credential `acme` by this name, expected another name",
        ),
        (
            "[credential.\"acme.app_secret\"]\nprovider = \"meta\"",
            "f:7:13: credential.acme.app_secret: commands such as `keyside rotate` call `app_secret` of the credential `acme` by this name, expected another name",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\n[[route]]\ncredential = \"b\"",
            "f:7:1: credential.b.token: missing, expected a reference such as \"file:/run/secrets/b/token\": a route uses this credential",
        ),
        (
            "[[route]]",
            "f:7:1: route.credential: missing, expected the NAME of a [credential.NAME]",
        ),
        (
            "[[route]]\ncredential = \"acne\"",
            "f:8:14: route.credential: no such credential, expected `acme`",
        ),
        (
            "[[route]]\ncredential = \"acme\"\npath = \"/b\"",
            "f:7:1: route: the same name as the route at f:5:1, expected another `name`",
        ),
        (
            "[[route]]\ncredential = \"acme\"\nname = \"acme\"\npath = \"/b\"",
            "f:9:8: route.name: the same name as the route at f:5:1, expected another `name`",
        ),
        (
            "[[route]]\ncredential = \"acme\"\nname = \"a b\"\npath = \"/b\"",
            "f:9:8: route.name: not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -, the first of them neither . nor -",
        ),
        (
            "[[route]]\ncredential = \"acme\"\nname = \"b\"",
            "f:7:1: route: the same path as the route at f:5:1, expected another `path`, or `senders` in both that have none in common",
        ),
        (
            "senders = [\"1\"]\n[[route]]\ncredential = \"acme\"\nname = \"b\"\npath = \"/\"\nsenders = [\"2\", \"1\"]",
            "f:11:8: route.path: the same path as the route at f:5:1, expected another `path`, or `senders` in both that have none in common",
        ),
        (
            "path = \"acme\"",
            "f:7:8: route.path: not a path, expected it to begin with a slash",
        ),
        (
            "path = \"/a/../b\"",
            "f:7:8: route.path: not a path that a request could have, expected segments of visible ASCII, none of them empty or dots, without percent or query",
        ),
        (
            "path = \"/a%2f\"",
            "f:7:8: route.path: not a path that a request could have, expected segments of visible ASCII, none of them empty or dots, without percent or query",
        ),
        (
            "path = \"//\"",
            "f:7:8: route.path: not a path that a request could have, expected segments of visible ASCII, none of them empty or dots, without percent or query",
        ),
        (
            "senders = [\"+491234\"]",
            "f:7:12: route.senders: not a sender, expected the digits of a phone number id",
        ),
        (
            "senders = [106540352242922]",
            "f:7:12: route.senders: wrong type, expected a string, such as \"106540352242922\"",
        ),
        (
            "operations = [\"messages:read\"]",
            "f:7:15: route.operations: no request of `messages` only reads, expected the name of the operation without `:read`",
        ),
        (
            "operations = []",
            "f:7:14: route.operations: empty, expected at least one operation",
        ),
        (
            "operations = [\"mesages\"]",
            "f:7:15: route.operations: unknown operation, did you mean `messages`? expected one of `messages`, `media`, `media_delete`, `calls`, `groups`, `block_users`, `payments`, `objects`, `templates`, `insights`, `conversions`, `flows`, `qr_codes`, `profile`, `commerce`, `payment_configurations`, `uploads`, `phone_numbers`, `account`, `registration`, `onboarding`, `tokens`, `subscriptions`, `oauth`",
        ),
        (
            "[route.limits]\nper_recipient = \"1/6s\"",
            "f:8:17: route.limits.per_recipient: wrong type, expected a table, such as { rate = \"1/6s\", burst = 45 }",
        ),
        (
            "[route.limits]\nper_recipient = { rate = \"1/6s\", burst = 0 }",
            "f:8:42: route.limits.per_recipient.burst: not a count, expected how many messages may go at once, such as 45",
        ),
        (
            "[route.limits]\nper_recipient = { burst = 5 }",
            "f:8:17: route.limits.per_recipient.rate: missing, expected how many messages in how much time, such as \"1/6s\"",
        ),
        (
            "[route.limits]\nper_number = \"1/6s\"",
            "f:8:1: route.limits.per_number: unknown key, did you mean `per_sender`? expected one of `retry`, `per_sender`, `apart`, `per_account`, `management`, `per_recipient`, `max_wait`, `max_queue`",
        ),
        (
            "[route.limits]\nper_sender = \"80\"",
            "f:8:14: route.limits.per_sender: not a rate, expected events per time, such as \"80/s\" or \"1/6s\"",
        ),
        (
            "[route.limits]\nmax_queue = -5",
            "f:8:13: route.limits.max_queue: out of range, expected a smaller number that is not negative",
        ),
        (
            "[provider.x]\nextends = \"mata\"",
            "f:8:11: provider.x.extends: unknown preset, did you mean `meta`? expected one of `meta`, `360dialog`, `infobip`, `twilio`, `vonage`, `bird`, `bird-platform`, `messagebird`, `sinch`, `ycloud`, `telnyx`, `wati`, `zenvia`, `cm`, `plivo`, `gupshup`, `wassenger`, `clickatell`, `haptik`, `interakt`, `aisensy`, `kaleyra`, `respond-io`, `route-mobile`, `chat-api`, `standard-webhooks`, `generic`",
        ),
        (
            "[provider.meta]\nmedia_upstream = \"https://a\"",
            "f:7:1: provider.meta: neither complete nor an extension, expected extends = \"meta\" to change the preset",
        ),
        (
            "[provider.x]\nextends = \"meta\"\nupstream = \"https://user:CANARY@a\"",
            "f:9:12: provider.x.upstream: not an upstream, expected https://HOST or https://HOST:PORT",
        ),
        (
            "[provider.x]\nextends = \"meta\"\n[provider.x.secrets.token]\nrequired = false",
            "presets/meta.toml:",
        ),
        (
            "[provider.x]\nextends = \"twilio\"\n[provider.x.channels]\nwords = [\"channel\"]",
            "f:10:10: provider.x.channels.words: not a JSON pointer, expected one such as \"/apiKey\"",
        ),
        (
            "[provider.x]",
            "f:7:1: provider.x.upstream: missing, expected where requests go, such as \"https://HOST\"",
        ),
    ] {
        let found = faults(&format!("{SMALL}{added}\n"));
        assert!(
            found
                .iter()
                .any(|f| f == expected || expected.ends_with(".toml:") && f.starts_with(expected)),
            "{expected}\n{found:#?}"
        );
        assert!(!found.join("").contains("CANARY"), "{found:#?}");
    }
}

#[test]
fn all_faults_are_reported_and_not_only_the_first() {
    let found = faults(
        "[outbound]\nlisten = 1\ndrain = \"x\"\nfoo = 1\n[credential.a]\nprovider = \"x\"\n[log]\nlevel = 1\n",
    );
    let places: Vec<&str> = found
        .iter()
        .map(|f| f.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        ["f:1:1", "f:2:10", "f:3:9", "f:4:1", "f:6:12", "f:8:9"]
    );
}

#[test]
fn a_literal_secret_is_told_beside_an_unknown_provider() {
    for begin in [
        "[credential.a]\nprovider = \"whatsap\"\n",
        "[credential.a]\n",
        "[provider.mine]\nextends = \"nobody\"\n[credential.a]\nprovider = \"mine\"\n",
    ] {
        let line = begin.lines().count() + 1;
        let found = faults(&format!(
            "{begin}token = \"EAACANARY0123456789\"\naccount_sid = \"AC1\"\napp_secret = \"file:/a\"\n\
             [[route]]\ncredential = \"a\"\n"
        ));
        assert_eq!(found.len(), 2, "{found:#?}");
        let told = format!("f:{line}:9: credential.a.token: not a reference");
        assert!(
            found.iter().any(|fault| fault.starts_with(&told)),
            "{found:#?}"
        );
        assert!(!found.join("").contains("CANARY"), "{found:#?}");
    }
}

#[test]
fn an_empty_file_lacks_a_route_or_webhook() {
    assert_eq!(
        faults(""),
        ["f:1:1: route: missing, expected at least one [[route]] or [[webhook]]"]
    );
    assert_eq!(
        faults("[route]\n"),
        ["f:1:1: route: expected one or more [[route]]"]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let faults = Config::load(&ConfigFile::Named("/nonexistent/proxy.toml".into())).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "/nonexistent/proxy.toml: cannot be read: there is no such file; write one, or name another one with --config"
    );
    let faults = Config::load(&ConfigFile::Named("/dev/null".into())).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "/dev/null: cannot be read: it is not a regular file"
    );
}
