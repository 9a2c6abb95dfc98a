//! What a push says: every field in both gateways' names, checked at the edge, measured to the byte, taken by the stand-in.

use crate::gateway::{Google, NOW_MS, PATIENCE, TOPIC, google, push, send, wired};
use bytes::Bytes;
use http::HeaderValue;
use kairos::outbound::Outgoing;
use kairos::push::apns;
use kairos::push::content::{Content, Head};
use kairos::push::{Gateway, Push, Stamp, fcm, render};
use proptest::prelude::*;
use serde_json::{Value, json};

fn content(json: Value) -> Content {
    serde_json::from_value(json).unwrap()
}

/// A push of this content as the outbox would hand it over.
fn pushed(n: u128, gateway: Gateway, content: &Content) -> Push {
    let base = push(n, gateway);
    let nil = uuid::Uuid::nil();
    let stamp = Stamp { message_id: base.id, decision_id: nil.into(), campaign_id: nil.into(), deadline_ms: base.deadline_ms };
    let head = content.head().filter(|_| gateway == Gateway::Apns).map(|head| head.text());
    Push { payload: render(gateway, content, &stamp).into(), head, ..base }
}

fn full() -> Content {
    content(json!({
        "title": "Gate A7", "subtitle": "Boarding", "body": "Now \"boarding\" \u{1F6EB}", "image": "https://cdn.example/a.png",
        "link": "airport://gate/7", "data": {"gate": "A7", "seats": [1, 2]}, "sound": "ding.caf", "badge": {"set": 3},
        "thread": "flight-7", "category": "BOARDING", "interruption_level": "time-sensitive", "relevance": 0.5,
        "priority": "high", "collapse_id": "gate-7",
        "apple": {"content_available": true, "target_content_id": "w1", "filter_criteria": "work", "launch_image": "l.png"},
        "android": {
            "channel_id": "boarding", "icon": "plane", "color": "#ff8000", "tag": "t", "click_action": "OPEN", "ticker": "Gate",
            "sticky": true, "local_only": true, "visibility": "private", "notification_priority": "max", "notification_count": 2,
            "default_sound": true, "default_vibrate_timings": false, "vibrate_timings_ms": [0, 1500], "image": "https://cdn.example/b.png",
            "light_settings": {"color": "#0000ff", "on_ms": 250, "off_ms": 1000}, "event_time": "2026-11-22T00:00:00.000Z",
            "proxy": "if_priority_lowered", "direct_boot_ok": true, "bandwidth_constrained_ok": true,
            "restricted_package_name": "com.example.airport", "priority": "normal", "data": {"gate": "B1"},
        },
        "web": {"icon": "https://cdn.example/i.png", "actions": [{"action": "go", "title": "Go"}], "renotify": true},
    }))
}

#[tokio::test]
async fn every_field_reaches_apples_phones() {
    let world = wired().await;
    let content = full();
    assert!(content.check("").is_empty());
    let push = pushed(7, Gateway::Apns, &content);
    let mut payload: Value = serde_json::from_slice(&push.payload).unwrap();
    payload.as_object_mut().unwrap().remove("kairos");
    let alert =
        json!({"title": "Gate A7", "subtitle": "Boarding", "body": "Now \"boarding\" \u{1F6EB}", "launch-image": "l.png"});
    let aps = json!({
        "alert": alert, "sound": "ding.caf", "badge": 3, "thread-id": "flight-7", "category": "BOARDING", "mutable-content": 1,
        "content-available": 1, "target-content-id": "w1", "filter-criteria": "work", "interruption-level": "time-sensitive",
        "relevance-score": 0.5,
    });
    let wanted =
        json!({"aps": aps, "gate": "A7", "seats": [1, 2], "image": "https://cdn.example/a.png", "link": "airport://gate/7"});
    assert_eq!(payload, wanted);
    assert_eq!(push.head, None);
    assert_eq!(world.send(&push).await.unwrap().status, 200);
}

#[tokio::test]
async fn every_field_reaches_googles_phones() {
    let world = google().await;
    let content = full();
    let push = pushed(7, Gateway::Fcm, &content);
    let outgoing = world.client.request(&push, &world.bearer().await, NOW_MS).unwrap();
    let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
    let notification = json!({
        "sound": "ding.caf", "channelId": "boarding", "icon": "plane", "color": "#ff8000", "tag": "t", "clickAction": "OPEN",
        "ticker": "Gate", "sticky": true, "localOnly": true, "visibility": "PRIVATE", "notificationPriority": "PRIORITY_MAX",
        "notificationCount": 2, "defaultSound": true, "vibrateTimings": ["0.000s", "1.500s"], "image": "https://cdn.example/b.png",
        "lightSettings": {
            "color": {"red": 0.0, "green": 0.0, "blue": 1.0, "alpha": 1.0}, "lightOnDuration": "0.250s", "lightOffDuration": "1.000s",
        },
        "eventTime": "2026-11-22T00:00:00.000Z", "proxy": "IF_PRIORITY_LOWERED",
    });
    let android = json!({
        "collapseKey": "gate-7", "priority": "normal", "ttl": "3600s", "directBootOk": true, "bandwidthConstrainedOk": true,
        "restrictedPackageName": "com.example.airport", "notification": notification,
    });
    assert_eq!(body["message"]["android"], android);
    let shown = json!({"title": "Gate A7", "body": "Now \"boarding\" \u{1F6EB}", "image": "https://cdn.example/a.png"});
    assert_eq!(body["message"]["notification"], shown);
    let data = &body["message"]["data"];
    let got = (&data["gate"], &data["seats"], &data["link"], &data["kairos_badge"]);
    assert_eq!(got, (&json!("B1"), &json!("[1,2]"), &json!("airport://gate/7"), &json!("3")));
    let label = body["message"]["fcmOptions"]["analyticsLabel"].as_str().unwrap();
    assert!(label.starts_with("cmp_") && label.len() == 36);
    assert_eq!(world.send(&push).await.unwrap().status, 200);
}

#[tokio::test]
async fn translations_are_named_in_both_gateways_words() {
    let content = content(json!({
        "title_key": {"key": "T"}, "subtitle_key": {"key": "S", "args": ["1"]}, "body_key": {"key": "B", "args": ["A7", "9:05"]},
        "sound": "none",
    }));
    assert!(content.check("").is_empty());
    let apple: Value = serde_json::from_slice(&pushed(1, Gateway::Apns, &content).payload).unwrap();
    let alert = json!({"title-loc-key": "T", "subtitle-loc-key": "S", "subtitle-loc-args": ["1"], "loc-key": "B", "loc-args": ["A7", "9:05"]});
    assert_eq!(apple["aps"], json!({ "alert": alert }));
    let (apns, fcm) = (wired().await, google().await);
    assert_eq!(apns.send(&pushed(1, Gateway::Apns, &content)).await.unwrap().status, 200);
    let push = pushed(1, Gateway::Fcm, &content);
    let google: Value = serde_json::from_slice(&push.payload).unwrap();
    let wanted = json!({"titleLocKey": "T", "bodyLocKey": "B", "bodyLocArgs": ["A7", "9:05"], "tag": push.id.to_string()});
    assert_eq!(google["android"]["notification"], wanted);
    assert_eq!(google.get("notification"), None);
    assert_eq!(fcm.send(&push).await.unwrap().status, 200);
}

#[tokio::test]
async fn each_kind_of_push_has_its_topic_priority_and_limit_and_the_gateway_takes_it() {
    let world = wired().await;
    world.warm().await;
    for (spec, kind, topic, priority) in [
        (json!({"title": "x"}), "alert", "", 10),
        (json!({"title": "x", "priority": "normal"}), "alert", "", 5),
        (json!({"title": "x", "apple": {"priority": 1}}), "alert", "", 1),
        (json!({"badge": "clear"}), "alert", "", 10),
        (json!({"silent": true}), "background", "", 5),
        (json!({"apple": {"push_type": "background"}}), "background", "", 5),
        (json!({"apple": {"push_type": "voip"}, "data": {"call": "7"}}), "voip", ".voip", 10),
        (json!({"apple": {"push_type": "complication"}}), "complication", ".complication", 10),
        (json!({"apple": {"push_type": "fileprovider"}}), "fileprovider", ".pushkit.fileprovider", 10),
        (json!({"apple": {"push_type": "location"}}), "location", ".location-query", 10),
        (json!({"apple": {"push_type": "pushtotalk"}}), "pushtotalk", ".voip-ptt", 10),
        (json!({"apple": {"push_type": "widgets"}}), "widgets", ".push-type.widgets", 5),
        (json!({"apple": {"push_type": "controls"}, "silent": true}), "controls", ".push-type.controls", 5),
    ] {
        let content = content(spec.clone());
        assert!(content.check("").is_empty(), "{spec}");
        let push = pushed(2, Gateway::Apns, &content);
        let (outgoing, _) = world.apns.request(&push, NOW_MS).unwrap();
        let header = |name: &str| outgoing.head.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((header("apns-push-type"), header("apns-topic")), (kind.to_owned(), format!("{TOPIC}{topic}")), "{spec}");
        assert_eq!(header("apns-priority"), priority.to_string(), "{spec}");
        assert_eq!(world.send(&push).await.unwrap().status, 200, "{spec}");
    }
    // A word that came after us goes out as it is written.
    let new = content(json!({"apple": {"push_type": "hologram", "topic_suffix": ".push-type.hologram"}, "title": "x"}));
    assert!(new.check("").is_empty());
    let head = new.head().unwrap();
    assert_eq!(Head::read(Some(&head.text())), Some(head));
    let (outgoing, _) = world.apns.request(&pushed(2, Gateway::Apns, &new), NOW_MS).unwrap();
    assert_eq!(outgoing.head.headers()["apns-topic"], format!("{TOPIC}.push-type.hologram"));
}

/// The stand-in's answer to a push of this content after a change to the request.
async fn judged(spec: Value, change: impl Fn(&mut Outgoing)) -> String {
    let world = wired().await;
    let push = pushed(2, Gateway::Apns, &content(spec));
    let answer = send(&world.pool, PATIENCE, || {
        let (mut outgoing, _) = world.apns.request(&push, NOW_MS).unwrap();
        change(&mut outgoing);
        outgoing
    });
    let answer = answer.await.unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    format!("{} {}", answer.status.as_u16(), body["reason"].as_str().unwrap_or(""))
}

#[tokio::test]
async fn the_stand_in_refuses_what_does_not_fit_its_kind() {
    let header = |name: &'static str, value: &'static str| {
        move |o: &mut Outgoing| drop(o.head.headers_mut().insert(name, HeaderValue::from_static(value)))
    };
    let body = |text: String| move |o: &mut Outgoing| o.body = Bytes::from(text.clone());
    let silent = || json!({"silent": true});
    let voip = || json!({"apple": {"push_type": "voip"}});
    assert_eq!(judged(silent(), header("apns-priority", "10")).await, "400 BadPriority");
    assert_eq!(judged(silent(), body(r#"{"aps":{}}"#.into())).await, "400 InvalidPushType");
    assert_eq!(judged(silent(), body(r#"{"aps":{"content-available":1,"sound":"x"}}"#.into())).await, "400 InvalidPushType");
    assert_eq!(judged(silent(), header("apns-push-type", "alert")).await, "400 InvalidPushType");
    assert_eq!(judged(json!({"title": "x"}), header("apns-push-type", "background")).await, "400 BadPriority");
    assert_eq!(judged(json!({"title": "x"}), header("apns-topic", "app.kairos.demo.voip")).await, "400 TopicDisallowed");
    assert_eq!(judged(voip(), header("apns-topic", TOPIC)).await, "400 BadTopic");
    assert_eq!(judged(json!({"apple": {"push_type": "widgets"}}), body(r#"{"aps":{}}"#.into())).await, "400 InvalidPushType");
    let long = |n: usize| format!(r#"{{"aps":{{}},"x":"{}"}}"#, "x".repeat(n - 17));
    assert_eq!(judged(voip(), body(long(5_120))).await, "200 ");
    assert_eq!(judged(voip(), body(long(5_121))).await, "413 PayloadTooLarge");
}

#[tokio::test]
async fn the_stand_in_refuses_fields_that_google_does_not_know_or_take() {
    let world = google().await;
    let bearer = world.bearer().await;
    let answer = async |world: &Google, android: Value, options: Value| {
        let message = json!({"message": {"token": "t", "android": android, "fcmOptions": options, "data": {"a": "b"}}});
        let sent = send(&world.pool, PATIENCE, || {
            let mut outgoing = world.client.request(&push(1, Gateway::Fcm), &bearer, NOW_MS).unwrap();
            outgoing.body = message.to_string().into();
            outgoing
        });
        sent.await.unwrap().status.as_u16()
    };
    for (android, options) in [
        (json!({"channelId": "x"}), json!({})),
        (json!({"priority": "urgent"}), json!({})),
        (json!({"ttl": "5"}), json!({})),
        (json!({"ttl": "2419201s"}), json!({})),
        (json!({"directBootOk": "yes"}), json!({})),
        (json!({"data": {"a": 1}}), json!({})),
        (json!({"notification": {"channel": "x"}}), json!({})),
        (json!({"notification": {"color": "red"}}), json!({})),
        (json!({"notification": {"visibility": "private"}}), json!({})),
        (json!({"notification": {"notificationPriority": "MAX"}}), json!({})),
        (json!({"notification": {"notificationCount": -1}}), json!({})),
        (json!({"notification": {"vibrateTimings": ["1.5"]}}), json!({})),
        (json!({"notification": {"titleLocArgs": ["x"]}}), json!({})),
        (json!({"notification": {"eventTime": "noon"}}), json!({})),
        (
            json!({"notification": {"lightSettings": {"color": {"red": 2}, "lightOnDuration": "1s", "lightOffDuration": "1s"}}}),
            json!({}),
        ),
        (json!({"notification": {"body": "x".repeat(4_096)}}), json!({})),
        (json!({}), json!({"analyticsLabel": "spring sale"})),
        (json!({}), json!({"analyticsLabel": "x".repeat(51)})),
    ] {
        assert_eq!(answer(&world, android.clone(), options.clone()).await, 400, "{android} {options}");
    }
    assert_eq!(answer(&world, json!({"notification": {"tag": "x"}}), json!({"analyticsLabel": "a-b_c.d~e%"})).await, 200);
}

#[tokio::test]
async fn a_silent_push_is_data_alone_and_not_urgent() {
    let world = google().await;
    let push = pushed(1, Gateway::Fcm, &content(json!({"silent": true, "data": {"sync": "now"}})));
    let outgoing = world.client.request(&push, &world.bearer().await, NOW_MS).unwrap();
    let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
    let wanted = json!({"priority": "normal", "ttl": "3600s"});
    assert_eq!((&body["message"]["android"], body["message"].get("notification")), (&wanted, None));
    let named = pushed(1, Gateway::Fcm, &content(json!({"silent": true, "collapse_id": "score"})));
    let outgoing = world.client.request(&named, &world.bearer().await, NOW_MS).unwrap();
    let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
    assert_eq!(body["message"]["android"]["collapseKey"], json!("score"));
    assert_eq!(world.send(&push).await.unwrap().status, 200);
    let apple: Value = serde_json::from_slice(&pushed(1, Gateway::Apns, &content(json!({"silent": true}))).payload).unwrap();
    assert_eq!(apple["aps"], json!({"content-available": 1}));
}

#[test]
fn sounds_are_heard_as_the_author_says() {
    let heard = |spec: Value| {
        let payload = pushed(1, Gateway::Apns, &content(spec)).payload;
        serde_json::from_slice::<Value>(&payload).unwrap()["aps"]["sound"].clone()
    };
    assert_eq!(heard(json!({"body": "x"})), "default");
    assert_eq!(heard(json!({"body": "x", "interruption_level": "passive"})), Value::Null);
    assert_eq!(heard(json!({"body": "x", "sound": "none"})), Value::Null);
    assert_eq!(
        heard(json!({"body": "x", "sound": {"name": "alarm", "volume": 0.5}})),
        json!({"critical": 1, "name": "alarm", "volume": 0.5})
    );
    assert_eq!(heard(json!({"badge": {"set": 1}})), Value::Null);
}

#[test]
fn every_wrong_field_is_refused_by_its_name() {
    for (spec, field) in [
        (json!({}), "body"),
        (json!({"title": " "}), "title"),
        (json!({"title": "a\u{0}b"}), "title"),
        (json!({"title": "x", "body": "x".repeat(4_097)}), "body"),
        (json!({"title": "x", "body": "x".repeat(4_000)}), "body"),
        (json!({"title": "x", "data": {"story": "x".repeat(4_000)}}), "data.story"),
        (json!({"subtitle": "x", "badge": "clear"}), "subtitle"),
        (json!({"title": "x", "title_key": {"key": "T"}}), "title_key"),
        (json!({"body_key": {"key": "T", "args": vec!["x"; 21]}}), "body_key.args"),
        (json!({"title": "x", "image": "http://cdn.example/a.png"}), "image"),
        (json!({"title": "x", "link": "airport://gate 7"}), "link"),
        (json!({"title": "x", "link": "a:b", "data": {"link": "c:d"}}), "data.link"),
        (json!({"title": "x", "data": {"aps": "x"}}), "data.aps"),
        (json!({"title": "x", "data": {"kairos": "x"}}), "data.kairos"),
        (json!({"title": "x", "data": {"kairos_message_id": "x"}}), "data.kairos_message_id"),
        (json!({"title": "x", "data": {"from": "x"}}), "data.from"),
        (json!({"title": "x", "data": {"google_x": "x"}}), "data.google_x"),
        (json!({"title": "x", "data": {"gcm_x": "x"}}), "data.gcm_x"),
        (json!({"title": "x", "data": {"message_type": "x"}}), "data.message_type"),
        (json!({"title": "x", "data": {"collapse_key": "x"}}), "data.collapse_key"),
        (json!({"title": "x", "data": {"a b": "x"}}), "data.a b"),
        (json!({"title": "x", "data": {"a": null}}), "data.a"),
        (json!({"title": "x", "android": {"data": {"from": "x"}}}), "android.data.from"),
        (json!({"title": "x", "sound": ""}), "sound"),
        (json!({"title": "x", "badge": {"increment": 0}}), "badge.increment"),
        (json!({"title": "x", "badge": {"set": 1_000_001}}), "badge.set"),
        (json!({"title": "x", "collapse_id": "é"}), "collapse_id"),
        (json!({"title": "x", "collapse_id": "x".repeat(65)}), "collapse_id"),
        (json!({"title": "x", "thread": "a b"}), "thread"),
        (json!({"title": "x", "ttl_limit_ms": 999}), "ttl_limit_ms"),
        (json!({"title": "x", "silent": true}), "title"),
        (json!({"silent": true, "badge": {"set": 1}}), "badge"),
        (json!({"silent": true, "priority": "high"}), "priority"),
        (json!({"silent": true, "apple": {"push_type": "voip"}}), "apple.push_type"),
        (json!({"title": "x", "sound": "none", "interruption_level": "critical"}), "sound"),
        (json!({"title": "x", "apple": {"push_type": "liveactivity"}}), "apple.push_type"),
        (json!({"title": "x", "apple": {"push_type": "mdm"}}), "apple.push_type"),
        (json!({"title": "x", "apple": {"push_type": "New!"}}), "apple.push_type"),
        (json!({"title": "x", "apple": {"push_type": "hologram"}}), "apple.topic_suffix"),
        (json!({"title": "x", "apple": {"push_type": "hologram", "topic_suffix": "x"}}), "apple.topic_suffix"),
        (json!({"title": "x", "apple": {"push_type": "voip", "topic_suffix": ".voip"}}), "apple.topic_suffix"),
        (json!({"title": "x", "apple": {"topic_suffix": ".voip"}}), "apple.topic_suffix"),
        (json!({"title": "x", "apple": {"priority": 7}}), "apple.priority"),
        (json!({"apple": {"push_type": "background", "priority": 10}}), "apple.priority"),
        (json!({"title": "x", "android": {"color": "red"}}), "android.color"),
        (json!({"title": "x", "android": {"vibrate_timings_ms": [60_001]}}), "android.vibrate_timings_ms"),
        (json!({"title": "x", "web": {"actions": vec![json!({"action": "a", "title": "b"}); 5]}}), "web.actions"),
        (json!({"title": "x", "web": {"icon": "http://x"}}), "web.icon"),
        (json!({"title": "x", "web": {"icon": "https://cdn.example/{{a}}.png"}}), "web.icon"),
        (json!({"title": "x", "web": {"icon": "{{ event.properties.icon }}"}}), "web.icon"),
        (json!({"title": "x", "web": {"badge": "https://cdn.example/{%raw%}.png"}}), "web.badge"),
        (
            json!({"title": "x", "web": {"actions": [{"action": "a", "title": "b", "icon": "https://cdn.example/{{ a }}.png"}]}}),
            "web.actions[0].icon",
        ),
        (json!({"title": "x", "android": {"image": "http://cdn.example/a.png"}}), "android.image"),
        (
            json!({"title": "x", "encrypted": {"body": "y"}, "android": {"image": "https://cdn.example/{{ a }}.png"}}),
            "android.image",
        ),
    ] {
        let faults = content(spec.clone()).check("content");
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert!(fields.contains(&format!("content.{field}").as_str()), "{spec}: {fields:?}");
    }
    for unknown in [
        json!({"tittle": "x"}),
        json!({"apple": {"badge": 1}}),
        json!({"android": {"channel": "x"}}),
        json!({"web": {"x": 1}}),
        json!({"relevance": 1.5}),
        json!({"badge": 3}),
        json!({"sound": {"name": "x", "loud": true}}),
        json!({"interruption_level": "loud"}),
    ] {
        assert!(serde_json::from_value::<Content>(unknown.clone()).is_err(), "{unknown}");
    }
}

#[test]
fn what_is_too_large_names_the_field_and_by_how_much() {
    let spec = content(json!({"title": "x".repeat(100), "body": "y".repeat(3_000), "data": {"story": "\u{1}".repeat(400)}}));
    let large = spec.fits(Gateway::Apns).unwrap_err();
    assert_eq!((large.field.as_str(), large.field_bytes), ("body", 3_002));
    assert_eq!(large.over_bytes(), large.bytes - 4_096);
    // The same words are smaller to Google, which counts no brackets and no escapes.
    assert_eq!(spec.fits(Gateway::Fcm), Ok(()));
    // A call may be larger.
    let call = |n: usize| content(json!({"apple": {"push_type": "voip"}, "data": {"call": "x".repeat(n)}}));
    assert_eq!(call(4_000).fits(Gateway::Apns), Ok(()));
    let large = call(5_000).fits(Gateway::Apns).unwrap_err();
    assert_eq!((large.field.as_str(), large.limit_bytes), ("data.call", 5_120));
    // The longest id of our own, the latest deadline, a badge that is not counted yet: measured as if they were there.
    let edge = |n: usize| content(json!({"body": "x".repeat(n), "badge": {"increment": 1}}));
    let most = (3_000..4_096).rev().find(|n| edge(*n).fits(Gateway::Apns).is_ok()).unwrap();
    assert_eq!(edge(most).bytes(Gateway::Apns), 4_096);
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{1,40}",
        "[\"\\\\/<>&\u{7f}\u{2028}a-z]{1,20}",
        "(\\n|\\t|\u{1F600}|é){1,10}",
        "x{200,1500}",
        "\u{1}{50,600}"
    ]
}

prop_compose! {
    fn contents()(
        title in proptest::option::of(texts()), body in texts(), key in "[a-f]{1,8}", value in texts(), number in 0_u32..1_000_000,
        badge in proptest::option::of(0_u32..1_000_000), tag in proptest::option::of("[ -~]{1,64}"), args in prop::collection::vec(texts(), 0..4),
        collapse in proptest::option::of("[!-~]{1,64}"), normal in any::<bool>(), level in 0_usize..5,
    ) -> Content {
        let levels = [None, Some("passive"), Some("active"), Some("time-sensitive"), Some("critical")];
        let mut spec = json!({"body": body, "data": {"own": value, "number": number}, "subtitle_key": {"key": "S", "args": args}});
        spec["data"][key] = json!(value);
        let fields = [
            ("title", title.map(Value::from)), ("badge", badge.map(|n| json!({"set": n}))), ("collapse_id", collapse.map(Value::from)),
            ("android", tag.map(|tag| json!({"tag": tag, "notification_count": number}))), ("priority", normal.then(|| json!("normal"))),
            ("interruption_level", levels[level].map(Value::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                spec[name] = value;
            }
        }
        content(spec)
    }
}

#[test]
fn a_browser_is_told_what_only_browsers_know() {
    let nil = uuid::Uuid::nil();
    let stamp = Stamp { message_id: nil.into(), decision_id: nil.into(), campaign_id: nil.into(), deadline_ms: 1 };
    let said = json!({
        "title": "Gate", "body": "A4", "link": "https://example.com/a4", "badge": {"set": 3}, "priority": "normal",
        "collapse_id": "gate", "android": {"color": "#aa3300"}, "web": {
            "icon": "https://example.com/i.png", "badge": "https://example.com/b.png", "tag": "gates",
            "actions": [{"action": "go", "title": "Go"}], "require_interaction": true, "vibrate_ms": [100, 50]},
    });
    let content: Content = serde_json::from_value(said).unwrap();
    let mut told: Value = serde_json::from_str(&render(Gateway::WebPush, &content, &stamp)).unwrap();
    let rest = told.as_object_mut().unwrap();
    rest.remove("kairos").unwrap();
    let data = rest.remove("data").unwrap();
    assert_eq!((&data["link"], data["kairos_message_id"].is_string()), (&json!("https://example.com/a4"), true));
    assert_eq!(
        told,
        json!({
            "title": "Gate", "body": "A4", "tag": "gates", "app_badge": 3, "requireInteraction": true, "vibrate": [100, 50],
            "icon": "https://example.com/i.png", "badge": "https://example.com/b.png",
            "actions": [{"action": "go", "title": "Go"}],
        })
    );
    assert_eq!(kairos::push::webpush::head(&content).as_deref(), Some("normal"));
    let usual = Content { web: None, priority: None, ..content };
    let told: Value = serde_json::from_str(&render(Gateway::WebPush, &usual, &stamp)).unwrap();
    assert_eq!((&told["tag"], kairos::push::webpush::head(&usual)), (&json!("gate"), None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_was_measured_is_what_goes_out_and_the_words_come_back(content in contents()) {
        let nil = uuid::Uuid::nil();
        let stamp = Stamp {
            message_id: nil.into(), decision_id: nil.into(), campaign_id: nil.into(), deadline_ms: kairos::clock::Time::MAX_MS,
        };
        let payload = render(Gateway::Apns, &content, &stamp);
        prop_assert_eq!(payload.len(), content.bytes(Gateway::Apns));
        prop_assert_eq!(content.fits(Gateway::Apns).is_ok(), payload.len() <= apns::PAYLOAD_LIMIT_BYTES);
        let back: Value = serde_json::from_str(&payload).unwrap();
        prop_assert_eq!(back["aps"]["alert"]["body"].as_str(), Some(content.body.as_str()));
        prop_assert_eq!(back["aps"]["alert"]["title"].as_str(), content.title.as_deref());
        prop_assert_eq!(&back["own"], &content.data["own"]);

        let payload = render(Gateway::WebPush, &content, &stamp);
        prop_assert!(payload.len() <= content.bytes(Gateway::WebPush));
        let back: Value = serde_json::from_str(&payload).unwrap();
        prop_assert_eq!(back["body"].as_str(), Some(content.body.as_str()));
        prop_assert_eq!(back["title"].as_str(), content.title.as_deref());
        prop_assert_eq!(&back["data"]["own"], &content.data["own"]);

        let collapse = content.collapse_id.clone().unwrap_or_else(|| stamp.message_id.to_string());
        let payload = render(Gateway::Fcm, &content, &stamp);
        prop_assert!(fcm::size_bytes(&payload, &collapse) <= content.bytes(Gateway::Fcm));
        prop_assert_eq!(content.fits(Gateway::Fcm).is_ok(), content.bytes(Gateway::Fcm) <= fcm::PAYLOAD_LIMIT_BYTES);
        let back: Value = serde_json::from_str(&payload).unwrap();
        prop_assert_eq!(back["notification"]["body"].as_str(), Some(content.body.as_str()));
        prop_assert_eq!(back["data"]["own"].as_str(), content.data["own"].as_str());
        let said: Vec<String> = content.subtitle_key.iter().flat_map(|key| key.args.clone()).collect();
        prop_assert_eq!(content.texts().iter().filter(|(name, _)| name.starts_with("subtitle_key")).count(), said.len());
    }

    #[test]
    fn a_content_is_what_it_was_after_it_was_stored(content in contents()) {
        let text = serde_json::to_string(&content).unwrap();
        prop_assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), content);
    }
}

/// The stand-in takes exactly what we measured as fitting, to the byte, through both gateways.
#[tokio::test]
async fn the_gateway_takes_the_last_byte_and_refuses_the_next() {
    let (apns, fcm) = (wired().await, google().await);
    apns.warm().await;
    for android in [json!(null), json!({"channel_id": "c", "tag": "t"})] {
        let of = |n: usize| {
            let mut spec =
                json!({"title": "Zoë \"1\"", "body": "x".repeat(n), "data": {"own": "\u{1}"}, "collapse_id": "c".repeat(39)});
            if !android.is_null() {
                spec["android"] = android.clone();
            }
            content(spec)
        };
        let ids = |gateway: Gateway, content: &Content| {
            // As it is measured: with ids and times as long as they can be.
            let nil = uuid::Uuid::nil();
            let stamp = Stamp {
                message_id: nil.into(),
                decision_id: nil.into(),
                campaign_id: nil.into(),
                deadline_ms: kairos::clock::Time::MAX_MS,
            };
            let payload = render(gateway, content, &stamp).into();
            Push { payload, collapse_id: "c".repeat(39), ..push(3, gateway) }
        };
        for gateway in [Gateway::Apns, Gateway::Fcm] {
            let most = (3_000..4_096).rev().find(|n| of(*n).fits(gateway).is_ok()).unwrap();
            for (n, taken) in [(most, true), (most + 1, false)] {
                let push = ids(gateway, &of(n));
                let answer = match gateway {
                    Gateway::Apns => apns.send(&push).await,
                    Gateway::Fcm => fcm.send(&push).await,
                    Gateway::WebPush => continue,
                };
                assert_eq!(answer.unwrap().status == 200, taken, "{gateway:?} {n} {android}");
            }
        }
    }
}
