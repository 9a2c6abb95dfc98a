//! What a trigger needed (`location`, a partner's events or links) is asked again: when it is judged, when what was held
//! is released, and when what waits is claimed.

use crate::event::thing;
use crate::stage::{Good, Listener, Stage, minutes};
use crate::world::{Caller, World};
use kairos::push::standin::{Fault, Rule};
use serde_json::{Value, json};

/// What a moment of the kind `landing` comes from in these tests.
#[derive(Debug, Clone, Copy, PartialEq)]
enum From {
    /// A user's fix makes them enter a place.
    Place,
    /// A user's own event that says where it happened.
    Located,
    /// A partner's event.
    Partner,
    /// The app's event about a thing that a partner linked the user to.
    Link,
}

const ALL: [From; 4] = [From::Place, From::Located, From::Partner, From::Link];

/// The stage with one offer and one partner.
struct Scene {
    stage: Stage,
    partner: String,
    key: Caller,
    room: String,
}

impl Scene {
    async fn set(world: &mut World) -> Self {
        let stage = Stage::set(world).await;
        let template = json!({"fallback": "en", "variants": {"en": {"title": "Welcome", "body": "Good to see you"}}});
        stage.one_offer(world, json!({"template": template}), json!({})).await;
        let by = &stage.app.server;
        let partner = world.post("/v1/partners", by, json!({"name": "Hotel"})).await.good()["id"].as_str().unwrap().to_owned();
        let key = world.post(&format!("/v1/partners/{partner}/keys"), by, json!({"name": "k"})).await.good();
        let circle = json!({"lat": 48.7253, "lon": 2.3594, "radius_m": 3000});
        world.post("/v1/places", by, json!({"name": "Orly", "circle": circle})).await.good();
        let room = thing(world, "room").await;
        Self { key: Caller::Bearer(key["secret"].as_str().unwrap().to_owned()), stage, partner, room }
    }

    async fn listen(&self, world: &World, from: From) {
        let trigger = match from {
            From::Place => json!({"event_type": "place.enter", "include_initial": true}),
            _ => json!({"event_type": "landed"}),
        };
        self.stage.kind(world, json!({"trigger": trigger, "moment_key": null})).await;
    }

    fn consent(&self, from: From, granted: bool) -> Value {
        let mut consent = match from {
            From::Place | From::Located => json!({"purpose": "location", "granted": granted}),
            From::Partner | From::Link => json!({"purpose": "partner_events", "partner": self.partner, "granted": granted}),
        };
        if granted {
            consent["text_version"] = json!("1");
            consent["evidence"] = json!({"screen": "map"});
        }
        consent
    }

    async fn choose(&self, world: &World, who: &Listener, from: From, granted: bool) {
        world.post("/v1/me/consents", &who.person.token, self.consent(from, granted)).await.good();
    }

    /// Somebody who granted all that this trigger needs.
    async fn listener(&self, world: &World, from: From) -> Listener {
        let who = self.stage.listener(world).await;
        self.choose(world, &who, from, true).await;
        if from == From::Link {
            let link = json!({"user": who.person.id, "partner_id": self.partner});
            world.post(&format!("/v1/things/{}/links", self.room), &self.stage.app.server, link).await.good();
        }
        who
    }

    /// It happens to somebody; for a link, to everybody who is linked.
    async fn happens(&self, world: &World, who: &Listener, from: From) {
        let id = format!("e{}", world.number("select count(*) from events").await);
        let mut event = json!({"id": id, "type": "landed", "occurred_at": world.time(0), "subject": who.person.id});
        let fix = json!({"lat": 48.7253, "lon": 2.3594, "accuracy_m": 5});
        let by = match from {
            From::Place => {
                event["type"] = json!("location");
                event["location"] = fix;
                &who.person.token
            }
            From::Located => {
                event["location"] = fix;
                &who.person.token
            }
            From::Partner => &self.key,
            From::Link => {
                event["subject"] = json!(self.room);
                &self.stage.app.server
            }
        };
        let taken = world.post("/v1/events", by, json!({"events": [event]})).await.expect(202);
        assert_eq!(taken["results"][0]["status"], "accepted", "{taken}");
    }
}

/// The records that a message names, each as `purpose`, sorted; all of them must be grants in force.
async fn proofs(world: &World, message: &Value) -> Vec<String> {
    let mut purposes = Vec::new();
    for id in message["consent_ids"].as_array().unwrap() {
        let sql = format!("select purpose as line from consents where granted and id = '{}'", id.as_str().unwrap());
        purposes.extend(world.lines(&sql).await);
    }
    purposes.sort();
    purposes
}

fn both_needs(from: From) -> [&'static str; 2] {
    match from {
        From::Place | From::Located => ["location", "marketing"],
        From::Partner | From::Link => ["marketing", "partner_events"],
    }
}

both! {
    async fn what_the_clock_derives_from_a_partners_positions_asks_for_that_partner_too(world) {
        let scene = Scene::set(world).await;
        let server = &scene.stage.app.server.clone();
        let (agreed, refused) = (scene.listener(world, From::Partner).await, scene.stage.listener(world).await);
        for who in [&agreed, &refused] {
            // The links are the app's own: the partner is in it only as the sender of the positions.
            world.post(&format!("/v1/things/{}/links", scene.room), server, json!({"user": who.person.id})).await.good();
        }
        let fix = |id: &str, lat: f64| json!({"events": [{"id": id, "type": "position", "occurred_at": world.time(0),
            "subject": scene.room, "location": {"lat": lat, "lon": 2.3594, "accuracy_m": 5}}]});
        let trigger = |kind: &str| json!({"trigger": {"event_type": kind}, "moment_key": null});
        // By the clock alone, a dwell and a silent exit; then a dwell that the app's own next position finds.
        scene.stage.kind(world, trigger("place.dwell")).await;
        world.post("/v1/events", &scene.key, fix("p1", 48.7253)).await.expect(202);
        world.advance(minutes(5)).await;
        scene.stage.kind(world, trigger("place.exit")).await;
        world.advance(minutes(55)).await;
        scene.stage.kind(world, trigger("place.dwell")).await;
        world.advance(minutes(30)).await;
        world.post("/v1/events", &scene.key, fix("p2", 48.7253)).await.expect(202);
        world.clock.advance(minutes(6));
        world.post("/v1/events", server, fix("s1", 48.7253)).await.expect(202);
        world.drain().await;
        assert_eq!(scene.stage.arrived(&agreed).len(), 3, "two dwells and a silent exit");
        assert!(scene.stage.decisions(world, &refused).await.is_empty());
        let derived = "select count(*) from events where source = 'kairos' and partner_id is not null";
        assert_eq!(world.number(derived).await, 5, "and two enters");
        // The app's own positions alone need nobody's word: the next visit is theirs.
        world.post("/v1/events", server, fix("s2", 49.5)).await.expect(202);
        world.clock.advance(minutes(1));
        world.post("/v1/events", server, fix("s3", 49.5)).await.expect(202);
        world.clock.advance(minutes(1));
        world.post("/v1/events", server, fix("s4", 48.7253)).await.expect(202);
        world.advance(minutes(5)).await;
        assert_eq!(scene.stage.arrived(&refused).len(), 1);
        scene.stage.adds_up(world).await;
    }

    async fn what_was_withdrawn_after_the_event_came_opens_no_moment(world) {
        let scene = Scene::set(world).await;
        for from in ALL {
            scene.listen(world, from).await;
            let (gone, stays) = (scene.listener(world, from).await, scene.listener(world, from).await);
            scene.happens(world, &gone, from).await;
            if from != From::Link {
                scene.happens(world, &stays, from).await;
            }
            let waiting = world.number("select count(*) from lane_work").await;
            assert!(waiting >= 2, "{from:?}: {waiting}");
            scene.choose(world, &gone, from, false).await;
            world.drain().await;
            assert!(scene.stage.decisions(world, &gone).await.is_empty(), "{from:?}");
            assert!(scene.stage.arrived(&gone).is_empty(), "{from:?}");
            if from != From::Link {
                let sql = format!("select coalesce(disposition, '') as line from events where user_id = '{}' \
                    and type in ('landed', 'place.enter')", gone.person.id);
                let said = world.lines(&sql).await;
                assert!(!said.is_empty() && said.iter().all(|word| word == "no_consent"), "{from:?}: {said:?}");
            }
            assert_eq!(scene.stage.decision(world, &stays).await["outcome"], "chosen", "{from:?}");
            let messages = scene.stage.messages(world, &stays).await;
            assert_eq!(messages[0]["state"], "accepted", "{from:?}");
            assert_eq!(proofs(world, &messages[0]).await, both_needs(from), "{from:?}: every need has its proof");
        }
        scene.stage.adds_up(world).await;
    }

    async fn what_was_withdrawn_while_it_was_held_is_refused_at_its_release(world) {
        let scene = Scene::set(world).await;
        let mut people = Vec::new();
        for from in ALL {
            scene.listen(world, from).await;
            for withdraws in [true, false] {
                let who = scene.listener(world, from).await;
                let quiet = json!({"quiet_hours": {"from": "12:00", "to": "12:20", "zone": "Europe/Paris"}});
                world.call("PATCH", "/v1/me/preferences").by(&who.person.token).header("If-Match", "*").json(&quiet).send().await.good();
                people.push((from, withdraws, who));
            }
            for (_, _, who) in people.iter().filter(|(of, withdraws, _)| *of == from && (*withdraws || from != From::Link)) {
                scene.happens(world, who, from).await;
            }
            world.drain().await;
        }
        for (from, withdraws, who) in &people {
            assert_eq!(scene.stage.decision(world, who).await["outcome"], "held", "{from:?}");
            if *withdraws {
                scene.choose(world, who, *from, false).await;
            }
        }
        world.advance(minutes(20)).await;
        for (from, withdraws, who) in &people {
            let decision = scene.stage.decision(world, who).await;
            if *withdraws {
                let said = (&decision["outcome"], &decision["reason"]);
                assert_eq!(said, (&json!("release_refused"), &json!("withdrawn")), "{from:?}");
                assert!(scene.stage.messages(world, who).await.is_empty() && scene.stage.arrived(who).is_empty());
            } else {
                assert_eq!(decision["outcome"], "chosen", "{from:?}");
                let messages = scene.stage.messages(world, who).await;
                assert_eq!(proofs(world, &messages[0]).await, both_needs(*from), "{from:?}");
            }
        }
        scene.stage.adds_up(world).await;
    }

    async fn what_was_withdrawn_while_it_waited_ends_as_revoked(world) {
        let scene = Scene::set(world).await;
        let later = Fault::Answer {
            status: 503, reason: "ServiceUnavailable".into(), retry_after_s: Some(60), timestamp_ms: None,
        };
        scene.stage.standin.inject(Rule::always(later));
        let mut people = Vec::new();
        for from in ALL {
            scene.listen(world, from).await;
            for withdraws in [true, false] {
                people.push((from, withdraws, scene.listener(world, from).await));
            }
            for (_, _, who) in people.iter().filter(|(of, withdraws, _)| *of == from && (*withdraws || from != From::Link)) {
                scene.happens(world, who, from).await;
            }
            world.drain().await;
        }
        let mut before = Vec::new();
        for (from, withdraws, who) in &people {
            let message = scene.stage.messages(world, who).await.remove(0);
            assert_eq!(message["state"], "retry_at", "{from:?}");
            scene.choose(world, who, *from, false).await;
            if !*withdraws {
                // Withdrawn and granted again: it goes, under the new record.
                scene.choose(world, who, *from, true).await;
            }
            before.push(message);
        }
        scene.stage.standin.heal();
        world.advance(minutes(2)).await;
        for ((from, withdraws, who), before) in people.iter().zip(before) {
            let message = scene.stage.messages(world, who).await.remove(0);
            if *withdraws {
                assert_eq!(message["state"], "revoked", "{from:?}");
                assert!(scene.stage.arrived(who).is_empty());
            } else {
                assert_eq!(message["state"], "accepted", "{from:?}");
                assert_ne!(message["consent_ids"], before["consent_ids"], "{from:?}");
                assert_eq!(proofs(world, &message).await, both_needs(*from), "{from:?}");
            }
        }
        scene.stage.adds_up(world).await;
    }

    async fn a_person_is_told_under_which_agreement_it_was_matched(world) {
        let scene = Scene::set(world).await;
        scene.listen(world, From::Place).await;
        let who = scene.listener(world, From::Place).await;
        scene.happens(world, &who, From::Place).await;
        world.drain().await;
        let message = scene.stage.messages(world, &who).await.remove(0);
        let why = world.get(&format!("/v1/me/messages/{}/why", message["id"].as_str().unwrap()), &who.person.token).await.good();
        let because = why["because"].to_string();
        assert!(because.contains("“location”") && because.contains("purpose “marketing”"), "{because}");
    }
}
