//! One HTTP answer, read to its end.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Status, headers and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked, for the text of failures.
    pub asked: String,
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// Itself when the status is this one; fails the test with the body otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{} answered {}: {}",
            self.asked,
            self.status,
            self.text()
        );
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{}: not JSON ({error}): {}", self.asked, self.text()),
        }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; of several the first.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The string under `key` of a JSON object.
    #[track_caller]
    pub fn field(&self, key: &str) -> String {
        match self.json().get(key).and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => panic!("{}: no string {key} in {}", self.asked, self.text()),
        }
    }

    /// `id` of the objects in the array under `key`.
    #[track_caller]
    pub fn ids(&self, key: &str) -> Vec<String> {
        let json = self.json();
        let Some(rows) = json.get(key).and_then(Value::as_array) else {
            panic!("{}: no array {key} in {}", self.asked, self.text());
        };
        rows.iter()
            .map(|row| row["id"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}
