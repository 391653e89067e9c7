/** A download that is killed ten times at random instants, counted at the server. */
import { mkdir, readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { nextInt, seededRandom, type Random } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { expect, test } from "vitest";
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
const FILE = content(32 * CHUNK_BYTES + 4321);
const SEED = Number(process.env["HOLDFAST_TEST_SEED"] ?? Date.now() % 1_000_000);

interface Killed {
  /** First byte that each process asked for. */
  readonly starts: readonly number[];
  /** Bytes that each was sent. */
  readonly sent: readonly number[];
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
    // Slower than the process reads: what was sent is in the process, not in the system's buffers.
    const pause = (): Promise<void> => systemClock.sleep(3);
    server.on("/x", serveFile(FILE.bytes, { etag: '"1"', pieceBytes: PIECE_BYTES, pause }));
    const target = join(folder.path, "x.safetensors");
    const partialFolder = join(folder.path, ".holdfast-partial");
    await mkdir(partialFolder);
    const start = () =>
      spawnTypeScript(CHILD, [server.url("/x"), FILE.sha256, target, partialFolder]);
    for (let kills = 0; kills < KILLS; kills += 1) {
      const child = start();
      while (server.seen.length === kills) await systemClock.sleep(2);
      await systemClock.sleep(20 + nextInt(random, 130));
      await child.kill("SIGKILL");
      await between(partialFolder);
    }
    const last = start();
    await last.line(/outcome .*"kind":"fetched"/);
    await last.ended;
    return {
      starts: server.seen.map(({ headers }) => Number(/\d+/.exec(headers.range ?? "0")?.[0])),
      sent: server.seen.map(({ sentBytes }) => sentBytes),
      sha256: sha256Of(await readFile(target)),
      leftOver: await readdir(partialFolder),
    };
  } finally {
    await server.close();
    await folder.remove();
  }
}

/** Bytes that were sent more than once, for each kill. */
function sentTwice({ starts, sent }: Killed): readonly number[] {
  return starts.slice(1).map((start, at) => (starts[at] ?? 0) + (sent[at] ?? 0) - start);
}

test("a download killed ten times ends with the right hash, and no kill costs more than a chunk", async () => {
  console.warn(`download-kill: HOLDFAST_TEST_SEED=${SEED}`);
  const killed = await downloadWithKills(seededRandom(SEED), async () => undefined);
  expect(killed.sha256).toBe(FILE.sha256);
  expect(killed.leftOver).toEqual([]);
  expect(killed.starts).toHaveLength(KILLS + 1);
  const twice = sentTwice(killed);
  for (const bytes of twice) {
    expect(bytes).toBeGreaterThanOrEqual(0);
    expect(bytes).toBeLessThanOrEqual(CHUNK_BYTES);
  }
  const all = killed.sent.reduce((sum, bytes) => sum + bytes, 0);
  expect(all).toBe(FILE.bytes.length + twice.reduce((sum, bytes) => sum + bytes, 0));
  // The kills fell into the middle of the work, or they proved nothing.
  expect(killed.starts.filter((start) => start > 0).length).toBeGreaterThan(KILLS / 2);
});

test("the twin: were the part not kept, the same kills would cost more than a chunk", async () => {
  const killed = await downloadWithKills(seededRandom(SEED), (partialFolder) =>
    rm(partialFolder, { recursive: true }),
  );
  expect(killed.sha256).toBe(FILE.sha256);
  expect(Math.max(...sentTwice(killed))).toBeGreaterThan(CHUNK_BYTES);
});
