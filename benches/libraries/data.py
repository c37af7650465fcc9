"""The data sets that indexes are compared on, each with the exact answers.

A data set is a folder, kept when complete:
  base.npy       the points, f32, row after row
  queries.npy    the queries, none of them a point
  neighbors.npy  per query the row numbers of the 100 nearest points, nearest first, u32, exact
  shape.json     {"name", "metric", "points", "dim", "queries", "is_bytes"}; written last
"""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

QUERIES, NEIGHBORS = 2000, 100
# Distances in f32 only choose among what is compared in f64.
CANDIDATES = NEIGHBORS + 50
ROWS_PER_STEP, QUERIES_PER_STEP = 100_000, 250


class DataSet:
    """A prepared folder. Points are mapped, not read: each process that looks at them shares the same pages."""

    def __init__(self, folder):
        self.folder = folder
        shape = json.loads((folder / "shape.json").read_text())
        self.name, self.metric = shape["name"], shape["metric"]
        self.points, self.dim, self.is_bytes = shape["points"], shape["dim"], shape["is_bytes"]
        self.base_path, self.queries_path = folder / "base.npy", folder / "queries.npy"

    def base(self):
        return np.load(self.base_path, mmap_mode="r")

    def queries(self):
        return np.load(self.queries_path)

    def neighbors(self):
        return np.load(self.folder / "neighbors.npy")


# --- the sources ------------------------------------------------------------------------------------------------------


class Fashion:
    """Fashion-MNIST: 60,000 pictures of 28 x 28 bytes; of the 10,000 test pictures the first 2,000 are the queries."""

    name, metric, points = "fashion-mnist", "euclid", 60_000
    PACKAGE, INSTALLED = "dataset-fashion-mnist", pathlib.Path("/usr/share/datasets/fashion-mnist")
    FILES = ["train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"]

    def __init__(self, cache):
        self.cache = cache / "debian"

    def rows(self, points):
        base, queries = (self.pictures(name) for name in self.FILES)
        return base[:points], queries[:QUERIES]

    def pictures(self, name):
        bytes_ = gzip.decompress((self.folder() / name).read_bytes())
        # Four big-endian numbers: what it is, how many, rows, columns.
        count, height, width = np.frombuffer(bytes_, ">u4", 4)[1:]
        return np.frombuffer(bytes_, "u1", offset=16).reshape(count, height * width).astype(np.float32)

    def folder(self):
        """The Debian package's files: installed, or fetched and unpacked without installing, which needs no root."""
        unpacked = self.cache / self.INSTALLED.relative_to("/")
        for folder in [self.INSTALLED, unpacked]:
            if all((folder / name).exists() for name in self.FILES):
                return folder
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.cache) as download:
            fetched = subprocess.run(["apt-get", "download", "-q", self.PACKAGE], cwd=download)
            package = next(pathlib.Path(download).glob("*.deb"), None)
            if fetched.returncode or package is None:
                raise SystemExit(f"please install {self.PACKAGE}: apt-get could not fetch it")
            subprocess.run(["dpkg-deb", "-x", package, self.cache], check=True)
        return unpacked


class Glove:
    """The word vectors of the demo, of length 1: the folder that scripts/glove.py prepares."""

    name, metric, points = "glove", "cosine", 395_000

    def __init__(self, cache):
        self.folder = cache / "glove"

    def rows(self, points):
        script = pathlib.Path(__file__).parents[2] / "scripts" / "glove.py"
        subprocess.run([sys.executable, script, self.folder], check=True)
        dim = json.loads((self.folder / "shape.json").read_text())["dim"]
        base, queries = (np.fromfile(self.folder / name, "<f4").reshape(-1, dim) for name in ["base.f32", "queries.f32"])
        return base[:points], queries[:QUERIES]


class Clustered:
    """Synthetic: Gaussian clusters of unequal sizes, each stretched along axes of its own, that overlap.

    Clusters are small beside k neighbors of a query and wide beside the distances between centers, so that neighbors come
    from several of them. A few directions carry most of the spread, as in vectors of real models.
    """

    name, metric, points = "clustered", "euclid", 1_000_000
    DIM, CLUSTERS, ROTATIONS, SEED = 128, 10_000, 16, 20
    BLOCK = 50_000
    # The spread of centers beside that of a cluster, and how fast a cluster's spread falls from axis to axis.
    APART, FALL = 0.8, 0.7

    def __init__(self, _cache):
        random = np.random.default_rng(self.SEED)
        normal = random.standard_normal((self.ROTATIONS + 1, self.DIM, self.DIM))
        self.rotations = np.linalg.qr(normal)[0].astype(np.float32)
        fall = np.arange(1, self.DIM + 1) ** -self.FALL
        centers = random.standard_normal((self.CLUSTERS, self.DIM)) * fall * self.APART
        self.centers = centers.astype(np.float32) @ self.rotations[-1]
        scales = fall * random.lognormal(0, 0.3, (self.CLUSTERS, 1)) * random.lognormal(0, 0.3, (self.CLUSTERS, self.DIM))
        self.scales = scales.astype(np.float32)
        sizes = random.lognormal(0, 1, self.CLUSTERS)
        self.shares = sizes / sizes.sum()

    def rows(self, points):
        blocks = [self.block(number, self.BLOCK) for number in range(1, -(-points // self.BLOCK) + 1)]
        return np.concatenate(blocks)[:points], self.block(0, QUERIES)

    def block(self, number, count):
        """Each has a seed of its own, so that the first points are the same however many there are."""
        random = np.random.default_rng([self.SEED, number])
        clusters = random.choice(self.CLUSTERS, count, p=self.shares)
        points = random.standard_normal((count, self.DIM), dtype=np.float32) * self.scales[clusters]
        for rotation in range(self.ROTATIONS):
            turned = clusters % self.ROTATIONS == rotation
            points[turned] = points[turned] @ self.rotations[rotation]
        return points + self.centers[clusters]


SOURCES = {"fashion": Fashion, "glove": Glove, "clustered": Clustered}


# --- the exact answers ------------------------------------------------------------------------------------------------


def nearest(base, queries, metric):
    """Row numbers of the NEIGHBORS nearest points per query; by blocks, so that memory stays small."""
    count = min(CANDIDATES, len(base))
    found = np.empty((len(queries), min(NEIGHBORS, len(base))), np.uint32)
    for start in range(0, len(queries), QUERIES_PER_STEP):
        some = queries[start : start + QUERIES_PER_STEP]
        rows, near = np.empty((len(some), 0), np.int64), np.empty((len(some), 0), np.float32)
        for row in range(0, len(base), ROWS_PER_STEP):
            block = base[row : row + ROWS_PER_STEP]
            distances = -(some @ block.T)
            if metric == "euclid":
                # Half the squared distance, less what is the same for all points.
                distances += np.einsum("ij,ij->i", block, block) / 2
            best = np.argpartition(distances, min(count, len(block)) - 1, axis=1)[:, :count]
            rows = np.hstack([rows, best + row])
            near = np.hstack([near, np.take_along_axis(distances, best, axis=1)])
            kept = np.argpartition(near, count - 1, axis=1)[:, :count] if near.shape[1] > count else slice(None)
            if not isinstance(kept, slice):
                rows, near = np.take_along_axis(rows, kept, axis=1), np.take_along_axis(near, kept, axis=1)
        for place, (query, candidates) in enumerate(zip(some.astype(np.float64), rows)):
            vectors = base[candidates].astype(np.float64)
            exact = ((vectors - query) ** 2).sum(axis=1) if metric == "euclid" else -(vectors @ query)
            # Equal distances in the order of rows.
            order = np.lexsort((candidates, exact))[: found.shape[1]]
            found[start + place] = candidates[order]
    return found


def prepare(key, points, cache):
    """The data set, made if it is not there; with `points`, only so many of its first."""
    source = SOURCES[key]
    points = min(points or source.points, source.points)
    folder = cache / "libraries" / (source.name if points == source.points else f"{source.name}-{points}")
    if not (folder / "shape.json").exists():
        print(f"preparing {source.name}, {points} points", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        base, queries = (np.ascontiguousarray(rows, "<f4") for rows in source(cache).rows(points))
        np.save(folder / "base.npy", base)
        np.save(folder / "queries.npy", queries)
        np.save(folder / "neighbors.npy", nearest(base, queries, source.metric))
        is_bytes = all(np.array_equal(rows, np.clip(np.rint(rows), 0, 255)) for rows in (base, queries))
        shape = {"name": source.name, "metric": source.metric, "points": len(base), "dim": base.shape[1]}
        shape |= {"queries": len(queries), "is_bytes": is_bytes}
        (folder / "shape.json").write_text(json.dumps(shape) + "\n")
    return DataSet(folder)
