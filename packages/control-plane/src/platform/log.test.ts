import { describe, expect, test } from "vitest";
import { createLog, prettyLine, type LogOptions } from "./log.ts";

const capture = (over: Partial<LogOptions> = {}) => {
  const lines: string[] = [];
  const log = createLog({ level: "debug", write: (line) => lines.push(line), ...over });
  return { log, lines };
};

describe("json", () => {
  test("a fact is one line with a level in words and its fields", () => {
    const { log, lines } = capture();
    log.child({ jobId: "job_1" }).warn({ attempt: 2 }, "attempt failed");
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      level: "warn",
      jobId: "job_1",
      attempt: 2,
      msg: "attempt failed",
    });
  });

  test("below its level nothing is written", () => {
    const { log, lines } = capture({ level: "warn" });
    log.info({}, "quiet");
    expect(lines).toEqual([]);
  });

  test("secrets do not reach the log, wherever they stand", () => {
    const { log, lines } = capture();
    log.info(
      {
        password: "hush1",
        target: { password: "hush2", host: "h" },
        request: { headers: { authorization: "hush3", "x-api-key": "hush4" } },
        headers: { "x-api-key": "hush5" },
        token: "hush6",
      },
      "connected",
    );
    expect(lines.join("")).not.toMatch(/hush\d/);
    expect(lines.join("")).toContain('"host":"h"');
  });

  test("an error keeps its message, its stack and its cause", () => {
    const { log, lines } = capture();
    log.error({ err: new Error("outer", { cause: new Error("inner") }) }, "failed");
    expect(lines[0]).toContain("outer");
    expect(lines[0]).toContain("inner");
  });
});

describe("pretty", () => {
  test("a line is short and has what matters", () => {
    const { log, lines } = capture({ format: "pretty" });
    log.warn({ jobId: "job_1", text: "two words", err: new Error("why") }, "attempt failed");
    expect(lines[0]).toMatch(
      /^\d\d:\d\d:\d\d warn  attempt failed jobId=job_1 text="two words" err="why"\n$/,
    );
  });

  test("what is no JSON is shown as it is", () => {
    expect(prettyLine("panic!\n")).toBe("panic!\n");
  });
});
