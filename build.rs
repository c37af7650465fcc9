//! Generates the protobuf messages, servers and clients of `proto/`, without `protoc`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_file("qdrant.proto")?;

    // What the reflection service shows.
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("qdrant_descriptor.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .codec_path("crate::api::grpc::codec::Codec")
        // Methods that are not built are answered before they are called.
        .generate_default_stubs(true)
        // Ordered like our payloads, so that answers are the same bytes every time.
        .btree_map(".")
        .compile_fds(compiler.file_descriptor_set())?;

    // Between nodes: another package, and no part of what reflection shows.
    let peer = protox::compile(["peer.proto"], ["proto"])?;
    tonic_prost_build::configure().emit_rerun_if_changed(false).compile_fds(peer)?;
    Ok(())
}
