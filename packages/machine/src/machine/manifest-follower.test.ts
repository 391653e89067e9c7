import { seededRandom } from "@holdfast/runtime";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { beforeEach, expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import { manifestSchema } from "../manifest/model.ts";
import type { InstallerParts } from "./installer-parts.ts";
import { ManifestFollower } from "./manifest-follower.ts";
import type { ManifestLook, ReadManifest } from "./manifest-watch.ts";

let clock: FakeClock;
let log: ReturnType<typeof rememberingLog>;
/** What is done, in order. */
let did: string[];
/** What `loadApplied` finds next; undefined: nothing new. */
let applied: ManifestLook | Error | undefined;
let problems: readonly string[];
let link: string;
let failures: Record<string, Error[]>;
/** How long an installation takes. */
let isOurs: boolean;
let installMs: number;
let looks: ManifestLook[];

beforeEach(() => {
  clock = createFakeClock();
  log = rememberingLog();
  did = [];
  applied = undefined;
  problems = [];
  link = "";
  failures = {};
  installMs = 1_000;
  isOurs = true;
  looks = [];
});
const fail = (where: string): void => {
  const error = failures[where]?.shift();
  if (error !== undefined) throw error;
};
const read = (digest: string): ReadManifest => ({
  digest,
  manifest: manifestSchema.parse({ version: 1 }),
});
const look = (digest: string | null): ManifestLook => ({
  applied: digest === null ? null : read(digest),
  problems: [],
});
const follow = (first: ManifestLook) => {
  const stop = new AbortController();
  const follower = new ManifestFollower({
    manifests: {
      loadApplied: () => {
        const found = applied;
        applied = undefined;
        return found instanceof Error ? Promise.reject(found) : Promise.resolve(found);
      },
      look: () => Promise.resolve({ applied: first.applied, problems }),
    },
    linked: () => Promise.resolve(link),
    installation: {
      note: ({ isConfigured }) => did.push(`configured ${isConfigured}`),
      refuse: (reason, retryAt) => did.push(`refused ${reason} ${retryAt !== null}`),
      untilInstalled: async (_installer, onRelease, signal) => {
        did.push("install");
        await clock.sleep(installMs, signal);
        await onRelease();
        did.push("installed");
      },
    },
    own: (signal) => (isOurs ? Promise.resolve() : clock.sleep(7_000, signal)),
    serving: () => ({
      setManifest: async ({ digest }) => {
        fail("setManifest");
        did.push(`set ${digest}`);
      },
      refreshRelease: async () => {
        fail("refreshRelease");
        did.push(`refresh ${link}`);
      },
      dropFetcher: async () => {
        did.push("drop");
      },
    }),
    makeParts: async ({ digest }) => {
      fail("makeParts");
      const close = async (): Promise<void> => {
        did.push(`close ${digest}`);
      };
      return { close } as unknown as InstallerParts;
    },
    clock,
    random: seededRandom(1),
    log,
    watchEveryMs: 2_000,
    onLook: (one) => looks.push(one),
    onTrouble: (problem) => did.push(`trouble ${problem}`),
  });
  const running = follower.run(first, stop.signal);
  return {
    end: async () => {
      stop.abort(new Error("stopping"));
      await running;
      expect(clock.sleeperCount()).toBe(0);
    },
  };
};

test("without a manifest nothing is done, until one is applied", async () => {
  const following = follow(look(null));
  await clock.advance(10_000);
  expect(did).toEqual(["configured false"]);
  applied = look("a");
  await clock.advance(3_500);
  expect(did.slice(1)).toEqual([
    "configured true",
    "set a",
    "trouble null",
    "install",
    "refresh ",
    "installed",
  ]);
  expect(looks.at(-1)?.applied?.digest).toBe("a");
  await following.end();
  expect(did.slice(-2)).toEqual(["drop", "close a"]);
});

test("one that is applied to a folder of another agent's waits until that is free", async () => {
  isOurs = false;
  const following = follow(look(null));
  applied = look("a");
  await clock.advance(8_000);
  expect(did).toEqual(["configured false", "configured true"]);
  await clock.advance(2_000);
  expect(did.slice(2, 4)).toEqual(["set a", "trouble null"]);
  await following.end();
});

test("a stop while the folder is waited for brings nothing to a manifest", async () => {
  isOurs = false;
  const following = follow(look("a"));
  await clock.advance(1_000);
  await following.end();
  expect(did).toEqual(["configured true"]);
});

test("another manifest ends the installation of the one before, and its parts are closed first", async () => {
  installMs = 60_000;
  const following = follow(look("a"));
  await clock.advance(0);
  applied = look("b");
  await clock.advance(2_000);
  expect(did.slice(3)).toEqual([
    "install",
    "drop",
    "close a",
    "configured true",
    "set b",
    "trouble null",
    "install",
  ]);
  await following.end();
});

test("a release that is linked by hand serves at once, also while an installation goes on", async () => {
  installMs = 600_000;
  const following = follow(look("a"));
  await clock.advance(1_000);
  link = "releases/r2";
  await clock.advance(1_000);
  expect(did.at(-1)).toBe("refresh releases/r2");
  await clock.advance(10_000);
  expect(did.filter((one) => one.startsWith("refresh"))).toHaveLength(1);
  await following.end();
});

test.each(["makeParts", "setManifest", "refreshRelease"])(
  "what fails in %s is told, and tried again with pauses",
  async (where) => {
    failures = { [where]: [new Error("disk is full"), new Error("disk is full")] };
    const following = follow(look("a"));
    await clock.advance(2_000);
    expect(did).toContain("refused disk is full true");
    expect(did).toContain("trouble disk is full");
    const first = did.filter((one) => one.startsWith("refused")).length;
    await clock.advance(30_000);
    expect(did.filter((one) => one.startsWith("refused"))).toHaveLength(first + 1);
    expect(did.at(-1)).toBe("installed");
    expect(did.filter((one) => one.startsWith("trouble")).at(-1)).toBe("trouble null");
    // Whatever was opened was closed again.
    const opened = where === "makeParts" ? 0 : 2;
    expect(did.filter((one) => one === "close a")).toHaveLength(opened);
    await following.end();
  },
);

test("an end while something is waited for is no trouble", async () => {
  failures = { makeParts: [new Error("disk is full")] };
  const following = follow(look("a"));
  await clock.advance(0);
  did.length = 0;
  await following.end();
  expect(did).toEqual([]);
});

test("what is to be said of the file is told when it changes, and a failed look stops nothing", async () => {
  const following = follow(look("a"));
  await clock.advance(4_000);
  expect(looks).toHaveLength(1);
  problems = ["machine.yaml has changed"];
  await clock.advance(4_000);
  expect(looks.map((one) => one.problems)).toEqual([[], problems]);
  applied = new Error("EIO");
  await clock.advance(2_000);
  expect(log.lines.join()).toContain("manifest could not be looked at");
  applied = look("b");
  await clock.advance(2_000);
  expect(did).toContain("set b");
  await following.end();
});
