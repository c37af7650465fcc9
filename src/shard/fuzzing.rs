//! Whether a field index agrees with the payloads it was made of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::filter::{CompiledFilter, PointView, TextFields};
use super::plan::field_known;
use crate::index::payload::{FieldIndex, FieldSpec};
use crate::model::filter::FieldQuestion;
use crate::model::{Condition, Filter, Payload, PointId, Slot};

/// Puts `payloads` into an index of this kind on the condition's field and compares what the index knows of the
/// condition with what each payload says. Of conditions other than on fields it knows nothing.
pub fn index_agrees(condition: &Condition, kind: crate::model::field_index::FieldIndexKind, payloads: &[Payload]) {
    let (Condition::IsEmpty(path) | Condition::IsNull(path)) = condition else {
        let Condition::Field(field) = condition else { return };
        let index = filled(FieldSpec::new(field.key.clone(), kind), payloads);
        let within = all(payloads);
        let known = field_known(&index, field, &within);
        check(condition, &index, payloads, known.lower(), known.upper());
        if let FieldQuestion::Any(predicates) = field.question() {
            let bound: u64 = predicates.iter().map(|predicate| index.passing_max(predicate)).sum();
            assert!(bound >= known.upper().len(), "at most {bound} can pass, {} may", known.upper().len());
            if let [predicate] = predicates.as_slice() {
                let count = index.passing_len(predicate);
                assert!(count.is_none_or(|count| count == known.upper().len() && known.lower() == known.upper()));
                assert!(index.posting(predicate).is_none_or(|slots| slots == known.upper()));
            }
        }
        return;
    };
    let index = filled(FieldSpec::new(path.clone(), kind), payloads);
    let within = all(payloads);
    let found = if let Condition::IsEmpty(_) = condition { index.empty(&within) } else { index.null(&within) };
    check(condition, &index, payloads, &found, &found);
}

fn all(payloads: &[Payload]) -> RoaringBitmap {
    (0..payloads.len() as u32).collect()
}

/// Payload `n` at slot `n`, after another one was there, and nothing at the slot behind.
fn filled(spec: FieldSpec, payloads: &[Payload]) -> FieldIndex {
    let spec = Arc::new(spec);
    let mut index = FieldIndex::new(Arc::clone(&spec));
    for (before, slot) in payloads.iter().rev().chain(payloads.first()).zip(0..) {
        index.put(Slot(slot), spec.select(before));
    }
    for (payload, slot) in payloads.iter().zip(0..) {
        index.put(Slot(slot), spec.select(payload));
    }
    index.remove(Slot(payloads.len() as u32));
    for (payload, slot) in payloads.iter().zip(0..) {
        assert!(index.holds(Slot(slot), Some(payload)), "the index holds what was put");
    }
    assert!(index.holds(Slot(payloads.len() as u32), None), "nothing is left of what was removed");
    index
}

fn check(
    condition: &Condition,
    index: &FieldIndex,
    payloads: &[Payload],
    lower: &RoaringBitmap,
    upper: &RoaringBitmap,
) {
    assert!(lower.is_subset(upper), "what is sure may be");
    assert!(upper.is_subset(&all(payloads)), "only what was asked about");
    let filter = Filter { must: vec![condition.clone()], ..Filter::default() };
    let texts = TextFields::new([Arc::clone(index.spec())]);
    let compiled = CompiledFilter::with_texts(&filter, &texts);
    for (payload, slot) in payloads.iter().zip(0..) {
        let passes = compiled.matches(&PointView { id: PointId::Num(0), payload, has_vector: &|_| false });
        let kind = &index.spec().kind;
        assert!(passes || !lower.contains(slot), "{kind:?} is sure of {payload:?}, which fails {condition:?}");
        assert!(!passes || upper.contains(slot), "{kind:?} lacks {payload:?}, which passes {condition:?}");
    }
}
