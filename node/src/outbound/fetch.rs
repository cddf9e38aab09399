//! One fetch: a body as it comes, bounded in bytes and time, resumed where it was cut.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::{
    client::{Follow, Head, Outbound, length, succeeded, validator},
    error::{FetchError, chain},
};

/// Before the first resumption; doubled for each further one.
const RESUME_PAUSE: Duration = Duration::from_millis(200);

/// Data on its way in. It ends well only after the last byte that was promised.
pub struct Fetch {
    outbound: Arc<Outbound>,
    url: String,
    follow: Follow,
    head: Head,
    response: Response,
    /// Where the next byte is.
    at: u64,
    /// Where to end; `None`: where the source says, or where it ends by itself.
    end: Option<u64>,
    /// Bytes before `at` that still come, from a source that cannot begin there.
    skip: u64,
    cap: u64,
    resumes: u32,
    deadline: Instant,
}

impl Fetch {
    pub(super) async fn open(
        outbound: Arc<Outbound>,
        url: &str,
        range: Option<Range<u64>>,
        follow: Follow,
        cap: u64,
        deadline: Instant,
    ) -> Result<Self, FetchError> {
        let mut headers = HeaderMap::new();
        if let Some(range) = &range {
            headers.insert(header::RANGE, range_header(range.start, Some(range.end)));
        }
        let response = outbound
            .open(Method::GET, url, headers, follow, deadline)
            .await?;
        let at = range.as_ref().map_or(0, |range| range.start);
        let (head, skip) = understand(&response, at, range.as_ref())?;
        let end = range.map(|range| range.end).or(head.size);
        if end.is_some_and(|end| end > cap) {
            return Err(FetchError::TooLarge(cap));
        }
        let url = url.to_owned();
        Ok(Self {
            outbound,
            url,
            follow,
            head,
            response,
            at,
            end,
            skip,
            cap,
            resumes: 0,
            deadline,
        })
    }

    /// What the source said.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next bytes; `None`: all were there.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if self.end.is_some_and(|end| self.at >= end) {
                return Ok(None);
            }
            let idle = Instant::now() + self.outbound.bounds().idle_timeout;
            let cut = match timeout_at(idle.min(self.deadline), self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => match self.taken(bytes)? {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => continue,
                },
                // Its framing says that this was all.
                Ok(Ok(None)) if self.end.is_none() => return Ok(None),
                Ok(Ok(None)) => "it ended too early".to_owned(),
                Ok(Err(error)) => chain(error),
                Err(_) if Instant::now() >= self.deadline => return Err(FetchError::Slow),
                Err(_) => "it stalled".to_owned(),
            };
            self.resume(cut).await?;
        }
    }

    /// Of what came the part that was asked for, if any.
    fn taken(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, FetchError> {
        if Instant::now() >= self.deadline {
            return Err(FetchError::Slow);
        }
        let before = within(self.skip, bytes.len());
        drop(bytes.split_to(before));
        self.skip -= before as u64;
        if let Some(end) = self.end {
            bytes.truncate(within(end.saturating_sub(self.at), bytes.len()));
        }
        self.at += bytes.len() as u64;
        if self.at > self.cap {
            return Err(FetchError::TooLarge(self.cap));
        }
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Goes on where it was cut, if it is the same data still.
    async fn resume(&mut self, mut cut: String) -> Result<(), FetchError> {
        let Some(validator) = self.head.validator.clone() else {
            return Err(FetchError::Cut(cut));
        };
        while self.resumes < self.outbound.bounds().resumes {
            tokio::time::sleep(RESUME_PAUSE * 2u32.saturating_pow(self.resumes.min(8))).await;
            self.resumes += 1;
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range_header(self.at, self.end));
            headers.insert(header::IF_RANGE, validator.clone());
            let opened = self
                .outbound
                .open(Method::GET, &self.url, headers, self.follow, self.deadline)
                .await;
            let response = match opened {
                Ok(response) if response.status().is_server_error() => {
                    cut = format!("status {}", response.status());
                    continue;
                }
                Ok(response) => response,
                Err(FetchError::Unreachable(cause)) => {
                    cut = cause;
                    continue;
                }
                Err(other) => return Err(other),
            };
            let range = self.at..self.end.unwrap_or(u64::MAX);
            let (head, skip) = understand(&response, self.at, Some(&range))?;
            let before = self.head.size;
            let same_size = before.is_none() || head.size.is_none() || head.size == before;
            let same = skip == 0 || head.validator.as_ref() == Some(&validator);
            if !(same_size && same) {
                return Err(FetchError::Cut("its data changed meanwhile".to_owned()));
            }
            (self.response, self.skip) = (response, skip);
            return Ok(());
        }
        Err(FetchError::Cut(cut))
    }
}

fn within(bytes: u64, len: usize) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).min(len)
}

/// `Range` from `start` to before `end`, or to the end of the data.
fn range_header(start: u64, end: Option<u64>) -> HeaderValue {
    let text = match end {
        // An empty range has no form: one byte, of which none is taken.
        Some(end) => format!("bytes={start}-{}", end.saturating_sub(1).max(start)),
        None => format!("bytes={start}-"),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("bytes=0-"))
}

/// What an answer says, and how many bytes come before `at`.
fn understand(
    response: &Response,
    at: u64,
    range: Option<&Range<u64>>,
) -> Result<(Head, u64), FetchError> {
    succeeded(response)?;
    let headers = response.headers();
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && coding != "identity"
    {
        return Err(FetchError::BadAnswer("a Content-Encoding"));
    }
    let validator = validator(headers);
    let length = length(headers);
    match (response.status(), range) {
        (StatusCode::PARTIAL_CONTENT, Some(range)) => {
            let value = headers.get(header::CONTENT_RANGE);
            let said = value
                .and_then(|value| value.to_str().ok())
                .and_then(content_range);
            let Some((first, last, total)) = said else {
                return Err(FetchError::BadAnswer("no Content-Range"));
            };
            let end = total.map_or(range.end, |total| total.min(range.end));
            let right = first == at
                && (last.checked_add(1) == Some(end) || range.end == u64::MAX && total.is_none())
                && length.is_none_or(|length| first.checked_add(length) == last.checked_add(1))
                && (range.end == u64::MAX || end == range.end);
            if !right {
                return Err(FetchError::BadAnswer(
                    "another Content-Range than was asked for",
                ));
            }
            let size = total;
            Ok((Head { size, validator }, 0))
        }
        (StatusCode::OK, _) => {
            let chunked = headers.contains_key(header::TRANSFER_ENCODING);
            if length.is_none() && !chunked {
                // Its end could not be told from a cut.
                return Err(FetchError::BadAnswer("neither a length nor chunks"));
            }
            let end = range.map_or(0, |range| range.end);
            if end != u64::MAX && length.is_some_and(|length| length < end) {
                return Err(FetchError::BadAnswer("less data than was asked for"));
            }
            let size = length;
            Ok((Head { size, validator }, at))
        }
        (status, _) => Err(FetchError::Status(status.as_u16())),
    }
}

/// First and last byte and the size of the whole, if it is said.
fn content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let total = match total.trim() {
        "*" => None,
        total => Some(number(total)?),
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, last, total))
}
