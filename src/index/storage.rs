//! How the vectors of an index are kept, and what they are searched by.

use crate::distance::CodeBits;
use crate::model::collection::Datatype;

/// How vectors are kept. They go in as they are to be kept: rounded to the datatype.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VectorStorage {
    /// What a number of a vector takes: 4, 2 or 1 bytes.
    pub datatype: Datatype,
    /// What walks compare instead of the vectors. Vectors of bytes are compared as they are.
    pub codes: CodeBits,
    /// Vectors are in a file, of which memory holds what is in use.
    pub vectors_on_disk: bool,
    /// Codes are too.
    pub codes_on_disk: bool,
}
