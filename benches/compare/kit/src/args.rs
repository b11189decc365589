//! Arguments of the form `--key=value`; a key may come more than once.

use std::collections::HashMap;
use std::str::FromStr;

pub struct Args(HashMap<String, Vec<String>>);

impl Args {
    pub fn parse(words: impl Iterator<Item = String>) -> Args {
        let mut map: HashMap<String, Vec<String>> = HashMap::new();
        for word in words {
            let word = word.strip_prefix("--").unwrap_or_else(|| panic!("unexpected argument {word}"));
            let (key, value) = word.split_once('=').unwrap_or((word, "1"));
            map.entry(key.to_string()).or_default().push(value.to_string());
        }
        Args(map)
    }

    pub fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).last().map(String::as_str)
    }

    pub fn required(&self, key: &str) -> &str {
        self.get(key).unwrap_or_else(|| panic!("--{key}=... is missing"))
    }

    pub fn num<T: FromStr>(&self, key: &str, default: T) -> T {
        match self.get(key) {
            None => default,
            Some(value) => value.parse().unwrap_or_else(|_| panic!("--{key}={value}: not a number")),
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}
