//! Places on the globe: distinct ones in an R-tree, each with its slots.

use roaring::RoaringBitmap;
use rstar::primitives::GeomWithData;
use rstar::{AABB, RTree};

use super::dictionary::{Lookup, union};
use crate::model::geo::{EARTH_RADIUS_M, GeoBox, GeoPoint, GeoPolygon, GeoRadius};

/// A place by its bits: longitude, latitude.
pub(super) type PlaceKey = (u64, u64);

/// A box is made this much larger, in degrees (about a centimetre), so that rounding never cuts off what the exact test
/// would let pass.
const MARGIN_DEGREES: f64 = 1e-7;

#[derive(Debug)]
pub(super) struct Places {
    lookup: Lookup<PlaceKey>,
    /// Every place of the lookup, with its number.
    tree: RTree<GeomWithData<[f64; 2], u32>>,
}

/// A shape, ready to be tested.
enum Shape<'a> {
    Radius(&'a GeoRadius),
    Box(&'a GeoBox),
    Polygon(&'a GeoPolygon),
}

impl Places {
    pub(super) fn new() -> Places {
        Places { lookup: Lookup::new(), tree: RTree::new() }
    }

    pub(super) fn restore(lookup: Lookup<PlaceKey>) -> Places {
        let at = |(key, number): (&PlaceKey, u32)| {
            let place = place(key);
            GeomWithData::new([place.lon, place.lat], number)
        };
        let tree = RTree::bulk_load(lookup.dictionary.numbered().map(at).collect());
        Places { lookup, tree }
    }

    pub(super) fn lookup(&self) -> &Lookup<PlaceKey> {
        &self.lookup
    }

    /// Gives `slot`, which has none, these places.
    pub(super) fn put(&mut self, slot: u32, places: &[GeoPoint]) {
        for place in places {
            if self.lookup.dictionary.number(&key(place)).is_none() {
                let number = self.lookup.dictionary.add(key(place), slot);
                self.tree.insert(GeomWithData::new([place.lon, place.lat], number));
            }
        }
        self.lookup.put(slot, places.iter().map(key));
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let numbers = self.lookup.numbers_of(slot).to_vec();
        let places: Vec<GeoPoint> = self.lookup.keys_of(slot).map(place).collect();
        self.lookup.remove(slot);
        for (number, place) in numbers.into_iter().zip(places) {
            if self.lookup.dictionary.number(&key(&place)).is_none() {
                self.tree.remove(&GeomWithData::new([place.lon, place.lat], number));
            }
        }
    }

    pub(super) fn places_of(&self, slot: u32) -> impl Iterator<Item = GeoPoint> {
        self.lookup.keys_of(slot).map(place)
    }

    pub(super) fn in_radius(&self, radius: &GeoRadius, within: &RoaringBitmap) -> RoaringBitmap {
        self.inside(&Shape::Radius(radius), within)
    }

    pub(super) fn in_box(&self, bounds: &GeoBox, within: &RoaringBitmap) -> RoaringBitmap {
        self.inside(&Shape::Box(bounds), within)
    }

    pub(super) fn in_polygon(&self, polygon: &GeoPolygon, within: &RoaringBitmap) -> RoaringBitmap {
        self.inside(&Shape::Polygon(polygon), within)
    }

    /// Slots among `within` with a place inside: by the tree, or one by one if `within` has few.
    fn inside(&self, shape: &Shape<'_>, within: &RoaringBitmap) -> RoaringBitmap {
        /// A place met on the way through the tree costs about as much as looking one up by its slot.
        const FEW: u64 = 1_024;
        let area = match shape {
            Shape::Polygon(polygon) => Some(polygon.area()),
            _ => None,
        };
        let is_inside = |place: &GeoPoint| match shape {
            Shape::Radius(radius) => radius.contains(place),
            Shape::Box(bounds) => bounds.contains(place),
            Shape::Polygon(_) => area.as_ref().is_some_and(|area| area.contains(place)),
        };
        if within.len() <= FEW {
            let has_one = |slot: &u32| self.places_of(*slot).any(|place| is_inside(&place));
            return within.iter().filter(has_one).collect();
        }
        let mut inside = RoaringBitmap::new();
        for envelope in shape.envelopes() {
            let found = self.tree.locate_in_envelope(&envelope);
            let passing = found.filter(|at| is_inside(&GeoPoint { lon: at.geom()[0], lat: at.geom()[1] }));
            inside |= union(passing.filter_map(|at| self.lookup.dictionary.posting_of(at.data)));
        }
        inside & within
    }

    pub(super) fn memory_bytes(&self) -> usize {
        /// A node of the tree, with its share of the inner ones.
        const NODE_BYTES: usize = 96;
        self.lookup.memory_bytes(|_| 0) + self.tree.size() * NODE_BYTES
    }
}

impl Shape<'_> {
    /// Boxes that together hold the shape: west, south, east, north.
    fn envelopes(&self) -> Vec<AABB<[f64; 2]>> {
        let envelope = |west: f64, south: f64, east: f64, north: f64| {
            AABB::from_corners(
                [west - MARGIN_DEGREES, south - MARGIN_DEGREES],
                [east + MARGIN_DEGREES, north + MARGIN_DEGREES],
            )
        };
        match self {
            Shape::Radius(GeoRadius { center, radius_m }) => {
                // As an angle at the middle of the Earth. Rounding of the exact test grows with it; the larger margin
                // stays a thousandth of what is looked at.
                let angle = radius_m / EARTH_RADIUS_M * (1.0 + 1e-6);
                let (south, north) = (center.lat - angle.to_degrees(), center.lat + angle.to_degrees());
                // A circle around a pole, or one that is half the globe, has every longitude.
                if angle >= std::f64::consts::FRAC_PI_2 || south <= -89.999 || north >= 89.999 {
                    return vec![envelope(-180.0, south.max(-90.0), 180.0, north.min(90.0))];
                }
                let width = (angle.sin() / center.lat.to_radians().cos()).clamp(0.0, 1.0).asin().to_degrees();
                let width = width * (1.0 + 1e-6);
                let (west, east) = (center.lon - width, center.lon + width);
                let mut envelopes = vec![envelope(west, south, east, north)];
                if west < -180.0 + MARGIN_DEGREES {
                    envelopes.push(envelope(west + 360.0, south, 180.0, north));
                }
                if east > 180.0 - MARGIN_DEGREES {
                    envelopes.push(envelope(-180.0, south, east - 360.0, north));
                }
                envelopes
            }
            Shape::Box(GeoBox { top_left, bottom_right }) => {
                let (south, north) = (bottom_right.lat, top_left.lat);
                if south > north {
                    Vec::new()
                } else if top_left.lon > bottom_right.lon {
                    vec![envelope(top_left.lon, south, 180.0, north), envelope(-180.0, south, bottom_right.lon, north)]
                } else {
                    vec![envelope(top_left.lon, south, bottom_right.lon, north)]
                }
            }
            Shape::Polygon(polygon) => {
                let points = || polygon.exterior.iter();
                let least = |of: fn(&GeoPoint) -> f64| points().map(of).fold(f64::INFINITY, f64::min);
                let most = |of: fn(&GeoPoint) -> f64| points().map(of).fold(f64::NEG_INFINITY, f64::max);
                if polygon.exterior.is_empty() {
                    return Vec::new();
                }
                vec![envelope(
                    least(|point| point.lon),
                    least(|point| point.lat),
                    most(|point| point.lon),
                    most(|point| point.lat),
                )]
            }
        }
    }
}

fn key(place: &GeoPoint) -> PlaceKey {
    (place.lon.to_bits(), place.lat.to_bits())
}

fn place(key: &PlaceKey) -> GeoPoint {
    GeoPoint { lon: f64::from_bits(key.0), lat: f64::from_bits(key.1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Half of them are where it gets difficult: at the poles, at the antimeridian, in one place.
    fn any_place() -> impl Strategy<Value = GeoPoint> {
        let lon = prop_oneof![-180.0..=180.0, prop::sample::select(vec![-180.0, -179.9, 0.0, 179.9, 180.0])];
        let lat = prop_oneof![-90.0..=90.0, prop::sample::select(vec![-90.0, -89.9, 0.0, 89.9, 90.0])];
        (lon, lat).prop_map(|(lon, lat)| GeoPoint { lon, lat })
    }

    fn any_radius() -> impl Strategy<Value = f64> {
        prop_oneof![0.0..30_000_000.0, 0.0..100_000.0, Just(0.0), Just(1.0)]
    }

    proptest! {
        #[test]
        fn s7_9_the_tree_finds_what_the_exact_test_lets_pass(
            places in prop::collection::vec(any_place(), 1..60),
            center in any_place(),
            radius_m in any_radius(),
            corners in (any_place(), any_place()),
            ring in prop::collection::vec(any_place(), 3..6),
            removed in prop::collection::vec(any::<bool>(), 60),
        ) {
            // More slots than are looked at one by one: each place is had by several.
            let mut index = Places::new();
            let at = |slot: u32| places[slot as usize % places.len()];
            for slot in 0..1_500 {
                index.put(slot, &[at(slot), at(slot / 7)]);
            }
            let is_removed = |slot: u32| removed[slot as usize % removed.len()];
            (0..1_500).filter(|slot| is_removed(*slot)).for_each(|slot| index.remove(slot));
            let radius = GeoRadius { center, radius_m };
            let bounds = GeoBox { top_left: corners.0, bottom_right: corners.1 };
            let closed: Vec<GeoPoint> = ring.iter().chain(ring.first()).copied().collect();
            let polygon = GeoPolygon::new(closed, vec![]).unwrap();
            for within in [(0..1_500).collect::<RoaringBitmap>(), (3..300).collect()] {
                let want = |inside: &dyn Fn(&GeoPoint) -> bool| -> RoaringBitmap {
                    let passes = |slot: &u32| !is_removed(*slot) && (inside(&at(*slot)) || inside(&at(*slot / 7)));
                    within.iter().filter(passes).collect()
                };
                prop_assert_eq!(index.in_radius(&radius, &within), want(&|place| radius.contains(place)));
                prop_assert_eq!(index.in_box(&bounds, &within), want(&|place| bounds.contains(place)));
                prop_assert_eq!(index.in_polygon(&polygon, &within), want(&|place| polygon.contains(place)));
            }
        }
    }
}
