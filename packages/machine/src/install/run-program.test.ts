import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isProcessAlive } from "@holdfast/runtime/host";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LINE_MAX } from "./redact.ts";
import {
  createLineSplitter,
  createRunProgram,
  describeProgramEnd,
  type ProgramCall,
} from "./run-program.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-run-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const run = createRunProgram(systemClock);
const shell = (script: string, more: Partial<ProgramCall> = {}): ProgramCall => ({
  command: "/bin/sh",
  args: ["-c", script],
  cwd: folder,
  env: { PATH: "/usr/bin:/bin" },
  timeoutMs: 20_000,
  signal: new AbortController().signal,
  ...more,
});

describe("running a program", () => {
  test("success, failure and a signal are told apart, with what was printed", async () => {
    const lines: string[] = [];
    const well = await run(
      shell('echo out; echo "$SECRET" >&2', { onLine: (line) => lines.push(line) }),
    );
    // Nothing of this process's environment is in there.
    expect(well).toEqual({
      kind: "succeeded",
      stdout: "out\n",
      isStdoutCut: false,
      stderrTail: "",
    });
    expect(lines).toEqual(["out"]);
    const bad = await run(shell("echo why >&2; exit 3"));
    expect(bad).toMatchObject({ kind: "failed", code: 3, stderrTail: "why" });
    expect(await run(shell("kill -9 $$"))).toMatchObject({ kind: "killed", signal: "SIGKILL" });
    expect(bad.kind === "succeeded" ? "" : describeProgramEnd(bad)).toBe("exit code 3:\nwhy");
  });

  test("a program or folder that is not there is told", async () => {
    const none = await run(shell("true", { command: "/nowhere/program" }));
    expect(none).toMatchObject({ kind: "not_started" });
    expect(await run(shell("true", { cwd: "/nowhere" }))).toMatchObject({ kind: "not_started" });
  });

  test("over its time it is ended with everything it started", async () => {
    const file = join(folder, "pid");
    const result = await run(
      shell(`sleep 300 & echo $! > ${file}; trap '' TERM; wait; wait`, { timeoutMs: 500 }),
    );
    expect(result).toMatchObject({ kind: "timed_out", timeoutMs: 500 });
    const left = Number(await readFile(file, "utf8"));
    // Its end is under way when its streams are closed, and takes a moment on a busy host.
    await expect.poll(() => isProcessAlive(left), { timeout: 10_000 }).toBe(false);
  }, 20_000);

  test("an abort ends the group and rejects with the reason", async () => {
    const file = join(folder, "pid");
    const stop = new AbortController();
    const running = run(
      shell(`sleep 300 & echo $! > ${file}; echo ready; wait`, {
        signal: stop.signal,
        onLine: () => stop.abort(new Error("enough")),
      }),
    );
    await expect(running).rejects.toThrow("enough");
    const pid = Number(await readFile(file, "utf8"));
    await expect.poll(() => isProcessAlive(pid)).toBe(false);
    await expect(run(shell("true", { signal: stop.signal }))).rejects.toThrow("enough");
  });

  test("what it leaves running behind it is ended, and holds nothing up", async () => {
    const file = join(folder, "pid");
    const result = await run(shell(`sleep 300 & echo $! > ${file}`));
    expect(result.kind).toBe("succeeded");
    const pid = Number(await readFile(file, "utf8"));
    // Its pipes are closed a moment before it is gone.
    await expect.poll(() => isProcessAlive(pid)).toBe(false);
  });

  test("output is bounded", async () => {
    const result = await run(shell("yes | head -c 100000", { stdoutMaxBytes: 1_000 }));
    expect(result).toMatchObject({ kind: "succeeded", isStdoutCut: true });
    expect(result.kind === "succeeded" ? result.stdout.length : 0).toBe(1_000);
  });
});

test("signs that steer a terminal are not part of a line", () => {
  const lines: string[] = [];
  const splitter = createLineSplitter((line) => lines.push(line));
  splitter.write(Buffer.from("\u001b[31mred\u001b[0m\tand\u0000\u0007 plain\n\u0000\n"));
  splitter.end();
  expect(lines).toEqual(["red\tand plain"]);
});

test("lines end at \\n and \\r, across chunks and inside characters, and are cut", () => {
  const lines: string[] = [];
  const splitter = createLineSplitter((line) => lines.push(line));
  const bytes = Buffer.from("one\r\ntw\u00f6\r50%\r100%\n\nlast");
  for (const byte of bytes) splitter.write(Buffer.from([byte]));
  splitter.write(Buffer.from("x".repeat(LINE_MAX * 3)));
  splitter.end();
  expect(lines.slice(0, 4)).toEqual(["one", "tw\u00f6", "50%", "100%"]);
  expect(lines[4]).toHaveLength(LINE_MAX);
  expect(lines).toHaveLength(5);
});

test("ends are told in words", () => {
  const printed = { stdout: "said", isStdoutCut: false, stderrTail: "" };
  expect(describeProgramEnd({ kind: "killed", signal: "SIGKILL", ...printed })).toBe(
    "ended by SIGKILL:\nsaid",
  );
  expect(describeProgramEnd({ kind: "timed_out", timeoutMs: 5_000, ...printed, stdout: "" })).toBe(
    "not done after 5 s",
  );
  expect(describeProgramEnd({ kind: "not_started", reason: "gone" })).toBe("not started: gone");
});
