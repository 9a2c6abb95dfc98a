//! Points, circles and polygons on the globe: distance, inside or outside, how far from the edge.

use serde::{Deserialize, Serialize};

/// Mean radius of the Earth (IUGG), in metres.
pub const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// Metres per degree of latitude on that sphere.
const METRES_PER_DEGREE: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 180.0;

/// How close to a line, in degrees, counts as on it: 0.1 µm, the rounding of a cross product.
const ON_EDGE_DEGREES: f64 = 1e-12;

/// A point on the globe, in degrees (WGS 84).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Latitude, −90 to 90.
    pub lat: f64,
    /// Longitude, −180 to 180; in a stored polygon it may run beyond, so that no edge jumps.
    pub lon: f64,
}

/// A closed ring without its last, repeated point.
pub type Ring = Vec<Point>;

/// An outer ring and its holes. Longitudes run on beyond ±180° where a ring crosses the antimeridian.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Polygon {
    /// The outer ring, counter-clockwise.
    pub outer: Ring,
    /// The holes, clockwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Ring>,
}

/// What a place looks like on the map.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// All points within a distance of the centre.
    Circle {
        /// The centre.
        center: Point,
        /// The distance, in metres.
        radius_m: f64,
    },
    /// All points in at least one of these polygons.
    Polygons(Vec<Polygon>),
}

/// A box in degrees; `west ≤ east`, never across the antimeridian.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Least longitude.
    pub west: f64,
    /// Least latitude.
    pub south: f64,
    /// Greatest longitude.
    pub east: f64,
    /// Greatest latitude.
    pub north: f64,
}

/// Great-circle distance in metres (haversine).
pub fn distance_m(a: Point, b: Point) -> f64 {
    let (phi1, phi2) = (a.lat.to_radians(), b.lat.to_radians());
    let half_lat = (phi2 - phi1) / 2.0;
    let half_lon = (b.lon - a.lon).to_radians() / 2.0;
    let h = half_lat.sin().powi(2) + phi1.cos() * phi2.cos() * half_lon.sin().powi(2);
    2.0 * EARTH_RADIUS_M * h.sqrt().min(1.0).asin()
}

impl Shape {
    /// Whether the point lies in the shape; on the edge is inside.
    pub fn contains(&self, point: Point) -> bool {
        match self {
            Self::Circle { center, radius_m } => distance_m(*center, point) <= *radius_m,
            Self::Polygons(parts) => parts
                .iter()
                .any(|part| [0.0, 360.0, -360.0].into_iter().any(|turn| part.contains(Point { lon: point.lon + turn, ..point }))),
        }
    }

    /// How far the point is from the edge, in metres, on whichever side it lies.
    pub fn edge_distance_m(&self, point: Point) -> f64 {
        match self {
            Self::Circle { center, radius_m } => (distance_m(*center, point) - radius_m).abs(),
            Self::Polygons(parts) => {
                // Two parts that meet at ±180° are one area that was cut there: the cut is no edge.
                let seam = |edge: (Point, Point)| parts.len() > 1 && edge.0.lon.abs() == 180.0 && edge.0.lon == edge.1.lon;
                parts
                    .iter()
                    .flat_map(Polygon::rings)
                    .flat_map(|ring| edges(ring))
                    .filter(|edge| !seam(*edge))
                    .map(|(from, to)| segment_distance_m(point, from, to))
                    .fold(f64::INFINITY, f64::min)
            }
        }
    }

    /// A fix less accurate than this says nothing about the place: the radius, or half the shorter side of the box.
    pub fn coarse_limit_m(&self) -> f64 {
        match self {
            Self::Circle { radius_m, .. } => *radius_m,
            Self::Polygons(parts) => {
                let (south, north) = span(parts, |p| p.lat);
                let (west, east) = span(parts, |p| p.lon);
                let height_m = (north - south) * METRES_PER_DEGREE;
                let width_m = (east - west) * METRES_PER_DEGREE * ((north + south) / 2.0).to_radians().cos();
                height_m.min(width_m) / 2.0
            }
        }
    }

    /// A circle around the whole shape: what a phone can watch. Centre and radius in metres.
    pub fn enclosing_circle(&self) -> (Point, f64) {
        match self {
            Self::Circle { center, radius_m } => (*center, *radius_m),
            Self::Polygons(parts) => {
                let (south, north) = span(parts, |p| p.lat);
                let (west, east) = span(parts, |p| p.lon);
                let center = Point { lat: (south + north) / 2.0, lon: wrap_lon((west + east) / 2.0) };
                let points = parts.iter().flat_map(|part| &part.outer);
                (center, points.map(|p| distance_m(center, *p)).fold(0.0, f64::max))
            }
        }
    }

    /// Boxes that together hold the shape, none across the antimeridian; poles take all longitudes.
    pub fn bounds(&self) -> Vec<Bounds> {
        match self {
            Self::Circle { center, radius_m } => circle_bounds(*center, *radius_m),
            Self::Polygons(parts) => parts
                .iter()
                .flat_map(|part| {
                    let (south, north) = span(std::slice::from_ref(part), |p| p.lat);
                    let (west, east) = span(std::slice::from_ref(part), |p| p.lon);
                    split(west, south, east, north)
                })
                .collect(),
        }
    }
}

impl Polygon {
    /// The outer ring, then the holes.
    pub fn rings(&self) -> impl Iterator<Item = &Ring> {
        std::iter::once(&self.outer).chain(&self.holes)
    }

    fn contains(&self, point: Point) -> bool {
        if self.rings().any(|ring| edges(ring).any(|(from, to)| on_segment(point, from, to))) {
            return true;
        }
        winds_around(&self.outer, point) && !self.holes.iter().any(|hole| winds_around(hole, point))
    }
}

/// The edges of a ring, the closing one included.
pub(super) fn edges(ring: &[Point]) -> impl Iterator<Item = (Point, Point)> {
    ring.iter().copied().zip(ring.iter().copied().cycle().skip(1))
}

/// A longitude brought back to −180 to 180.
pub fn wrap_lon(lon: f64) -> f64 {
    if (-180.0..=180.0).contains(&lon) { lon } else { (lon + 180.0).rem_euclid(360.0) - 180.0 }
}

/// Even-odd ray to the east; of each edge only the lower end counts, so that a corner is crossed once.
pub(super) fn winds_around(ring: &[Point], point: Point) -> bool {
    edges(ring).fold(false, |inside, (a, b)| {
        let crosses = (a.lat > point.lat) != (b.lat > point.lat)
            && point.lon < (b.lon - a.lon) * (point.lat - a.lat) / (b.lat - a.lat) + a.lon;
        inside != crosses
    })
}

pub(super) fn on_segment(point: Point, a: Point, b: Point) -> bool {
    let within = |low: f64, high: f64, x: f64| x >= low.min(high) && x <= low.max(high);
    if !within(a.lon, b.lon, point.lon) || !within(a.lat, b.lat, point.lat) {
        return false;
    }
    let (dx, dy) = (b.lon - a.lon, b.lat - a.lat);
    let cross = dx * (point.lat - a.lat) - dy * (point.lon - a.lon);
    cross.abs() <= ON_EDGE_DEGREES * dx.hypot(dy)
}

/// Distance to a segment in a plane that touches the globe at the point: good below about 50 km.
fn segment_distance_m(point: Point, from: Point, to: Point) -> f64 {
    let turns = ((point.lon - from.lon) / 360.0).round() * 360.0;
    let scale = point.lat.to_radians().cos() * METRES_PER_DEGREE;
    let flat = |p: Point| ((p.lon + turns - point.lon) * scale, (p.lat - point.lat) * METRES_PER_DEGREE);
    let ((ax, ay), (bx, by)) = (flat(from), flat(to));
    let (dx, dy) = (bx - ax, by - ay);
    let length2 = dx * dx + dy * dy;
    let along = if length2 == 0.0 { 0.0 } else { (-(ax * dx + ay * dy) / length2).clamp(0.0, 1.0) };
    (ax + along * dx).hypot(ay + along * dy)
}

fn span(parts: &[Polygon], of: impl Fn(&Point) -> f64) -> (f64, f64) {
    let all = parts.iter().flat_map(|part| &part.outer).map(of);
    all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
}

fn circle_bounds(center: Point, radius_m: f64) -> Vec<Bounds> {
    // A hair wider than the circle: the box only has to miss nothing.
    let angle = radius_m / EARTH_RADIUS_M * (1.0 + 1e-9) + 1e-12;
    let (south, north) = (center.lat - angle.to_degrees(), center.lat + angle.to_degrees());
    if south <= -90.0 || north >= 90.0 {
        return vec![Bounds { west: -180.0, south: south.max(-90.0), east: 180.0, north: north.min(90.0) }];
    }
    // The widest parallel of a circle on the sphere, not that of its centre.
    let half_lon = (angle.sin() / center.lat.to_radians().cos()).min(1.0).asin().to_degrees();
    split(center.lon - half_lon, south, center.lon + half_lon, north)
}

/// One box, or two where it runs over the antimeridian.
fn split(west: f64, south: f64, east: f64, north: f64) -> Vec<Bounds> {
    if east - west >= 360.0 {
        return vec![Bounds { west: -180.0, south, east: 180.0, north }];
    }
    let turn = ((west + 180.0) / 360.0).floor() * 360.0;
    let (west, east) = (west - turn, east - turn);
    // A box that ends on the antimeridian holds the points of both its names.
    if east < 180.0 && west > -180.0 {
        return vec![Bounds { west, south, east, north }];
    }
    if west == -180.0 {
        return vec![Bounds { west, south, east, north }, Bounds { west: 180.0, south, east: 180.0, north }];
    }
    vec![Bounds { west, south, east: 180.0, north }, Bounds { west: -180.0, south, east: (east - 360.0).max(-180.0), north }]
}
