//! Why a fetch failed: a text that a client may see, and the cause for the log.

use std::error::Error as _;

use super::filter::Refused;

/// Why nothing, or not all, was fetched. Shown, it is what a client may be told: a source that
/// refuses, is closed, is filtered away or speaks no HTTP looks alike (OSSN-0078), and no URL,
/// address or answer of a source is in it. [`FetchError::cause`] is for the log.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// By the filter, at first or after a redirect.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No answer: no address, no connection, no certificate that holds, no HTTP, not in time.
    #[error("The source cannot be reached.")]
    Unreachable(String),
    /// The source answered with another status than success.
    #[error("The source answered with status {0}.")]
    Status(u16),
    /// It sent us on more often than is followed, or in a way that is not.
    #[error("The source redirects in a way that is not followed.")]
    Redirects,
    /// It has more bytes than may be taken.
    #[error("The source has more than {0} bytes.")]
    TooLarge(u64),
    /// It ended or stalled before its end and could not be resumed.
    #[error("The source broke off.")]
    Cut(String),
    /// It took longer than a fetch may.
    #[error("The source took too long.")]
    Slow,
    /// Its headers contradict each other or what was asked for.
    #[error("The source's answer makes no sense.")]
    BadAnswer(&'static str),
}

impl FetchError {
    /// What happened, for the log. Without the URL, which may hold secrets.
    pub fn cause(&self) -> String {
        match self {
            Self::Refused(Refused(rule)) => format!("not allowed: {rule}"),
            Self::Unreachable(cause) => format!("unreachable: {cause}"),
            Self::Cut(cause) => format!("broke off: {cause}"),
            Self::BadAnswer(what) => format!("bad answer: {what}"),
            Self::Status(_) | Self::Redirects | Self::TooLarge(_) | Self::Slow => self.to_string(),
        }
    }

    /// Of a request that brought no answer.
    pub(super) fn no_answer(error: reqwest::Error) -> Self {
        if let Some(refused) = find_refused(&error) {
            return Self::Refused(refused);
        }
        Self::Unreachable(chain(error))
    }
}

/// The filter's word, where the name's addresses were refused.
fn find_refused(error: &reqwest::Error) -> Option<Refused> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(*refused);
        }
        source = error.source();
    }
    None
}

/// An error with its causes, without the URL.
pub(crate) fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
