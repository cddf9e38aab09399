//! How values of the reference are written in our file. What is wrong is told without the value: it may
//! be a secret.

use toml::Value;

use super::ini;
use crate::config::values::show_size;

/// Makes a value of ours from one of the reference's.
pub(super) type Write = fn(&str) -> Result<Value, String>;

/// As it is.
pub(super) fn text(value: &str) -> Result<Value, String> {
    Ok(value.trim().into())
}

/// A whole number.
pub(super) fn integer(value: &str) -> Result<Value, String> {
    number(value).map(Value::from)
}

fn number(value: &str) -> Result<i64, String> {
    let number = value.trim().parse();
    number.map_err(|_| "its value is no whole number".to_owned())
}

/// Yes or no.
pub(super) fn boolean(value: &str) -> Result<Value, String> {
    let truth = ini::truth(value).map(Value::from);
    truth.ok_or_else(|| "its value is neither true nor false".to_owned())
}

/// A list of texts.
pub(super) fn list(value: &str) -> Result<Value, String> {
    Ok(ini::list(value).into())
}

/// A list of ports.
pub(super) fn ports(value: &str) -> Result<Value, String> {
    let ports = ini::list(value);
    let ports: Result<Vec<Value>, String> = ports.iter().map(|port| integer(port)).collect();
    ports.map(Value::Array)
}

/// A dictionary, as a list of `name=value`.
pub(super) fn assignments(value: &str) -> Result<Value, String> {
    let pairs = ini::pairs(value).into_iter();
    let pairs = pairs.map(|(key, value)| Value::from(format!("{key}={value}")));
    Ok(Value::Array(pairs.collect()))
}

/// A count of which every negative number means that there is no bound.
pub(super) fn quota(value: &str) -> Result<Value, String> {
    Ok(number(value)?.max(-1).into())
}

/// Bytes.
pub(super) fn bytes(value: &str) -> Result<Value, String> {
    let bytes = number(value)?.try_into();
    let bytes = bytes.map_err(|_| "its value is negative".to_owned())?;
    Ok(show_size(bytes).into())
}

/// MiB, which the reference calls MB.
pub(super) fn mebibytes(value: &str) -> Result<Value, String> {
    Ok(format!("{}MiB", number(value)?).into())
}

/// A number with a unit or without (image-api 2.3); its units are powers of 1024.
pub(super) fn storage_quota(value: &str) -> Result<Value, String> {
    let value = value.trim();
    let digits = value.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match value[digits.len()..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => "B",
        "KB" => "KiB",
        "MB" => "MiB",
        "GB" => "GiB",
        "TB" => "TiB",
        _ => return Err("its unit is none of B, KB, MB, GB and TB".to_owned()),
    };
    Ok(format!("{}{unit}", number(digits)?).into())
}

/// Seconds.
pub(super) fn seconds(value: &str) -> Result<Value, String> {
    Ok(format!("{}s", number(value)?.max(0)).into())
}

/// Seconds, of which 0 means for ever.
pub(super) fn seconds_or_never(value: &str) -> Result<Value, String> {
    match number(value)? {
        ..=0 => Ok("".into()),
        seconds => Ok(format!("{seconds}s").into()),
    }
}

/// Hours.
pub(super) fn hours(value: &str) -> Result<Value, String> {
    Ok(format!("{}h", number(value)?).into())
}

/// The mode of a file in octal digits; 0: as the umask says.
pub(super) fn mode(value: &str) -> Result<Value, String> {
    let digits = value.trim().trim_start_matches("0o");
    let mode = u32::from_str_radix(digits, 8).map_err(|_| "its value is no mode".to_owned())?;
    match mode {
        0 => Ok("".into()),
        mode => Ok(format!("{mode:04o}").into()),
    }
}

/// The path in a `file://` URI.
pub(super) fn file_uri(value: &str) -> Result<Value, String> {
    let path = value.trim().strip_prefix("file://");
    let path = path.ok_or_else(|| "its value is no file:// URI".to_owned())?;
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_in_our_units() {
        for (write, value, written) in [
            (storage_quota as Write, "10 GB", "10GiB"),
            (storage_quota, "7", "7B"),
            (bytes, "1099511627776", "1TiB"),
            (mebibytes, "5120", "5120MiB"),
            (seconds, " 30", "30s"),
            (seconds, "-1", "0s"),
            (seconds_or_never, "0", ""),
            (hours, "48", "48h"),
            (mode, "0o640", "0640"),
            (mode, "0", ""),
            (file_uri, "file:///tmp/staging/", "/tmp/staging/"),
        ] {
            assert_eq!(write(value), Ok(written.into()), "{value}");
        }
        assert_eq!(quota("-7"), Ok((-1).into()));
        assert_eq!(ports("80, 443"), Ok(vec![80, 443].into()));
        assert_eq!(boolean("On"), Ok(true.into()));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_value() {
        for write in [
            integer as Write,
            boolean,
            ports,
            storage_quota,
            mode,
            file_uri,
        ] {
            let told = write("hunter2").unwrap_err();
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
