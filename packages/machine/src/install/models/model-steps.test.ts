import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { seededRandom, type Clock } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { createExclusively } from "@holdfast/runtime/host";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  content,
  serveFile,
  startFileServer,
  type FileServer,
} from "../../../testing/file-server.ts";
import { machinePlaces } from "../../machine-places.ts";
import { manifestSchema, type Manifest } from "../../manifest/model.ts";
import { StepFailure, type Step, type StepProgress } from "../model.ts";
import type { DiskSpace } from "./disk-space.ts";
import type { DownloadSource } from "./download-source.ts";
import { openHashCache, type HashCache } from "./hash-cache.ts";
import { createDownloadSource } from "./http-source.ts";
import { planModels } from "./model-plan.ts";
import { fetchModel, modelSteps, type ModelPorts } from "./model-steps.ts";
import { PARTIAL_FOLDER } from "./part-store.ts";

const FILES = [content(400_000, 1), content(300_000, 2), content(200_000, 3)] as const;
const never = new AbortController().signal;
const quiet = { onProgress: () => undefined, onNote: () => undefined };
/** Rests are short, and so is what waits for a server that says nothing. */
const hasty: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(ms === 20_000 ? 1_500 : ms / 1_000, signal),
};

let server: FileServer;
let source: DownloadSource;
let hashes: HashCache;
let base: string;
let root: string;
let disk: DiskSpace;
let run: AbortController;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "hf-steps-"));
  root = join(base, "models");
  server = await startFileServer();
  source = createDownloadSource({ auth: [] });
  hashes = await openHashCache({ file: join(base, "cache", "hashes.json"), clock: systemClock });
  disk = { device: "1", freeBytes: 1e9 };
  run = new AbortController();
  for (const [at, { bytes }] of FILES.entries()) server.on(`/${at}`, serveFile(bytes));
});
afterEach(async () => {
  run.abort(new Error("the run is over"));
  await hashes.close();
  await source.close();
  await server.close();
  await rm(base, { recursive: true, force: true });
});

const ports = (): ModelPorts => ({
  source,
  hashes,
  lookAtDisk: async () => disk,
  clock: hasty,
  random: seededRandom(1),
  lifetime: run.signal,
});

const entry = (at: 0 | 1 | 2, more: Record<string, unknown> = {}) => ({
  folder: "checkpoints",
  name: `${at}.safetensors`,
  url: server.url(`/${at}`),
  sha256: FILES[at].sha256,
  ...more,
});

function manifestOf(models: readonly unknown[], more: Record<string, unknown> = {}): Manifest {
  return manifestSchema.parse({ version: 1, models, downloads: { keepFreeBytes: 1_000 }, ...more });
}

const stepsOf = (manifest: Manifest): readonly Step[] =>
  modelSteps(manifest, machinePlaces(base), ports());
const planOf = (manifest: Manifest) => planModels(manifest, machinePlaces(base), ports(), never);
const at = (name: string): string => join(root, "checkpoints", name);

interface Did {
  readonly progress: StepProgress[];
  readonly lines: string[];
}

/** Runs a step as the installer does: check, and where it is needed, apply and verify. */
async function runStep(step: Step | undefined, signal = never): Promise<"skipped" | Did> {
  if (step === undefined) throw new Error("no such step");
  const did: Did = { progress: [], lines: [] };
  const context = {
    signal,
    progress: (one: StepProgress) => void did.progress.push(one),
    log: (line: string) => void did.lines.push(line),
  };
  if ((await step.check(context)).kind === "done") return "skipped";
  await step.apply(context);
  await step.verify(context);
  return did;
}

async function failureOf(step: Step | undefined): Promise<StepFailure> {
  const error: unknown = await runStep(step).catch((thrown: unknown) => thrown);
  if (!(error instanceof StepFailure)) throw new Error(`no failure: ${String(error)}`);
  return error;
}

async function put(path: string, bytes: Uint8Array | string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}

test("missing models are fetched; the next run reads nothing and asks nobody", async () => {
  const manifest = manifestOf([entry(0), entry(1), entry(2, { fetch: "on_demand" })]);
  const steps = stepsOf(manifest);
  expect(steps.map(({ id }) => id)).toEqual([
    "model:checkpoints/0.safetensors",
    "model:checkpoints/1.safetensors",
  ]);
  const did = await runStep(steps[0]);
  if (did === "skipped") throw new Error("nothing was done");
  expect(did.progress.at(-1)).toMatchObject({ done: 400_000, total: 400_000, unit: "bytes" });
  await runStep(steps[1]);
  expect((await readFile(at("0.safetensors"))).equals(FILES[0].bytes)).toBe(true);
  const asked = server.seen.length;
  for (const step of stepsOf(manifest)) expect(await runStep(step)).toBe("skipped");
  expect(server.seen).toHaveLength(asked);
  // A model is there a moment before its download has put everything away.
  await expect.poll(() => readdir(join(root, PARTIAL_FOLDER))).toEqual([]);
});

test("with the first step all missing ones begin, the largest beside it", async () => {
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  server.on("/2", async (request, response, seen) => {
    if (request.method === "GET") await released;
    await serveFile(FILES[2].bytes)(request, response, seen);
  });
  const more = { downloads: { parallel: 2, keepFreeBytes: 0 } };
  const steps = stepsOf(manifestOf([entry(2), entry(1), entry(0)], more));
  const first = runStep(steps[0]);
  while (!existsSync(at("0.safetensors")) || !existsSync(at("1.safetensors"))) {
    await systemClock.sleep(5);
  }
  const gets = server.seen.filter(({ method }) => method === "GET").map(({ path }) => path);
  // The small one is waited for; of the others the larger goes first.
  expect(new Set(gets.slice(0, 2))).toEqual(new Set(["/2", "/0"]));
  expect(gets[2]).toBe("/1");
  release();
  await first;
});

test("a file that is there already is read once, and never fetched", async () => {
  await put(at("0.safetensors"), FILES[0].bytes);
  const manifest = manifestOf([entry(0)]);
  await runStep(stepsOf(manifest)[0]);
  expect(server.seen.filter(({ method }) => method === "GET")).toEqual([]);
  expect(await runStep(stepsOf(manifest)[0])).toBe("skipped");
});

test("a file of somebody else's is never overwritten, known or not", async () => {
  await put(at("0.safetensors"), "precious");
  const manifest = manifestOf([entry(0)]);
  const failure = await failureOf(stepsOf(manifest)[0]);
  expect(failure.message).toContain("is another file");
  expect(failure.message).toContain(FILES[0].sha256);
  expect(failure.advice).toContain("Holdfast did not put it there");
  expect((await failureOf(stepsOf(manifest)[0])).message).toContain("is another file");
  // Once it was read, a plan tells it too.
  expect((await planOf(manifest)).models[0]).toMatchObject({ state: "blocked" });
  expect(await readFile(at("0.safetensors"), "utf8")).toBe("precious");
  expect(server.seen.filter(({ method }) => method === "GET")).toEqual([]);
});

test("what we fetched for a model is replaced when the manifest wants another version", async () => {
  await runStep(stepsOf(manifestOf([entry(0)]))[0]);
  const newer = { url: server.url("/1"), sha256: FILES[1].sha256 };
  const steps = stepsOf(manifestOf([entry(0, newer)]));
  await runStep(steps[0]);
  expect((await readFile(at("0.safetensors"))).equals(FILES[1].bytes)).toBe(true);
});

test("what we fetched and somebody changed since is left", async () => {
  await runStep(stepsOf(manifestOf([entry(0)]))[0]);
  await writeFile(at("0.safetensors"), "fine-tuned");
  const newer = { url: server.url("/1"), sha256: FILES[1].sha256 };
  await failureOf(stepsOf(manifestOf([entry(0, newer)]))[0]);
  expect(await readFile(at("0.safetensors"), "utf8")).toBe("fine-tuned");
});

test("what came to the place while the new version was fetched is left", async () => {
  await runStep(stepsOf(manifestOf([entry(0)]))[0]);
  server.on("/1", async (request, response, seen) => {
    if (request.method === "GET") await writeFile(at("0.safetensors"), "just now");
    await serveFile(FILES[1].bytes)(request, response, seen);
  });
  const newer = { url: server.url("/1"), sha256: FILES[1].sha256 };
  await failureOf(stepsOf(manifestOf([entry(0, newer)]))[0]);
  expect(await readFile(at("0.safetensors"), "utf8")).toBe("just now");
});

test("a link to a file with the right hash is a model; one that leads nowhere is in the way", async () => {
  await put(join(base, "elsewhere"), FILES[0].bytes);
  await mkdir(join(root, "checkpoints"), { recursive: true });
  await symlink(join(base, "elsewhere"), at("0.safetensors"));
  await symlink(join(base, "gone"), at("1.safetensors"));
  const steps = stepsOf(manifestOf([entry(0), entry(1)]));
  await runStep(steps[0]);
  expect((await failureOf(steps[1])).message).toContain("a link that leads nowhere");
});

test("without an accepted licence nothing is fetched, and it is said what to do", async () => {
  const licence = { name: "FLUX", url: "https://x/l", accepted: false };
  const failure = await failureOf(stepsOf(manifestOf([entry(0, { licence })]))[0]);
  expect(failure.message).toContain("under the licence FLUX (https://x/l), which nobody accepted");
  expect(failure.advice).toContain("accepted: true");
  expect(server.seen).toEqual([]);
  await runStep(stepsOf(manifestOf([entry(0, { licence: { ...licence, accepted: true } })]))[0]);
});

test("when not all fit nothing is fetched; optional ones make room for the others", async () => {
  disk = { device: "1", freeBytes: 500_000 };
  const [first, second] = stepsOf(manifestOf([entry(0), entry(1)]));
  expect((await failureOf(first)).message).toContain("but 500.0 kB are free");
  await failureOf(second);
  expect(existsSync(at("0.safetensors"))).toBe(false);
  const [kept, left] = stepsOf(manifestOf([entry(0), entry(1, { optional: true })]));
  await runStep(kept);
  expect((await failureOf(left)).message).toContain("are to be fetched");
});

test("what is kept of a file needs no further room", async () => {
  await put(
    join(root, PARTIAL_FOLDER, `${FILES[0].sha256}.part`),
    FILES[0].bytes.subarray(0, 390_000),
  );
  disk = { device: "1", freeBytes: 11_000 };
  await runStep(stepsOf(manifestOf([entry(0)]))[0]);
  disk = { device: "1", freeBytes: 10_999 };
  await put(
    join(root, PARTIAL_FOLDER, `${FILES[1].sha256}.part`),
    FILES[1].bytes.subarray(0, 290_000),
  );
  await failureOf(stepsOf(manifestOf([entry(1)]))[0]);
});

test("a disk that fills up meanwhile ends the download before it is full", async () => {
  server.on("/0", (request, response) => {
    response.writeHead(200, { "content-length": 400_000 });
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    response.write(FILES[0].bytes.subarray(0, 100_000), () => {
      disk = { device: "1", freeBytes: 1_000 };
    });
  });
  const failure = await failureOf(stepsOf(manifestOf([entry(0)]))[0]);
  expect(failure.message).toContain("but 1.0 kB are free");
  expect(failure.advice).toContain("Free ");
});

test("a step that fails leaves the others alone", async () => {
  server.on("/0", (_, response) => void response.writeHead(404).end());
  const steps = stepsOf(manifestOf([entry(0), entry(1)]));
  expect((await failureOf(steps[0])).message).toContain("404");
  await runStep(steps[1]);
});

test("an abort ends all, with its reason; the next run goes on", async () => {
  let isStuck = true;
  server.on("/0", (request, response, seen) => {
    if (!isStuck || request.method === "HEAD")
      return serveFile(FILES[0].bytes)(request, response, seen);
    response.writeHead(200, { "content-length": 400_000 });
    response.write(FILES[0].bytes.subarray(0, 100_000));
  });
  const abort = new AbortController();
  const reason = new Error("stop");
  const running = runStep(stepsOf(manifestOf([entry(0), entry(1)]))[0], abort.signal);
  const part = join(root, PARTIAL_FOLDER, `${FILES[0].sha256}.part`);
  while (!existsSync(part) || (await readFile(part)).length < 100_000) await systemClock.sleep(5);
  abort.abort(reason);
  await expect(running).rejects.toBe(reason);
  isStuck = false;
  const did = await runStep(stepsOf(manifestOf([entry(0)]))[0]);
  expect(did).toMatchObject({ lines: [expect.stringContaining("fetched now 300.0 kB")] });
});

test("the end of the run ends what was fetched ahead", async () => {
  server.on("/1", (request, response) => {
    response.writeHead(200, { "content-length": 300_000 });
    if (request.method === "HEAD") response.end();
    else response.write("x");
  });
  await runStep(stepsOf(manifestOf([entry(0), entry(1)]))[0]);
  const part = join(root, PARTIAL_FOLDER, `${FILES[1].sha256}.lock`);
  while (!existsSync(part)) await systemClock.sleep(5);
  run.abort(new Error("over"));
  while (existsSync(part)) await systemClock.sleep(5);
});

test("one of two that want the same file waits for the other", async () => {
  const lock = join(root, PARTIAL_FOLDER, `${FILES[2].sha256}.lock`);
  await mkdir(dirname(lock), { recursive: true });
  await createExclusively(lock, JSON.stringify({ pid: process.pid }));
  const notes: string[] = [];
  const manifest = manifestOf([entry(2, { fetch: "on_demand" })]);
  const name = { folder: "checkpoints", name: "2.safetensors" };
  const told = { ...quiet, onNote: (line: string) => void notes.push(line) };
  const running = fetchModel(manifest, machinePlaces(base), ports(), name, told, never);
  while (notes.length === 0) await systemClock.sleep(5);
  expect(notes[0]).toContain("waiting for it");
  expect(server.seen).toEqual([]);
  await rm(lock);
  expect(await running).toMatchObject({ kind: "present", receivedBytes: 200_000 });
});

test("a model is fetched on demand, and only one that the manifest names", async () => {
  const manifest = manifestOf([entry(2, { fetch: "on_demand" })]);
  const fetch = (name: string) =>
    fetchModel(
      manifest,
      machinePlaces(base),
      ports(),
      { folder: "checkpoints", name },
      quiet,
      never,
    );
  expect(await fetch("2.safetensors")).toMatchObject({ kind: "present", receivedBytes: 200_000 });
  expect(await fetch("2.safetensors")).toMatchObject({ kind: "present", receivedBytes: 0 });
  expect(await fetch("9.safetensors")).toMatchObject({
    kind: "failed",
    failure: { kind: "not_found" },
  });
});

test("a model on demand is not fetched to a disk that is too full for it", async () => {
  disk = { device: "1", freeBytes: 200_999 };
  const manifest = manifestOf([entry(2, { fetch: "on_demand", sizeBytes: 200_000 })]);
  const name = { folder: "checkpoints", name: "2.safetensors" };
  const fetch = () => fetchModel(manifest, machinePlaces(base), ports(), name, quiet, never);
  expect(await fetch()).toMatchObject({ kind: "failed", failure: { kind: "disk_full" } });
  expect(server.seen).toEqual([]);
  disk = { device: "1", freeBytes: 201_000 };
  expect(await fetch()).toMatchObject({ kind: "present" });
});

test("a model whose folder leads out of the root is refused", async () => {
  await mkdir(join(base, "elsewhere"));
  await mkdir(root);
  await symlink(join(base, "elsewhere"), join(root, "checkpoints"));
  expect((await failureOf(stepsOf(manifestOf([entry(0)]))[0])).message).toContain("leads out of");
  expect(await readdir(join(base, "elsewhere"))).toEqual([]);
});

test("a plan tells sizes, what is there, and what is in the way, and changes nothing", async () => {
  await put(join(base, "outside", "1.safetensors"), FILES[1].bytes);
  await put(at("1.safetensors"), FILES[1].bytes);
  server.on("/gated", (_, response) => void response.writeHead(401).end());
  const before = await readdir(base, { recursive: true });
  const plan = await planOf(
    manifestOf([
      entry(0),
      entry(1),
      entry(2, { fetch: "on_demand" }),
      entry(0, { name: "gated", url: server.url("/gated") }),
      entry(0, { name: "licensed", licence: { name: "FLUX", accepted: false } }),
      entry(0, { name: "wrong", sizeBytes: 5 }),
      entry(0, { name: "GATED" }),
    ]),
  );
  expect(
    plan.models.map(({ name, state, fetchBytes, problem }) => [
      name,
      state,
      fetchBytes,
      problem?.message ?? null,
    ]),
  ).toEqual([
    ["0.safetensors", "missing", 400_000, null],
    ["1.safetensors", "unread", 0, null],
    ["2.safetensors", "missing", 0, null],
    ["gated", "missing", null, `${server.url("/gated")} answered 401: access is refused`],
    [
      "licensed",
      "missing",
      0,
      "checkpoints/licensed is under the licence FLUX, which nobody accepted",
    ],
    ["wrong", "missing", 5, "expected 5 bytes, and the server has 400000 (400.0 kB)"],
    ["GATED", "missing", 400_000, null],
  ]);
  expect(plan.fetchBytes).toBe(800_005);
  expect(plan.unknownSizes).toBe(1);
  expect(plan.problems[0]?.message).toContain("upper and lower case");
  expect(plan.disks).toMatchObject([{ neededBytes: 800_005, fits: true }]);
  expect(await readdir(base, { recursive: true })).toEqual(before);
  // Nothing of a file was fetched but its head.
  expect(
    server.seen.filter(({ method, headers }) => method === "GET" && headers.range !== "bytes=0-0"),
  ).toEqual([]);
});

test("a plan that does not fit says so, and a server that is silent does not hold it up", async () => {
  disk = { device: "1", freeBytes: 300_000 };
  server.on("/1", () => undefined);
  const plan = await planOf(manifestOf([entry(0), entry(1)]));
  expect(plan.problems[0]?.message).toContain("but 300.0 kB are free");
  expect(plan.models[1]?.problem?.message).toContain("does not answer");
});
