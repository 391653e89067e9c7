import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { replayBreakerFile, type BreakerReplayOptions } from "./replay-breaker.ts";

const folder = mkdtempSync(join(tmpdir(), "hf-replay-"));
const file = join(folder, "events.ndjson");
afterAll(() => rmSync(folder, { recursive: true }));

const spawned = (machineId: string) => ({
  machineId,
  event: "spawned",
  at: "2026-01-31T12:00:00Z",
});
const events = [
  ...Array.from({ length: 7 }, (_, n) => spawned(`m${n}`)),
  ...Array.from({ length: 6 }, (_, n) => ({
    machineId: `m${n}`,
    event: "ended",
    at: `2026-01-31T12:0${n}:30Z`,
    cause: "failed",
    kind: n === 0 ? "crash" : "no_start",
  })),
];
writeFileSync(file, events.map((event) => `${JSON.stringify(event)}\n`).join(""));

async function run(
  options: Omit<BreakerReplayOptions, "replay"> & { readonly replay?: string },
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const lines: string[] = [];
  const line = (text: string): void => void lines.push(text);
  const terminal = {
    line,
    note: line,
    progress() {},
    isInteractive: false,
    columns: 80,
    resultColumns: 80,
  };
  await replayBreakerFile({ replay: file, ...options }, { terminal, env });
  return lines.join("\n");
}

it("prints what the contract says, as JSON and for people", async () => {
  const at = "2026-01-31T12:10:00Z";
  expect(JSON.parse(await run({ at, json: true }))).toEqual({
    rate: 6 / 7,
    failed: 6,
    seen: 7,
    state: "open",
    reason: expect.stringContaining("85.7% (6/7 machines in last 30 minutes)"),
    resumesAt: "2026-01-31T12:32:30.000Z",
    timeline: [5 / 6, 4 / 5, 3 / 4, 2 / 3, 1 / 2, 0].map((rate, n) => ({
      at: `2026-01-31T12:3${n}:30.000Z`,
      rate,
    })),
  });
  const words = await run({ at });
  expect(words).toContain("Failure rate  85.7% (6/7 machines in last 30 minutes)");
  expect(words).toContain("Spawning      BLOCKED");
  expect(words).toContain("Failures by   no_start 5, crash 1");
  expect(words).toContain("Resumes       2026-01-31T12:32:30.000Z");
});

it("takes flags before the environment", async () => {
  const at = "2026-01-31T12:10:00Z";
  const state = async (...given: Parameters<typeof run>): Promise<string> =>
    (JSON.parse(await run({ ...given[0], at, json: true }, given[1])) as { state: string }).state;
  expect(await state({}, { MAX_WORKER_FAILURE_RATE: "0.9" })).toBe("closed");
  expect(await state({ threshold: "0.8" }, { MAX_WORKER_FAILURE_RATE: "0.9" })).toBe("open");
  expect(await state({ windowMinutes: "7" })).toBe("half-open");
  expect(await state({ minimum: "8" })).toBe("closed");
  expect(await state({ clearBefore: "2026-01-31T12:05:00Z" })).toBe("closed");
});

it("takes its flags as the levers do: percent, durations, so long ago", async () => {
  const at = "2026-01-31T12:10:00Z";
  const state = async (options: Parameters<typeof run>[0]): Promise<string> =>
    (JSON.parse(await run({ at, json: true, ...options })) as { state: string }).state;
  expect(await state({ threshold: "90%" })).toBe("closed");
  expect(await state({ windowMinutes: "7min" })).toBe("half-open");
  expect(await state({ clearBefore: "5min" })).toBe("closed");
});

it("says that a file has no events, and keeps the shape", async () => {
  const empty = join(folder, "empty.ndjson");
  writeFileSync(empty, "\n");
  const [note, json] = (await run({ replay: empty, json: true })).split("\n");
  expect(note).toContain("empty.ndjson: no events were found in it");
  expect(JSON.parse(json ?? "")).toMatchObject({ rate: 0, seen: 0, state: "closed" });
});

it.each([
  [{ threshold: "1.5" }, {}, /^--threshold: expected a share .* found "1\.5"/],
  [{ threshold: "abc" }, {}, /^--threshold: expected a share .* found "abc"/],
  [{ windowMinutes: "8d" }, {}, /^--window-minutes: expected minutes over 0/],
  [{}, { FAILURE_WINDOW_MINUTES: "0" }, /^FAILURE_WINDOW_MINUTES: expected minutes over 0/],
  [{}, { MIN_WORKERS_FOR_RATE_CHECK: " " }, /^MIN_WORKERS_FOR_RATE_CHECK: expected a whole/],
  [{ clearBefore: "2099-01-01T00:00:00Z" }, {}, /^--clear-before: expected no instant after/],
  [{ clearBefore: "2026-02-30T00:00:00Z" }, {}, /^--clear-before: expected an instant/],
  [{ at: "noon" }, {}, /--at: expected an instant/],
  [{ replay: join(folder, "none") }, {}, /--replay: .* cannot be read/],
])("refuses %j with %j", async (options, env, words) => {
  const failure = await run(options, env).catch((error: unknown) => error);
  expect(failure).toMatchObject({ exitCode: 2, message: expect.stringMatching(words) });
});

it("names the line that cannot be read", async () => {
  const wrong = join(folder, "wrong.ndjson");
  writeFileSync(wrong, `${JSON.stringify(spawned("a"))}\n{"machineId":"a"}\n`);
  await expect(run({ replay: wrong })).rejects.toThrow(/wrong\.ndjson: line 2: event: expected/);
});
