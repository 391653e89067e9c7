import { expect, test } from "vitest";
import { decideOrphan, decidePortOwner, orphansAmong } from "./orphans.ts";
import type { MarkedProcess } from "./process-table.ts";

const marks = {
  HOLDFAST_SPEC: "d1",
  HOLDFAST_MACHINE: "/m",
  HOLDFAST_PROCESS: "comfyui-gpu0",
  HOLDFAST_STOP_MS: "5",
};
const marked = (pid: number, isMain = true): MarkedProcess => ({
  pid,
  parentPid: 1,
  groupPid: pid,
  state: "S",
  startTicks: 1,
  marks,
  isMain,
});

test("an orphan was started as such, and PM2 does not know it", () => {
  const all = [marked(1), marked(2), marked(3, false)];
  expect(orphansAmong(all, new Set([1])).map((one) => one.pid)).toEqual([2]);
});

test("an orphan that is what should run is adopted, any other is ended, with the reason", () => {
  const orphan = { name: "comfyui-gpu0", digest: "d1" };
  expect(decideOrphan(orphan, new Map([["comfyui-gpu0", "d1"]])).kind).toBe("adopt");
  expect(decideOrphan(orphan, new Map([["comfyui-gpu0", "d2"]]))).toEqual({
    kind: "end",
    reason: "comfyui-gpu0 was started from an older configuration",
  });
  expect(decideOrphan(orphan, new Map())).toEqual({
    kind: "end",
    reason: "comfyui-gpu0 is not wanted on this machine any more",
  });
});

test("a port's owner: ours by the marks, of another machine, a stranger, or unseen", () => {
  const holder = { pid: 7, command: "python main.py" };
  const facts = { port: 8188, machine: "/m", holder, marks };
  expect(decidePortOwner(facts)).toEqual({
    kind: "ours",
    name: "comfyui-gpu0",
    digest: "d1",
    pid: 7,
  });
  expect(decidePortOwner({ ...facts, machine: "/other" })).toMatchObject({
    kind: "stranger",
    pid: 7,
    words:
      "port 8188 is held by process 7 (python main.py), which belongs to the Holdfast machine in /m: " +
      "end it, or give this instance another port",
  });
  expect(decidePortOwner({ ...facts, marks: undefined })).toMatchObject({
    kind: "stranger",
    command: "python main.py",
  });
  expect(decidePortOwner({ ...facts, holder: undefined, marks: undefined })).toMatchObject({
    kind: "stranger",
    pid: null,
    command: null,
    words: expect.stringContaining("held by another process") as string,
  });
});
