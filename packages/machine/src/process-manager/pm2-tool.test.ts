import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, test } from "vitest";
import { StepFailure, type StepContext } from "../install/model.ts";
import { pm2Step } from "./pm2-step.ts";
import {
  findPm2,
  installPm2,
  npmEnvironment,
  pm2Folder,
  readVersion,
  type Pm2ToolOptions,
} from "./pm2-tool.ts";

let folder: string;
let bin: string;
let tools: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-pm2-tool-"));
  bin = join(folder, "bin");
  tools = join(folder, "tools");
  await mkdir(bin);
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const signal = new AbortController().signal;
const program = async (name: string, script: string): Promise<string> => {
  const path = join(bin, name);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return path;
};
/** An npm that "installs" a pm2 which prints this. */
const npmThatMakes = (output: string): Promise<string> =>
  program(
    "npm",
    `folder=$3/node_modules/pm2/bin; mkdir -p "$folder"
     echo "$@" >> ${join(folder, "npm-calls")}; env >> ${join(folder, "npm-env")}
     echo "added 1 package"; echo 'console.log("${output}")' > "$folder/pm2"`,
  );
const options = (more: Partial<Pm2ToolOptions> = {}): Pm2ToolOptions => ({
  tools,
  ownPm2: null,
  env: { PATH: `${bin}:/usr/bin:/bin`, HOLDFAST_TOKEN: "secret", HOME: folder },
  clock: systemClock,
  npmBesideNode: false,
  ...more,
});

test("an operator's own is taken as it is", async () => {
  const ownPm2 = await program("pm2", "echo 6.0.13");
  const found = await findPm2(options({ ownPm2 }), signal);
  expect(found).toEqual({
    kind: "found",
    program: { command: ownPm2, args: [], path: ownPm2, version: "6.0.13" },
  });
});

test.each([
  ["exit 3", /exited with code 3/],
  ["echo 4.5.6", /expected PM2 5.0.0 or later, found 4.5.6/],
  ["echo hello", /expected a version .* found: hello/],
])("an operator's own that says '%s' is refused, with what to do", async (script, words) => {
  const ownPm2 = await program("pm2", script);
  const failure = await findPm2(options({ ownPm2 }), signal).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(StepFailure);
  expect((failure as StepFailure).message).toMatch(words);
  expect((failure as StepFailure).advice).toMatch(/Correct the path/);
});

test("it is installed once, scripts and optional packages left out, nothing of ours shown to npm", async () => {
  await npmThatMakes("7.0.4");
  expect(await findPm2(options(), signal)).toMatchObject({ kind: "missing" });
  const [one, two] = await Promise.all([
    installPm2(options(), signal),
    installPm2(options(), signal),
  ]);
  expect(one).toEqual(two);
  expect(one).toMatchObject({ command: process.execPath, version: "7.0.4" });
  expect(one.path.startsWith(pm2Folder(tools))).toBe(true);
  const calls = (await readFile(join(folder, "npm-calls"), "utf8")).trim().split("\n");
  expect(calls).toHaveLength(1);
  expect(calls[0]).toMatch(
    /^i --prefix .* pm2@7\.0\.4 --no-audit --no-fund --omit=optional --ignore-scripts/,
  );
  expect(await readFile(join(folder, "npm-env"), "utf8")).not.toContain("secret");
  expect((await readdir(tools)).filter((name) => name.startsWith(".pm2-new"))).toEqual([]);
});

test("one of ours that was tried is tried again only when it or Node has changed", async () => {
  await npmThatMakes("7.0.4");
  const { path } = await installPm2(options(), signal);
  // What it says does not count while it is the file that was tried.
  const { size } = await stat(path);
  await utimes(path, 1_000, 1_000);
  expect(await findPm2(options(), signal)).toMatchObject({ kind: "found" });
  await writeFile(path, "throw 1;".padEnd(size));
  await utimes(path, 1_000, 1_000);
  expect(await findPm2(options(), signal)).toMatchObject({ kind: "found" });
  await writeFile(path, "throw 1");
  expect(await findPm2(options(), signal)).toMatchObject({ kind: "missing" });
});

test("an installation that was killed leaves nothing half, and its remains go with the next", async () => {
  await program("npm", `mkdir -p "$3/node_modules/pm2/bin"; sleep 1000`);
  const abort = new AbortController();
  const killed = installPm2(options(), abort.signal);
  setTimeout(() => abort.abort(new Error("killed")), 300);
  await expect(killed).rejects.toThrow("killed");
  expect(await findPm2(options(), signal)).toMatchObject({ kind: "missing" });
  // As SIGKILL leaves it.
  await mkdir(join(tools, ".pm2-new-1", "node_modules"), { recursive: true });
  // And a place that holds something broken.
  await mkdir(join(pm2Folder(tools), "node_modules", "pm2", "bin"), { recursive: true });
  await writeFile(join(pm2Folder(tools), "node_modules", "pm2", "bin", "pm2"), "throw 1");
  expect(await findPm2(options(), signal)).toMatchObject({
    kind: "missing",
    reason: expect.stringContaining("does not work") as string,
  });
  await npmThatMakes("7.0.4");
  await installPm2(options(), signal);
  expect((await readdir(tools)).sort()).toEqual(["pm2-7.0.4"]);
});

test.each([
  ["exit 1", /npm i pm2@7\.0\.4 exited with code 1/],
  [`echo "getaddrinfo ENOTFOUND registry" >&2; exit 1`, /ENOTFOUND registry/],
  ["exit 0", /PM2 7\.0\.4 is not in/],
])("npm that does '%s' is a failure with what to do", async (script, words) => {
  await program("npm", script);
  const failure = await installPm2(options(), signal).catch((error: unknown) => error);
  expect((failure as StepFailure).message).toMatch(words);
  expect((failure as StepFailure).advice).toMatch(/Install it by hand/);
});

test("no npm is a failure with what to do", async () => {
  const failure = await installPm2(options({ env: { PATH: bin } }), signal).catch(
    (error: unknown) => error,
  );
  expect((failure as StepFailure).message).toMatch(/npm was not found beside node or on the PATH/);
});

test("the step: needed, applied, done", async () => {
  await npmThatMakes("7.0.4");
  const log: string[] = [];
  const context: StepContext = {
    signal,
    progress: () => undefined,
    log: (line) => log.push(line),
  };
  const step = pm2Step(options());
  expect(step).toMatchObject({ id: "tools.pm2", lane: "tools", isOptional: false });
  expect((await step.check(context)).kind).toBe("needed");
  await expect(step.verify(context)).rejects.toThrow(/was installed and is not there/);
  await step.apply(context);
  await step.verify(context);
  expect(await step.check(context)).toMatchObject({
    kind: "done",
    detail: expect.stringContaining("PM2 7.0.4 in") as string,
  });
  expect(log).toContain("added 1 package");
});

test("versions are read with noise before them", () => {
  expect(readVersion("[PM2] hello\nv7.0.4-beta.1\n")).toEqual({
    kind: "version",
    version: "7.0.4",
  });
  expect(readVersion("").kind).toBe("bad");
});

test("npm sees its settings, the proxy and no secret", () => {
  const env = npmEnvironment({
    HTTPS_PROXY: "http://p",
    npm_config_registry: "r",
    HOLDFAST_TOKEN: "secret",
    AWS_SECRET_ACCESS_KEY: "secret",
    HOME: undefined,
  });
  expect(Object.keys(env).sort()).toEqual(["HTTPS_PROXY", "PATH", "npm_config_registry"]);
});
