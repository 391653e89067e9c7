import { tmpdir } from "node:os";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { isProcessAlive, waitForExit } from "@holdfast/runtime/host";
import { systemClock } from "@holdfast/runtime/system";
import { expect, test } from "vitest";
import { endInWords, outputTail, runProgram, type ProgramCall } from "./program-call.ts";

const call = (script: string, more: Partial<ProgramCall> = {}): ProgramCall => ({
  command: "/bin/sh",
  args: ["-c", script],
  cwd: tmpdir(),
  env: { PATH: "/usr/bin:/bin" },
  timeoutMs: 20_000,
  ...more,
});
const run = (one: ProgramCall, signal = new AbortController().signal) =>
  runProgram(one, { clock: systemClock, signal });

test("its output, its exit code, its lines, and an environment that is only its own", async () => {
  const lines: string[] = [];
  const script = 'echo "one $HF_SECRET_OF_TEST"; echo two >&2; exit 3';
  process.env["HF_SECRET_OF_TEST"] = "leak";
  const end = await run(call(script, { onLine: (line) => lines.push(line) }));
  delete process.env["HF_SECRET_OF_TEST"];
  expect(end).toEqual({
    kind: "exited",
    code: 3,
    signal: null,
    stdout: "one \n",
    stderr: "two\n",
  });
  expect(lines.sort()).toEqual(["one ", "two"]);
  expect(endInWords(end, 1_000)).toBe("exited with code 3: two");
});

test("a program that is not there is told, not thrown", async () => {
  const end = await run(call("", { command: "/no/such/program" }));
  expect(end.kind).toBe("not_started");
  expect(endInWords(end, 1_000)).toMatch(/could not be started: .*ENOENT/);
});

test("the time limit ends it and what it started, also what ignores SIGTERM", async () => {
  const file = join(tmpdir(), `hf-call-${process.pid}`);
  const script = `trap "" TERM; sleep 1000 & echo $! > ${file}; echo up; wait`;
  const end = await run(call(script, { timeoutMs: 300 }));
  expect(end).toMatchObject({ kind: "timeout", stdout: "up\n" });
  expect(endInWords(end, 300)).toBe("did not end within 0.3 s: up");
  const child = Number(await readFile(file, "utf8"));
  await rm(file);
  expect(child).toBeGreaterThan(1);
  await waitForExit(child, 2_000, systemClock);
  expect(await isProcessAlive(child)).toBe(false);
});

test("too much output ends it", async () => {
  const end = await run(
    call("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", {
      outputMaxBytes: 10_000,
    }),
  );
  expect(end.kind).toBe("too_much_output");
  expect(end.kind === "too_much_output" ? end.stdout.length : 0).toBeLessThanOrEqual(10_000);
  expect(endInWords(end, 1)).toMatch(/^printed more than is taken: x/);
});

test("an abort ends it and is thrown; an aborted one is not begun", async () => {
  const abort = new AbortController();
  const running = run(call("sleep 1000"), abort.signal);
  setTimeout(() => abort.abort(new Error("called off")), 50);
  await expect(running).rejects.toThrow("called off");
  await expect(run(call("true"), abort.signal)).rejects.toThrow("called off");
});

test("an end by a signal, and the end of a long output", async () => {
  const end = await run(call("kill -9 $$"));
  expect(endInWords(end, 1)).toBe("was ended by SIGKILL");
  expect(outputTail("a\n\n b \r\nc")).toBe("a |  b  | c");
  expect(outputTail("x".repeat(1_000), 10)).toBe("x".repeat(10));
});
