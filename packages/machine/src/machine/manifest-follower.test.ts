import { readlink } from "node:fs/promises";
import { seededRandom } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import { manifestSchema } from "../manifest/model.ts";
import type { InstallerParts } from "./installer-parts.ts";
import { ManifestFollower } from "./manifest-follower.ts";

test("a machine that fails is brought to its manifest again, by parts that are not closed", async () => {
  const clock = createFakeClock();
  const stopping = new AbortController();
  const troubles: (string | null)[] = [];
  const open = new Set<InstallerParts>();
  const refused: string[] = [];
  let fetcher: unknown = null;
  let sets = 0;
  let refreshes = 0;
  const follower = new ManifestFollower({
    manifests: {
      loadApplied: () => Promise.resolve(undefined),
      look: () => Promise.resolve({ applied: null, problems: [] }),
    },
    current: "/nowhere/current",
    installation: {
      note: () => undefined,
      refuse: (reason) => refused.push(reason),
      untilInstalled: async (_installer, onRelease) => await onRelease(),
    },
    serving: () => ({
      setManifest: (_applied, parts) => {
        sets += 1;
        fetcher = parts;
        expect(open.has(parts as InstallerParts)).toBe(true);
        return sets === 1 ? Promise.reject(new Error("no plan")) : Promise.resolve();
      },
      refreshRelease: () => {
        refreshes += 1;
        return refreshes === 1 ? Promise.reject(new Error("no release")) : Promise.resolve();
      },
      dropFetcher: () => {
        fetcher = null;
        return Promise.resolve();
      },
    }),
    makeParts: () => {
      const parts = {
        close: () => {
          expect(fetcher).toBeNull(); // Dropped before they are closed.
          open.delete(parts);
          return Promise.resolve();
        },
      } as InstallerParts;
      open.add(parts);
      return Promise.resolve(parts);
    },
    clock,
    random: seededRandom(1),
    log: rememberingLog(),
    watchEveryMs: 1_000,
    onLook: () => undefined,
    onTrouble: (problem) => troubles.push(problem),
  });
  const applied = { manifest: manifestSchema.parse({ version: 1 }), digest: "d" };
  const running = follower.run({ applied, problems: [] }, stopping.signal);
  for (let round = 0; round < 30; round += 1) {
    // The link is read from the disk, which no fake clock waits for.
    await readlink("/nowhere/current").catch(() => undefined);
    await clock.advance(4_000);
  }
  expect(refused).toEqual(["no plan", "no release"]);
  expect([sets, refreshes, open.size]).toEqual([3, 2, 1]);
  expect(troubles.at(-1)).toBeNull();
  stopping.abort();
  await running;
  expect(open.size).toBe(0);
});
