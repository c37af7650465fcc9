// @langchain/qdrant 1.0.3, unmodified, over REST. Embeddings come from the words of a text, so the expected rankings are
// computed here.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Document } from "@langchain/core/documents";
import { Embeddings } from "@langchain/core/embeddings";
import { QdrantVectorStore } from "@langchain/qdrant";
import { QdrantClient } from "@qdrant/js-client-rest";

import { startServer } from "../clients/quiver_server.js";

const SIZE = 16;

/** A direction for a word, the same each time: a generator seeded by the word's FNV-1a hash. */
function direction(word) {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(word)) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
  return Array.from({ length: SIZE }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround(state / 2 ** 31 - 1);
  });
}

function embed(text) {
  const total = new Array(SIZE).fill(0);
  for (const word of text.toLowerCase().match(/[a-z]+/g)) direction(word).forEach((value, at) => (total[at] += value));
  return total.map(Math.fround);
}

class Fake extends Embeddings {
  embedDocuments = async (texts) => texts.map(embed);
  embedQuery = async (text) => embed(text);
}

const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);
const cosine = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

const LIBRARY = [
  ["the red fox runs over the frozen river", { kind: "animal", year: 1998, tags: ["fox", "winter"] }],
  ["a grey wolf watches the frozen forest", { kind: "animal", year: 2003, tags: ["wolf", "winter"] }],
  ["the river floods the old harbour every spring", { kind: "place", year: 2010, tags: ["water"] }],
  ["fishermen leave the harbour before dawn", { kind: "people", year: 2015, tags: ["water"] }],
  ["a library of old maps burned in winter", { kind: "place", year: 1987, tags: ["winter", "fire"] }],
  ["wolves and foxes share the northern forest", { kind: "animal", year: 2021, tags: [] }],
  ["children skate on the frozen canal at dawn", { kind: "people", year: 2018, tags: ["winter", "water"] }],
];
const QUERY = "a fox in the frozen forest";
const IDS = LIBRARY.map((_, at) => `00000000-0000-0000-0000-00000000000${at + 1}`);

/** The texts for which `test` holds, best first, with their scores. */
function ranked(test = () => true, query = QUERY) {
  const found = LIBRARY.filter(([, facts]) => test(facts)).map(([text]) => [text, cosine(embed(query), embed(text))]);
  return found.sort((a, b) => b[1] - a[1]);
}

function mmr(diversity, candidates, limit) {
  const pool = ranked().slice(0, candidates).map(([text]) => text);
  const picked = [];
  while (pool.length > 0 && picked.length < limit) {
    const gain = (text) => {
      const relevance = cosine(embed(QUERY), embed(text));
      if (picked.length === 0) return relevance;
      return (1 - diversity) * relevance - diversity * Math.max(...picked.map((other) => cosine(embed(text), embed(other))));
    };
    const best = pool.reduce((a, b) => (gain(b) > gain(a) ? b : a));
    pool.splice(pool.indexOf(best), 1);
    picked.push(best);
  }
  return picked;
}

let server;
let client;
let serial = 0;

before(async () => {
  server = await startServer();
  client = new QdrantClient({ url: server.url });
});

after(async () => {
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
});

async function filled(more = {}) {
  const store = new QdrantVectorStore(new Fake(), { url: server.url, collectionName: `langchain-js-${serial++}`, ...more });
  await store.addDocuments(LIBRARY.map(([pageContent, metadata], at) => new Document({ pageContent, metadata, id: IDS[at] })));
  return store;
}

function assertRanking(found, expected) {
  assert.deepEqual(found.map(([document]) => document.pageContent), expected.map(([text]) => text));
  found.forEach(([, score], at) => assert.ok(Math.abs(score - expected[at][1]) < 1e-5, `${score} is not ${expected[at][1]}`));
}

test("similarity search", async () => {
  const store = await filled();
  const found = await store.similaritySearchWithScore(QUERY, 4);
  assertRanking(found, ranked().slice(0, 4));
  const at = LIBRARY.findIndex(([text]) => text === found[0][0].pageContent);
  assert.deepEqual({ ...found[0][0] }, { ...new Document({ pageContent: LIBRARY[at][0], metadata: LIBRARY[at][1], id: IDS[at] }) });
  assert.deepEqual((await store.similaritySearch("harbour at dawn", 2)).map((one) => one.pageContent), ranked(undefined, "harbour at dawn").slice(0, 2).map(([text]) => text));
  assertRanking(await store.similaritySearchVectorWithScore(embed(QUERY), 100), ranked());
});

test("filters", async () => {
  const store = await filled();
  const cases = [
    [{ must: [{ key: "metadata.kind", match: { value: "animal" } }] }, (facts) => facts.kind === "animal"],
    [{ must: [{ key: "metadata.tags", match: { any: ["fire", "fox"] } }] }, (facts) => facts.tags.includes("fire") || facts.tags.includes("fox")],
    [{ must: [{ key: "metadata.year", range: { gte: 2003, lt: 2018 } }] }, (facts) => facts.year >= 2003 && facts.year < 2018],
    [{ must_not: [{ is_empty: { key: "metadata.tags" } }], should: [{ has_id: [IDS[0], IDS[4], IDS[5]] }] }, (facts) => [1998, 1987].includes(facts.year)],
    [{ must: [{ key: "metadata.kind", match: { value: "spaceship" } }] }, () => false],
  ];
  for (const [filter, holds] of cases) assertRanking(await store.similaritySearchWithScore(QUERY, 20, filter), ranked(holds));
});

test("maximal marginal relevance", async () => {
  const store = await filled();
  for (const lambda of [0.2, 0.5, 0.8]) {
    const found = await store.maxMarginalRelevanceSearch(QUERY, { k: 4, fetchK: 6, lambda });
    assert.deepEqual(found.map((one) => one.pageContent), mmr(lambda, 6, 4));
  }
  const unsaid = await store.maxMarginalRelevanceSearch(QUERY, { k: 3 });
  assert.deepEqual(unsaid.map((one) => one.pageContent), mmr(0.5, 20, 3));
  const filter = { must: [{ key: "metadata.kind", match: { value: "people" } }] };
  const people = await store.asRetriever({ searchType: "mmr", searchKwargs: { fetchK: 6, lambda: 0.5 }, k: 2, filter }).invoke(QUERY);
  assert.deepEqual(people.map((one) => one.pageContent), ranked((facts) => facts.kind === "people").map(([text]) => text));
});

test("deletion by ids and by filter", async () => {
  const store = await filled();
  await store.delete({ ids: [IDS[0], IDS[1], "00000000-0000-0000-0000-0000000000ff"] });
  assertRanking(await store.similaritySearchWithScore(QUERY, 20), ranked((facts) => facts.year !== 1998 && facts.year !== 2003));
  await store.delete({ filter: { must: [{ key: "metadata.kind", match: { value: "people" } }] } });
  assertRanking(await store.similaritySearchWithScore(QUERY, 20), ranked((facts) => facts.year !== 1998 && facts.year !== 2003 && facts.kind !== "people"));
});

test("texts, custom payloads, own keys and an existing collection", async () => {
  const collectionName = `langchain-js-${serial++}`;
  const config = { client, collectionName, contentPayloadKey: "text", metadataPayloadKey: "about", customPayload: [{ shelf: 1 }, { shelf: 2 }] };
  await QdrantVectorStore.fromTexts(["one fox", "two wolves"], [{ n: 1 }, { n: 2 }], new Fake(), config);
  const { points } = await client.scroll(collectionName, {});
  assert.deepEqual(points.map(({ payload }) => payload).sort((a, b) => a.about.n - b.about.n), [
    { text: "one fox", about: { n: 1 }, customPayload: { shelf: 1 } },
    { text: "two wolves", about: { n: 2 }, customPayload: { shelf: 2 } },
  ]);
  const again = await QdrantVectorStore.fromExistingCollection(new Fake(), config);
  assert.deepEqual((await again.similaritySearch("two wolves", 1))[0].metadata, { n: 2 });
  assert.equal((await client.getCollection(collectionName)).config.params.vectors.distance, "Cosine");
});

test("a configured collection, and an error in words", async () => {
  const vectors = { size: SIZE, distance: "Dot" };
  const store = await filled({ collectionConfig: { vectors } });
  assert.deepEqual((await client.getCollection(store.collectionName)).config.params.vectors, vectors);
  const found = await store.similaritySearchWithScore(QUERY, 20);
  const products = LIBRARY.map(([text]) => [text, dot(embed(QUERY), embed(text))]).sort((a, b) => b[1] - a[1]);
  assertRanking(found, products);
  await assert.rejects(store.addVectors([[1, 2, 3]], [new Document({ pageContent: "short" })]), /400 Bad Request: Wrong input: Vector dimension error: expected dim: 16, got 3/);
});
