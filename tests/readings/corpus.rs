//! A seeded generator of requests that hide names and senders in every way that some server may
//! understand.

use std::sync::LazyLock;
use std::time::SystemTime;

/// A generated request.
pub struct Sent {
    target: String,
    kind: Option<String>,
    body: Vec<u8>,
    is_chunked: bool,
    /// Further lines of the head.
    headers: String,
}

impl Sent {
    /// The request with further lines in the head.
    pub fn with_headers(self, headers: String) -> Self {
        Self { headers, ..self }
    }

    /// The bytes of the request.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\n{}",
            self.target, self.headers
        )
        .into_bytes();
        if let Some(kind) = &self.kind {
            out.extend_from_slice(format!("Content-Type: {kind}\r\n").as_bytes());
        }
        if self.is_chunked && !self.body.is_empty() {
            out.extend_from_slice(
                format!(
                    "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                    self.body.len()
                )
                .as_bytes(),
            );
            out.extend_from_slice(&self.body);
            out.extend_from_slice(b"\r\n0\r\n\r\n");
        } else {
            out.extend_from_slice(
                format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes(),
            );
            out.extend_from_slice(&self.body);
        }
        out
    }
}

/// The seed of this run, for every generator in it: a new one each time, or that of
/// `KEYSIDE_READINGS_SEED`.
pub fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        let seed = std::env::var("KEYSIDE_READINGS_SEED").ok().map_or_else(
            || {
                let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                u64::from(since.subsec_nanos())
            },
            |seed| seed.parse().expect("a number"),
        );
        eprintln!("KEYSIDE_READINGS_SEED={seed} makes the same requests again");
        seed
    });
    *SEED
}

/// The generator. Equal seeds give equal requests.
pub struct Corpus {
    state: u64,
    names: Vec<&'static str>,
}

const PLAIN: [&str; 8] = [
    "to",
    "type",
    "text",
    "batches",
    "id",
    "messaging_product",
    "a.b",
    "methods",
];
const SENDERS: [&str; 9] = [
    "1555",
    "+1555",
    "whatsapp:+1555",
    "1556",
    "+1556",
    "Acme",
    "",
    "1555;1556",
    "1 555",
];
pub(super) const JSON: &str = "application/json";
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

impl Corpus {
    /// A generator of hidden names.
    pub fn new(seed: u64, names: &[&'static str]) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            names: names.to_vec(),
        }
    }

    /// A request to one of these targets, with hidden names in query and body.
    pub fn graph_request(&mut self, targets: &[&str]) -> Sent {
        let target = self.target(targets);
        let (kind, body) = match self.below(3) {
            0 => (JSON.to_owned(), self.json()),
            1 => (FORM.to_owned(), self.form(4).into_bytes()),
            _ => {
                let boundary = self
                    .pick(&["b", "----WebKitFormBoundaryX", "=_b"])
                    .to_owned();
                (
                    format!("multipart/form-data; boundary={boundary}"),
                    self.multipart(&boundary),
                )
            }
        };
        self.sent(target, kind, body)
    }

    /// A message to a target, with allowed and foreign senders in query and body.
    pub fn message(&mut self, target: &str) -> Sent {
        let target = self.target(&[target]);
        let (kind, body) = if self.one_in(2) {
            (JSON.to_owned(), self.json())
        } else {
            (FORM.to_owned(), self.form(3).into_bytes())
        };
        // Most messages name an allowed sender first: a hidden sender has a chance.
        let body = match (self.below(4), body.split_first()) {
            (0, _) | (_, None) => body,
            (_, Some((b'{', rest))) => [br#"{"from":"1555","#.as_slice(), rest].concat(),
            _ if kind == FORM => [b"from=1555&".as_slice(), &body].concat(),
            _ => body,
        };
        self.sent(target, kind, body)
    }

    pub(super) fn sent(&mut self, target: String, kind: String, body: Vec<u8>) -> Sent {
        let kind = match self.below(12) {
            0 => None,
            1 => Some(
                self.pick(&[
                    "text/plain",
                    "",
                    "application/octet-stream",
                    "multipart/mixed; boundary=b",
                ])
                .to_owned(),
            ),
            2 => Some(format!(
                "{kind}; charset={}",
                self.pick(&["utf-8", "UTF-8", "utf-16", "\"utf-8\""])
            )),
            3 => Some(kind.to_ascii_uppercase()),
            4 => Some(
                self.pick(&[
                    JSON,
                    FORM,
                    "multipart/form-data; boundary=b",
                    "application/json, text/plain",
                ])
                .to_owned(),
            ),
            _ => Some(kind),
        };
        let is_chunked = self.one_in(4);
        Sent {
            target,
            kind,
            body,
            is_chunked,
            headers: String::new(),
        }
    }

    fn target(&mut self, targets: &[&str]) -> String {
        let path = self.pick(targets).to_owned();
        if self.one_in(4) {
            let query = self.form(2);
            let query: String = query
                .chars()
                .filter(|c| ('!'..='~').contains(c) && *c != '#')
                .collect();
            format!("{path}?{query}")
        } else {
            path
        }
    }

    /// A name: mostly plain, else a hidden name. Hidden names are few: many requests shall pass.
    fn name(&mut self) -> String {
        if !self.one_in(4) {
            return self.pick(&PLAIN).to_owned();
        }
        self.disguised()
    }

    /// A hidden name, mostly in disguise.
    pub(super) fn disguised(&mut self) -> String {
        let names = self.names.clone();
        let name = self.pick(&names).to_owned();
        let at = self.below(name.len());
        match self.below(17) {
            0 => name.to_ascii_uppercase(),
            1 => format!("{name}[]"),
            2 => format!("{name}[0][from]"),
            3 => format!("{name}\0x"),
            4 => format!(" {name}"),
            5 => format!("{name} "),
            6 => name.replace('_', self.pick(&[".", " ", "["])),
            7 => format!("x{name}"),
            8 => format!("{name}x"),
            9 => format!("x[{name}]"),
            10 => format!("\u{feff}{name}"),
            11 => name.replace('b', "\u{ff42}").replace('i', "\u{131}"),
            12 => format!("{}\u{200b}{}", &name[..at], &name[at..]),
            13 => format!("?{name}"),
            14 => format!("{name}]"),
            15 => format!("{name}.0.from"),
            _ => name,
        }
    }

    fn value(&mut self) -> String {
        if self.one_in(3) {
            return self
                .pick(&["x", "&batch=1", "a\"b", "\u{e9}", "{\"batch\":1}", "=;&"])
                .to_owned();
        }
        // Allowed senders more often than foreign ones.
        let upto = if self.one_in(6) { SENDERS.len() } else { 3 };
        self.pick(&SENDERS[..upto]).to_owned()
    }

    fn form(&mut self, most: usize) -> String {
        let mut form = String::new();
        for _ in 0..self.below(most) + 1 {
            let (name, value) = (self.name(), self.value());
            let (name, value) = (self.encoded(&name), self.encoded(&value));
            let equals = if self.one_in(12) { "" } else { "=" };
            form.push_str(&format!("{name}{equals}{value}"));
            form.push_str(if self.one_in(8) {
                self.pick(&[";", "&&", "&amp;", "\n", "%26"])
            } else {
                "&"
            });
        }
        if !self.one_in(8) {
            form.pop();
        }
        form
    }

    /// A name of a JSON object, mostly plain, else in another case or with escapes.
    pub(super) fn written(&mut self, name: &str) -> String {
        match self.below(12) {
            0 => self.quoted(&name.to_ascii_uppercase()),
            1 => self.quoted(&format!("{name}[]")),
            2 => self.quoted(&format!("{name}\0x")),
            _ => self.quoted(name),
        }
    }

    /// A sender in JSON, mostly an allowed one.
    pub(super) fn sender(&mut self) -> String {
        match self.below(16) {
            0 => "[\"1556\"]".to_owned(),
            1 => "{\"a\":\"1556\"}".to_owned(),
            2 => "null".to_owned(),
            3 => "\"1556\"".to_owned(),
            _ => self.pick(&["\"1555\"", "1555", "\"+1555\""]).to_owned(),
        }
    }

    /// A sender in JSON at a provider whose senders are addresses with a channel, mostly an allowed
    /// one.
    pub(super) fn address(&mut self) -> String {
        let address = match self.below(12) {
            0 => "whatsapp:+1556",
            1 => "+1555",
            2 => "",
            3 => "whatsapp:+1555;whatsapp:+1556",
            _ => "whatsapp:+1555",
        };
        format!("\"{address}\"")
    }

    /// A pair of a form with a given name and a sender at Twilio, in any of several spellings.
    pub(super) fn pair(&mut self, names: &[&'static str]) -> String {
        let name = self.pick(names);
        let name = match self.below(10) {
            0 => format!("{name}[]"),
            1 => format!("{name}\0"),
            2 => format!("\u{feff}{name}"),
            3 => format!("{name}.0"),
            _ => name.to_owned(),
        };
        let value = match self.below(5) {
            0 => self.pick(&[
                "whatsapp:+1556",
                "+1555",
                "",
                "whatsapp:+1555;whatsapp:+1556",
            ]),
            _ => "whatsapp:+1555",
        };
        let (name, value) = (self.encoded(&name), self.encoded(value));
        format!("{name}={value}")
    }

    /// Text in percent signs: what must be encoded, and some of the rest.
    pub(super) fn encoded(&mut self, text: &str) -> String {
        let mut out = String::new();
        for byte in text.bytes() {
            let must = !byte.is_ascii_alphanumeric() && !b"_.-[]?".contains(&byte);
            if must && byte == b' ' && self.one_in(2) {
                out.push('+');
            } else if (must && (!byte.is_ascii() || !self.one_in(10))) || self.one_in(12) {
                out.push_str(&format!("%{byte:02X}"));
            } else {
                out.push(char::from(byte));
            }
        }
        out
    }

    fn json(&mut self) -> Vec<u8> {
        let mut text = self.object(2);
        match self.below(24) {
            0 => text.insert(0, '\u{feff}'),
            1 => text.insert_str(0, "\u{feff}\u{feff}"),
            2 => text.push('x'),
            3 => text = format!("{text}{}", self.object(1)),
            4 => text = format!("[{text}]"),
            5 => text = text.replace('"', "'"),
            6 => text = text.replace('}', ",}"),
            7 => text = format!("/**/{text}//"),
            8 => return text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            9 => return text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            10 => {
                let mut bytes = text.into_bytes();
                let at = self.below(bytes.len());
                bytes.insert(at, self.pick(&[0xff, 0xc0, 0x80, 0x00]));
                return bytes;
            }
            11 => text = format!(" \n{text}\t "),
            _ => {}
        }
        text.into_bytes()
    }

    fn object(&mut self, depth: usize) -> String {
        let fields: Vec<_> = (0..self.below(4) + 1)
            .map(|_| {
                let name = self.name();
                let value = self.json_value(depth);
                format!("{}:{value}", self.quoted(&name))
            })
            .collect();
        format!("{{{}}}", fields.join(","))
    }

    fn json_value(&mut self, depth: usize) -> String {
        match self.below(12) {
            0 => self
                .pick(&[
                    "null",
                    "1555",
                    "1556",
                    "1.5",
                    "true",
                    "1555.0",
                    "15550e-1",
                    "\"\\ud800\"",
                ])
                .to_owned(),
            1 if depth > 0 => self.object(depth - 1),
            2 if depth > 0 => format!("[{},{}]", self.object(depth - 1), self.object(depth - 1)),
            3 => "[\"1556\"]".to_owned(),
            _ => {
                let value = self.value();
                self.quoted(&value)
            }
        }
    }

    /// Text as JSON, with some escapes that are not needed, and seldom with a broken one.
    pub(super) fn quoted(&mut self, text: &str) -> String {
        let mut out = String::from("\"");
        for c in text.chars() {
            let must = c < ' ' || c == '"' || c == '\\';
            if must || self.one_in(16) {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                out.push(c);
            }
        }
        if self.one_in(60) {
            out.push_str(self.pick(&["\\ud800", "\\x41", "\n", "\\"]));
        }
        out.push('"');
        out
    }

    fn multipart(&mut self, boundary: &str) -> Vec<u8> {
        let mut out = String::new();
        if self.one_in(20) {
            out.push_str(self.pick(&["preamble\r\n", "\r\n", "\n"]));
        }
        for _ in 0..self.below(3) + 1 {
            let line = if self.one_in(24) {
                self.pick(&["\n", "\r"])
            } else {
                "\r\n"
            };
            let disposition = self.disposition();
            let header = if self.one_in(16) {
                self.pick(&[
                    "content-disposition",
                    "Content_Disposition",
                    "Content-Disposition ",
                    "X: y\nContent-Disposition",
                    " Content-Disposition",
                ])
            } else {
                "Content-Disposition"
            };
            out.push_str(&format!("--{boundary}{line}{header}: {disposition}{line}"));
            if self.one_in(3) {
                out.push_str(self.pick(&[
                    "Content-Type: image/png\r\n",
                    "Content-Transfer-Encoding: base64\r\n",
                    "Content-Disposition: form-data; name=batch\r\n",
                ]));
            }
            let content = self.value();
            let before = if self.one_in(20) { "" } else { line };
            out.push_str(&format!("{line}{content}{before}"));
        }
        out.push_str(&format!(
            "--{boundary}{}",
            if self.one_in(20) { "" } else { "--" }
        ));
        let behind = match self.below(20) {
            0 => "\r\nepilogue",
            1 => "\n",
            2 | 3 => "\r\n\r\n",
            _ => "\r\n",
        };
        out.push_str(behind);
        out.into_bytes()
    }

    fn disposition(&mut self) -> String {
        let (name, other) = (self.name(), self.name());
        let first = name.chars().next().map_or(0, char::len_utf8);
        let written = match self.below(20) {
            0 => format!("name={name}"),
            1 => format!("name='{name}'"),
            2 => format!("name*=utf-8''{name}"),
            3 => format!("name=\"{name}\"; name=\"{other}\""),
            4 => format!("filename=\"a\\\"; name=\\\"{name}\\\"\"; name=\"{other}\""),
            5 => format!("filename=\"a\\\"; name=\"{name}\"; filename=\"b\""),
            6 => format!("name=\"{name}\\\"\"; filename=a"),
            7 => format!("Name =\"{name}\""),
            8 => format!("name=\"{other}\";filename=\"{name}\""),
            9 => format!("name=\"=?utf-8?q?{name}?=\""),
            10 => format!(
                "name*0=\"{}\"; name*1=\"{}\"",
                &name[..first],
                &name[first..]
            ),
            11 => format!("x='; name=\"{name}\"; y='; filename=\"b\""),
            12 => format!("filename=\"{name}\"; name=\"{other}\""),
            _ => format!("name=\"{name}\""),
        };
        format!("form-data; {written}")
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % bound
    }
}
