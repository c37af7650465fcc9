//! What callers send: bodies of REST, messages of gRPC.

use crate::api;
use crate::model::write::PointSelector;
use crate::model::{Filter, Payload, PointId, PointOp};
use crate::shard::filter::{CompiledFilter, PointView};
use crate::shard::{decode_command, encode_command};

/// Input: a byte that chooses the operation, and its body.
pub fn rest(data: &[u8]) {
    if let Some((choice, body)) = data.split_first() {
        api::rest::fuzzing::body(*choice, body).iter().for_each(change);
    }
}

/// Input: a byte that chooses the method, and its message.
pub fn grpc(data: &[u8]) {
    if let Some((choice, message)) = data.split_first() {
        api::grpc::fuzzing::message(*choice, message).iter().for_each(change);
    }
}

/// What was understood survives the log. Compared as bytes: a vector may hold a number that is not equal to itself,
/// which the service refuses later.
fn change(op: &PointOp) {
    let logged = encode_command(op);
    let read = decode_command(&logged).expect("a command that was written can be read");
    assert_eq!(encode_command(&read), logged, "{op:?}");
    let (PointOp::Delete { select }
    | PointOp::DeleteVectors { select, .. }
    | PointOp::SetPayload { select, .. }
    | PointOp::OverwritePayload { select, .. }
    | PointOp::DeletePayload { select, .. }
    | PointOp::ClearPayload { select }) = op
    else {
        return;
    };
    if let PointSelector::Filter(filter) = select {
        ask(filter);
    }
    if let PointOp::SetPayload { payload, key: Some(key), .. } = op {
        let mut before = Payload::default();
        before.merge_at(key, payload);
        Payload::from_json(&before.to_json()).expect("what the wire lets in can be stored and read");
    }
}

fn ask(filter: &Filter) {
    let payload = Payload::default();
    let point = PointView { id: PointId::Num(1), payload: &payload, has_vector: &|_| false };
    CompiledFilter::new(filter).matches(&point);
}
