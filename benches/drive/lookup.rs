//! (b) Which places hold a point: the cost at 10,000 and 100,000 places against that at 1,000.

use super::measure::{Pairs, Sample, sample};
use kairos::clock::Clock;
use kairos::id::{Ids, PlaceId};
use kairos::place::geometry::{Point, Shape};
use kairos::place::index::Index;
use kairos::place::transition::Terms;
use kairos::place::{DWELL_MS_DEFAULT, Place, STALE_AFTER_MS_DEFAULT};
use serde_json::{Map, Value};

/// Look-ups per run.
const RUN: usize = 1_000_000;

/// Takes the figure.
pub fn run() -> Value {
    let (small, middle, large) = (index(1_000), index(10_000), index(100_000));
    let mut out = Map::new();
    for (name, other, aim) in [("10k_vs_1k", &middle, "reported"), ("100k_vs_1k", &large, "cost ≤ 2 × : ratio ≥ 0.5")] {
        out.insert(name.to_owned(), Pairs::take(7, || look(other), || look(&small)).json(aim));
    }
    Value::Object(out)
}

fn index(places: usize) -> Index {
    let ids = Ids::new(Clock::at(0));
    let mut random = Random(7);
    let place = |_| Place {
        id: ids.next::<PlaceId>(),
        key: None,
        name: String::new(),
        shape: Shape::Circle { center: random.point(), radius_m: 500.0 },
        tags: Vec::new(),
        terms: Terms { dwell_ms: DWELL_MS_DEFAULT, stale_after_ms: STALE_AFTER_MS_DEFAULT },
        opening_hours: None,
        revision: 1,
        shaped_ms: 0,
        created_ms: 0,
    };
    Index::new((0..places).map(place).collect())
}

fn look(index: &Index) -> Sample {
    let mut random = Random(11);
    let points: Vec<Point> = (0..RUN).map(|_| random.point()).collect();
    sample(|| {
        let found: usize = points.iter().map(|p| index.at(*p).len()).sum();
        assert!(found < RUN * 1_000);
        RUN as f64
    })
}

/// Points over central Europe, the same in every run (SplitMix64).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn point(&mut self) -> Point {
        Point { lat: 43.0 + 12.0 * self.unit(), lon: -5.0 + 25.0 * self.unit() }
    }
}
