//! Vectors in and out (PROTOCOL section 2.1). Dimensions, names and finiteness are the service's to check.

// The flat form of vectors is deprecated, and clients still send it.
#![allow(deprecated)]

use std::collections::BTreeMap;

use serde_json::Map;

use super::pb::{self, vector::Vector as Form, vector_input::Variant, vector_output, vectors, vectors_output};
use super::point::id_from_wire;
use super::value::payload_from_wire;
use crate::api::checks::{At, Checked, Findings, dense, flat_multi, multi, sparse};
use crate::api::inference::{self, Inference, Input, Purpose};
use crate::api::status::ApiError;
use crate::model::query::Target;
use crate::model::{NamedVectors, Payload, Vector};

/// The name of the unnamed vector.
const UNNAMED: &str = "";

/// A point's vectors; absent ones are vectors the point lacks.
pub(super) fn vectors_from_wire(found: &mut Findings, at: At<'_>, wire: Option<pb::Vectors>) -> Checked<NamedVectors> {
    match wire.and_then(|vectors| vectors.vectors_options) {
        None => Ok(NamedVectors::new()),
        Some(vectors::VectorsOptions::Vector(vector)) => {
            let vector = vector_from_wire(found, at.field("vector"), vector, Purpose::Store)?;
            Ok(NamedVectors::from([(UNNAMED.to_owned(), vector)]))
        }
        Some(vectors::VectorsOptions::Vectors(named)) => {
            let (at, mut vectors, mut noted) = (at.field("vectors"), NamedVectors::new(), Ok(()));
            for (name, vector) in named.vectors {
                match vector_from_wire(found, at.member(), vector, Purpose::Store) {
                    Ok(vector) => drop(vectors.insert(name, vector)),
                    Err(note) => noted = Err(note),
                }
            }
            noted.map(|()| vectors)
        }
    }
}

/// One vector: the oneof, or else the old flat form.
fn vector_from_wire(found: &mut Findings, at: At<'_>, wire: pb::Vector, purpose: Purpose) -> Checked<Vector> {
    match wire.vector {
        Some(Form::Dense(vector)) => dense(found, at.field("data"), vector.data),
        Some(Form::Sparse(vector)) => sparse(found, at, vector.indices, vector.values),
        Some(Form::MultiDense(vectors)) => rows(found, at, vectors),
        Some(Form::Document(wire)) => document(found, wire, purpose),
        Some(Form::Image(wire)) => not_a_text(found, wire.model, purpose),
        Some(Form::Object(wire)) => not_a_text(found, wire.model, purpose),
        None => match (wire.indices, wire.vectors_count) {
            (Some(indices), _) => sparse(found, at, indices.data, wire.data),
            (None, Some(row_count)) => flat_multi(found, at, wire.data, row_count),
            (None, None) => dense(found, at.field("data"), wire.data),
        },
    }
}

/// An example of the old recommend and discover.
pub(super) fn example_from_wire(found: &mut Findings, at: At<'_>, wire: pb::Vector) -> Checked<Target> {
    vector_from_wire(found, at, wire, Purpose::Search).map(Target::Vector)
}

/// The old flat form of a sparse vector.
pub(super) fn sparse_from_wire(
    found: &mut Findings,
    at: At<'_>,
    indices: Vec<u32>,
    values: Vec<f32>,
) -> Checked<Vector> {
    sparse(found, at, indices, values)
}

fn rows(found: &mut Findings, at: At<'_>, wire: pb::MultiDenseVector) -> Checked<Vector> {
    let row_lengths: Vec<usize> = wire.vectors.iter().map(|row| row.data.len()).collect();
    let values = wire.vectors.into_iter().flat_map(|row| row.data).collect();
    multi(found, at, values, &row_lengths)
}

/// The vector of a text.
fn document(found: &mut Findings, wire: pb::Document, purpose: Purpose) -> Checked<Vector> {
    let Payload(options) = payload_from_wire(found, wire.options)?;
    inference::vector(found, Inference { input: Input::Text(wire.text), model: wire.model, options }, purpose)
}

/// The vector of an image or another object.
fn not_a_text(found: &mut Findings, model: String, purpose: Purpose) -> Checked<Vector> {
    inference::vector(found, Inference { input: Input::Other, model, options: Map::new() }, purpose)
}

/// What a query searches near.
pub(super) fn target_from_wire(found: &mut Findings, at: At<'_>, wire: pb::VectorInput) -> Checked<Target> {
    let vector = match wire.variant {
        Some(Variant::Id(id)) => return id_from_wire(found, Some(id)).map(Target::Point),
        Some(Variant::Dense(vector)) => dense(found, at.field("data"), vector.data),
        Some(Variant::Sparse(vector)) => sparse(found, at, vector.indices, vector.values),
        Some(Variant::MultiDense(vectors)) => rows(found, at, vectors),
        Some(Variant::Document(wire)) => document(found, wire, Purpose::Search),
        Some(Variant::Image(wire)) => not_a_text(found, wire.model, Purpose::Search),
        Some(Variant::Object(wire)) => not_a_text(found, wire.model, Purpose::Search),
        None => found.refuse(ApiError::wrong_input(format_args!("`{at}` holds no vector and no point id"))),
    };
    vector.map(Target::Vector)
}

/// The vectors of an answer: bare when the only one is the unnamed one, else by name.
pub(super) fn wire_from_vectors(mut vectors: NamedVectors) -> pb::VectorsOutput {
    let options = match vectors.remove(UNNAMED) {
        Some(unnamed) if vectors.is_empty() => vectors_output::VectorsOptions::Vector(wire_from_vector(unnamed)),
        unnamed => {
            let mut named: BTreeMap<String, pb::VectorOutput> =
                vectors.into_iter().map(|(name, vector)| (name, wire_from_vector(vector))).collect();
            if let Some(unnamed) = unnamed {
                named.insert(UNNAMED.to_owned(), wire_from_vector(unnamed));
            }
            vectors_output::VectorsOptions::Vectors(pb::NamedVectorsOutput { vectors: named })
        }
    };
    pb::VectorsOutput { vectors_options: Some(options) }
}

fn wire_from_vector(vector: Vector) -> pb::VectorOutput {
    let vector = match vector {
        Vector::Dense(data) => vector_output::Vector::Dense(pb::DenseVector { data }),
        Vector::Sparse(vector) => vector_output::Vector::Sparse(pb::SparseVector {
            indices: vector.indices().to_vec(),
            values: vector.values().to_vec(),
        }),
        Vector::Multi(vector) => vector_output::Vector::MultiDense(pb::MultiDenseVector {
            vectors: vector.rows().map(|row| pb::DenseVector { data: row.to_vec() }).collect(),
        }),
    };
    pb::VectorOutput { vector: Some(vector), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::checks::At;
    use crate::model::{MultiVector, PointId, SparseVector};
    use crate::text::{Bm25, Bm25Options};

    fn form(form: Form) -> pb::Vector {
        pb::Vector { vector: Some(form), ..Default::default() }
    }

    fn flat(data: &[f32]) -> pb::Vector {
        pb::Vector { data: data.to_vec(), ..Default::default() }
    }

    fn bare(vector: pb::Vector) -> Option<pb::Vectors> {
        Some(pb::Vectors { vectors_options: Some(vectors::VectorsOptions::Vector(vector)) })
    }

    fn named(vectors: impl IntoIterator<Item = (&'static str, pb::Vector)>) -> Option<pb::Vectors> {
        let vectors = vectors.into_iter().map(|(name, vector)| (name.to_owned(), vector)).collect();
        Some(pb::Vectors { vectors_options: Some(vectors::VectorsOptions::Vectors(pb::NamedVectors { vectors })) })
    }

    fn read(wire: Option<pb::Vectors>) -> Result<NamedVectors, String> {
        let mut found = Findings::new();
        let value = vectors_from_wire(&mut found, At::Root.field("vectors"), wire);
        found.finish("body", value).map_err(|error| error.text)
    }

    fn model<const N: usize>(vectors: [(&str, &[f32]); N]) -> NamedVectors {
        vectors.into_iter().map(|(name, values)| (name.to_owned(), Vector::Dense(values.to_vec()))).collect()
    }

    #[test]
    fn protocol_2_1_all_dense_forms_are_read() {
        let dense = || form(Form::Dense(pb::DenseVector { data: vec![1.0, 2.0] }));
        assert_eq!(read(None), Ok(model([])));
        assert_eq!(read(Some(pb::Vectors { vectors_options: None })), Ok(model([])));
        assert_eq!(read(bare(dense())), Ok(model([("", &[1.0, 2.0])])));
        assert_eq!(read(bare(flat(&[3.0]))), Ok(model([("", &[3.0])])));
        assert_eq!(read(named([])), Ok(model([])));
        assert_eq!(read(named([("", flat(&[3.0])), ("b", dense())])), Ok(model([("", &[3.0]), ("b", &[1.0, 2.0])])));
    }

    #[test]
    fn all_bad_siblings_are_reported_together() {
        let want = "Validation error in body: [vectors.vectors.?.data: dense vector must not be empty; \
                    vectors.vectors.?.data: dense vector must not be empty]";
        let empty = form(Form::Dense(pb::DenseVector { data: vec![] }));
        assert_eq!(read(named([("a", flat(&[])), ("b", flat(&[1.0])), ("c", empty)])), Err(want.to_owned()));
        let want = "Validation error in body: [vectors.vector.data: dense vector must not be empty]";
        assert_eq!(read(bare(flat(&[]))), Err(want.to_owned()));
    }

    fn row(data: &[f32]) -> pb::DenseVector {
        pb::DenseVector { data: data.to_vec() }
    }

    fn sparse_model(entries: &[(u32, f32)]) -> Vector {
        Vector::Sparse(SparseVector::new(entries.to_vec()).unwrap())
    }

    fn multi_model(dim: usize, values: &[f32]) -> Vector {
        Vector::Multi(MultiVector::new(dim, values.to_vec()).unwrap())
    }

    #[test]
    fn protocol_2_1_sparse_and_multi_are_read_in_both_forms() {
        let sparse = pb::SparseVector { values: vec![1.0, 2.0], indices: vec![9, 4] };
        let indices = Some(pb::SparseIndices { data: vec![9, 4] });
        let flat_sparse = pb::Vector { indices, ..flat(&[1.0, 2.0]) };
        let multi = pb::MultiDenseVector { vectors: vec![row(&[1.0, 2.0]), row(&[3.0, 4.0])] };
        let flat_multi = pb::Vector { vectors_count: Some(2), ..flat(&[1.0, 2.0, 3.0, 4.0]) };
        let cases = [
            (form(Form::Sparse(sparse)), sparse_model(&[(4, 2.0), (9, 1.0)])),
            (flat_sparse, sparse_model(&[(4, 2.0), (9, 1.0)])),
            (form(Form::MultiDense(multi)), multi_model(2, &[1.0, 2.0, 3.0, 4.0])),
            (flat_multi, multi_model(2, &[1.0, 2.0, 3.0, 4.0])),
        ];
        for (wire, vector) in cases {
            assert_eq!(read(bare(wire)), Ok(NamedVectors::from([(String::new(), vector)])));
        }
        for count in [0, 3] {
            let uneven = pb::Vector { vectors_count: Some(count), ..flat(&[1.0, 2.0, 3.0, 4.0]) };
            assert!(read(bare(uneven)).unwrap_err().contains("vectors.vector.data: "));
        }
    }

    #[test]
    fn protocol_2_1_sparse_and_multi_are_shown() {
        let shown = |vector| wire_from_vector(vector).vector.unwrap();
        let sparse = pb::SparseVector { values: vec![2.0, 1.0], indices: vec![4, 9] };
        assert_eq!(shown(sparse_model(&[(9, 1.0), (4, 2.0)])), vector_output::Vector::Sparse(sparse));
        let multi = pb::MultiDenseVector { vectors: vec![row(&[1.0, 2.0]), row(&[3.0, 4.0])] };
        assert_eq!(shown(multi_model(2, &[1.0, 2.0, 3.0, 4.0])), vector_output::Vector::MultiDense(multi));
    }

    fn document_of(text: &str, model: &str, options: &[(&str, pb::value::Kind)]) -> pb::Document {
        let options = options.iter().map(|(key, kind)| ((*key).to_owned(), pb::Value { kind: Some(kind.clone()) }));
        pb::Document { text: text.to_owned(), model: model.to_owned(), options: options.collect() }
    }

    fn target(variant: Variant) -> Result<Target, String> {
        let mut found = Findings::new();
        let input = pb::VectorInput { variant: Some(variant) };
        let value = target_from_wire(&mut found, At::Root.field("nearest"), input);
        found.finish("body", value).map_err(|error| error.text)
    }

    #[test]
    fn s13_3_texts_become_document_weights_in_points_and_query_weights_in_queries() {
        let options = [
            ("k", pb::value::Kind::DoubleValue(1.5)),
            ("avg_len", pb::value::Kind::IntegerValue(10)),
            ("language", pb::value::Kind::StringValue("none".to_owned())),
        ];
        let with_options =
            Bm25Options { k: Some(1.5), avg_len: Some(10.0), language: Some("none".to_owned()), ..Default::default() };
        for (options, model) in [(&options[..0], Bm25Options::default()), (&options[..], with_options)] {
            let bm25 = Bm25::new(&model).unwrap();
            let document = || document_of("hello the hello world", "Qdrant/BM25", options);
            let stored = Vector::Sparse(bm25.document("hello the hello world"));
            let searched = Ok(Target::Vector(Vector::Sparse(bm25.query("hello the hello world"))));
            let of = |name: &str| Ok(NamedVectors::from([(name.to_owned(), stored.clone())]));
            assert_eq!(read(bare(form(Form::Document(document())))), of(""));
            assert_eq!(read(named([("s", form(Form::Document(document())))])), of("s"));
            assert_eq!(target(Variant::Document(document())), searched);
            let mut found = Findings::new();
            let example = example_from_wire(&mut found, At::Root, form(Form::Document(document())));
            assert_eq!(found.finish("body", example).map_err(|error| error.text), searched);
        }
    }

    #[test]
    fn s13_3_what_is_no_text_for_bm25_is_refused() {
        let image = |model: &str| pb::Image { model: model.to_owned(), ..Default::default() };
        let object = |model: &str| pb::InferenceObject { model: model.to_owned(), ..Default::default() };
        let no_text = "Wrong input: Only text input is supported for bm25.";
        let bad_option = document_of("a", "bm25", &[("b", pb::value::Kind::IntegerValue(2))]);
        let bad = "Wrong input: Invalid BM25 config: b is 2, must be from 0 to 1";
        for (stored, searched, text) in [
            (Form::Image(image("bm25")), Variant::Image(image("bm25")), no_text),
            (Form::Object(object("bm25")), Variant::Object(object("bm25")), no_text),
            (Form::Document(bad_option.clone()), Variant::Document(bad_option), bad),
        ] {
            assert_eq!(read(bare(form(stored))), Err(text.to_owned()));
            assert_eq!(target(searched), Err(text.to_owned()));
        }
        let other = || document_of("a", "m", &[]);
        for error in [
            read(bare(form(Form::Document(other())))).unwrap_err(),
            read(bare(form(Form::Image(image(""))))).unwrap_err(),
            target(Variant::Document(other())).unwrap_err(),
            target(Variant::Object(object("m"))).unwrap_err(),
        ] {
            assert!(error.starts_with("Service internal error: InferenceService "), "{error}");
        }
    }

    #[test]
    fn protocol_2_2_what_is_wrong_goes_before_what_is_not_built() {
        let sparse = pb::SparseVector { values: vec![1.0, 2.0, 3.0], indices: vec![4, 4] };
        let uneven = pb::MultiDenseVector { vectors: vec![row(&[1.0]), row(&[2.0, 3.0])] };
        let empty = pb::MultiDenseVector { vectors: vec![row(&[1.0]), row(&[])] };
        let at = "vectors.vector";
        let cases = [
            (
                form(Form::Sparse(sparse)),
                format!(
                    "{at}.indices: Validation error: must be unique [{{}}]; \
                     {at}.values: Validation error: must be the same length as indices [{{}}]"
                ),
            ),
            (
                form(Form::MultiDense(uneven)),
                format!("{at}.data: all vectors must have the same dimension, found vector with dimension 2"),
            ),
            (form(Form::MultiDense(empty)), format!("{at}.data: all vectors must be non-empty")),
        ];
        for (vector, text) in cases {
            assert_eq!(read(bare(vector)), Err(format!("Validation error in body: [{text}]")));
        }
    }

    #[test]
    fn a_target_is_a_vector_or_an_id() {
        let read = |variant| {
            let mut found = Findings::new();
            let value = target_from_wire(&mut found, At::Root.field("nearest"), pb::VectorInput { variant });
            found.finish("body", value).map_err(|error| error.text)
        };
        let id = pb::PointId { point_id_options: Some(pb::point_id::PointIdOptions::Num(7)) };
        assert_eq!(read(Some(Variant::Id(id))), Ok(Target::Point(PointId::Num(7))));
        let dense = pb::DenseVector { data: vec![0.5] };
        assert_eq!(read(Some(Variant::Dense(dense))), Ok(Target::Vector(Vector::Dense(vec![0.5]))));
        let none = "Wrong input: `nearest` holds no vector and no point id";
        assert_eq!(read(None), Err(none.to_owned()));
        let sparse = pb::SparseVector::default();
        assert_eq!(read(Some(Variant::Sparse(sparse))), Ok(Target::Vector(sparse_model(&[]))));
    }

    #[test]
    fn protocol_2_1_the_unnamed_vector_alone_is_bare() {
        let options = |vectors| wire_from_vectors(vectors).vectors_options.unwrap();
        let vectors_output::VectorsOptions::Vector(vector) = options(model([("", &[1.0])])) else { panic!("named") };
        assert_eq!(vector.vector, Some(vector_output::Vector::Dense(pb::DenseVector { data: vec![1.0] })));
        assert!(vector.data.is_empty(), "the flat form is no longer sent");
        for (vectors, names) in [
            (model([]), vec![]),
            (model([("a", &[1.0])]), vec!["a"]),
            (model([("", &[1.0]), ("a", &[2.0])]), vec!["", "a"]),
        ] {
            let vectors_output::VectorsOptions::Vectors(named) = options(vectors) else { panic!("bare") };
            assert_eq!(named.vectors.keys().collect::<Vec<_>>(), names);
        }
    }
}
