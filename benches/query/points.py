"""The points of `make bench-query`: 400,000 by default, made from one seed, as columns."""

import json

import numpy as np

DIM = 32
CATEGORIES, BRANDS, COLORS, TAGS = 20, 50_000, 12, 200
WORDS, TERMS, TERMS_PER_POINT = 20_000, 30_000, 50
YEAR_S = 365 * 24 * 3600
START_S = 1_672_531_200  # 2023-01-01


def zipf(rng, values, size, power=1.0):
    """Numbers below `values`, small ones often."""
    weights = 1.0 / np.arange(1, values + 1) ** power
    return rng.choice(values, size=size, p=weights / weights.sum()).astype(np.int32)


class Points:
    """Every field as a column; a keyword as the number behind its letter."""

    def __init__(self, count, seed=4):
        rng = np.random.default_rng(seed)
        self.count = count
        self.category = zipf(rng, CATEGORIES, count, 0.7)
        # Four of five colors follow from the category.
        follows = (self.category * 5) % COLORS
        self.color = np.where(rng.random(count) < 0.8, follows, rng.integers(0, COLORS, count)).astype(np.int32)
        self.brand = zipf(rng, BRANDS, count, 0.6)
        self.stock = rng.integers(0, 1000, count).astype(np.int64)
        # No two prices are equal, so that every order is one.
        self.price = rng.permutation(count).astype(np.float64) * 0.25 + 1.0
        self.sold_s = START_S + rng.integers(0, 2 * YEAR_S, count)
        self.is_new = rng.random(count) < 0.3
        # Towns, and what is scattered between them.
        towns = np.column_stack([rng.uniform(-170, 170, 200), rng.uniform(-60, 70, 200)])
        self.towns = towns
        near = towns[rng.integers(0, len(towns), count)] + rng.normal(0, 0.3, (count, 2))
        far = np.column_stack([rng.uniform(-180, 180, count), rng.uniform(-85, 85, count)])
        place = np.where((rng.random(count) < 0.7)[:, None], near, far)
        self.lon, self.lat = np.clip(place[:, 0], -180, 180), np.clip(place[:, 1], -90, 90)
        lengths = rng.integers(6, 13, count)
        self.word_starts = np.concatenate([[0], np.cumsum(lengths)])
        self.words = zipf(rng, WORDS, int(lengths.sum()))
        self.tag_starts = np.concatenate([[0], np.cumsum(rng.integers(0, 5, count))])
        self.tags = zipf(rng, TAGS, int(self.tag_starts[-1]), 0.8)
        dense = rng.normal(size=(count, DIM)).astype(np.float32)
        self.dense = dense / np.linalg.norm(dense, axis=1, keepdims=True)
        # As SPLADE weighs: few words occur often, weights are around 1 and never negative.
        sizes = rng.integers(TERMS_PER_POINT // 2, TERMS_PER_POINT * 3 // 2, count)
        rows = np.repeat(np.arange(count), sizes)
        pairs = np.unique(rows.astype(np.int64) * TERMS + zipf(rng, TERMS, len(rows), 0.75))
        self.sparse_starts = np.searchsorted(pairs, np.arange(count + 1, dtype=np.int64) * TERMS).astype(np.uint32)
        self.sparse_terms = (pairs % TERMS).astype(np.uint32)
        self.sparse_weights = np.log1p(rng.exponential(1.5, len(pairs))).astype(np.float32) + np.float32(0.01)
        self.rng = rng

    def sparse_query(self):
        """30 terms, weighed as the points' are."""
        terms = np.unique(zipf(self.rng, TERMS, 60, 0.75))
        terms = np.sort(self.rng.permutation(terms)[:30]).astype(np.uint32)
        return terms, (np.log1p(self.rng.exponential(1.5, len(terms))) + 0.01).astype(np.float32)

    def dense_query(self):
        query = self.rng.normal(size=DIM).astype(np.float32)
        return query / np.linalg.norm(query)

    def tags_of(self, row):
        return self.tags[self.tag_starts[row] : self.tag_starts[row + 1]]

    def text_of(self, row):
        return " ".join(f"w{word}" for word in self.words[self.word_starts[row] : self.word_starts[row + 1]])

    def sold(self, row):
        return str(np.datetime64(int(self.sold_s[row]), "s")) + "Z"

    def payload(self, row):
        return {
            "category": f"c{self.category[row]}",
            "color": f"r{self.color[row]}",
            "brand": f"b{self.brand[row]}",
            "stock": int(self.stock[row]),
            "price": float(self.price[row]),
            "sold": self.sold(row),
            "is_new": bool(self.is_new[row]),
            "place": {"lon": float(self.lon[row]), "lat": float(self.lat[row])},
            "text": self.text_of(row),
            "tags": [f"t{tag}" for tag in self.tags_of(row)],
        }

    def write(self, folder):
        """As the Rust client reads them."""
        self.dense.astype("<f4").tofile(folder / "dense.f32")
        self.sparse_starts.astype("<u4").tofile(folder / "sparse_starts.u32")
        self.sparse_terms.astype("<u4").tofile(folder / "sparse_terms.u32")
        self.sparse_weights.astype("<f4").tofile(folder / "sparse_weights.f32")
        with open(folder / "payloads.jsonl", "w") as file:
            for row in range(self.count):
                file.write(json.dumps(self.payload(row)) + "\n")
