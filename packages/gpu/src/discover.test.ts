import { describe, expect, test } from "vitest";
import { smiFixture, smiRun } from "../testing/nvidia-smi-fixture.ts";
import { discoverGpus } from "./discover.ts";
import { missingFaults } from "./gpu-faults.ts";
import type { GpuDiscovery, SmiRun } from "./model.ts";

const MIB = 1024 ** 2;
const EMPTY = smiRun("");
const HEADER =
  "index, uuid, name, pci.bus_id, memory.total [MiB], mig.mode.current, gpu_recovery_action";

interface Row {
  readonly index: number;
  readonly uuid?: string;
  readonly name?: string;
  readonly memory?: string;
  readonly mig?: string;
  readonly action?: string;
}
const query = (...rows: readonly Row[]): SmiRun =>
  smiRun(
    [
      HEADER,
      ...rows.map(
        ({
          index,
          uuid = `GPU-${index}`,
          name = "RTX",
          memory = "100 MiB",
          mig = "[N/A]",
          action = "None",
        }) => [index, uuid, name, `00000000:0${index}:00.0`, memory, mig, action].join(", "),
      ),
    ].join("\n"),
  );
const list = (...indices: readonly number[]): SmiRun =>
  smiRun(indices.map((index) => `GPU ${index}: RTX (UUID: GPU-${index})\n`).join(""));
const faults = ({
  faults: found,
}: GpuDiscovery): readonly (readonly [number | null, string, boolean])[] =>
  found.map(({ index, kind, isUsable }) => [index, kind, isUsable]);
const usable = ({ gpus }: GpuDiscovery): readonly number[] =>
  gpus.filter(({ devices }) => devices.length > 0).map(({ index }) => index);

describe("recorded machines", () => {
  test.each([
    ["rtx4080s-595", "NVIDIA GeForce RTX 4080 SUPER", 16_376, "8.9"],
    ["h200-590", "NVIDIA H200", 143_771, "9.0"],
    ["win-rtx2080s-591", "NVIDIA GeForce RTX 2080 SUPER", 8_192, "7.5"],
  ])("%s is one whole card", (machine, name, memory, computeCapability) => {
    const found = discoverGpus({
      query: smiRun(smiFixture(`${machine}.idle.query-gpu.csv`)),
      list: smiRun(smiFixture(`${machine}.list-L.txt`)),
      report: smiRun(smiFixture(`${machine}.idle.table.txt`)),
    });
    const uuid = "GPU-00000000-0000-0000-0000-000000000000";
    const gpu = { index: 0, uuid, name, memoryTotalBytes: memory * MIB };
    expect(found).toMatchObject({
      gpus: [{ index: 0, uuid, name, computeCapability, devices: [{ gpu, migIndex: null }] }],
      faults: [],
      failure: null,
      driverVersion: expect.stringMatching(/^59\d\./),
      cudaVersion: expect.stringMatching(/^13\./),
    });
  });

  test("an H100 in MIG mode is its slices; their memory is not known without a report", () => {
    const runs = {
      query: smiRun(smiFixture("h100-mig-590.idle.query-gpu.csv")),
      list: smiRun(smiFixture("h100-mig-590.list-L.txt")),
    };
    const { gpus } = discoverGpus({ ...runs, report: null });
    expect(
      gpus[0]?.devices.map(({ gpu, migIndex }) => [
        migIndex,
        gpu.name,
        gpu.uuid.slice(0, 12),
        gpu.memoryTotalBytes,
      ]),
    ).toEqual([
      [0, "NVIDIA H100 80GB HBM3 MIG 3g.40gb", "MIG-00000000", null],
      [1, "NVIDIA H100 80GB HBM3 MIG 2g.20gb", "MIG-00000001", null],
      [2, "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "MIG-00000002", null],
      [3, "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "MIG-00000003", null],
    ]);
  });

  test("the memory of slices comes from the report", () => {
    const report = smiRun(smiFixture("xml-a100-sxm4-v12.xml"));
    const uuid = /<uuid>(GPU-\S+)<\/uuid>/.exec(report.stdout)?.[1] ?? "GPU-none";
    const found = discoverGpus({
      query: query({ index: 0, uuid, mig: "Enabled" }),
      list: smiRun(
        `GPU 0: A100 (UUID: ${uuid})\n  MIG 1g.20gb     Device  0: (UUID: MIG-x)\n  MIG 1g.20gb     Device  9: (UUID: MIG-y)\n`,
      ),
      report,
    });
    expect(found.gpus[0]?.devices.map(({ gpu }) => gpu.memoryTotalBytes)).toEqual([
      19_968 * MIB,
      null,
    ]);
  });

  test("one of eight gives no handle: the others go on", () => {
    const text = smiFixture("err-device-handle-one-of-eight.txt");
    const indices = [0, 1, 2, 4, 5, 6, 7];
    const found = discoverGpus({
      query: {
        ...query(...indices.map((index) => ({ index }))),
        exitCode: 15,
        stderr: text.split("\n")[0]!,
      },
      list: { ...list(...indices), stderr: text.split("\n")[0]! },
      report: null,
    });
    expect(usable(found)).toEqual(indices);
    expect(found.failure).toBeNull();
    expect(found.faults).toEqual([
      expect.objectContaining({
        index: 3,
        kind: "no_handle",
        isUsable: false,
        reason: expect.stringContaining("GPU 3 at 0000:04:00.0 gives no handle"),
      }),
    ]);
  });

  test.each([
    ["err-no-driver.txt", "no_driver"],
    ["err-no-devices.txt", "no_devices"],
    ["err-no-libnvidia-ml.txt", "library_missing"],
    ["err-nvml-mismatch.txt", "nvml_mismatch"],
    ["err-nvml-mismatch-old.txt", "nvml_mismatch"],
    ["err-nvml-unknown.txt", "nvml_unknown"],
    ["err-gpu-is-lost.txt", "gpu_lost"],
    ["err-device-handle-unknown.txt", "device_handle"],
  ])("%s: no card, and why", (file, kind) => {
    const run = smiRun(smiFixture(file));
    expect(discoverGpus({ query: run, list: run, report: run })).toMatchObject({
      gpus: [],
      failure: { kind, reason: expect.any(String), advice: expect.stringMatching(/\.$/) },
    });
  });
});

describe("what the runs tell together", () => {
  test("nothing at all is no device", () => {
    expect(discoverGpus({ query: EMPTY, list: EMPTY, report: null })).toEqual({
      gpus: [],
      faults: [],
      failure: {
        kind: "no_devices",
        isNoGpu: true,
        reason: expect.any(String),
        advice: expect.any(String),
      },
      driverVersion: null,
      cudaVersion: null,
    });
  });

  test("a query that was cut off keeps its cards, and says so", () => {
    const cut = { ...query({ index: 0 }), ended: "timeout" as const, exitCode: null };
    const found = discoverGpus({ query: cut, list: cut, report: null });
    expect(usable(found)).toEqual([0]);
    expect(found.failure?.kind).toBe("timeout");
  });

  test("what one does not tell is taken from another: UUID, name, memory", () => {
    const fromList = discoverGpus({
      query: query({ index: 1, uuid: "[Unknown Error]", name: "[Unknown Error]" }, { index: 0 }),
      list: list(0, 1),
      report: null,
    });
    expect(fromList.gpus[1]).toMatchObject({ uuid: "GPU-1", name: "RTX" });
    const fromReport = discoverGpus({
      query: query({
        index: 0,
        uuid: "[N/A]",
        name: "[N/A]",
        memory: "[Insufficient Permissions]",
      }),
      list: EMPTY,
      report: smiRun(
        '<gpu id="00000000:00:00.0"><uuid>GPU-z</uuid><fb_memory_usage><total>7 MiB</total></fb_memory_usage></gpu>',
      ),
    });
    expect(fromReport.gpus[0]).toMatchObject({
      uuid: "GPU-z",
      name: "NVIDIA GPU",
      devices: [{ gpu: { memoryTotalBytes: 7 * MIB } }],
    });
    const unknown = discoverGpus({
      query: query({ index: 0, memory: "[N/A]" }),
      list: EMPTY,
      report: null,
    });
    expect(unknown.gpus[0]?.devices[0]?.gpu.memoryTotalBytes).toBeNull();
    const onlyListed = discoverGpus({ query: EMPTY, list: list(0), report: null });
    expect(usable(onlyListed)).toEqual([0]);
  });

  test("masked UUIDs do not lend one card's slices to another", () => {
    const card = (bus: string, slice: number): string =>
      `<gpu id="${bus}"><uuid>GPU-0</uuid><mig_devices><mig_device><index>0</index><fb_memory_usage><total>${slice} MiB</total></fb_memory_usage></mig_device></mig_devices></gpu>`;
    const mig = "  MIG 1g.5gb     Device  0: (UUID: MIG-x)\n";
    const found = discoverGpus({
      query: query({ index: 0, uuid: "GPU-0" }, { index: 1, uuid: "GPU-0" }),
      list: smiRun(`GPU 0: A (UUID: GPU-0)\n${mig}GPU 1: A (UUID: GPU-0)\n${mig}`),
      report: smiRun(card("00000000:00:00.0", 5) + card("00000000:01:00.0", 6)),
    });
    expect(found.gpus.map(({ devices }) => devices[0]?.gpu.memoryTotalBytes)).toEqual([
      5 * MIB,
      6 * MIB,
    ]);
  });

  test("a card without a UUID cannot be bound to", () => {
    const found = discoverGpus({
      query: query({ index: 0, uuid: "[N/A]" }),
      list: EMPTY,
      report: null,
    });
    expect(found.gpus).toEqual([]);
    expect(faults(found)).toEqual([[0, "no_uuid", false]]);
  });
});

describe("faults of single cards", () => {
  test.each([
    ["[GPU requires reset]", "needs_reset"],
    ["[GPU is lost]", "lost"],
  ])("%s", (memory, kind) => {
    const found = discoverGpus({
      query: query({ index: 0 }, { index: 1, memory }),
      list: list(0, 1),
      report: null,
    });
    expect(faults(found)).toEqual([[1, kind, false]]);
    expect(usable(found)).toEqual([0]);
    expect(found.gpus).toHaveLength(2);
  });

  test.each([
    ["None", []],
    ["GPU Reset", [[0, "needs_reset", false]]],
    ["Drain and Reset", [[0, "needs_reset", false]]],
    ["Node Reboot", [[0, "lost", false]]],
    ["Drain P2P", [[0, "needs_drain", true]]],
    ["Something New", [[0, "needs_drain", true]]],
    ["[N/A]", []],
  ])("the driver asks for %s", (action, expected) => {
    const found = discoverGpus({ query: query({ index: 0, action }), list: list(0), report: null });
    expect(faults(found)).toEqual(expected);
  });

  test("what the driver asks for may come from the report alone", () => {
    const report = smiRun(
      '<gpu id="b"><uuid>GPU-0</uuid><gpu_recovery_action>GPU Reset</gpu_recovery_action></gpu>',
    );
    expect(faults(discoverGpus({ query: EMPTY, list: list(0), report }))).toEqual([
      [0, "needs_reset", false],
    ]);
  });

  test("MIG mode without a slice", () => {
    const found = discoverGpus({
      query: query({ index: 0, mig: "Enabled" }),
      list: list(0),
      report: null,
    });
    expect(faults(found)).toEqual([[0, "mig_without_devices", false]]);
    expect(
      faults(
        discoverGpus({ query: query({ index: 0, mig: "Enabled" }), list: EMPTY, report: null }),
      ),
    ).toHaveLength(1);
    expect(
      usable(
        discoverGpus({ query: query({ index: 0, mig: "Disabled" }), list: list(0), report: null }),
      ),
    ).toEqual([0]);
  });
});

describe("cards that are told of no more", () => {
  const lost = (busId: string, index: number | null = null) => ({
    kind: "gpu_lost" as const,
    index,
    busId,
  });
  const kinds = (...args: Parameters<typeof missingFaults>): readonly unknown[] =>
    missingFaults(...args).map(({ index, kind }) => [index, kind]);

  test("gaps and expected ones are missing, each once", () => {
    expect(kinds([0, 2], [], [])).toEqual([[1, "missing"]]);
    expect(kinds([0, 2], [], [0, 1, 2, 3])).toEqual([
      [1, "missing"],
      [3, "missing"],
    ]);
    expect(kinds([0, 1], [], [0, 1])).toEqual([]);
    expect(kinds([], [], [0])).toEqual([[0, "missing"]]);
  });

  test("nameless failures are the absent cards when there are as many, in the order of the bus", () => {
    expect(kinds([0, 2], [lost("b1")], [])).toEqual([[1, "lost"]]);
    expect(kinds([0, 2], [lost("b1"), lost("b1")], [])).toEqual([[1, "lost"]]);
    expect(kinds([0, 3], [lost("b2"), lost("b1")], [])).toEqual([
      [2, "lost"],
      [1, "lost"],
    ]);
    // The last card leaves no gap.
    expect(kinds([0], [lost("b1")], [0, 1])).toEqual([[1, "lost"]]);
    expect(kinds([], [lost("b1")], [0])).toEqual([[0, "lost"]]);
    expect(kinds([0], [lost("b1")], [0])).toEqual([[null, "lost"]]);
    expect(kinds([0, 2], [lost("b1", 1), lost("b3")], [0, 1, 2, 3])).toEqual([
      [1, "lost"],
      [3, "lost"],
    ]);
    expect(kinds([0, 3], [lost("b1")], [])).toEqual([
      [null, "lost"],
      [1, "missing"],
      [2, "missing"],
    ]);
    expect(kinds([0, 1], [lost("b1")], [0, 1, 2])).toEqual([[2, "lost"]]);
    expect(kinds([0, 2], [lost("b1", 1)], [])).toEqual([[1, "lost"]]);
    expect(kinds([0], [{ kind: "no_driver" }, { kind: "no_driver" }], [])).toEqual([
      [null, "no_handle"],
    ]);
  });
});
