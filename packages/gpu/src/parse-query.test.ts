import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { smiFixture } from "../testing/nvidia-smi-fixture.ts";
import {
  bytesOf,
  faultOf,
  numberOf,
  parseQuery,
  textOf,
  type QueryResult,
  type QueryRow,
} from "./parse-query.ts";
import { parseQueryHelp, toReadings } from "./read-gpus.ts";

const MIB = 1024 ** 2;
const ZERO_UUID = "GPU-00000000-0000-0000-0000-000000000000";

function only(result: QueryResult): QueryRow {
  expect(result.rows).toHaveLength(1);
  return result.rows[0]!;
}

describe("whole recordings, by their header", () => {
  test.each([
    [
      "rtx4080s-595.idle.query-gpu.csv",
      "NVIDIA GeForce RTX 4080 SUPER",
      16_376,
      596,
      0,
      null,
      "8.9",
    ],
    [
      "rtx4080s-595.load.query-gpu.csv",
      "NVIDIA GeForce RTX 4080 SUPER",
      16_376,
      1_474,
      7,
      null,
      "8.9",
    ],
    ["h100-mig-590.idle.query-gpu.csv", "NVIDIA H100 80GB HBM3", 81_559, 59, null, true, "9.0"],
    ["h100-mig-590.load.query-gpu.csv", "NVIDIA H100 80GB HBM3", 81_559, 11_125, null, true, "9.0"],
    ["h200-590.idle.query-gpu.csv", "NVIDIA H200", 143_771, 0, 0, false, "9.0"],
    ["h200-590.load.query-gpu.csv", "NVIDIA H200", 143_771, 32_362, 100, false, "9.0"],
    [
      "win-rtx2080s-591.idle.query-gpu.csv",
      "NVIDIA GeForce RTX 2080 SUPER",
      8_192,
      702,
      0,
      null,
      "7.5",
    ],
    [
      "win-rtx2080s-591.load.query-gpu.csv",
      "NVIDIA GeForce RTX 2080 SUPER",
      8_192,
      1_296,
      7,
      null,
      "7.5",
    ],
  ])("%s", (file, name, total, used, utilization, isMig, computeCapability) => {
    const result = parseQuery(smiFixture(file));
    expect(result.fields.length).toBeGreaterThan(190);
    expect(result.otherLines).toEqual([]);
    expect(toReadings(result.rows)).toEqual([
      expect.objectContaining({
        index: 0,
        uuid: ZERO_UUID,
        name,
        computeCapability,
        isMig,
        memoryTotalBytes: total * MIB,
        memoryUsedBytes: used * MIB,
        utilizationPercent: utilization,
        recoveryAction: "None",
        fault: null,
      }),
    ]);
  });

  test.each([
    ["derived-rtx4080s-595.idle.query-gpu.nounits.csv", "rtx4080s-595.idle.query-gpu.csv"],
    ["derived-rtx4080s-595.load.query-gpu.nounits.csv", "rtx4080s-595.load.query-gpu.csv"],
    ["derived-h100-mig-590.idle.query-gpu.nounits.csv", "h100-mig-590.idle.query-gpu.csv"],
    ["derived-h100-mig-590.load.query-gpu.nounits.csv", "h100-mig-590.load.query-gpu.csv"],
    ["derived-h200-590.idle.query-gpu.nounits.csv", "h200-590.idle.query-gpu.csv"],
    ["derived-h200-590.load.query-gpu.nounits.csv", "h200-590.load.query-gpu.csv"],
    ["derived-win-rtx2080s-591.idle.query-gpu.nounits.csv", "win-rtx2080s-591.idle.query-gpu.csv"],
    ["derived-win-rtx2080s-591.load.query-gpu.nounits.csv", "win-rtx2080s-591.load.query-gpu.csv"],
  ])("%s, without header and units, says the same as %s", (bare, whole) => {
    const fields =
      "index, uuid, name, driver_version, memory.total, memory.used, memory.free, utilization.gpu, temperature.gpu, power.draw, power.limit, fan.speed, pstate, mig.mode.current";
    const short = only(parseQuery(smiFixture(bare), fields.split(", ")));
    const long = only(parseQuery(smiFixture(whole)));
    for (const field of ["memory.total", "memory.used", "memory.free"]) {
      expect(bytesOf(short, field)).toBe(bytesOf(long, field));
    }
    for (const field of [
      "index",
      "utilization.gpu",
      "temperature.gpu",
      "power.draw",
      "power.limit",
      "fan.speed",
    ]) {
      expect(numberOf(short, field)).toBe(numberOf(long, field));
    }
    for (const field of ["uuid", "name", "driver_version", "pstate", "mig.mode.current"]) {
      expect(textOf(short, field)).toBe(textOf(long, field));
    }
  });
});

describe("what is not known is never zero", () => {
  test.each([
    ["csv-na-2020.nounits.csv", "N/A"],
    ["csv-not-supported-2020.nounits.csv", "Not Supported"],
  ])("%s", (file, why) => {
    const header =
      "memory.total, memory.free, memory.used, temperature.gpu, fan.speed, utilization.gpu, utilization.memory";
    const row = only(parseQuery(smiFixture(file), header.split(", ")));
    expect(row.get("fan.speed")).toEqual({ kind: "unknown", why });
    expect(numberOf(row, "fan.speed")).toBeNull();
    expect(bytesOf(row, "memory.used")).toBe(0);
    expect(bytesOf(row, "memory.total")).toBe(2_004 * MIB);
  });

  test("most fields not supported", () => {
    const header = ["name", ...Array.from({ length: 11 }, (_, index) => `f${index}`)];
    const row = only(parseQuery(smiFixture("csv-gtx770-not-supported.csv"), header));
    expect(textOf(row, "name")).toBe("GeForce GTX 770");
    expect(header.filter((field) => numberOf(row, field) !== null)).toEqual(["f2", "f5"]);
    expect(numberOf(row, "f5")).toBe(52);
  });

  test("one unknown error in a row with a header, units only there, and an empty line between", () => {
    const row = only(parseQuery(smiFixture("csv-rtx2080ti-unknown-error.header.nounits.csv")));
    expect(row.get("power.default_limit")).toEqual({ kind: "unknown", why: "Unknown Error" });
    expect(numberOf(row, "power.draw")).toBe(228.82);
    expect(row.get("power.draw")).toEqual({ kind: "text", text: "228.82", unit: "W" });
  });

  test("a MIG card seen from a pod", () => {
    const row = only(
      parseQuery(smiFixture("csv-a100-mig-in-pod-insufficient-permissions.header.csv")),
    );
    expect(row.get("memory.used")).toEqual({ kind: "unknown", why: "Insufficient Permissions" });
    expect(bytesOf(row, "memory.used")).toBeNull();
    expect(numberOf(row, "temperature.gpu")).toBe(47);
  });

  test("N/A without brackets, names with spaces", () => {
    const header =
      "power.limit, power.min_limit, power.max_limit, memory.total, vbios_version, driver_version, name, uuid, power.draw, temperature.gpu, temperature.memory, clocks.gr, clocks.sm, clocks.mem, a, b, c, d, pstate";
    const row = only(parseQuery(smiFixture("csv-rtx2080-bare-na.nounits.csv"), header.split(", ")));
    expect(numberOf(row, "temperature.memory")).toBeNull();
    expect(textOf(row, "name")).toBe("GeForce RTX 2080");
    expect(numberOf(row, "vbios_version")).toBeNull();
  });

  test("a virtual GPU", () => {
    const row = only(
      parseQuery(smiFixture("csv-vgpu-h100l.nounits.csv"), [
        "clocks.max.sm",
        "memory.total",
        "name",
      ]),
    );
    expect(numberOf(row, "clocks.max.sm")).toBeNull();
    expect(bytesOf(row, "memory.total")).toBe(24_576 * MIB);
    expect(textOf(row, "name")).toBe("NVIDIA H100L-2-24C");
  });

  test("the loop mode's rows of errors have no index, so that they are no reading", () => {
    const { rows } = parseQuery(smiFixture("csv-loop-mode-unknown-error.csv"), [
      "index",
      "utilization.gpu",
      "memory.used",
    ]);
    expect(rows).toHaveLength(3);
    expect(toReadings(rows).map(({ index, memoryUsedBytes }) => [index, memoryUsedBytes])).toEqual([
      [0, 0],
    ]);
  });

  test("ERR! of the tables, which a query may print as well", () => {
    for (const [file, cell] of [
      ["table-v100-ERR-power.txt", /P0\s+(\S+) \//],
      ["table-rtx4000ada-ERR-fan.txt", /\|(\S+)\s+68C/],
    ] as const) {
      const value = cell.exec(smiFixture(file))?.[1];
      expect(value).toBe("ERR!");
      const row = only(parseQuery(`index, power.draw [W]\n1, ${value}\n`));
      expect(row.get("power.draw")).toEqual({ kind: "unknown", why: "ERR!" });
      expect(faultOf(row)).toBeNull();
    }
  });

  test("whatever a cell holds, a number is only what is written as one", () => {
    const cell = fc.oneof(
      fc.string(),
      fc.constantFrom("[N/A]", "", "ERR!", "1 MiB", "-3", "0x10", "1e5", "Infinity", "07"),
    );
    fc.assert(
      fc.property(cell, (text) => {
        const { rows } = parseQuery(`a,b\n${text.replaceAll(/[\r\n,]/g, "")},x\n`);
        for (const row of rows) {
          const number = numberOf(row, "a");
          if (number !== null) {
            expect(text.replaceAll(/[\r\n,]/g, "")).toMatch(/^\s*-?\d/);
            expect(Number.isFinite(number)).toBe(true);
          }
        }
      }),
    );
  });
});

describe("faults", () => {
  test("a card that has to be reset says so in some fields, and 0 in others", () => {
    const reading = toReadings(
      parseQuery(smiFixture("csv-h100-gpu-requires-reset.header.csv")).rows,
    )[0];
    expect(reading).toMatchObject({
      index: 0,
      fault: "needs_reset",
      temperatureC: null,
      memoryUsedBytes: 0,
    });
    const neighbour = toReadings(
      parseQuery(smiFixture("csv-h100-healthy-neighbour.header.csv")).rows,
    )[0];
    expect(neighbour).toMatchObject({
      index: 0,
      fault: null,
      utilizationPercent: 100,
      memoryUsedBytes: 80_620 * MIB,
    });
  });

  test("lost goes before a reset", () => {
    const row = only(parseQuery("index, a, b\n3, [GPU requires reset], [GPU is lost]\n"));
    expect(faultOf(row)).toBe("lost");
    expect(numberOf(row, "a")).toBeNull();
  });
});

describe("rows", () => {
  test.each([
    ["h100-mig-590.load.compute-apps.csv", 3, "./gpu_burn", 7_484 * MIB],
    ["h200-590.load.compute-apps.csv", 3, "./gpu_burn", 28_234 * MIB],
    ["rtx4080s-595.load.compute-apps.csv", 3, "ffmpeg", 360 * MIB],
    ["win-rtx2080s-591.load.compute-apps.csv", 12, undefined, null],
  ])("%s", (file, least, last, memory) => {
    const { rows, otherLines } = parseQuery(smiFixture(file));
    expect(rows.length).toBeGreaterThanOrEqual(Math.min(least, 3));
    expect(otherLines).toEqual([]);
    const row = rows.at(-1)!;
    if (last !== undefined) expect(textOf(row, "process_name")).toBe(last);
    else expect(textOf(row, "process_name")).toContain("\\bin\\ffmpeg.exe");
    expect(bytesOf(row, "used_gpu_memory")).toBe(memory);
  });

  test("commas belong to the name of a process; other surplus is no row", () => {
    const text = "pid, process_name, used_gpu_memory [MiB]\n7, /opt/a, b, c, 5 MiB\n8, x\n";
    const { rows, otherLines } = parseQuery(text);
    expect(rows.map((row) => textOf(row, "process_name"))).toEqual(["/opt/a, b, c"]);
    expect(otherLines).toEqual(["8, x"]);
    expect(parseQuery("a, b\n1, 2, 3\n").otherLines).toEqual(["1, 2, 3"]);
  });

  test("messages before the header and between rows are kept apart; order of columns does not matter", () => {
    const text =
      "Unable to determine the device handle for GPU3: x\r\nmemory.used [MiB], index\r\n5 MiB, 1\r\nWARNING: infoROM is corrupted\r\n7 MiB, 0\r\n";
    const result = parseQuery(text);
    expect(result.otherLines).toEqual([
      "Unable to determine the device handle for GPU3: x",
      "WARNING: infoROM is corrupted",
    ]);
    expect(
      toReadings(result.rows).map(({ index, memoryUsedBytes }) => [index, memoryUsedBytes]),
    ).toEqual([
      [0, 7 * MIB],
      [1, 5 * MIB],
    ]);
  });

  test("units of memory", () => {
    const row = only(parseQuery("a, b, c, d, e\n1 GiB, 2 KiB, 3, -4 MiB, 5 W\n"));
    expect(["a", "b", "c", "d", "e", "f"].map((field) => bytesOf(row, field))).toEqual([
      1024 * MIB,
      2048,
      3 * MIB,
      null,
      null,
      null,
    ]);
  });

  test("nothing without a header", () => {
    expect(parseQuery("5, 6\n")).toEqual({ fields: [], rows: [], otherLines: ["5, 6"] });
    expect(toReadings(parseQuery("name\nx\n").rows)).toEqual([]);
    expect(toReadings(parseQuery("index\n1.5\n").rows)).toEqual([]);
    expect(parseQuery("5\n", [" memory used "]).fields).toEqual(["memory used"]);
  });
});

test("the fields that a driver knows, their older names too", () => {
  const help = `List of valid properties to query for the switch "--query-gpu=":\n\n"timestamp"\nWhen the query was made.\n\n"clocks_event_reasons.active" or "clocks_throttle_reasons.active"\nBitmask, see "x".\n\n"gpu_recovery_action"\n`;
  expect([...parseQueryHelp(help)]).toEqual([
    "timestamp",
    "clocks_event_reasons.active",
    "clocks_throttle_reasons.active",
    "gpu_recovery_action",
  ]);
});
