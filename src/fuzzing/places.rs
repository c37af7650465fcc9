//! Places, and the shapes they are tested against.

use serde_json::json;

use crate::model::field_index::FieldIndexKind;
use crate::model::filter::{FieldCondition, Predicate};
use crate::model::geo::{EARTH_RADIUS_M, GeoBox, GeoPoint, GeoPolygon, GeoRadius};
use crate::model::{Condition, Path, Payload};
use crate::shard;

const PROBES_MAX: usize = 8;

/// Input: a byte that says how coarse the grid is and one with the corners of a ring, then numbers.
pub fn places(data: &[u8]) {
    let Some(([grid, corners], rest)) = data.split_first_chunk() else { return };
    let mut numbers = Numbers { left: rest, is_coarse: grid % 2 == 0 };
    let mut point = || Some(GeoPoint::new(numbers.next()? * 180.0, numbers.next()? * 90.0).unwrap());
    let (Some(center), Some(edge), Some(top_left), Some(bottom_right)) = (point(), point(), point(), point()) else {
        return;
    };
    let ring: Vec<GeoPoint> = std::iter::from_fn(&mut point).take(usize::from(corners % 12) + 3).collect();
    let mut probes: Vec<GeoPoint> = std::iter::from_fn(point).take(PROBES_MAX).collect();
    probes.extend([center, edge, top_left, bottom_right]);

    distances(&probes);
    let circle = GeoRadius { center, radius_m: center.distance_m(&edge) };
    let bounds = GeoBox { top_left, bottom_right };
    let mut predicates = vec![Predicate::GeoRadius(circle), Predicate::GeoBox(bounds)];
    assert!(!circle.contains(&edge), "the edge is outside");
    assert!(!bounds.contains(&top_left) && !bounds.contains(&bottom_right), "corners are outside");
    if let Some(polygon) = closed(&ring) {
        for probe in &probes {
            around(&ring, &polygon, probe);
        }
        assert!(ring.iter().all(|corner| !polygon.contains(corner)), "corners are outside");
        predicates.push(Predicate::GeoPolygon(polygon));
    }
    let payloads: Vec<Payload> = probes
        .iter()
        .map(|GeoPoint { lon, lat }| Payload(json!({ "at": { "lon": lon, "lat": lat } }).as_object().unwrap().clone()))
        .collect();
    for predicate in predicates {
        let key = Path { first: "at".to_owned(), rest: Vec::new() };
        let condition = Condition::Field(FieldCondition { key, predicates: vec![predicate] });
        shard::fuzzing::index_agrees(&condition, FieldIndexKind::Geo, &payloads);
    }
}

/// Shares of a range, from -1 to 1.
struct Numbers<'a> {
    left: &'a [u8],
    /// One byte each, so that points fall on lines and on each other.
    is_coarse: bool,
}

impl Numbers<'_> {
    fn next(&mut self) -> Option<f64> {
        if self.is_coarse {
            let (byte, left) = self.left.split_first()?;
            self.left = left;
            return Some((f64::from(*byte as i8) / 8.0).round().clamp(-12.0, 12.0) / 12.0);
        }
        let (bytes, left) = self.left.split_first_chunk()?;
        self.left = left;
        Some((f64::from(i32::from_le_bytes(*bytes)) / f64::from(i32::MAX)).clamp(-1.0, 1.0))
    }
}

fn distances(points: &[GeoPoint]) {
    let half = std::f64::consts::PI * EARTH_RADIUS_M;
    for (a, b) in points.iter().zip(points.iter().skip(1)) {
        let distance = a.distance_m(b);
        assert!((0.0..=half * (1.0 + 1e-12)).contains(&distance), "{distance} m is not on the globe");
        assert!((distance - b.distance_m(a)).abs() <= 1e-6, "there and back");
        assert_eq!(a.distance_m(a), 0.0);
    }
}

fn closed(ring: &[GeoPoint]) -> Option<GeoPolygon> {
    GeoPolygon::new(ring.iter().chain(ring.first()).copied().collect(), Vec::new()).ok()
}

/// The outline may begin anywhere, run either way and name a corner twice.
fn around(ring: &[GeoPoint], polygon: &GeoPolygon, probe: &GeoPoint) {
    let is_inside = polygon.contains(probe);
    let mut turned = ring.to_vec();
    turned.rotate_left(1);
    let mut reversed = ring.to_vec();
    reversed.reverse();
    let doubled: Vec<GeoPoint> = ring.iter().flat_map(|corner| [*corner, *corner]).collect();
    for (what, other) in [("turned", turned), ("reversed", reversed), ("doubled", doubled)] {
        assert_eq!(closed(&other).unwrap().contains(probe), is_inside, "{what}: {probe:?} in {ring:?}");
    }
    let outline = polygon.exterior.clone();
    let hollow = GeoPolygon::new(outline.clone(), vec![outline]).unwrap();
    assert!(!hollow.contains(probe), "nothing is inside of what is all hole");
}
