//! The recording around Paris through the pure rules: the landings that were there, and no others.

use kairos::event::settle::{self, Held};
use kairos::id::{Ids, PlaceId};
use kairos::place::geometry::{Point, Shape};
use kairos::place::index::Index;
use kairos::place::track::{Class, Fix, Track};
use kairos::place::transition::{Kind, Terms};
use kairos::place::{DWELL_MS_DEFAULT, Place, STALE_AFTER_MS_DEFAULT};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;

const AIRPORT_RADIUS_M: f64 = 3_000.0;

#[derive(serde::Deserialize)]
struct Row {
    ts_ms: i64,
    icao24: String,
    lat: Option<f64>,
    lon: Option<f64>,
    on_ground: Option<u8>,
}

#[derive(serde::Deserialize)]
struct Airport {
    iata: String,
    name: String,
    lat: f64,
    lon: f64,
}

fn positions(path: &str) -> Vec<Row> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
}

fn airports(path: &str) -> (Index, HashMap<PlaceId, String>) {
    let ids = Ids::new(kairos::clock::Clock::at(0));
    let mut names = HashMap::new();
    let mut places = Vec::new();
    for airport in csv::Reader::from_path(path).unwrap().deserialize::<Airport>().map(Result::unwrap) {
        let id: PlaceId = ids.next();
        names.insert(id, airport.iata.clone());
        places.push(Place {
            id,
            key: Some(airport.iata),
            name: airport.name,
            shape: Shape::Circle { center: Point { lat: airport.lat, lon: airport.lon }, radius_m: AIRPORT_RADIUS_M },
            tags: vec!["airport".to_owned()],
            terms: Terms { dwell_ms: DWELL_MS_DEFAULT, stale_after_ms: STALE_AFTER_MS_DEFAULT },
            shaped_ms: 0,
            opening_hours: None,
            revision: 1,
            created_ms: 0,
        });
    }
    (Index::new(places), names)
}

#[derive(Default, Debug)]
struct Figures {
    landings: BTreeMap<String, usize>,
    enters: usize,
    exits: usize,
}

/// Plays a recording; a landing is a change of `on_ground` to true while the aircraft is inside an airport's place.
fn play(rows: &[Row], index: &Index, names: &HashMap<PlaceId, String>, settle_ms: i64) -> Figures {
    let mut figures = Figures::default();
    let mut tracks: HashMap<&str, Track> = HashMap::new();
    let mut held: HashMap<&str, Option<Held>> = HashMap::new();
    for row in rows {
        let track = tracks.entry(&row.icao24).or_default();
        if let (Some(lat), Some(lon)) = (row.lat, row.lon) {
            let fix = Fix { at_ms: row.ts_ms, point: Point { lat, lon }, accuracy_m: None, partner_id: None };
            for moved in track.see(index, Class::Thing, fix).unwrap_or_default() {
                match moved.step.kind {
                    Kind::Enter { .. } => figures.enters += 1,
                    Kind::Exit { .. } => figures.exits += 1,
                    Kind::Dwell => {}
                }
            }
        }
        let value = row.on_ground.map_or(Value::Null, |n| Value::Bool(n == 1));
        let change = settle::see(held.entry(&row.icao24).or_default(), &value, row.ts_ms, settle_ms);
        if change.is_some_and(|c| c.to == Value::Bool(true)) {
            for place in track.inside(index) {
                *figures.landings.entry(names[&place].clone()).or_default() += 1;
            }
        }
    }
    figures
}

fn count(figures: &Figures, iata: &str) -> usize {
    figures.landings.get(iata).copied().unwrap_or(0)
}

#[test]
fn raw_changes_to_on_ground_around_paris_are_20_12_and_4() {
    let (index, names) = airports("examples/airports.csv");
    let figures = play(&positions("examples/paris-arrivals.csv.gz"), &index, &names, 0);
    assert_eq!((count(&figures, "ORY"), count(&figures, "LBG"), count(&figures, "CDG")), (20, 12, 4), "{figures:?}");
}

#[test]
fn with_a_hold_of_two_minutes_17_8_and_4_landings_remain() {
    let (index, names) = airports("examples/airports.csv");
    let figures = play(&positions("examples/paris-arrivals.csv.gz"), &index, &names, 120_000);
    assert_eq!((count(&figures, "ORY"), count(&figures, "LBG"), count(&figures, "CDG")), (17, 8, 4), "{figures:?}");
}

#[test]
fn a_change_counts_only_after_its_hold() {
    let yes = Value::Bool(true);
    let no = Value::Bool(false);
    let mut held = None;
    let mut see = |value: &Value, at_ms| settle::see(&mut held, value, at_ms, 100).map(|c| (c.from, c.to));
    assert_eq!(see(&no, 0), None, "the first value is no change");
    assert_eq!(see(&Value::Null, 50), None, "a blank is no change");
    assert_eq!(see(&yes, 99), None, "held too short");
    assert_eq!(see(&no, 199), Some((yes.clone(), no.clone())), "what did not count restarted the hold");
    assert_eq!(see(&yes, 150), None, "an older event changes nothing");
    assert_eq!(see(&yes, 298), None);
    assert_eq!(see(&yes, 1_000), None, "no change at all");
    assert_eq!(see(&no, 1_000), Some((yes, no)));
}
