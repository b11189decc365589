//! The status page: the words, the answers for foreign sites, and the freedom of other requests.
//! `tests/browser` has the view of a browser.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::client::{Answer, get, post};
use crate::support::keyside::{Keyside, Setup, free_port, words_of_page as words};
use crate::support::upstream::{Upstream, answer};
use crate::support::{MESSAGES, TOKEN, contains, eventually, stretched};

/// A request for a path of the admin listener with more header lines.
fn asked(method: &str, target: &str, lines: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes()
}

fn page(keyside: &Keyside) -> Answer {
    let answer = keyside.ask_admin(&get("/"));
    assert_eq!(answer.status, 200);
    answer
}

/// The updates for one viewer.
struct Updates(TcpStream);

impl Updates {
    fn follow(keyside: &Keyside) -> Self {
        let mut stream = TcpStream::connect(keyside.admin()).unwrap();
        let patience = stretched(Duration::from_secs(20));
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.write_all(&get("/page/updates")).unwrap();
        Self(stream)
    }

    /// Reads until the text is there; returns all that was read.
    fn until(&mut self, wanted: &str) -> String {
        let mut read = Vec::new();
        let mut piece = [0; 4096];
        while !contains(&read, wanted.as_bytes()) {
            let length = self.0.read(&mut piece).expect("an update");
            assert!(length > 0, "the end: {}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&piece[..length]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_no_site_gets_hold_of_it() {
    let keyside = Keyside::start(&Upstream::ok());
    let answer = page(&keyside);
    let text = answer.text();
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let policy = answer.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
    ] {
        assert!(policy.contains(part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for address in ["src=\"", "@import", "url(", "href=\"http", "style=\""] {
        assert!(!text.contains(address), "{address}");
    }
    let head = keyside.ask_admin(&asked("HEAD", "/", "Connection: close\r\n"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    let stream = keyside.ask_admin(&asked("HEAD", "/page/updates", "Connection: close\r\n"));
    let kind = Some("text/event-stream; charset=utf-8");
    assert_eq!((stream.status, stream.header("content-type")), (200, kind));
    for target in ["/", "/page/updates"] {
        let answer = keyside.ask_admin(&post(target, ""));
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, HEAD"))
        );
    }
}

#[test]
fn only_a_person_and_the_page_itself_are_answered() {
    let keyside = Keyside::start(&Upstream::ok());
    let ask = |target: &str, lines: &str| {
        let lines = format!("{lines}Connection: close\r\n");
        keyside.ask_admin(&asked("HEAD", target, &lines)).status
    };
    for (lines, of_page, of_others) in [
        ("Sec-Fetch-Site: none\r\n", 200, 200),
        ("Sec-Fetch-Site: same-origin\r\n", 200, 403),
        ("Sec-Fetch-Site: same-site\r\n", 403, 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403, 403),
        (
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
            403,
            403,
        ),
        ("Origin: http://localhost\r\n", 403, 403),
        ("Origin: null\r\n", 403, 403),
    ] {
        assert_eq!(ask("/", lines), of_page, "{lines}");
        assert_eq!(ask("/page/updates", lines), of_page, "{lines}");
        assert_eq!(ask("/status", lines), of_others, "{lines}");
        assert_eq!(ask("/metrics", lines), of_others, "{lines}");
    }
    let from_page = asked(
        "POST",
        "/reload",
        "Sec-Fetch-Site: same-origin\r\nContent-Length: 0\r\n",
    );
    assert_eq!(keyside.ask_admin(&from_page).status, 403);
    let rebound = b"GET / HTTP/1.1\r\nHost: evil.test\r\nSec-Fetch-Site: none\r\n\r\n";
    assert_eq!(keyside.ask_admin(rebound).status, 421);
}

#[test]
fn words_from_elsewhere_are_never_markup_and_no_secret_is_on_the_page() {
    let words = r#"<script>alert(1)</script>\"' onload=x &amp; <img src=x>"#;
    let body = format!(
        r#"{{"error":{{"message":"{words}","type":"OAuthException","code":131031,"fbtrace_id":"A"}}}}"#
    );
    let upstream = Upstream::answering(move |_| {
        let json = [("Content-Type", "application/json")];
        answer("400 Bad Request", &json, body.as_bytes())
    });
    let keyside = Setup::new(&upstream).start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 400);
    let text = page(&keyside).text();
    let escaped =
        "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39; onload=x &amp;amp; &lt;img src=x&gt;";
    assert!(text.contains(escaped), "{text}");
    let mut updates = Updates::follow(&keyside);
    let events = updates.until("\"id\":\"routes\"");
    assert!(events.contains(escaped), "{events}");
    for raw in ["<script>alert", "<img", TOKEN] {
        assert!(!text.contains(raw) && !events.contains(raw), "{raw}");
    }
}

#[test]
fn the_page_names_the_problems_that_the_command_line_names() {
    let port = free_port();
    let keyside = Setup::at(&format!("https://localhost:{port}")).start();
    assert!(words(&page(&keyside)).contains("Nothing is wrong"));
    for _ in 0..3 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 502);
    }
    let told = keyside.problems();
    let line = told.lines().next().expect(&told).to_owned();
    let (subject, rest) = line.split_once(": ").expect(&line);
    let is_named = eventually(Duration::from_secs(10), || {
        let words = words(&page(&keyside));
        words.contains(subject)
            && words.contains(&rest.replace('"', "&quot;").replace('\'', "&#39;"))
    });
    assert!(is_named, "{line}\n{}", words(&page(&keyside)));
    let words = words(&page(&keyside));
    for part in [
        "1 thing is wrong",
        "What is wrong, and what to do",
        "3, 3 failed",
        "failing",
    ] {
        assert!(words.contains(part), "{part} in {words}");
    }
}

#[test]
fn a_viewer_is_told_what_changes_and_that_the_sidecar_ends() {
    let upstream = Upstream::ok();
    let mut keyside = Keyside::start(&upstream);
    let mut updates = Updates::follow(&keyside);
    let first = updates.until("\"id\":\"sidecar\"");
    assert!(first.contains("Nothing is wrong"), "{first}");
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let change = updates.until("\"id\":\"routes\"");
    assert!(
        !change.contains("\"id\":\"verdict\""),
        "only what changes: {change}"
    );
    let began = Instant::now();
    keyside.signal(rustix::process::Signal::TERM);
    updates.until("event: end\n");
    let status = keyside.wait_exit(stretched(Duration::from_secs(5)));
    assert!(status.is_some_and(|status| status.success()));
    assert!(
        began.elapsed() < stretched(Duration::from_secs(3)),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn viewers_are_bounded_and_one_that_goes_leaves_its_place() {
    let keyside = Keyside::start(&Upstream::ok());
    let mut viewers: Vec<_> = (0..16).map(|_| Updates::follow(&keyside)).collect();
    for viewer in &mut viewers {
        viewer.until("\"id\":\"verdict\"");
    }
    let refused = keyside.ask_admin(&get("/page/updates"));
    assert_eq!((refused.status, refused.slug()), (503, "overloaded"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(page(&keyside).status, 200, "the page itself is there");
    viewers.pop();
    let is_free = eventually(Duration::from_secs(10), || {
        let mut stream = TcpStream::connect(keyside.admin()).unwrap();
        stream.write_all(&get("/page/updates")).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        head.ends_with(b"200")
    });
    assert!(is_free, "the place of the viewer that has gone");
}

#[test]
fn tenants_are_found_by_name_and_shown_in_parts() {
    let upstream = Upstream::ok();
    let mut more = String::new();
    for tenant in 0..60 {
        more += &format!(
            "[credential.t{tenant:02}]\nprovider = \"test\"\ncheck = \"off\"\nproof = \"off\"\n\
             token = \"file:@DIR@/token\"\nmax_age = \"{}\"\n[[route]]\ncredential = \"t{tenant:02}\"\npath = \"/t{tenant}\"\n",
            if tenant == 59 { "1s" } else { "90d" }
        );
    }
    let keyside = Setup::new(&upstream).more(&more).start();
    let ask = |query: &str| words(&keyside.ask_admin(&get(&format!("/{query}"))));
    // A token is older than `max_age` a second after it was written.
    let is_overdue = || ask("").contains("1 thing is wrong");
    assert!(eventually(Duration::from_secs(10), is_overdue));
    let first = ask("");
    assert!(
        first.contains("Tenants 1\u{2013}25 of 61, those with problems first"),
        "{first}"
    );
    assert!(
        first.contains("t59") && !first.contains("t40"),
        "the one with a problem is first: {first}"
    );
    assert!(ask("?page=3").contains("Tenants 51\u{2013}61 of 61"));
    assert!(ask("?page=99").contains("Tenants 51\u{2013}61 of 61"));
    let found = ask("?find=T4");
    assert!(
        found.contains("Tenants 1\u{2013}10 of 10 found among 61"),
        "{found}"
    );
    let wrong = ask("?only=problems");
    assert!(
        wrong.contains("Tenants 1\u{2013}1 of 1 found among 61"),
        "{wrong}"
    );
    let none = ask("?find=nobody");
    assert!(
        none.contains("No credential, route or webhook is like that."),
        "{none}"
    );
}
