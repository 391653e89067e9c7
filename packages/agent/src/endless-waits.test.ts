import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { UploadOutcome } from "@holdfast/comfyui";
import { collectedOutputSchema, type BlobSource, type Lease } from "@holdfast/contract";
import {
  NO_FAILPOINTS,
  createIdSource,
  nextUuid,
  seededRandom,
  type Clock,
} from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import type { AgentLog } from "./agent-log.ts";
import { Collector } from "./collect.ts";
import { DEFAULT_LIMITS } from "./limits.ts";
import { prepare } from "./prepare.ts";
import { Spool } from "./spool.ts";

const nothing = (): void => undefined;
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing } as unknown as AgentLog;
const random = seededRandom(5);
const ids = createIdSource(systemClock, random);
/** Every pause is over at once. */
const clock: Clock = { ...systemClock, sleep: () => Promise.resolve() };
const { signal } = new AbortController();

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-waits-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function* bytes(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

const lease: Lease = {
  attemptId: ids.next("att"),
  jobId: ids.next("job"),
  instanceId: ids.next("ins"),
  leaseEpoch: 1,
  mode: "fresh",
  promptId: nextUuid(random),
  attemptNumber: 1,
  graph: { "1": { class_type: "LoadImage", inputs: { image: "a.png" } } },
  inputs: [{ nodeId: "1", input: "image", name: "a.png", sha256: "a".repeat(64), sizeBytes: 3 }],
  storedOutputs: [],
  before: "nothing",
  executionLimitMs: 1_000,
  stall: { progressMs: 1_000, firstLoadMs: 1_000 },
  ttlMs: 1_000,
};

it("an instance that never takes an input file fails the attempt", async () => {
  let uploads = 0;
  const late: UploadOutcome = { kind: "timeout", afterMs: 60_000 };
  const prepared = await prepare(
    lease,
    {},
    {
      clock,
      random,
      log,
      limits: DEFAULT_LIMITS,
      signal,
      uploaded: new Set(),
      link: { getBlob: () => Promise.resolve(bytes("abc")) },
      client: {
        uploadInput: () => {
          uploads += 1;
          return Promise.resolve(late);
        },
      },
    },
  );
  expect(prepared).toMatchObject({
    kind: "failed",
    evidence: { channel: "connection", nodeId: "1" },
  });
  expect(uploads).toBe(DEFAULT_LIMITS.inputTries);
});

/** A collector whose spooled files vanish before the store reads them, so many times. */
async function collectorThatLoses(times: number, opened: Promise<void> = Promise.resolve()) {
  const limits = { ...DEFAULT_LIMITS, memoryOutputBytes: 0, fetchTries: 3 };
  const spool = new Spool(folder, limits);
  await spool.start();
  const state = { views: 0, stored: 0 };
  let left = times;
  const collector = new Collector({
    lease,
    clock,
    random,
    log,
    limits,
    spool,
    signal,
    failpoints: NO_FAILPOINTS,
    isGone: () => false,
    client: {
      view: async () => {
        state.views += 1;
        await opened;
        return {
          kind: "file" as const,
          body: bytes("a picture"),
          sizeBytes: 9,
          contentType: "image/png",
        };
      },
    },
    link: {
      putBlob: async (source: BlobSource) => {
        if (left > 0) {
          left -= 1;
          for (const name of await readdir(folder)) await rm(join(folder, name));
        }
        for await (const piece of source.open()) state.stored += piece.length;
        return { sha256: source.sha256, sizeBytes: source.sizeBytes };
      },
    },
  });
  collector.show("1", { images: [{ filename: "a.png", subfolder: "", type: "output" }] });
  return { collector, state, spool };
}

it("an output that this machine's disk loses is fetched again", async () => {
  const { collector, state } = await collectorThatLoses(2);
  const { outputs, missing } = await collector.settle();
  expect(missing).toEqual([]);
  expect(outputs.map((output) => output.name)).toEqual(["a.png"]);
  expect(state).toEqual({ views: 3, stored: 9 });
});

it("an output that the disk loses every time is missing, not waited for", async () => {
  const { collector } = await collectorThatLoses(Infinity);
  const { outputs, missing } = await collector.settle();
  expect(outputs).toEqual([]);
  expect(missing[0]?.reason).toContain("disk");
});

it("an output that comes after its attempt has ended is not kept", async () => {
  let open = nothing;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const { collector, state, spool } = await collectorThatLoses(0, opened);
  await collector.release();
  open();
  await collector.settle().catch(nothing);
  expect(state).toEqual({ views: 1, stored: 0 });
  expect(spool.usedBytes()).toBe(0);
});

it("outputs of nodes with endless ids keep apart, within the contract", async () => {
  const { collector } = await collectorThatLoses(0);
  const long = "1.".repeat(2_000);
  collector.show(`${long}a`, { text: ["one\0"] });
  collector.show(`${long}b`, { text: ["two"] });
  const { outputs } = await collector.settle();
  expect(new Set(outputs.map((output) => output.nodeId)).size).toBe(3);
  for (const output of outputs) {
    expect(collectedOutputSchema.safeParse(output).success).toBe(true);
    expect(output.text ?? "").not.toContain("\0");
  }
});
