/** Books that are planned in memory, and the graphs that they are planned of. */
import type { CreateBatch, NewPage } from "@holdfast/contract";
import { planBook } from "../src/batches/plan-book.ts";
import type { PlannedBook } from "../src/batches/planned-book.ts";
import type { PlanningFacts } from "../src/jobs/submission.ts";

/** A text-to-image graph without variables. */
export const GRAPH = {
  "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a.safetensors" } },
  "3": {
    class_type: "KSampler",
    inputs: {
      seed: 1,
      steps: 20,
      cfg: 7.5,
      model: ["1", 0],
      positive: ["6", 0],
      negative: ["7", 0],
      latent_image: ["5", 0],
    },
  },
  "5": { class_type: "EmptyLatentImage", inputs: { width: 512, height: 512, batch_size: 1 } },
  "6": { class_type: "CLIPTextEncode", inputs: { text: "a house", clip: ["1", 1] } },
  "7": { class_type: "CLIPTextEncode", inputs: { text: "blurry", clip: ["1", 1] } },
  "8": { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["1", 2] } },
  "9": { class_type: "SaveImage", inputs: { images: ["8", 0], filename_prefix: "book" } },
};
/** Values by input. */
export type Inputs = Readonly<Record<string, unknown>>;

/** {@link GRAPH} with other inputs. */
export function graphWith(inputs: Readonly<Record<string, Inputs>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(GRAPH).map(([id, node]) => [
      id,
      { ...node, inputs: { ...node.inputs, ...inputs[id] } },
    ]),
  );
}

/** {@link GRAPH} with variables: a seed alone, two in a text. */
export const TEMPLATE = graphWith({
  "3": { seed: "{{seed}}" },
  "6": { text: "a {{animal}} in {{style}}" },
});

/** Facts of a caller who may use every node class. */
export const FACTS: PlanningFacts = { allowedClasses: null, sha256: (text) => text };

/** A book that is planned. Throws the refusal. */
export function planned(request: CreateBatch, facts = FACTS): PlannedBook {
  const plan = planBook(request, facts);
  if (plan.kind !== "planned") throw new Error(`${plan.code}: ${plan.message}`);
  return plan.book;
}

/** Values of its pages. */
export function sets(request: CreateBatch): unknown {
  return planned(request).pages.map(({ set }) => set);
}

/** Why a book is refused: code and words. Throws when it is planned. */
export function refusal(request: CreateBatch): string {
  const plan = planBook(request, FACTS);
  if (plan.kind !== "refused") throw new Error("it was planned");
  return `${plan.code}: ${plan.message}`;
}

/** A book of {@link TEMPLATE} and a table of CSV. */
export const csv = (text: string, rest: Partial<CreateBatch> = {}): CreateBatch => ({
  graph: TEMPLATE,
  table: { csv: text },
  ...rest,
});
/** The same with rows of JSON. */
export const rows = (...given: Record<string, unknown>[]): CreateBatch => ({
  graph: TEMPLATE,
  table: { rows: given },
});
/** A book of {@link GRAPH} and a list of pages. */
export const list = (...pages: NewPage[]): CreateBatch => ({ graph: GRAPH, pages });
