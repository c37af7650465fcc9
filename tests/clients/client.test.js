// The official JavaScript client, unmodified, over REST.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { QdrantClient } from "@qdrant/js-client-rest";

import { startServer } from "./quiver_server.js";

let server;
let client;

before(async () => {
  server = await startServer();
  client = new QdrantClient({ url: server.url });
});

after(async () => {
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
});

const POINTS = [
  { id: 1, vector: [1, 0, 0], payload: { color: "red", n: 1, nested: { list: [1, 2.5, null] } } },
  { id: 2, vector: [0, 1, 0], payload: { color: "green", n: 2 } },
  { id: "00000000-0000-0000-0000-000000000003", vector: [1, 1, 0], payload: { color: ["red", "green"] } },
];

async function withCollection(name, run) {
  assert.equal(await client.createCollection(name, { vectors: { size: 3, distance: "Dot" } }), true);
  try {
    const result = await client.upsert(name, { wait: true, points: POINTS });
    assert.equal(result.status, "completed");
    await run(name);
  } finally {
    assert.equal(await client.deleteCollection(name), true);
  }
}

async function status(promise) {
  const error = await promise.then(() => assert.fail("must be refused"), (thrown) => thrown);
  return { status: error.status, text: error.data?.status?.error };
}

test("says what it is", async () => {
  const root = await client.versionInfo();
  assert.equal(root.title, "qdrant - vector search engine");
  assert.match(root.version, /^1\.19\.\d+/);
});

test("collections", async () => {
  await withCollection("js-collections", async (name) => {
    assert.deepEqual(await client.collectionExists(name), { exists: true });
    assert.deepEqual(await client.collectionExists("nowhere"), { exists: false });
    assert.ok((await client.getCollections()).collections.some((one) => one.name === name));
    const info = await client.getCollection(name);
    assert.equal(info.points_count, 3);
    assert.equal(info.status, "green");
    assert.deepEqual(info.config.params.vectors, { size: 3, distance: "Dot" });
    const again = await status(client.createCollection(name, { vectors: { size: 3, distance: "Dot" } }));
    assert.deepEqual(again, { status: 409, text: `Wrong input: Collection \`${name}\` already exists!` });
    assert.equal((await status(client.getCollection("nowhere"))).status, 404);
  });
});

test("query, search and batches", async () => {
  await withCollection("js-query", async (name) => {
    const found = await client.query(name, { query: [2, 1, 0], limit: 2, with_payload: ["color"] });
    assert.deepEqual(found.points.map(({ id, score, payload }) => ({ id, score, payload })), [
      { id: POINTS[2].id, score: 3, payload: { color: ["red", "green"] } },
      { id: 1, score: 2, payload: { color: "red" } },
    ]);
    const red = { must: [{ key: "color", match: { value: "red" } }] };
    const byId = await client.query(name, { query: 1, filter: red, with_payload: true });
    assert.deepEqual(byId.points.map((one) => one.id), [POINTS[2].id]);
    const batch = await client.queryBatch(name, { searches: [{ query: [1, 0, 0], limit: 1 }, { query: [0, 1, 0], score_threshold: 1 }] });
    assert.deepEqual(batch.map((one) => one.points.length), [1, 0]);
    const searched = await client.search(name, { vector: [2, 1, 0], limit: 1, with_vector: true });
    assert.deepEqual(searched.map(({ id, vector }) => ({ id, vector })), [{ id: POINTS[2].id, vector: [1, 1, 0] }]);
    const searches = await client.searchBatch(name, { searches: [{ vector: [1, 0, 0], limit: 1 }] });
    assert.equal(searches.length, 1);
  });
});

test("scroll, count, retrieve", async () => {
  await withCollection("js-read", async (name) => {
    const first = await client.scroll(name, { limit: 2, with_payload: true, with_vector: true });
    assert.deepEqual(first.points, POINTS.slice(0, 2));
    assert.equal(first.next_page_offset, POINTS[2].id);
    const rest = await client.scroll(name, { limit: 2, offset: first.next_page_offset });
    assert.deepEqual([rest.points.map((one) => one.id), rest.next_page_offset], [[POINTS[2].id], null]);
    assert.deepEqual(await client.count(name, { filter: { must: [{ key: "n", range: { gte: 2 } }] }, exact: true }), { count: 1 });
    const [record] = await client.retrieve(name, { ids: [1], with_payload: true, with_vector: true });
    assert.deepEqual(record, POINTS[0]);
  });
});

test("changes", async () => {
  await withCollection("js-write", async (name) => {
    const payload = async (id) => (await client.retrieve(name, { ids: [id], with_payload: true }))[0].payload;
    await client.setPayload(name, { wait: true, payload: { n: null, more: 1 }, points: [1] });
    assert.deepEqual(await payload(1), { color: "red", nested: { list: [1, 2.5, null] }, more: 1 });
    await client.overwritePayload(name, { wait: true, payload: { a: 1 }, points: [1] });
    assert.deepEqual(await payload(1), { a: 1 });
    await client.deletePayload(name, { wait: true, keys: ["a"], points: [1] });
    assert.deepEqual(await payload(1), {});
    await client.updateVectors(name, { wait: true, points: [{ id: 1, vector: [9, 9, 9] }] });
    assert.deepEqual((await client.retrieve(name, { ids: [1], with_vector: true }))[0].vector, [9, 9, 9]);
    const results = await client.batchUpdate(name, {
      wait: true,
      operations: [{ upsert: { points: [{ id: 4, vector: [0, 0, 1] }] } }, { delete: { points: [2] } }, { clear_payload: { points: [1] } }],
    });
    assert.deepEqual(results.map((one) => one.status), ["completed", "completed", "completed"]);
    await client.upsert(name, { wait: true, batch: { ids: [5, 6], vectors: [[1, 2, 3], [4, 5, 6]], payloads: [{ b: 1 }, null] } });
    assert.deepEqual((await client.scroll(name, {})).points.map((one) => one.id), [1, 4, 5, 6, POINTS[2].id]);
    assert.equal((await client.delete(name, { wait: true, filter: { must: [{ has_id: [4, 5] }] } })).status, "completed");
    assert.equal((await client.count(name)).count, 3);
  });
});

test("aliases", async () => {
  await withCollection("js-aliases", async (name) => {
    await client.updateCollectionAliases({ actions: [{ create_alias: { collection_name: name, alias_name: "js-alias" } }] });
    assert.deepEqual(await client.getCollectionAliases(name), { aliases: [{ alias_name: "js-alias", collection_name: name }] });
    assert.equal((await client.count("js-alias")).count, 3);
  });
});

test("errors carry status and text", async () => {
  await withCollection("js-errors", async (name) => {
    assert.deepEqual(await status(client.upsert(name, { points: [{ id: 9, vector: [1] }] })), {
      status: 400, text: "Wrong input: Vector dimension error: expected dim: 3, got 1",
    });
    assert.deepEqual(await status(client.setPayload(name, { wait: true, payload: {}, points: [77] })), { status: 404, text: "Not found: No point with id 77 found" });
    assert.equal((await status(client.query(name, { query: [1, 2, 3], limit: 0 }))).status, 422);
    assert.equal((await status(client.deleteFullSnapshot("nowhere"))).status, 404);
  });
});
