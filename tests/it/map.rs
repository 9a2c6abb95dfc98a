//! Geometry, the index, GeoJSON and subjects on the map.

use kairos::clock::Clock;
use kairos::id::Ids;
use kairos::place::geojson::Geometry;
use kairos::place::geometry::{Point, Shape, distance_m};
use kairos::place::index::Index;
use kairos::place::track::{Class, Fix, Track};
use kairos::place::transition::{Kind, Terms};
use kairos::place::{DWELL_MS_DEFAULT, Place, STALE_AFTER_MS_DEFAULT};
use proptest::prelude::*;
use serde_json::json;

fn point(lat: f64, lon: f64) -> Point {
    Point { lat, lon }
}

fn circle(lat: f64, lon: f64, radius_m: f64) -> Shape {
    Shape::Circle { center: point(lat, lon), radius_m }
}

fn place(ids: &Ids, shape: Shape, shaped_ms: i64) -> Place {
    Place {
        id: ids.next(),
        key: None,
        name: String::new(),
        shape,
        tags: Vec::new(),
        terms: Terms { dwell_ms: DWELL_MS_DEFAULT, stale_after_ms: STALE_AFTER_MS_DEFAULT },
        opening_hours: None,
        revision: 1,
        shaped_ms,
        created_ms: 0,
    }
}

fn polygon(coordinates: serde_json::Value) -> Result<Shape, String> {
    let geometry: Geometry = serde_json::from_value(json!({"type": "Polygon", "coordinates": coordinates})).unwrap();
    geometry.read().map(Shape::Polygons).map_err(|flaw| format!("{}: {}", flaw.path, flaw.message))
}

#[test]
fn distances_are_those_of_a_sphere_of_6371008_8_metres() {
    for (a, b, metres) in [
        (point(0.0, 0.0), point(0.0, 1.0), 111_195.080),
        (point(0.0, 179.5), point(0.0, -179.5), 111_195.080),
        (point(60.0, 0.0), point(60.0, 1.0), 55_597.011),
        (point(51.47, -0.4543), point(40.6413, -73.7781), 5_540_018.970),
    ] {
        assert!((distance_m(a, b) - metres).abs() < 0.001, "{a:?} {b:?}: {}", distance_m(a, b));
    }
}

#[test]
fn on_the_edge_is_inside_and_a_hole_is_outside() {
    let shape = polygon(json!([[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]], [[4, 4], [6, 4], [6, 6], [4, 6], [4, 4]]])).unwrap();
    for (lat, lon, inside) in [
        (5.0, 2.0, true),
        (0.0, 5.0, true),
        (10.0, 10.0, true),
        (5.0, 5.0, false),
        (4.0, 5.0, true),
        (5.0, 10.000_001, false),
        (-0.000_001, 5.0, false),
    ] {
        assert_eq!(shape.contains(point(lat, lon)), inside, "{lat} {lon}");
    }
}

#[test]
fn a_ring_over_the_antimeridian_is_read_the_short_way_and_cut_on_write() {
    let shape = polygon(json!([[[177, -20], [-178, -20], [-178, -16], [177, -16], [177, -20]]])).unwrap();
    for (lon, inside) in
        [(178.0, true), (-179.0, true), (180.0, true), (-180.0, true), (0.0, false), (-177.0, false), (176.0, false)]
    {
        assert_eq!(shape.contains(point(-18.0, lon)), inside, "{lon}");
    }
    assert!(shape.edge_distance_m(point(-18.0, 180.0)) > 200_000.0, "the cut is no edge");
    let Shape::Polygons(parts) = &shape else { panic!() };
    let written = serde_json::to_value(Geometry::write(parts)).unwrap();
    assert_eq!(written["type"], "MultiPolygon");
    assert_eq!(written["coordinates"].as_array().unwrap().len(), 2);
    let read = serde_json::from_value::<Geometry>(written).unwrap().read().map(Shape::Polygons).unwrap();
    for lon in [176.9, 177.5, 179.999, -179.999, -178.5, -177.9] {
        assert_eq!(read.contains(point(-18.0, lon)), shape.contains(point(-18.0, lon)), "{lon}");
    }
    assert!(read.edge_distance_m(point(-18.0, 179.9)) > 200_000.0, "the cut is no edge when it comes back either");
}

#[test]
fn rings_that_mean_nothing_are_refused_with_their_path() {
    for (ring, path) in [
        (json!([[[0, 0], [1, 0], [1, 1], [0, 1]]]), "coordinates[0]"),
        (json!([[[0, 0], [1, 0], [0, 0]]]), "coordinates[0]"),
        (json!([[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]), "coordinates[0]"),
        (json!([[[0, 0], [1, 0], [2, 0], [0, 0]]]), "coordinates[0]"),
        (json!([[[0, 0], [181, 0], [1, 1], [0, 0]]]), "coordinates[0][1]"),
        (json!([[[0, 0], [1, 91], [1, 1], [0, 0]]]), "coordinates[0][1]"),
        (json!([[[-180, 0], [180, 0], [180, 1], [-180, 1], [-180, 0]]]), "coordinates[0][1]"),
        (json!([[[0, 80], [120, 80], [-120, 80], [0, 80]]]), "coordinates[0]"),
        (json!([[[0, 0], [1], [1, 1], [0, 0]]]), "coordinates[0][1]"),
        (json!([[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]], [[8, 8], [12, 8], [12, 12], [8, 12], [8, 8]]]), "coordinates[0"),
        (json!([]), "coordinates"),
    ] {
        let flaw = polygon(ring.clone()).expect_err(&ring.to_string());
        assert!(flaw.starts_with(path.trim_end_matches("[0")), "{ring}: {flaw}");
    }
    let many: Vec<[f64; 2]> = (0..1_001).map(|n| [f64::from(n) / 1_001.0, (f64::from(n) / 300.0).sin()]).collect();
    assert!(polygon(json!([many])).unwrap_err().contains("1,000"));
}

#[test]
fn places_at_the_poles_and_the_antimeridian_are_found() {
    let ids = Ids::new(Clock::at(0));
    let index = Index::new(vec![
        place(&ids, circle(89.9, 0.0, 50_000.0), 0),
        place(&ids, circle(0.0, 179.99, 5_000.0), 0),
        place(&ids, circle(-89.99, 45.0, 5_000.0), 0),
        place(&ids, polygon(json!([[[170, 0], [180, 0], [180, 10], [170, 10], [170, 0]]])).unwrap(), 0),
    ]);
    for (lat, lon, found) in [
        (89.9, 180.0, 1),
        (90.0, -70.0, 1),
        (0.0, -179.99, 1),
        (0.0, 179.97, 2),
        (5.0, -180.0, 1),
        (5.0, 180.0, 1),
        (-90.0, 0.0, 1),
        (0.0, 0.0, 0),
    ] {
        assert_eq!(index.at(point(lat, lon)).len(), found, "{lat} {lon}");
    }
}

#[test]
fn a_coarse_fix_is_ignored_and_is_no_sight_of_the_place() {
    let ids = Ids::new(Clock::at(0));
    let index = Index::new(vec![place(&ids, circle(0.0, 0.0, 100.0), 0)]);
    let mut track = Track::default();
    let fix = |at_ms, lon, accuracy_m| Fix { at_ms, point: point(0.0, lon), accuracy_m, partner_id: None };
    assert_eq!(track.see(&index, Class::Thing, fix(0, 0.0, Some(101.0))), Some(vec![]));
    let moved = track.see(&index, Class::Thing, fix(1_000, 0.0, Some(20.0))).unwrap();
    assert_eq!(moved[0].step.kind, Kind::Enter { initial: true });
    assert_eq!(track.see(&index, Class::Thing, fix(1_000, 1.0, Some(20.0))), None, "the same time again");
    assert_eq!(track.see(&index, Class::Thing, fix(999, 1.0, Some(20.0))), None, "late");
    assert_eq!(track.inside(&index).len(), 1);
}

#[test]
fn a_place_reshaped_after_the_last_fix_has_not_been_seen() {
    let ids = Ids::new(Clock::at(0));
    let index = Index::new(vec![place(&ids, circle(0.0, 0.0, 100.0), 500), place(&ids, circle(0.0, 0.0, 100.0), 50)]);
    let mut track = Track::default();
    let fix = |at_ms, lon| Fix { at_ms, point: point(0.0, lon), accuracy_m: Some(1.0), partner_id: None };
    assert_eq!(track.see(&index, Class::Thing, fix(100, 1.0)), Some(vec![]));
    let mut moved = track.see(&index, Class::Thing, fix(1_000, 0.0)).unwrap();
    moved.sort_by_key(|m| m.place_id);
    assert_eq!(moved[0].step.kind, Kind::Enter { initial: true });
    assert_eq!(moved[1].step.kind, Kind::Enter { initial: false });
}

#[test]
fn a_phone_does_not_fly_but_a_thing_may() {
    let index = Index::new(Vec::new());
    for (class, judged) in [(Class::Phone, false), (Class::Thing, true)] {
        let mut track = Track::default();
        let fix = |at_ms, lon| Fix { at_ms, point: point(0.0, lon), accuracy_m: None, partner_id: None };
        assert!(track.see(&index, class, fix(0, 0.0)).is_some());
        assert_eq!(track.see(&index, class, fix(1_000, 0.01)).is_some(), judged);
    }
}

proptest! {
    #[test]
    fn the_index_finds_what_a_walk_over_all_places_finds(
        places in prop::collection::vec((-90.0_f64..90.0, -180.0_f64..180.0, 10.0_f64..3_000_000.0), 1..40),
        lat in -90.0_f64..90.0, lon in -180.0_f64..=180.0, limit in 1_usize..6,
    ) {
        let ids = Ids::new(Clock::at(0));
        let all: Vec<Place> = places.iter().map(|(lat, lon, r)| place(&ids, circle(*lat, *lon, *r), 0)).collect();
        let at = point(lat, lon);
        let mut expected: Vec<_> = all.iter().filter(|p| p.shape.contains(at)).map(|p| p.id).collect();
        let mut distances: Vec<f64> = places.iter().map(|(lat, lon, r)| (distance_m(point(*lat, *lon), at) - r).max(0.0)).collect();
        distances.sort_by(f64::total_cmp);
        distances.truncate(limit);
        let index = Index::new(all);
        let mut found: Vec<_> = index.at(at).iter().map(|p| p.id).collect();
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
        let nearest: Vec<f64> = index.nearest(at, limit).iter().map(|n| n.distance_m).collect();
        prop_assert_eq!(nearest, distances);
    }

    #[test]
    fn an_index_that_is_edited_answers_as_one_that_is_built_anew(
        edits in prop::collection::vec((0_usize..12, any::<bool>(), -90.0_f64..90.0, -180.0_f64..180.0, 10.0_f64..3_000_000.0), 1..60),
        lat in -90.0_f64..90.0, lon in -180.0_f64..=180.0,
    ) {
        let ids = Ids::new(Clock::at(0));
        let names: Vec<_> = (0..12).map(|_| ids.next()).collect();
        let (mut index, mut all) = (Index::new(Vec::new()), std::collections::BTreeMap::new());
        for (n, stays, lat, lon, radius_m) in edits {
            if stays {
                let place = Place { id: names[n], ..place(&ids, circle(lat, lon, radius_m), 0) };
                all.insert(names[n], place.clone());
                index.put(place);
            } else {
                all.remove(&names[n]);
                index.remove(names[n]);
            }
        }
        let (at, anew) = (point(lat, lon), Index::new(all.values().cloned().collect()));
        let ids_at = |index: &Index| index.at(at).iter().map(|p| p.id).collect::<std::collections::BTreeSet<_>>();
        let near = |index: &Index| index.nearest(at, 5).iter().map(|n| n.distance_m).collect::<Vec<f64>>();
        prop_assert_eq!((index.len(), ids_at(&index), near(&index)), (all.len(), ids_at(&anew), near(&anew)));
        for name in names {
            prop_assert_eq!(index.get(name).map(|place| place.as_ref()), all.get(&name));
        }
    }

    #[test]
    fn no_geometry_makes_the_reader_panic(rings in prop::collection::vec(prop::collection::vec((-200.0_f64..200.0, -100.0_f64..100.0), 0..7), 0..3), close in any::<bool>()) {
        let rings: Vec<Vec<Vec<f64>>> = rings.into_iter().map(|ring| {
            let mut ring: Vec<Vec<f64>> = ring.into_iter().map(|(x, y)| vec![x, y]).collect();
            if close { ring.extend(ring.first().cloned()); }
            ring
        }).collect();
        if let Ok(parts) = (Geometry::Polygon { coordinates: rings }).read() {
            let shape = Shape::Polygons(parts.clone());
            prop_assert!(shape.contains(parts[0].outer[0]));
            prop_assert!(Geometry::write(&parts).read().is_ok() || parts[0].outer.iter().any(|p| p.lon.abs() > 180.0));
            prop_assert!(shape.coarse_limit_m().is_finite() && !shape.bounds().is_empty());
        }
    }
}
