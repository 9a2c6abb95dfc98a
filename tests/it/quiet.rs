//! Quiet hours: by wall clock, over midnight, through both changes of daylight saving, and against a walk by the minute.

use jiff::tz::TimeZone;
use kairos::app::{QuietHours, TimeOfDay};
use kairos::clock::{DAY_MS, HOUR_MS, MINUTE_MS, Time};
use kairos::people::profile::quiet::{covers, leaves_ms, quiet_at, zone};
use proptest::prelude::*;

fn hours(from: &str, to: &str) -> QuietHours {
    QuietHours { from: TimeOfDay::parse(from).unwrap(), to: TimeOfDay::parse(to).unwrap() }
}

fn ms(text: &str) -> i64 {
    Time::parse(text).unwrap().0
}

fn paris() -> TimeZone {
    zone(["Europe/Paris"])
}

#[test]
fn quiet_time_is_half_open_and_may_go_over_midnight() {
    let minute = |text: &str| TimeOfDay::parse(text).unwrap().minutes();
    let table = [
        ("22:00", "07:00", "21:59", false),
        ("22:00", "07:00", "22:00", true),
        ("22:00", "07:00", "00:00", true),
        ("22:00", "07:00", "06:59", true),
        ("22:00", "07:00", "07:00", false),
        ("13:00", "14:00", "12:59", false),
        ("13:00", "14:00", "13:00", true),
        ("13:00", "14:00", "14:00", false),
        ("08:00", "08:00", "08:00", false),
        ("00:00", "00:00", "12:00", false),
        ("00:00", "23:59", "23:59", false),
        ("23:59", "00:00", "23:59", true),
        ("23:59", "00:00", "00:00", false),
    ];
    for (from, to, at, expected) in table {
        assert_eq!(covers(hours(from, to), minute(at)), expected, "{at} in [{from}, {to})");
    }
}

#[test]
fn a_night_ends_at_seven_local_time() {
    let night = hours("22:00", "07:00");
    assert_eq!(leaves_ms(night, &paris(), ms("2026-06-15T21:30:00Z")), ms("2026-06-16T05:00:00Z"));
    assert_eq!(leaves_ms(night, &paris(), ms("2026-06-15T10:00:00Z")), ms("2026-06-15T10:00:00Z"), "not quiet: at once");
    assert!(!quiet_at(night, &paris(), ms("2026-06-16T05:00:00Z")));
    assert!(quiet_at(night, &paris(), ms("2026-06-16T04:59:59.999Z")));
}

#[test]
fn in_the_repeated_hour_of_autumn_both_passes_are_quiet() {
    // On 25 October 2026 Paris sets 03:00 back to 02:00, at 01:00 UTC.
    let quiet = hours("02:00", "03:00");
    for at in ["2026-10-25T00:00:00Z", "2026-10-25T00:59:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:59:59Z"] {
        assert!(quiet_at(quiet, &paris(), ms(at)), "{at}");
    }
    assert_eq!(leaves_ms(quiet, &paris(), ms("2026-10-25T00:30:00Z")), ms("2026-10-25T02:00:00Z"), "two hours, not one");
    assert_eq!(leaves_ms(quiet, &paris(), ms("2026-10-25T01:30:00Z")), ms("2026-10-25T02:00:00Z"));
}

#[test]
fn an_end_inside_the_repeated_hour_comes_at_its_first_pass_and_the_second_is_quiet_again() {
    let quiet = hours("22:00", "02:30");
    assert_eq!(leaves_ms(quiet, &paris(), ms("2026-10-24T22:00:00Z")), ms("2026-10-25T00:30:00Z"));
    assert!(quiet_at(quiet, &paris(), ms("2026-10-25T01:00:00Z")), "the clock shows 02:00 again");
    assert_eq!(leaves_ms(quiet, &paris(), ms("2026-10-25T01:00:00Z")), ms("2026-10-25T01:30:00Z"));
}

#[test]
fn an_end_that_spring_skips_comes_with_the_jump() {
    // On 29 March 2026 Paris jumps from 02:00 to 03:00, at 01:00 UTC.
    assert_eq!(leaves_ms(hours("22:00", "02:30"), &paris(), ms("2026-03-28T23:00:00Z")), ms("2026-03-29T01:00:00Z"));
    assert_eq!(leaves_ms(hours("22:00", "03:00"), &paris(), ms("2026-03-28T23:00:00Z")), ms("2026-03-29T01:00:00Z"));
    assert_eq!(leaves_ms(hours("22:00", "04:00"), &paris(), ms("2026-03-28T23:00:00Z")), ms("2026-03-29T02:00:00Z"));
}

#[test]
fn a_quiet_hour_that_spring_skips_does_not_exist_that_day() {
    let quiet = hours("02:00", "03:00");
    for minute in 0..240 {
        assert!(!quiet_at(quiet, &paris(), ms("2026-03-29T00:00:00Z") + minute * MINUTE_MS), "{minute}");
    }
}

#[test]
fn a_day_whose_only_loud_minutes_spring_skips_is_quiet_until_the_next() {
    // On 8 March 2026 New York jumps from 02:00 to 03:00.
    let (quiet, york) = (hours("02:34", "02:00"), zone(["America/New_York"]));
    assert_eq!(leaves_ms(quiet, &york, ms("2026-03-08T00:00:00Z")), ms("2026-03-09T06:00:00Z"));
}

#[test]
fn the_first_zone_that_is_known_counts() {
    assert_eq!(zone(["", "Nowhere/Atlantis", "Asia/Tokyo", "Europe/Paris"]), TimeZone::get("Asia/Tokyo").unwrap());
    assert_eq!(zone([""]), TimeZone::UTC);
}

#[test]
fn half_hour_steps_and_skipped_days_are_no_trap() {
    // Lord Howe moves by half an hour: on 5 April 2026, 02:00 goes back to 01:30, at 15:00 UTC the day before.
    let howe = zone(["Australia/Lord_Howe"]);
    assert_eq!(leaves_ms(hours("01:00", "01:45"), &howe, ms("2026-04-04T15:05:00Z")), ms("2026-04-04T15:15:00Z"));
    // Samoa had no 30 December 2011.
    let apia = zone(["Pacific/Apia"]);
    let at = ms("2011-12-30T09:59:00Z");
    let left = leaves_ms(hours("22:00", "07:00"), &apia, at);
    assert!(left > at && left - at <= DAY_MS && !quiet_at(hours("22:00", "07:00"), &apia, left));
}

proptest! {
    #[test]
    fn the_end_of_quiet_time_is_the_one_found_by_walking(
        from in 0_u16..1440,
        to in 0_u16..1440,
        name in prop::sample::select(vec!["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "UTC"]),
        // Around the changes of spring and autumn, in both hemispheres.
        around in prop::sample::select(vec!["2026-03-08T00:00:00Z", "2026-03-29T00:00:00Z", "2026-04-04T12:00:00Z", "2026-10-03T12:00:00Z", "2026-10-25T00:00:00Z", "2026-11-01T00:00:00Z", "2026-07-01T00:00:00Z"]),
        offset_min in -720_i64..720,
    ) {
        let quiet = QuietHours { from: TimeOfDay::from_minutes(from).unwrap(), to: TimeOfDay::from_minutes(to).unwrap() };
        let tz = zone([name]);
        let at = ms(around) + offset_min * MINUTE_MS;
        // One day, and one more where spring skips all that would not be quiet.
        let walked = (0..=50 * 60).map(|m| at + m * MINUTE_MS).find(|t| !quiet_at(quiet, &tz, *t));
        prop_assert_eq!(Some(leaves_ms(quiet, &tz, at)), walked);
        prop_assert!(leaves_ms(quiet, &tz, at) - at <= 49 * HOUR_MS);
    }
}
