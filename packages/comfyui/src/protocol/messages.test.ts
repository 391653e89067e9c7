import * as fc from "fast-check";
import { expect, test } from "vitest";
import { framesOf, readFixture, stepsOf } from "../../testing/fixtures.ts";
import { parseBinaryFrame } from "./binary-frame.ts";
import { parseSocketMessage } from "./messages.ts";

const EXCHANGES = [
  "cached",
  "duplicate-prompt-id",
  "execution-blocked",
  "execution-error-enospc",
  "execution-error-filenotfound",
  "execution-error-oom",
  "execution-error-runtime",
  "frontend-session",
  "happy-path",
  "interrupt-broadcast",
  "interrupted",
  "interrupted-uncooperative-node",
  "partial-invalid",
  "previews-legacy",
  "previews-metadata",
  "queue-pending",
  "validation-errors",
  "websocket-output-legacy",
  "websocket-output-metadata",
  "ws-sessions",
];

test.each(EXCHANGES)("every text frame of %s is understood", (name) => {
  const kinds = framesOf(name).map((frame) => parseSocketMessage(frame).kind);
  expect(kinds.length).toBeGreaterThan(0);
  expect(kinds).not.toContain("unknown");
  expect(kinds).not.toContain("unparsable");
});

test("a run is told from its start to the executing without a node", () => {
  const frames = framesOf("happy-path").map(parseSocketMessage);
  expect(frames[0]).toEqual({
    kind: "status",
    queueRemaining: 0,
    sid: "c0000000-0000-4000-8000-000000000001",
  });
  expect(frames.map(({ kind }) => kind)).toEqual([
    "status",
    "status",
    "status",
    "execution_start",
    "execution_cached",
    "progress_state",
    "executing",
    "progress_state",
    "progress_state",
    "executing",
    "executed",
    "progress_state",
    "execution_success",
    "status",
    "executing",
  ]);
  const promptId = "f36c4fdb-747f-4c89-a5df-d570eeada0c7";
  expect(frames.at(-1)).toEqual({
    kind: "executing",
    promptId,
    nodeId: undefined,
    displayNodeId: undefined,
  });
  expect(frames[8]).toEqual({
    kind: "progress_state",
    promptId,
    nodes: [
      { nodeId: "1", value: 1, max: 1, state: "finished" },
      { nodeId: "2", value: 0, max: 1, state: "running" },
    ],
  });
});

test("an OOM brings its type, message and frames; it is not a block", () => {
  const error = framesOf("execution-error-oom")
    .map(parseSocketMessage)
    .find((m) => m.kind === "execution_error");
  expect(error).toMatchObject({
    isBlocked: false,
    error: {
      exceptionType: "torch.OutOfMemoryError",
      nodeId: "5",
      nodeType: "FaultRaise",
      executedNodes: ["2", "1"],
    },
  });
  expect(error?.error.traceback).toHaveLength(5);
});

test("a blocked output is told as an error that does not end the run", () => {
  const frames = framesOf("execution-blocked").map(parseSocketMessage);
  const blocked = frames.findIndex((m) => m.kind === "execution_error");
  expect(frames[blocked]).toMatchObject({ isBlocked: true });
  expect(frames.slice(blocked).some(({ kind }) => kind === "execution_success")).toBe(true);
});

test("an interrupt names its prompt and node", () => {
  const message = framesOf("interrupted")
    .map(parseSocketMessage)
    .find((m) => m.kind === "execution_interrupted");
  expect(message).toMatchObject({
    promptId: "a0000000-0000-4000-8000-000000000001",
    nodeId: "7",
    nodeType: "FaultSleep",
    executedNodes: ["1"],
  });
});

test("types of custom nodes come through unread", () => {
  expect(parseSocketMessage('{"type":"rgthree.x","data":{"a":1}}')).toEqual({
    kind: "unknown",
    type: "rgthree.x",
    data: { a: 1 },
  });
});

test.each(["", "{", "null", "[1]", '"x"', "{}", '{"type":5}'])("%j is unparsable", (text) => {
  expect(parseSocketMessage(text).kind).toBe("unparsable");
});

test("a known type with any data at all is read without throwing", () => {
  const types = [
    "status",
    "executing",
    "executed",
    "progress",
    "progress_state",
    "execution_error",
    "execution_cached",
    "execution_interrupted",
    "feature_flags",
    "progress_text",
  ];
  fc.assert(
    fc.property(fc.constantFrom(...types), fc.jsonValue(), (type, data) => {
      expect(parseSocketMessage(JSON.stringify({ type, data })).kind).toBe(type);
    }),
  );
});

interface Binary {
  readonly event: number;
  readonly length: number;
  readonly image_type?: number;
  readonly metadata?: { prompt_id: string; node_id: string; image_type: string };
  readonly hex?: string;
}

function binariesOf(name: string): readonly Binary[] {
  return stepsOf(name).flatMap((step) =>
    step.binary?.hex === undefined ? [] : [step.binary as Binary],
  );
}

test("recorded pictures over the socket are read, with their prompt where it is told", () => {
  const frames = [
    ...binariesOf("websocket-output-legacy"),
    ...binariesOf("websocket-output-metadata"),
  ];
  const seen: string[] = [];
  for (const binary of frames) {
    const frame = parseBinaryFrame(Buffer.from(binary.hex ?? "", "hex"));
    seen.push(frame.kind);
    if (frame.kind !== "preview") continue;
    expect(frame.imageType).toBe("png");
    expect(Buffer.from(frame.image.subarray(1, 4)).toString()).toBe("PNG");
    expect(frame.promptId).toBe(binary.metadata?.prompt_id);
    expect(frame.nodeId).toBe(binary.metadata?.node_id);
  }
  expect(seen.filter((kind) => kind === "preview").length).toBeGreaterThanOrEqual(2);
  expect(seen).toContain("progress_text");
  expect(parseBinaryFrame(Buffer.from("0000000300000001346869", "hex"))).toEqual({
    kind: "progress_text",
    nodeId: "4",
    text: "hi",
  });
});

test("text outside ASCII is decoded as the platform would, wrong bytes included", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const bytes = Buffer.concat([Buffer.from("0000000300000000", "hex"), Buffer.from(text)]);
      expect(parseBinaryFrame(bytes)).toEqual({
        kind: "progress_text",
        nodeId: "",
        text: Buffer.from(text).toString(),
      });
    }),
  );
});

test("any bytes at all are read without throwing", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(0, 1, 2, 3, 4, 5),
      fc.uint8Array({ maxLength: 40 }),
      (type, rest) => {
        const frame = parseBinaryFrame(new Uint8Array([0, 0, 0, type, ...rest]));
        expect(frame.kind).toMatch(/^(preview|progress_text|unknown|unparsable)$/);
      },
    ),
  );
  expect(parseBinaryFrame(new Uint8Array([1, 2])).kind).toBe("unparsable");
});

test("the recordings are there at all", () => {
  expect(readFixture("object-info-core")).toHaveProperty("KSampler");
});
