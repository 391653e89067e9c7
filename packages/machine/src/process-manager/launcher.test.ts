import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  ecosystemJson,
  launcherScript,
  shellWord,
  specProblems,
  startFileName,
} from "./launcher.ts";
import type { ProcessSpec } from "./model.ts";

const spec: ProcessSpec = {
  name: "comfyui-gpu0",
  command: "/venv/bin/python",
  args: ["main.py", "--port", "8188"],
  cwd: "/m",
  env: { CUDA_VISIBLE_DEVICES: "GPU-1" },
  outFile: "/m/out.log",
  errorFile: "/m/err.log",
  stopTimeoutMs: 5_000,
  digest: "d1",
};

test("a good spec has no problems", () => {
  expect(specProblems(spec)).toEqual([]);
});

test.each([
  [{ name: "" }, /name ""/],
  [{ name: "all" }, /name "all"/],
  [{ name: "../x" }, /name/],
  [{ name: "-x" }, /name/],
  [{ name: "x".repeat(129) }, /name/],
  [{ command: "python" }, /command "python": expected an absolute path/],
  [{ cwd: "." }, /cwd/],
  [{ outFile: "out.log" }, /out /],
  [{ errorFile: "err.log" }, /error /],
  [{ args: Array.from({ length: 2_001 }, () => "x") }, /2001 arguments/],
  [{ args: ["a\0b"] }, /NUL/],
  [{ env: { A: "x".repeat(130_000) } }, /longer than/],
  [{ env: { "A B": "x" } }, /variable "A B"/],
  [{ env: { HOLDFAST_SPEC: "x" } }, /Holdfast sets it itself/],
  [{ env: { HOLDFAST_PID: "1" } }, /Holdfast sets it itself/],
  [{ stopTimeoutMs: 1.5 }, /stop time 1.5/],
  [{ stopTimeoutMs: -1 }, /stop time -1/],
])("%j is refused in words", (more, words) => {
  expect(specProblems({ ...spec, ...more }).join("; ")).toMatch(words);
});

test("any text is one word of the shell", () => {
  const text = fc.string({ unit: "binary" }).map((one) => one.replaceAll("\0", ""));
  fc.assert(
    fc.property(fc.array(text, { maxLength: 5 }), (words) => {
      const script = `printf '%s\\0' "$#" ${words.map(shellWord).join(" ")}`;
      const out = execFileSync("/bin/sh", [
        "-c",
        `set -- ${words.map(shellWord).join(" ")}
        ${script}`,
      ]).toString("utf8");
      expect(out.split("\0").slice(1, -1)).toEqual(
        words.map((one) => Buffer.from(one).toString("utf8")),
      );
    }),
    { numRuns: 30 },
  );
});

test("the script becomes the program, with this environment, these arguments and these files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hf-launcher-"));
  try {
    const program = `console.log(JSON.stringify([process.argv.slice(1), process.env]));console.error("e")`;
    const one: ProcessSpec = {
      ...spec,
      command: process.execPath,
      args: ["-e", program, "it's", "$HOME `id`\n"],
      env: { A: "'quoted'\n$(id)", PATH: "/usr/bin" },
      outFile: join(folder, "o u't.log"),
      errorFile: join(folder, "err.log"),
    };
    const script = join(folder, "start.sh");
    await writeFile(script, launcherScript(one, "/m"));
    await writeFile(one.outFile, "before\n");
    execFileSync("/bin/sh", [script], { env: { LEAK: "x", NODE_CHANNEL_FD: "3", name: "x" } });
    const [before, printed] = (await readFile(one.outFile, "utf8")).split("\n");
    expect(before).toBe("before");
    const [args, env] = JSON.parse(printed ?? "") as [string[], Record<string, string>];
    expect(args).toEqual(["it's", "$HOME `id`\n"]);
    expect(env).toMatchObject({
      ...one.env,
      HOLDFAST_SPEC: "d1",
      HOLDFAST_MACHINE: "/m",
      HOLDFAST_PROCESS: "comfyui-gpu0",
      HOLDFAST_STOP_MS: "5000",
    });
    const others = ["LEAK", "NODE_CHANNEL_FD", "name"].filter((name) => name in env);
    expect(others).toEqual([]);
    expect(await readFile(one.errorFile, "utf8")).toBe("e\n");
    // Both streams into one file.
    const both = { ...one, errorFile: one.outFile };
    await writeFile(script, launcherScript(both, "/m"));
    execFileSync("/bin/sh", [script], { env: {} });
    expect(await readFile(both.outFile, "utf8")).toMatch(/\ne\n$/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("PM2 is told the marks and nothing of the environment, and never to restart", () => {
  const text = ecosystemJson(spec, "/m", "/m/pm2/starts/x.sh");
  expect(text).not.toContain("GPU-1");
  expect(JSON.parse(text)).toMatchObject({
    apps: [
      {
        name: "comfyui-gpu0",
        script: "/m/pm2/starts/x.sh",
        autorestart: false,
        kill_timeout: 5_000,
        vizion: false,
        pmx: false,
        env: { HOLDFAST_SPEC: "d1", HOLDFAST_MACHINE: "/m" },
      },
    ],
  });
});

test("a start's files are named safely and apart", () => {
  expect(startFileName("x.config.js")).toMatch(/^[0-9a-f]{24}$/);
  expect(startFileName("a")).not.toBe(startFileName("b"));
});
