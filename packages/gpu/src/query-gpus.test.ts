import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isProcessAlive, waitForExit } from "@holdfast/runtime/host";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SMI_FIXTURES } from "../testing/nvidia-smi-fixture.ts";
import { createGpuQuery, type GpuQuery } from "./query-gpus.ts";
import { runSmi } from "./run-smi.ts";

const HELP = '"index"\n"uuid"\n"compute_cap"\n"mig.mode.current"\n"gpu_recovery_action"\n';
const never = new AbortController().signal;

let folder: string;
let program: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-smi-"));
  program = join(folder, "nvidia-smi");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A program that writes down how it was called, and then does what the script says. */
async function fake(script: string): Promise<GpuQuery> {
  const log = `printf '%s\\n' "$*" >> "${folder}/calls"\n`;
  await writeFile(program, `#!/bin/sh\n${log}${script}\n`);
  await chmod(program, 0o755);
  return createGpuQuery({ clock: systemClock, program });
}
const calls = async (): Promise<readonly string[]> =>
  (await readFile(join(folder, "calls"), "utf8")).trim().split("\n");
const answering = (query: string, list: string, report: string): string => `case "$1" in
--help-query-gpu) printf '%s' '${HELP}' ;;
--query-gpu=*) ${query} ;;
-L) ${list} ;;
-q) ${report} ;;
esac`;
const cat = (name: string): string => `cat "${SMI_FIXTURES}/${name}"`;

describe.skipIf(process.platform === "win32")("asking a program named nvidia-smi", () => {
  test("discovers by query, list and report, and asks once what the driver knows", async () => {
    const gpus = await fake(
      answering(
        cat("h100-mig-590.idle.query-gpu.csv"),
        cat("h100-mig-590.list-L.txt"),
        cat("h100-mig-590.load.q.txt"),
      ),
    );
    const found = await gpus.discover(never);
    expect(found).toMatchObject({ failure: null, faults: [], cudaVersion: "13.1" });
    expect(found.gpus[0]?.devices).toHaveLength(4);
    await gpus.sample(never);
    const fields =
      "index,uuid,name,pci.bus_id,driver_version,memory.total,memory.used,memory.free,utilization.gpu,temperature.gpu,power.draw,power.limit,mig.mode.current,compute_cap,gpu_recovery_action";
    expect(await calls()).toEqual([
      "--help-query-gpu",
      `--query-gpu=${fields} --format=csv`,
      "-L",
      "-q -x",
      `--query-gpu=${fields} --format=csv`,
    ]);
  });

  test("a driver that does not say what it knows is asked for what all know, and asked again", async () => {
    const gpus = await fake(
      `case "$1" in --help-query-gpu) exit 2 ;; *) ${cat("h200-590.load.query-gpu.csv")} ;; esac`,
    );
    const { readings } = await gpus.sample(never);
    await gpus.sample(never);
    expect(readings).toMatchObject([{ index: 0, utilizationPercent: 100, powerDrawW: 627.4 }]);
    const asked = await calls();
    expect(asked.filter((call) => call === "--help-query-gpu")).toHaveLength(2);
    expect(asked[1]).not.toContain("gpu_recovery_action");
  });

  test("a sample tells of cards that were expected, and of a card that asks for a reset", async () => {
    const gpus = await fake(
      answering(cat("csv-h100-gpu-requires-reset.header.csv"), "true", "true"),
    );
    const { readings, faults, failure } = await gpus.sample(never, [0, 1]);
    expect(failure).toBeNull();
    expect(readings).toHaveLength(1);
    // The recording has no UUID: a sample without one is told as well.
    expect(faults.map(({ index, kind }) => [index, kind])).toEqual([
      [1, "missing"],
      [0, "no_uuid"],
    ]);
  });

  test("a MIG card is not blamed by a sample, which asks for no list", async () => {
    const gpus = await fake(answering(cat("h100-mig-590.load.query-gpu.csv"), "true", "true"));
    expect((await gpus.sample(never)).faults).toEqual([]);
  });

  test("one of eight is lost, said on stderr: seven readings and one fault", async () => {
    const rows = [0, 1, 2, 4, 5, 6, 7].map((index) => `echo "${index}, GPU-${index}"`).join("; ");
    const gpus = await fake(
      answering(
        `${cat("err-device-handle-one-of-eight.txt")} | head -1 >&2; echo "index, uuid"; ${rows}; exit 15`,
        "true",
        "true",
      ),
    );
    const { readings, faults, failure } = await gpus.sample(never, [0, 1, 2, 3, 4, 5, 6, 7]);
    expect(readings).toHaveLength(7);
    expect(failure).toBeNull();
    expect(faults).toEqual([expect.objectContaining({ index: 3, kind: "no_handle" })]);
  });

  const FIELDS =
    "index, uuid, memory.total [MiB], memory.used [MiB], temperature.gpu, fan.speed [%]";
  const good = (index: number): string => `${index}, GPU-${index}, 100 MiB, 1 MiB, 30, [N/A]`;
  const errors = (cell: string, first = cell): string =>
    [first, ...Array.from({ length: 4 }, () => cell), "[N/A]"].join(", ");

  test.each([
    ["with its index", errors("[Unknown Error]", "1")],
    ["without one", errors("[Unknown Error]")],
    ["as tables write it", errors("ERR!", "1")],
  ])("a card that answers nothing but errors, %s, is told as that", async (_how, row) => {
    const rows = [FIELDS, good(0), row, good(2)].map((line) => `echo "${line}"`).join("; ");
    const list = [0, 1, 2].map((index) => `echo "GPU ${index}: A (UUID: GPU-${index})"`).join("; ");
    const gpus = await fake(answering(rows, list, "true"));
    const told = { index: 1, kind: "unreadable", isUsable: true };
    expect((await gpus.sample(never, [0, 1, 2])).faults).toEqual([expect.objectContaining(told)]);
    // Nothing says that it does no work: whoever has seen it answer knows more.
    const found = await gpus.discover(never, [0, 1, 2]);
    expect(found.faults).toEqual([expect.objectContaining(told)]);
    expect(found.gpus.map(({ devices }) => devices.length)).toEqual([1, 1, 1]);
  });

  test("the only card that answers nothing but errors is no failure of the program", async () => {
    const rows = [FIELDS, errors("[Unknown Error]")].map((line) => `echo "${line}"`).join("; ");
    const gpus = await fake(answering(`${rows}; exit 255`, "true", "true"));
    expect(await gpus.sample(never, [0])).toMatchObject({
      failure: null,
      faults: [{ index: 0, kind: "unreadable" }],
    });
    // Which of the two it is cannot be told.
    const both = (await gpus.sample(never, [0, 1])).faults;
    expect(both.map(({ index, kind }) => [index, kind])).toEqual([
      [0, "missing"],
      [1, "missing"],
    ]);
  });

  test("no driver: told as that, and no card is missing for it", async () => {
    const gpus = await fake(`${cat("err-no-driver.txt")}; exit 9`);
    expect(await gpus.sample(never, [0, 1])).toMatchObject({
      readings: [],
      faults: [],
      failure: { kind: "no_driver" },
    });
    expect(await gpus.discover(never)).toMatchObject({ gpus: [], failure: { kind: "no_driver" } });
  });

  test("a program that is not there, and one that cannot be started", async () => {
    const absent = createGpuQuery({ clock: systemClock, program: join(folder, "no-such-program") });
    expect(await absent.discover(never)).toMatchObject({
      gpus: [],
      failure: { kind: "not_found" },
    });
    await writeFile(program, "#!/bin/sh\n", { mode: 0o644 });
    const closed = createGpuQuery({ clock: systemClock, program });
    expect(await closed.sample(never)).toMatchObject({ failure: { kind: "other" } });
  });

  test("by default it is the nvidia-smi of PATH", async () => {
    await fake(answering(cat("h200-590.load.query-gpu.csv"), "true", "true"));
    const path = process.env["PATH"];
    process.env["PATH"] = `${folder}:${path}`;
    try {
      const { readings } = await createGpuQuery({ clock: systemClock }).sample(never);
      expect(readings[0]?.name).toBe("NVIDIA H200");
    } finally {
      process.env["PATH"] = path;
    }
  });
});

describe.skipIf(process.platform === "win32")("one run", () => {
  const HANG = `sleep 600 & echo $! > "$(dirname "$0")/child"\necho $$ > "$(dirname "$0")/self"\necho "index"\nwait`;
  const pidIn = async (name: string): Promise<number> => {
    for (;;) {
      const text = await readFile(join(folder, name), "utf8").catch(() => "");
      if (text.trim() !== "") return Number(text);
      await systemClock.sleep(10);
    }
  };

  test("over its time it is ended with its children", async () => {
    await fake(HANG);
    const clock = createFakeClock();
    const running = runSmi({ program, timeoutMs: 1_000, clock }, ["-L"], never);
    const [self, child] = [await pidIn("self"), await pidIn("child")];
    expect(await isProcessAlive(self)).toBe(true);
    await clock.advance(1_001);
    const run = await running;
    expect(run).toMatchObject({ ended: "timeout", exitCode: null });
    expect(await waitForExit(self, 5_000, systemClock)).toBe(true);
    expect(await waitForExit(child, 5_000, systemClock)).toBe(true);
  });

  test("an abort ends it as well, and is thrown", async () => {
    await fake(HANG);
    const aborted = new AbortController();
    const running = runSmi(
      { program, timeoutMs: 60_000, clock: systemClock },
      ["-L"],
      aborted.signal,
    );
    const child = await pidIn("child");
    const reason = new Error("drain");
    aborted.abort(reason);
    await expect(running).rejects.toBe(reason);
    expect(await waitForExit(child, 5_000, systemClock)).toBe(true);
    await expect(
      runSmi({ program, timeoutMs: 60_000, clock: systemClock }, ["-L"], aborted.signal),
    ).rejects.toBe(reason);
  });

  test("both streams and the exit code are told; the environment is small, and English", async () => {
    await fake("echo out; echo err >&2; env >&2; exit 7");
    process.env["HOLDFAST_SECRET_FOR_TEST"] = "x";
    try {
      const run = await runSmi({ program, timeoutMs: 60_000, clock: systemClock }, [], never);
      expect(run).toMatchObject({ ended: "exited", exitCode: 7, stdout: "out\n" });
      expect(run.stderr).toContain("err\n");
      expect(run.stderr).toContain("LC_ALL=C");
      expect(run.stderr).not.toContain("HOLDFAST_SECRET_FOR_TEST");
    } finally {
      delete process.env["HOLDFAST_SECRET_FOR_TEST"];
    }
  });

  test("endless output is not kept", async () => {
    await fake("head -c 10000000 /dev/zero");
    const run = await runSmi({ program, timeoutMs: 60_000, clock: systemClock }, [], never);
    expect(run.stdout).toHaveLength(8 * 1024 ** 2);
  });
});
