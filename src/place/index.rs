//! All places of an app in memory: which of them hold a point, and which are nearest.

use super::Place;
use super::geometry::{Point, distance_m};
use crate::id::PlaceId;
use rstar::primitives::{GeomWithData, Rectangle};
use rstar::{AABB, RStarInsertionStrategy, RTree, RTreeParams};
use std::collections::HashMap;
use std::sync::Arc;

/// In single precision: a look-up among many places waits for memory, and half of it is enough. Rounding keeps order, so
/// what lies in a box lies in the rounded one; the shape itself is asked afterwards.
type Boxed = GeomWithData<Rectangle<[f32; 2]>, u32>;
type Centre = GeomWithData<[f64; 3], u32>;

/// Nodes of up to 16 boxes. The crate's own 6 make a tree of 100,000 places so deep that a look-up waits for memory: it
/// costs 2.3 times what it costs among 1,000 places, with these 1.6 times.
#[derive(Clone)]
struct Flat;

impl RTreeParams for Flat {
    const MIN_SIZE: usize = 8;
    const MAX_SIZE: usize = 16;
    const REINSERTION_COUNT: usize = 4;
    type DefaultInsertionStrategy = RStarInsertionStrategy;
}

/// An R*-tree over the boxes of the places, and one over their centres on the unit sphere.
#[derive(Clone)]
pub struct Index {
    /// By number; the numbers of removed places are free.
    places: Vec<Option<Arc<Place>>>,
    free: Vec<u32>,
    by_id: HashMap<PlaceId, u32>,
    boxes: RTree<Boxed, Flat>,
    centres: RTree<Centre>,
    /// No enclosing circle is wider; one that was removed may have been.
    radius_max_m: f64,
}

/// A place and how far away its edge is.
#[derive(Debug, Clone)]
pub struct Near {
    /// The place.
    pub place: Arc<Place>,
    /// Metres to the edge of its enclosing circle; 0 inside.
    pub distance_m: f64,
}

impl Index {
    /// Builds the trees.
    pub fn new(places: Vec<Place>) -> Self {
        let places: Vec<Arc<Place>> = places.into_iter().map(Arc::new).collect();
        let (mut boxes, mut centres, mut radius_max_m) =
            (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()), 0.0_f64);
        for (n, place) in (0_u32..).zip(&places) {
            boxes.extend(boxes_of(place, n));
            let (centre, radius_m) = centre_of(place, n);
            radius_max_m = radius_max_m.max(radius_m);
            centres.push(centre);
        }
        Self {
            by_id: (0_u32..).zip(&places).map(|(n, place)| (place.id, n)).collect(),
            places: places.into_iter().map(Some).collect(),
            free: Vec::new(),
            boxes: RTree::bulk_load_with_params(boxes),
            centres: RTree::bulk_load(centres),
            radius_max_m,
        }
    }

    /// Adds a place, or puts it in the place of its older self.
    pub fn put(&mut self, place: Place) {
        self.remove(place.id);
        let n = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let Some(slot) = self.places.get_mut(n as usize) else { return };
        for of_place in boxes_of(&place, n) {
            self.boxes.insert(of_place);
        }
        let (centre, radius_m) = centre_of(&place, n);
        self.centres.insert(centre);
        self.radius_max_m = self.radius_max_m.max(radius_m);
        self.by_id.insert(place.id, n);
        *slot = Some(Arc::new(place));
    }

    /// Takes a place out.
    pub fn remove(&mut self, id: PlaceId) {
        let Some(n) = self.by_id.remove(&id) else { return };
        let Some(place) = self.places.get_mut(n as usize).and_then(Option::take) else { return };
        for of_place in boxes_of(&place, n) {
            self.boxes.remove(&of_place);
        }
        self.centres.remove(&centre_of(&place, n).0);
        self.free.push(n);
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no place at all.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// One place.
    pub fn get(&self, id: PlaceId) -> Option<&Arc<Place>> {
        self.by_id.get(&id).and_then(|n| self.numbered(*n))
    }

    /// The places that hold the point, each once, in no order.
    pub fn at(&self, point: Point) -> Vec<&Arc<Place>> {
        let envelope = AABB::from_point(rounded(point.lon, point.lat));
        let mut found: Vec<u32> = self.boxes.locate_in_envelope_intersecting(envelope).map(|b| b.data).collect();
        if found.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        found.into_iter().filter_map(|n| self.numbered(n)).filter(|place| place.shape.contains(point)).collect()
    }

    /// The nearest places by the distance to their edge, nearest first.
    pub fn nearest(&self, point: Point, limit: usize) -> Vec<Near> {
        let mut best: Vec<Near> = Vec::with_capacity(limit + 1);
        for centre in self.centres.nearest_neighbor_iter(on_unit_sphere(point)) {
            let Some(place) = self.numbered(centre.data) else { continue };
            let (center, radius_m) = place.shape.enclosing_circle();
            let to_center_m = distance_m(center, point);
            // Centres come nearest first: once even the widest circle could not reach closer, nothing later can.
            if best.len() == limit && best.last().is_none_or(|last| to_center_m - self.radius_max_m > last.distance_m) {
                break;
            }
            let near = Near { place: Arc::clone(place), distance_m: (to_center_m - radius_m).max(0.0) };
            let at = best.partition_point(|b| b.distance_m <= near.distance_m);
            best.insert(at, near);
            best.truncate(limit);
        }
        best
    }

    fn numbered(&self, n: u32) -> Option<&Arc<Place>> {
        self.places.get(n as usize)?.as_ref()
    }
}

fn boxes_of(place: &Place, n: u32) -> impl Iterator<Item = Boxed> {
    let bounds = place.shape.bounds().into_iter();
    bounds.map(move |b| Boxed::new(Rectangle::from_corners(rounded(b.west, b.south), rounded(b.east, b.north)), n))
}

#[expect(clippy::cast_possible_truncation, reason = "degrees lose no more than two metres")]
fn rounded(lon: f64, lat: f64) -> [f32; 2] {
    [lon as f32, lat as f32]
}

/// The centre of a place, and the radius of its enclosing circle in metres.
fn centre_of(place: &Place, n: u32) -> (Centre, f64) {
    let (center, radius_m) = place.shape.enclosing_circle();
    (Centre::new(on_unit_sphere(center), n), radius_m)
}

fn on_unit_sphere(point: Point) -> [f64; 3] {
    let (lat, lon) = (point.lat.to_radians(), point.lon.to_radians());
    [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
}
