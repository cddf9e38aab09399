//! Why a policy cannot be used.

use std::path::PathBuf;

use super::{SyntaxError, draft};

/// Why a policy cannot be used. The service does not start with one that it understands in part,
/// and keeps the one it has when it is to read such a one later.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file or directory cannot be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is larger than any policy.
    #[error("{}: larger than {max} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The bound.
        max: u64,
    },
    /// A directory has more files than anybody needs.
    #[error("{}: more than {max} files", dir.display())]
    TooMany {
        /// The directory.
        dir: PathBuf,
        /// The bound.
        max: usize,
    },
    /// The file is not a mapping of names to rules.
    #[error("{}:{line}: {message}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// 1-based.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The file of property protections is wrong.
    #[error("{place}: {message}")]
    Protection {
        /// File and line.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// A rule cannot be read.
    #[error("{place}: rule `{rule}`: {source}")]
    Syntax {
        /// File and line, or the defaults.
        place: String,
        /// Its name.
        rule: String,
        /// What is wrong.
        source: SyntaxError,
    },
    /// A rule refers to one that does not exist.
    #[error("{place}: rule `{rule}` refers to `rule:{reference}`, which does not exist")]
    UnknownReference {
        /// File and line, or the defaults.
        place: String,
        /// Its name.
        rule: String,
        /// The missing name.
        reference: String,
    },
    /// Rules that refer to each other in a circle.
    #[error("{place}: rule `{rule}` refers to itself: {circle}")]
    Circle {
        /// File and line, or the defaults.
        place: String,
        /// A rule of the circle.
        rule: String,
        /// `a -> b -> a`
        circle: String,
    },
    /// A chain of references longer than the bound.
    #[error("{place}: rule `{rule}` refers to more than {max} rules below each other", max = draft::MAX_CHAIN)]
    TooDeep {
        /// File and line, or the defaults.
        place: String,
        /// Its name.
        rule: String,
    },
}

impl PolicyError {
    /// The key of the configuration that names what is wrong.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Protection { .. } => "auth.property_protection_file",
            Self::TooMany { .. } => "auth.policy_dirs",
            Self::Unreadable { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Syntax { .. }
            | Self::UnknownReference { .. }
            | Self::Circle { .. }
            | Self::TooDeep { .. } => "auth.policy_file",
        }
    }
}
