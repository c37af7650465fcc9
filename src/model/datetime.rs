//! Points in time as filters compare them (PROTOCOL section 7, rule 8).

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

const MICROS_PER_SECOND: i64 = 1_000_000;

impl Timestamp {
    /// Parses RFC 3339 and the looser forms the protocol accepts; no zone means UTC; fractions floor to microseconds.
    ///
    /// ```text
    /// date [ ("T" | space) hour ":" minute [ ":" second [ "." fraction ] [ zone ] ] ]
    /// zone = [space] ("Z" | sign hour [ [":"] minute ]) | " UTC"
    /// ```
    ///
    /// Letters in any case but `UTC`; fields may lack their leading zero; spaces before the date are skipped. Second 60
    /// is the start of the next minute.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let mut cursor = Cursor { left: text.trim_start() };
        let date = cursor.date()?;
        if cursor.left.is_empty() {
            return Some(Timestamp(seconds_to(date)? * MICROS_PER_SECOND));
        }
        if !cursor.skip(['T', 't']) && !cursor.skip_spaces() {
            return None;
        }
        let hour = cursor.number(1, 2, 23)?;
        cursor.skip([':']).then_some(())?;
        let minute = cursor.number(1, 2, 59)?;
        let (mut second, mut micros, mut offset) = (0, 0, 0);
        if cursor.skip([':']) {
            second = cursor.number(1, 2, 60)?;
            if cursor.skip(['.']) {
                micros = cursor.fraction()?;
            }
            if !cursor.left.is_empty() {
                offset = cursor.zone()?;
            }
        }
        let seconds = seconds_to(date)? + hour * 3600 + minute * 60 + second - offset;
        cursor.left.is_empty().then_some(Timestamp(seconds * MICROS_PER_SECOND + micros))
    }
}

/// Seconds from 1970-01-01 to the start of `date`, both UTC.
fn seconds_to(date: Date) -> Option<i64> {
    Some(date.duration_since(Date::new(1970, 1, 1).ok()?).as_secs())
}

/// What is still to be read.
struct Cursor<'a> {
    left: &'a str,
}

impl<'a> Cursor<'a> {
    fn skip<const N: usize>(&mut self, any_of: [char; N]) -> bool {
        match self.left.strip_prefix(any_of) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    fn skip_spaces(&mut self) -> bool {
        let left = self.left.trim_start();
        let skipped = left.len() < self.left.len();
        self.left = left;
        skipped
    }

    /// The digits that come next.
    fn digits(&mut self) -> &'a str {
        let end = self.left.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, left) = self.left.split_at(end);
        self.left = left;
        digits
    }

    /// A number of `digits_min` to `digits_max` digits, at most `max`.
    fn number(&mut self, digits_min: usize, digits_max: usize, max: i64) -> Option<i64> {
        let digits = self.digits();
        if digits.len() < digits_min || digits.len() > digits_max {
            return None;
        }
        digits.parse().ok().filter(|number| *number <= max)
    }

    fn date(&mut self) -> Option<Date> {
        let year = self.number(4, 4, 9999)?;
        self.skip(['-']).then_some(())?;
        let month = self.number(1, 2, 12)?;
        self.skip(['-']).then_some(())?;
        let day = self.number(1, 2, 31)?;
        Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()
    }

    /// Microseconds of a fraction of a second; finer digits are cut off.
    fn fraction(&mut self) -> Option<i64> {
        let digits = self.digits();
        if digits.is_empty() {
            return None;
        }
        let micros = digits.bytes().chain(std::iter::repeat(b'0')).take(6);
        Some(micros.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Option<i64> {
        if self.left == " UTC" {
            self.left = "";
            return Some(0);
        }
        self.skip_spaces();
        if self.skip(['Z', 'z']) {
            return Some(0);
        }
        let sign = if self.skip(['+']) {
            1
        } else if self.skip(['-']) {
            -1
        } else {
            return None;
        };
        let digits = self.digits();
        let (hours, minutes) = match (digits.len(), self.skip([':'])) {
            (2, false) => (digits, "00"),
            (4, false) => digits.split_at(2),
            (2, true) => (digits, self.digits()),
            _ => return None,
        };
        if minutes.len() != 2 {
            return None;
        }
        let in_range = |text: &str, max: i64| text.parse().ok().filter(|number: &i64| *number <= max);
        Some(sign * (in_range(hours, 23)? * 3600 + in_range(minutes, 59)? * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want_micros: i64) {
        assert_eq!(Timestamp::parse(text), Some(Timestamp(want_micros)), "{text:?}");
    }

    #[test]
    fn s7_8_all_forms_of_one_instant() {
        // 2024-02-29T12:30:00Z
        const NOON: i64 = 1_709_209_800_000_000;
        for text in [
            "2024-02-29T12:30:00Z",
            "2024-02-29t12:30:00z",
            "2024-02-29 12:30:00Z",
            "2024-02-29 12:30:00 UTC",
            "2024-02-29T12:30:00 +00:00",
            "2024-02-29T14:00:00+01:30",
            "2024-02-29T14:00:00+0130",
            "2024-02-29T13:30:00+01",
            "2024-02-29 02:30:00 -10",
            "2024-02-29T12:30:00.0000000000-00:00",
            "2024-02-29T12:30:00",
            "2024-02-29 12:30",
            "2024-02-29T12:30",
            "  2024-2-29T12:30:0",
            "2024-02-29T12:29:60Z",
        ] {
            check(text, NOON);
        }
        check("2024-02-29", NOON - (12 * 60 + 30) * 60 * 1_000_000);
    }

    #[test]
    fn s7_8_fractions_floor_to_microseconds() {
        check("1970-01-01T00:00:00.1Z", 100_000);
        check("1970-01-01T00:00:00.123456999+00:00", 123_456);
        check("1969-12-31T23:59:59.9999999Z", -1);
        check("1969-12-31", -86_400_000_000);
        check("1970-01-01T00:00:00.000001+00:00", 1);
    }

    #[test]
    fn s7_8_the_first_and_the_last_year() {
        check("0001-01-01T00:00:00+23:59", -62_135_596_800_000_000 - (23 * 60 + 59) * 60_000_000);
        check("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999);
    }

    #[test]
    fn s7_8_what_is_no_datetime() {
        for text in [
            "",
            " ",
            "2024",
            "2024-02",
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-01-32",
            "24-01-01",
            "02024-01-01",
            "2024-01-01T",
            "2024-01-01T12",
            "2024-01-01 12",
            "2024-01-01T24:00",
            "2024-01-01T12:60",
            "2024-01-01T12:00:61",
            "2024-01-01T12:00Z",
            "2024-01-01T12:00+01",
            "2024-01-01Z",
            "2024-01-01T12:00:00.",
            "2024-01-01T12:00:00.Z",
            "2024-01-01T12:00:00+1",
            "2024-01-01T12:00:00+010",
            "2024-01-01T12:00:00+01:0",
            "2024-01-01T12:00:00+01:",
            "2024-01-01T12:00:00+24:00",
            "2024-01-01T12:00:00+01:60",
            "2024-01-01T12:00:00 ",
            "2024-01-01T12:00:00Zx",
            "2024-01-01T12:00:00 CET",
            "2024/01/01",
            "2024-01-01x12:00:00",
            "1709209800",
            "now",
            "2024-01-01T12:00:00é",
            "２０２４-01-01",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text:?}");
        }
    }
}
