//! Places on the globe and the shapes filters test them against (PROTOCOL section 7, rule 9).

use geo::coordinate_position::CoordPos;
use geo::{CoordinatePosition, Distance, HaversineMeasure, LineString, Point, Polygon};
use serde::{Deserialize, Serialize};

/// Mean radius of the Earth used by the protocol, metres.
pub const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoPoint {
    /// -180 to 180, east positive.
    pub lon: f64,
    /// -90 to 90, north positive.
    pub lat: f64,
}

/// A value or bound is outside the globe, or a ring is not closed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum GeoError {
    /// Longitude or latitude is out of range or no number.
    #[error(
        "wrong format of GeoPoint payload: expected `lat` within [-90; 90] and `lon` within [-180; 180], got lat {lat}, lon {lon}"
    )]
    OffGlobe {
        /// As given.
        lon: f64,
        /// As given.
        lat: f64,
    },
    /// Fewer than 4 points, the last repeating the first.
    #[error("a ring needs at least 4 points, this one has {0}")]
    RingTooShort(usize),
    /// The last point does not repeat the first.
    #[error("the first and the last point of a ring must be the same")]
    RingOpen,
}

/// Closer than `radius_m` to `center`, strictly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoRadius {
    /// The middle of the circle.
    pub center: GeoPoint,
    /// Metres along the great circle; not negative.
    pub radius_m: f64,
}

/// Strictly inside; crosses the antimeridian when `top_left.lon > bottom_right.lon`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoBox {
    /// North-west corner.
    pub top_left: GeoPoint,
    /// South-east corner.
    pub bottom_right: GeoPoint,
}

/// Inside `exterior` and in none of `interiors`; the boundary is outside. Rings are closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoPolygon {
    /// The outline.
    pub exterior: Vec<GeoPoint>,
    /// Holes.
    pub interiors: Vec<Vec<GeoPoint>>,
}

impl GeoPoint {
    /// Checks the ranges.
    pub fn new(lon: f64, lat: f64) -> Result<GeoPoint, GeoError> {
        if (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon) {
            Ok(GeoPoint { lon, lat })
        } else {
            Err(GeoError::OffGlobe { lon, lat })
        }
    }

    /// Great-circle distance in metres (haversine).
    pub fn distance_m(&self, other: &GeoPoint) -> f64 {
        HaversineMeasure::new(EARTH_RADIUS_M).distance(self.place(), other.place())
    }

    fn place(&self) -> Point {
        Point::new(self.lon, self.lat)
    }
}

impl GeoRadius {
    /// Whether `point` is inside.
    pub fn contains(&self, point: &GeoPoint) -> bool {
        self.center.distance_m(point) < self.radius_m
    }
}

impl GeoBox {
    /// Whether `point` is inside.
    pub fn contains(&self, point: &GeoPoint) -> bool {
        let (left, right) = (self.top_left.lon, self.bottom_right.lon);
        let in_longitude =
            if left > right { point.lon > left || point.lon < right } else { left < point.lon && point.lon < right };
        in_longitude && self.bottom_right.lat < point.lat && point.lat < self.top_left.lat
    }
}

impl GeoPolygon {
    /// Checks every ring: at least 4 points, first = last.
    pub fn new(exterior: Vec<GeoPoint>, interiors: Vec<Vec<GeoPoint>>) -> Result<GeoPolygon, GeoError> {
        for ring in std::iter::once(&exterior).chain(&interiors) {
            if ring.len() < 4 {
                return Err(GeoError::RingTooShort(ring.len()));
            }
            if ring.first() != ring.last() {
                return Err(GeoError::RingOpen);
            }
        }
        Ok(GeoPolygon { exterior, interiors })
    }

    /// Whether `point` is inside; see [`GeoPolygon::area`] for many points.
    pub fn contains(&self, point: &GeoPoint) -> bool {
        self.area().contains(point)
    }

    /// The polygon as points are tested against it; to be made once for many points.
    pub fn area(&self) -> GeoArea {
        let ring = |points: &[GeoPoint]| points.iter().map(|point| point.place().0).collect::<LineString>();
        GeoArea(Polygon::new(ring(&self.exterior), self.interiors.iter().map(|points| ring(points)).collect()))
    }
}

/// See [`GeoPolygon::area`].
#[derive(Clone, Debug)]
pub struct GeoArea(Polygon);

impl GeoArea {
    /// Whether `point` is inside. A ring that crosses itself encloses what it winds around.
    pub fn contains(&self, point: &GeoPoint) -> bool {
        self.0.coordinate_position(&point.place().0) == CoordPos::Inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lon: f64, lat: f64) -> GeoPoint {
        GeoPoint::new(lon, lat).unwrap()
    }

    fn ring(corners: &[(f64, f64)]) -> Vec<GeoPoint> {
        corners.iter().chain(corners.first()).map(|(lon, lat)| at(*lon, *lat)).collect()
    }

    #[test]
    fn s7_9_ranges_of_a_place() {
        assert!(GeoPoint::new(180.0, -90.0).is_ok());
        for (lon, lat) in
            [(180.1, 0.0), (-180.1, 0.0), (0.0, 90.1), (0.0, -90.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)]
        {
            assert!(GeoPoint::new(lon, lat).is_err());
        }
    }

    #[test]
    fn s7_9_haversine_in_metres() {
        let moscow = at(37.6173, 55.7558);
        let london = at(-0.1278, 51.5074);
        // What the client's in-memory mode computes.
        assert!((moscow.distance_m(&london) - 2_500_539.474_908_476_7).abs() < 1e-6);
        // A degree along the equator, and to the antipode.
        assert!((at(0.0, 0.0).distance_m(&at(1.0, 0.0)) - EARTH_RADIUS_M.to_radians()).abs() < 1e-6);
        assert!((at(0.0, 0.0).distance_m(&at(180.0, 0.0)) - EARTH_RADIUS_M * std::f64::consts::PI).abs() < 1e-6);
    }

    #[test]
    fn s7_9_radius_is_strict() {
        let center = at(10.0, 50.0);
        let other = at(10.0, 51.0);
        let distance = center.distance_m(&other);
        assert!(!GeoRadius { center, radius_m: distance }.contains(&other));
        assert!(GeoRadius { center, radius_m: distance.next_up() }.contains(&other));
        assert!(!GeoRadius { center, radius_m: 0.0 }.contains(&center));
    }

    #[test]
    fn s7_9_box_is_strict_and_crosses_the_antimeridian() {
        let plain = GeoBox { top_left: at(-10.0, 10.0), bottom_right: at(10.0, -10.0) };
        assert!(plain.contains(&at(0.0, 0.0)) && plain.contains(&at(9.9, -9.9)));
        for (lon, lat) in [(10.0, 0.0), (-10.0, 0.0), (0.0, 10.0), (0.0, -10.0), (11.0, 0.0), (0.0, 11.0)] {
            assert!(!plain.contains(&at(lon, lat)), "{lon} {lat}");
        }
        let crossing = GeoBox { top_left: at(170.0, 10.0), bottom_right: at(-170.0, -10.0) };
        assert!(
            crossing.contains(&at(175.0, 0.0))
                && crossing.contains(&at(-175.0, 0.0))
                && crossing.contains(&at(180.0, 0.0))
        );
        assert!(
            !crossing.contains(&at(170.0, 0.0))
                && !crossing.contains(&at(-170.0, 0.0))
                && !crossing.contains(&at(0.0, 0.0))
        );
        // Equal longitudes enclose nothing.
        let empty = GeoBox { top_left: at(5.0, 10.0), bottom_right: at(5.0, -10.0) };
        assert!(!empty.contains(&at(5.0, 0.0)) && !empty.contains(&at(6.0, 0.0)));
    }

    #[test]
    fn s7_9_polygon_without_its_boundary_and_holes() {
        let polygon = GeoPolygon::new(
            ring(&[(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]),
            vec![ring(&[(4.0, 4.0), (6.0, 4.0), (6.0, 6.0), (4.0, 6.0)])],
        )
        .unwrap();
        for inside in [(1.0, 1.0), (9.0, 5.0), (3.9, 5.0)] {
            assert!(polygon.contains(&at(inside.0, inside.1)), "{inside:?}");
        }
        for outside in
            [(0.0, 0.0), (5.0, 0.0), (10.0, 5.0), (5.0, 5.0), (4.0, 5.0), (6.0, 6.0), (11.0, 5.0), (-1.0, 0.0)]
        {
            assert!(!polygon.contains(&at(outside.0, outside.1)), "{outside:?}");
        }
    }

    #[test]
    fn s7_9_rings_are_checked() {
        let square = ring(&[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]);
        let open = square[..4].to_vec();
        assert_eq!(GeoPolygon::new(open.clone(), vec![]), Err(GeoError::RingOpen));
        assert_eq!(GeoPolygon::new(square.clone(), vec![open]), Err(GeoError::RingOpen));
        assert_eq!(GeoPolygon::new(square[..3].to_vec(), vec![]), Err(GeoError::RingTooShort(3)));
        assert_eq!(GeoPolygon::new(vec![], vec![]), Err(GeoError::RingTooShort(0)));
        assert!(GeoPolygon::new(square.clone(), vec![square]).is_ok());
    }
}
