import { describe, expect, test } from "vitest";
import {
  parseEnvironment,
  parseListeners,
  parseResident,
  portArgument,
  parseStat,
  treeOf,
} from "./proc-files.ts";

test("the port is that of the last --port of a command line, if that is one", () => {
  expect(portArgument(["python", "main.py", "--port", "1", "--port", "8188", ""])).toBe(8_188);
  expect(portArgument(["python", "--port", "x"])).toBeUndefined();
  expect(portArgument(["python", "--port"])).toBeUndefined();
  expect(portArgument(["9000", "main.py"])).toBeUndefined();
});

test("a program's name with spaces and brackets does not shift the fields", () => {
  const rest = Array.from({ length: 48 }, (_, index) => String(index + 5));
  expect(parseStat(77, `77 (a b) c) S 4 ${rest.join(" ")}`)).toEqual({
    pid: 77,
    state: "S",
    parent: 4,
    startTicks: "22",
  });
  expect(parseStat(77, "77 (short) S")).toBeUndefined();
});

test("only sockets that listen count, of both families", () => {
  const text = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    "   0: 0100007F:1FFC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0 100 0 0 10 0",
    "   1: 0100007F:1FFD 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0 20 4 30 10 -1",
    "   2: 00000000000000000000000000000000:1FFC 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4244 1 0 100 0 0 10 0",
    "garbage 0A line",
  ].join("\n");
  expect([...parseListeners(text)]).toEqual([[8188, ["4242", "4244"]]]);
});

test("variables may hold anything but a zero", () => {
  expect([...parseEnvironment("A=1\0B=x=y\0C=\0=odd\0none\0")]).toEqual([
    ["A", "1"],
    ["B", "x=y"],
    ["C", ""],
  ]);
});

describe("memory", () => {
  test("is what only the end of the process gives back: mapped models do not count", () => {
    const status =
      "VmRSS:\t 9000 kB\nRssAnon:\t 3000 kB\nRssFile:\t 5000 kB\nRssShmem:\t 1000 kB\n";
    expect(parseResident(status)).toBe(4_000 * 1024);
    expect(parseResident("VmRSS:\t 9000 kB\n")).toBe(9_000 * 1024);
    expect(parseResident("RssAnon:\t 3000 kB\n")).toBe(3_000 * 1024);
    expect(parseResident("")).toBe(0);
  });

  test("counts all that a process started, and no circle for ever", () => {
    const stat = (pid: number, parent: number): Parameters<typeof treeOf>[1][number] => ({
      pid,
      parent,
      state: "S",
      startTicks: "1",
    });
    const table = [stat(1, 0), stat(2, 1), stat(3, 2), stat(4, 2), stat(5, 1)];
    expect(treeOf(2, table).map(({ pid }) => pid)).toEqual([2, 3, 4]);
    expect(treeOf(9, table)).toEqual([]);
    expect(treeOf(7, [stat(7, 8), stat(8, 7)]).map(({ pid }) => pid)).toEqual([7, 8]);
  });
});
