/** What we say about graphs, against what a real ComfyUI says: we are never sure where it accepts. */
import { randomUUID } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { createComfyClient, type ComfyClient } from "@holdfast/comfyui";
import {
  isRefusedForSure,
  parseGraph,
  promisedOutputs,
  validateGraph,
  type ObjectInfo,
} from "@holdfast/comfyui/protocol";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COMFYUI_URL, tellWhatIsSkipped } from "./target.ts";

tellWhatIsSkipped("real/graph-validation");

type Json = Record<string, unknown>;
interface Node {
  class_type: string;
  inputs: Json;
}
type Nodes = Record<string, Node>;

function base(): { "1": Node; "2": Node } {
  return {
    "1": { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: 5 } },
    "2": {
      class_type: "SaveImage",
      inputs: { images: ["1", 0], filename_prefix: "validation/v" },
    },
  };
}

function withInput(node: "1" | "2", name: string, value: unknown): Nodes {
  const nodes = base();
  nodes[node].inputs[name] = value;
  return nodes;
}

function without(node: "1" | "2", name: string): Nodes {
  const nodes = base();
  nodes[node].inputs = Object.fromEntries(
    Object.entries(nodes[node].inputs).filter(([key]) => key !== name),
  );
  return nodes;
}

const LOAD = { class_type: "LoadImage", inputs: { image: "no-such.png" } };
const SCALE = {
  class_type: "ImageScale",
  inputs: { image: ["1", 0], upscale_method: "lanczos", width: 8, height: 8, crop: "disabled" },
};
const INVERT = { class_type: "ImageInvert", inputs: { image: ["1", 0] } };

/** Values that Python converts, refuses, or takes without a look. */
const WIDTHS: readonly unknown[] = [
  16,
  "16",
  " 16 ",
  "1_6",
  "+16",
  "１６",
  16.7,
  "16.5",
  "abc",
  "",
  true,
  false,
  null,
  0,
  -1,
  16384,
  16385,
  1e30,
  {},
  { a: 1 },
  { __value__: 32 },
  [],
  [16],
  [1, 2, 3],
];
const PREFIXES: readonly unknown[] = ["a", 5, 1.5, true, null, {}, "", "a/b", "%date%", "ü"];
const IMAGES: readonly unknown[] = ["text", 5, null, {}, ["1", 0]];

function show(value: unknown): string {
  return JSON.stringify(value);
}

function cases(): readonly (readonly [string, Nodes])[] {
  return [
    ...WIDTHS.map((value) => [`width ${show(value)}`, withInput("1", "width", value)] as const),
    ...PREFIXES.map(
      (value) => [`prefix ${show(value)}`, withInput("2", "filename_prefix", value)] as const,
    ),
    ...IMAGES.map((value) => [`images ${show(value)}`, withInput("2", "images", value)] as const),
    ["an undeclared input", withInput("1", "extra", 5)],
    ["a missing required input", without("1", "width")],
    ["a missing link", without("2", "images")],
    ["an unknown class", { ...base(), "9": { class_type: "NoSuchClass", inputs: {} } }],
    ["a class in another case", { ...base(), "9": { class_type: "emptyimage", inputs: {} } }],
    ["no output", { "1": base()["1"] }],
    ["an output without inputs", { "2": { class_type: "SaveImage", inputs: {} } }],
    [
      "a wrong type of link",
      { ...base(), "3": { ...SCALE, inputs: { ...SCALE.inputs, width: ["1", 0] } } },
    ],
    [
      "a wrong type of link that an output needs",
      {
        ...withInput("2", "images", ["3", 0]),
        "3": { ...SCALE, inputs: { ...SCALE.inputs, width: ["1", 0] } },
      },
    ],
    ["an output number beyond the last", withInput("2", "images", ["1", 7])],
    [
      "a wrong choice",
      {
        ...withInput("2", "images", ["3", 0]),
        "3": { ...SCALE, inputs: { ...SCALE.inputs, crop: "no" } },
      },
    ],
    [
      "a wrong choice beside the outputs",
      { ...base(), "3": { ...SCALE, inputs: { ...SCALE.inputs, crop: "no" } } },
    ],
    [
      "a choice of another type",
      {
        ...withInput("2", "images", ["3", 0]),
        "3": { ...SCALE, inputs: { ...SCALE.inputs, crop: 5 } },
      },
    ],
    [
      "a missing file",
      { "3": LOAD, "2": { ...base()["2"], inputs: { images: ["3", 0], filename_prefix: "v" } } },
    ],
    [
      "a missing file for one of two outputs",
      { ...base(), "3": LOAD, "4": { class_type: "PreviewImage", inputs: { images: ["3", 0] } } },
    ],
    ["a missing file beside the outputs", { ...base(), "3": LOAD }],
    [
      "a primitive into a width",
      {
        ...withInput("1", "width", ["5", 0]),
        "5": { class_type: "PrimitiveInt", inputs: { value: 24 } },
      },
    ],
    [
      "a primitive beyond a limit",
      {
        ...withInput("1", "width", ["5", 0]),
        "5": { class_type: "PrimitiveInt", inputs: { value: 99999 } },
      },
    ],
    [
      "a text primitive into a width",
      {
        ...withInput("1", "width", ["5", 0]),
        "5": { class_type: "PrimitiveString", inputs: { value: "24" } },
      },
    ],
    [
      "a float primitive into a width",
      {
        ...withInput("1", "width", ["5", 0]),
        "5": { class_type: "PrimitiveFloat", inputs: { value: 24 } },
      },
    ],
    [
      "the largest whole number",
      {
        ...base(),
        "5": { class_type: "PrimitiveInt", inputs: { value: Number.MAX_SAFE_INTEGER } },
        "6": { class_type: "PreviewAny", inputs: { source: ["5", 0] } },
      },
    ],
    [
      "anything into a preview",
      { ...base(), "6": { class_type: "PreviewAny", inputs: { source: ["1", 0] } } },
    ],
    [
      "a mask of an image",
      {
        ...base(),
        "5": { class_type: "ImageToMask", inputs: { image: ["1", 0], channel: "red" } },
        "6": { class_type: "MaskPreview", inputs: { mask: ["5", 0] } },
      },
    ],
    [
      "a latent file that is not listed",
      {
        "1": { class_type: "LoadLatent", inputs: { latent: "sub/none.latent" } },
        "2": { class_type: "SaveLatent", inputs: { samples: ["1", 0], filename_prefix: "l" } },
      },
    ],
    [
      "a saved latent",
      {
        "1": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
        "2": { class_type: "SaveLatent", inputs: { samples: ["1", 0], filename_prefix: "l" } },
      },
    ],
    [
      "a chain",
      { ...base(), "3": INVERT, "4": { class_type: "PreviewImage", inputs: { images: ["3", 0] } } },
    ],
    [
      "a batch of two sizes",
      {
        ...base(),
        "3": SCALE,
        "4": { class_type: "ImageBatch", inputs: { image1: ["1", 0], image2: ["3", 0] } },
        "5": { class_type: "PreviewImage", inputs: { images: ["4", 0] } },
      },
    ],
    [
      "a class of the newer kind, wrong choice",
      {
        ...base(),
        "3": { class_type: "CreateVideo", inputs: { images: ["1", 0], fps: 8 } },
        "4": {
          class_type: "SaveVideo",
          inputs: { video: ["3", 0], filename_prefix: "v", format: "avi", codec: "auto" },
        },
      },
    ],
    [
      "a class of the newer kind, out of range",
      {
        ...base(),
        "3": { class_type: "CreateVideo", inputs: { images: ["1", 0], fps: 0 } },
        "4": {
          class_type: "SaveVideo",
          inputs: { video: ["3", 0], filename_prefix: "v", format: "auto", codec: "auto" },
        },
      },
    ],
    [
      "an optional link of the wrong type",
      {
        ...base(),
        "3": { class_type: "CreateVideo", inputs: { images: ["1", 0], fps: 8, audio: ["1", 0] } },
        "4": {
          class_type: "SaveVideo",
          inputs: { video: ["3", 0], filename_prefix: "v", format: "auto", codec: "auto" },
        },
      },
    ],
  ];
}

interface Verdict {
  readonly status: number;
  readonly badNodes: readonly string[];
  /** The types of its objections to nodes. */
  readonly types: readonly string[];
}

describe.skipIf(COMFYUI_URL === "")("graph validation and a real ComfyUI", () => {
  let client: ComfyClient;
  let objectInfo: ObjectInfo;

  beforeAll(async () => {
    client = createComfyClient({
      baseUrl: COMFYUI_URL,
      clientId: randomUUID(),
      clock: systemClock,
    });
    const reply = await client.objectInfo();
    if (reply.kind !== "ok") throw new Error(JSON.stringify(reply));
    objectInfo = reply.objectInfo;
  });
  afterAll(() => client.close());

  const judge = async (graph: unknown): Promise<Verdict> => {
    const answer = await fetch(`${COMFYUI_URL}/prompt`, {
      method: "POST",
      body: JSON.stringify({ prompt: graph, prompt_id: randomUUID() }),
    });
    const text = await answer.text();
    const body = (answer.status === 500 ? {} : JSON.parse(text)) as {
      node_errors?: Readonly<Record<string, { readonly errors: readonly { type: string }[] }>>;
    };
    const nodeErrors = body.node_errors ?? {};
    return {
      status: answer.status,
      badNodes: Object.keys(nodeErrors),
      types: Object.values(nodeErrors).flatMap(({ errors }) => errors.map(({ type }) => type)),
    };
  };
  /** Posts the graph and holds what we say against the answer; returns what ComfyUI said. */
  const compare = async (given: unknown): Promise<Verdict> => {
    const parsed = parseGraph(given);
    if (parsed.kind === "refused") {
      // Not posted: some of these end the thread that runs prompts.
      return { status: 400, badNodes: [], types: [] };
    }
    const issues = validateGraph(parsed.graph, objectInfo);
    const certain = issues.filter((issue) => issue.isCertain);
    const verdict = await judge(parsed.graph);
    for (const { nodeId, type } of certain) {
      if (nodeId === undefined || type === "invalid_prompt") expect(verdict.status).toBe(400);
      else expect(verdict.badNodes).toContain(nodeId);
    }
    const outputs = promisedOutputs(parsed.graph, objectInfo).map(({ nodeId }) => nodeId);
    if (isRefusedForSure(issues, outputs)) expect(verdict.status).toBe(400);
    // What ComfyUI objects to, we at least warn of. Missing input files are no matter of validation:
    // they are staged before the graph is posted.
    const isOnlyFiles =
      verdict.types.length > 0 &&
      verdict.types.every((type) => type === "custom_validation_failed");
    const objects = verdict.status !== 200 || verdict.badNodes.length > 0;
    if (objects && !isOnlyFiles) expect(issues).not.toEqual([]);
    return verdict;
  };

  it.each(cases())("%s", async (_what, graph) => {
    await compare(graph);
  });

  it("every example is parsed, and judged as ComfyUI judges it with the models it has", async () => {
    const folder = fileURLToPath(new URL("../../examples/", import.meta.url));
    for (const name of await readdir(`${folder}inputs`)) {
      const bytes = new Uint8Array(await readFile(`${folder}inputs/${name}`));
      const upload = { name, subfolder: "", overwrite: true, content: { bytes } };
      expect((await client.uploadInput(upload)).kind).toBe("uploaded");
    }
    const reply = await client.objectInfo();
    if (reply.kind === "ok") objectInfo = reply.objectInfo;
    for (const name of (await readdir(folder)).filter((file) => file.endsWith(".json"))) {
      const graph: unknown = JSON.parse(await readFile(folder + name, "utf8"));
      expect([name, parseGraph(graph).kind]).toEqual([name, "graph"]);
      const verdict = await compare(graph);
      if (name === "model-free.json")
        expect(verdict).toEqual({ status: 200, badNodes: [], types: [] });
    }
  });
});
