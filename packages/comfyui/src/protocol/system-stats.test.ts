import { expect, test } from "vitest";
import { parseSystemStats } from "./system-stats.ts";

const withMemory = (vram_total: unknown, vram_free: unknown) =>
  parseSystemStats({
    system: {},
    devices: [{ name: "cuda:0", type: "cuda", vram_total, vram_free }],
  })?.devices[0];

test("memory is whole bytes, or unknown", () => {
  expect(withMemory(25_769_803_776, 1_024.6)).toMatchObject({
    vramTotalBytes: 25_769_803_776,
    vramFreeBytes: 1_025,
  });
  expect(withMemory(-1, 1e300)).toMatchObject({
    vramTotalBytes: undefined,
    vramFreeBytes: undefined,
  });
  expect(withMemory("24 GB", null)).toMatchObject({
    vramTotalBytes: undefined,
    vramFreeBytes: undefined,
  });
});

test("what is no answer of /system_stats gives nothing", () => {
  expect(parseSystemStats({ devices: [] })).toBeUndefined();
  expect(parseSystemStats("ComfyUI")).toBeUndefined();
});
