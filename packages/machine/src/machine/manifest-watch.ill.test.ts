import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { rememberingLog } from "../../testing/fake-host.ts";
import { createManifestWatch, type ManifestLook } from "./manifest-watch.ts";

const COMFYUI = "version: 1\ncomfyui: { repo: https://localhost/c, ref: main }\n";
const SERVICE = "version: 1\nservices: [{ name: a, process: { command: [sleep, '9'] } }]\n";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-manifest-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** What an agent goes by that is started when the file is away; `isNamed` as the file was. */
async function startWithoutFile(
  kept: string | null,
  { hasRelease = false, isNamed = false } = {},
): Promise<ManifestLook> {
  const keptAt = join(folder, "applied.yaml");
  if (kept !== null) await writeFile(keptAt, kept);
  const options = { path: join(folder, "machine.yaml"), isNamed, keptAt, log: rememberingLog() };
  return await createManifestWatch({
    ...options,
    clock: { now: () => 1e15 },
    hasRelease: () => Promise.resolve(hasRelease),
  }).load();
}

describe("an agent that starts without the file", () => {
  test.each([
    ["where there is a release", COMFYUI, { hasRelease: true }],
    ["where a service may run", SERVICE, {}],
    ["when the file was named", COMFYUI, { isNamed: true }],
  ])("goes by the copy %s, and says so", async (_where, kept, more) => {
    const { applied, problems } = await startWithoutFile(kept, more);
    expect(applied).not.toBeNull();
    expect(problems).toEqual([expect.stringMatching(/is not there any more.*stays in force/)]);
  });

  test.each([
    ["nothing was installed", COMFYUI, {}],
    ["there is no copy", null, { hasRelease: true }],
    ["the copy cannot be read", "version: [", { hasRelease: true }],
  ])("is no machine when %s", async (_when, kept, more) => {
    expect(await startWithoutFile(kept, more)).toEqual({ applied: null, problems: [] });
  });
});
