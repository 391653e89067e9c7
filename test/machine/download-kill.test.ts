/**
 * A download that is killed ten times at random instants, counted at the server: what was sent, less what
 * the system still held. On a busy machine a process may not read for a while; what it never read is lost
 * with every program, and says nothing of this one.
 */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { nextInt, seededRandom, type Random } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { describe, expect, test } from "vitest";
import {
  content,
  serveFile,
  sha256Of,
  startFileServer,
} from "../../packages/machine/testing/file-server.ts";
import { temporaryFolder } from "../support/processes.ts";
import { spawnTypeScript } from "../support/spawn-typescript.ts";

const CHILD = new URL("../../packages/machine/testing/download-child.ts", import.meta.url);
const CHUNK_BYTES = 1024 * 1024;
const PIECE_BYTES = 64 * 1024;
const KILLS = 10;
/** Over the longest that an acknowledgement is held back: until then bytes count at both ends. */
const SETTLE_MS = 80;
const FILE = content(48 * CHUNK_BYTES + 4321);
const SEED = Number(process.env["HOLDFAST_TEST_SEED"] ?? Date.now() % 1_000_000);

interface Killed {
  /** First byte that each process asked for, the last and whole one included. */
  readonly starts: readonly number[];
  /** Bytes that each killed one had read from its connection. */
  readonly taken: readonly number[];
  readonly sha256: string;
  readonly leftOver: readonly string[];
}

/** Downloads with kills; `between` runs after each. */
async function downloadWithKills(
  random: Random,
  between: (partialFolder: string) => Promise<void>,
): Promise<Killed> {
  const folder = await temporaryFolder();
  const server = await startFileServer();
  try {
    let isHeld = false;
    const pause = async (): Promise<void> => {
      do await systemClock.sleep(3);
      while (isHeld);
    };
    server.on("/x", serveFile(FILE.bytes, { etag: '"1"', pieceBytes: PIECE_BYTES, pause }));
    const target = join(folder.path, "x.safetensors");
    const partialFolder = join(folder.path, ".holdfast-partial");
    await mkdir(partialFolder);
    const start = () =>
      spawnTypeScript(CHILD, [server.url("/x"), FILE.sha256, target, partialFolder]);
    const taken: number[] = [];
    for (let kills = 0; kills < KILLS; kills += 1) {
      const child = start();
      while (server.seen.length === kills) await systemClock.sleep(2);
      await systemClock.sleep(20 + nextInt(random, 130));
      child.child.kill("SIGSTOP");
      isHeld = true;
      await systemClock.sleep(SETTLE_MS);
      taken.push(Math.max(0, (server.seen[kills]?.sentBytes ?? 0) - (await unread(server.port))));
      await child.kill("SIGKILL");
      await systemClock.sleep(SETTLE_MS);
      isHeld = false;
      await between(partialFolder);
    }
    const last = start();
    await last.line(/outcome .*"kind":"fetched"/);
    await last.ended;
    return {
      starts: server.seen.map(({ headers }) => Number(/\d+/.exec(headers.range ?? "0")?.[0])),
      taken,
      sha256: sha256Of(await readFile(target)),
      leftOver: await readdir(partialFolder),
    };
  } finally {
    await server.close();
    await folder.remove();
  }
}

/** Bytes that the system holds of the connections of a port, at either end. */
async function unread(port: number): Promise<number> {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const established = "01";
  let bytes = 0;
  for (const line of (await readFile("/proc/net/tcp", "utf8")).split("\n").slice(1)) {
    const [, local = "", remote = "", state, queues = ""] = line.trim().split(/\s+/);
    if (state !== established) continue;
    if (!local.endsWith(`:${hex}`) && !remote.endsWith(`:${hex}`)) continue;
    for (const queue of queues.split(":")) bytes += Number.parseInt(queue, 16);
  }
  return bytes;
}

/** Bytes that were read and had to be fetched again, for each kill. */
function readTwice({ starts, taken }: Killed): readonly number[] {
  return taken.map((bytes, at) => (starts[at] ?? 0) + bytes - (starts[at + 1] ?? 0));
}

const isLinux = process.platform === "linux";
if (!isLinux) console.warn("download-kill: needs /proc/net/tcp, not tested here");

describe.skipIf(!isLinux)("a download killed ten times at random", () => {
  test("ends with the right hash, and no kill costs more than a chunk", async () => {
    const killed = await downloadWithKills(seededRandom(SEED), async () => undefined);
    const replay = `HOLDFAST_TEST_SEED=${SEED}: ${JSON.stringify({ ...killed, twice: readTwice(killed) })}`;
    expect(killed.sha256).toBe(FILE.sha256);
    expect(killed.leftOver).toEqual([]);
    expect(killed.starts, replay).toHaveLength(KILLS + 1);
    expect(Math.min(...readTwice(killed)), replay).toBeGreaterThanOrEqual(0);
    expect(Math.max(...readTwice(killed)), replay).toBeLessThanOrEqual(CHUNK_BYTES);
    // The kills fell into the middle of the work, or they proved nothing.
    expect(killed.taken.filter((bytes) => bytes > 0).length, replay).toBeGreaterThan(KILLS / 2);
  });

  test("the twin: were the part not kept, the same kills would cost more than a chunk", async () => {
    const killed = await downloadWithKills(seededRandom(SEED), (partialFolder) =>
      rm(partialFolder, { recursive: true }),
    );
    expect(killed.sha256).toBe(FILE.sha256);
    expect(Math.max(...readTwice(killed))).toBeGreaterThan(CHUNK_BYTES);
  });
});
