//! GeoJSON polygons (RFC 7946) in and out: what is refused, how a ring over the antimeridian is read and cut.

use super::geometry::{Point, Polygon, Ring, edges, on_segment, winds_around, wrap_lon};
use serde::{Deserialize, Serialize};

/// Most vertices of one place, all rings together.
pub const VERTICES_MAX: usize = 1_000;

/// A GeoJSON geometry as it is sent: positions are `[longitude, latitude]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Geometry {
    /// An outer ring and its holes; each ring is closed: its last position repeats the first.
    Polygon {
        /// `[ring][position][longitude, latitude]`
        #[schema(min_items = 1)]
        coordinates: Vec<Vec<Vec<f64>>>,
    },
    /// Several polygons.
    MultiPolygon {
        /// `[polygon][ring][position][longitude, latitude]`
        #[schema(min_items = 1)]
        coordinates: Vec<Vec<Vec<Vec<f64>>>>,
    },
}

/// Why a geometry is refused: the path inside it and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// E.g. `coordinates[0][3]`.
    pub path: String,
    /// For a person.
    pub message: &'static str,
}

impl Geometry {
    /// Reads the polygons; windings are put right, repeated points dropped, longitudes unrolled.
    ///
    /// # Errors
    /// The first flaw.
    pub fn read(&self) -> Result<Vec<Polygon>, Flaw> {
        let parts: Vec<(String, &Vec<Vec<Vec<f64>>>)> = match self {
            Self::Polygon { coordinates } => vec![("coordinates".to_owned(), coordinates)],
            Self::MultiPolygon { coordinates } => {
                coordinates.iter().enumerate().map(|(n, part)| (format!("coordinates[{n}]"), part)).collect()
            }
        };
        let vertices: usize = parts.iter().flat_map(|(_, rings)| rings.iter()).map(Vec::len).sum();
        if vertices > VERTICES_MAX {
            return Err(flaw("coordinates", "at most 1,000 vertices"));
        }
        if parts.is_empty() {
            return Err(flaw("coordinates", "at least one polygon"));
        }
        parts.into_iter().map(|(path, rings)| read_polygon(&path, rings)).collect()
    }

    /// Writes polygons, cut at the antimeridian so that no part crosses it (RFC 7946 §3.1.9).
    pub fn write(parts: &[Polygon]) -> Self {
        let mut cut: Vec<Vec<Vec<Vec<f64>>>> = parts.iter().flat_map(cut_at_antimeridian).collect();
        match cut.pop() {
            Some(only) if cut.is_empty() => Self::Polygon { coordinates: only },
            Some(last) => {
                cut.push(last);
                Self::MultiPolygon { coordinates: cut }
            }
            None => Self::MultiPolygon { coordinates: cut },
        }
    }
}

fn flaw(path: &str, message: &'static str) -> Flaw {
    Flaw { path: path.to_owned(), message }
}

fn read_polygon(path: &str, rings: &[Vec<Vec<f64>>]) -> Result<Polygon, Flaw> {
    let mut read = rings.iter().enumerate().map(|(n, ring)| read_ring(&format!("{path}[{n}]"), ring));
    let mut outer = read.next().ok_or_else(|| flaw(path, "at least an outer ring"))??;
    let mut holes = read.collect::<Result<Vec<_>, _>>()?;
    for (n, hole) in holes.iter_mut().enumerate() {
        let path = format!("{path}[{}]", n + 1);
        // A hole was unrolled from its own first point: bring it to where the outer ring is.
        let turn = [0.0, 360.0, -360.0].into_iter().find(|turn| {
            hole.iter().all(|p| {
                let moved = Point { lon: p.lon + turn, ..*p };
                winds_around(&outer, moved) || edges(&outer).any(|(a, b)| on_segment(moved, a, b))
            })
        });
        let turn = turn.ok_or_else(|| flaw(&path, "a hole must lie inside the outer ring"))?;
        hole.iter_mut().for_each(|p| p.lon += turn);
        if edges(hole).any(|h| edges(&outer).any(|o| cross(h, o))) {
            return Err(flaw(&path, "a hole must not cross the outer ring"));
        }
        orient(hole, false);
    }
    orient(&mut outer, true);
    Ok(Polygon { outer, holes })
}

fn read_ring(path: &str, positions: &[Vec<f64>]) -> Result<Ring, Flaw> {
    if positions.len() < 4 {
        return Err(flaw(path, "a ring has at least four positions"));
    }
    let mut ring: Ring = Vec::with_capacity(positions.len());
    for (n, position) in positions.iter().enumerate() {
        let at = format!("{path}[{n}]");
        let (lon, lat) = match position.as_slice() {
            [lon, lat] | [lon, lat, _] => (*lon, *lat),
            _ => return Err(flaw(&at, "a position is [longitude, latitude]")),
        };
        if !(-180.0..=180.0).contains(&lon) || !(-90.0..=90.0).contains(&lat) {
            return Err(flaw(&at, "longitude is -180 to 180, latitude -90 to 90"));
        }
        ring.push(Point { lat, lon });
    }
    if positions.first().map(|p| (p.first(), p.get(1))) != positions.last().map(|p| (p.first(), p.get(1))) {
        return Err(flaw(path, "a ring is closed: its last position repeats the first"));
    }
    for n in 1..ring.len() {
        let jump = positions[n][0] - positions[n - 1][0];
        if jump.abs() >= 360.0 {
            return Err(flaw(&format!("{path}[{n}]"), "an edge may not jump 360° in longitude"));
        }
        // The short way round, from where the ring has got to.
        let step = if jump > 180.0 {
            jump - 360.0
        } else if jump < -180.0 {
            jump + 360.0
        } else {
            jump
        };
        // Taken as it was sent while no turn was made, so that no rounding creeps in.
        let turns = ((ring[n - 1].lon + step - positions[n][0]) / 360.0).round();
        ring[n].lon = positions[n][0] + 360.0 * turns;
    }
    if ring.first().map(|p| p.lon) != ring.last().map(|p| p.lon) {
        return Err(flaw(path, "a ring may not go around a pole"));
    }
    ring.pop();
    ring.dedup();
    if ring.len() < 3 || twice_area(&ring) == 0.0 {
        return Err(flaw(path, "a ring must enclose an area"));
    }
    if crosses_itself(&ring) {
        return Err(flaw(path, "a ring must not touch or cross itself"));
    }
    Ok(ring)
}

fn twice_area(ring: &[Point]) -> f64 {
    edges(ring).map(|(a, b)| a.lon * b.lat - b.lon * a.lat).sum()
}

fn orient(ring: &mut Ring, counter_clockwise: bool) {
    if (twice_area(ring) > 0.0) != counter_clockwise {
        ring.reverse();
    }
}

fn crosses_itself(ring: &[Point]) -> bool {
    let edges: Vec<(Point, Point)> = edges(ring).collect();
    let n = edges.len();
    (0..n).any(|i| {
        (i + 1..n).any(|j| {
            if j == i + 1 || (i == 0 && j == n - 1) {
                // Neighbours share a corner; they must not run back over each other.
                let (first, second) = if j == i + 1 { (edges[i], edges[j]) } else { (edges[j], edges[i]) };
                return on_segment(second.1, first.0, first.1) || on_segment(first.0, second.0, second.1);
            }
            touch(edges[i], edges[j])
        })
    })
}

fn side(a: Point, b: Point, p: Point) -> f64 {
    (b.lon - a.lon) * (p.lat - a.lat) - (b.lat - a.lat) * (p.lon - a.lon)
}

/// Properly across each other: shared points do not count.
fn cross(a: (Point, Point), b: (Point, Point)) -> bool {
    side(a.0, a.1, b.0) * side(a.0, a.1, b.1) < 0.0 && side(b.0, b.1, a.0) * side(b.0, b.1, a.1) < 0.0
}

fn touch(a: (Point, Point), b: (Point, Point)) -> bool {
    cross(a, b)
        || on_segment(a.0, b.0, b.1)
        || on_segment(a.1, b.0, b.1)
        || on_segment(b.0, a.0, a.1)
        || on_segment(b.1, a.0, a.1)
}

/// The pieces of a polygon between meridians −540, −180, 180 and 540, brought back to −180 to 180.
fn cut_at_antimeridian(part: &Polygon) -> Vec<Vec<Vec<Vec<f64>>>> {
    if part.outer.iter().all(|p| (-180.0..=180.0).contains(&p.lon)) {
        return vec![part.rings().map(|ring| positions(ring, 0.0)).collect()];
    }
    [-360.0, 0.0, 360.0]
        .into_iter()
        .filter_map(|turn| {
            let clip = |ring: &Ring| {
                let east = clip_ring(ring, |p| p.lon <= 180.0 + turn, 180.0 + turn);
                clip_ring(&east, |p| p.lon >= -180.0 + turn, -180.0 + turn)
            };
            let outer = clip(&part.outer);
            if outer.len() < 3 || twice_area(&outer) == 0.0 {
                return None;
            }
            let holes = part.holes.iter().map(clip).filter(|hole| hole.len() >= 3);
            Some(std::iter::once(outer).chain(holes).map(|ring| positions(&ring, -turn)).collect())
        })
        .collect()
}

/// Sutherland–Hodgman against one meridian.
fn clip_ring(ring: &Ring, keep: impl Fn(&Point) -> bool, meridian: f64) -> Ring {
    let mut out = Vec::with_capacity(ring.len() + 2);
    for (a, b) in edges(ring) {
        if keep(&a) {
            out.push(a);
        }
        if keep(&a) != keep(&b) {
            let share = (meridian - a.lon) / (b.lon - a.lon);
            out.push(Point { lat: a.lat + share * (b.lat - a.lat), lon: meridian });
        }
    }
    out.dedup();
    out
}

fn positions(ring: &[Point], turn: f64) -> Vec<Vec<f64>> {
    let position = |p: &Point| vec![if turn == 0.0 { p.lon } else { wrap_lon(p.lon + turn) }, p.lat];
    ring.iter().chain(ring.first()).map(position).collect()
}
