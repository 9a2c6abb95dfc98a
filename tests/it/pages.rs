//! The pages behind the links of mails, opened from the mail's own link in a real browser: what they change, what they
//! say, who can use them, and where the secret of the link goes.

use crate::world::browser::Browser;
use crate::world::{Answer, Caller, Person, Tenant, World, logs};
use serde_json::{Value, json};
use std::path::PathBuf;

const GOOD: &str = "correct horse battery";
const NEW: &str = "staple of horses";
const ADA: &str = "ada@example.com";
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
const SPACE: char = ' ';

fn pair(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

async fn sign_in(world: &World, tenant: &Tenant, password: &str) -> Answer {
    world.post("/v1/auth/sign-in", &tenant.phone, pair(ADA, password)).await
}

/// Secrets from mails that were used up.
async fn used(world: &World) -> i64 {
    world.number("select count(*) from challenges where used_ms is not null").await
}

/// The newest mail's link, at this server instead of at its public name, and the token in it.
async fn link(world: &World, tenant: &Tenant, to: &str) -> (String, String) {
    let letter = world.letter(tenant, to).await;
    let path = letter.link().strip_prefix("http://kairos.test").unwrap();
    (format!("http://{}{path}", world.api.address), letter.token())
}

/// A browser as wide as a phone that speaks this language.
async fn phone(world: &World, language: &str) -> Browser {
    let browser = Browser::open(world.database.folder()).await;
    let screen = json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true});
    browser.command("Emulation.setDeviceMetricsOverride", screen).await;
    let agent = json!({"userAgent": "Mozilla/5.0 (Linux; Android 15)", "acceptLanguage": language});
    browser.command("Emulation.setUserAgentOverride", agent).await;
    browser
}

/// Waits until the page has said something, and gives it.
async fn said(browser: &Browser) -> String {
    let wait = "for (let n = 0; n < 200 && !document.getElementById('status').textContent; n++) await new Promise(r => setTimeout(r, 25)); \
        return document.getElementById('status').textContent";
    browser.run(wait, json!({})).await.unwrap().as_str().unwrap().to_owned()
}

/// What the page shows of itself, where its secret went, and whether everybody can use it.
async fn look(browser: &Browser) -> Value {
    let script = "
        await new Promise(r => setTimeout(r, 50));
        const shown = [...document.querySelectorAll('input, button')].filter(e => e.checkVisibility());
        return {
            language: document.documentElement.lang, title: document.title, heading: document.querySelector('h1').textContent,
            text: document.getElementById('text').textContent, url: location.href,
            loaded: performance.getEntriesByType('resource').map(e => e.name).join(' '), controls: shown.length,
            nameless: shown.filter(e => !(e.textContent.trim() || [...e.labels ?? []].some(l => l.textContent.trim()))).map(e => e.outerHTML),
            wide: document.documentElement.scrollWidth, small: shown.filter(e => e.tagName === 'BUTTON' && e.offsetHeight < 44).map(e => e.id),
            live: document.getElementById('status').getAttribute('aria-live'),
        }";
    browser.run(script, json!({})).await.unwrap()
}

/// What holds for every page once it was opened from its link.
async fn holds(browser: &Browser, (page, token): (&str, &str), controls: usize) {
    let seen = look(browser).await;
    assert_eq!((&seen["language"], &seen["live"]), (&json!("en"), &json!("polite")), "{page}: {seen}");
    assert_eq!(seen["title"], seen["heading"], "{page}");
    assert!(seen["title"] != "Your account" && !seen["text"].as_str().unwrap().contains("JavaScript"), "{page}: {seen}");
    assert_eq!(
        (&seen["controls"], &seen["nameless"], &seen["small"]),
        (&json!(controls), &json!([]), &json!([])),
        "{page}: {seen}"
    );
    assert!(seen["wide"].as_i64().unwrap() <= 390, "{page} is wider than a phone: {seen}");
    for place in ["url", "loaded"] {
        assert!(!seen[place].as_str().unwrap().contains(token), "{page}: the secret is in an address: {seen}");
    }
    let complaints = browser.complaints().await;
    // Advice is no complaint; every browser asks for an icon.
    let own = |complaint: &&Value| {
        ["WARNING", "SEVERE"].contains(&complaint["level"].as_str().unwrap())
            && !complaint["message"].as_str().unwrap().contains("favicon.ico")
    };
    assert_eq!(complaints.iter().filter(own).collect::<Vec<_>>(), [&Value::Null; 0], "{page}");
}

/// Keeps a picture for whoever wants to look at it, where `KAIROS_TEST_PICTURES` says.
async fn keep(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("KAIROS_TEST_PICTURES") {
        std::fs::write(PathBuf::from(folder).join(format!("{name}.png")), browser.picture().await).unwrap();
    }
}

async fn sign_up(world: &World, tenant: &Tenant) -> Person {
    Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, pair(ADA, GOOD)).await.expect(200))
}

both! {
    async fn a_link_that_is_only_opened_uses_nothing_up_and_its_secret_stays_with_the_reader(world) {
        logs::keep();
        let tenant = world.new_app("Louvre").await;
        let ada = sign_up(world, &tenant).await;
        let browser = phone(world, "en-GB").await;
        let mut tokens = Vec::new();
        let mut open = async |page: &str, to: &str, controls: usize| {
            let (url, token) = link(world, &tenant, to).await;
            assert!(url.contains(&format!("/{page}#")), "{url}");
            // A scanner of links that runs scripts, too, and one that asks only.
            let path = url.split_once("//").unwrap().1.split_once('/').unwrap().1.split('#').next().unwrap().to_owned();
            for method in ["GET", "HEAD"] {
                assert_eq!(world.call(method, &format!("/{path}")).send().await.status, 200);
            }
            browser.go("about:blank").await;
            browser.go(&url).await;
            holds(&browser, (page, &token), controls).await;
            keep(&browser, page).await;
            tokens.push(token);
        };
        let start = used(world).await;
        open("verify-email", ADA, 3).await;
        world.post("/v1/auth/email-code/request", &tenant.phone, json!({ "email": ADA })).await.expect(202);
        open("sign-in", ADA, 0).await;
        world.post("/v1/auth/password/forgot", &tenant.phone, json!({ "email": ADA })).await.expect(202);
        open("reset-password", ADA, 3).await;
        world.post("/v1/auth/email/change", &ada.token, json!({ "email": "ada@example.org", "password": GOOD })).await.expect(202);
        open("change-email", "ada@example.org", 0).await;
        assert_eq!(used(world).await, start);
        assert_eq!(world.get("/v1/me", &ada.token).await.status, 200, "nobody is out by a page that was read");
        sign_in(world, &tenant, GOOD).await.expect(200);
        // What was mailed is as good as before: for whoever holds it in the app.
        world.post("/v1/auth/email-code/verify", &tenant.phone, json!({ "token": tokens[1] })).await.expect(200);
        let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
        assert_eq!(logs::with(&words), [""; 0], "a secret of a link in the log");
    }

    async fn a_new_password_is_set_by_keyboard_alone_and_a_bad_one_is_refused_in_words(world) {
        logs::keep();
        let tenant = world.new_app("Louvre").await;
        let ada = sign_up(world, &tenant).await;
        world.patch("/v1/app", &tenant.server, json!({"settings": {"password_chars_min": 12}})).await.expect(200);
        world.post("/v1/auth/password/forgot", &tenant.phone, json!({ "email": ADA })).await.expect(202);
        let (url, token) = link(world, &tenant, ADA).await;
        let browser = phone(world, "en").await;
        browser.go(&url).await;
        // The browser itself says what is missing, and nothing is sent.
        browser.press(&TAB.to_string()).await;
        browser.press(&format!("short{ENTER}")).await;
        let problem = browser.run("return document.getElementById('password').validationMessage", json!({})).await.unwrap();
        assert!(problem.as_str().unwrap().contains('8'), "{problem}");
        assert_eq!(browser.text("#status").await, "");
        // The app wants more than the page knows, and nothing that everybody guesses.
        browser.press(&format!("er one{ENTER}")).await;
        assert!(said(&browser).await.contains("at least 12 characters"), "{}", said(&browser).await);
        keep(&browser, "reset-password-too-short").await;
        let clear = "document.getElementById('password').value = ''; document.getElementById('status').textContent = ''; document.getElementById('password').focus()";
        browser.run(clear, json!({})).await.unwrap();
        browser.press(&format!("111111111111{ENTER}")).await;
        assert!(said(&browser).await.contains("easily guessed"), "{}", said(&browser).await);
        assert_eq!(world.get("/v1/me", &ada.token).await.status, 200, "nothing has happened yet");
        browser.run(clear, json!({})).await.unwrap();
        // To the box that shows it, and on to the button.
        browser.press(&format!("{NEW}{TAB}{SPACE}")).await;
        let kind = browser.run("return document.getElementById('password').type", json!({})).await.unwrap();
        assert_eq!(kind, "text");
        keep(&browser, "reset-password-filled").await;
        browser.press(&format!("{TAB}{ENTER}")).await;
        assert_eq!(said(&browser).await, "Done. You can go back to the app.");
        keep(&browser, "reset-password-done").await;
        assert_eq!(look(&browser).await["controls"], 0, "nothing is left to press");
        assert_eq!(world.get("/v1/me", &ada.token).await.status, 401);
        sign_in(world, &tenant, GOOD).await.refused(401, "invalid_credentials");
        sign_in(world, &tenant, NEW).await.expect(200);
        // Whoever opens it again is told what to do.
        browser.go("about:blank").await;
        browser.go(&url).await;
        browser.type_into("#password", GOOD).await;
        browser.click("#go").await;
        let told = said(&browser).await;
        assert!(told.contains("was used or is too old") && told.contains("new one"), "{told}");
        keep(&browser, "reset-password-used").await;
        browser.run("location.reload()", json!({})).await.ok();
        let told = said(&browser).await;
        assert!(told.contains("open it again from the mail"), "{told}");
        assert_eq!(logs::with(&[&token, NEW, GOOD]), [""; 0], "a secret of the page in the log");
    }

    async fn an_address_is_confirmed_from_the_mail_and_pages_speak_the_readers_language(world) {
        let tenant = world.new_app("Louvre").await;
        let claim = sign_up(world, &tenant).await;
        let browser = phone(world, "de-AT,de;q=0.9,en;q=0.8").await;
        let (url, _) = link(world, &tenant, ADA).await;
        browser.go(&url).await;
        let seen = look(&browser).await;
        assert_eq!((&seen["language"], &seen["heading"]), (&json!("de"), &json!("Adresse bestätigen")), "{seen}");
        keep(&browser, "verify-email-de").await;
        browser.type_into("#password", NEW).await;
        browser.click("#go").await;
        assert_eq!(said(&browser).await, "Fertig. Du kannst zurück zur App.");
        assert_eq!(world.get("/v1/me", &claim.token).await.status, 401, "what was there before the reader came ends");
        let ada = Person::from(&sign_in(world, &tenant, NEW).await.expect(200));
        assert_eq!(world.number("select count(*) from emails").await, 1);
        // Words that nobody has written for a language are English.
        world.post("/v1/auth/email-code/request", &tenant.phone, json!({ "email": ADA })).await.expect(202);
        let agent = json!({"userAgent": "Mozilla/5.0", "acceptLanguage": "eo"});
        browser.command("Emulation.setUserAgentOverride", agent).await;
        let (url, _) = link(world, &tenant, ADA).await;
        browser.go(&url).await;
        assert_eq!(look(&browser).await["heading"], "Sign in");
        // A link that lost its end says so, and offers nothing to press.
        browser.go("about:blank").await;
        browser.go(url.replace("/sign-in", "/reset-password").split('#').next().unwrap()).await;
        assert!(said(&browser).await.contains("not complete"));
        assert_eq!(look(&browser).await["controls"], 0);
        assert_eq!(world.get("/v1/me", &ada.token).await.status, 200);
        world.get("/auth/none/other", &Caller::Nobody).await.refused(404, "not_found");
    }
}
