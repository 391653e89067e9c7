import { parseBinaryFrame, parseSocketMessage } from "@holdfast/comfyui/protocol";
import type { TraceEvent } from "@holdfast/load";
import { expect, it } from "vitest";
import { traceEventOf } from "./socket-trace.ts";

const of = (type: string, data: object): TraceEvent | null =>
  traceEventOf({ kind: "message", message: parseSocketMessage(JSON.stringify({ type, data })) });
const PROMPT = { prompt_id: "p" };
const FAILED = {
  ...PROMPT,
  node_id: "3",
  node_type: "KSampler",
  executed: [],
  exception_message: "no memory",
  exception_type: "torch.OutOfMemoryError",
  traceback: [],
};

it.each<[string, object, TraceEvent | null]>([
  ["execution_start", PROMPT, { kind: "execution_start" }],
  ["execution_cached", { ...PROMPT, nodes: ["4"] }, { kind: "execution_cached", nodes: ["4"] }],
  ["executing", { ...PROMPT, node: "3" }, { kind: "executing", nodeId: "3" }],
  ["executing", { ...PROMPT, node: null }, { kind: "executing", nodeId: undefined }],
  [
    "progress",
    { ...PROMPT, node: "3", value: 2, max: 20 },
    { kind: "progress", nodeId: "3", value: 2 },
  ],
  ["progress_state", { ...PROMPT, nodes: {} }, { kind: "sign" }],
  ["executed", { ...PROMPT, node: "9", output: {} }, { kind: "sign" }],
  ["execution_success", PROMPT, { kind: "ended" }],
  ["execution_interrupted", { ...PROMPT, node_id: "3", executed: [] }, { kind: "ended" }],
  ["execution_error", FAILED, { kind: "ended" }],
  ["status", { status: { exec_info: { queue_remaining: 1 } } }, null],
  ["crystools.monitor", { cpu: 3 }, null],
])("%s %o is what it says of the run", (type, data, event) => {
  expect(of(type, data)).toEqual(event);
});

it("only a socket that closed hides something of a run", () => {
  const state = (is: "open" | "connecting" | "closed") =>
    traceEventOf({ kind: "state", state: is, reason: "" });
  expect([state("connecting"), state("open")]).toEqual([null, null]);
  expect(state("closed")).toEqual({ kind: "socket_away" });
});

it("a preview is a sign of life", () => {
  const frame = parseBinaryFrame(Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 1, 0xff));
  expect(traceEventOf({ kind: "binary", frame })).toEqual({ kind: "sign" });
});
