// A Quiver server as a child process on free ports; the JavaScript sibling of quiver_server.py.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");
const READY_TIMEOUT_MS = 60_000;

function findBinary() {
  if (process.env.QUIVER_BINARY) return resolve(process.env.QUIVER_BINARY);
  const target = process.env.CARGO_TARGET_DIR ?? join(REPOSITORY, "target");
  const builds = ["release", "debug"].map((profile) => join(target, profile, "quiver")).filter((path) => existsSync(path));
  if (builds.length === 0) throw new Error(`no quiver binary in ${target}: run cargo build, or set QUIVER_BINARY`);
  return builds.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
}

async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, () => new Promise((done, fail) => {
      const one = createServer().on("error", fail).listen(0, "127.0.0.1", () => done(one));
    })),
  );
  const ports = servers.map((one) => one.address().port);
  await Promise.all(servers.map((one) => new Promise((done) => one.close(done))));
  return ports;
}

/** Starts a server and waits for /readyz. `stop()` ends it with SIGTERM and removes its data. */
export async function startServer() {
  const scratch = mkdtempSync(join(tmpdir(), "quiver-test-"));
  const [httpPort, grpcPort] = await freePorts(2);
  const log = openSync(join(scratch, "server.log"), "a");
  const child = spawn(findBinary(), ["serve"], {
    cwd: scratch,
    stdio: ["ignore", log, log],
    env: {
      ...process.env,
      QUIVER__SERVICE__HOST: "127.0.0.1",
      QUIVER__SERVICE__HTTP_PORT: String(httpPort),
      QUIVER__SERVICE__GRPC_PORT: String(grpcPort),
      QUIVER__STORAGE__STORAGE_PATH: join(scratch, "storage"),
    },
  });
  const exited = new Promise((done) => child.on("exit", (code, signal) => done({ code, signal })));
  const killAtExit = () => child.kill("SIGKILL");
  process.on("exit", killAtExit);
  const url = `http://127.0.0.1:${httpPort}`;

  const stop = async () => {
    child.kill("SIGTERM");
    const end = await exited;
    process.off("exit", killAtExit);
    rmSync(scratch, { recursive: true, force: true });
    return end;
  };
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (!(await fetch(`${url}/readyz`).then((answer) => answer.ok, () => false))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      const text = readFileSync(join(scratch, "server.log"), "utf8").slice(-4000);
      await stop();
      throw new Error(`the server did not become ready:\n${text}`);
    }
    await new Promise((done) => setTimeout(done, 10));
  }
  return { url, httpPort, grpcPort, stop };
}
