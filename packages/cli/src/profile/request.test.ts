import { cp, mkdtemp, mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ProfileOptions } from "./options.ts";
import { readProfileRequest } from "./request.ts";

const SAMPLES = join(import.meta.dirname, "../../../../infra/comfyui/samples");
const NAMES = ["book_small", "book_medium", "book_large"];

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "holdfast-profile-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const read = (options: ProfileOptions, own?: string) => readProfileRequest(options, {}, own);
const copied = async (): Promise<string> => {
  const folder = join(root, "comfyui", "samples");
  await mkdir(folder, { recursive: true });
  await cp(SAMPLES, folder, { recursive: true });
  return folder;
};

describe("without a workflow", () => {
  it("takes the samples under the root that is given", async () => {
    const folder = await copied();
    const { samples, workflows } = await read({ root });
    expect(samples).toBe(folder);
    expect(workflows.map(({ name }) => name)).toEqual(NAMES);
  });

  it("refuses a root that has none: samples from elsewhere are not what was meant", async () => {
    await expect(read({ root })).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringContaining(
        `there is no ${join(root, "comfyui", "samples", "book_small.json")}`,
      ) as string,
    });
  });

  it("fills up a root that has some of them from nowhere else", async () => {
    const folder = await copied();
    await rm(join(folder, "book_large.json"));
    await expect(read({ root })).rejects.toThrow(`there is no ${join(folder, "book_large.json")}:`);
  });

  it("takes those of the usual root where none is given", async () => {
    // Tests run in the repository, so its `infra` is the usual one.
    expect((await read({}, join(root, "none"))).samples).toBe(join("infra", "comfyui", "samples"));
  });
});

it("named workflows are those, and no samples are looked for", async () => {
  const file = join(SAMPLES, "book_small.json");
  const { samples, workflows, feed } = await read({ root, workflow: [file] });
  expect(samples).toBeNull();
  expect(workflows).toHaveLength(1);
  expect(feed).toBeNull();
});
