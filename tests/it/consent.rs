//! Consent: the law against a second reading of it, and the ledger over HTTP.

use crate::world::{Caller, Tenant, World};
use kairos::id::{AppId, ConsentId, PartnerId, UserId};
use kairos::people::consent::{
    Age, Basis, Channel, Extent, LOCATION, Ledger, Need, PARTNER_EVENTS, Purpose, Purposes, Reason, Row, Standing, Version, Voice,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

fn partner(n: u64) -> PartnerId {
    Uuid::from_u64_pair(7, n).into()
}

fn id(n: usize) -> ConsentId {
    Uuid::from_u64_pair(1, n as u64).into()
}

/// `ads` and `news` rest on consent, with a version `2` that had to be asked again; `care` rests on the contract.
fn purposes() -> Purposes {
    let version = |name: &str, re_ask| Version { version: name.to_owned(), re_ask };
    let purpose = |basis| Purpose { basis, versions: vec![version("1", false), version("2", true), version("3", false)] };
    Purposes::new([
        ("ads".to_owned(), purpose(Basis::Consent)),
        ("news".to_owned(), purpose(Basis::Consent)),
        ("care".to_owned(), purpose(Basis::Contract)),
    ])
}

/// A row in short: `+ads` grants, `-ads` withdraws; `@push`, `@email`, `@sms` name the channel, `#1` the partner,
/// `!1` the text version (else 3), `~` the end of its time (now is 1000), `^` a guardian's.
fn row(n: usize, text: &str) -> Row {
    let granted = text.starts_with('+');
    let mut extent = Extent { purpose: String::new(), channel: None, partner: None };
    let mut version = "3".to_owned();
    let (mut expires_ms, mut guardian) = (None, false);
    for word in text[1..].split(' ') {
        match word.split_at(1) {
            ("@", channel) => extent.channel = Channel::named(channel),
            ("#", number) => extent.partner = Some(partner(number.parse().unwrap())),
            ("!", name) => version = name.to_owned(),
            ("~", at) => expires_ms = Some(at.parse().unwrap()),
            ("^", _) => guardian = true,
            _ => extent.purpose = word.to_owned(),
        }
    }
    let text_version = granted.then_some(version);
    Row { id: id(n), extent, granted, text_version, expires_ms, guardian, voice: Voice::User }
}

/// When the law is asked.
const NOW: i64 = 1_000;

fn ledger(rows: &[&str]) -> Ledger {
    Ledger { rows: rows.iter().enumerate().map(|(n, text)| row(n, text)).collect(), age: Age::NotAsked, disabled: false }
}

/// The table of the law: rows in order, then how the app's own need and that of partner 1 stand.
/// A number is the row that allows it.
#[test]
fn the_law_decides_each_case_as_written() {
    const NO: &str = "not_granted";
    const OUT: &str = "withdrawn";
    const ASK: &str = "ask_again";
    const OVER: &str = "expired";
    let cases: &[(&[&str], &str, &str, &str)] = &[
        (&[], NO, NO, "nothing is granted by default"),
        (&["+ads"], "0", NO, "a grant without a partner never covers a partner"),
        (&["+ads #1"], NO, "0", "a partner's grant covers that partner alone"),
        (&["+ads #2"], NO, NO, "and no other partner"),
        (&["+ads @push"], "0", NO, "a grant may name the channel"),
        (&["+ads @email"], NO, NO, "another channel's grant says nothing about push"),
        (&["+news"], NO, NO, "another purpose's grant says nothing"),
        (&["+ads", "-ads"], OUT, OUT, "withdrawing is as easy as granting"),
        (&["+ads", "-news"], "0", NO, "a withdrawal of another purpose ends nothing here"),
        (&["+ads @push", "+ads #1", "-ads"], OUT, OUT, "with only a purpose it ends channel and partner rows too"),
        (&["+ads", "+ads #1", "-ads #1"], "0", OUT, "with a partner, that partner's"),
        (&["+ads", "+ads #1", "-ads #2"], "0", "1", "not another partner's"),
        (&["+ads", "-ads @push"], OUT, OUT, "with a channel, that channel also under grants that name none"),
        (&["+ads", "-ads @email"], "0", NO, "not another channel"),
        (&["-ads @push", "+ads"], OUT, OUT, "a row that names the channel decides before a later one that does not"),
        (&["-ads @push", "+ads @push"], "1", OUT, "among rows that name the channel the latest decides"),
        (&["+ads @push", "-ads", "+ads"], "2", OUT, "a wide grant after a wide withdrawal"),
        (&["+ads @push", "-ads", "+ads @push"], "2", OUT, "a narrow grant after a wide withdrawal"),
        (&["-ads @push", "+ads @push", "-ads", "+ads"], "3", OUT, "an objection that was lifted by name stays lifted"),
        (&["-ads @push", "-ads", "+ads"], OUT, OUT, "an objection by name outlives a wide withdrawal"),
        (&["-ads #1", "+ads #1"], NO, "1", "the latest of the partner's rows"),
        (&["-ads", "+ads #1"], OUT, "1", "a partner's grant after a wide withdrawal"),
        (&["-ads @push", "+ads #1"], OUT, OUT, "a partner's wide grant does not lift an objection to push"),
        (&["-ads @push", "+ads #1 @push"], OUT, "1", "one that names push does"),
        (&["+ads !1"], ASK, NO, "a text that must be asked again ends older grants"),
        (&["+ads !2"], "0", NO, "the version itself counts"),
        (&["+ads !nine"], ASK, NO, "a version that was never published counts for nothing"),
        (&["+ads !1", "+ads !3"], "1", NO, "once asked again it is granted"),
        (&["+ads @push !1", "+ads !3"], "1", NO, "an outdated row by name does not stand in the way"),
        (&["+ads !3", "+ads @push !1"], "0", NO, "nor when it was brought in later"),
        (&["+ads !1", "-ads"], OUT, OUT, "withdrawn is withdrawn, whatever the version"),
        (&["+ads !3", "+ads !1"], "0", NO, "an outdated grant takes nothing away"),
        (&["-ads @push", "+ads @push !1", "+ads !3"], OUT, OUT, "and lifts no objection"),
        (&["-ads", "+ads !1"], ASK, OUT, "what is missing is said: the new text"),
        (&["+ads", "+ads #1", "-ads #1 @push"], "0", OUT, "channel and partner at once"),
        (&["+ads ~1001"], "0", NO, "a grant counts to the last millisecond of its time"),
        (&["+ads ~1000"], OVER, NO, "and not at the end of it"),
        (&["+ads #1 ~1000"], NO, OVER, "a partner's grant too"),
        (&["+ads", "+ads ~1000"], OVER, NO, "a grant that is over had taken the place of the one before it"),
        (&["+ads ~1000", "+ads"], "1", NO, "given again it counts again"),
        (&["+ads", "+ads @push ~1000"], "0", NO, "the wide grant stands on its own"),
        (&["-ads @push", "+ads @push ~1000", "+ads"], OUT, OUT, "an objection was lifted for that time only"),
        (&["+ads", "-ads @push", "+ads @push", "+ads @push ~1000"], OVER, OUT, "nor does the wide grant from before it return"),
        (&["-ads", "+ads ~1000"], OVER, OUT, "what is missing is said: to ask once more"),
        (&["+ads ~1000", "-ads"], OUT, OUT, "withdrawn is withdrawn, over or not"),
        (&["+ads !1 ~1000"], ASK, NO, "the text comes before the time"),
        (&["+ads @sms #1", "-ads @push"], OUT, OUT, "what was never granted for push is not, and is said to be withdrawn"),
    ];
    for (rows, own, partners, why) in cases {
        let ledger = ledger(rows);
        let word = |need: &Need| match ledger.standing(&purposes(), need, NOW) {
            Standing::Granted(by) => rows.iter().enumerate().find(|(n, _)| id(*n) == by).unwrap().0.to_string(),
            Standing::NotNeeded => "not_needed".to_owned(),
            Standing::Refused(reason) => reason.name().to_owned(),
        };
        assert_eq!(word(&Need::of("ads")), *own, "{why}: the app's need after {rows:?}");
        assert_eq!(word(&Need::of_partner("ads", partner(1))), *partners, "{why}: the partner's need after {rows:?}");
    }
}

#[test]
fn a_contract_needs_no_consent_but_a_partners_offer_always_does() {
    let standing = |rows: &[&str], need: Need| ledger(rows).standing(&purposes(), &need, NOW);
    assert_eq!(standing(&[], Need::of("care")), Standing::NotNeeded);
    assert_eq!(standing(&["-care"], Need::of("care")), Standing::NotNeeded);
    assert_eq!(standing(&["+care"], Need::of_partner("care", partner(1))), Standing::Refused(Reason::NotGranted));
    assert_eq!(standing(&["+care #1"], Need::of_partner("care", partner(1))), Standing::Granted(id(0)));
}

#[test]
fn built_in_purposes_exist_and_unknown_ones_are_refused() {
    let all = Purposes::new([]);
    let ask = |rows: &[&str], need: Need| ledger(rows).standing(&all, &need, NOW);
    assert_eq!(ask(&[], Need::of(LOCATION)), Standing::Refused(Reason::NotGranted));
    assert_eq!(ask(&["+location !1"], Need::of(LOCATION)), Standing::Granted(id(0)));
    assert_eq!(ask(&["+partner_events #1 !1"], Need::of_partner(PARTNER_EVENTS, partner(1))), Standing::Granted(id(0)));
    assert_eq!(ask(&["+partner_events !1"], Need::of_partner(PARTNER_EVENTS, partner(1))), Standing::Refused(Reason::NotGranted));
    assert_eq!(ask(&["+ads"], Need::of("ads")), Standing::Refused(Reason::UnknownPurpose));
}

#[test]
fn a_withdrawal_lists_the_grants_that_it_ends_in_whole() {
    let before = ledger(&["+ads", "+ads @push", "+ads @email #1", "+ads #1", "+ads #1", "+news", "-ads @sms"]);
    let ended = |text: &str| before.ended_by(&row(9, text).extent, NOW).iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!(ended("-ads"), [id(0), id(1), id(2), id(4)], "all that stand; row 3 was replaced by row 4");
    assert_eq!(ended("-ads @push"), [id(1)], "wide grants go on for other channels");
    assert_eq!(ended("-ads #1"), [id(2), id(4)]);
    assert_eq!(ended("-ads #1 @email"), [id(2)]);
    assert_eq!(ended("-ads #2"), []);
}

fn any_row() -> impl Strategy<Value = Row> {
    let channel = prop_oneof![3 => Just(None), 2 => Just(Some(Channel::Push)), 1 => Just(Some(Channel::Email))];
    let partner_id = prop_oneof![3 => Just(None), 2 => Just(Some(partner(1))), 1 => Just(Some(partner(2)))];
    let version = prop_oneof![1 => Just("1"), 4 => Just("3")];
    let expires_ms = prop_oneof![4 => Just(None), 1 => Just(Some(NOW)), 1 => Just(Some(NOW + 1))];
    (prop::bool::ANY, prop::bool::weighted(0.8), channel, partner_id, version, expires_ms).prop_map(
        |(granted, ads, channel, partner, version, expires_ms)| Row {
            id: id(0),
            extent: Extent { purpose: if ads { "ads" } else { "news" }.to_owned(), channel, partner },
            granted,
            text_version: granted.then(|| version.to_owned()),
            expires_ms: expires_ms.filter(|_| granted),
            guardian: false,
            voice: Voice::User,
        },
    )
}

fn any_ledger() -> impl Strategy<Value = Ledger> {
    prop::collection::vec(any_row(), 0..12).prop_map(|mut rows| {
        rows.iter_mut().enumerate().for_each(|(n, row)| row.id = id(n));
        Ledger { rows, age: Age::NotAsked, disabled: false }
    })
}

fn needs() -> Vec<Need> {
    let of = |purpose: &str| [Need::of(purpose), Need::of_partner(purpose, partner(1)), Need::of_partner(purpose, partner(2))];
    [of("ads"), of("news")].concat()
}

/// The law read the other way round: a grant allows when nothing that came after it, and no objection by name, defeats it.
fn allowed_by_model(rows: &[Row], need: &Need) -> bool {
    let speaks = |row: &Row| row.extent.purpose == need.purpose && row.extent.channel.is_none_or(|c| c == Channel::Push);
    let of_partner = |row: &Row| row.extent.partner == need.partner;
    let withdraws = |row: &Row| !row.granted && speaks(row) && (row.extent.partner.is_none() || of_partner(row));
    let given = |row: &Row| row.granted && speaks(row) && of_partner(row) && row.text_version.as_deref() != Some("1");
    let grants = |row: &Row| given(row) && row.expires_ms != Some(NOW);
    let by_name = |row: &Row| row.extent.channel.is_some();
    let objection = rows.iter().rfind(|row| by_name(row) && (withdraws(row) || grants(row))).is_some_and(|row| !row.granted);
    rows.iter().enumerate().any(|(n, row)| {
        let replaced = |later: &Row| given(later) && by_name(later) == by_name(row);
        // A grant in the same place that is over by now had replaced it; one that counts decides in its stead.
        let stands = !rows[n + 1..].iter().any(|later| withdraws(later) || replaced(later) && !grants(later));
        grants(row) && stands && (by_name(row) || !objection)
    })
}

proptest! {
    #[test]
    fn the_law_agrees_with_a_second_reading_of_it(ledger in any_ledger()) {
        for need in needs() {
            let permits = ledger.standing(&purposes(), &need, NOW).permits();
            prop_assert_eq!(permits, allowed_by_model(&ledger.rows, &need), "{:?}", need);
        }
    }

    #[test]
    fn a_record_that_allows_is_a_matching_grant_that_nothing_later_withdrew(ledger in any_ledger()) {
        for need in needs() {
            if let Standing::Granted(by) = ledger.standing(&purposes(), &need, NOW) {
                let at = ledger.rows.iter().position(|row| row.id == by).unwrap();
                let row = &ledger.rows[at];
                prop_assert!(row.granted && row.extent.purpose == need.purpose && row.extent.partner == need.partner);
                let wide = |later: &Row| !later.granted && later.extent.purpose == need.purpose && later.extent.channel.is_none()
                    && (later.extent.partner.is_none() || later.extent.partner == need.partner);
                prop_assert!(!ledger.rows[at..].iter().any(wide));
            }
        }
    }

    #[test]
    fn a_withdrawal_of_a_purpose_leaves_nothing_of_it_and_touches_nothing_else(ledger in any_ledger()) {
        let mut after = ledger.clone();
        after.rows.push(row(99, "-ads"));
        for need in needs() {
            let now = after.standing(&purposes(), &need, NOW);
            if need.purpose == "ads" {
                prop_assert_eq!(now, Standing::Refused(Reason::Withdrawn));
            } else {
                prop_assert_eq!(now, ledger.standing(&purposes(), &need, NOW));
            }
        }
    }

    #[test]
    fn a_choice_never_implies_one_that_it_does_not_name(ledger in any_ledger(), choice in any_row()) {
        let mut after = ledger.clone();
        after.rows.push(Row { id: id(99), ..choice.clone() });
        for need in needs() {
            let (was, is) = (ledger.standing(&purposes(), &need, NOW).permits(), after.standing(&purposes(), &need, NOW).permits());
            let same_partner = choice.extent.partner == need.partner;
            if choice.granted && (choice.extent.purpose != need.purpose || !same_partner) {
                prop_assert_eq!(was, is, "a grant of {:?} changed {:?}", choice.extent, need);
            }
            prop_assert!(choice.granted || !is || was, "a withdrawal allowed {:?}", need);
        }
    }

    #[test]
    fn what_a_withdrawal_lists_is_what_no_longer_stands(ledger in any_ledger(), choice in any_row()) {
        let withdrawal = Row { id: id(99), granted: false, text_version: None, expires_ms: None, ..choice };
        let listed: Vec<ConsentId> = ledger.ended_by(&withdrawal.extent, NOW).iter().map(|r| r.id).collect();
        let before: Vec<ConsentId> = ledger.in_force(NOW).iter().map(|r| r.id).collect();
        let mut after = ledger.clone();
        after.rows.push(withdrawal);
        let after: Vec<ConsentId> = after.in_force(NOW).iter().map(|r| r.id).collect();
        let gone: Vec<ConsentId> = before.into_iter().filter(|id| !after.contains(id)).collect();
        prop_assert_eq!(listed, gone);
    }
}

/// Signs an anonymous user in.
pub async fn signed_in(world: &World, tenant: &Tenant) -> (UserId, Caller) {
    let session = world.post("/v1/auth/anonymous", &tenant.phone, json!({})).await.expect(200);
    let user = session["user"]["id"].as_str().unwrap().parse().unwrap();
    (user, Caller::Bearer(session["access_token"].as_str().unwrap().to_owned()))
}

/// Declares the purpose `ads`.
pub async fn declare_ads(world: &World, tenant: &Tenant) {
    let body =
        json!({"key": "ads", "name": "Offers", "basis": "consent", "version": "1", "texts": {"en": "We may send you offers."}});
    world.post("/v1/purposes", &tenant.server, body).await.expect(201);
}

async fn sql(world: &World, text: &str) -> kairos::error::Result<()> {
    let text = text.to_owned();
    world.kairos.platform.store.write(move |conn| conn.batch(&text)).await
}

/// A partner of an app.
pub async fn add_partner(world: &World, app: AppId) -> PartnerId {
    let id: PartnerId = world.kairos.platform.ids.next();
    let text = format!("insert into partners (app_id, id, name, created_ms) values ('{app}', '{id}', 'Hotel', 0)");
    sql(world, &text).await.unwrap();
    id
}

fn grant(more: &Value) -> Value {
    let mut body =
        json!({"purpose": "ads", "granted": true, "text_version": "1", "evidence": {"screen": "welcome", "locale": "en"}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// How a purpose stands, out of a page of `/v1/me/consents`.
pub fn state_of<'a>(page: &'a Value, purpose: &str) -> &'a Value {
    page["items"].as_array().unwrap().iter().find(|item| item["purpose"] == purpose).unwrap()
}

both! {
    async fn granting_and_withdrawing_are_one_call_each_and_the_history_keeps_both(world) {
        declare_ads(world, &world.app).await;
        let (_, me) = signed_in(world, &world.app).await;
        let before = world.get("/v1/me/consents", &me).await.expect(200);
        assert_eq!(state_of(&before, "ads")["standing"], "refused");
        assert_eq!(state_of(&before, "ads")["reason"], "not_granted");
        assert_eq!(state_of(&before, "ads")["texts"]["en"], "We may send you offers.");
        assert_eq!(state_of(&before, "location")["text_version"], "1");

        let made = world.post("/v1/me/consents", &me, grant(&json!({}))).await.expect(201);
        assert_eq!((&made["granted"], &made["source"], &made["effective_at"]), (&json!(true), &json!("user"), &json!(world.time(0))));
        assert_eq!(state_of(&world.get("/v1/me/consents", &me).await.expect(200), "ads")["standing"], "granted");
        let again = world.post("/v1/me/consents", &me, grant(&json!({}))).await.expect(200);
        assert_eq!(again["id"], made["id"], "the same choice again is the record that says so already");

        let gone = world.post("/v1/me/consents", &me, json!({"purpose": "ads", "granted": false})).await.expect(201);
        assert_eq!(gone["ended"][0]["id"], made["id"]);
        let after = world.get("/v1/me/consents", &me).await.expect(200);
        assert_eq!(state_of(&after, "ads")["reason"], "withdrawn");
        assert_eq!(state_of(&after, "ads")["grants"], json!([]));

        let first = world.get("/v1/me/consents/history?limit=1", &me).await.expect(200);
        assert_eq!(first["items"][0]["evidence"], json!({"screen": "welcome", "locale": "en"}));
        let next = first["next_cursor"].as_str().unwrap();
        let second = world.get(&format!("/v1/me/consents/history?cursor={next}"), &me).await.expect(200);
        assert_eq!((&second["items"][0]["id"], &second["next_cursor"]), (&gone["id"], &Value::Null));
    }

    async fn a_withdrawal_with_only_a_purpose_ends_channel_and_partner_rows(world) {
        declare_ads(world, &world.app).await;
        let (_, me) = signed_in(world, &world.app).await;
        let partner = add_partner(world, world.app.id).await;
        let wide = world.post("/v1/me/consents", &me, grant(&json!({}))).await.expect(201);
        let push = world.post("/v1/me/consents", &me, grant(&json!({"channel": "push"}))).await.expect(201);
        let theirs = world.post("/v1/me/consents", &me, grant(&json!({"partner": partner}))).await.expect(201);
        let gone = world.post("/v1/me/consents", &me, json!({"purpose": "ads", "granted": false})).await.expect(201);
        let ended: Vec<&Value> = gone["ended"].as_array().unwrap().iter().map(|r| &r["id"]).collect();
        assert_eq!(ended, [&wide["id"], &push["id"], &theirs["id"]]);
    }

    async fn a_grant_that_proves_nothing_is_refused_by_its_field(world) {
        declare_ads(world, &world.app).await;
        let (_, me) = signed_in(world, &world.app).await;
        let other_app = world.new_app("Other").await;
        let foreign = add_partner(world, other_app.id).await;
        let cases = [
            (grant(&json!({"purpose": "spying"})), "purpose"),
            (grant(&json!({"text_version": "0"})), "text_version"),
            (grant(&json!({"text_version": null})), "text_version"),
            (grant(&json!({"text_version": ""})), "text_version"),
            (grant(&json!({"evidence": null})), "evidence"),
            (grant(&json!({"evidence": {}})), "evidence"),
            (grant(&json!({"evidence": {"screen": "x".repeat(5_000)}})), "evidence"),
            (grant(&json!({"evidence": "yes"})), "evidence"),
            (grant(&json!({"partner": foreign})), "partner"),
            (grant(&json!({"partner": "ptn_1"})), "partner"),
            (grant(&json!({"channel": "pigeon"})), "channel"),
            (grant(&json!({"granted": "yes"})), "granted"),
            (grant(&json!({"at": "2020-01-01T00:00:00Z"})), "at"),
            (grant(&json!({"source": "server"})), "source"),
            (json!({"granted": true}), "purpose"),
            (json!({"purpose": "ads", "granted": false, "text_version": "7"}), "text_version"),
        ];
        for (body, field) in cases {
            world.post("/v1/me/consents", &me, body).await.refused_field(400, "validation_failed", field);
        }
        assert_eq!(world.number("select count(*) from consents").await, 0);
    }

    async fn a_text_that_must_be_asked_again_ends_what_was_granted_before(world) {
        declare_ads(world, &world.app).await;
        let (_, me) = signed_in(world, &world.app).await;
        world.post("/v1/me/consents", &me, grant(&json!({}))).await.expect(201);
        let publish = |version: &str, re_ask: bool| {
            world.post("/v1/purposes/ads/versions", &world.app.server,
                json!({"version": version, "texts": {"en": "We may send you more offers."}, "re_ask": re_ask}))
        };
        let epoch = || world.number("select coalesce(sum(value), 0) from epochs where scope = 'app_consent'");

        publish("2", false).await.expect(201);
        assert_eq!(epoch().await, 0);
        assert_eq!(state_of(&world.get("/v1/me/consents", &me).await.expect(200), "ads")["standing"], "granted");
        publish("3", true).await.expect(201);
        assert_eq!(epoch().await, 1, "queued messages look again");
        let asked = world.get("/v1/me/consents", &me).await.expect(200);
        assert_eq!((&state_of(&asked, "ads")["reason"], &state_of(&asked, "ads")["text_version"]), (&json!("ask_again"), &json!("3")));

        world.post("/v1/me/consents", &me, grant(&json!({}))).await.refused_field(400, "validation_failed", "text_version");
        world.post("/v1/me/consents", &me, grant(&json!({"text_version": "3"}))).await.expect(201);
        assert_eq!(state_of(&world.get("/v1/me/consents", &me).await.expect(200), "ads")["standing"], "granted");
        publish("3", false).await.refused_field(409, "already_exists", "version");
    }

    async fn the_database_itself_refuses_to_rewrite_the_ledger(world) {
        declare_ads(world, &world.app).await;
        let (user, me) = signed_in(world, &world.app).await;
        world.post("/v1/me/consents", &me, grant(&json!({}))).await.expect(201);
        for text in ["update consents set granted = false", "update consents set at_ms = 0", "delete from consents"] {
            assert!(sql(world, text).await.is_err(), "{text}");
        }
        assert_eq!(world.number("select count(*) from consents where granted").await, 1);
        // Erasure is the one way out: the rows may go after their user.
        sql(world, &format!("delete from users where id = '{user}'")).await.unwrap();
        sql(world, "delete from consents").await.unwrap();
    }

    async fn a_withdrawal_is_answered_when_no_send_is_in_flight_any_more(world) {
        declare_ads(world, &world.app).await;
        let (user, me) = signed_in(world, &world.app).await;
        world.post("/v1/me/consents", &me, grant(&json!({}))).await.expect(201);
        let fence = world.kairos.platform.fence.clone();
        let (flight, bystander) = (fence.enter(world.app.id, user), fence.enter(world.app.id, Uuid::from_u64_pair(2, 2).into()));

        let request = world.call("POST", "/v1/me/consents").by(&me).json(&json!({"purpose": "ads", "granted": false}));
        let withdrawal = tokio::spawn(request.send());
        while flight.may_go() {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.number("select count(*) from consents where not granted").await, 1, "it is on disk before sends are told");
        world.clock.advance(std::time::Duration::from_millis(70));
        for _ in 0..20 {
            world.get("/livez", &Caller::Nobody).await;
        }
        assert!(!withdrawal.is_finished(), "a send is still in flight");
        assert!(bystander.may_go(), "another user's sends go on");
        drop(flight);
        let answer = withdrawal.await.unwrap().expect(201);
        assert_eq!(answer["effective_at"], world.time(0), "the answer speaks of the time after the last send");
    }

    async fn a_new_text_to_be_asked_waits_for_the_sends_of_the_whole_app(world) {
        declare_ads(world, &world.app).await;
        let other_app = world.new_app("Other").await;
        let fence = world.kairos.platform.fence.clone();
        let user: UserId = Uuid::from_u64_pair(3, 3).into();
        let (flight, elsewhere) = (fence.enter(world.app.id, user), fence.enter(other_app.id, user));
        let body = json!({"version": "2", "texts": {"en": "Again?"}, "re_ask": true});
        let publication = tokio::spawn(world.call("POST", "/v1/purposes/ads/versions").by(&world.app.server).json(&body).send());
        while flight.may_go() {
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            world.get("/livez", &Caller::Nobody).await;
        }
        assert!(!publication.is_finished() && elsewhere.may_go());
        drop(flight);
        publication.await.unwrap().expect(201);
    }

    async fn sixty_four_choices_at_once_leave_one_order(world) {
        declare_ads(world, &world.app).await;
        let (user, me) = signed_in(world, &world.app).await;
        let calls = (0..64).map(|n| {
            let body = if n % 2 == 0 { grant(&json!({})) } else { json!({"purpose": "ads", "granted": false}) };
            tokio::spawn(world.call("POST", "/v1/me/consents").by(&me).json(&body).send())
        });
        let calls: Vec<_> = calls.collect();
        let mut written = 0;
        for call in calls {
            let answer = call.await.unwrap();
            assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
            written += i64::from(answer.status == 201);
        }
        assert_eq!(world.number("select count(*) from consents").await, written);
        assert_eq!(world.number("select max(seq) from consents").await, written, "1, 2, 3, … without a gap");
        assert_eq!(world.number(&format!("select value from epochs where key = '{user}'")).await, 64);
        let history = world.get("/v1/me/consents/history?limit=500", &me).await.expect(200);
        let grants: Vec<bool> = history["items"].as_array().unwrap().iter().map(|r| r["granted"] == true).collect();
        assert!(grants.windows(2).all(|pair| pair[0] != pair[1]), "a choice is written only when it changes something");
    }

    async fn support_may_record_choices_and_older_texts_count_as_the_law_says(world) {
        declare_ads(world, &world.app).await;
        let (user, me) = signed_in(world, &world.app).await;
        let path = format!("/v1/users/{user}/consents");
        world.post("/v1/purposes/ads/versions", &world.app.server, json!({"version": "2", "texts": {"en": "x"}, "re_ask": true})).await.expect(201);
        let old = world.post(&path, &world.app.server, grant(&json!({}))).await.expect(201);
        assert!(old["source"].as_str().unwrap().starts_with("server:key_"));
        assert_eq!(state_of(&world.get(&path, &world.app.server).await.expect(200), "ads")["reason"], "ask_again");
        world.post(&path, &world.app.server, grant(&json!({"text_version": "9"}))).await.refused_field(400, "validation_failed", "text_version");
        world.post(&path, &world.app.server, grant(&json!({"text_version": "2"}))).await.expect(201);
        assert_eq!(state_of(&world.get("/v1/me/consents", &me).await.expect(200), "ads")["standing"], "granted");
        let history = world.get(&format!("{path}/history"), &world.app.server).await.expect(200);
        assert_eq!(history["items"].as_array().unwrap().len(), 2);
    }

    async fn nothing_of_another_app_is_seen_or_changed(world) {
        declare_ads(world, &world.app).await;
        let (user, _) = signed_in(world, &world.app).await;
        let other = world.new_app("Other").await;
        let stranger = &other.server;
        world.get(&format!("/v1/users/{user}/consents"), stranger).await.refused(404, "not_found");
        world.get(&format!("/v1/users/{user}/consents/history"), stranger).await.refused(404, "not_found");
        let body = json!({"purpose": "location", "granted": false});
        world.post(&format!("/v1/users/{user}/consents"), stranger, body).await.refused(404, "not_found");
        world.get("/v1/purposes/ads", stranger).await.refused(404, "not_found");
        world.get("/v1/purposes/ads/versions", stranger).await.refused(404, "not_found");
        world.patch("/v1/purposes/ads", stranger, json!({"name": "Mine"})).await.refused(404, "not_found");
        let body = json!({"version": "2", "texts": {"en": "x"}, "re_ask": true});
        world.post("/v1/purposes/ads/versions", stranger, body).await.refused(404, "not_found");
        let keys = world.get("/v1/purposes", stranger).await.expect(200);
        let keys: Vec<&Value> = keys["items"].as_array().unwrap().iter().map(|p| &p["key"]).collect();
        assert_eq!(keys, ["location", "partner_events"]);
        assert_eq!(world.number("select count(*) from consents").await, 0);
    }

    async fn purposes_are_declared_once_and_checked(world) {
        let server = &world.app.server;
        declare_ads(world, &world.app).await;
        let good = json!({"key": "care", "name": "Service", "basis": "contract", "version": "1", "texts": {"en": "Your flight."}});
        let with = |more: Value| {
            let mut body = good.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        for (body, field) in [
            (with(json!({"key": "Care"})), "key"),
            (with(json!({"name": " "})), "name"),
            (with(json!({"basis": "interest"})), "basis"),
            (with(json!({"version": ""})), "version"),
            (with(json!({"texts": {}})), "texts"),
            (with(json!({"texts": {"english!": "x"}})), "texts"),
            (with(json!({"texts": {"en": " "}})), "texts.en"),
            (with(json!({"re_ask": true})), "re_ask"),
            (with(json!({"created_at": "2020-01-01T00:00:00Z"})), "created_at"),
        ] {
            world.post("/v1/purposes", server, body).await.refused_field(400, "validation_failed", field);
        }
        let twice = r#"{"key":"care","name":"a","basis":"contract","version":"1","texts":{"en":"a","en":"b"}}"#;
        let answer = world.call("POST", "/v1/purposes").by(server).text("application/json", twice).send().await;
        answer.refused(400, "validation_failed");
        let made = world.post("/v1/purposes", server, good.clone()).await.expect(201);
        assert_eq!((&made["text_version"], &made["built_in"]), (&json!("1"), &json!(false)));
        world.post("/v1/purposes", server, good.clone()).await.refused(409, "already_exists");
        world.post("/v1/purposes", server, with(json!({"key": "location"}))).await.refused(409, "already_exists");
        world.patch("/v1/purposes/care", server, json!({"name": "Care"})).await.expect(200);
        assert_eq!(world.get("/v1/purposes/care", server).await.expect(200)["name"], "Care");
        world.patch("/v1/purposes/location", server, json!({"name": "x"})).await.refused(404, "not_found");
        world.get("/v1/purposes/%00", server).await.refused(404, "not_found");
        let page = world.get("/v1/purposes?limit=2", server).await.expect(200);
        let rest = world.get(&format!("/v1/purposes?cursor={}", page["next_cursor"].as_str().unwrap()), server).await.expect(200);
        assert_eq!((page["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (2, 2));
        world.get("/v1/purposes?cursor=%00", server).await.refused_field(400, "validation_failed", "cursor");
        world.post("/v1/purposes/location/versions", server, json!({"version": "2", "texts": {"fr": "Où ?"}})).await.expect(201);
        assert_eq!(world.get("/v1/purposes/location", server).await.expect(200)["text_version"], "2");
        let versions = world.get("/v1/purposes/location/versions?limit=1", server).await.expect(200);
        assert_eq!(versions["items"][0]["version"], "1");
    }
}
