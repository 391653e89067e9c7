/**
 * The API held against its own description by Schemathesis: generated requests, good and bad, by every
 * method. No answer may be a 5xx, nothing may be answered that the description does not name.
 */
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findProgram } from "../support/find-program.ts";
import { prepareServed, type Served } from "../support/served.ts";

/** `HOLDFAST_TEST_SCHEMATHESIS`, or the program of that name on the path. */
const SCHEMATHESIS = process.env["HOLDFAST_TEST_SCHEMATHESIS"] ?? findProgram(["schemathesis"]);
if (SCHEMATHESIS === undefined) {
  console.warn(
    "test/parts/schemathesis.test.ts: SKIPPED, there is no schemathesis (pip install schemathesis==4.32.5, or HOLDFAST_TEST_SCHEMATHESIS)",
  );
}

const CONFIG = join(import.meta.dirname, "schemathesis.toml");
const RUN_LIMIT_MS = 25 * 60_000;
/** Requests an operation: ten were seen to miss a planted fault. */
const EXAMPLES = 25;

describe.skipIf(SCHEMATHESIS === undefined)("the API and its description", () => {
  let served: Served;
  beforeEach(async () => {
    served = await prepareServed({ HOLDFAST_POLL_WAIT_MS: "500" });
    await served.start();
  });
  afterEach(async () => {
    await served.close();
  });

  /** Runs it on a description; resolves to its exit code and what it printed. */
  const check = async (
    description: object,
    args: readonly string[],
  ): Promise<{ readonly code: number | null; readonly output: string }> => {
    const file = join(served.folder, "openapi.json");
    await writeFile(file, JSON.stringify(description));
    const child = spawn(
      SCHEMATHESIS ?? "",
      [
        "--config-file",
        CONFIG,
        "run",
        file,
        "--url",
        served.url,
        "--no-color",
        "--workers",
        "1",
        "--generation-deterministic",
        "--continue-on-failure",
        "--max-examples",
        String(EXAMPLES),
        "--request-timeout",
        "30",
        ...args,
        // On a busy machine the larger bodies are slow to make up; that is no finding.
        "--suppress-health-check",
        "all",
        // A stream has no end.
        "--exclude-path",
        "/api/v1/events",
      ],
      { cwd: served.folder, stdio: ["ignore", "pipe", "pipe"] },
    );
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
    }
    const timer = setTimeout(() => child.kill("SIGKILL"), RUN_LIMIT_MS);
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    clearTimeout(timer);
    return { code, output };
  };
  const described = async (): Promise<Record<string, unknown>> =>
    (await (await fetch(`${served.url}/openapi.json`)).json()) as Record<string, unknown>;
  /** What the log says of requests that broke: the report has only their ids. */
  const broken = (): string =>
    served
      .process()
      .output()
      .split("\n")
      .filter((line) => line.includes("request failed"))
      .join("\n");

  it(
    "agree while no key exists",
    async () => {
      // A key, once made, would be needed from then on.
      const { code, output } = await check(await described(), [
        "--exclude-path-regex",
        "^/api/v1/keys",
        "--phases",
        "examples,coverage,fuzzing",
      ]);
      expect(code, `${output}\n${broken()}`).toBe(0);
    },
    RUN_LIMIT_MS + 60_000,
  );

  it(
    "agree where keys are needed, and no call is taken without one",
    async () => {
      const made = await served.run(["keys", "create", "--name", "fuzz", "--role", "admin"]);
      const [key = ""] = /^hf_\S+$/m.exec(made.output) ?? [];
      expect(key).not.toBe("");
      // The description says that a key may be left out, for it may while none exists. Without that
      // the tool also sends each call without a key, and wants it refused.
      const strict = { ...(await described()), security: [{ bearer: [] }] };
      const { code, output } = await check(strict, ["--header", `Authorization: Bearer ${key}`]);
      expect(code, `${output}\n${broken()}`).toBe(0);
    },
    RUN_LIMIT_MS + 60_000,
  );
});
