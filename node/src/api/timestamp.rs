//! Times on the wire: `YYYY-MM-DDTHH:MM:SSZ` out (image-api 1.1), ISO 8601 in (image-api 1.11).

use glimpse_registry::image::Timestamp;

const SECONDS_PER_DAY: u64 = 86_400;

/// Appends a time in whole seconds, in UTC: `2026-01-31T23:59:59Z`.
pub(crate) fn write(out: &mut Vec<u8>, time: Timestamp) {
    let seconds = time.0 / 1_000_000;
    let (year, month, day) = civil(seconds / SECONDS_PER_DAY);
    let rest = seconds % SECONDS_PER_DAY;
    let mut text = *b"0000-00-00T00:00:00Z";
    let [
        y0,
        y1,
        y2,
        y3,
        _,
        m0,
        m1,
        _,
        d0,
        d1,
        _,
        h0,
        h1,
        _,
        i0,
        i1,
        _,
        s0,
        s1,
        _,
    ] = &mut text;
    let digit = |place: &mut u8, value: u64| *place = b'0' + (value % 10) as u8;
    digit(y0, year / 1000);
    digit(y1, year / 100);
    digit(y2, year / 10);
    digit(y3, year);
    digit(m0, month / 10);
    digit(m1, month);
    digit(d0, day / 10);
    digit(d1, day);
    digit(h0, rest / 36_000);
    digit(h1, rest / 3600);
    digit(i0, rest / 60 % 60 / 10);
    digit(i1, rest / 60 % 60);
    digit(s0, rest % 60 / 10);
    digit(s1, rest % 60);
    out.extend_from_slice(&text);
}

/// Year, month and day of a count of days since 1970-01-01 (proleptic Gregorian), by counting from
/// March so that the leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Microseconds since the epoch of an ISO 8601 time: `2026-01-31`, `20260131T235959Z`,
/// `2026-01-31T23:59:59.5+02:00`; UTC where no zone is named.
pub(crate) fn parse(text: &str) -> Option<i128> {
    let mut rest = Cursor(text.as_bytes());
    let year = rest.digits(4, 4)?;
    let (mut month, mut day) = (1, 1);
    if !rest.is_empty() {
        let dashed = rest.take(b'-');
        month = rest.digits(if dashed { 1 } else { 2 }, 2)?;
        if !dashed && rest.is_empty() {
            // YYYYMM would be taken for YYMMDD.
            return None;
        }
    }
    if matches!(rest.peek(), Some(b'-' | b'0'..=b'9')) {
        let dashed = rest.take(b'-');
        day = rest.digits(if dashed { 1 } else { 2 }, 2)?;
    }
    let (mut hour, mut minute, mut second, mut micros) = (0, 0, 0, 0);
    let mut offset_minutes = 0;
    if rest.take(b'T') || rest.take(b' ') {
        hour = rest.digits(2, 2)?;
        if rest.take(b':') || rest.peek().is_some_and(|b| b.is_ascii_digit()) {
            minute = rest.digits(2, 2)?;
        }
        if rest.take(b':') || rest.peek().is_some_and(|b| b.is_ascii_digit()) {
            second = rest.digits(1, 2)?;
            if rest.take(b'.') || rest.take(b',') {
                micros = rest.fraction()?;
            }
        }
        offset_minutes = rest.zone()?;
    }
    if !rest.is_empty() {
        return None;
    }
    let valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && year >= 1
        && hour < 24
        && minute < 60
        && second < 60;
    valid.then(|| {
        let days = days_before(year, month, day);
        let seconds = days * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
        i128::from(seconds) * 1_000_000 + i128::from(micros)
    })
}

fn leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the date; negative before it.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// A number of `least` to `most` digits.
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let mut value = 0;
        let mut count = 0;
        while count < most {
            match self.0.split_first() {
                Some((digit @ b'0'..=b'9', rest)) => {
                    value = value * 10 + i64::from(digit - b'0');
                    self.0 = rest;
                    count += 1;
                }
                _ => break,
            }
        }
        (count >= least).then_some(value)
    }

    /// The digits after a decimal point, in microseconds; finer ones are dropped.
    fn fraction(&mut self) -> Option<i64> {
        let mut value = 0;
        let mut unit = 100_000;
        let mut any = false;
        while let Some((digit @ b'0'..=b'9', rest)) = self.0.split_first() {
            value += i64::from(digit - b'0') * unit;
            unit /= 10;
            any = true;
            self.0 = rest;
        }
        any.then_some(value)
    }

    /// `Z`, `+HH:MM`, `-HHMM`, `+HH` or nothing, in minutes east of UTC.
    fn zone(&mut self) -> Option<i64> {
        if self.is_empty() || self.take(b'Z') {
            return Some(0);
        }
        let sign = if self.take(b'+') {
            1
        } else if self.take(b'-') {
            -1
        } else {
            return None;
        };
        let hours = self.digits(2, 2)?;
        self.take(b':');
        let minutes = if self.is_empty() {
            0
        } else {
            self.digits(2, 2)?
        };
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(micros: u64) -> String {
        let mut out = Vec::new();
        write(&mut out, Timestamp(micros));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_shown_in_whole_seconds() {
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
        assert_eq!(shown(951_782_399_999_999), "2000-02-28T23:59:59Z");
        assert_eq!(shown(951_782_400_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(shown(1_709_164_800_000_000), "2024-02-29T00:00:00Z");
        assert_eq!(shown(4_107_542_399_000_000), "2100-02-28T23:59:59Z");
        assert_eq!(shown(4_107_542_400_000_000), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn iso_8601_is_read_in_its_usual_forms() {
        let seconds = |text| parse(text).map(|micros| micros / 1_000_000);
        let base = Some(1_769_904_000);
        assert_eq!(seconds("2026-02-01"), base);
        assert_eq!(seconds("2026-02"), base);
        assert_eq!(seconds("20260201"), base);
        assert_eq!(seconds("2026-02-01T00:00:00Z"), base);
        assert_eq!(seconds("2026-02-01 00:00"), base);
        assert_eq!(seconds("20260201T000000Z"), base);
        assert_eq!(seconds("2026-02-01T02:00:00+02:00"), base);
        assert_eq!(seconds("2026-01-31T22:30:00-0130"), base);
        assert_eq!(seconds("2026-02-01T02+02"), base);
        assert_eq!(
            parse("2026-02-01T00:00:00.25Z"),
            Some(1_769_904_000_250_000)
        );
        assert_eq!(parse("1969-12-31T23:59:59Z"), Some(-1_000_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "202602",
            "2026-13-01",
            "2026-02-30",
            "2026-02-01T",
            "2026-02-01T24:00:00",
            "2026-02-01T00:60",
            "2026-02-01T00:00:00.",
            "2026-02-01T00:00:00Zx",
            "2026-02-01T00:00:00 00:00",
            "2026-02-01Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(seconds in 0_u64..253_402_300_800) {
            let read = parse(&shown(seconds * 1_000_000));
            prop_assert_eq!(read, Some(i128::from(seconds) * 1_000_000));
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn reading_what_looks_like_a_time_never_panics(text in "[0-9TZ:., +-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
