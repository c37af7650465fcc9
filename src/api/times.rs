//! Instants as answers show them.

use std::time::SystemTime;

use jiff::Timestamp;

/// UTC, whole seconds, without a zone: `2026-01-31T12:00:00`. `None`: beyond the calendar.
pub fn without_zone(at: SystemTime) -> Option<String> {
    let text = Timestamp::try_from(at).ok()?.to_string();
    text.split(['.', 'Z']).next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn s19_times_have_no_zone_and_no_fraction() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(86_400_500);
        assert_eq!(without_zone(at).unwrap(), "1970-01-02T00:00:00");
        assert_eq!(without_zone(SystemTime::UNIX_EPOCH).unwrap(), "1970-01-01T00:00:00");
    }
}
