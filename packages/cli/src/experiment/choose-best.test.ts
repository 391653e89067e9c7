import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { recordLine, type ResultRecord } from "@holdfast/experiments";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { recordingTerminal } from "../../testing/recording-terminal.ts";
import { CommandFailure } from "../command-failure.ts";
import { best } from "./choose-best.ts";
import { report } from "./comparison-file.ts";
import { writeAbout } from "./folder/about-file.ts";
import { list, show } from "./list-experiments.ts";
import type { BestOptions } from "./options.ts";

const AT = "2026-01-02T03:04:05.678Z";
const result = (index: number, over: Partial<ResultRecord> = {}): ResultRecord => ({
  index,
  name: `exp_000${index}`,
  title: "castle",
  attempt: 1,
  promptId: "p",
  seed: 1,
  values: { color: index },
  status: "completed",
  startedAt: AT,
  endedAt: AT,
  durationMs: 1_000 * (9 - index),
  error: null,
  recovery: [],
  outputs: [{ stored: `images/exp_000${index}-1.png`, sha256: "a".repeat(64), sizeBytes: 3 }],
  metrics: { loss: index === 2 ? 3 : 0 },
  ...over,
});
const DOWN = { class: "network_error", message: "gone\nfor good", isInfrastructure: true };

let root: string;
let folder: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "holdfast-best-"));
  folder = join(root, "castle-12345678");
  await mkdir(join(folder, "images"), { recursive: true });
  await writeAbout(folder, {
    version: 1,
    name: "castle",
    specHash: "1".repeat(64),
    count: 5,
    createdAt: AT,
    holdfastVersion: "0",
    target: "http://c",
    mlflow: null,
  });
  const records = [0, 1, 2].map((index) => result(index));
  const failed = result(3, { status: "failed", error: DOWN, outputs: [] });
  await writeFile(
    join(folder, "results.ndjson"),
    [...records, failed].map((record) => recordLine(record)).join(""),
  );
  for (const index of [0, 1, 2]) {
    await writeFile(join(folder, `images/exp_000${index}-1.png`), "x".repeat(index + 1));
  }
});
afterEach(async () => {
  process.exitCode = undefined;
  await rm(root, { recursive: true, force: true });
});

const marking = async (options: BestOptions) => {
  const terminal = recordingTerminal();
  await best(folder, { json: true, ...options }, { terminal, env: {} });
  return { said: JSON.parse(terminal.lines[0] ?? "") as unknown, notes: terminal.notes };
};
const marks = async (): Promise<readonly { name: string; why: string }[]> =>
  (JSON.parse(await readFile(join(folder, "best.json"), "utf8")) as never)["marks"];

describe("the best run", () => {
  it("is by a metric, highest or lowest, and the page shows it", async () => {
    expect((await marking({ by: "duration_seconds" })).said).toMatchObject({ best: "exp_0000" });
    const lowest = await marking({ by: "duration_seconds", lowest: true });
    expect(lowest.said).toEqual({
      best: "exp_0002",
      why: "lowest duration_seconds",
      value: 7,
    });
    expect(await readFile(join(folder, "comparison.html"), "utf8")).toContain(
      "lowest duration_seconds",
    );
  });

  it("is by a command that gets the pictures and prints a number", async () => {
    const { said } = await marking({ command: "wc -c <" });
    expect(said).toEqual({ best: "exp_0002", why: "highest score", value: 3 });
    expect((await marking({ by: "score", lowest: true })).said).toMatchObject({
      best: "exp_0000",
    });
  });

  it("is nobody's where the command says nothing of use, and says why", async () => {
    await expect(marking({ command: "echo pretty #" })).rejects.toThrow("no run got a score");
    await expect(marking({ command: "exit 3 #" })).rejects.toThrow("nothing was marked");
  });

  it("says once what a command did to all runs, and to which", async () => {
    const terminal = recordingTerminal();
    const options = { command: "case $1 in *2-1*) exit 4;; esac; exit 3 #" };
    // The shell gets the pictures behind the sign, and as its own arguments.
    await expect(best(folder, options, { terminal, env: {} })).rejects.toThrow(
      "no run got a score",
    );
    expect(terminal.notes.filter((note) => note.includes("no score"))).toEqual([
      "2 runs have no score: it ended with 3 (exp_0000 and exp_0001)",
      "exp_0002 has no score: it ended with 4",
    ]);
  });

  it("is marked by hand beside the others, once", async () => {
    await marking({ by: "duration_seconds" });
    await marking({ mark: "exp_0001" });
    await marking({ mark: "exp_0002" });
    await marking({ mark: "exp_0001" });
    expect((await marks()).map(({ name, why }) => [name, why])).toEqual([
      ["exp_0000", "highest duration_seconds"],
      ["exp_0002", "by hand"],
      ["exp_0001", "by hand"],
    ]);
  });

  it("is refused with what there is", async () => {
    await expect(marking({ by: "beauty" })).rejects.toThrow("duration_seconds, loss");
    await expect(marking({ mark: "exp_0009" })).rejects.toThrow("no run exp_0009");
    await expect(marking({})).rejects.toBeInstanceOf(CommandFailure);
    await expect(marking({ by: "loss", mark: "exp_0001" })).rejects.toThrow("expected one of");
  });
});

describe("what there is to see", () => {
  it("is listed, from the folder around it or from itself", async () => {
    for (const path of [root, folder]) {
      const terminal = recordingTerminal();
      await list(path, { json: true }, { terminal, env: {} });
      expect(JSON.parse(terminal.lines[0] ?? "")).toMatchObject({
        name: "castle",
        count: 5,
        completed: 3,
        failed: 0,
        toRepeat: ["exp_0003"],
      });
    }
  });

  it("is shown with what failed", async () => {
    const terminal = recordingTerminal();
    await show(folder, {}, { terminal, env: {} });
    const text = terminal.lines.join("\n");
    expect(text).toMatch(/completed +3 of 5/);
    expect(text).toMatch(/exp_0003 +network_error +yes +gone/);
    await expect(show(root, {}, { terminal, env: {} })).rejects.toThrow("experiment.json");
  });

  it("is a page, also where somebody changed the copies of the file and its graph", async () => {
    const terminal = recordingTerminal();
    await writeFile(join(folder, "spec.yaml"), "name: [");
    await report(folder, { json: true }, { terminal, env: {} });
    expect(JSON.parse(terminal.lines[0] ?? "")).toMatchObject({ runs: 4, left: 0 });
  });
});
