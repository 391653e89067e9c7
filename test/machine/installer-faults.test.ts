/** The installer when it is killed, when git fails, when two meet, and when it has to clean up. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { processStartTime } from "@holdfast/runtime/host";
import { systemClock } from "@holdfast/runtime/system";
import { seededRandom } from "@holdfast/runtime";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { freePort, temporaryFolder, until } from "../support/processes.ts";
import { spawnTypeScript } from "../support/spawn-typescript.ts";
import {
  describeOutcome,
  findInstallerTools,
  mustInstall,
  testMachine,
  type InstallerTools,
  type TestMachine,
} from "./installer-machine.ts";
import { MAIN_PY, makeInternet, packFiles, type Internet } from "./installer-remotes.ts";

const execute = promisify(execFile);
const tools = await findInstallerTools();
if ("missing" in tools) console.warn(`SKIPPED: tests of the installer's faults: ${tools.missing}`);

describe.skipIf("missing" in tools)("an installer in trouble", () => {
  const { uv, python } = tools as InstallerTools;
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let internet: Internet;
  let machine: TestMachine;
  let count = 0;
  const children: ChildProcess[] = [];
  beforeAll(async () => {
    folder = await temporaryFolder();
  });
  afterAll(() => folder.remove());
  beforeEach(async () => {
    count += 1;
    internet = await makeInternet(join(folder.path, `internet-${count}`));
    machine = testMachine(join(folder.path, `machine-${count}`), { uv, python });
  });
  afterEach(() => {
    for (const { pid } of children.splice(0)) if (pid !== undefined) process.kill(-pid, "SIGKILL");
  });

  const manifest = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
    version: 1,
    comfyui: { repo: internet.comfyui.url, ref: "main" },
    python: { version: python, noIndex: true, findLinks: [internet.wheels] },
    torch: { backend: "none" },
    downloads: { keepFreeBytes: 0 },
    ...more,
  });
  const signal = AbortSignal.timeout(600_000);
  const refusal = async (more: Record<string, unknown>): Promise<string> => {
    const outcome = await machine.installer(manifest(more)).install({ signal });
    expect(outcome.kind).toBe("refused");
    // Refused before anything was changed.
    expect(existsSync(machine.places.releases)).toBe(false);
    return describeOutcome(outcome);
  };

  test("killed at any moment, it goes on and completes", async () => {
    const pack = await internet.repository("brush", {
      ...packFiles(["Brush"]),
      "requirements.txt": "paint\n",
      "install.py": "import time; time.sleep(0.3)\n",
    });
    const wanted = manifest({ nodes: [{ name: "brush", repo: pack.url, ref: "main" }] });
    const seed = Number(process.env["HOLDFAST_TEST_SEED"] ?? Date.now() % 100_000);
    const random = seededRandom(seed);
    const args = [JSON.stringify(tools), machine.places.root, JSON.stringify(wanted)];
    const killedAt: string[] = [];
    for (let kill = 0; kill < 5; kill += 1) {
      const script = new URL("./installer-process.ts", import.meta.url);
      const program = spawnTypeScript(script, args);
      await program.line(/^step /);
      const last = new Promise<string>((resolve) => {
        let text = "step (first)";
        program.child.stdout?.on("data", (chunk: Buffer) => {
          text = chunk.toString().trim().split("\n").at(-1) ?? text;
        });
        void program.ended.then(() => resolve(text));
      });
      await systemClock.sleep(random.next() * 1_500);
      await program.kill("SIGKILL");
      killedAt.push(await last);
    }
    const outcome = await machine.installer(wanted).install({ signal });
    expect(
      outcome.kind,
      `seed ${seed}, killed at ${killedAt.join(", ")}:\n${describeOutcome(outcome)}`,
    ).toBe("installed");
    const { lock } = await machine.installer(wanted).status();
    expect(lock?.nodes[0]?.classes).toEqual(["Brush"]);
    expect(lock?.packages).toMatchObject({ engine: "2.0.0", paint: "3.1.0" });
    // Nothing half is left, and nothing of a killed one runs.
    const release = join(machine.places.releases, lock?.release ?? "");
    const nodes = (await readdir(join(release, "comfyui/custom_nodes"))).filter(
      (name) => !name.startsWith("_"),
    );
    expect(nodes).toEqual(["brush"]);
  });

  test("a program that a killed installer left is ended before the next begins", async () => {
    const pack = await internet.repository("slow", {
      ...packFiles(["Slow"]),
      "install.py": "import time; time.sleep(300)\n",
    });
    const wanted = manifest({ nodes: [{ name: "slow", repo: pack.url, ref: "main" }] });
    const args = [JSON.stringify(tools), machine.places.root, JSON.stringify(wanted)];
    const program = spawnTypeScript(new URL("./installer-process.ts", import.meta.url), args);
    await program.line(/^step node:slow\.script/);
    const pids = async (): Promise<string[]> =>
      (
        await execute("pgrep", ["-f", `${machine.places.root}/.*install.py`]).catch(() => ({
          stdout: "",
        }))
      ).stdout
        .split("\n")
        .filter((line) => line !== "");
    await until("the script runs", async () => (await pids()).length > 0);
    await program.kill("SIGKILL");
    expect((await pids()).length).toBeGreaterThan(0);
    expect(await machine.installer(wanted).clean(signal)).toMatchObject({
      removed: expect.anything(),
    });
    expect(await pids()).toEqual([]);
  });

  test("what a script detached is ended by the next one, though the process that installed lives on", async () => {
    const pack = await internet.repository("detaching", {
      ...packFiles(["Detached"]),
      "install.py": [
        "import subprocess, sys",
        "sleep = [sys.executable, '-c', 'import time; time.sleep(300)']",
        "quiet = subprocess.DEVNULL",
        "child = subprocess.Popen(sleep, start_new_session=True, stdout=quiet, stderr=quiet)",
        "open('child.pid', 'w').write(str(child.pid))",
        "",
      ].join("\n"),
    });
    const installer = machine.installer(
      manifest({ nodes: [{ name: "detaching", repo: pack.url, ref: "main" }] }),
    );
    const { release } = await mustInstall(installer);
    const folder = join(machine.places.releases, release ?? "", "comfyui/custom_nodes/detaching");
    const pid = Number(await readFile(join(folder, "child.pid"), "utf8"));
    expect(await processStartTime(pid)).toBeDefined();
    try {
      await installer.clean(signal);
      expect(await processStartTime(pid)).toBeUndefined();
    } finally {
      await execute("kill", ["-9", String(pid)]).catch(() => undefined);
    }
  });

  test("two installers at once: the second is told who is at work", async () => {
    const installer = machine.installer(manifest());
    const [first, second] = await Promise.all([
      mustInstall(installer),
      systemClock.sleep(100).then(() => machine.installer(manifest()).install({ signal })),
    ]);
    expect(first.isChanged).toBe(true);
    expect(second).toMatchObject({
      kind: "busy",
      holder: expect.stringContaining(`${process.pid}`),
    });
  });

  test("an abort ends what runs, and the same call goes on", async () => {
    const installer = machine.installer(manifest());
    const stop = new AbortController();
    const outcome = await installer.install({
      signal: stop.signal,
      onEvent: (event) => {
        if (event.kind === "step.started" && event.id === "python.packages") stop.abort();
      },
    });
    expect(outcome.kind).toBe("aborted");
    await mustInstall(installer);
  });

  test("a ref that does not exist is refused, with the nearest names", async () => {
    await internet.comfyui.git("tag", "-a", "v0.9.1", "-m", "Release");
    const text = await refusal({ comfyui: { repo: internet.comfyui.url, ref: "v0.9.2" } });
    expect(text).toMatch(/has no branch, tag or commit \\"v0\.9\.2\\"/);
    expect(text).toMatch(/v0\.9\.1/);
  });

  test("a repository that is not there, and a host that does not answer, are told apart", async () => {
    const port = await freePort();
    const missing = { name: "gone", repo: `file://${folder.path}/gone`, ref: "main" };
    const silent = { name: "silent", repo: `git://127.0.0.1:${port}/x`, ref: "main" };
    const text = await refusal({ nodes: [missing, silent] });
    expect(text).toMatch(/gone is not there, or may not be read/);
    expect(text).toMatch(/silent[^]*cannot be reached/);
    // An optional one is left out, and said so.
    const nodes = [{ ...silent, optional: true }];
    const outcome = await mustInstall(machine.installer(manifest({ nodes })));
    expect(outcome.warnings.join()).toMatch(/node silent is left out/);
  });

  test("annotated tags, abbreviated and whole commits of a git daemon, with submodules", async () => {
    const sub = await internet.repository("sub", { "inside.txt": "inside" });
    const wanted = await internet.comfyui.git("rev-parse", "HEAD");
    await internet.comfyui.git("tag", "-a", "v1", "-m", "Release");
    await internet.comfyui.commit({ "later.txt": "later" });
    const pack = await internet.repository("brush", packFiles(["Brush"]));
    await pack.git(
      "-c",
      "protocol.file.allow=always",
      "submodule",
      "add",
      "--quiet",
      sub.url,
      "sub",
    );
    const commit = await pack.commit({});
    await pack.commit({ "later.txt": "later" });
    const port = await freePort();
    const base = join(internet.comfyui.folder, "..");
    const args = [
      "daemon",
      "--listen=127.0.0.1",
      `--port=${port}`,
      `--base-path=${base}`,
      "--export-all",
    ];
    // A group of its own: git starts the daemon as a child, which would stay.
    const daemon = spawn("git", [...args, "--reuseaddr"], { stdio: "ignore", detached: true });
    children.push(daemon);
    const url = `git://127.0.0.1:${port}/ComfyUI`;
    await until("the daemon answers", () => execute("git", ["ls-remote", url]).then(() => true));
    for (const ref of ["v1", wanted.slice(0, 9), wanted]) {
      const { lock } = await installed({ comfyui: { repo: url, ref } });
      expect(lock?.comfyui.commit, ref).toBe(wanted);
    }
    const nodes = [{ name: "brush", repo: pack.url, ref: commit.slice(0, 8) }];
    await installed({ nodes });
    const release = await machine.installer(manifest({ nodes })).current();
    const inside = join(release?.comfyuiFolder ?? "", "custom_nodes/brush/sub/inside.txt");
    expect(await readFile(inside, "utf8")).toBe("inside");
  });

  const installed = async (more: Record<string, unknown>) => {
    const installer = machine.installer(manifest(more));
    await mustInstall(installer);
    return await installer.status();
  };

  test("clean keeps what serves, what served before, and what is in use", async () => {
    const installer = machine.installer(manifest());
    const ids: (string | null)[] = [];
    for (let at = 0; at < 4; at += 1) {
      ids.push((await mustInstall(installer, { update: true })).release);
      await internet.comfyui.commit({ "comfyui_version.py": `__version__ = "1.0.${at}"\n` });
    }
    const [oldest = "", old = "", previous, current] = ids;
    await mkdir(join(machine.places.releases, "half"), { recursive: true });
    await mkdir(join(machine.places.gitCache, "unused.git"), { recursive: true });
    const inUse = spawn("sleep", ["300"], {
      cwd: join(machine.places.releases, oldest ?? "", "comfyui"),
      stdio: "ignore",
      detached: true,
    });
    children.push(inUse);
    const cleaned = await installer.clean(signal);
    expect(cleaned).toMatchObject({
      kept: [{ what: `release ${oldest}` }],
      removed: expect.arrayContaining(
        ["release half", `release ${old}`, "clone unused.git"].map((what) =>
          expect.objectContaining({ what }),
        ),
      ),
    });
    const left = (await installer.status()).releases.map(({ id }) => id);
    expect(left.toSorted()).toEqual([`${oldest}`, `${previous}`, `${current}`].toSorted());
    expect(await installer.rollback(signal)).toMatchObject({ kind: "rolled_back", to: previous });
  });

  test("an adopted ComfyUI serves, and its folder is not touched", async () => {
    const adopted = join(folder.path, `adopted-${count}`);
    await mkdir(join(adopted, "custom_nodes/brush"), { recursive: true });
    await writeFile(join(adopted, "main.py"), MAIN_PY);
    await writeFile(join(adopted, "engine.py"), "");
    await writeFile(
      join(adopted, "custom_nodes/brush/__init__.py"),
      'NODE_CLASS_MAPPINGS = {"Brush": object}\n',
    );
    await execute(uv, ["venv", "--quiet", "--python", python, join(adopted, "venv")]);
    const before = await treeHash(adopted);
    const wanted = manifest({
      comfyui: { adopt: { folder: adopted } },
      nodes: [
        { name: "brush", repo: "https://example.invalid/x", ref: "main", classes: ["Brush"] },
      ],
    });
    const outcome = await mustInstall(machine.installer(wanted));
    expect(outcome.release).toMatch(/^adopted-/);
    expect(await machine.installer(wanted).current()).toMatchObject({
      comfyuiFolder: adopted,
      python: join(adopted, "venv/bin/python"),
      nodeClasses: ["Brush"],
    });
    machine.takeCalls();
    await mustInstall(machine.installer(wanted));
    expect(machine.takeCalls()).toEqual([]);
    expect(await treeHash(adopted)).toBe(before);
    // The twin: the hash does see a change.
    await writeFile(join(adopted, "custom_nodes/brush/new"), "");
    expect(await treeHash(adopted)).not.toBe(before);
    const gone = { name: "gone", repo: "https://example.invalid/y", ref: "main" };
    const refused = await machine.installer({ ...wanted, nodes: [gone] }).install({ signal });
    expect(describeOutcome(refused)).toMatch(/writes nothing into an adopted ComfyUI/);
  });

  test("a shared repository is linked; what is in the way is never replaced", async () => {
    const assets = await internet.repository("assets", { "logo.txt": "one" });
    const entry = { name: "assets", repo: assets.url, ref: "main", linkTo: "input/assets" };
    const installer = machine.installer({ version: 1, repositories: [entry] });
    await mustInstall(installer);
    await assets.commit({ "logo.txt": "two" });
    await mustInstall(installer, { update: true });
    const link = join(machine.places.shared, "input/assets");
    expect(await readFile(join(link, "logo.txt"), "utf8")).toBe("two");
    await mkdir(join(machine.places.shared, "input/mine"));
    await symlink(folder.path, join(machine.places.shared, "out"));
    for (const linkTo of ["input/mine", "out/x"]) {
      const other = machine.installer({ version: 1, repositories: [{ ...entry, linkTo }] });
      expect((await other.install({ signal })).kind, linkTo).toBe("refused");
    }
    expect((await lstat(join(machine.places.shared, "input/mine"))).isDirectory()).toBe(true);
    expect(existsSync(join(folder.path, "x"))).toBe(false);
    const nested = machine.installer({
      version: 1,
      repositories: [entry, { ...entry, name: "inner", linkTo: "input/assets/inner" }],
    });
    expect(describeOutcome(await nested.install({ signal }))).toMatch(/at or inside input\/assets/);
  });
});

/** Digest of every path, kind and content below a folder, times of change included. */
async function treeHash(folder: string): Promise<string> {
  const hash = createHash("sha256");
  for (const name of (await readdir(folder, { recursive: true })).toSorted()) {
    const path = join(folder, name);
    const info = await lstat(path);
    hash.update(`${name}\0${info.mode}\0${info.mtimeMs}\0`);
    if (info.isSymbolicLink()) hash.update(await readlink(path));
    else if (info.isFile()) hash.update(await readFile(path));
  }
  return hash.digest("hex");
}
