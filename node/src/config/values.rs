//! How single values are written: sizes ("20GiB"), durations ("30s"), quotas (-1: unlimited),
//! optional paths (""), secrets.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::AuthMode;
use crate::data::hashes::Algorithm;

/// Owned strings.
pub(super) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Text that is never shown: neither `Debug` nor serialization gives it away.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text, for the one place that must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "***" }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own error would show the value.
        String::deserialize(deserializer)
            .map(Self)
            .map_err(|_| D::Error::custom("must be text"))
    }
}

impl Serialize for AuthMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AuthMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "none" => Ok(Self::None),
            "trusted-headers" => Ok(Self::TrustedHeaders),
            "keystone" => Ok(Self::Keystone),
            other => Err(D::Error::custom(format!(
                "{other:?} is no mode: none, keystone or trusted-headers"
            ))),
        }
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            D::Error::custom(format!("{name:?} is no hash: {known}"))
        })
    }
}

/// The units of [`parse_size`] with their powers of 1024.
const SIZE_UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// Reads a size: a whole number and a unit. KB, MB, GB and TB are binary too, as the reference
/// service has them (image-api 2.3); without a unit it is bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: write it as \"20GiB\"");
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text:?} is too large"))
}

/// Writes a size with the largest unit that divides it.
pub fn show_size(bytes: u64) -> String {
    for (unit, shift) in SIZE_UNITS {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    "0B".to_owned()
}

/// The units of durations in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration: a whole number and a unit (ms, s, m, h, d), or several ("1h30m"). Zero is
/// refused: no timeout of this program may be 0.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    match parse_duration_or_zero(text)? {
        std::time::Duration::ZERO => Err("must be longer than 0".to_owned()),
        duration => Ok(duration),
    }
}

/// Likewise, and zero as well ("0s").
fn parse_duration_or_zero(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("{text:?} is no duration: write it as \"30s\"");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let letters = tail.len()
            - tail
                .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                .len();
        let (unit, tail) = tail.split_at(letters);
        let (_, scale) = DURATION_UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        total = number
            .checked_mul(scale)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("{text:?} is too long"))?;
        rest = tail.trim_start();
    }
    Ok(std::time::Duration::from_millis(total))
}

/// Writes a duration with the largest unit that divides it.
pub fn show_duration(duration: std::time::Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    for (unit, scale) in DURATION_UNITS {
        if millis.is_multiple_of(u128::from(scale)) {
            return format!("{}{unit}", millis / u128::from(scale));
        }
    }
    format!("{millis}ms")
}

/// A size given as text or as a number of bytes.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a size such as \"20GiB\"")]
enum WrittenSize {
    Bytes(u64),
    Text(String),
}

impl WrittenSize {
    fn bytes(self) -> Result<u64, String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Text(text) => parse_size(&text),
        }
    }
}

/// Sizes, for `#[serde(with)]`.
pub mod size {
    use super::{Deserialize, Deserializer, Serializer, WrittenSize, show_size};
    use serde::de::Error as _;

    /// Writes it.
    pub fn serialize<S: Serializer, T: Copy + TryInto<u64>>(
        bytes: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes = (*bytes).try_into().unwrap_or(u64::MAX);
        serializer.serialize_str(&show_size(bytes))
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let bytes = WrittenSize::deserialize(deserializer)?
            .bytes()
            .map_err(D::Error::custom)?;
        T::try_from(bytes).map_err(|_| D::Error::custom("too large for this machine"))
    }
}

/// Sizes where 0 means off, for `#[serde(with)]`.
pub mod size_or_off {
    use super::{Deserializer, Serializer, size};

    /// Writes it.
    pub fn serialize<S: Serializer>(bytes: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        size::serialize(&bytes.unwrap_or(0), serializer)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        let bytes: u64 = size::deserialize(deserializer)?;
        Ok((bytes != 0).then_some(bytes))
    }
}

/// Durations, for `#[serde(with)]`.
pub mod duration {
    use std::time::Duration;

    use super::{Deserialize, Deserializer, Serializer, parse_duration, show_duration};
    use serde::de::Error as _;

    /// Writes it.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_duration(*duration))
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(D::Error::custom)
    }
}

/// Durations that may be 0, for `#[serde(with)]`.
pub mod duration_or_zero {
    use std::time::Duration;

    use super::{Deserialize, Deserializer, parse_duration_or_zero};
    use serde::de::Error as _;

    pub use super::duration::serialize;

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration_or_zero(&text).map_err(D::Error::custom)
    }
}

/// Counts where -1 means unlimited, for `#[serde(with)]`. To the reference every negative number
/// does (image-api 2.3); here another one is taken for a slip of the pen.
pub mod quota {
    use super::{Deserialize, Deserializer, Serializer};
    use serde::de::Error as _;

    /// Writes it.
    pub fn serialize<S: Serializer>(count: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        let count = count.map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX));
        serializer.serialize_i64(count)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        match i64::deserialize(deserializer)? {
            -1 => Ok(None),
            count => u64::try_from(count).map(Some).map_err(|_| {
                D::Error::custom(format!("{count} is neither a count nor -1 (unlimited)"))
            }),
        }
    }
}

/// Paths where "" means none, for `#[serde(with)]`.
pub mod optional_path {
    use super::{Deserialize, Deserializer, PathBuf, Serialize, Serializer};

    /// Writes it.
    pub fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        path.clone().unwrap_or_default().serialize(serializer)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        Ok((!path.as_os_str().is_empty()).then_some(path))
    }
}

/// Durations where "" means none, for `#[serde(with)]`.
pub mod optional_duration {
    use std::time::Duration;

    use super::{Deserialize, Deserializer, Serializer, parse_duration, show_duration};
    use serde::de::Error as _;

    /// Writes it.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration.map(show_duration).unwrap_or_default())
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(None),
            text => parse_duration(text).map(Some).map_err(D::Error::custom),
        }
    }
}

/// Modes of files in octal digits ("0640") where "" means none, for `#[serde(with)]`.
pub mod file_mode {
    use super::{Deserialize, Deserializer, Serializer};
    use serde::de::Error as _;

    /// Writes it.
    pub fn serialize<S: Serializer>(mode: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
        let text = mode.map(|mode| format!("{mode:04o}")).unwrap_or_default();
        serializer.serialize_str(&text)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u32>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        // The owner must be able to read and write what the node itself serves and removes.
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o777 && mode & 0o600 == 0o600 => Ok(Some(mode)),
            Ok(_) | Err(_) => Err(D::Error::custom(format!(
                "{text:?} is no mode that its owner can read and write: write it as \"0640\""
            ))),
        }
    }
}
