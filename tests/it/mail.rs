//! Mails to account holders, judged by a real mail server: what arrives, when, how often, and what nobody can read.

#[path = "mail/server.rs"]
pub mod server;

use crate::world::{Caller, Tenant, World};
use kairos::clock::{Clock, DAY_MS, HOUR_MS, MINUTE_MS};
use kairos::config::{Config, Secret};
use kairos::id::{AppId, UserId};
use kairos::mail::{self, Content, Factor, Mail, Name, Proof, Shown, Template};
use kairos::serve::Kairos;
use serde_json::json;
use server::{MailServer, Received, Say, Security};
use std::process::{Command, Stdio};
use std::time::Duration;

const CODE: &str = "271828";
const TOKEN: &str = "t0kenT0KENt0ken-_t0ken";
const TO: &str = "ada@example.com";

/// A world that sends its mail through this server.
pub async fn through(world: &mut World, server: &MailServer, user: &str) {
    let ca = world.database.folder().join("mail-ca.pem");
    std::fs::write(&ca, server.ca_pem()).unwrap();
    let url = server.url(user);
    world
        .restart(|config| {
            config.smtp_url = Secret::new(url);
            config.mail_from = "no-reply@airport.example".to_owned();
            config.ca_file = ca.display().to_string();
            config.smtp_timeout_ms = 20_000;
        })
        .await;
}

async fn open(world: &mut World, security: Security) -> MailServer {
    let server = MailServer::open(security).await;
    through(world, &server, "").await;
    server
}

fn proof(world: &World, life_ms: i64) -> Proof {
    Proof { code: Secret::new(CODE), token: Secret::new(TOKEN), expires_ms: world.now_ms() + life_ms }
}

fn sign_in(world: &World) -> Template {
    Template::SignIn(proof(world, 10 * MINUTE_MS))
}

fn letter(to: &str, template: Template) -> Mail {
    Mail { to: to.to_owned(), template, locale: None, user: None }
}

/// A mail about this user, for tests of the API as a whole; answers its id.
pub async fn one_of(world: &World, tenant: &Tenant, user: &str) -> String {
    let user_id: UserId = user.parse().unwrap();
    queue_in(&world.kairos, tenant.id, Mail { user: Some(user_id), ..letter(TO, Template::PasswordChanged) }).await;
    let listed = world.get(&format!("/v1/mails?user={user}"), &tenant.server).await.expect(200);
    listed["items"][0]["id"].as_str().unwrap().to_owned()
}

async fn queue_in(kairos: &Kairos, app: AppId, mail: Mail) {
    let platform = kairos.platform.clone();
    let store = kairos.platform.store.clone();
    store.write(move |conn| mail::queue(conn, &platform, app, &mail)).await.unwrap();
}

async fn queue(world: &World, mail: Mail) {
    queue_in(&world.kairos, world.app.id, mail).await;
}

/// What an operator sees, the newest first.
async fn shown(world: &World) -> Vec<Shown> {
    let key = world.kairos.platform.master_key.clone();
    world.kairos.platform.store.read(move |conn| mail::newest(conn, &key, None, 1_000)).await.unwrap()
}

/// The one mail that an operator can still read.
async fn content(world: &World) -> Content {
    let mut all: Vec<Content> = shown(world).await.into_iter().filter_map(|mail| mail.content).collect();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

async fn states(world: &World) -> Vec<String> {
    world.lines("select state || coalesce(' ' || reason, '') || ' ' || attempts as line from mails order by 1").await
}

async fn readable(world: &World) -> i64 {
    world.number("select count(*) from mails where sealed is not null").await
}

/// A moment of the machine's time, for what is on a wire.
async fn nap() {
    let _ = tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
}

fn one(server: &MailServer) -> Received {
    let mails = server.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    mails[0].clone()
}

async fn put(world: &World, path: &str, subject: &str, text: &str) -> crate::world::Answer {
    let body = json!({"subject": subject, "text": text});
    world.put(&format!("/v1/mail-templates/{path}"), &world.app.server, body).await
}

both! {
    async fn a_code_goes_out_over_tls_and_is_forgotten(world) {
        let server = MailServer::open(Security::Tls).await;
        through(world, &server, "kairos:p%40ss@").await;
        queue(world, letter(TO, sign_in(world))).await;
        assert_eq!(readable(world).await, 1);
        world.drain().await;
        let mail = one(&server);
        assert!(mail.encrypted);
        assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("no-reply@airport.example", &[TO.to_owned()][..]));
        // AUTH PLAIN of "\0kairos\0p@ss".
        assert!(server.heard().iter().any(|line| line == "AUTH PLAIN AGthaXJvcwBwQHNz"), "{:?}", server.heard());
        assert!(server.heard().iter().any(|line| line == "EHLO airport.example"));
        assert_eq!(mail.header("From").unwrap(), "Airport <no-reply@airport.example>");
        assert_eq!(mail.header("To").unwrap(), TO);
        assert_eq!(mail.header("Subject").unwrap(), format!("{CODE} is your sign-in code for Airport"));
        assert_eq!(mail.header("Auto-Submitted").unwrap(), "auto-generated");
        assert_eq!(mail.header("Date").unwrap(), "Mon, 15 Jun 2026 10:00:00 +0000");
        let link = format!("http://kairos.test/auth/{}/sign-in#token={TOKEN}", world.app.id);
        let (text, html) = (mail.text(), mail.html().replace("&#x2f;", "/"));
        assert!(text.contains(&format!("\n{CODE}\n")) && text.contains(&format!("\n{link}\n")), "{text}");
        assert!(text.contains("for 10 minutes"), "{text}");
        assert!(html.contains(CODE) && html.contains(&format!("<a href=\"{link}\"")), "{html}");
        // Nothing is fetched when it is read.
        let elsewhere = ["src=", "url(", "@import", "<script", "<link", "<img"];
        assert!(elsewhere.iter().all(|what| !html.contains(what)), "{html}");
        assert_eq!(html.matches("http").count(), 2, "{html}");
        assert_eq!(states(world).await, ["sent 1"]);
        assert_eq!(readable(world).await, 0);
        assert!(shown(world).await[0].content.is_none());
    }

    async fn starttls_comes_before_everything_else_or_nothing_does(world) {
        let server = MailServer::open(Security::StartTls).await;
        through(world, &server, "kairos:hush@").await;
        queue(world, letter(TO, sign_in(world))).await;
        world.drain().await;
        assert!(one(&server).encrypted);
        let heard = server.heard();
        assert!(heard[0].starts_with("EHLO") && heard[1] == "STARTTLS" && heard[2].starts_with("EHLO"), "{heard:?}");

        // A server, or somebody in between, that does not offer it.
        let bare = MailServer::open(Security::Plain).await;
        let url = format!("{}?tls=required", bare.url("kairos:hush@"));
        world.restart(|config| config.smtp_url = Secret::new(url)).await;
        queue(world, letter(TO, sign_in(world))).await;
        world.drain().await;
        assert!(bare.mails().is_empty());
        assert!(bare.heard().iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{:?}", bare.heard());
        let mut all = states(world).await;
        all.sort();
        assert_eq!(all, ["sent 1", "waiting connection 1"]);
        world.may_leave_work();
    }

    async fn a_certificate_that_nobody_vouches_for_gets_nothing(world) {
        let server = MailServer::open(Security::Tls).await;
        through(world, &server, "kairos:hush@").await;
        let other = MailServer::open(Security::Tls).await;
        std::fs::write(world.database.folder().join("mail-ca.pem"), other.ca_pem()).unwrap();
        world.restart(|_| {}).await;
        queue(world, letter(TO, sign_in(world))).await;
        world.drain().await;
        assert!(server.mails().is_empty() && server.heard().is_empty());
        assert_eq!(states(world).await, ["waiting tls 1"]);
        world.may_leave_work();
    }

    async fn what_is_refused_for_good_has_failed_and_everything_else_is_tried_again(world) {
        let server = open(world, Security::Plain).await;
        for (say, state) in [
            (Say::Rcpt("550 5.1.1 <ada@example.com>: no such user"), "failed smtp 550 5.1.1 1"),
            (Say::Data("554 no"), "failed smtp 554 1"),
            (Say::Rcpt("451 4.7.1 <ada@example.com>: come back later"), "waiting smtp 451 4.7.1 1"),
            (Say::Data("452 full"), "waiting smtp 452 1"),
            (Say::Greet("421 too busy"), "waiting smtp 421 1"),
            (Say::Greet("554 no service here"), "waiting smtp 554 1"),
            (Say::Greet("hello?"), "waiting connection 1"),
        ] {
            server.script([say.clone()]);
            queue(world, letter(TO, Template::PasswordChanged)).await;
            world.drain().await;
            assert_eq!(states(world).await, [state], "{say:?}");
            assert_eq!(readable(world).await, i64::from(state.starts_with("waiting")), "{say:?}");
            assert!(server.mails().is_empty());
            // Not before its time, and then once.
            world.advance(Duration::from_secs(2)).await;
            assert_eq!(states(world).await, [state], "{say:?}");
            world.advance(Duration::from_secs(4)).await;
            let sent = server.mails().len();
            assert_eq!(sent, usize::from(state.starts_with("waiting")), "{say:?}");
            let clear = world.kairos.platform.store.write(|conn| conn.batch("delete from mails"));
            clear.await.unwrap();
            server.forget();
        }
    }

    async fn a_refused_password_is_no_fault_of_the_mail(world) {
        let server = MailServer::open(Security::Plain).await;
        through(world, &server, "kairos:wrong@").await;
        server.script([Say::Auth("535 5.7.8 no")]);
        queue(world, letter(TO, sign_in(world))).await;
        world.drain().await;
        assert_eq!(states(world).await, ["waiting smtp 535 5.7.8 1"]);
        world.advance(Duration::from_secs(6)).await;
        assert_eq!(one(&server).to, [TO]);
    }

    async fn the_pauses_grow_and_a_code_that_has_expired_is_never_sent(world) {
        let server = open(world, Security::Plain).await;
        server.script(std::iter::repeat_n(Say::Rcpt("451 later"), 100));
        queue(world, letter(TO, sign_in(world))).await;
        let mut tries = vec![0];
        for second in (0..=600).step_by(5) {
            world.advance(Duration::from_secs(if second > 0 { 5 } else { 0 })).await;
            let heard = server.heard().iter().filter(|line| line.starts_with("RCPT")).count();
            if heard > tries.len() {
                tries.push(second);
            }
        }
        let pauses: Vec<i32> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((5..=8).contains(&tries.len()), "{tries:?}");
        assert!(pauses[0] == 5 && pauses[3] >= 20, "{pauses:?}");
        assert_eq!(states(world).await, [format!("expired smtp 451 {}", tries.len())]);
        assert_eq!(readable(world).await, 0);
        server.forget();
        world.advance(Duration::from_secs(3_600)).await;
        assert!(server.heard().is_empty());
    }

    async fn a_mail_that_was_queued_too_late_is_not_sent_at_all(world) {
        let server = open(world, Security::Plain).await;
        queue(world, letter(TO, Template::SignIn(proof(world, 1_000)))).await;
        world.clock.advance(Duration::from_secs(1));
        world.drain().await;
        assert!(server.mails().is_empty() && server.heard().is_empty());
        assert_eq!(states(world).await, ["expired 0"]);
        assert_eq!(readable(world).await, 0);
        // One millisecond earlier it is still good.
        queue(world, letter(TO, Template::SignIn(proof(world, 1_000)))).await;
        world.clock.advance(Duration::from_millis(999));
        world.drain().await;
        assert_eq!(server.mails().len(), 1);
    }

    async fn nobody_is_flooded_and_a_flood_holds_no_notice_back(world) {
        for _ in 0..7 {
            queue(world, letter(TO, sign_in(world))).await;
        }
        // The same address in other letters is the same person.
        queue(world, letter("ADA@example.com", Template::SignUpAttempt)).await;
        assert_eq!(shown(world).await.len(), 5);
        queue(world, letter(TO, Template::PasswordChanged)).await;
        assert_eq!(shown(world).await.len(), 6);
        queue(world, letter("bob@example.com", sign_in(world))).await;
        assert_eq!(shown(world).await.len(), 7);
        let other = world.new_app("Station").await;
        queue_in(&world.kairos, other.id, letter(TO, sign_in(world))).await;
        assert_eq!(shown(world).await.len(), 8);
        world.clock.advance(Duration::from_millis(599_999));
        queue(world, letter(TO, sign_in(world))).await;
        assert_eq!(shown(world).await.len(), 8);
        world.clock.advance(Duration::from_millis(1));
        queue(world, letter(TO, sign_in(world))).await;
        assert_eq!(shown(world).await.len(), 9);
        // And not more than 30 in a day.
        for _ in 0..60 {
            world.clock.advance(Duration::from_secs(600));
            queue(world, letter(TO, sign_in(world))).await;
        }
        let to_her = world.number("select count(*) from mails where not notice and created_ms > 0").await;
        assert_eq!(to_her, 2 + 30);
    }

    async fn at_once_from_many_sides_nobody_is_flooded_either(world) {
        let kairos = &world.kairos;
        let all = (0..32).map(|_| queue_in(kairos, world.app.id, letter(TO, sign_in(world))));
        futures_util::future::join_all(all).await;
        assert_eq!(shown(world).await.len(), 5);
    }

    async fn no_value_becomes_a_header_or_a_recipient(world) {
        let server = open(world, Security::Plain).await;
        for bad in [
            "ada@example.com\r\nBcc: eve@example.com",
            "ada@example.com\n",
            "ada@example.com, eve@example.com",
            "<ada@example.com>",
            "\"ada\r\nRCPT TO:<eve@example.com>\"@example.com",
            "ada @example.com",
            "ada@exa mple.com",
            "ada",
            "",
            "@example.com",
            &format!("{}@example.com", "a".repeat(300)),
        ] {
            queue(world, letter(bad, sign_in(world))).await;
        }
        assert!(shown(world).await.is_empty());
        let name = "Eve\" <eve@example.com>, \"Ada";
        world.patch("/v1/app", &world.app.server, json!({"name": name})).await.expect(200);
        put(world, "email_changed/en", "Now {{ new_email }} for {{ app }}", "{{ new_email }} <b>&amp;</b> {{ app }}").await.expect(200);
        let new_email = "x\r\nBcc: eve@example.com\r\n\r\n<script>alert(1)</script>@\r\n.\r\nMAIL FROM:<eve>".to_owned();
        queue(world, letter(TO, Template::EmailChanged { new_email })).await;
        world.drain().await;
        let mail = one(&server);
        assert_eq!(mail.to, [TO]);
        assert_eq!((mail.headers("bcc"), mail.headers("subject:"), mail.headers("to:"), mail.headers("from:")), (0, 1, 1, 1));
        assert!(mail.header("From").unwrap().ends_with("<no-reply@airport.example>"), "{:?}", mail.header("From"));
        let subject = mail.header("Subject").unwrap();
        assert!(subject.starts_with("Now x…@ ") && subject.contains("for Eve"), "{subject}");
        assert!(!mail.html().contains("<script") && !mail.html().contains("<b>"), "{}", mail.html());
        assert!(mail.html().contains("&lt;b&gt;"), "{}", mail.html());
        assert_eq!(server.heard().iter().filter(|line| line.starts_with("MAIL")).count(), 1);
    }

    async fn words_come_in_the_readers_language_or_the_apps_or_english(world) {
        world.patch("/v1/app", &world.app.server, json!({"settings": {"locale": "de-AT"}})).await.expect(200);
        for (locale, found, word) in [
            (Some("fr-CH"), "fr", "mot de passe"),
            (Some("FR_ch"), "fr", "mot de passe"),
            (Some("es-419"), "es", "contraseña"),
            (Some("en-GB"), "en", "password"),
            (Some("pt-BR"), "de", "Passwort"),
            (Some("ünsinn"), "de", "Passwort"),
            (Some(""), "de", "Passwort"),
            (None, "de", "Passwort"),
        ] {
            let mail = Mail { locale: locale.map(str::to_owned), ..letter(TO, Template::PasswordChanged) };
            queue(world, mail).await;
            let newest = shown(world).await.remove(0);
            assert_eq!(newest.entry.locale, found, "{locale:?}");
            assert!(newest.content.unwrap().text.contains(word), "{locale:?}");
            world.clock.advance(Duration::from_millis(1));
        }
        world.patch("/v1/app", &world.app.server, json!({"settings": {"locale": "ja"}})).await.expect(200);
        queue(world, letter(TO, Template::PasswordChanged)).await;
        assert_eq!(shown(world).await[0].entry.locale, "en");
    }

    async fn every_mail_has_words_in_every_language(world) {
        let all = |world: &World| [
            Template::VerifyEmail(proof(world, HOUR_MS)),
            sign_in(world),
            Template::ResetPassword(proof(world, HOUR_MS)),
            Template::ChangeEmail(proof(world, HOUR_MS)),
            Template::EmailChanged { new_email: "grace@example.net".to_owned() },
            Template::SignUpAttempt,
            Template::PasswordChanged,
            Template::FactorAdded(Factor::Totp),
            Template::FactorAdded(Factor::Passkey),
            Template::FactorRemoved(Factor::Totp),
            Template::FactorRemoved(Factor::Passkey),
            Template::AccountDeletion { until_ms: None },
            Template::AccountDeletion { until_ms: Some(world.now_ms() + DAY_MS) },
        ];
        let (mut subjects, mut n) = (std::collections::BTreeSet::new(), 0);
        for locale in ["en", "de", "fr", "es"] {
            for template in all(world) {
                n += 1;
                let (to, needs_proof) = (format!("user{n}@example.com"), matches!(template, Template::VerifyEmail(_)));
                queue(world, Mail { locale: Some(locale.to_owned()), ..letter(&to, template) }).await;
                world.clock.advance(Duration::from_millis(1));
                let Shown { entry, content } = shown(world).await.remove(0);
                let content = content.unwrap();
                assert_eq!((entry.locale.as_str(), content.to.as_str()), (locale, to.as_str()));
                let whole = format!("{} {} {}", content.subject, content.text, content.html);
                assert!(!whole.contains("{{") && !whole.contains("{%"), "{whole}");
                assert!(content.text.contains("Airport") && content.html.contains(&format!("lang=\"{locale}\"")), "{whole}");
                assert!(!needs_proof || content.text.contains(CODE) && content.text.contains(TOKEN), "{whole}");
                subjects.insert(content.subject);
            }
        }
        assert_eq!(Name::ALL.len(), 10);
        // Two shapes of the factor mails have one subject.
        assert_eq!(subjects.len(), 4 * 11);
    }

    async fn an_app_has_words_of_its_own_per_template_and_locale(world) {
        let server = world.app.server.clone();
        let text = "Hi,\r\n\r\nyour code: {{ code }}{% if minutes %} ({{ minutes }} min){% endif %}";
        let made = put(world, "sign_in/fr-ch", "{{ app }} ✈ {{ code }}", text).await.expect(200);
        assert_eq!((&made["template"], &made["locale"]), (&json!("sign_in"), &json!("fr-CH")));
        let mail = |locale: &str| Mail { locale: Some(locale.to_owned()), ..letter(TO, sign_in(world)) };
        queue(world, mail("fr-CH")).await;
        let own = content(world).await;
        assert_eq!((own.subject.as_str(), own.text.as_str()), ("Airport ✈ 271828", "Hi,\n\nyour code: 271828 (10 min)"));
        world.clock.advance(Duration::from_millis(1));
        // Others keep the built-in ones: another locale, another template, another app.
        queue(world, mail("fr")).await;
        let other = world.new_app("Station").await;
        queue_in(&world.kairos, other.id, mail("fr-CH")).await;
        let built_in = shown(world).await.into_iter().filter(|mail| mail.content.as_ref().unwrap().text.starts_with("Bonjour"));
        assert_eq!(built_in.count(), 2);
        let listed = world.get("/v1/mail-templates", &server).await.expect(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        assert_eq!(world.get("/v1/mail-templates/sign_in/FR-CH", &server).await.expect(200), made);
        world.get("/v1/mail-templates/sign_in/fr-CH", &other.server).await.refused(404, "not_found");
        world.delete("/v1/mail-templates/sign_in/fr-CH", &server).await.expect(204);
        world.delete("/v1/mail-templates/sign_in/fr-CH", &server).await.refused(404, "not_found");
        world.clock.advance(Duration::from_millis(1));
        queue(world, mail("fr-CH")).await;
        assert!(shown(world).await[0].content.as_ref().unwrap().text.starts_with("Bonjour"));
    }

    async fn the_list_of_own_words_has_pages(world) {
        for path in ["sign_in/en", "sign_in/de", "reset_password/en"] {
            put(world, path, "x", "{{ code }}").await.expect(200);
        }
        let mut path = "/v1/mail-templates?limit=1".to_owned();
        let mut found = Vec::new();
        loop {
            let page = world.get(&path, &world.app.server).await.expect(200);
            let item = &page["items"][0];
            found.push(format!("{}/{}", item["template"].as_str().unwrap(), item["locale"].as_str().unwrap()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            path = format!("/v1/mail-templates?limit=1&cursor={next}");
        }
        assert_eq!(found, ["reset_password/en", "sign_in/de", "sign_in/en"]);
    }

    async fn words_that_cannot_work_are_refused_when_they_are_saved(world) {
        for (path, subject, text, field) in [
            ("sign_in/en", "x", "no proof in it", "text"),
            ("sign_in/en", "{{ code }}", "only the subject has it", "text"),
            ("verify_email/en", "x", "{% if minutes == \"x\" %}{{ code }}{% endif %}", "text"),
            ("sign_in/en", "x", "{{ cod }}", "text"),
            ("sign_in/en", "{{ link.x }}", "{{ code }}", "subject"),
            ("sign_in/en", "two\nlines", "{{ code }}", "subject"),
            ("sign_in/en", "", "{{ code }}", "subject"),
            ("sign_in/en", "x", " ", "text"),
            ("sign_in/en", "x", "{{ code }}\u{0}", "text"),
            ("sign_in/en", "x", "{{ code | upper }}", "text"),
            ("sign_in/en", "x", "{{ code * 100000000 }}", "text"),
            ("sign_in/en", "x", "{{ code }}{% for x in code %}x{% endfor %}", "text"),
            ("sign_in/en", "x", "{{ code }}{% set a = code %}", "text"),
            ("sign_in/en", "x", "{{ code }}{% include \"layout.html\" %}", "text"),
            ("sign_in/en", "x", "{{ code }}{% if minutes %}", "text"),
            ("sign_in/en", "x", "{{ code }}{# x #}", "text"),
            ("sign_in/en", "x", "{{{ code }}", "text"),
            ("password_changed/en", "x", "{{ code }}", "text"),
            ("factor_added/en", "x", "{% if factor == \"passkey\" %}x{% endif %}", "text"),
            ("sign_in/english", "x", "{{ code }}", "locale"),
            ("sign_in/%C3%BC", "x", "{{ code }}", "locale"),
        ] {
            put(world, path, subject, text).await.refused_field(400, "validation_failed", field);
        }
        put(world, "sign_in/en", &"x".repeat(301), "{{ code }}").await.refused_field(400, "validation_failed", "subject");
        put(world, "sign_in/en", "x", &format!("{{{{ code }}}}{}", "x".repeat(10_000))).await.refused_field(400, "validation_failed", "text");
        put(world, "newsletter/en", "x", "x").await.refused(404, "not_found");
        let reader = world.server_key(&world.app, &["schema:read"]).await;
        world.put("/v1/mail-templates/sign_in/en", &reader, json!({"subject": "x", "text": "{{ code }}"})).await.refused(403, "missing_scope");
        assert_eq!(world.number("select count(*) from mail_templates").await, 0);
    }

    async fn without_a_mail_server_the_operator_reads_it_for_a_day_and_nobody_else_does(world) {
        let person = world.person(&world.app).await;
        let user: UserId = person.id.parse().unwrap();
        queue(world, Mail { user: Some(user), ..letter(TO, sign_in(world)) }).await;
        world.drain().await;
        let kept = content(world).await;
        assert!(kept.to == TO && kept.subject.contains(CODE) && kept.text.contains(TOKEN));
        assert!(!format!("{kept:?} {:?}", shown(world).await).contains(CODE));
        // Not in the file, nor in any column.
        let needles = [CODE, TOKEN, TO, "ada@"];
        let columns = "app_id || id || recipient || template || locale || state || coalesce(reason, '')";
        let rows = world.lines(&format!("select {columns} as line from mails")).await.join("\n");
        let mut raw = rows.into_bytes();
        for file in ["kairos.db", "kairos.db-wal"] {
            raw.extend(std::fs::read(world.database.folder().join(file)).unwrap_or_default());
        }
        for needle in needles {
            assert!(!raw.windows(needle.len()).any(|bytes| bytes == needle.as_bytes()), "{needle} is on disk");
        }
        // The API tells that there was one, not what it says.
        let listed = world.get("/v1/mails", &world.app.server).await.expect(200);
        let item = &listed["items"][0];
        assert_eq!((&item["state"], &item["template"], &item["user_id"]), (&json!("kept"), &json!("sign_in"), &json!(person.id)));
        let id = item["id"].as_str().unwrap();
        let read = world.get(&format!("/v1/mails/{id}"), &world.app.server).await;
        assert_eq!(read.expect(200), *item);
        assert!(needles.iter().all(|needle| !listed.to_string().contains(needle)));
        assert_eq!(world.get(&format!("/v1/mails?user={}", person.id), &world.app.server).await.expect(200)["items"].as_array().unwrap().len(), 1);
        let nobody = "usr_00000000000070008000000000000000";
        assert_eq!(world.get(&format!("/v1/mails?user={nobody}"), &world.app.server).await.expect(200)["items"], json!([]));
        for caller in [&world.app.phone, &person.token, &Caller::Nobody] {
            assert_eq!(world.get("/v1/mails", caller).await.status, 401);
        }
        world.advance(Duration::from_millis(24 * 3_600_000 - 1)).await;
        assert_eq!(readable(world).await, 1);
        world.advance(Duration::from_millis(1)).await;
        assert_eq!(readable(world).await, 0);
        assert!(shown(world).await[0].content.is_none());
        world.advance(Duration::from_millis(29 * 24 * 3_600_000 - 1)).await;
        assert_eq!(shown(world).await.len(), 1);
        world.advance(Duration::from_millis(1)).await;
        assert!(shown(world).await.is_empty());
    }

    async fn a_mail_whose_row_was_tampered_with_is_neither_read_nor_sent(world) {
        let server = open(world, Security::Plain).await;
        queue(world, letter(TO, sign_in(world))).await;
        queue(world, letter("eve@example.com", Template::PasswordChanged)).await;
        // The content of one row in the place of another's.
        let copy = "update mails set sealed = (select sealed from mails where template = 'password_changed')";
        world.kairos.platform.store.write(move |conn| conn.batch(copy)).await.unwrap();
        assert_eq!(content(world).await.to, "eve@example.com");
        world.drain().await;
        assert_eq!(states(world).await, ["failed unreadable 1", "sent 1"]);
        assert_eq!(one(&server).to, ["eve@example.com"]);
    }

    async fn a_crash_between_hand_over_and_note_sends_the_same_mail_again(world) {
        let server = open(world, Security::Plain).await;
        server.script([Say::Hold("250 taken")]);
        queue(world, letter(TO, sign_in(world))).await;
        tokio::select! {
            () = world.drain() => panic!("it must wait for the mail server"),
            () = server.holding() => {}
        }
        // The server is taken up anew; what the old one was doing nobody will hear of.
        world.restart(|_| {}).await;
        world.drain().await;
        assert_eq!(server.mails().len(), 1, "the first attempt may still be on its way");
        assert_eq!(states(world).await, ["waiting 1"]);
        world.advance(Duration::from_secs(50)).await;
        let mails = server.mails();
        assert_eq!(mails.len(), 2);
        let id = mails[0].header("Message-ID").unwrap();
        assert!(id.starts_with("<mal_") && id.ends_with("@airport.example>"), "{id}");
        assert_eq!(mails[1].header("Message-ID").unwrap(), id);
        assert_eq!(mails[1].text(), mails[0].text());
        assert_eq!(states(world).await, ["sent 2"]);
        server.let_go();
        world.advance(Duration::from_secs(3_600)).await;
        assert_eq!((server.mails().len(), states(world).await), (2, vec!["sent 2".to_owned()]));
    }

    async fn a_late_answer_to_an_old_attempt_changes_nothing(world) {
        let server = open(world, Security::Plain).await;
        server.script([Say::Hold("554 no"), Say::Hold("250 taken")]);
        queue(world, letter(TO, sign_in(world))).await;
        let second = Kairos::open(world.kairos.platform.config.clone(), world.clock.clone()).await.unwrap();
        let first = async {
            tokio::select! {
                () = world.drain() => panic!("it must wait for the mail server"),
                () = server.holding() => {}
            }
        };
        first.await;
        world.clock.advance(Duration::from_secs(50));
        tokio::select! {
            _ = second.drain() => panic!("it must wait for the mail server"),
            () = server.holding() => {}
        }
        // The first attempt is refused now, which nobody needs to hear any more.
        assert_eq!(states(world).await, ["waiting 2"]);
        server.let_go();
        while server.open_now() > 1 {
            nap().await;
        }
        nap().await;
        assert_eq!(states(world).await, ["waiting 2"]);
        server.let_go();
        while states(world).await == ["waiting 2"] {
            nap().await;
        }
        assert_eq!(states(world).await, ["sent 2"]);
        drop(second);
    }

    async fn a_mail_server_that_never_answers_costs_its_time_and_no_more(world) {
        let server = open(world, Security::Plain).await;
        world.restart(|config| config.smtp_timeout_ms = 1_500).await;
        server.script([Say::Hold("250 taken"), Say::HangUp]);
        queue(world, letter(TO, sign_in(world))).await;
        world.drain().await;
        assert_eq!(states(world).await, ["waiting timeout 1"]);
        world.advance(Duration::from_secs(6)).await;
        assert_eq!(states(world).await, ["waiting connection 2"]);
        world.advance(Duration::from_secs(11)).await;
        assert_eq!(states(world).await, ["sent 3"]);
        let ids: Vec<_> = server.mails().iter().map(|mail| mail.header("Message-ID")).collect();
        assert!(ids.len() == 3 && ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    }

    async fn one_apps_pile_does_not_keep_another_app_waiting(world) {
        let server = open(world, Security::Plain).await;
        world.restart(|config| config.smtp_connections = 2).await;
        for n in 0..20 {
            queue(world, letter(&format!("pile{n}@example.com"), sign_in(world))).await;
        }
        let other: Tenant = world.new_app("Station").await;
        queue_in(&world.kairos, other.id, letter("few@example.com", sign_in(world))).await;
        world.drain().await;
        let order: Vec<String> = server.mails().into_iter().map(|mail| mail.to[0].clone()).collect();
        assert_eq!(order.len(), 21);
        assert!(order[..2].contains(&"few@example.com".to_owned()), "{order:?}");
        assert!(server.most_open() <= 3, "{}", server.most_open());
    }

    async fn two_nodes_send_each_mail_once(world) {
        let server = open(world, Security::Plain).await;
        for n in 0..30 {
            queue(world, letter(&format!("user{n}@example.com"), sign_in(world))).await;
        }
        let second = Kairos::open(world.kairos.platform.config.clone(), world.clock.clone()).await.unwrap();
        world.drain_beside(&second).await;
        let mut to: Vec<String> = server.mails().into_iter().map(|mail| mail.to[0].clone()).collect();
        assert_eq!(to.len(), 30);
        to.sort();
        to.dedup();
        assert_eq!(to.len(), 30);
    }
}

/// What `Kairos::open` says of these settings.
async fn refusal(world: &World, change: impl FnOnce(&mut Config)) -> String {
    let mut config = world.kairos.platform.config.clone();
    change(&mut config);
    match Kairos::open(config, world.clock.clone()).await {
        Ok(_) => "opened".to_owned(),
        Err(error) => error.to_string(),
    }
}

both! {
    async fn a_mail_server_that_cannot_be_meant_stops_the_start_with_one_line(world) {
        let with = |url: &'static str| move |config: &mut Config| {
            config.smtp_url = Secret::new(url);
            config.mail_from = "no-reply@airport.example".to_owned();
        };
        let no_sender = refusal(world, |config| config.smtp_url = Secret::new("smtps://mail.example")).await;
        assert!(no_sender.contains("KAIROS_MAIL_FROM") && !no_sender.contains('\n'), "{no_sender}");
        let named = refusal(world, |config| {
            with("smtps://mail.example")(config);
            config.mail_from = "Airport <no-reply@airport.example>".to_owned();
        });
        assert!(named.await.contains("KAIROS_MAIL_FROM"));
        for url in [
            "smtp://kairos:hush@mail.example",
            "smtp://kairos:hush@mail.example:587?tls=opportunistic",
            "smtps://kairos:hush@mail.example?tls=none",
            "smtp://kairos:hush@mail.example?insecure",
            "http://kairos:hush@mail.example",
            "smtps://kairoshush@mail.example",
            "smtps://kairos:hu%zzsh@mail.example",
            "hush",
        ] {
            let said = refusal(world, with(url)).await;
            assert!(said.contains("KAIROS_SMTP_URL") && !said.contains('\n') && !said.contains("hush"), "{url}: {said}");
        }
        for url in ["smtp://relay.internal:25", "smtp://kairos:hush@localhost:25", "smtps://kairos:hush@mail.example/me.example"] {
            assert_eq!(refusal(world, with(url)).await, "opened", "{url}");
        }
    }
}

/// The real program on this world's database, with the machine's clock.
fn program(world: &World, server: &MailServer, arguments: &[&str]) -> Command {
    let config = &world.kairos.platform.config;
    let mut command = Command::new(env!("CARGO_BIN_EXE_kairos"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    command.env("KAIROS_DATABASE_URL", config.database_url.expose()).env("KAIROS_MASTER_KEY", config.master_key.expose());
    command.env("KAIROS_DATA_DIR", &config.data_dir).env("KAIROS_LISTEN", "127.0.0.1:0").env("KAIROS_LOG", "trace");
    command.env("KAIROS_SMTP_URL", server.url("kairos:hush@")).env("KAIROS_MAIL_FROM", "no-reply@airport.example");
    command.env("KAIROS_CA_FILE", &config.ca_file);
    command
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

both! {
    async fn the_real_program_sends_shows_and_logs_nothing_of_whom(world) {
        let server = MailServer::open(Security::Tls).await;
        through(world, &server, "kairos:hush@").await;
        server.script([Say::Rcpt("451 4.7.1 <ada@example.com>: later")]);
        let today = Kairos::open(world.kairos.platform.config.clone(), Clock::system()).await.unwrap();
        let proof = Proof { code: Secret::new(CODE), token: Secret::new(TOKEN), expires_ms: Clock::system().now_ms() + HOUR_MS };
        queue_in(&today, world.app.id, letter(TO, Template::SignIn(proof))).await;
        let listed = said(&mut program(world, &server, &["mail", "list"]));
        assert!(listed.contains(TO) && listed.contains("waiting") && !listed.contains(CODE), "{listed}");
        let id = listed.split_whitespace().next().unwrap();
        let shown = said(&mut program(world, &server, &["mail", "show", id]));
        assert!(shown.contains(CODE) && shown.contains(TOKEN) && shown.contains("From: Airport"), "{shown}");
        let log = world.database.folder().join("trace.log");
        let mut serve = program(world, &server, &["serve"]);
        let mut child = serve.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        tokio::time::timeout(Duration::from_secs(60), server.arrived()).await.unwrap();
        for _ in 0..600 {
            if states(world).await == ["sent smtp 451 4.7.1 2"] || states(world).await == ["sent 2"] {
                break;
            }
            nap().await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(states(world).await, ["sent 2"]);
        let logged = std::fs::read_to_string(log).unwrap();
        assert!(logged.contains("a mail was not sent") && logged.contains("smtp 451 4.7.1"), "{logged}");
        for secret in [CODE, TOKEN, TO, "ada@", "hush", "sign-in code for"] {
            assert!(!logged.contains(secret), "{secret} is in the log");
        }
        let shown = said(&mut program(world, &server, &["mail", "show", id]));
        assert!(shown.contains("wiped") && !shown.contains(CODE), "{shown}");
    }
}
