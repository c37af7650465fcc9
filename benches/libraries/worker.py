#!/usr/bin/env python3
"""One library in a process of its own: worker.py CONTESTANT BASE.npy QUERIES.npy METRIC THREADS [bytes]

It speaks as `benches/index.rs --lines` does: a line of JSON once the index is built, and for every line `EF` that it
reads a line with the seconds that all queries took, one thread, and the rows they found. Only the library's own calls
are timed. `resident_before` is what the process held before it had an index; the points are mapped and let go again
before it is asked for more, so what it holds beyond is the index.
"""

import ctypes
import gc
import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np

M, EF_CONSTRUCTION, K = 16, 200, 10


def resident_bytes(pid="self"):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024


class Hnswlib:
    def __init__(self, case):
        import hnswlib

        space = "l2" if case.metric == "euclid" else "ip"
        self.index = hnswlib.Index(space=space, dim=case.dim)

    def build(self, base, threads):
        self.index.init_index(max_elements=len(base), M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
        self.index.add_items(base, num_threads=threads)

    def prepare(self, queries):
        self.queries = queries

    def search(self, ef):
        self.index.set_ef(ef)
        return lambda: self.index.knn_query(self.queries, k=K, num_threads=1)[0]


class Faiss:
    """M neighbors per level and twice as many on level 0. With `sq8`, walks over 8-bit codes; unless these are exact,
    because the numbers are bytes, the nearest are compared again by their vectors."""

    REFINED_PER_NEIGHBOR = 4

    def __init__(self, case, kind="flat"):
        import faiss

        self.faiss = faiss
        metric = faiss.METRIC_L2 if case.metric == "euclid" else faiss.METRIC_INNER_PRODUCT
        if kind == "flat":
            self.graph = faiss.IndexHNSWFlat(case.dim, M, metric)
        else:
            codes = faiss.ScalarQuantizer
            codes = codes.QT_8bit_direct if case.is_bytes else codes.QT_8bit
            self.graph = faiss.IndexHNSWSQ(case.dim, codes, M, metric)
        self.graph.hnsw.efConstruction = EF_CONSTRUCTION
        self.is_refined = kind != "flat" and not case.is_bytes
        if self.is_refined:
            self.flat = faiss.IndexFlat(case.dim, metric)
            self.index = faiss.IndexRefine(self.graph, self.flat)
        else:
            self.index = self.graph

    def build(self, base, threads):
        self.faiss.omp_set_num_threads(threads)
        if not self.index.is_trained:
            self.index.train(base)
        self.index.add(base)
        self.faiss.omp_set_num_threads(1)

    def prepare(self, queries):
        self.queries = queries

    def search(self, ef):
        parameters = self.faiss.SearchParametersHNSW(efSearch=ef)
        if self.is_refined:
            # Not more than the walk finds.
            factor = min(ef / K, self.REFINED_PER_NEIGHBOR)
            parameters = self.faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=parameters)
        return lambda: self.index.search(self.queries, K, params=parameters)[1]


class Usearch:
    """Its narrow numbers have no second look at the vectors. It scales to bytes itself where vectors have length 1; for
    others the scale that fits the points is chosen here."""

    def __init__(self, case, dtype):
        from usearch.index import Index

        metric = "l2sq" if case.metric == "euclid" else "ip"
        self.index = Index(
            ndim=case.dim, metric=metric, dtype=dtype, connectivity=M, expansion_add=EF_CONSTRUCTION
        )
        self.is_scaled = dtype == "i8" and case.metric == "euclid"
        if self.is_scaled and case.is_bytes:
            self.center, self.scale = 128.0, 1.0
        elif self.is_scaled:
            base = case.base()
            self.center = float(base.mean())
            # A ten-thousandth of the numbers is cut off.
            self.scale = 127 / float(np.quantile(np.abs(base[:100_000] - self.center), 0.9999))

    def fitted(self, vectors):
        if not self.is_scaled:
            return vectors
        return np.clip(np.rint((vectors - self.center) * self.scale), -128, 127).astype(np.int8)

    def build(self, base, threads):
        # Within the time, as it is within that of those who do it themselves.
        base = self.fitted(base)
        self.index.add(np.arange(len(base), dtype=np.uint64), base, threads=threads)

    def prepare(self, queries):
        self.queries = self.fitted(queries)

    def search(self, ef):
        self.index.expansion_search = ef
        return lambda: self.index.search(self.queries, K, threads=1).keys


class Svs:
    """Vamana with as many neighbors per point as an HNSW's level 0. LVQ keeps 8 bits of each number, and 4 more bits."""

    ALPHA = {"euclid": 1.2, "cosine": 0.95}

    def __init__(self, case, dtype):
        import svs

        self.svs, self.dtype = svs, dtype
        self.distance = svs.DistanceType.L2 if case.metric == "euclid" else svs.DistanceType.MIP
        self.parameters = svs.VamanaBuildParameters(
            graph_max_degree=2 * M, window_size=EF_CONSTRUCTION, alpha=self.ALPHA[case.metric]
        )

    def build(self, base, threads):
        if self.dtype == "lvq":
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "base.fvecs")
                self.svs.write_vecs(np.ascontiguousarray(base), path)
                vectors = self.svs.VectorDataLoader(path, self.svs.DataType.float32)
                loader = self.svs.LVQLoader(vectors, primary=4, residual=8)
                self.index = self.svs.Vamana.build(self.parameters, loader, self.distance, num_threads=threads)
        else:
            base = np.ascontiguousarray(base, self.dtype)
            self.index = self.svs.Vamana.build(self.parameters, base, self.distance, num_threads=threads)
        self.index.num_threads = 1

    def prepare(self, queries):
        # Those of bytes are searched with bytes, all others with f32.
        self.queries = queries.astype(np.uint8) if self.dtype == "uint8" else queries

    def search(self, ef):
        self.index.search_window_size = ef
        return lambda: self.index.search(self.queries, K)[0]


class Zvec:
    """A collection on disk, opened to be read once its index is built. There is no call for many queries: each is one
    of its own, made beforehand, whose answer are the internal numbers of what it found, without documents."""

    # The library takes no more documents at once.
    INSERTED_AT_ONCE = 1024

    def __init__(self, case, quantize="UNDEFINED"):
        import zvec

        self.zvec, self.case = zvec, case
        self.is_refined = quantize != "UNDEFINED"
        zvec.init(query_threads=1, optimize_threads=case.threads, log_level=zvec.LogLevel.ERROR)
        parameters = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.L2 if case.metric == "euclid" else zvec.MetricType.IP,
            m=M,
            ef_construction=EF_CONSTRUCTION,
            quantize_type=getattr(zvec.QuantizeType, quantize),
            use_contiguous_memory=True,
        )
        vector = zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, case.dim, index_param=parameters)
        self.folder = tempfile.TemporaryDirectory(prefix="quiver-bench-")
        self.path = os.path.join(self.folder.name, "collection")
        self.collection = zvec.create_and_open(self.path, zvec.CollectionSchema(name="bench", vectors=vector))

    def build(self, base, threads):
        began = time.perf_counter()
        for start in range(0, len(base), self.INSERTED_AT_ONCE):
            rows = range(start, min(start + self.INSERTED_AT_ONCE, len(base)))
            self.collection.insert([self.zvec.Doc(id=str(row), vectors={"vector": base[row]}) for row in rows])
        self.collection.flush()
        self.insert_s = time.perf_counter() - began
        # What was inserted is searched one by one until this has linked it.
        self.collection.optimize(self.zvec.OptimizeOption(concurrency=threads))

    def prepare(self, queries):
        self.queries = queries
        self.collection.close()
        self.collection = self.zvec.open(self.path, self.zvec.CollectionOption(read_only=True))
        ids = self.collection.resolve_internal_ids(np.arange(self.case.points, dtype=np.int64))
        self.row_from_internal_id = np.array([int(id_) for id_ in ids])

    def search(self, ef):
        parameters = self.zvec.HnswQueryParam(ef=ef, is_using_refiner=self.is_refined)
        queries = [self.zvec.Query("vector", vector=query, param=parameters) for query in self.queries]
        search = self.collection.query_internal_ids
        return lambda: [search(query, topk=K) for query in queries]

    def rows(self, found):
        return self.row_from_internal_id[np.array(found)]


LIBRARIES = {
    "hnswlib": lambda case: Hnswlib(case),
    "faiss": lambda case: Faiss(case),
    "faiss-sq8": lambda case: Faiss(case, "sq8"),
    "usearch-f32": lambda case: Usearch(case, "f32"),
    "usearch-f16": lambda case: Usearch(case, "f16"),
    "usearch-i8": lambda case: Usearch(case, "i8"),
    "svs-f32": lambda case: Svs(case, "float32"),
    "svs-f16": lambda case: Svs(case, "float16"),
    "svs-u8": lambda case: Svs(case, "uint8"),
    "svs-lvq": lambda case: Svs(case, "lvq"),
    "zvec-f32": lambda case: Zvec(case),
    "zvec-int8": lambda case: Zvec(case, "INT8"),
    "zvec-uint8": lambda case: Zvec(case, "UNIFORM_UINT8"),
}


class Case:
    """What is to be indexed, as the libraries' classes want to know it."""

    def __init__(self, base, metric, threads, is_bytes):
        self.base_path, self.metric, self.threads, self.is_bytes = base, metric, threads, is_bytes
        self.points, self.dim = self.base().shape

    def base(self):
        return np.load(self.base_path, mmap_mode="r")


def main():
    name, base_path, queries_path, metric, threads, *rest = sys.argv[1:]
    threads = int(threads)
    case = Case(base_path, metric, threads, "bytes" in rest)
    queries = np.load(queries_path)
    # What a library prints must not stand between the lines of JSON.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    library = LIBRARIES[name](case)
    resident_before = resident_bytes()
    base = case.base()
    # The pages are read before the clock runs.
    base.sum(axis=1)
    began = time.perf_counter()
    library.build(base, threads)
    build_s = time.perf_counter() - began
    insert_s = getattr(library, "insert_s", 0)
    del base
    library.prepare(queries)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    built = {"build_s": build_s - insert_s, "insert_s": insert_s, "resident_before": resident_before}
    print(json.dumps(built), file=answers, flush=True)
    for line in sys.stdin:
        run = library.search(int(line))
        began = time.process_time()
        found = run()
        seconds = time.process_time() - began
        rows = library.rows(found) if hasattr(library, "rows") else found
        print(json.dumps({"seconds": seconds, "rows": np.asarray(rows).tolist()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
