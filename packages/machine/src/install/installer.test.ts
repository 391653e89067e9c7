import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withFileLock } from "@holdfast/runtime/host";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { serveRelease, type CompleteRelease } from "../../testing/complete-release.ts";
import { rememberingLog } from "../../testing/fake-host.ts";
import { machinePlaces, type MachinePlaces } from "../machine-places.ts";
import { manifestSchema, type Manifest } from "../manifest/model.ts";
import { logName } from "./install-log.ts";
import { createInstaller, type Busy, type Installer } from "./installer.ts";
import { INSTALLER_MARK, INSTALLER_RUN } from "./program-environment.ts";
import type { Cleaned } from "./release/clean-releases.ts";
import { releaseId } from "./release/release-inputs.ts";
import { openReleases } from "./release/releases.ts";
import type { ProgramCall } from "./run-program.ts";

const REPO = "https://localhost/comfyui";
const COMMITS = { v1: "1".repeat(40), v2: "2".repeat(40) } as const;
const RESOLVED = { numpy: "1.26.4", pillow: "11.0.0" };
const signal = new AbortController().signal;

let places: MachinePlaces;
let clock: FakeClock;
let log: ReturnType<typeof rememberingLog>;
/**
 * Programs that were started: none succeeds but a question for the refs, where there are some, and one
 * for what an environment holds.
 */
let calls: ProgramCall[];
/** What the remote answers: commits by tag. */
let remote: Readonly<Record<string, string>>;
/** What an environment answers that it holds. */
let packages: Readonly<Record<string, string>>;
let inForce: Manifest | null;
/** What a program prints that succeeds all the same. */
let answer: (args: readonly string[]) => string | undefined;

beforeEach(async () => {
  places = machinePlaces(await mkdtemp(join(tmpdir(), "hf-installer-")));
  await writeFile(join(places.root, "git"), "", { mode: 0o755 });
  clock = createFakeClock();
  log = rememberingLog();
  calls = [];
  remote = {};
  packages = RESOLVED;
  inForce = null;
  answer = () => undefined;
  for (const ref of ["v1", "v2"] as const) {
    await serveRelease(places, serving(ref));
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
const serving = (ref: keyof typeof COMMITS): CompleteRelease => {
  const { python, torch } = manifestOf(ref);
  const settings = { python, torch, torchBackend: "none" };
  const resolved = { settings, packages: RESOLVED };
  return { id: idOf(ref), repo: REPO, ref, commit: COMMITS[ref], resolved };
};
const installer = (
  manifest: Manifest = manifestOf("v2"),
  {
    lockWaitMs = 0,
    env = {},
  }: { readonly lockWaitMs?: number; readonly env?: Readonly<Record<string, string>> } = {},
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
      lockWaitMs,
    },
    ports: {
      runProgram: (call) => {
        calls.push(call);
        const told = answer(call.args) ?? answerOf(call);
        if (told !== undefined) {
          const printed = { stdout: told, isStdoutCut: false, stderrTail: "" };
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

/** What git and an environment's Python say of what they are asked; undefined: they fail. */
function answerOf({ args, command }: ProgramCall): string | undefined {
  const tags = Object.entries(remote).map(([tag, at]) => `${at}\trefs/tags/${tag}\n`);
  if (args.includes("ls-remote") && tags.length > 0) return tags.join("");
  if (!command.endsWith("venv/bin/python")) return undefined;
  const sitePackages = join(command, "../../lib/site-packages");
  return JSON.stringify({ version: "3.11", packages, sitePackages });
}

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

  describe("and an update", () => {
    const leaving = "comfyui-gpu0: it ends again and again";
    const byMachine = { to: "", leaving };
    beforeEach(() => {
      byMachine.to = idOf("v1");
      remote = COMMITS;
    });

    test("does not bring back what the machine itself has left, and says so", async () => {
      await installer().rollback(signal, byMachine);
      const outcome = await installer().install({ signal, update: true });
      expect(outcome).toMatchObject({
        kind: "installed",
        release: idOf("v1"),
        hold: { by: "machine", from: idOf("v2") },
        warnings: [
          expect.stringMatching(/held back.*`holdfast machine update` comes to another/),
          expect.stringMatching(/every ref was asked.*the same release.*--end-hold/),
        ],
      });
      expect((await installer().status()).hold).not.toBeNull();
      expect(await installer().plan({ signal, update: true, endHold: true })).toMatchObject({
        releaseId: idOf("v2"),
        hold: null,
      });
    });

    test("goes to another one than the machine has left", async () => {
      await installer().rollback(signal, byMachine);
      remote = { v2: "3".repeat(40) };
      const { releaseId: id, hold } = await installer().plan({ signal, update: true });
      expect([id?.slice(0, 8), hold]).toEqual(["33333333", null]);
    });

    test("undoes what an operator went back from", async () => {
      await installer().rollback(signal);
      expect((await installer().plan({ signal })).warnings[0]).toMatch(/`holdfast machine update`/);
      expect(await installer().install({ signal, update: true })).toMatchObject({
        release: idOf("v2"),
        hold: null,
      });
      expect(existsSync(places.releaseHold)).toBe(false);
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

  test("leaves alone what an installer linked meanwhile", async () => {
    // Somebody installs the mended one while the machine waits for the lock to leave the bad one.
    const request = { from: idOf("v2"), to: idOf("v1"), leaving: "comfyui-gpu0: it ends" };
    const fixed = { id: "mended", repo: REPO, ref: "v3", commit: "3".repeat(40) };
    let left: Promise<unknown> = Promise.resolve();
    await withFileLock(places.installLock, { clock, timeoutMs: 0 }, async () => {
      left = installer(manifestOf("v2"), { lockWaitMs: 60_000 }).rollback(signal, request);
      while (clock.sleeperCount() === 0) await new Promise((resolve) => setImmediate(resolve));
      await serveRelease(places, fixed);
    });
    await clock.advance(1_000);
    expect(await left).toMatchObject({ kind: "nothing", serving: "mended" });
    expect(await openReleases(places).currentId()).toBe("mended");
    expect(existsSync(places.releaseHold)).toBe(false);
  });
});

describe("a release that serves and is damaged", () => {
  const damage = (...path: string[]): Promise<void> =>
    rm(join(places.releases, idOf("v2"), ...path), { recursive: true });
  const repaired = `${idOf("v2")}-r2`;
  const treeOf = async (id: string): Promise<string[]> =>
    (await readdir(join(places.releases, id), { recursive: true })).toSorted();

  /** As uv or pip does it: the folder changes, and the environment says what it holds by now. */
  const change = async (now: Readonly<Record<string, string>>): Promise<void> => {
    packages = now;
    const site = join(places.releases, idOf("v2"), "venv/lib/site-packages");
    await mkdir(join(site, "changed"));
    await utimes(site, 1, 1);
  };

  test.each<[string, () => Promise<void>, RegExp]>([
    ["its environment", () => damage("venv/pyvenv.cfg"), /there is no environment yet/],
    ["its ComfyUI", () => damage("comfyui/main.py"), /: .*ComfyUI/],
    [
      "a package that is gone",
      () => change({ numpy: "1.26.4" }),
      /Packages of ComfyUI .*: pillow 11\.0\.0 is not there;/,
    ],
    [
      "a package of another version",
      () => change({ ...RESOLVED, numpy: "2.0.0" }),
      /Packages of ComfyUI .*: numpy is 2\.0\.0 instead of 1\.26\.4;/,
    ],
  ])("in %s is never written to: another one is made beside it", async (_, harm, words) => {
    await harm();
    const before = await treeOf(idOf("v2"));
    const plan = await installer().plan({ signal });
    expect(plan).toMatchObject({ releaseId: repaired, isNewRelease: true, problems: [] });
    expect(plan.warnings.join()).toMatch(/serves and is not as it was made: .* beside it/);
    expect(plan.warnings.join()).toMatch(words);
    // Nothing can be fetched here: the attempt fails, and what serves is left as it is.
    expect(await installer().install({ signal })).toMatchObject({ kind: "failed" });
    expect(await treeOf(idOf("v2"))).toEqual(before);
    expect((await installer().status()).current).toBe(idOf("v2"));
  });

  test("is none when something beside what was resolved came into its environment", async () => {
    await change({ ...RESOLVED, debugpy: "1.8.0" });
    expect(await installer().plan({ signal })).toMatchObject({
      releaseId: idOf("v2"),
      isNewRelease: false,
      warnings: [],
    });
  });

  test("is left for the one that was made, and what was before it is where a rollback goes", async () => {
    await damage("venv/pyvenv.cfg");
    await serveRelease(places, { ...serving("v2"), id: repaired });
    await openReleases(places).switchTo(idOf("v1"));
    await openReleases(places).switchTo(idOf("v2"));
    expect(await installer().install({ signal })).toMatchObject({ release: repaired });
    expect(await installer().status()).toMatchObject({ current: repaired, previous: idOf("v1") });
    expect(await installer().install({ signal })).toMatchObject({ isChanged: false });
  });
});

test("programs are marked with what they run for: an installation, or a plan beside one", async () => {
  await installer(manifestOf("v3")).plan({ signal });
  await installer(manifestOf("v3")).install({ signal });
  const marks = calls.map(({ env }) => `${env[INSTALLER_MARK]} ${env[INSTALLER_RUN]}`);
  expect(marks).toEqual([`${places.root} plan`, `${places.root} install`]);
});

test("cleaning removes parts of downloads that nobody wants or touched for a day, and none that is being fetched", async () => {
  const [stale, young, wanted, inUse, ofInForce] = ["a", "9", "b", "c", "d"].map((digit) =>
    digit.repeat(64),
  );
  const folder = join(places.models, ".holdfast-partial");
  await mkdir(folder, { recursive: true });
  for (const hash of [stale, young, wanted, inUse, ofInForce]) {
    // Another machine that shares the model root may wait for its next try.
    const touched = clock.now() / 1_000 - (hash === young ? 23 : 24) * 3_600;
    for (const kind of ["part", "json"]) {
      const file = join(folder, `${hash}.${kind}`);
      await writeFile(file, kind === "part" ? "x".repeat(10) : "{}");
      await utimes(file, touched, touched);
    }
  }
  // Its part was placed or lost; the record alone is as old as it is.
  await writeFile(join(folder, `${"e".repeat(64)}.json`), "{}");
  await utimes(join(folder, `${"e".repeat(64)}.json`), clock.now() / 1_000, clock.now() / 1_000);
  const model = (sha256: string | undefined) => ({
    models: [{ folder: "loras", name: "x.safetensors", url: "https://localhost/x", sha256 }],
  });
  inForce = manifestOf("v2", model(ofInForce));
  await withFileLock(join(folder, `${inUse}.lock`), { clock, timeoutMs: 0 }, async () => {
    const cleaned = await installer(manifestOf("v2", model(wanted))).clean(signal);
    const touchedLately = expect.stringContaining("another machine may want it");
    expect(cleaned).toMatchObject({
      removed: [
        {
          what: expect.stringMatching(/^part of a download .*\(untouched for 24 h, sha256 a/),
          freedBytes: expect.any(Number),
        },
      ],
      kept: [
        { what: expect.stringContaining("untouched for 23 h, sha256 9999"), reason: touchedLately },
        { what: expect.stringContaining("eeee"), reason: touchedLately },
        { what: expect.stringContaining("cccc"), reason: expect.stringContaining("is held by") },
      ],
    });
  });
  const left = (await readdir(folder)).filter((name) => name.endsWith(".part"));
  const kept = [young, wanted, inUse, ofInForce].map((hash) => `${hash}.part`);
  expect(left.toSorted()).toEqual(kept);
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
      const cleaned = await installer(manifestOf("v2"), { env }).clean(signal);
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
