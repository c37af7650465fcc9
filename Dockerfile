# Quiver as an image: docker build --tag quiver .
#
#     docker run --read-only --volume vectors:/var/lib/quiver --publish 6333:6333 --publish 6334:6334 \
#         --env QUIVER__SERVICE__HOST=0.0.0.0 --env QUIVER__SERVICE__API_KEY=change-me quiver
#
# As everywhere, it listens on loopback unless told otherwise: a server without a key must not be reachable by accident.

# Both stages are of one Debian: the binary uses its C and C++ libraries, and RocksDB is compiled into it.
FROM rust:1.95-bookworm AS build

# bindgen reads RocksDB's header with it; the compilers are in the image. Versions are those of the base image's release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libclang-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
# Cargo.toml names targets in these: cargo wants them to exist, and builds none of them.
COPY benches benches
COPY tests/it tests/it
COPY src src
# Line numbers are more than half of the binary; names of functions stay, for backtraces.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin quiver \
    && strip --strip-debug -o /usr/local/bin/quiver target/release/quiver

FROM debian:bookworm-slim

LABEL org.opencontainers.image.title="Quiver" \
      org.opencontainers.image.description="A vector database that speaks the Qdrant protocol" \
      org.opencontainers.image.licenses="Apache-2.0"

# Certificates: snapshots in buckets and from URLs. The user's numbers are those of the chart.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 quiver \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/quiver --shell /usr/sbin/nologin quiver \
    && install --directory --owner quiver --group quiver /var/lib/quiver

COPY --from=build /usr/local/bin/quiver /usr/local/bin/quiver

USER 65532:65532
# Data and snapshots are ./storage and ./snapshots unless told otherwise.
WORKDIR /var/lib/quiver
# REST, gRPC, other nodes.
EXPOSE 6333 6334 6335
ENTRYPOINT ["/usr/local/bin/quiver"]
CMD ["serve"]
