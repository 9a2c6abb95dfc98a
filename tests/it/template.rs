//! Templates: the right locale, the right words, and nothing hostile hurts.

use kairos::campaign::{Known, Name, Template, Words};
use kairos::push::Content;
use proptest::prelude::*;
use serde_json::json;

fn template(locales: &[&str], title: &str, body: &str) -> Template {
    let data = json!({"gate": "{{ event.properties.gate|default('?') }}"});
    let variant = |locale: &str| Content {
        title: Some(format!("{locale}: {title}")),
        body: body.to_owned(),
        data: data.as_object().unwrap().clone(),
        ..Content::default()
    };
    Template {
        fallback: locales[0].to_owned(),
        variants: locales.iter().map(|locale| ((*locale).to_owned(), variant(locale))).collect(),
    }
}

fn known() -> Known {
    let mut known = Known::default();
    known.set(Name::User, &json!({"attributes": {"first_name": "Zoë", "age": 31, "langs": ["de", "fr"], "nick": null}}));
    known.set(Name::Event, &json!({"type": "landing", "properties": {"gate": "F23", "amount": 12.6, "long": "x".repeat(5_000)}}));
    known.set(Name::Place, &json!({"name": "Orly"}));
    known.set(Name::Thing, &serde_json::Value::Null);
    known.set_offer(&json!({"name": "Taxi", "category": "transport"}));
    known
}

fn body(source: &str) -> Result<String, String> {
    let words = Words::compile(&template(&["en"], "t", source)).map_err(|faults| format!("refused: {}", faults[0].1))?;
    words.render(&[], &known()).map(|rendered| rendered.content.body).map_err(|failure| failure.to_string())
}

#[test]
fn words_are_made_from_what_is_known() {
    for (source, expected) in [
        ("Hello {{ user.attributes.first_name }}!", "Hello Zoë!"),
        ("{{ user.attributes.nick|default('friend') }}", "friend"),
        ("{% if thing.class %}{{ thing.class }}{% else %}no aircraft{% endif %}", "no aircraft"),
        ("{{ place.name|upper }} {{ event.properties.amount|round }}", "ORLY 13.0"),
        ("{% for l in user.attributes.langs %}{{ l }} {% endfor %}", "de fr"),
        ("{{ user.attributes.age }} years, {{ offer.name }}", "31 years, Taxi"),
        ("{% if user.attributes.nick is defined %}a{% else %}b{% endif %}", "b"),
        ("5 * 3 = 15, no tags at all", "5 * 3 = 15, no tags at all"),
        ("<b>& not escaped</b> {{ place.name }}", "<b>& not escaped</b> Orly"),
    ] {
        assert_eq!(body(source), Ok(expected.to_owned()), "{source}");
    }
}

#[test]
fn the_best_locale_is_chosen_exact_then_language_then_fallback() {
    let words = Words::compile(&template(&["en", "de", "de-CH", "zh-Hant"], "t", "b")).unwrap();
    for (wanted, chosen) in [
        (&["de-CH"][..], "de-CH"),
        (&["de_ch"], "de-CH"),
        (&["de-AT"], "de"),
        (&["DE"], "de"),
        (&["zh-Hant-TW"], "zh-Hant"),
        (&["zh"], "en"),
        (&["fr"], "en"),
        (&["fr", "de-AT"], "de"),
        (&["de", "de-CH"], "de"),
        (&[""], "en"),
        (&["--"], "en"),
        (&[], "en"),
    ] {
        assert_eq!(words.choose(wanted), chosen, "{wanted:?}");
        assert_eq!(words.render(wanted, &known()).unwrap().content.title, Some(format!("{chosen}: t")));
    }
}

#[test]
fn data_is_rendered_too() {
    let rendered = Words::compile(&template(&["en"], "t", "b")).unwrap().render(&[], &known()).unwrap();
    assert_eq!(json!(rendered.content.data), json!({"gate": "F23"}));
}

/// What somebody hostile, somebody with a space and somebody from abroad put into URLs.
fn shopper() -> Known {
    let mut known = Known::default();
    known
        .set(Name::User, &json!({"attributes": {"first_name": "Anna Maria", "age": 31, "langs": ["de", "fr/ch"], "nick": null}}));
    known.set(
        Name::Event,
        &json!({"properties": {
            "q": "x&coupon=FREE", "gate": "A/7", "city": "São Paulo", "plain": "a-b.c_d~e", "done": "a%20b", "amount": -12.6,
            "late": true, "path": "shop/7?a=b", "photo": "https://cdn.example/a.png?w=1&h=2", "base": "https://shop.example",
            "empty": "", "accents": "é".repeat(1_000),
        }}),
    );
    known.set(Name::Thing, &serde_json::Value::Null);
    known
}

/// A content with one text, for a shopper.
fn shown(content: serde_json::Value) -> Result<Content, String> {
    let variant: Content = serde_json::from_value(content).unwrap();
    assert!(variant.check("").is_empty());
    rendered(variant)
}

fn rendered(variant: Content) -> Result<Content, String> {
    let template = Template { fallback: "en".to_owned(), variants: [("en".to_owned(), variant)].into() };
    let words = Words::compile(&template).map_err(|faults| format!("refused: {}", faults[0].1))?;
    words.render(&[], &shopper()).map(|rendered| rendered.content).map_err(|failure| failure.to_string())
}

fn link(source: &str) -> Result<String, String> {
    shown(json!({"body": "b", "link": source})).map(|content| content.link.unwrap())
}

#[test]
fn a_value_in_a_link_stays_one_value() {
    for (source, expected) in [
        ("app://hello?name={{ user.attributes.first_name }}", "app://hello?name=Anna%20Maria"),
        ("app://shop?q={{ event.properties.q }}&from=push", "app://shop?q=x%26coupon%3DFREE&from=push"),
        ("app://gates/{{ event.properties.gate }}/map", "app://gates/A%2F7/map"),
        ("app://city/{{ event.properties.city }}", "app://city/S%C3%A3o%20Paulo"),
        ("app://{{ event.properties.plain }}", "app://a-b.c_d~e"),
        ("app://n/{{ event.properties.amount }}/{{ user.attributes.age }}/{{ event.properties.late }}", "app://n/-12.6/31/True"),
        ("app://h?n={{ user.attributes.nick|default('my friend') }}", "app://h?n=my%20friend"),
        ("app://h?n={{ user.attributes.first_name|upper }}", "app://h?n=ANNA%20MARIA"),
        ("app://h?n={{ 'a=' ~ event.properties.q|safe }}", "app://h?n=a%3Dx%26coupon%3DFREE"),
        ("{% if thing.class %}app://t{% else %}app://q/{{ event.properties.q }}{% endif %}", "app://q/x%26coupon%3DFREE"),
        ("app://l{% for l in user.attributes.langs %}/{{ l }}{% endfor %}", "app://l/de/fr%2Fch"),
        ("{% raw %}app://{% endraw %}{{ event.properties.gate }}", "app://A%2F7"),
    ] {
        assert_eq!(link(source), Ok(expected.to_owned()), "{source}");
    }
    assert!(link("app://h?n={{ user.attributes.nick }}").unwrap_err().contains("missing"));
    // Encoded it is six times a thousand bytes.
    assert!(link("app://{{ event.properties.accents }}").unwrap_err().contains("longer"));
}

#[test]
fn what_is_marked_safe_goes_into_a_link_as_it_is_and_nothing_is_encoded_twice_by_urlencode() {
    for (source, expected) in [
        ("app://{{ event.properties.path|safe }}", "app://shop/7?a=b"),
        ("app://{{ event.properties.path|safe|upper }}", "app://SHOP/7?A=B"),
        ("app://h?n={{ event.properties.done }}", "app://h?n=a%2520b"),
        ("app://h?n={{ event.properties.done|safe }}", "app://h?n=a%20b"),
        ("app://h?n={{ user.attributes.first_name|urlencode }}", "app://h?n=Anna%20Maria"),
    ] {
        assert_eq!(link(source), Ok(expected.to_owned()), "{source}");
    }
    let reason = link("app://hello?name={{ user.attributes.first_name|safe }}").unwrap_err();
    assert_eq!(reason, "link in en: it is no link");
    assert!(link("app://{{ user.attributes.nick|safe }}").unwrap_err().contains("missing"));
}

#[test]
fn a_value_that_opens_a_link_is_whole_and_only_that_one() {
    for (source, expected) in [
        ("{{ event.properties.photo }}", "https://cdn.example/a.png?w=1&h=2"),
        (" \n{{ event.properties.photo }} ", "https://cdn.example/a.png?w=1&h=2"),
        ("{# a photo #}{{ event.properties.photo }}", "https://cdn.example/a.png?w=1&h=2"),
        ("{{ event.properties.photo }}&n={{ event.properties.q }}", "https://cdn.example/a.png?w=1&h=2&n=x%26coupon%3DFREE"),
        ("{{ event.properties.base }}/{{ event.properties.gate }}", "https://shop.example/A%2F7"),
        (
            "{% if event.properties.photo %}{{ event.properties.photo }}{% else %}app://x{% endif %}",
            "https://cdn.example/a.png?w=1&h=2",
        ),
        ("{{ event.properties.base }}{{ event.properties.gate }}", "https://shop.exampleA%2F7"),
        ("{{ event.properties.empty }}{{ event.properties.gate }}", "A%2F7"),
        ("a{{ event.properties.gate }}", "aA%2F7"),
    ] {
        assert_eq!(link(source), Ok(expected.to_owned()), "{source}");
    }
    assert_eq!(link("{{ event.properties.city }}").unwrap_err(), "link in en: it is no link");
}

#[test]
fn images_are_urls_too_and_other_texts_are_none() {
    let source = "https://cdn.example/{{ event.properties.city }}.png";
    let content = shown(json!({
        "title": "{{ event.properties.q }}", "body": "{{ event.properties.city }}", "image": source,
        "android": {"image": source, "data": {"q": "?{{ event.properties.q }}"}},
        "data": {
            "url": "https://shop.example/?q={{ event.properties.gate|urlencode }}&n={{ user.attributes.first_name|urlencode }}",
            "path": "/{{ event.properties.path|safe }}",
        },
    }));
    let content = content.unwrap();
    assert_eq!((content.title.as_deref(), content.body.as_str()), (Some("x&coupon=FREE"), "São Paulo"));
    assert_eq!(content.image.as_deref(), Some("https://cdn.example/S%C3%A3o%20Paulo.png"));
    let android = content.android.unwrap();
    assert_eq!(android.image.as_deref(), Some("https://cdn.example/S%C3%A3o%20Paulo.png"));
    assert_eq!(json!(android.data), json!({"q": "?x&coupon=FREE"}));
    let data = json!({"url": "https://shop.example/?q=A%2F7&n=Anna%20Maria", "path": "/shop/7?a=b"});
    assert_eq!(json!(content.data), data);
    for (field, content) in [
        ("image", json!({"body": "b", "image": "{{ event.properties.q }}"})),
        ("android.image", json!({"body": "b", "android": {"image": "{{ event.properties.q }}"}})),
    ] {
        assert_eq!(shown(content).unwrap_err(), format!("{field} in en: it is no URL that begins with https://"));
    }
    let missing = "https://x.example/?n={{ user.attributes.nick|urlencode }}";
    assert!(shown(json!({"body": "b", "data": {"url": missing}})).unwrap_err().contains("missing"));
    assert!(shown(json!({"body": "{{ event.properties.accents|urlencode|length }}"})).unwrap_err().contains("longer"));
}

#[test]
fn an_image_beside_sealed_words_is_read_by_the_gateway_and_says_nothing_of_a_person() {
    let image = "https://cdn.example/{{event.properties.gate}}.png";
    for (sealed, expected) in [(json!(null), "https://cdn.example/A%2F7.png"), (json!({"body": "x"}), image)] {
        // As it was kept before it was refused.
        let content = json!({"body": "{{ event.properties.city }}", "encrypted": sealed, "android": {"image": image}});
        let content = rendered(serde_json::from_value(content).unwrap()).unwrap();
        let android = content.android.unwrap();
        assert_eq!((content.body.as_str(), android.image.as_deref()), ("São Paulo", Some(expected)));
    }
}

#[test]
fn missing_values_silence_with_a_reason_that_tells_no_value() {
    for source in [
        "{{ user.attributes.nick }}",
        "{{ user.attributes.shoe.size }}",
        "{{ nobody }}",
        "{{ thing.class }}",
        "{{ event.properties.long }}",
    ] {
        let reason = body(source).unwrap_err();
        assert!(reason.starts_with("body in en:") && reason.contains("missing"), "{source}: {reason}");
    }
    let reason = body("{{ user.attributes.first_name|int }}").unwrap_err();
    assert!(!reason.contains("Zoë"), "{reason}");
    assert!(body("{{ ' ' }}").unwrap_err().contains("blank"));
}

#[test]
fn what_could_cost_memory_or_time_is_refused_or_ends() {
    for source in [
        "{% set a = 'x' %}{{ a }}",
        "{% macro m() %}{% endmacro %}x",
        "{% include 'en/title' %}",
        "{% extends 'en/title' %}",
        "{% import 'en/title' as t %}x",
        "{% with a = 1 %}{{ a }}{% endwith %}",
        "{%- set a = 'x' -%}x",
        "{%+ set a = 'x' %}x",
        "{% filter upper %}x{% endfilter %}",
        "{% call x() %}{% endcall %}",
        "{% block b %}x{% endblock %}",
        "{% do x %}",
        "{% autoescape true %}x{% endautoescape %}",
        "{{ 'x' * 100000000 }}",
        "{{ [1] * 100000000 }}",
        "{{ nothing",
        "{% if %}",
        "{{ user.attributes.first_name|replace('Z', 'ZZ') }}",
        "{{ 'x'|indent(1000000) }}",
        "{{ range(100000)|length }}",
        "{{ namespace() }}",
    ] {
        let refused = body(source).expect_err(source);
        assert!(!refused.is_empty(), "{source}");
    }
    let joins = format!("{{{{ {} }}}}", vec!["'x'"; 40].join(" ~ "));
    assert!(body(&joins).unwrap_err().contains('~'));
    let loops = format!("{}x{}", "{% for a in user.attributes.langs %}".repeat(4), "{% endfor %}".repeat(4));
    assert!(body(&loops).unwrap_err().contains("loops"));
    assert!(body(&"x".repeat(4_097)).unwrap_err().contains("longer"));
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(1_000), ")".repeat(1_000));
    assert!(body(&deep).is_err());
}

#[test]
fn a_long_loop_runs_out_of_fuel() {
    let mut known = Known::default();
    known.set(Name::Event, &json!({"properties": {"many": vec![1; 400]}}));
    let source =
        "{% for a in event.properties.many %}{% for b in event.properties.many %}{% if a %}{% endif %}{% endfor %}{% endfor %}x";
    let failure = Words::compile(&template(&["en"], "t", source)).unwrap().render(&[], &known).unwrap_err();
    assert!(failure.reason.contains("steps"), "{failure}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_template_panic(source in "\\PC{0,120}") {
        let _ = body(&source);
    }

    #[test]
    fn no_mix_of_words_makes_a_template_panic(words in prop::collection::vec(prop::sample::select(vec![
        "{{ ", " }}", "{% ", " %}", "if ", "endif", "for x in ", "endfor", "user", ".attributes", ".first_name", "|upper", "|default('x')",
        "|round", "|first", "|int", "'x'", "1", "[", "]", "(", ")", "~", "-", "/", "{#", "#}", "else", " is defined", "raw", "endraw", "x", "loop(", ".age",
        " in ", " and ", "not ", ",", ":",
    ]), 0..25)) {
        let _ = body(&words.concat());
    }
}
