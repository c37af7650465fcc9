//! Bytes to messages and back.
//!
//! As tonic's own codec, but for what a broken message is answered with: INVALID_ARGUMENT instead of INTERNAL, because
//! it is the caller's mistake.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use super::status::grpc_status;
use crate::api::status::ApiError;

/// Encodes `T`, decodes `U`. Named in `build.rs`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// See [`Codec`].
#[derive(Debug)]
pub struct StrictDecoder<U>(PhantomData<U>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder(PhantomData)
    }
}

impl<U: Message + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(bytes)
            .map(Some)
            .map_err(|error| grpc_status(ApiError::malformed(format_args!("Format error in protobuf body: {error}"))))
    }
}
