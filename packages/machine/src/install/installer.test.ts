import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withFileLock } from "@holdfast/runtime/host";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { serveRelease } from "../../testing/complete-release.ts";
import { rememberingLog } from "../../testing/fake-host.ts";
import { machinePlaces, type MachinePlaces } from "../machine-places.ts";
import { manifestSchema, type Manifest } from "../manifest/model.ts";
import { logName } from "./install-log.ts";
import { createInstaller, type Busy, type Installer } from "./installer.ts";
import type { Cleaned } from "./release/clean-releases.ts";
import { releaseId } from "./release/release-inputs.ts";
import { openReleases } from "./release/releases.ts";
import type { ProgramCall } from "./run-program.ts";

const REPO = "https://localhost/comfyui";
const COMMITS = { v1: "1".repeat(40), v2: "2".repeat(40) } as const;
const signal = new AbortController().signal;

let places: MachinePlaces;
let clock: FakeClock;
let log: ReturnType<typeof rememberingLog>;
/** Programs that were started: none succeeds. */
let calls: ProgramCall[];
let inForce: Manifest | null;
/** What a program prints that succeeds all the same. */
let answer: (args: readonly string[]) => string | undefined;

beforeEach(async () => {
  places = machinePlaces(await mkdtemp(join(tmpdir(), "hf-installer-")));
  await writeFile(join(places.root, "git"), "", { mode: 0o755 });
  clock = createFakeClock();
  log = rememberingLog();
  calls = [];
  inForce = null;
  answer = () => undefined;
  for (const ref of ["v1", "v2"] as const) {
    await serveRelease(places, { id: idOf(ref), repo: REPO, ref, commit: COMMITS[ref] });
  }
});
afterEach(() => rm(places.root, { recursive: true, force: true }));

const manifestOf = (ref: string, more: Record<string, unknown> = {}): Manifest =>
  manifestSchema.parse({
    version: 1,
    comfyui: { repo: REPO, ref },
    torch: { backend: "none" },
    ...more,
  });
function idOf(ref: keyof typeof COMMITS): string {
  const { python, torch } = manifestOf(ref);
  const comfyui = { kind: "clone", repo: REPO, ref, commit: COMMITS[ref] } as const;
  return releaseId({ comfyui, nodes: [], python, torch, torchBackend: "none" });
}
const installer = (
  manifest: Manifest = manifestOf("v2"),
  env: Record<string, string> = {},
): Installer =>
  createInstaller({
    manifest,
    digest: "d",
    places,
    clock,
    log,
    settings: {
      hostEnvironment: { PATH: places.root, ...env },
      uvProgram: join(places.root, "git"),
      allowPythonDownloads: false,
      lockWaitMs: 0,
    },
    ports: {
      runProgram: (call) => {
        calls.push(call);
        const stdout = answer(call.args);
        if (stdout !== undefined) {
          const printed = { stdout, isStdoutCut: false, stderrTail: "" };
          return Promise.resolve({ kind: "succeeded", ...printed });
        }
        const stderrTail = "fatal: repository not found";
        return Promise.resolve({
          kind: "failed",
          code: 128,
          stdout: "",
          isStdoutCut: false,
          stderrTail,
        });
      },
      findUsed: () => Promise.resolve(new Set()),
      manifestInForce: () => Promise.resolve(inForce),
    },
  });

describe("a rollback", () => {
  test("holds the manifest back: what asks for the release that was left changes nothing", async () => {
    expect(await installer().rollback(signal)).toMatchObject({ from: idOf("v2"), to: idOf("v1") });
    for (let again = 0; again < 2; again += 1) {
      const outcome = await installer().install({ signal });
      expect(outcome).toMatchObject({
        kind: "installed",
        release: idOf("v1"),
        isChanged: again === 0,
      });
      expect(outcome).toMatchObject({
        hold: { by: "operator", from: idOf("v2"), to: idOf("v1"), at: clock.now() },
        warnings: [expect.stringMatching(/held back.*--end-hold/)],
      });
    }
    expect(await installer().plan({ signal })).toMatchObject({
      releaseId: idOf("v1"),
      problems: [],
    });
    expect((await installer().status()).hold?.to).toBe(idOf("v1"));
    expect(calls).toEqual([]);
  });

  test("also when models are added: they make no release", async () => {
    await installer().rollback(signal);
    const model = { folder: "loras", name: "x.safetensors", url: "https://localhost/x" };
    const more = { models: [{ ...model, sha256: "a".repeat(64) }] };
    expect(await installer(manifestOf("v2", more)).install({ signal })).toMatchObject({
      kind: "installed",
      release: idOf("v1"),
    });
  });

  test("until the manifest asks for something else", async () => {
    await installer().rollback(signal);
    const other = installer(manifestOf("v3"));
    expect((await other.status()).hold).toBeNull();
    // It does ask, and cannot be answered here: then the hold stays for whoever goes back to v2.
    expect(await other.install({ signal })).toMatchObject({ kind: "refused" });
    expect((await installer().status()).hold).not.toBeNull();
    expect(await installer(manifestOf("v1")).install({ signal })).toMatchObject({ hold: null });
    expect(existsSync(places.releaseHold)).toBe(false);
  });

  test("until somebody ends it", async () => {
    await installer().rollback(signal);
    const plan = await installer().plan({ signal, endHold: true });
    expect(plan).toMatchObject({ hold: null, problems: [{ subject: "comfyui" }] });
    expect(await installer().install({ signal, update: true })).toMatchObject({ kind: "refused" });
    expect((await installer().status()).hold).not.toBeNull();
    await installer().rollback(signal);
    expect(await installer().install({ signal })).toMatchObject({
      release: idOf("v2"),
      hold: null,
    });
  });

  test("once more undoes it, and leaves no hold", async () => {
    await installer().rollback(signal);
    expect(await installer().rollback(signal)).toMatchObject({ to: idOf("v2"), hold: null });
    expect(existsSync(places.releaseHold)).toBe(false);
  });

  test("holds what is in force too, when the file is another by now", async () => {
    inForce = manifestOf("v2");
    await installer(manifestOf("v3")).rollback(signal);
    expect((await installer(manifestOf("v3")).status()).hold).not.toBeNull();
    expect((await installer(manifestOf("v2")).status()).hold).not.toBeNull();
  });

  test("keeps what serves as it is, and says what of that is damaged and what to do", async () => {
    await installer().rollback(signal);
    expect(await installer().status()).toMatchObject({ damage: null });
    await rm(join(places.releases, idOf("v1"), "comfyui/main.py"));
    await rm(join(places.releases, idOf("v1"), "venv/bin/python"));
    const words = expect.stringMatching(
      /^release .* serves and is damaged: .*main\.py.*Python.*not made anew while.*--end-hold/,
    );
    expect(await installer().status()).toMatchObject({ damage: words });
    expect(await installer().plan({ signal })).toMatchObject({ problems: [] });
    expect(await installer().install({ signal })).toMatchObject({
      release: idOf("v1"),
      warnings: [expect.stringContaining("held back"), words],
    });
    expect(log.lines.join()).toContain("serves and is damaged");
    expect(existsSync(join(places.releases, idOf("v1"), "comfyui/main.py"))).toBe(false);
    // Of the release that the manifest asks for the plan tells as before.
    await installer().rollback(signal);
    expect(await installer().status()).toMatchObject({ damage: null });
  });

  test("says why, when the machine went back by itself", async () => {
    const leaving = "comfyui-gpu0: it ends again and again";
    await installer().rollback(signal, { to: idOf("v1"), leaving });
    const { hold } = await installer().status();
    expect(hold).toMatchObject({ by: "machine", reason: leaving });
  });
});

describe("a release that serves and is damaged", () => {
  const damage = (...path: string[]): Promise<void> =>
    rm(join(places.releases, idOf("v2"), ...path), { recursive: true });
  const repaired = `${idOf("v2")}-r2`;
  const treeOf = async (id: string): Promise<string[]> =>
    (await readdir(join(places.releases, id), { recursive: true })).toSorted();

  test.each([
    ["its environment", ["venv/pyvenv.cfg"]],
    ["its ComfyUI", ["comfyui/main.py"]],
  ])("in %s is never written to: another one is made beside it", async (_, path) => {
    await damage(...path);
    const before = await treeOf(idOf("v2"));
    const plan = await installer().plan({ signal });
    expect(plan).toMatchObject({ releaseId: repaired, isNewRelease: true, problems: [] });
    expect(plan.warnings.join()).toMatch(/serves and is not as it was made: .* beside it/);
    // Nothing can be fetched here: the attempt fails, and what serves is left as it is.
    expect(await installer().install({ signal })).toMatchObject({ kind: "failed" });
    expect(await treeOf(idOf("v2"))).toEqual(before);
    expect((await installer().status()).current).toBe(idOf("v2"));
  });

  test("is left for the one that was made, and what was before it is where a rollback goes", async () => {
    await damage("venv/pyvenv.cfg");
    await serveRelease(places, { id: repaired, repo: REPO, ref: "v2", commit: COMMITS.v2 });
    await openReleases(places).switchTo(idOf("v1"));
    await openReleases(places).switchTo(idOf("v2"));
    expect(await installer().install({ signal })).toMatchObject({ release: repaired });
    expect(await installer().status()).toMatchObject({ current: repaired, previous: idOf("v1") });
    expect(await installer().install({ signal })).toMatchObject({ isChanged: false });
  });
});

test("cleaning removes parts of downloads that nobody wants, and none that is being fetched", async () => {
  const [stale, wanted, inUse, ofInForce] = ["a", "b", "c", "d"].map((digit) => digit.repeat(64));
  const folder = join(places.models, ".holdfast-partial");
  await mkdir(folder, { recursive: true });
  for (const hash of [stale, wanted, inUse, ofInForce]) {
    await writeFile(join(folder, `${hash}.part`), "x".repeat(10));
    await writeFile(join(folder, `${hash}.json`), "{}");
  }
  const model = (sha256: string | undefined) => ({
    models: [{ folder: "loras", name: "x.safetensors", url: "https://localhost/x", sha256 }],
  });
  inForce = manifestOf("v2", model(ofInForce));
  await withFileLock(join(folder, `${inUse}.lock`), { clock, timeoutMs: 0 }, async () => {
    const cleaned = await installer(manifestOf("v2", model(wanted))).clean(signal);
    expect(cleaned).toMatchObject({
      removed: [
        {
          what: expect.stringMatching(/^part of a download .*\(untouched for \d+ h, sha256 a/),
          freedBytes: expect.any(Number),
        },
      ],
      kept: [
        { what: expect.stringContaining("cccc"), reason: expect.stringContaining("is held by") },
      ],
    });
  });
  const left = (await readdir(folder)).filter((name) => name.endsWith(".part"));
  expect(left.toSorted()).toEqual([wanted, inUse, ofInForce].map((hash) => `${hash}.part`));
});

describe("cleaning", () => {
  const BIG = 1024 ** 2;
  const spare = async (): Promise<void> => {
    await mkdir(join(places.releases, "half"), { recursive: true });
    await writeFile(join(places.releases, "half/big"), Buffer.alloc(BIG, 1));
    await mkdir(join(places.gitCache, "unused.git"), { recursive: true });
    await mkdir(join(places.releases, ".removed-old"), { recursive: true });
    await mkdir(places.installLogs, { recursive: true });
    for (let at = 0; at < 22; at += 1) {
      await writeFile(join(places.installLogs, logName(at * 1_000, 1)), "{}");
    }
  };
  const names = (cleaned: Cleaned | Busy): readonly string[] =>
    "removed" in cleaned ? cleaned.removed.map(({ what }) => what) : [];
  const all = [
    "rests of an earlier removal",
    "release half",
    "clone unused.git",
    `log ${logName(0, 1)}`,
    `log ${logName(1_000, 1)}`,
  ];

  test("says what each thing has freed, and all together", async () => {
    await spare();
    const cleaned = await installer().clean(signal);
    expect(names(cleaned)).toEqual(all);
    if (!("removed" in cleaned)) throw new Error("busy");
    const half = cleaned.removed.find(({ what }) => what === "release half");
    expect(half?.freedBytes).toBeGreaterThanOrEqual(BIG);
    expect(cleaned.freedBytes).toBe(
      cleaned.removed.reduce((sum, { freedBytes }) => sum + freedBytes, 0),
    );
    expect(cleaned.isDryRun).toBe(false);
    expect(existsSync(join(places.releases, "half"))).toBe(false);
    expect(names(await installer().clean(signal))).toEqual([]);
  });

  test("as a rehearsal lists the same, and changes nothing", async () => {
    await spare();
    const tree = async () => (await readdir(places.root, { recursive: true })).toSorted();
    const before = await tree();
    // Also while somebody installs: nothing is to be waited for.
    await withFileLock(places.installLock, { clock, timeoutMs: 0 }, async () => {
      const during = await installer().clean(signal, { isDryRun: true });
      expect(during).toMatchObject({ isDryRun: true, uvCache: { kind: "skipped" } });
      expect(names(during)).toEqual(all);
    });
    expect(await tree()).toEqual(before);
    expect(calls).toEqual([]);
  });

  test("has uv prune the machine's own cache, and says in words where it does not", async () => {
    const uvCache = async (env: Record<string, string> = {}) => {
      const cleaned = await installer(manifestOf("v2"), env).clean(signal);
      return "uvCache" in cleaned ? cleaned.uvCache : undefined;
    };
    expect(await uvCache()).toMatchObject({
      kind: "skipped",
      reason: expect.stringContaining("no cache of uv"),
    });
    await mkdir(join(places.root, "cache/uv"), { recursive: true });
    expect(await uvCache()).toMatchObject({
      kind: "skipped",
      reason: expect.stringContaining("is not uv"),
    });
    expect(await uvCache({ UV_CACHE_DIR: "/srv/uv" })).toMatchObject({
      kind: "skipped",
      reason: expect.stringContaining("UV_CACHE_DIR"),
    });
    answer = (args) => (args[0] === "--version" ? "uv 0.9.9" : "Removed 7 files (1.2MiB)");
    expect(await uvCache()).toEqual({ kind: "pruned", detail: "Removed 7 files (1.2MiB)" });
    expect(calls.at(-1)).toMatchObject({
      args: ["cache", "prune"],
      env: { UV_CACHE_DIR: join(places.root, "cache/uv") },
    });
    answer = (args) => (args[0] === "--version" ? "uv 0.9.9" : undefined);
    expect(await uvCache()).toMatchObject({
      kind: "skipped",
      reason: expect.stringContaining("repository not found"),
    });
  });
});
