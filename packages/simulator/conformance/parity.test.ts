import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { normalise } from "./normalise.ts";
import {
  ask,
  flatGraph,
  REAL_URL,
  realTarget,
  startSimulated,
  untilEnded,
  type Answer,
  type PostedJson,
  type Target,
} from "./target.ts";

/** A body for `POST /prompt`, text or JSON. */
type Body = string | Readonly<Record<string, unknown>>;

/** A new one for each run, so that neither side has it cached; the same for both. */
const PREFIX = `parity-${randomUUID().slice(0, 8)}`;
const COLOR = Math.floor(Math.random() * 0xffffff);

/** The flat graph with one input of one node set; `undefined` leaves it out. */
function graphWith(node: string, name: string, value: unknown): PostedJson {
  const graph = flatGraph(COLOR, PREFIX);
  const inputs = { ...graph[node]?.inputs, [name]: value };
  return { ...graph, [node]: { class_type: graph[node]?.class_type ?? "", inputs } };
}

function saved(images: unknown): unknown {
  return { class_type: "SaveImage", inputs: { images, filename_prefix: PREFIX } };
}

function scaled(inputs: object): unknown {
  const usual = { image: ["1", 0], upscale_method: "lanczos", width: 8, height: 8 };
  return { class_type: "ImageScale", inputs: { ...usual, crop: "disabled", ...inputs } };
}

function nodeCases(): readonly (readonly [string, Body])[] {
  const graph = flatGraph(COLOR, PREFIX);
  const [source, save] = [graph["1"], graph["2"]];
  const first = (class_type: unknown, inputs: unknown = source?.inputs): unknown => ({
    ...graph,
    "1": { class_type, inputs },
  });
  const nodes: Readonly<Record<string, unknown>> = {
    "no inputs": { ...graph, "1": { class_type: "EmptyImage" } },
    "inputs null": first("EmptyImage", null),
    "inputs a number": first("EmptyImage", 5),
    "inputs a list": first("EmptyImage", []),
    "inputs a text": first("EmptyImage", "abc"),
    "no class": { ...graph, "1": { inputs: {} } },
    "class null": first(null),
    "class a number": first(5),
    "class empty": first(""),
    "class a list": first([]),
    "class an object": first({}),
    "class unknown": first("NoSuchClass"),
    "a node that is a number": { ...graph, "9": 5 },
    "a node that is null": { ...graph, "9": null },
    "a node that is a list": { ...graph, "9": [] },
    "a node that is a text": { ...graph, "9": "class" },
    "a node that is a text with class_type in it": { ...graph, "9": "class_type" },
    "no output": { "1": source },
    "two outputs": { ...graph, "3": save },
    "names for ids": { a: source, "b:1": saved(["a", 0]), ü: saved(["a", 0]) },
    "an undeclared input": graphWith("1", "more", 5),
    "an unknown class beside the outputs": { ...graph, "9": { class_type: "No", inputs: {} } },
    "a wrong choice": { ...graph, "2": saved(["3", 0]), "3": scaled({ crop: "no" }) },
    "a wrong choice in a long list": {
      "1": { class_type: "KSamplerSelect", inputs: { sampler_name: "no" } },
      "2": { class_type: "PreviewAny", inputs: { source: ["1", 0] } },
    },
    "a link into a choice": { ...graph, "2": saved(["3", 0]), "3": scaled({ crop: ["1", 0] }) },
    "three things wrong": {
      ...graph,
      "2": saved(["3", 0]),
      "3": scaled({ crop: "no", width: -1, height: "x" }),
    },
    "one bad node under two outputs": {
      "1": { class_type: "EmptyImage", inputs: { width: 0 } },
      "2": saved(["1", 0]),
      "3": saved(["1", 0]),
    },
    "a bad and a good output": { ...graph, "3": saved(["1", 5]) },
    "a missing file": {
      "1": { class_type: "LoadImage", inputs: { image: "no.png" } },
      "2": saved(["1", 0]),
    },
    "a file outside": {
      "1": { class_type: "LoadImage", inputs: { image: "../no.png" } },
      "2": saved(["1", 0]),
    },
    "a newer class, wrong choice": {
      ...graph,
      "3": { class_type: "CreateVideo", inputs: { images: ["1", 0], fps: 8 } },
      "4": {
        class_type: "SaveVideo",
        inputs: { video: ["3", 0], filename_prefix: "v", format: "avi", codec: "auto" },
      },
    },
    "a newer class, link into a choice": {
      ...graph,
      "3": { class_type: "CreateVideo", inputs: { images: ["1", 0], fps: 500 } },
      "4": {
        class_type: "SaveVideo",
        inputs: { video: ["3", 0], filename_prefix: "v", format: ["1", 0], codec: "auto" },
      },
    },
  };
  return Object.entries(nodes).map(([what, prompt]) => [what, { prompt }]);
}

const WIDTHS: readonly unknown[] = [
  0,
  -1,
  16,
  16_385,
  16.7,
  1e30,
  "16",
  " 16 ",
  "1_6",
  "abc",
  "16.5",
  "",
  true,
  false,
  null,
  {},
  { __value__: 32 },
  { __value__: [1] },
  [],
  ["1"],
  ["1", 0, 0],
  ["1", 0],
  ["1", "0"],
  ["9", 0],
  [1, 0],
  ["1", 5],
  ["1", -1],
  ["1", null],
  ["1", true],
  ["1", 0.5],
];
const PREFIXES: readonly unknown[] = [
  0,
  "x",
  null,
  ["1", 0],
  ["2", 0],
  true,
  "a/b",
  "a\\b",
  "%date%",
  "%width%x%height%",
  "",
  5,
  1.5,
  { a: 1 },
  "a:b",
  "ü",
  "a//b",
  "./a",
  "a/../b",
  "a/",
  " ",
];
const IMAGES: readonly unknown[] = ["no", null, 5, true];
const BODIES: readonly string[] = [
  "{",
  "",
  "[]",
  "null",
  "5",
  "true",
  '"prompt"',
  '"x"',
  "{}",
  '["prompt"]',
  '[{"prompt":1}]',
  '{"prompt":null}',
  '{"prompt":5}',
  '{"prompt":{}}',
  '{"prompt":[]}',
  '{"prompt":""}',
  '{"prompt":true}',
  '{"prompt":[1]}',
  '{"prompt":"x"}',
];
/** Members beside the graph. What ends the worker of a real one is not among them. */
const MEMBERS: readonly (readonly [string, unknown])[] = [
  ...[5, null, "", ["a"], { a: 1 }].map((value) => ["prompt_id", value] as const),
  ...["x", "5", null, [1], true, -3.5].map((value) => ["number", value] as const),
  ...[true, 0, "no"].map((value) => ["front", value] as const),
  ...[{ a: 1 }, [], "x"].map((value) => ["extra_data", value] as const),
  ...[null, 5].map((value) => ["client_id", value] as const),
  ...[["2"], ["9"], [], "2", null, 5].map((value) => ["partial_execution_targets", value] as const),
];

function show(value: unknown): string {
  return JSON.stringify(value);
}

function allCases(): readonly (readonly [string, Body])[] {
  const prompt = flatGraph(COLOR, PREFIX);
  return [
    ...WIDTHS.map(
      (value) => [`width ${show(value)}`, { prompt: graphWith("1", "width", value) }] as const,
    ),
    ...PREFIXES.map(
      (value) =>
        [`prefix ${show(value)}`, { prompt: graphWith("2", "filename_prefix", value) }] as const,
    ),
    ...IMAGES.map(
      (value) => [`images ${show(value)}`, { prompt: graphWith("2", "images", value) }] as const,
    ),
    ...nodeCases(),
    ...BODIES.map((body) => [`body ${body}`, body] as const),
    ...MEMBERS.map(([key, value]) => [`${key} ${show(value)}`, { prompt, [key]: value }] as const),
    ["extra_data null and a client", { prompt, extra_data: null, client_id: "parity" }],
  ];
}

/** Other requests that change nothing. */
const REQUESTS: readonly (readonly [string, string, unknown?])[] = [
  ["GET", "/history/no-such-id"],
  ["GET", "/history?max_items=0"],
  ["GET", "/history?max_items=x"],
  ["GET", "/object_info/NoSuchClass"],
  ["GET", "/view"],
  ["GET", "/view?filename="],
  ["GET", "/view?filename=no.png"],
  ["GET", "/view?filename=no.png&type=none"],
  ["GET", "/view?filename=no.png&subfolder=../x"],
  ["GET", "/view?filename=/etc/passwd"],
  ["GET", "/no-such-path"],
  ["GET", "/models/nothing"],
  ["PUT", "/prompt", {}],
  ["POST", "/queue", {}],
  ["POST", "/queue", { delete: ["no-such-id"] }],
  ["POST", "/history", { delete: ["no-such-id"] }],
  ["POST", "/interrupt", { prompt_id: "no-such-id" }],
  ["POST", "/free", {}],
  ["POST", "/upload/image", {}],
];

if (REAL_URL === undefined) {
  console.warn("conformance: HOLDFAST_TEST_COMFYUI_URL is not set, answers are not compared");
}

/** The same requests to both, and the same answers from both. */
describe.skipIf(REAL_URL === undefined)("the simulator answers as a real ComfyUI does", () => {
  let simulated: Target;
  let real: Target;

  beforeAll(async () => {
    simulated = await startSimulated();
    real = realTarget();
  });
  afterAll(() => simulated.stop());

  it.each(allCases())("POST /prompt: %s", async (_what, body) => {
    // Ids of our own for both, but where the case brings one.
    const given = typeof body === "string" ? body : { prompt_id: randomUUID(), ...body };
    const [one, other] = await Promise.all(
      [simulated, real].map((target) => ask(target, "POST", "/prompt", given)),
    );
    if (one === undefined || other === undefined) throw new Error("no answer");
    expect(seen(one)).toEqual(seen(other));
    // An id of the case's own may be an earlier run's.
    if (one.status !== 200 || !/^[0-9a-f-]{36}$/.test(one.json<{ prompt_id: string }>().prompt_id))
      return;
    const first = await ended(simulated, one);
    expect(first).toEqual(await ended(real, other));
  });

  const requests = REQUESTS.map(([method, path, body]) => ({ method, path, body }));
  it.each(requests)("$method $path $body", async ({ method, path, body }) => {
    const [one, other] = await Promise.all(
      [simulated, real].map((target) => ask(target, method, path, body)),
    );
    if (one === undefined || other === undefined) throw new Error("no answer");
    expect(seen(one)).toEqual(seen(other));
  });

  it("every class of both is declared alike, but for files and fault nodes", async () => {
    const [one, other] = await Promise.all(
      [simulated, real].map(async (target) =>
        (await ask(target, "GET", "/object_info")).json<Record<string, object>>(),
      ),
    );
    for (const [name, info] of Object.entries(one ?? {})) {
      const theirs = other?.[name];
      const isFault = "category" in info && String(info.category).includes("faults");
      if (theirs === undefined || isFault) continue;
      expect(withoutFiles(info)).toEqual(withoutFiles(theirs));
    }
  });
});

function seen(answer: Answer): unknown {
  const type = answer.headers.get("content-type");
  const isJson = type?.startsWith("application/json") === true;
  return {
    status: answer.status,
    type,
    body: isJson ? normalise(answer.json()) : answer.bytes.toString("utf8"),
  };
}

async function ended(target: Target, answer: Answer): Promise<unknown> {
  const { prompt_id: promptId } = answer.json<{ readonly prompt_id: string }>();
  return normalise(await untilEnded(target, promptId));
}

/** A declaration with every list of files that an instance has of its own made empty. */
function withoutFiles(value: unknown, key = ""): unknown {
  if (Array.isArray(value)) {
    if (key === "options") return "<choices>";
    const [first, ...rest] = value as readonly unknown[];
    const isFiles = Array.isArray(first) && /^((?!sampler)\w+_name\d?|image|latent)$/.test(key);
    return isFiles ? ["<files>", ...rest] : value.map((each) => withoutFiles(each));
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [name, withoutFiles(each, name)]),
  );
}
