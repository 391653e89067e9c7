import { describe, expect, test } from "vitest";
import { smiFixture, smiRun } from "../testing/nvidia-smi-fixture.ts";
import type { SmiFailure } from "./model.ts";
import { meansNoGpu, readSmiFailures, smiFailureWords } from "./smi-failure.ts";

describe("recorded messages, on either stream and with any exit code", () => {
  test.each<[string, SmiFailure]>([
    ["err-no-driver.txt", { kind: "no_driver" }],
    ["err-no-devices.txt", { kind: "no_devices" }],
    ["err-no-libnvidia-ml.txt", { kind: "library_missing" }],
    ["err-nvml-mismatch.txt", { kind: "nvml_mismatch", library: "570.124" }],
    ["err-nvml-mismatch-old.txt", { kind: "nvml_mismatch", library: null }],
    ["err-nvml-unknown.txt", { kind: "nvml_unknown", text: "Unknown Error" }],
    ["err-gpu-is-lost.txt", { kind: "gpu_lost", index: null, busId: "0000:02:00.0" }],
    [
      "err-device-handle-unknown.txt",
      {
        kind: "device_handle",
        index: null,
        busId: "0000:03:00.0",
        text: "Unknown Error",
        othersSeen: 0,
      },
    ],
  ])("%s", (file, failure) => {
    const text = smiFixture(file);
    for (const exitCode of [0, 9, 255]) {
      expect(readSmiFailures(smiRun(text, { exitCode }), 0)).toEqual([failure]);
      expect(readSmiFailures(smiRun("", { exitCode, stderr: text }), 0)).toEqual([failure]);
    }
  });

  test("err-device-handle-one-of-eight.txt names the one, and seven are left", () => {
    const run = smiRun(smiFixture("err-device-handle-one-of-eight.txt"), { exitCode: 15 });
    expect(readSmiFailures(run, 7)).toEqual([
      {
        kind: "device_handle",
        index: 3,
        busId: "0000:04:00.0",
        text: "Unknown Error",
        othersSeen: 7,
      },
    ]);
  });
});

describe("other ends", () => {
  test("not there, too long, could not be started", () => {
    const ended = { exitCode: null, stdout: "", stderr: "" };
    expect(readSmiFailures({ ...ended, ended: "not_found" }, 0)).toEqual([{ kind: "not_found" }]);
    expect(readSmiFailures({ ...ended, ended: "timeout" }, 3)).toEqual([{ kind: "timeout" }]);
    expect(readSmiFailures({ ...ended, ended: "not_started" }, 0)).toEqual([
      { kind: "other", exitCode: null, text: "" },
    ]);
  });

  test("an exit code counts where no text says more and no card was told of", () => {
    const kinds = (exitCode: number, seen = 0): readonly string[] =>
      readSmiFailures(smiRun("", { exitCode }), seen).map(({ kind }) => kind);
    expect(kinds(9)).toEqual(["no_driver"]);
    expect(kinds(12)).toEqual(["library_missing"]);
    expect(kinds(15)).toEqual(["gpu_lost"]);
    expect(kinds(2)).toEqual(["other"]);
    expect(kinds(0)).toEqual([]);
    expect(kinds(14, 2)).toEqual([]);
  });

  test("a text that nobody knows is kept, cut", () => {
    const stdout = `Field "x" is not a valid field to query.\n${"y".repeat(1_000)}`;
    expect(readSmiFailures(smiRun(stdout, { exitCode: 2 }), 0)).toEqual([
      { kind: "other", exitCode: 2, text: stdout.slice(0, 300) },
    ]);
    const both = smiRun("out", { exitCode: 2, stderr: "error" });
    expect(readSmiFailures(both, 0)).toEqual([{ kind: "other", exitCode: 2, text: "error" }]);
  });

  test("NVML without a loaded driver is no driver", () => {
    expect(readSmiFailures(smiRun("Failed to initialize NVML: Driver Not Loaded\n"), 0)).toEqual([
      { kind: "no_driver" },
    ]);
  });

  test("several lost cards are each named", () => {
    const text =
      "Unable to determine the device handle for GPU0: 0000:01:00.0: GPU is lost.  Reboot the system to recover this GPU\n" +
      "Unable to determine the device handle for GPU 00000000:0A:00.0: Unknown Error\n";
    expect(readSmiFailures(smiRun(text), 2)).toEqual([
      { kind: "gpu_lost", index: 0, busId: "0000:01:00.0" },
      {
        kind: "device_handle",
        index: null,
        busId: "00000000:0A:00.0",
        text: "Unknown Error",
        othersSeen: 2,
      },
    ]);
  });
});

describe("in words", () => {
  const all: readonly SmiFailure[] = [
    { kind: "not_found" },
    { kind: "timeout" },
    { kind: "no_driver" },
    { kind: "no_devices" },
    { kind: "library_missing" },
    { kind: "nvml_mismatch", library: "570.124" },
    { kind: "nvml_mismatch", library: null },
    { kind: "nvml_unknown", text: "Unknown Error" },
    { kind: "gpu_lost", index: 3, busId: "0000:04:00.0" },
    { kind: "gpu_lost", index: null, busId: null },
    { kind: "device_handle", index: 3, busId: null, text: "x", othersSeen: 7 },
    { kind: "device_handle", index: null, busId: "0000:04:00.0", text: "x", othersSeen: 0 },
    { kind: "other", exitCode: 2, text: "x" },
    { kind: "other", exitCode: null, text: "" },
  ];
  test("each has a reason and a sentence of advice", () => {
    for (const failure of all) {
      const { reason, advice } = smiFailureWords(failure);
      expect(reason).not.toMatch(/null|undefined/);
      expect(advice).toMatch(/^[A-Z].*\.$/);
    }
    expect(all.map((one) => smiFailureWords(one).reason)).toMatchObject({
      5: "the loaded driver is older than its library (570.124)",
      8: "GPU 3 at 0000:04:00.0 has fallen off the bus",
      9: "a GPU has fallen off the bus",
      10: "GPU 3 gives no handle: x (7 others are told of)",
      11: "a GPU at 0000:04:00.0 gives no handle: x (no other is told of)",
      12: "nvidia-smi failed with exit code 2: x",
      13: "nvidia-smi failed",
    });
  });

  test("only some mean that there is no GPU", () => {
    expect([...new Set(all.map(({ kind }) => kind))].filter((kind) => meansNoGpu(kind))).toEqual([
      "not_found",
      "no_devices",
    ]);
  });

  test("a failure that nobody knows is a bug", () => {
    expect(() => smiFailureWords({ kind: "new" } as never)).toThrow();
  });
});
