//! HDF5 of the ann-benchmarks layout: datasets `train`, `test`, `neighbors`, and the attribute `distance`.

use std::fs;
use std::path::Path;

use hdf5_reader::{ByteOrder, Datatype, Hdf5File, OpenOptions};

use super::FileError;
use super::matrix::{Element, Raw};
use crate::bench::flags::Metric;

/// Deflate makes one byte of at most this many: no honest dataset is larger than the file by more.
const DEFLATE_RATIO_MAX: usize = 1032;

pub(super) fn read(path: &Path, dataset: &str) -> Result<Raw, FileError> {
    let dataset = open(path)?.dataset(dataset)?;
    let element = element(dataset.dtype())?;
    let shape: Result<Vec<usize>, _> = dataset.shape().iter().map(|&length| usize::try_from(length)).collect();
    let shape = shape.map_err(|_| FileError::Header("shape"))?;
    Raw::new(&shape, element, dataset.read_raw_bytes()?, 0)
}

/// How its vectors are compared; `None` when it does not say so, or by another metric than the protocol has.
pub(super) fn metric(path: &Path) -> Result<Option<Metric>, FileError> {
    let distance = open(path)?.root_group()?.attribute("distance").and_then(|attribute| attribute.read_string());
    Ok(distance.ok().and_then(|distance| match distance.as_str() {
        "angular" | "cosine" => Some(Metric::Cosine),
        "euclidean" => Some(Metric::Euclid),
        "dot" | "ip" => Some(Metric::Dot),
        "manhattan" => Some(Metric::Manhattan),
        _ => None,
    }))
}

fn open(path: &Path) -> Result<Hdf5File, FileError> {
    let size_bytes = usize::try_from(fs::metadata(path)?.len()).unwrap_or(usize::MAX);
    let options = OpenOptions::default().with_max_read_bytes(size_bytes.saturating_mul(DEFLATE_RATIO_MAX));
    Ok(Hdf5File::open_with_options(path, options)?)
}

fn element(kind: &Datatype) -> Result<Element, FileError> {
    let little = ByteOrder::LittleEndian;
    match *kind {
        Datatype::FixedPoint { size: 1, signed: false, .. } => Ok(Element::U8),
        Datatype::FixedPoint { size: 4, signed: true, byte_order } if byte_order == little => Ok(Element::I32),
        Datatype::FixedPoint { size: 4, signed: false, byte_order } if byte_order == little => Ok(Element::U32),
        Datatype::FixedPoint { size: 8, signed: true, byte_order } if byte_order == little => Ok(Element::I64),
        Datatype::FixedPoint { size: 8, signed: false, byte_order } if byte_order == little => Ok(Element::U64),
        Datatype::FloatingPoint { size: 2, byte_order } if byte_order == little => Ok(Element::F16),
        Datatype::FloatingPoint { size: 4, byte_order } if byte_order == little => Ok(Element::F32),
        Datatype::FloatingPoint { size: 8, byte_order } if byte_order == little => Ok(Element::F64),
        _ => Err(FileError::ElementType(format!("{kind:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Made by `ann.py` with h5py: `train` 60 x 4 contiguous, `test` 5 x 4 in gzip chunks, `neighbors` 5 x 3 in
    /// gzip chunks with shuffle, all counting upwards.
    const ANN: &[u8] = include_bytes!("ann.hdf5");

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn the_datasets_of_a_file_of_h5py_are_read() {
        let file = written(ANN);
        let train = read(file.path(), "train").unwrap().floats();
        assert_eq!((train.row_count(), train.width()), (60, 4));
        assert_eq!(
            (train.row(0), train.row(59)),
            ([0.0, 0.25, 0.5, 0.75].as_slice(), [59.0, 59.25, 59.5, 59.75].as_slice())
        );
        let test = read(file.path(), "test").unwrap().floats();
        assert_eq!((test.row_count(), test.row(4)), (5, [4.0, 4.25, 4.5, 4.75].as_slice()));
        let neighbors = read(file.path(), "neighbors").unwrap().integers().unwrap();
        assert_eq!((neighbors.row(0), neighbors.row(4)), ([0, 1, 2].as_slice(), [12, 13, 14].as_slice()));
        assert_eq!(metric(file.path()).unwrap(), Some(Metric::Cosine));
        assert!(read(file.path(), "nowhere").is_err());
    }

    #[test]
    fn a_file_that_is_cut_or_changed_anywhere_breaks_nothing() {
        for length in (0..ANN.len()).step_by(97) {
            let file = written(&ANN[..length]);
            assert!(read(file.path(), "train").is_err() || length > ANN.len() / 2, "{length} bytes");
        }
        for at in (0..ANN.len()).step_by(31) {
            let mut bytes = ANN.to_vec();
            bytes[at] ^= 0xff;
            let file = written(&bytes);
            for dataset in ["train", "test", "neighbors"] {
                let _ = read(file.path(), dataset);
            }
            let _ = metric(file.path());
        }
    }
}
