import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import { machinePlaces } from "../machine-places.ts";
import { manifestSchema } from "../manifest/model.ts";
import { prepareInstall } from "./prepare-install.ts";
import type { Releases } from "./release/releases.ts";

const NOBODY = new AbortController().signal;
const uncertain = { reason: "no answer", advice: "Reboot.", isUsable: false };

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hf-prepare-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** The plan on a machine whose cards do not answer, with a release of this build or without one. */
async function plan(served: string | null) {
  const lock = { torch: { backend: served, version: null }, comfyui: {}, nodes: [] };
  const releases = {
    currentId: () => Promise.resolve(served === null ? undefined : "r1"),
    lockOf: (id: string) => Promise.resolve(id === "r1" ? lock : undefined),
  } as unknown as Releases;
  const comfyui = { repo: "https://localhost/comfyui", ref: "main" };
  const options = {
    manifest: manifestSchema.parse({ version: 1, comfyui }),
    digest: "d",
    places: machinePlaces(root),
    clock: createFakeClock(),
    log: rememberingLog(),
    settings: { hostEnvironment: { PATH: root }, allowPythonDownloads: false, lockWaitMs: 0 },
    ports: {
      chooseTorchBackend: () => Promise.resolve({ backend: "cpu", warning: null, uncertain }),
    },
  };
  const run = () => Promise.reject(new Error("nothing is run"));
  const mode = {
    isUpdate: false,
    isThorough: false,
    isHoldEnded: false,
    signal: NOBODY,
    lifetime: NOBODY,
  };
  return (await prepareInstall(options, releases, run, mode)).plan;
}

test("cards that do not answer: the build of the release that serves is kept", async () => {
  const { torchBackend, problems, warnings } = await plan("cu128");
  expect(torchBackend).toBe("cu128");
  expect(warnings).toContainEqual(expect.stringContaining("stays cu128"));
  expect(problems.map(({ subject }) => subject)).not.toContain("torch");
});

test("cards that do not answer: without a release the plan says so, and nothing is done", async () => {
  const { problems, steps } = await plan(null);
  expect(problems).toContainEqual(expect.objectContaining({ subject: "torch" }));
  expect(steps).toEqual([]);
});
