//! Sizes and durations as text.

use std::time::Duration;

use crate::config::values::{parse_duration, parse_size, show_duration, show_size};

#[test]
fn sizes_are_read_as_people_write_them() {
    for (text, bytes) in [
        ("0", 0),
        ("123", 123),
        ("7B", 7),
        ("1KiB", 1 << 10),
        ("1kb", 1 << 10),
        ("3 MB", 3 << 20),
        (" 20GiB ", 20 << 30),
        ("2t", 2 << 40),
        ("16777215TiB", 16_777_215 << 40),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
    for text in [
        "",
        "GiB",
        "-1",
        "1.5GiB",
        "1 XB",
        "20GiBs",
        "16777216TiB",
        "99999999999999999999",
    ] {
        assert!(parse_size(text).is_err(), "{text}");
    }
    for bytes in [0, 1, 1023, 1024, 1 << 20, (1 << 20) + 1, 20 << 30, u64::MAX] {
        assert_eq!(
            parse_size(&show_size(bytes)),
            Ok(bytes),
            "{}",
            show_size(bytes)
        );
    }
}

#[test]
fn durations_are_read_as_people_write_them() {
    for (text, millis) in [
        ("1ms", 1),
        ("30s", 30_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        ("2d", 172_800_000),
    ] {
        let duration = Duration::from_millis(millis);
        assert_eq!(parse_duration(text), Ok(duration), "{text}");
        assert_eq!(
            parse_duration(&show_duration(duration)),
            Ok(duration),
            "{text}"
        );
    }
    for text in [
        "",
        "0s",
        "s",
        "30",
        "30 parsecs",
        "-1s",
        "1.5s",
        "999999999999999999d",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_readers_of_values(text in "\\PC{0,24}") {
        let _ = parse_size(&text);
        let _ = parse_duration(&text);
    }
}
