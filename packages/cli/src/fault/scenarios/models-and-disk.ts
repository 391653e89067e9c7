import { sampledGraph } from "../graphs.ts";
import { pictures, type Scenario } from "../scenario.ts";
import { attemptsAtMost, renderedElsewhere, sawClass } from "./checks.ts";

const MODEL = "v1-5-pruned-emaonly.safetensors";
/** ComfyUI's words for a file that was cut off (comfy/utils.py, load_torch_file). */
const CORRUPT = `Error while deserializing header: MetadataIncompleteBuffer\n\nFile path: /models/checkpoints/${MODEL}\n\nThe safetensors file is corrupt or invalid. Make sure this is actually a safetensors file and not a ckpt or pt or other filetype.`;
const TWO_MACHINES = { comfyuis: 2, isOneMachine: false, replicas: 1 } as const;

/** A model's file is damaged on one machine. */
export const corruptModel: Scenario = {
  name: "corrupt-model",
  title: "a model's file is damaged on one of two machines",
  expectation:
    "told as corrupt_model, rendered on the other machine, and no retries burnt on the same bytes",
  plan: TWO_MACHINES,
  bare: "possible",
  real: { notHere: "it would damage somebody's model file" },
  work: ({ count }) =>
    Array.from({ length: count }, (_, index) => ({
      index,
      graph: sampledGraph(index, MODEL),
      expected: "completed",
    })),
  async begin({ struck }) {
    const rule = await struck.add({
      kind: "raise",
      exceptionType: "ValueError",
      message: CORRUPT,
      match: { nodeClass: "CheckpointLoaderSimple", count: 0 },
    });
    return {
      how: `${MODEL} cannot be read on machine-1`,
      struck: () => rule.struck(),
      end: () => rule.remove(),
    };
  },
  check: (seen) => [
    sawClass(seen, "corrupt_model"),
    renderedElsewhere(seen, "on the other machine"),
    attemptsAtMost(seen, 2),
  ],
};

/** The disk of one machine is full. */
export const diskFull: Scenario = {
  name: "disk-full",
  title: "the disk of one of two machines is full",
  expectation: "told as disk_full, and rendered on the other machine",
  plan: TWO_MACHINES,
  bare: "possible",
  real: { notHere: "it would fill somebody's disk" },
  work: (facts) => pictures(facts, 0.3),
  async begin({ struck }) {
    const rule = await struck.add({
      kind: "disk_full",
      match: { nodeClass: "SaveImage", count: 0 },
    });
    return {
      how: "nothing can be saved on machine-1",
      struck: () => rule.struck(),
      end: () => rule.remove(),
    };
  },
  check: (seen) => [
    sawClass(seen, "disk_full"),
    renderedElsewhere(seen, "on the other machine"),
    attemptsAtMost(seen, 2),
  ],
};
