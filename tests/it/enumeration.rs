//! Whoever asks with an address learns from no answer whether it has an account, and what became of it.

use crate::world::{Answer, Person, Tenant, World};
use kairos::config::Secret;
use serde_json::{Value, json};

const GOOD: &str = "correct horse battery";
const OTHER: &str = "staple of horses";
/// What an address can be, and an address that is it.
const STATES: [(&str, &str); 6] = [
    ("unknown", "nobody@example.com"),
    ("claimed", "claims@example.com"),
    ("claimed twice", "twice@example.com"),
    ("proven", "proven@example.com"),
    ("disabled", "banned@example.com"),
    ("leaving", "leaves@example.com"),
];
/// Headers whose values differ from answer to answer, whatever was asked.
const OWN: [&str; 5] = ["date", "x-request-id", "ratelimit", "x-ratelimit-remaining", "ratelimit-remaining"];

fn hashes(world: &World) -> u64 {
    world.kairos.accounts().hasher().count()
}

/// A body without what is made anew for every answer: only its form and its length.
fn form(value: &Value, name: &str) -> Value {
    match value {
        Value::Object(all) => {
            all.iter().map(|(key, value)| (key.clone(), form(value, key))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(all) => all.iter().map(|value| form(value, name)).collect(),
        Value::String(text) if name.ends_with("id") || name.ends_with("token") => format!("{} characters", text.len()).into(),
        other => other.clone(),
    }
}

/// Everything of an answer that could tell.
fn seen(answer: &Answer) -> String {
    let headers: Vec<String> =
        answer.headers().filter(|(name, _)| !OWN.contains(name)).map(|(n, v)| format!("{n}: {v}")).collect();
    format!("{} {} {}", answer.status, headers.join(" | "), form(&answer.json(), ""))
}

async fn sign_up(world: &World, tenant: &Tenant, email: &str, password: &str) -> Person {
    let pair = json!({ "email": email, "password": password });
    Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, pair).await.expect(200))
}

async fn proven(world: &World, tenant: &Tenant, email: &str) -> Person {
    let person = sign_up(world, tenant, email, GOOD).await;
    let code = world.letter(tenant, email).await.code();
    Person::from(&world.post("/v1/auth/email/verify", &person.token, json!({ "code": code })).await.expect(200))
}

/// An app that has an address of each kind.
async fn town(world: &mut World) -> Tenant {
    world.restart(|config| config.sign_in_per_account_per_minute = 1_000).await;
    let tenant = world.new_app("Louvre").await;
    sign_up(world, &tenant, "claims@example.com", GOOD).await;
    sign_up(world, &tenant, "twice@example.com", GOOD).await;
    sign_up(world, &tenant, "twice@example.com", "battery of staples").await;
    proven(world, &tenant, "proven@example.com").await;
    let banned = proven(world, &tenant, "banned@example.com").await;
    let ban = format!("update users set disabled = true where id = '{}'", banned.id);
    world.kairos.platform.store.write(move |conn| conn.batch(&ban)).await.unwrap();
    let leaver = proven(world, &tenant, "leaves@example.com").await;
    world.delete("/v1/me", &leaver.token).await.expect(202);
    tenant
}

/// Asks the same for an address of each kind, and requires one answer and one cost.
async fn alike(world: &World, what: &str, hashes_each: u64, ask: impl AsyncFn(&str) -> Answer) -> Vec<Answer> {
    let mut all = Vec::new();
    let mut first = None;
    for (state, email) in STATES {
        let before = hashes(world);
        let answer = ask(email).await;
        assert_eq!(hashes(world) - before, hashes_each, "{what}, {state}: hashes");
        assert!(!answer.text().contains(email), "{what}, {state}: {}", answer.text());
        let now = seen(&answer);
        let first = first.get_or_insert_with(|| now.clone());
        assert_eq!(now, *first, "{what}: {state} can be told from {}", STATES[0].0);
        all.push(answer);
    }
    all
}

both! {
    async fn an_address_of_any_kind_gets_the_same_answers_at_the_same_cost(world) {
        let tenant = town(world).await;
        let post = async |path: &str, body: Value| world.call("POST", path).by(&tenant.phone).json(&body).send().await;
        let pair = |email: &str| json!({ "email": email, "password": OTHER });
        let wrong = alike(world, "sign-in", 1, async |email| post("/v1/auth/sign-in", pair(email)).await).await;
        wrong[0].refused(401, "invalid_credentials");
        // With the right password too, where somebody has put the user out.
        let banned = post("/v1/auth/sign-in", json!({ "email": "banned@example.com", "password": GOOD })).await;
        assert_eq!(seen(&banned), seen(&wrong[0]));

        let ask = async |path: &str, email: &str| post(path, json!({ "email": email })).await;
        for (request, redeem) in [
            ("/v1/auth/email-code/request", "/v1/auth/email-code/verify"),
            ("/v1/auth/password/forgot", "/v1/auth/password/reset"),
        ] {
            let asked = alike(world, request, 0, async |email| ask(request, email).await).await;
            assert_eq!(asked[0].status, 202, "{}", asked[0].text());
            let ids: Vec<Value> = asked.iter().map(|answer| answer.json()["challenge_id"].clone()).collect();
            let guess = async |email: &str| {
                let at = STATES.iter().position(|(_, address)| *address == email).unwrap();
                let mut body = json!({ "challenge_id": ids[at], "code": "000000" });
                if redeem.ends_with("reset") {
                    body["new_password"] = OTHER.into();
                }
                post(redeem, body).await
            };
            // A new password costs a hash where there is a code that it could go with.
            let costs = u64::from(redeem.ends_with("reset"));
            for answer in alike(world, redeem, costs, guess).await {
                answer.refused(401, "invalid_secret");
            }
        }

        let made = alike(world, "sign-up", 1, async |email| post("/v1/auth/sign-up", pair(email)).await).await;
        let sessions: Vec<Person> = made.iter().map(|answer| Person::from(&answer.expect(200))).collect();
        // Each is somebody of their own who has nothing but a claim, and may ask for a mail like everybody else.
        let by_session = async |email: &str| {
            let at = STATES.iter().position(|(_, address)| *address == email).unwrap();
            world.post("/v1/auth/email/verify/request", &sessions[at].token, json!({})).await
        };
        assert_eq!(alike(world, "email/verify/request", 0, by_session).await[0].status, 202);
    }

    async fn whoever_changes_their_address_learns_nothing_of_the_one_they_name(world) {
        let tenant = town(world).await;
        let mut people = Vec::new();
        for n in 0..STATES.len() {
            people.push(proven(world, &tenant, &format!("eve{n}@example.com")).await);
        }
        let change = async |email: &str| {
            let at = STATES.iter().position(|(_, address)| *address == email).unwrap();
            world.post("/v1/auth/email/change", &people[at].token, json!({ "email": email, "password": GOOD })).await
        };
        let asked = alike(world, "email/change", 2, change).await;
        assert!([202, 400].contains(&asked[0].status), "{}", asked[0].text());
    }

    async fn a_mail_is_sent_after_the_answer_and_only_to_whoever_it_concerns(world) {
        let tenant = town(world).await;
        // Nobody listens there: whoever waited for it would fail.
        world
            .restart(|config| {
                config.smtp_url = Secret::new("smtp://127.0.0.1:1");
                config.mail_from = "no-reply@louvre.example".to_owned();
            })
            .await;
        let waiting = "select count(*) from mails where state = 'waiting'";
        for (state, email) in STATES {
            let before = world.number(waiting).await;
            world.post("/v1/auth/password/forgot", &tenant.phone, json!({ "email": email })).await.expect(202);
            assert_eq!(world.number(waiting).await - before, i64::from(state != "unknown"), "{state}");
        }
        world.may_leave_work();
    }
}
