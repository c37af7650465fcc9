# Sourced by the other scripts: where things are kept, and the prebuilt RocksDB.
# Nothing is written into the clone but data/ (the demo).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"
export QUIVER_CACHE="${QUIVER_CACHE:-$HOME/.cache/quiver}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$QUIVER_CACHE/target}"
export PATH="$PATH:$HOME/.cargo/bin"

# RocksDB is compiled once per version, not once per profile and target folder.
rocksdb_version="$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)"
export ROCKSDB_LIB_DIR="${ROCKSDB_LIB_DIR:-$QUIVER_CACHE/rocksdb-$rocksdb_version}"
export ROCKSDB_STATIC=1

# The demo's server.
DATA="${QUIVER_DATA:-$ROOT/data}"
HTTP_PORT="${QUIVER_HTTP_PORT:-6333}"
GRPC_PORT="${QUIVER_GRPC_PORT:-6334}"
PID_FILE="$DATA/quiver.pid"
LOG_FILE="$DATA/quiver.log"

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Prints the demo server's pid if it runs.
server_pid() {
    local pid
    pid="$(cat "$PID_FILE" 2>/dev/null)" || return 1
    [[ "$(readlink "/proc/$pid/exe" 2>/dev/null)" == */quiver* ]] && echo "$pid"
}
