import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { SMI_FIXTURES, smiFixture } from "../testing/nvidia-smi-fixture.ts";
import { parseList } from "./parse-list.ts";
import { parseReport } from "./parse-report.ts";

const MIB = 1024 ** 2;

describe("the list", () => {
  test.each([
    ["h200-590.list-L.txt", "NVIDIA H200"],
    ["rtx4080s-595.list-L.txt", "NVIDIA GeForce RTX 4080 SUPER"],
    ["win-rtx2080s-591.list-L.txt", "NVIDIA GeForce RTX 2080 SUPER"],
  ])("%s", (file, name) => {
    const uuid = "GPU-00000000-0000-0000-0000-000000000000";
    expect(parseList(smiFixture(file))).toEqual([{ index: 0, name, uuid, migDevices: [] }]);
  });

  test("h100-mig-590.list-L.txt: MIG devices under their card, each with a UUID of its own", () => {
    expect(parseList(smiFixture("h100-mig-590.list-L.txt"))).toEqual([
      {
        index: 0,
        name: "NVIDIA H100 80GB HBM3",
        uuid: "GPU-00000000-0000-0000-0000-000000000000",
        migDevices: [
          { index: 0, profile: "3g.40gb", uuid: "MIG-00000000-0000-0000-0000-000000000000" },
          { index: 1, profile: "2g.20gb", uuid: "MIG-00000001-0000-0000-0000-000000000001" },
          { index: 2, profile: "1g.10gb", uuid: "MIG-00000002-0000-0000-0000-000000000002" },
          { index: 3, profile: "1g.10gb", uuid: "MIG-00000003-0000-0000-0000-000000000003" },
        ],
      },
    ]);
  });

  test("several cards, older MIG UUIDs, lines that are no device, a slice without a card", () => {
    const text = `  MIG 1g.5gb     Device  0: (UUID: MIG-stray)
Unable to determine the device handle for GPU1: x
GPU 0: A (B) (UUID: GPU-a)\r
  MIG 1g.5gb     Device  0: (UUID: MIG-GPU-a/7/0)\r
GPU 2: C (UUID: GPU-c)
`;
    expect(parseList(text)).toEqual([
      {
        index: 0,
        name: "A (B)",
        uuid: "GPU-a",
        migDevices: [{ index: 0, profile: "1g.5gb", uuid: "MIG-GPU-a/7/0" }],
      },
      { index: 2, name: "C", uuid: "GPU-c", migDevices: [] },
    ]);
  });
});

describe("versions, from any report", () => {
  test.each([
    ["h100-mig-590.idle.table.txt", "590.48.01", "13.1"],
    ["h200-590.idle.table.txt", "590.48.01", "13.1"],
    ["rtx4080s-595.idle.table.txt", "595.71.05", "13.2"],
    ["win-rtx2080s-591.idle.table.txt", "591.86", "13.1"],
    ["rtx4080s-595.version.txt", "595.71.05", "13.2"],
    ["h100-mig-590.load.q.txt", "590.48.01", "13.1"],
    ["xml-a100-sxm4-v12.xml", "535.54.03", "12.2"],
    ["xml-rtx-3060-v12.xml", "570.124.04", "12.8"],
    ["xml-rtx-3080-v13.xml", "595.58.03", "13.2"],
    ["xml-rtx-4000-sff-ada-v13.xml", "595.84", "13.2"],
    ["xml-tesla-t4.xml", "515.105.01", "11.7"],
    ["xml-gtx-1070-ti.xml", null, null],
    ["table-v100-ERR-power.txt", null, null],
    ["table-rtx4000ada-ERR-fan.txt", null, null],
  ])("%s", (file, driverVersion, cudaVersion) => {
    expect(parseReport(smiFixture(file))).toMatchObject({ driverVersion, cudaVersion });
  });
});

describe("cards, from XML", () => {
  test.each([
    [
      "xml-rtx-3060-v12.xml",
      "00000000:2D:00.0",
      "GPU-d6889ff6-2523-9142-ca3c-1ca3f396a625",
      12_288,
      "None",
    ],
    [
      "xml-rtx-3080-v13.xml",
      "00000000:0C:00.0",
      "GPU-19d6d965-2acc-f646-00f8-4c76979aabb4",
      10_240,
      "None",
    ],
    [
      "xml-rtx-4000-sff-ada-v13.xml",
      "00000000:06:00.0",
      "GPU-37037c3f-65c8-ec4d-24a9-420204ad8026",
      20_475,
      "None",
    ],
    [
      "xml-tesla-t4.xml",
      "00000000:00:1E.0",
      "GPU-d37e67a5-91dd-3774-a5cb-99096249601a",
      15_360,
      null,
    ],
    [
      "xml-gtx-1070-ti.xml",
      "00000000:01:00.0",
      "GPU-f9ba66fc-a7f5-94c5-da19-019ef2f9c665",
      4_096,
      null,
    ],
  ])("%s", (file, busId, uuid, memory, recoveryAction) => {
    expect(parseReport(smiFixture(file)).gpus).toEqual([
      {
        busId,
        uuid,
        name: expect.any(String),
        memoryTotalBytes: memory * MIB,
        recoveryAction,
        migDevices: [],
      },
    ]);
  });

  test("an A100 in slices: the card's memory is its own, the slices' are theirs", () => {
    const gpus = parseReport(smiFixture("xml-a100-sxm4-v12.xml")).gpus;
    expect(gpus).toHaveLength(1);
    const [card] = gpus;
    expect(card).toMatchObject({ name: "NVIDIA A100-SXM4-80GB", memoryTotalBytes: 81_920 * MIB });
    expect(card?.migDevices.length).toBeGreaterThan(1);
    for (const [at, device] of card!.migDevices.entries()) {
      expect(device).toEqual({ index: at, memoryTotalBytes: 19_968 * MIB });
    }
  });

  test("what does not look so is not known", () => {
    const text = `<gpu id="x"><uuid>[Unknown Error]</uuid><fb_memory_usage><total>N/A</total></fb_memory_usage>
<mig_devices><mig_device><fb_memory_usage/></mig_device><mig_device><index>a</index></mig_device></mig_devices></gpu>`;
    expect(parseReport(text).gpus).toEqual([
      {
        busId: "x",
        uuid: null,
        name: null,
        memoryTotalBytes: null,
        recoveryAction: null,
        migDevices: [],
      },
    ]);
    expect(parseReport("")).toEqual({ driverVersion: null, cudaVersion: null, gpus: [] });
  });
});

test("every recording is used by a test of this folder", () => {
  const folder = fileURLToPath(new URL(".", import.meta.url));
  const tests = readdirSync(folder)
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => readFileSync(`${folder}/${name}`, "utf8"))
    .join("\n");
  const recordings = readdirSync(SMI_FIXTURES).filter((name) => name !== "README.md");
  expect(recordings.length).toBeGreaterThanOrEqual(57);
  expect(
    recordings.filter(
      (name) =>
        !tests.includes(`${name}"`) && !tests.includes(`${name}:`) && !tests.includes(`${name} `),
    ),
  ).toEqual([]);
});
