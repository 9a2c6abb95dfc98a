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
