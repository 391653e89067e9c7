import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  meansNoGpu,
  parseReport,
  smiFailureWords,
  type GpuDiscovery,
  type SmiFailure,
} from "@holdfast/gpu";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { smiFixture } from "../../../gpu/testing/nvidia-smi-fixture.ts";
import { readRocmFacts, type RocmFacts } from "./rocm-facts.ts";
import { chooseTorchBackend, type TorchChoice } from "./torch-backend.ts";

const NO_ROCM: RocmFacts = { hasKfd: false, hasRocm: false, version: null };
const AMD: RocmFacts = { hasKfd: true, hasRocm: true, version: "6.4.1" };

function found(
  versions: { readonly driver?: string; readonly cuda?: string },
  ...capabilities: readonly (string | null)[]
): GpuDiscovery {
  const cards = capabilities.length === 0 ? ["8.9"] : capabilities;
  return {
    gpus: cards.map((computeCapability, index) => ({
      index,
      uuid: `GPU-${index}`,
      name: "x",
      computeCapability,
      devices: [],
    })),
    faults: [],
    failure: null,
    driverVersion: versions.driver ?? null,
    cudaVersion: versions.cuda ?? null,
  };
}
function none(failure: SmiFailure = { kind: "not_found" }): GpuDiscovery {
  return {
    gpus: [],
    faults: [],
    failure: { kind: failure.kind, isNoGpu: meansNoGpu(failure.kind), ...smiFailureWords(failure) },
    driverVersion: null,
    cudaVersion: null,
  };
}
function choose(
  gpus: GpuDiscovery,
  rest: { wanted?: string; rocm?: RocmFacts; platform?: string } = {},
): TorchChoice {
  return chooseTorchBackend({ wanted: "auto", rocm: NO_ROCM, platform: "linux", gpus, ...rest });
}

describe("NVIDIA", () => {
  test.each([
    ["13.2", "cu130"],
    ["13.0", "cu130"],
    ["12.9", "cu128"],
    ["12.8", "cu128"],
    ["12.7", "cu126"],
    ["12.0", "cu126"],
    ["11.8", "cu118"],
    ["11.0", "cu118"],
  ])("a driver for CUDA %s takes %s", (cuda, backend) => {
    expect(choose(found({ cuda }))).toEqual({
      backend,
      reason: `the driver takes CUDA ${cuda}`,
      warning: null,
      uncertain: null,
    });
  });

  test.each([
    ["h100-mig-590.idle.table.txt", "cu130"],
    ["rtx4080s-595.version.txt", "cu130"],
    ["xml-rtx-3060-v12.xml", "cu128"],
    ["xml-a100-sxm4-v12.xml", "cu126"],
    ["xml-tesla-t4.xml", "cu118"],
  ])("%s takes %s", (file, backend) => {
    const { driverVersion, cudaVersion } = parseReport(smiFixture(file));
    const gpus = found({ driver: driverVersion ?? "", cuda: cudaVersion ?? "" });
    expect(choose(gpus).backend).toBe(backend);
  });

  test("a driver too old for all of them", () => {
    expect(choose(found({ cuda: "10.2" }))).toMatchObject({
      backend: "cpu",
      warning: expect.stringContaining("too old"),
    });
    expect(choose(found({ driver: "390.157" }))).toMatchObject({
      backend: "cpu",
      warning: expect.stringContaining("too old"),
    });
  });

  test.each([
    ["595.71.05", "cu130"],
    ["570.124.04", "cu128"],
    ["560.35", "cu126"],
    ["535.54.03", "cu126"],
    ["515.105.01", "cu118"],
  ])("without a CUDA version driver %s takes %s", (driver, backend) => {
    expect(choose(found({ driver }))).toMatchObject({
      backend,
      reason: `driver ${driver}`,
      warning: null,
    });
  });

  test("nothing to go by", () => {
    expect(choose(found({}))).toEqual({
      backend: "cpu",
      reason: "driver unknown",
      warning: expect.stringContaining("choose `torch.backend` yourself"),
      uncertain: null,
    });
  });

  test("cards before Turing need an older build, which a Blackwell one cannot take", () => {
    expect(choose(found({ cuda: "13.0" }, "6.1", "8.9"))).toEqual({
      backend: "cu126",
      reason: "the driver takes CUDA 13.0; later builds have no code for cards before Turing",
      warning: null,
      uncertain: null,
    });
    expect(choose(found({ cuda: "11.8" }, "6.1")).backend).toBe("cu118");
    expect(choose(found({ cuda: "13.0" }, "7.5", null)).backend).toBe("cu130");
    expect(choose(found({ cuda: "13.0" }, "12.0")).backend).toBe("cu130");
    expect(choose(found({ cuda: "13.0" }, "12.0", "6.1"))).toMatchObject({
      backend: "cu130",
      warning: expect.stringContaining("beside a Blackwell"),
    });
  });
});

describe("AMD", () => {
  test.each([
    [AMD, "rocm6.4"],
    [{ ...AMD, version: "7.1.0" }, "rocm7.0"],
    [{ ...AMD, version: "6.2" }, "rocm6.2"],
    [{ hasKfd: true, hasRocm: false, version: null }, "rocm6.4"],
  ])("%j takes %s", (rocm, backend) => {
    expect(choose(none(), { rocm })).toMatchObject({ backend, warning: null });
  });

  test("an old ROCm is told", () => {
    expect(choose(none(), { rocm: { ...AMD, version: "5.7.1" } })).toMatchObject({
      backend: "rocm6.2",
      warning: expect.stringContaining("5.7.1 is older"),
    });
  });

  test("files without the kernel's driver are no GPU", () => {
    expect(choose(none(), { rocm: { ...AMD, hasKfd: false } })).toMatchObject({
      backend: "cpu",
      warning: expect.stringContaining("/dev/kfd is not there"),
    });
  });

  test("/dev/kfd on another system than Linux needs ROCm as well; an NVIDIA card goes first", () => {
    const rocm = { hasKfd: true, hasRocm: false, version: null };
    expect(choose(none(), { rocm, platform: "win32" }).backend).toBe("cpu");
    expect(choose(none(), { rocm: AMD, platform: "win32" }).backend).toBe("rocm6.4");
    expect(choose(found({ cuda: "12.8" }), { rocm: AMD }).backend).toBe("cu128");
  });

  test("the facts are read from the disk", async () => {
    expect(await readRocmFacts(folder)).toEqual(NO_ROCM);
    await mkdir(join(folder, "dev"));
    await writeFile(join(folder, "dev/kfd"), "");
    await mkdir(join(folder, "usr/bin"), { recursive: true });
    await writeFile(join(folder, "usr/bin/rocminfo"), "");
    expect(await readRocmFacts(folder)).toEqual({ hasKfd: true, hasRocm: true, version: null });
    await mkdir(join(folder, "opt/rocm/.info"), { recursive: true });
    await writeFile(join(folder, "opt/rocm/.info/version"), "6.4.1-83\n");
    expect(await readRocmFacts(folder)).toEqual(AMD);
    await writeFile(join(folder, "opt/rocm/.info/version"), "unknown\n");
    expect(await readRocmFacts(folder)).toMatchObject({ version: null });
    expect(typeof (await readRocmFacts()).hasKfd).toBe("boolean");
  });

  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "holdfast-rocm-"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
});

describe("no GPU", () => {
  test("is CPU, and says why", () => {
    expect(choose(none())).toEqual({
      backend: "cpu",
      reason: "there is no nvidia-smi: no NVIDIA driver is installed",
      warning: null,
      uncertain: null,
    });
    expect(choose({ ...none(), failure: null })).toMatchObject({
      backend: "cpu",
      reason: "no GPU was found",
    });
    expect(choose(found({ cuda: "13.0" }), { platform: "darwin" })).toMatchObject({
      backend: "cpu",
      reason: expect.stringContaining("Metal"),
    });
  });

  test.each<SmiFailure>([
    { kind: "nvml_mismatch", library: null },
    { kind: "timeout" },
    { kind: "no_driver" },
  ])("a GPU that is ill is not taken for none: %j", (failure) => {
    expect(choose(none(failure))).toMatchObject({
      backend: "cpu",
      warning: expect.stringContaining("there seems to be a GPU"),
      uncertain: { reason: smiFailureWords(failure).reason, isUsable: false },
    });
    // A card of AMD's beside it may be the one in the processor.
    expect(choose(none(failure), { rocm: AMD }).uncertain).toMatchObject({ isUsable: false });
  });

  test("what was chosen for some of the cards may be used, and is not certain", () => {
    const failure = none({ kind: "timeout" }).failure;
    expect(choose({ ...found({ cuda: "12.8" }), failure })).toMatchObject({
      backend: "cu128",
      uncertain: { isUsable: true },
    });
    expect(choose({ ...found({}), failure })).toMatchObject({ uncertain: { isUsable: false } });
    expect(choose(none({ kind: "timeout" }), { platform: "darwin" }).uncertain).toBeNull();
  });
});

describe("what somebody chose is kept", () => {
  const kept = (wanted: string, gpus: GpuDiscovery, rocm = NO_ROCM): string | null => {
    const choice = choose(gpus, { wanted, rocm });
    expect(choice).toMatchObject({ backend: wanted, reason: "the manifest says so" });
    return choice.warning;
  };

  test("without a word where it fits", () => {
    expect(kept("cu128", found({ cuda: "12.8" }))).toBeNull();
    expect(kept("cu118", found({ cuda: "12.8" }))).toBeNull();
    expect(kept("cu129", found({ cuda: "12.4" }))).toBeNull();
    expect(kept("cu130", found({}))).toBeNull();
    expect(kept("cu126", found({ driver: "570.1" }))).toBeNull();
    expect(kept("rocm6.2", none(), AMD)).toBeNull();
    expect(kept("none", found({ cuda: "12.8" }))).toBeNull();
    expect(kept("cpu", none())).toBeNull();
    expect(kept("cpu", none({ kind: "timeout" }))).toBeNull();
  });

  test("with a warning where it probably does not", () => {
    expect(kept("cu130", found({ cuda: "12.8" }))).toContain("needs a driver for CUDA 13");
    expect(kept("cu126", none())).toContain("needs an NVIDIA GPU: there is no nvidia-smi");
    expect(kept("cu126", { ...none(), failure: null })).toContain("none was found");
    expect(kept("rocm6.2", none())).toContain("/dev/kfd is not there");
    expect(kept("cpu", found({ cuda: "12.8" }))).toContain("a GPU could be used with cu128");
  });
});
