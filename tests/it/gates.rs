//! Every gate, with every reason that it has and every boundary that the law names.

use crate::decide::{Case, LATENCY_MS, WINDOW_MS, cap, device, heard, hours, noon_ms, nth};
use kairos::campaign::{Class, Curve, DeliverBy, Devices};
use kairos::clock::{DAY_MS, HOUR_MS, MINUTE_MS, Time};
use kairos::id::DeviceId;
use kairos::moment::decision::Outcome;
use kairos::moment::input::{Device, Standing, TriggerNeed};
use kairos::moment::refusal::Refusal;
use kairos::people::consent::{LOCATION, Need, PARTNER_EVENTS};
use serde_json::json;

fn with(change: impl FnOnce(&mut Case)) -> Case {
    let mut case = Case::new();
    change(&mut case);
    case
}

#[test]
fn the_window_is_open_until_the_push_would_arrive_at_its_close() {
    let late = |by_ms: i64| with(|c| c.input.now_ms = noon_ms() + WINDOW_MS - LATENCY_MS + by_ms);
    late(-1).chosen();
    assert_eq!(late(0).refused(), Refusal::Closed, "exactly at the deadline is too late");
    assert_eq!(late(1).refused(), Refusal::Closed);
}

#[test]
fn an_offers_own_deadline_counts_when_it_is_the_earlier() {
    let by = |span_ms: i64, now_ms: i64| {
        with(|c| {
            c.offers[0].deliver_by = Some(DeliverBy::AfterMs(span_ms));
            c.input.now_ms = noon_ms() + now_ms;
        })
    };
    assert_eq!(by(10 * MINUTE_MS, 10 * MINUTE_MS - LATENCY_MS).refused(), Refusal::DeliverBy);
    assert_eq!(by(10 * MINUTE_MS, 10 * MINUTE_MS - LATENCY_MS - 1).chosen().deadline_ms, noon_ms() + 10 * MINUTE_MS);
    assert_eq!(by(2 * WINDOW_MS, WINDOW_MS - LATENCY_MS).refused(), Refusal::Closed);
    let at = with(|c| c.offers[0].deliver_by = Some(DeliverBy::At(Time(noon_ms() + LATENCY_MS))));
    assert_eq!(at.refused(), Refusal::DeliverBy);
}

#[test]
fn an_offer_must_be_worth_its_min_value_on_arrival() {
    // Half of the window is gone on arrival, so half of the value.
    let worth = |min_value: f64| {
        with(|c| {
            c.input.moment.span.curve = Curve::Linear;
            c.input.now_ms = noon_ms() + WINDOW_MS / 2 - LATENCY_MS;
            c.offers[0].min_value = min_value;
        })
    };
    worth(5.0).chosen();
    assert_eq!(worth(5.000_001).refused(), Refusal::BelowMinValue);
}

#[test]
fn what_the_trigger_needed_is_asked_before_what_the_offer_needs_and_each_need_has_its_proof() {
    let needs = |of_place: Standing, of_partner: Standing, own: Standing| {
        with(|c| {
            let partner = Need::of_partner(PARTNER_EVENTS, nth(1));
            c.input.trigger_needs = vec![
                TriggerNeed { need: Need::of(LOCATION), standing: of_place },
                TriggerNeed { need: partner, standing: of_partner },
            ];
            c.input.candidates[0].standing = own;
        })
    };
    let by = |n: u128| Standing::Granted(nth(n));
    assert_eq!(needs(by(1), by(2), by(3)).chosen().consent_ids, [nth(1), nth(2), nth(3)]);
    assert_eq!(needs(by(1), by(2), Standing::NotNeeded).chosen().consent_ids, [nth(1), nth(2)]);
    let refused = Standing::Refused;
    assert_eq!(needs(refused(Refusal::Withdrawn), by(2), by(3)).refused(), Refusal::Withdrawn);
    assert_eq!(needs(by(1), refused(Refusal::AskAgain), by(3)).refused(), Refusal::AskAgain);
    assert_eq!(needs(refused(Refusal::Withdrawn), by(2), refused(Refusal::NotGranted)).refused(), Refusal::Withdrawn);
    assert_eq!(needs(by(1), by(2), refused(Refusal::NotGranted)).refused(), Refusal::NotGranted);
}

#[test]
fn a_rule_of_offer_or_campaign_says_whom_it_is_for() {
    let rule = |source: &str| with(|c| c.offers[0].audience = Some(source.into()));
    rule("user.attributes.tier == 'gold' && event.properties.gate.startsWith('F')").chosen();
    rule("'airport' in place.tags && thing.key == 'AF123' && moment.kind == 'landing'").chosen();
    assert_eq!(rule("user.attributes.tier == 'silver'").refused(), Refusal::NotInAudience);
    let campaign = with(|c| c.campaigns[0].audience = Some("moment.key == 'cdg'".into()));
    assert_eq!(campaign.refused(), Refusal::NotInAudience);
}

#[test]
fn a_rule_without_an_answer_refuses_with_the_reason() {
    let rule = |source: &str| with(|c| c.offers[0].audience = Some(source.into())).refused();
    assert_eq!(rule("user.attributes.age > 18.0"), Refusal::MissingProperty);
    assert_eq!(rule("user.attributes.tier > 18.0"), Refusal::TypeError);
    assert_eq!(rule("timestamp(user.attributes.tier) > timestamp('2026-01-01T00:00:00Z')"), Refusal::BadValue);
    let guarded = with(|c| c.offers[0].audience = Some("!has(user.attributes.age) || user.attributes.age > 18.0".into()));
    guarded.chosen();
}

#[test]
fn a_rule_over_devices_keeps_those_that_match() {
    let mut case = with(|c| {
        c.offers[0].audience = Some("device.app_version == '2.0.0'".into());
        let facts = json!({"id": "dev_2", "platform": "ios", "app_version": "2.0.0"});
        c.input.user.devices.push(Device { facts, ..device(2) });
        c.input.user.devices.push(Device { facts: json!({"id": "dev_3", "platform": "ios"}), ..device(3) });
    });
    assert_eq!(case.chosen().devices, [nth::<DeviceId>(2)], "the first does not match, of the third it is not known");
    case.input.user.devices.remove(1);
    assert_eq!(case.refused(), Refusal::MissingProperty, "one of the devices gave no answer");
    case.input.user.devices.remove(1);
    assert_eq!(case.refused(), Refusal::NoMatchingDevice);
    // What is kept must be reachable itself.
    let facts = json!({"id": "dev_2", "platform": "ios", "app_version": "2.0.0"});
    case.input.user.devices.push(Device { facts, has_token: false, ..device(2) });
    assert_eq!(case.refused(), Refusal::NoToken);
}

#[test]
fn consent_stands_or_refuses_with_the_ledgers_reason() {
    with(|c| c.input.candidates[0].standing = Standing::NotNeeded).chosen();
    for refusal in [Refusal::NotGranted, Refusal::Withdrawn, Refusal::AskAgain, Refusal::UnknownPurpose] {
        assert_eq!(with(|c| c.input.candidates[0].standing = Standing::Refused(refusal)).refused(), refusal);
    }
}

#[test]
fn a_topic_or_channel_that_is_off_and_a_pause_refuse() {
    let topic = |on: Option<bool>| {
        with(|c| {
            c.input.user.topics.clear();
            c.input.user.topics.extend(on.map(|on| ("offers".to_owned(), on)));
        })
    };
    assert_eq!(topic(Some(false)).refused(), Refusal::TopicOff);
    assert_eq!(topic(None).refused(), Refusal::UnknownTopic);
    assert_eq!(with(|c| c.input.user.push_on = false).refused(), Refusal::ChannelOff);
    let pause = |until_ms: i64| with(|c| c.input.user.paused_until_ms = Some(noon_ms() + until_ms));
    assert_eq!(pause(1).refused(), Refusal::Paused);
    pause(0).chosen();
}

#[test]
fn somebody_must_be_there_to_hear_it() {
    assert_eq!(with(|c| c.input.user.devices.clear()).refused(), Refusal::NoDevice);
    assert_eq!(with(|c| c.input.user.devices[0].has_token = false).refused(), Refusal::NoToken);
    assert_eq!(with(|c| c.input.user.devices[0].permitted = false).refused(), Refusal::NoPermission);
    let two = with(|c| {
        c.input.user.devices[0].permitted = false;
        c.input.user.devices.push(device(2));
    });
    assert_eq!(two.chosen().devices, [nth::<DeviceId>(2)]);
}

/// Quiet in Paris from noon for ten minutes, or as asked.
fn quiet(change: impl FnOnce(&mut Case)) -> Case {
    with(|c| {
        c.input.user.quiet_hours = Some(hours("12:00", "12:10"));
        change(c);
    })
}

#[test]
fn when_every_device_is_quiet_the_offer_is_held_until_the_first_one_leaves() {
    let held = quiet(|_| {}).held();
    assert_eq!(held.planned_ms, noon_ms() + 10 * MINUTE_MS);
    assert!(held.devices.is_empty() && held.words.is_empty());
    let first = quiet(|c| {
        // It is 12:00 in Paris and 11:00 in London, where the quiet time ends at another instant.
        c.input.user.quiet_hours = Some(hours("10:30", "12:20"));
        c.input.user.devices[0].time_zone = Some("Europe/London".into());
        c.input.user.devices.push(Device { time_zone: Some("Europe/Paris".into()), ..device(2) });
    });
    assert_eq!(first.held().planned_ms, noon_ms() + 20 * MINUTE_MS);
    // One awake device is enough, and it alone gets it.
    let awake = quiet(|c| c.input.user.devices.push(Device { time_zone: Some("Europe/London".into()), ..device(2) }));
    assert_eq!(awake.chosen().devices, [nth::<DeviceId>(2)]);
}

#[test]
fn the_zone_is_the_users_else_the_devices_else_the_apps() {
    quiet(|c| c.input.user.time_zone = Some("Europe/London".into())).chosen();
    let user_first = quiet(|c| {
        c.input.user.time_zone = Some("Europe/Paris".into());
        c.input.user.devices[0].time_zone = Some("Europe/London".into());
    });
    user_first.held();
    quiet(|c| c.input.user.devices[0].time_zone = Some("Europe/London".into())).chosen();
    quiet(|c| c.input.limits.time_zone = "Europe/London".into()).chosen();
    quiet(|c| c.input.user.quiet_hours = Some(hours("12:00", "12:00"))).chosen();
}

#[test]
fn a_hold_that_ends_too_late_or_worth_too_little_is_a_refusal() {
    let until = |window_ms: i64| quiet(|c| c.input.moment.span.window_ms = window_ms);
    assert_eq!(until(10 * MINUTE_MS + LATENCY_MS).refused(), Refusal::QuietUntilTooLate, "arrives exactly at the deadline");
    until(10 * MINUTE_MS + LATENCY_MS + 1).held();
    let worth = |min_value: f64| {
        quiet(|c| {
            c.input.moment.span.curve = serde_json::from_value(json!({"steps": [
                {"until_ms": 10 * MINUTE_MS, "factor": 1.0}, {"until_ms": WINDOW_MS, "factor": 0.25}]}))
            .unwrap();
            c.offers[0].min_value = min_value;
        })
    };
    worth(2.5).held();
    assert_eq!(worth(2.6).refused(), Refusal::QuietBelowMinValue);
    let score = worth(2.5).decide().candidates[0].score;
    assert_eq!(score, Some(2.5), "its score is that of its planned delivery");
}

#[test]
fn a_campaign_may_ask_for_the_last_active_device_alone() {
    let last = |first_ms: i64, second_ms: i64| {
        with(|c| {
            c.campaigns[0].devices = Devices::LastActive;
            c.input.user.devices[0].last_seen_ms = first_ms;
            c.input.user.devices.push(Device { last_seen_ms: second_ms, ..device(2) });
        })
    };
    assert_eq!(last(1, 2).chosen().devices, [nth::<DeviceId>(2)]);
    assert_eq!(last(2, 1).chosen().devices, [nth::<DeviceId>(1)]);
    assert_eq!(last(2, 2).chosen().devices, [nth::<DeviceId>(1)]);
    let asleep = quiet(|c| {
        c.campaigns[0].devices = Devices::LastActive;
        c.input.user.devices[0].last_seen_ms = 9;
        c.input.user.devices.push(Device { time_zone: Some("Europe/London".into()), ..device(2) });
    });
    assert_eq!(asleep.chosen().devices, [nth::<DeviceId>(2)], "of those out of quiet time");
}

#[test]
fn each_cap_is_half_open() {
    type Change = fn(&mut Case);
    let table: [(Change, Refusal); 4] = [
        (|c| c.campaigns[0].caps = vec![cap(1, HOUR_MS)], Refusal::CampaignCap),
        (
            |c| {
                c.offers[0].category = Some("travel".into());
                c.input.limits.per_category.insert("travel".into(), vec![cap(1, HOUR_MS)]);
            },
            Refusal::CategoryCap,
        ),
        (|c| c.input.limits.overall = vec![cap(1, HOUR_MS)], Refusal::OverallCap),
        (|c| c.input.user.frequency = vec![cap(1, HOUR_MS)], Refusal::UserFrequency),
    ];
    for (change, refusal) in table {
        let ago = |ms: i64| {
            with(|c| {
                change(c);
                let category = c.offers[0].category.clone();
                c.input.heard = vec![kairos::moment::input::Heard { category, ..heard(1, noon_ms() - ms) }];
            })
        };
        assert_eq!(ago(HOUR_MS - 1).refused(), refusal);
        assert_eq!(ago(0).refused(), refusal);
        ago(HOUR_MS).chosen();
        // What is held for later counts already, and is as far away by the same measure.
        assert_eq!(ago(-HOUR_MS + 1).refused(), refusal);
        ago(-HOUR_MS).chosen();
    }
}

#[test]
fn a_cap_counts_what_it_is_about_and_allows_as_many_as_it_says() {
    with(|c| {
        c.campaigns[0].caps = vec![cap(1, HOUR_MS)];
        c.input.heard = vec![heard(2, noon_ms())];
    })
    .chosen();
    with(|c| {
        c.offers[0].category = Some("travel".into());
        c.input.limits.per_category.insert("travel".into(), vec![cap(1, HOUR_MS)]);
        c.input.heard = vec![heard(2, noon_ms())];
    })
    .chosen();
    let many = |n: usize| {
        with(|c| {
            c.input.limits.overall = vec![cap(3, DAY_MS)];
            c.input.heard = (0..n).map(|n| heard(9, noon_ms() - i64::try_from(n).unwrap() * HOUR_MS)).collect();
        })
    };
    many(2).chosen();
    assert_eq!(many(3).refused(), Refusal::OverallCap);
    // Two on either side that never share a window leave room between them.
    with(|c| {
        c.input.limits.overall = vec![cap(2, HOUR_MS)];
        c.input.heard = vec![heard(9, noon_ms() - HOUR_MS + 1), heard(9, noon_ms() + HOUR_MS - 1)];
    })
    .chosen();
}

#[test]
fn the_minimum_gap_is_half_open_too() {
    let gap = |ms: i64| {
        with(|c| {
            c.input.limits.min_gap_ms = 10 * MINUTE_MS;
            c.input.heard = vec![heard(9, noon_ms() + ms)];
        })
    };
    assert_eq!(gap(-10 * MINUTE_MS + 1).refused(), Refusal::MinGap);
    gap(-10 * MINUTE_MS).chosen();
    assert_eq!(gap(10 * MINUTE_MS - 1).refused(), Refusal::MinGap);
    gap(10 * MINUTE_MS).chosen();
}

#[test]
fn caps_are_judged_at_the_time_when_a_held_offer_is_to_go_out() {
    let case = |ago_ms: i64| {
        quiet(|c| {
            c.input.limits.overall = vec![cap(1, HOUR_MS)];
            c.input.heard = vec![heard(9, noon_ms() + 10 * MINUTE_MS - ago_ms)];
        })
    };
    assert_eq!(case(HOUR_MS - 1).refused(), Refusal::OverallCap);
    case(HOUR_MS).held();
}

#[test]
fn of_an_offer_that_is_used_up_nothing_is_said() {
    with(|c| c.input.candidates[0].stock_left = Some(1)).chosen();
    assert_eq!(with(|c| c.input.candidates[0].stock_left = Some(0)).refused(), Refusal::OutOfStock);
    assert_eq!(with(|c| c.input.candidates[0].stock_left = Some(-1)).refused(), Refusal::OutOfStock);
}

#[test]
fn a_critical_offer_passes_pause_quiet_hours_caps_and_gaps_and_nothing_else() {
    let all = |critical: bool| {
        with(|c| {
            if critical {
                c.offers[0].class = Class::Critical;
            }
            c.input.user.quiet_hours = Some(hours("11:00", "11:59"));
            c.input.user.time_zone = Some("Europe/London".into());
            c.input.limits.overall = vec![cap(1, HOUR_MS)];
            c.input.limits.min_gap_ms = HOUR_MS;
            c.input.user.frequency = vec![cap(1, HOUR_MS)];
            c.campaigns[0].caps = vec![cap(1, HOUR_MS)];
            c.input.heard = vec![heard(1, noon_ms() - 1)];
        })
    };
    let choice = all(true).chosen();
    assert!(choice.critical && !choice.held);
    assert_eq!(all(false).decide().outcome, Outcome::Silent);
    let paused = |critical: bool| {
        with(|c| {
            c.offers[0].class = if critical { Class::Critical } else { Class::Normal };
            c.input.user.paused_until_ms = Some(noon_ms() + DAY_MS);
        })
    };
    paused(true).chosen();
    assert_eq!(paused(false).refused(), Refusal::Paused);
    let critical = |change: fn(&mut Case)| {
        with(|c| {
            c.offers[0].class = Class::Critical;
            change(c);
        })
        .refused()
    };
    assert_eq!(critical(|c| c.input.user.push_on = false), Refusal::ChannelOff);
    assert_eq!(critical(|c| c.input.candidates[0].standing = Standing::Refused(Refusal::Withdrawn)), Refusal::Withdrawn);
    assert_eq!(critical(|c| c.input.candidates[0].stock_left = Some(0)), Refusal::OutOfStock);
    assert_eq!(critical(|c| c.input.now_ms = noon_ms() + WINDOW_MS), Refusal::Closed);
}

#[test]
fn words_that_cannot_be_made_or_do_not_fit_silence_the_candidate() {
    let words = |body: &str| {
        with(|c| {
            let variants = json!({"en": {"title": "x", "body": body}});
            c.offers[0].template = serde_json::from_value(json!({"fallback": "en", "variants": variants})).unwrap();
        })
    };
    assert_eq!(words("{{ event.properties.nothing.at_all }}").refused(), Refusal::TemplateFailed);
    words(&"x".repeat(3_000)).chosen();
    assert_eq!(words(&"x".repeat(4_096)).refused(), Refusal::PayloadTooLarge);
}

#[test]
fn a_candidate_stops_at_its_first_refusal() {
    let case = with(|c| {
        c.input.candidates[0].standing = Standing::Refused(Refusal::NotGranted);
        c.input.user.push_on = false;
        c.input.candidates[0].stock_left = Some(0);
    });
    assert_eq!(case.refused(), Refusal::NotGranted);
    assert_eq!(case.decide().candidates[0].gates.len(), 3);
}
