import * as fc from "fast-check";
import { expect, test } from "vitest";
import { callsOf } from "../../testing/fixtures.ts";
import { parseHistoryEntry, parseHistoryList, parseQueue, type HistoryEntry } from "./history.ts";

function entriesOf(name: string): readonly HistoryEntry[] {
  return callsOf(name, "GET", "/history/").flatMap((step) => {
    const id = step.http?.path.split("/").at(-1) ?? "";
    const entry = parseHistoryEntry(step.res?.json, id);
    return entry === undefined ? [] : [entry];
  });
}

test("a success has its outputs, times and the outputs that were run", () => {
  const [entry] = entriesOf("happy-path");
  expect(entry).toMatchObject({
    promptId: "f36c4fdb-747f-4c89-a5df-d570eeada0c7",
    number: 0,
    executedOutputs: ["2"],
    outputs: { "2": { images: [{ filename: "happy_00001_.png", subfolder: "", type: "output" }] } },
    status: { kind: "success" },
    startedAt: 1795311259700,
    endedAt: 1795311259704,
    cachedNodes: [],
  });
});

test("a cached run names its cached nodes", () => {
  const cached = entriesOf("cached").at(-1);
  expect(cached?.cachedNodes.length).toBeGreaterThan(0);
  expect(cached?.status).toEqual({ kind: "success" });
});

test.each([
  ["execution-error-oom", "torch.OutOfMemoryError"],
  ["execution-error-runtime", "RuntimeError"],
  ["execution-error-filenotfound", "FileNotFoundError"],
  ["execution-error-enospc", "OSError"],
])("%s ends in an error of type %s, with its evidence", (name, type) => {
  const entry = entriesOf(name).at(-1);
  expect(entry?.status).toMatchObject({ kind: "error", error: { exceptionType: type } });
  expect(entry?.endedAt).toBeGreaterThanOrEqual(entry?.startedAt ?? Number.POSITIVE_INFINITY);
});

test("an interrupt is told apart from an error, although status_str says error for both", () => {
  const [entry] = entriesOf("interrupted");
  expect(entry?.status).toEqual({ kind: "interrupted", nodeId: "7" });
});

test("a run with a blocked output is a success", () => {
  expect(entriesOf("execution-blocked").map(({ status }) => status.kind)).toEqual(["success"]);
});

test("a partly invalid graph tells by its outputs which were dropped", () => {
  const [entry] = entriesOf("partial-invalid");
  const graph = entry?.graph as Record<string, { class_type: string }>;
  const savers = Object.keys(graph).filter((id) => graph[id]?.class_type === "SaveImage");
  expect(entry?.status.kind).toBe("success");
  expect(entry?.executedOutputs?.length).toBeLessThan(savers.length);
});

const entry = (status: unknown) =>
  parseHistoryEntry({ p: { prompt: [], outputs: {}, status } }, "p");

test.each([
  [{ status_str: "error", completed: false, messages: [] }, "error"],
  [{ status_str: "success", completed: true, messages: [] }, "success"],
  [{ status_str: "success", completed: false, messages: [["execution_start", {}]] }, "unfinished"],
  [
    {
      status_str: "success",
      completed: true,
      messages: [["execution_error", { exception_type: "graph.DependencyCycleError" }]],
    },
    "error",
  ],
  [null, "unfinished"],
])("messages are trusted before status_str: %j is %s", (status, kind) => {
  expect(entry(status)?.status.kind).toBe(kind);
});

test("no entry and a strange entry are different things", () => {
  expect(parseHistoryEntry({}, "p")).toBeUndefined();
  expect(parseHistoryEntry({ other: {} }, "p")).toBeUndefined();
  expect(parseHistoryEntry({}, "constructor")).toBeUndefined();
  expect(parseHistoryEntry({ p: 5 }, "p")).toMatchObject({
    promptId: "p",
    status: { kind: "unfinished" },
  });
});

test("any JSON at all is read without throwing", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(parseHistoryEntry({ p: value }, "p")?.promptId).toBe("p");
      expect(Array.isArray(parseHistoryList(value))).toBe(true);
      parseQueue(value);
    }),
  );
});

test("the recorded queues are read: what runs, and what waits in its order", () => {
  const queues = callsOf("queue-pending", "GET", "/queue").map((step) =>
    parseQueue(step.res?.json),
  );
  expect(queues.every((queue) => queue !== undefined)).toBe(true);
  const busy = queues.find((queue) => (queue?.pending.length ?? 0) > 1);
  expect(busy?.running.length).toBe(1);
  const numbers = busy?.pending.map(({ number }) => number ?? 0) ?? [];
  expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
  expect(busy?.running[0]?.outputs.length).toBeGreaterThan(0);
});

test("a whole history is read, the oldest entry first", () => {
  const list = parseHistoryList({
    a: { prompt: [1, "a", {}, {}, ["2"]] },
    b: { prompt: [2, "b", {}, {}, []] },
  });
  expect(list.map(({ promptId, number }) => [promptId, number])).toEqual([
    ["a", 1],
    ["b", 2],
  ]);
});
