import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { recordingTerminal, type RecordingTerminal } from "../../testing/recording-terminal.ts";
import { init } from "./run-init.ts";
import type { MachineCommandOptions } from "./options.ts";

let folder = "";
let manifest = "";
let terminal: RecordingTerminal;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-init-"));
  manifest = join(folder, "home", "machine.yaml");
  terminal = recordingTerminal();
});
afterEach(() => rm(folder, { recursive: true }));

const run = (options: MachineCommandOptions = {}): Promise<void> =>
  init(
    { home: join(folder, "home"), ...options },
    { terminal, env: { HOLDFAST_NVIDIA_SMI: join(folder, "no-nvidia-smi") } },
  );

test("a manifest to begin with is written, and what comes next is said", async () => {
  await run();
  expect(await readFile(manifest, "utf8")).toMatch(/^version: 1$/m);
  expect(terminal.lines).toEqual([
    `wrote ${manifest}`,
    "next: edit it, then holdfast machine plan, then holdfast machine install",
  ]);
});

test("one that is there is never overwritten unasked", async () => {
  await run();
  await writeFile(manifest, "mine");
  await expect(run()).rejects.toMatchObject({
    exitCode: 2,
    message: expect.stringMatching(
      /is there already: edit it, or replace it with --force/,
    ) as string,
  });
  expect(await readFile(manifest, "utf8")).toBe("mine");
  await run({ force: true, json: true });
  expect(await readFile(manifest, "utf8")).toMatch(/^version: 1$/m);
  expect(terminal.lines.at(-1)).toBe(JSON.stringify({ manifest }));
  expect(await readdir(join(folder, "home"))).toEqual(["machine.yaml"]);
});

test("a ComfyUI that is there already is adopted with its Python", async () => {
  await run({ adopt: "/srv/comfyui", python: "/srv/venv/bin/python" });
  const text = await readFile(manifest, "utf8");
  expect(text).toContain('folder: "/srv/comfyui"');
  expect(text).toContain('python: "/srv/venv/bin/python"');
});

test.each<[string, MachineCommandOptions, RegExp]>([
  ["a relative folder", { adopt: "comfyui" }, /expected an absolute path, found comfyui/],
  ["a relative Python", { adopt: "/c", python: "bin/python" }, /absolute path, found bin\/python/],
  ["a Python of nothing", { python: "/p" }, /add --adopt/],
  [
    "a place that cannot be written",
    { manifest: join(import.meta.filename, "machine.yaml") },
    /cannot be written/,
  ],
])("%s is refused before anything is written", async (_, options, message) => {
  await expect(run(options)).rejects.toMatchObject({
    exitCode: 2,
    message: expect.stringMatching(message) as string,
  });
  expect(await readdir(folder)).toEqual([]);
});
