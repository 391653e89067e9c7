import { expect, test } from "vitest";
import { nearNames } from "./near-names.ts";

test("a part of a name, other letters and a mistyped one are near, the best first", () => {
  const known = ["NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3090", "NVIDIA L40S", "NVIDIA L4"];
  expect(nearNames("rtx 4090", known, 2)).toEqual([
    "NVIDIA GeForce RTX 4090",
    "NVIDIA GeForce RTX 3090",
  ]);
  expect(nearNames("nvidia_l40s", known, 1)).toEqual(["NVIDIA L40S"]);
  expect(nearNames("gpu_type", ["gpuTypes", "image"], 3)).toEqual(["gpuTypes"]);
});

test("what has nothing in common is not proposed", () => {
  expect(nearNames("zzz", ["NVIDIA L4"], 3)).toEqual([]);
  expect(nearNames("", ["NVIDIA L4", ""], 3)).toEqual([]);
});
