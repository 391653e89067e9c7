import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { smiFixture, smiRun } from "../../../gpu/testing/nvidia-smi-fixture.ts";
import {
  discoverGpus,
  type FoundGpu,
  type GpuDiscovery,
  type GpuFault,
  type SmiFailure,
  meansNoGpu,
  smiFailureWords,
} from "@holdfast/gpu";
import { pathText, type Finding } from "@holdfast/yaml-file";
import { parseInstanceName } from "../manifest/instance-names.ts";
import { manifestSchema, type Manifest } from "../manifest/model.ts";
import { planInstances, type InstancesPlan } from "./plan-instances.ts";

const MIB = 1024 ** 2;

function card(index: number, slices?: number): FoundGpu {
  const [uuid, name] = [`GPU-${index}`, "RTX"];
  const whole = { gpu: { index, uuid, name, memoryTotalBytes: null }, migIndex: null };
  const parts = Array.from({ length: slices ?? 0 }, (_, migIndex) => ({
    gpu: { index, uuid: `MIG-${index}-${migIndex}`, name, memoryTotalBytes: null },
    migIndex,
  }));
  return {
    index,
    uuid,
    name,
    computeCapability: null,
    devices: slices === undefined ? [whole] : parts,
  };
}
function fault(index: number | null, rest: Partial<GpuFault> = {}): GpuFault {
  const reason = `GPU ${index} has fallen off the bus`;
  return { index, uuid: null, kind: "lost", isUsable: false, reason, advice: "Reboot.", ...rest };
}
function found(gpus: readonly FoundGpu[], rest: Partial<GpuDiscovery> = {}): GpuDiscovery {
  return { gpus, faults: [], failure: null, driverVersion: null, cudaVersion: null, ...rest };
}
function failed(failure: SmiFailure): GpuDiscovery {
  return found([], {
    failure: { kind: failure.kind, isNoGpu: meansNoGpu(failure.kind), ...smiFailureWords(failure) },
  });
}
function plan(
  instances: object,
  discovery: GpuDiscovery,
  rest: { reservedPorts?: readonly number[]; hasAmdGpu?: boolean } = {},
): InstancesPlan {
  const wanted: Manifest["instances"] = manifestSchema.parse({ version: 1, instances }).instances;
  return planInstances({ wanted, found: discovery, reservedPorts: [], hasAmdGpu: false, ...rest });
}
const ports = ({ instances }: InstancesPlan): Record<string, number> =>
  Object.fromEntries(instances.map(({ name, port }) => [name, port]));
const shown = (findings: readonly Finding[]): readonly string[] =>
  findings.map(({ path, message }) => `${pathText(path)}: ${message}`);
const has = (text: string): unknown => expect.stringContaining(text);

describe("which instances there are", () => {
  test("one for each GPU, named and numbered by its index", () => {
    const made = plan({}, found([card(0), card(1), card(3)]));
    expect(ports(made)).toEqual({
      "comfyui-gpu0": 8188,
      "comfyui-gpu1": 8189,
      "comfyui-gpu3": 8191,
    });
    expect(made).toMatchObject({ problems: [], warnings: [] });
  });

  test("CPU instances follow the highest index", () => {
    expect(ports(plan({ cpu: 2, basePort: 9_000 }, found([card(0), card(2)])))).toEqual({
      "comfyui-gpu0": 9000,
      "comfyui-gpu2": 9002,
      "comfyui-cpu0": 9003,
      "comfyui-cpu1": 9004,
    });
  });

  test("`gpus: none` asks for no card, and the CPU takes their place", () => {
    const made = plan({ gpus: "none" }, found([card(0)], { faults: [fault(1)] }));
    expect(ports(made)).toEqual({ "comfyui-cpu0": 8188 });
    expect(made.warnings).toEqual([]);
    expect(plan({ gpus: "none", cpu: 0 }, found([])).instances).toEqual([]);
  });

  test("slices of a card are an instance each: the first has the card's port", () => {
    const made = plan({ cpu: 1 }, found([card(0, 3), card(1)]));
    expect(ports(made)).toEqual({
      "comfyui-gpu0-mig0": 8188,
      "comfyui-gpu1": 8189,
      "comfyui-cpu0": 8190,
      "comfyui-gpu0-mig1": 8191,
      "comfyui-gpu0-mig2": 8192,
    });
    expect(made.instances[1]).toMatchObject({ env: { CUDA_VISIBLE_DEVICES: "MIG-0-1" } });
  });

  test("a recorded H100 in MIG mode", () => {
    const discovery = discoverGpus({
      query: smiRun(smiFixture("h100-mig-590.load.query-gpu.csv")),
      list: smiRun(smiFixture("h100-mig-590.list-L.txt")),
      report: null,
    });
    const made = plan({}, discovery);
    expect(Object.keys(ports(made))).toEqual([0, 1, 2, 3].map((at) => `comfyui-gpu0-mig${at}`));
    expect(made.instances.map(({ env }) => env["CUDA_VISIBLE_DEVICES"]?.slice(0, 12))).toEqual([
      "MIG-00000000",
      "MIG-00000001",
      "MIG-00000002",
      "MIG-00000003",
    ]);
  });
});

describe("GPUs that are named", () => {
  const three = found([card(0), card(1), card(2, 2)]);
  test("by index, by UUID of a card or a slice, in any case and order", () => {
    expect(ports(plan({ gpus: ["gpu-1", 0] }, three))).toEqual({
      "comfyui-gpu0": 8188,
      "comfyui-gpu1": 8189,
    });
    expect(ports(plan({ gpus: ["MIG-2-1"] }, three))).toEqual({ "comfyui-gpu2-mig1": 8190 });
    expect(Object.keys(ports(plan({ gpus: ["GPU-2"] }, three)))).toEqual([
      "comfyui-gpu2-mig0",
      "comfyui-gpu2-mig1",
    ]);
    expect(plan({ gpus: [0] }, three).warnings).toEqual([]);
  });

  test("twice by different names is one instance, and told", () => {
    const made = plan({ gpus: [0, "GPU-0"] }, three);
    expect(Object.keys(ports(made))).toEqual(["comfyui-gpu0"]);
    expect(shown(made.warnings)).toEqual([
      "instances.gpus[1]: GPU GPU-0 is chosen by another entry as well",
    ]);
  });

  test("one that is not there is a problem that says what is", () => {
    expect(
      shown(
        plan({ gpus: [0, 7, "GPU-x"] }, found([card(0), card(2, 1)], { faults: [fault(1)] }))
          .problems,
      ),
    ).toEqual([
      "instances.gpus[1]: there is no GPU 7 here: there is GPU 0 (RTX, GPU-0); GPU 2 (RTX, GPU-2; slices MIG-2-0); GPU 1 has fallen off the bus",
      has("instances.gpus[2]: there is no GPU GPU-x here"),
    ]);
    expect(shown(plan({ gpus: [0] }, found([])).problems)).toEqual([has("there is none")]);
    expect(shown(plan({ gpus: [0] }, failed({ kind: "no_driver" })).problems)).toEqual([
      has("the NVIDIA driver is not loaded. Load it"),
    ]);
    expect(plan({ gpus: [0] }, found([])).instances).toEqual([]);
  });

  test("one that is ill is a warning, and the others go on", () => {
    const made = plan({ gpus: [0, 1] }, found([card(0)], { faults: [fault(1)] }));
    expect(ports(made)).toEqual({ "comfyui-gpu0": 8188 });
    expect(made.problems).toEqual([]);
    expect(shown(made.warnings)).toEqual([
      "instances.gpus[1]: GPU 1 has fallen off the bus; no instance is started on it. Reboot.",
    ]);
    const byUuid = plan({ gpus: ["GPU-9"] }, found([], { faults: [fault(1, { uuid: "GPU-9" })] }));
    expect(byUuid).toMatchObject({ instances: [], problems: [] });
    expect(byUuid.warnings).toHaveLength(1);
    expect(byUuid.ill).toMatchObject([{ name: "comfyui-gpu1", gpu: { uuid: "GPU-9" } }]);
  });

  test("one that works and asks for something is used, and told", () => {
    const drain = fault(0, { kind: "needs_drain", isUsable: true });
    for (const gpus of ["all", [0]]) {
      const made = plan({ gpus }, found([card(0)], { faults: [drain] }));
      expect(ports(made)).toEqual({ "comfyui-gpu0": 8188 });
      expect(shown(made.warnings)).toEqual([has("it is used all the same")]);
    }
  });
});

describe("cards that are ill", () => {
  test("a lost one leaves the others where they are", () => {
    const whole = ports(plan({ cpu: 1 }, found([card(0), card(1), card(2)])));
    const made = plan({ cpu: 1 }, found([card(0), card(1)], { faults: [fault(2)] }));
    expect(ports(made)).toEqual(
      Object.fromEntries(Object.entries(whole).filter(([name]) => name !== "comfyui-gpu2")),
    );
    expect(shown(made.warnings)).toEqual([
      has("GPU 2 has fallen off the bus; no instance is started on it"),
    ]);
  });

  test("one without an index has no name, and is a problem of the machine", () => {
    const made = plan({}, found([card(0)], { faults: [fault(null)] }));
    expect(ports(made)).toEqual({ "comfyui-gpu0": 8188 });
    expect(made).toMatchObject({ ill: [], warnings: [] });
    expect(shown(made.problems)).toEqual([
      has("has fallen off the bus; no instance stands for it, for its index is not told. Reboot."),
    ]);
    expect(plan({ gpus: [0] }, found([card(0)], { faults: [fault(null)] })).problems).toEqual([]);
  });

  test("each has its instance and its port, with the reason why that cannot run", () => {
    const reset = { ...card(1), devices: [] };
    const made = plan(
      { overrides: { "comfyui-gpu1": { flags: ["--lowvram"] } } },
      found([card(0), reset], {
        faults: [fault(1, { uuid: "GPU-1" }), fault(1, { kind: "no_handle" }), fault(2)],
      }),
    );
    expect(made.ill).toMatchObject([
      {
        name: "comfyui-gpu1",
        port: 8189,
        gpu: { index: 1, uuid: "GPU-1", name: "RTX" },
        flags: ["--lowvram"],
        cardFault: "GPU 1 has fallen off the bus. Reboot.",
      },
      { name: "comfyui-gpu2", port: 8190, gpu: { index: 2, uuid: null } },
    ]);
    expect(made.ill[1]?.env["CUDA_VISIBLE_DEVICES"]).toBe("");
    expect(made.problems).toEqual([]);
  });

  test("one that is not asked for has none, and neither has one that can be used", () => {
    const faults = [fault(1), fault(0, { kind: "needs_drain", isUsable: true })];
    expect(plan({ gpus: [0] }, found([card(0)], { faults })).ill).toEqual([]);
    expect(plan({ gpus: "none" }, found([card(0)], { faults })).ill).toEqual([]);
    expect(plan({}, found([card(0)], { faults: faults.slice(1) })).ill).toEqual([]);
  });

  test("a query that was cut off may have left some out", () => {
    const made = plan({}, { ...failed({ kind: "timeout" }), gpus: [card(0)] });
    expect(shown(made.warnings)).toEqual([
      has("there may be more GPUs: nvidia-smi did not answer in time"),
    ]);
  });
});

describe("no GPU at all", () => {
  test.each<SmiFailure>([{ kind: "not_found" }, { kind: "no_devices" }])(
    "%j: one instance on the CPU, with a warning",
    (failure) => {
      const made = plan({}, failed(failure));
      expect(ports(made)).toEqual({ "comfyui-cpu0": 8188 });
      expect(made.problems).toEqual([]);
      expect(shown(made.warnings)).toEqual([
        has(`instances.cpu: no GPU (${smiFailureWords(failure).reason})`),
      ]);
    },
  );

  test("also when nothing is known of why", () => {
    expect(shown(plan({}, found([])).warnings)).toEqual([has("no GPU (none can be used)")]);
  });

  test("with a card of AMD's the warning says what can be done", () => {
    const made = plan({}, failed({ kind: "not_found" }), { hasAmdGpu: true });
    expect(ports(made)).toEqual({ "comfyui-cpu0": 8188 });
    expect(shown(made.warnings)).toEqual([has("one of AMD's")]);
  });

  test.each<SmiFailure>([
    { kind: "no_driver" },
    { kind: "library_missing" },
    { kind: "nvml_mismatch", library: null },
    { kind: "timeout" },
    { kind: "gpu_lost", index: 0, busId: null },
  ])("%j: ill GPUs are not replaced by the CPU unasked", (failure) => {
    const made = plan({}, failed(failure));
    expect(made.instances).toEqual([]);
    expect(shown(made.problems)).toEqual([has("no GPU can be used")]);
    expect(ports(plan({ cpu: 1 }, failed(failure)))).toEqual({ "comfyui-cpu0": 8188 });
  });

  test("all cards ill is not no card", () => {
    const made = plan({}, found([], { faults: [fault(0)] }));
    expect(made.instances).toEqual([]);
    expect(made.problems).toHaveLength(1);
    const reset = { ...card(0), devices: [] };
    expect(plan({}, found([reset], { faults: [fault(0)] })).problems).toHaveLength(1);
  });

  test("`cpu: 0` is none, whatever there is", () => {
    expect(plan({ cpu: 0 }, found([]))).toEqual({
      instances: [],
      ill: [],
      problems: [],
      warnings: [],
    });
  });
});

describe("ports", () => {
  test("a GPU's is its own: a clash is a problem, and the others stay", () => {
    const made = plan({}, found([card(0), card(1)]), { reservedPorts: [8_189] });
    expect(ports(made)).toEqual({ "comfyui-gpu0": 8188 });
    expect(shown(made.problems)).toEqual([
      has("instances.basePort: comfyui-gpu1 has to listen on 8189, which is taken"),
    ]);
  });

  test("others move over what is taken, and that is told", () => {
    const made = plan({ gpus: "none", cpu: 2 }, found([]), { reservedPorts: [8_189, 8_190] });
    expect(ports(made)).toEqual({ "comfyui-cpu0": 8188, "comfyui-cpu1": 8191 });
    expect(shown(made.warnings)).toEqual([
      has("port 8189 is taken by the machine itself: comfyui-cpu1 listens on 8191"),
    ]);
  });

  test("ports end at 65535", () => {
    const made = plan({ basePort: 65_000, cpu: 1 }, found([card(535), card(536)]));
    expect(ports(made)).toEqual({ "comfyui-gpu535": 65_535 });
    expect(shown(made.problems)).toEqual([
      has("comfyui-gpu536 would listen on 65536"),
      has("comfyui-cpu0 would listen on 65537"),
    ]);
  });
});

describe("settings", () => {
  test("the general ones, in the units of the plan", () => {
    const [instance] = plan(
      {
        flags: ["--lowvram"],
        env: { A: "b" },
        threads: 4,
        vramReserveGb: 1.5,
        recycleAboveMb: 100,
        memoryLimitMb: 200,
        startTimeoutSec: 1,
        drainSec: 2,
        stopTimeoutSec: 3,
      },
      found([card(0)]),
    ).instances;
    expect(instance).toEqual({
      name: "comfyui-gpu0",
      host: "127.0.0.1",
      port: 8188,
      url: "http://127.0.0.1:8188",
      gpu: { index: 0, uuid: "GPU-0", name: "RTX", memoryTotalBytes: null },
      flags: ["--lowvram", "--reserve-vram", "1.5"],
      env: {
        A: "b",
        CUDA_DEVICE_ORDER: "PCI_BUS_ID",
        CUDA_VISIBLE_DEVICES: "GPU-0",
        OMP_NUM_THREADS: "4",
        MKL_NUM_THREADS: "4",
        OPENBLAS_NUM_THREADS: "4",
        NUMEXPR_NUM_THREADS: "4",
        TORCH_NUM_THREADS: "4",
      },
      recycleAboveBytes: 100 * MIB,
      memoryLimitBytes: 200 * MIB,
      startTimeoutMs: 1_000,
      drainMs: 2_000,
      stopTimeoutMs: 3_000,
    });
  });

  test("without any: nothing but the device", () => {
    const [instance] = plan({}, found([card(0)])).instances;
    expect(instance).toMatchObject({ flags: [], recycleAboveBytes: null, memoryLimitBytes: null });
    expect(Object.keys(instance!.env).sort()).toEqual([
      "CUDA_DEVICE_ORDER",
      "CUDA_VISIBLE_DEVICES",
    ]);
  });

  test("an instance on the CPU sees no card, and reserves no memory of one", () => {
    const [instance] = plan({ gpus: "none", vramReserveGb: 2 }, found([card(0)])).instances;
    expect(instance).toMatchObject({ gpu: null, flags: [], env: { CUDA_VISIBLE_DEVICES: "" } });
  });

  test("an instance's own go before: its arguments instead, its environment name by name", () => {
    const { instances } = plan(
      {
        flags: ["--lowvram"],
        env: { A: "general", B: "general", OMP_NUM_THREADS: "1" },
        threads: 4,
        vramReserveGb: 1,
        recycleAboveMb: 100,
        memoryLimitMb: 100,
        overrides: {
          "comfyui-gpu1": {
            flags: ["--highvram"],
            env: { B: "own" },
            threads: 8,
            vramReserveGb: 0,
            recycleAboveMb: 64,
            memoryLimitMb: 65,
          },
        },
      },
      found([card(0), card(1)]),
    );
    expect(instances[0]).toMatchObject({
      flags: ["--lowvram", "--reserve-vram", "1"],
      env: { B: "general" },
    });
    expect(instances[1]).toMatchObject({
      flags: ["--highvram", "--reserve-vram", "0"],
      env: { A: "general", B: "own", MKL_NUM_THREADS: "8", OMP_NUM_THREADS: "1" },
      recycleAboveBytes: 64 * MIB,
      memoryLimitBytes: 65 * MIB,
    });
  });

  test("the binding is not for the environment to change", () => {
    const wanted = manifestSchema.parse({
      version: 1,
      instances: { env: { CUDA_VISIBLE_DEVICES: "9" } },
    }).instances;
    const made = planInstances({
      wanted,
      found: found([card(0)]),
      reservedPorts: [],
      hasAmdGpu: false,
    });
    expect(made.instances[0]?.env["CUDA_VISIBLE_DEVICES"]).toBe("GPU-0");
  });

  test("settings for an instance that is not there are told, unless its card is only ill", () => {
    const overrides = { "comfyui-gpu1": {}, "comfyui-gpu10": {}, "comfyui-cpu0": {} };
    const made = plan({ overrides }, found([card(0)], { faults: [fault(1)] }));
    expect(shown(made.warnings).slice(1)).toEqual([
      has(
        "instances.overrides.comfyui-gpu10: there is no instance comfyui-gpu10 on this machine, and its settings are not used: there are comfyui-gpu0",
      ),
      has("instances.overrides.comfyui-cpu0"),
    ]);
    const none = plan({ gpus: "none", cpu: 0, overrides }, found([], { faults: [fault(1)] }));
    expect(shown(none.warnings)).toHaveLength(3);
    expect(shown(none.warnings)[0]).toContain("there are none");
  });

  test.each([
    ["0.0.0.0", "http://127.0.0.1:8188"],
    ["::", "http://[::1]:8188"],
    ["::1", "http://[::1]:8188"],
    ["[fd00::1]", "http://[fd00::1]:8188"],
    ["box", "http://box:8188"],
  ])("listening on %s is reached at %s", (host, url) => {
    expect(plan({ host }, found([card(0)])).instances[0]).toMatchObject({ host, url });
  });
});

test("I1, I2 and I3 hold for any machine", () => {
  const machine = fc.uniqueArray(
    fc.record({
      index: fc.nat(20),
      slices: fc.option(fc.integer({ min: 1, max: 7 }), { nil: undefined }),
      isIll: fc.boolean(),
    }),
    { selector: ({ index }) => index, maxLength: 8 },
  );
  fc.assert(
    fc.property(
      machine,
      fc.nat(4),
      fc.uniqueArray(fc.integer({ min: 8_180, max: 8_220 })),
      (cards, cpu, reserved) => {
        const all = found(cards.map(({ index, slices }) => card(index, slices)));
        const some = found(
          cards.map(({ index, slices, isIll }) =>
            isIll ? { ...card(index, slices), devices: [] } : card(index, slices),
          ),
          { faults: cards.filter(({ isIll }) => isIll).map(({ index }) => fault(index)) },
        );
        const made = plan({ cpu }, some, { reservedPorts: reserved });
        const names = made.instances.map(({ name }) => name);
        const used = made.instances.map(({ port }) => port);
        expect(new Set(names).size).toBe(names.length); // I1
        expect(new Set(used).size).toBe(used.length);
        expect(used.filter((port) => reserved.includes(port))).toEqual([]);
        const ill = cards.filter(({ isIll }) => isIll).map(({ index }) => index);
        for (const { name, port, gpu } of made.instances) {
          const parsed = parseInstanceName(name);
          expect(parsed).toBeDefined();
          if (parsed?.kind === "gpu" && parsed.migIndex === null)
            expect(port).toBe(8_188 + parsed.index); // I2
          if (gpu !== null) expect(ill).not.toContain(gpu.index); // I3
        }
        // One that is ill and asked for is somebody's to see, on the port that is its own.
        const told = made.ill.map(({ name, port }) => `${name} ${port}`);
        const own = ill.map((index) => [`comfyui-gpu${index}`, 8_188 + index] as const);
        const free = own.filter(([, port]) => !reserved.includes(port));
        expect(told.toSorted()).toEqual(free.map((one) => one.join(" ")).toSorted());
        expect(used.filter((port) => made.ill.some((one) => one.port === port))).toEqual([]);
        const healthy = ports(plan({ cpu }, all, { reservedPorts: reserved }));
        for (const [name, port] of Object.entries(ports(made))) {
          if (!/-mig[1-9]/.test(name)) expect(healthy[name]).toBe(port); // I3
        }
      },
    ),
  );
});
