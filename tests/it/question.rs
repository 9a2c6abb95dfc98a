//! Progressive profiling: the one question worth asking now, how often it is asked, and what it is to pass it over.

use crate::stage::{Good as _, Listener, Stage, grant, minutes};
use crate::world::{Caller, World};
use serde_json::{Value, json};
use std::time::Duration;

const NEXT: &str = "/v1/me/next-question";

fn hours(n: u64) -> Duration {
    minutes(60 * n)
}

/// An app that may ask for `diet`, `bags` and `tier`; `class` is its own secret, and for `shoe` there are no words.
async fn stage(world: &mut World) -> Stage {
    // These tests last for months: nobody signs in anew meanwhile.
    world.restart(|config| config.access_token_life_s = 50_000_000).await;
    let stage = Stage::set(world).await;
    for body in [
        json!({"key": "diet", "kind": "string", "options": ["all", "vegan"],
            "question": {"en": "What do you eat?", "de": "Was essen Sie?", "fr-CH": "Que mangez-vous?"}}),
        json!({"key": "bags", "kind": "number", "question": {"en": "How many bags have you?"}}),
        json!({"key": "tier", "kind": "string", "question": {"en": "Which card have you?"}, "writers": "user"}),
        json!({"key": "class", "kind": "string", "writers": "server"}),
        json!({"key": "shoe", "kind": "number"}),
    ] {
        let mut body = body;
        body["scope"] = "user".into();
        world.post("/v1/attributes", &stage.app.server, body).await.good();
    }
    stage
}

/// What somebody is asked for; null when it is nothing.
async fn asked(world: &World, who: &Listener) -> Value {
    let answer = world.get(NEXT, &who.person.token).await;
    if answer.status == 204 {
        assert!(answer.body.is_empty());
        return Value::Null;
    }
    answer.expect(200)["attribute"].clone()
}

async fn skip(world: &World, who: &Listener, attribute: &str) {
    world.post(&format!("{NEXT}/skip"), &who.person.token, json!({"attribute": attribute})).await.expect(204);
}

async fn answers(world: &World, who: &Listener, attributes: Value) {
    world.patch("/v1/me", &who.person.token, json!({"attributes": attributes})).await.good();
}

/// A live offer for those of whom this is true.
async fn offer_for(world: &World, stage: &Stage, rule: &str) -> String {
    stage.one_offer(world, json!({"audience": rule}), json!({})).await.1
}

both! {
    async fn the_question_asked_is_the_one_that_most_live_offers_wait_for(world) {
        let stage = stage(world).await;
        let who = stage.listener(world).await;
        assert_eq!(asked(world, &who).await, Value::Null, "no rule reads anything");
        offer_for(world, &stage, "user.attributes.bags <= 1.0").await;
        let paused = offer_for(world, &stage, "user.attributes.bags > 1.0").await;
        world.post(&format!("/v1/campaigns/{paused}/pause"), &stage.app.server, json!({})).await.good();
        offer_for(world, &stage, "has(user.attributes.diet) && user.attributes.diet == 'vegan'").await;
        offer_for(world, &stage, "user.attributes['diet'] == 'all'").await;
        offer_for(world, &stage, "user.attributes.class == 'x' && user.attributes.shoe > 1.0").await;
        let question = world.get(NEXT, &who.person.token).await.expect(200);
        assert_eq!(question["attribute"], "diet", "two live offers against one; one more is paused");
        assert_eq!((&question["kind"], &question["options"]), (&json!("string"), &json!(["all", "vegan"])));
        assert_eq!(question["question"], "What do you eat?");
        assert!(question["reason"].as_str().unwrap().contains("answer: 2."), "{question}");
        assert_eq!(world.get(NEXT, &who.person.token).await.expect(200), question);
        // Another user is asked apart from this one; the app's own attributes and those without words are nobody's questions.
        let other = stage.listener(world).await;
        answers(world, &other, json!({"diet": "all", "bags": 2})).await;
        assert_eq!(asked(world, &other).await, Value::Null);
        world.get(NEXT, &stage.app.server).await.refused(401, "unauthorized");
        world.get(NEXT, &Caller::Nobody).await.refused(401, "unauthorized");
    }

    async fn the_words_are_those_of_the_users_language(world) {
        let stage = stage(world).await;
        offer_for(world, &stage, "user.attributes.diet == 'vegan'").await;
        let who = stage.listener(world).await;
        for (locale, text) in [("de-AT", "Was essen Sie?"), ("fr-CH", "Que mangez-vous?"), ("ja", "What do you eat?")] {
            world.patch("/v1/me", &who.person.token, json!({"locale": locale})).await.good();
            assert_eq!(world.get(NEXT, &who.person.token).await.expect(200)["question"], text, "{locale}");
        }
        let device = json!({"platform": "ios", "topic": "app.kairos.demo", "locale": "de", "push_permission": "granted"});
        world.patch("/v1/me", &who.person.token, json!({"locale": null})).await.good();
        world.clock.advance(Duration::from_secs(1));
        world.put(&format!("/v1/me/devices/phone-{}", &who.person.id[4..]), &who.person.token, device).await.good();
        assert_eq!(world.get(NEXT, &who.person.token).await.expect(200)["question"], "Was essen Sie?", "the phone's language");
    }

    async fn what_a_user_was_refused_lately_weighs_more_than_what_others_were(world) {
        let stage = stage(world).await;
        let (mine, theirs) = (stage.listener(world).await, stage.listener(world).await);
        offer_for(world, &stage, "event.properties.airport == 'Orly' && user.attributes.tier == 'gold'").await;
        offer_for(world, &stage, "event.properties.airport == 'Nice' && user.attributes.bags < 2.0").await;
        for rule in ["== 'vegan'", "!= 'vegan'"] {
            offer_for(world, &stage, &format!("event.properties.airport == 'Lyon' && user.attributes.diet {rule}")).await;
        }
        assert_eq!(asked(world, &mine).await, "diet", "nothing has happened yet");
        assert_eq!(asked(world, &theirs).await, "diet");
        // Three of the others miss what needs their bags, and one misses once what needs the card.
        for _ in 0..3 {
            let other = stage.listener(world).await;
            stage.lands_at(world, &other, "Nice", 0).await;
        }
        stage.lands_at(world, &mine, "Orly", 0).await;
        world.drain().await;
        world.advance(hours(24)).await;
        assert_eq!(asked(world, &mine).await, "tier", "one's own refusals first");
        assert_eq!(asked(world, &theirs).await, "bags", "else what the others missed");
        // Where a rule asks with `has()`, who lacks the attribute is out of the audience for want of it.
        let polite = stage.listener(world).await;
        offer_for(world, &stage, "has(user.attributes.diet) && user.attributes.diet == 'vegan'").await;
        stage.lands_at(world, &polite, "Lille", 0).await;
        world.drain().await;
        world.advance(minutes(1)).await;
        assert_eq!(asked(world, &polite).await, "diet");
        let reason = world.get(NEXT, &mine.person.token).await.expect(200)["reason"].as_str().unwrap().to_owned();
        assert!(reason.ends_with("want of it: 1."), "{reason}");
    }

    async fn one_question_a_day_and_the_same_until_it_is_answered(world) {
        let stage = stage(world).await;
        offer_for(world, &stage, "user.attributes.diet == 'vegan'").await;
        let who = stage.listener(world).await;
        assert_eq!(asked(world, &who).await, "diet");
        let rows = "select count(*) from questions";
        let state = "select cast(asked_ms as text) as line from questions";
        let before = world.lines(state).await;
        world.advance(hours(23)).await;
        for _ in 0..2 {
            offer_for(world, &stage, "user.attributes.bags <= 1.0").await;
        }
        assert_eq!(asked(world, &who).await, "diet", "also when another is worth more by now");
        assert_eq!((world.number(rows).await, world.lines(state).await), (1, before), "who asks again changes nothing");
        answers(world, &who, json!({"diet": "all"})).await;
        assert_eq!(asked(world, &who).await, Value::Null, "the next one tomorrow");
        world.advance(hours(1)).await;
        assert_eq!(asked(world, &who).await, "bags");
        // Nobody answers: after a day it may be asked anew.
        world.advance(hours(24)).await;
        assert_eq!((asked(world, &who).await, world.number(rows).await), (json!("bags"), 2));
        let settings = json!({"settings": {"question_cool_down_ms": 60_000}});
        world.patch("/v1/app", &stage.app.server, settings).await.good();
        answers(world, &who, json!({"bags": 0})).await;
        offer_for(world, &stage, "user.attributes.tier == 'gold'").await;
        assert_eq!(asked(world, &who).await, Value::Null);
        world.advance(minutes(1)).await;
        assert_eq!(asked(world, &who).await, "tier", "the app's own pace");
        for (field, value) in [("question_cool_down_ms", 59_999), ("question_skip_ms", -1)] {
            let wrong = world.patch("/v1/app", &stage.app.server, json!({"settings": {field: value}})).await;
            wrong.refused_field(400, "validation_failed", &format!("settings.{field}"));
        }
    }

    async fn a_clock_that_is_set_back_asks_nothing_new(world) {
        let stage = stage(world).await;
        offer_for(world, &stage, "user.attributes.diet == 'vegan'").await;
        let mut who = stage.listener(world).await;
        assert_eq!(asked(world, &who).await, "diet");
        skip(world, &who, "diet").await;
        offer_for(world, &stage, "user.attributes.bags <= 1.0").await;
        world.clock.set(world.now_ms() - 48 * 3_600_000);
        let token = json!({"refresh_token": who.person.refresh_token});
        who.person = (&world.post("/v1/auth/refresh", &stage.app.phone, token).await.expect(200)).into();
        assert_eq!(asked(world, &who).await, Value::Null);
    }

    async fn of_many_who_ask_at_once_all_are_told_the_same(world) {
        let stage = stage(world).await;
        offer_for(world, &stage, "user.attributes.diet == 'vegan' && user.attributes.bags < 2.0").await;
        let who = stage.listener(world).await;
        let calls: Vec<_> = (0..32).map(|_| tokio::spawn(world.call("GET", NEXT).by(&who.person.token).send())).collect();
        for call in calls {
            assert_eq!(call.await.unwrap().expect(200)["attribute"], "bags", "of equals the first by name");
        }
        assert_eq!(world.number("select count(*) from questions").await, 1);
    }

    async fn what_is_passed_over_rests_and_after_three_times_for_good(world) {
        let stage = stage(world).await;
        offer_for(world, &stage, "user.attributes.diet == 'vegan'").await;
        let who = stage.listener(world).await;
        let path = format!("{NEXT}/skip");
        for (body, field) in [(json!({"attribute": "diet"}), "attribute"), (json!({"attribute": "nothing"}), "attribute"), (json!({}), "attribute"), (json!({"attribute": "diet", "skips": 0}), "skips")] {
            world.post(&path, &who.person.token, body).await.refused_field(400, "validation_failed", field);
        }
        for _ in 0..2 {
            assert_eq!(asked(world, &who).await, "diet");
            for _ in 0..3 {
                skip(world, &who, "diet").await;
            }
            assert_eq!(asked(world, &who).await, Value::Null, "the day's question is over");
            world.advance(hours(24)).await;
            assert_eq!(asked(world, &who).await, Value::Null);
            world.advance(hours(29 * 24) - Duration::from_secs(1)).await;
            assert_eq!(asked(world, &who).await, Value::Null, "for thirty days");
            world.advance(Duration::from_secs(1)).await;
        }
        assert_eq!(asked(world, &who).await, "diet");
        skip(world, &who, "diet").await;
        world.advance(hours(366 * 24)).await;
        assert_eq!(asked(world, &who).await, Value::Null, "three times is enough; a skip sent again was no skip");
        assert_eq!(world.number("select skips from questions").await, 3);
        offer_for(world, &stage, "user.attributes.bags <= 1.0").await;
        assert_eq!(asked(world, &who).await, "bags", "other questions may be asked");
        let other = stage.listener(world).await;
        assert_eq!(asked(world, &other).await, "bags", "and of equals the first by name to others");
    }

    async fn nobody_is_asked_for_what_could_not_be_read(world) {
        let stage = stage(world).await;
        let by = &stage.app.server;
        let purpose = json!({"key": "profiling", "name": "P", "basis": "consent", "version": "1", "texts": {"en": "May we?"}});
        world.post("/v1/purposes", by, purpose).await.good();
        world.patch("/v1/attributes/user/diet", by, json!({"purpose": "profiling"})).await.good();
        offer_for(world, &stage, "user.attributes.diet == 'vegan'").await;
        let who = stage.listener(world).await;
        assert_eq!(asked(world, &who).await, Value::Null);
        assert_eq!(world.number("select count(*) from questions").await, 0);
        grant(world, &who.person, "profiling").await;
        assert_eq!(asked(world, &who).await, "diet");
        world.post("/v1/me/consents", &who.person.token, json!({"purpose": "profiling", "granted": false})).await.good();
        assert_eq!(asked(world, &who).await, Value::Null);
        // An offer that may not be made to somebody is no reason to ask them.
        grant(world, &who.person, "profiling").await;
        let stranger = Listener { person: world.person(&stage.app).await, token: String::new() };
        grant(world, &stranger.person, "profiling").await;
        assert_eq!((asked(world, &who).await, asked(world, &stranger).await), (json!("diet"), Value::Null));
        world.patch("/v1/attributes/user/diet", by, json!({"question": null})).await.good();
        assert_eq!(asked(world, &who).await, Value::Null, "there are no words for it any more");
    }

    async fn a_kinds_own_rules_are_a_reason_to_ask_too(world) {
        let stage = stage(world).await;
        stage.kind(world, json!({"trigger": {"event_type": "landed", "rule": "user.attributes.tier == 'gold'"}})).await;
        let who = stage.listener(world).await;
        assert_eq!(asked(world, &who).await, Value::Null, "no live campaign hangs on it");
        stage.one_offer(world, json!({}), json!({})).await;
        assert_eq!(asked(world, &who).await, "tier");
    }
}
