//! Datetimes: their texts, beside those of another parser.

use crate::model::datetime::Timestamp;

/// Input: a text.
pub fn instants(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(Timestamp(micros)) = Timestamp::parse(text) else { return };
    assert_eq!(Timestamp::parse(&format!(" {text}")), Some(Timestamp(micros)), "spaces before it are skipped");
    // The first and the last instant that can be written: the farthest zones, and a second 60.
    assert!((-62_167_305_540_000_000..=253_402_387_140_999_999).contains(&micros), "{micros} cannot be written");
    // Years before 0 have six digits and a sign, which only it reads.
    if let Ok(instant) = jiff::Timestamp::from_microsecond(micros)
        && let written = instant.to_string()
        && !written.starts_with('-')
    {
        assert_eq!(Timestamp::parse(&written), Some(Timestamp(micros)), "{written}");
    }
    // It takes second 60 for 59, and brackets after the zone.
    if let Ok(instant) = text.parse::<jiff::Timestamp>()
        && !text.contains(":60")
    {
        let floor = instant.as_nanosecond().div_euclid(1_000);
        assert_eq!(i128::from(micros), floor, "{instant}");
    }
}
