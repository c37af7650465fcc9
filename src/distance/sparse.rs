//! The dot product of sparse vectors.

use crate::model::SparseVector;

/// One vector this many times longer than the other is searched instead of walked.
const SEARCH_RATIO: usize = 16;

/// The sum over the indices both vectors have, in ascending order of index; `None` if they share none (PROTOCOL section
/// 13.1). A sum that is not a number (infinities that cancel) is the smallest.
pub fn sparse_dot(a: &SparseVector, b: &SparseVector) -> Option<f32> {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut sum = None;
    let mut add = |product: f32| sum = Some(sum.unwrap_or(0.0) + product);
    if short.len() * SEARCH_RATIO < long.len() {
        let (mut indices, mut values) = (long.indices(), long.values());
        for (index, weight) in short.iter() {
            let at = indices.partition_point(|of| *of < index);
            (indices, values) = (&indices[at..], &values[at..]);
            match (indices.first(), values.first()) {
                (Some(of), Some(value)) if *of == index => add(weight * value),
                (Some(_), _) => {}
                (None, _) => break,
            }
        }
    } else {
        let (mut at, mut to) = (0, 0);
        while let (Some(index), Some(of)) = (short.indices().get(at), long.indices().get(to)) {
            if index == of {
                add(short.values()[at] * long.values()[to]);
            }
            at += usize::from(index <= of);
            to += usize::from(of <= index);
        }
    }
    sum.map(|sum| if sum.is_nan() { f32::NEG_INFINITY } else { sum + 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sparse(entries: &[(u32, f32)]) -> SparseVector {
        SparseVector::new(entries.to_vec()).unwrap()
    }

    #[test]
    fn s13_1_only_shared_indices_count_and_without_any_there_is_no_product() {
        let a = sparse(&[(1, 1.0), (7, -2.0), (u32::MAX, 3.0)]);
        assert_eq!(sparse_dot(&a, &sparse(&[(7, 2.0), (8, 9.0), (u32::MAX, 1.0)])), Some(-1.0));
        assert_eq!(sparse_dot(&a, &sparse(&[(1, 0.0)])), Some(0.0));
        assert_eq!(sparse_dot(&a, &sparse(&[(2, 5.0)])), None);
        assert_eq!(sparse_dot(&a, &sparse(&[])), None);
    }

    proptest! {
        /// Both ways of finding the shared indices give what a map gives, bit for bit.
        #[test]
        fn long_and_short_vectors_agree_with_a_map(
            a in prop::collection::btree_map(0..400u32, -4.0..4.0f32, 0..6),
            b in prop::collection::btree_map(0..400u32, -4.0..4.0f32, 0..200),
        ) {
            let shared: Vec<f32> = a.iter().filter_map(|(index, x)| Some(x * b.get(index)?)).collect();
            let want = (!shared.is_empty()).then(|| shared.iter().fold(0.0, |sum, x| sum + x));
            let (a, b) = (a.into_iter().collect::<Vec<_>>(), b.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(sparse_dot(&sparse(&a), &sparse(&b)), want);
            prop_assert_eq!(sparse_dot(&sparse(&b), &sparse(&a)), want);
        }
    }
}
