/** The ground that machine tests stand on holds: what it serves, what it breaks, what it finds. */
import { execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { manifestSchema } from "../../packages/machine/src/manifest/model.ts";
import { PM2_VERSION } from "../../packages/machine/src/process-manager/pm2-tool.ts";
import { findProgram } from "../support/find-program.ts";
import { startFileServer, type FileServer } from "./ground/file-server.ts";
import { startLocalInternet, type LocalInternet } from "./ground/local-internet.ts";
import { makeMachineFolder, type MachineFolder } from "./ground/machine-folder.ts";
import { standInManifest } from "./ground/manifest.ts";
import { makeNvidiaSmi, smiCard, smiCardsOf } from "./ground/nvidia-smi.ts";
import { processesWith } from "./ground/processes-left.ts";
import { findPython } from "./ground/python.ts";
import { startStandIn } from "./ground/stand-in.ts";
import { findPm2, findUv } from "./ground/tools.ts";
import { makeWheel } from "./ground/wheel.ts";

const run = promisify(execFile);
const hasGit = findProgram(["git"]) !== undefined;
if (!hasGit) console.warn("machine: SKIPPED where git is needed, there is none on PATH");
const python = hasGit ? findPython() : undefined;
const uv = await findUv();
const pm2 = await findPm2();

let folder: MachineFolder;
beforeEach(async () => {
  folder = await makeMachineFolder();
});
afterEach(async () => {
  await folder.close();
});

async function bytesOf(answer: Response): Promise<Buffer> {
  return Buffer.from(await answer.arrayBuffer());
}

describe("the file server", () => {
  let files: FileServer;
  const content = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 31) % 251));
  beforeEach(async () => {
    files = await startFileServer();
  });
  afterEach(async () => {
    await files.close();
  });
  const get = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${files.url}${path}`, { headers });

  it("serves whole files, parts of them, and says what was fetched", async () => {
    const { sha256 } = files.put("/m/a", content);
    const whole = await get("/m/a");
    const bytes = await bytesOf(whole);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(sha256);
    const etag = whole.headers.get("etag") ?? "";
    const part = await get("/m/a", { range: "bytes=299990-", "if-range": etag });
    expect([part.status, part.headers.get("content-range")]).toEqual([
      206,
      "bytes 299990-299999/300000",
    ]);
    expect((await bytesOf(part)).equals(content.subarray(299_990))).toBe(true);
    const changed = await get("/m/a", { range: "bytes=5-", "if-range": '"another"' });
    expect([changed.status, (await bytesOf(changed)).length]).toEqual([200, 300_000]);
    expect((await get("/m/a", { range: "bytes=300000-" })).status).toBe(416);
    expect(files.bytesSent("/m/a")).toBe(600_010);
    expect(files.requests("/m/a").map(({ from }) => from)).toEqual([0, 299_990, 0, 300_000]);
  });

  it("cuts answers after so many bytes, as often as told", async () => {
    files.put("/m/a", content, { cutAfterBytes: 100_000, cuts: 1 });
    let received = 0;
    const cut = (async () => {
      for await (const piece of (await get("/m/a")).body ?? []) received += piece.length;
    })();
    await expect(cut).rejects.toThrow();
    expect(received).toBe(100_000);
    expect((await bytesOf(await get("/m/a"))).length).toBe(300_000);
  });

  it("sends no faster than told", async () => {
    files.put("/m/a", content, { bytesPerSecond: 500_000 });
    const before = performance.now();
    await bytesOf(await get("/m/a"));
    expect(performance.now() - before).toBeGreaterThan(500);
  });

  it("wants tokens, redirects, fails, and answers with pages in the way", async () => {
    files.put("/m/a", content, { token: "let-me-in" });
    expect((await get("/m/a")).status).toBe(401);
    expect((await get("/m/a", { authorization: "Bearer let-me-in" })).status).toBe(200);
    files.change("/m/a", { status: 503 });
    expect((await get("/m/a")).status).toBe(503);
    files.change("/m/a", { html: true });
    expect((await get("/m/a")).headers.get("content-type")).toBe("text/html");
    files.put("/m/b", Buffer.alloc(0), { redirectTo: `${files.url}/m/a` });
    expect((await get("/m/b")).url).toBe(`${files.url}/m/a`);
    files.change("/m/a", { ranges: false });
    expect((await get("/m/a", { range: "bytes=5-" })).status).toBe(200);
    expect((await get("/m/none")).status).toBe(404);
  });
});

describe("nvidia-smi", () => {
  it("prints the fields that it is asked for, and no others", () => {
    const smi = makeNvidiaSmi(join(folder.path, "bin"), { cards: [smiCard(0), smiCard(1)] });
    const ask = (...args: string[]) =>
      spawnSync(join(smi.folder, "nvidia-smi"), args, { env: {}, encoding: "utf8" });
    expect(ask("--query-gpu=index,memory.total", "--format=csv,noheader,nounits").stdout).toBe(
      "0, 24564\n1, 24564\n",
    );
    expect(ask("--query-gpu=index,memory.total", "--format=csv", "-i", "1").stdout).toBe(
      "index, memory.total [MiB]\n1, 24564 MiB\n",
    );
    expect(ask("--query-gpu=index,shoe.size", "--format=csv")).toMatchObject({ status: 2 });
    expect(ask("-L").stdout).toMatch(/^GPU 0: NVIDIA .* \(UUID: GPU-/);
    smi.say({ answers: [{ when: "-L", stderr: "lost\n", exitCode: 15 }] });
    expect(ask("-L")).toMatchObject({ status: 15, stderr: "lost\n" });
    expect(ask()).toMatchObject({ status: 9 });
    expect(smi.calls()).toHaveLength(6);
  });

  it("takes cards from a recording", () => {
    const csv = "index, name, memory.total [MiB]\n0, NVIDIA H200, 143771 MiB\n";
    expect(smiCardsOf(csv)).toEqual([
      { index: "0", name: "NVIDIA H200", "memory.total": "143771 MiB" },
    ]);
  });
});

describe("a machine folder", () => {
  it("is short enough for PM2's sockets", () => {
    expect(join(folder.machine, "pm2", "interactor.sock").length).toBeLessThan(90);
  });

  it("finds a process that was left behind, ends it, and says so", async () => {
    const other = await makeMachineFolder();
    const env = { PATH: process.env["PATH"] ?? "", MARK: other.path };
    const child = spawn("sleep", ["300"], { env, stdio: "ignore" });
    const ended = new Promise((resolve) => child.once("exit", (_code, signal) => resolve(signal)));
    expect(processesWith(other.path).map(({ pid }) => pid)).toEqual([child.pid]);
    await expect(other.close()).rejects.toThrow(/left behind:\n\d+ sleep 300/);
    expect(await ended).toBe("SIGKILL");
    expect(existsSync(other.path)).toBe(false);
  }, 60_000);
});

describe.skipIf(!hasGit)("the local internet", () => {
  let internet: LocalInternet;
  beforeEach(async () => {
    internet = await startLocalInternet(folder.path);
  });
  afterEach(async () => {
    await internet.close();
  });
  const git = (...args: readonly string[]): string =>
    execFileSync("git", args, {
      env: { PATH: process.env["PATH"] ?? "", HOME: folder.path, GIT_TERMINAL_PROMPT: "0" },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 30_000,
    }).trim();

  it("serves repositories by tag, branch and commit, and not while it is stopped", async () => {
    const { comfyui } = internet;
    const first = comfyui.resolve("v1");
    const second = internet.goodCommit("9.9.9", "v2");
    comfyui.commit({ branch: "side", files: { "side.txt": "side", "models/vae": null } });
    const clone = join(folder.path, "clone");
    git("clone", "--quiet", "--depth", "1", "--branch", "v1", comfyui.url, clone);
    expect(git("-C", clone, "rev-parse", "HEAD")).toBe(first);
    expect(existsSync(join(clone, "models", "checkpoints"))).toBe(true);
    expect(existsSync(join(clone, "temp"))).toBe(false);
    git("-C", clone, "fetch", "--quiet", "--depth", "1", "origin", second);
    expect(git("-C", clone, "show", `${second}:comfyui_version.py`)).toContain("9.9.9");
    git("-C", clone, "fetch", "--quiet", "origin", "side");
    expect(git("-C", clone, "ls-tree", "--name-only", "FETCH_HEAD", "models/")).not.toContain(
      "vae",
    );
    await internet.git.stop();
    expect(() => git("ls-remote", comfyui.url)).toThrow();
    await internet.git.start();
    expect(git("ls-remote", comfyui.url)).toContain("refs/tags/v2");
  });

  it("makes manifests that the machine reads", () => {
    const any = { path: "/usr/bin/python3", version: "3.11" };
    const file = folder.writeManifest(standInManifest(internet, any, 18_188, { nodes: [] }));
    const read = manifestSchema.parse(JSON.parse(readFileSync(file, "utf8")));
    expect(read.comfyui).toEqual({ repo: internet.comfyui.url, ref: "v1" });
    expect(read.instances).toMatchObject({ gpus: "none", cpu: 2, basePort: 18_188 });
  });

  it("breaks the stand-in in the ways it promises, each on a whole version", () => {
    const { comfyui } = internet;
    internet.breakCommit("does_not_start");
    expect(comfyui.read("main.py")).toContain("raise RuntimeError");
    internet.breakCommit("bad_requirement");
    expect(comfyui.read("main.py")).not.toContain("was made not to start");
    expect(comfyui.read("requirements.txt")).toContain("standin-nowhere");
    internet.breakCommit("never_answers");
    expect(comfyui.read("main.py")).toContain("asyncio.sleep(36000)");
    internet.breakCommit("loses_class");
    expect(comfyui.read("nodes.py")).not.toContain("VAEDecode, EmptyImage,");
    internet.goodCommit("1.2.3");
    expect(comfyui.read("nodes.py")).toContain("VAEDecode, EmptyImage,");
  });

  it.skipIf(uv === undefined || python === undefined)(
    "has packages that uv resolves, installs, and refuses to mix",
    async () => {
      if (uv === undefined || python === undefined) return;
      const venv = join(folder.path, "venv");
      const env = {
        PATH: "/usr/bin:/bin",
        HOME: folder.path,
        UV_CACHE_DIR: join(folder.path, "c"),
      };
      const call = (...args: readonly string[]) => run(uv, [...args], { env, timeout: 60_000 });
      await call("venv", "--quiet", "--python", python.path, venv);
      const inside = join(venv, "bin", "python");
      const install = (...names: readonly string[]) =>
        call("pip", "install", "--python", inside, "--index-url", internet.packages.url, ...names);
      internet.packages.add(
        makeWheel("stand.in_user", "0.1", {
          modules: { "stand_in_user.py": "import standin_tensor\n" },
          requires: ["standin-tensor<2"],
        }),
      );
      await install("stand-in-user", "standin-paths>=1.0");
      const seen = await run(inside, [
        "-c",
        "import stand_in_user, standin_tensor as t; print(t.__version__)",
      ]);
      expect(seen.stdout).toBe("1.0.0\n");
      expect(internet.packages.fetched()).toContain("standin_tensor-1.0.0-py3-none-any.whl");
      await expect(install("stand-in-user", "standin-tensor==2.0.0")).rejects.toThrow(
        /unsatisfiable/,
      );
      await expect(install("standin-nowhere")).rejects.toThrow(/not found/);
      internet.packages.fail(403);
      await expect(install("--refresh", "--reinstall", "standin-paths")).rejects.toThrow(/403/);
      internet.packages.fail(null);
      const flat = ["--no-index", "--find-links", internet.packages.linksUrl];
      await call("pip", "install", "--python", inside, ...flat, "standin-tensor==2.0.0");
      const one = await startStandIn({ python: inside, base: join(folder.path, "base") });
      expect(await one.kill("SIGINT")).toBe(0);
    },
  );
});

describe.skipIf(pm2 === undefined)("PM2", () => {
  it("is the version that tests mean", () => {
    const about = join(pm2 ?? "", "..", "..", "package.json");
    expect(JSON.parse(readFileSync(about, "utf8"))).toMatchObject({ version: PM2_VERSION });
  });
});
