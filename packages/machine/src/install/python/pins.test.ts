import { expect, test } from "vitest";
import { brokenPins, describePinBreak, parsePins, pinLines } from "./pins.ts";

const text = `# made by uv
Typing_Extensions==4.1.0 ; python_version < "3.12"
torch==2.9.0+cu128
uvicorn[standard]==0.30
local @ file:///x
--index-url https://x
`;

test("pins are read whatever else is in the file, and written as constraints", () => {
  const pins = parsePins(text);
  expect(pinLines(pins)).toBe("typing-extensions==4.1.0\ntorch==2.9.0+cu128\nuvicorn==0.30\n");
});

test("a package that is missing or another version is told; spelling does not matter", () => {
  const pins = parsePins(text);
  const holds = { "typing.extensions": "4.1", Torch: "2.9.0+CU128", uvicorn: "0.30.0", more: "1" };
  expect(brokenPins(pins, holds)).toEqual([]);
  const broken = brokenPins(pins, { ...holds, Torch: "2.9.0+cpu", uvicorn: "0.3" });
  expect(broken.map(describePinBreak)).toEqual([
    "torch is 2.9.0+cpu instead of 2.9.0+cu128",
    "uvicorn is 0.3 instead of 0.30",
  ]);
  expect(brokenPins(new Map([["x", "1"]]), {}).map(describePinBreak)).toEqual(["x 1 is not there"]);
});
