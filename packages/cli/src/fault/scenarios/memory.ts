import { sampledGraph } from "../graphs.ts";
import { finding } from "../observed.ts";
import type { Scenario } from "../scenario.ts";
import { sawClass } from "./checks.ts";

const MODEL = "v1-5-pruned-emaonly.safetensors";
/** Of the simulated card's 24 GB, so much is held by what an earlier job has left in the node cache. */
const LEAK_BYTES = 23.6 * 1024 ** 3;

/** The card's memory is full of what an earlier job has left behind. */
export const gpuOom: Scenario = {
  name: "gpu-oom",
  title: "the card's memory is full",
  expectation: "retried after clearing VRAM, to the same picture; the timeline shows the wait",
  plan: { comfyuis: 1, isOneMachine: true, replicas: 1 },
  bare: "possible",
  real: { notHere: "it would fill a card that others may use" },
  work: ({ count }) =>
    Array.from({ length: count }, (_, index) => ({
      index,
      graph: sampledGraph(index, MODEL),
      expected: "completed",
    })),
  async begin({ struck }) {
    const before = (await struck.counts())?.outOfMemory ?? 0;
    await struck.add({ kind: "leak", bytes: LEAK_BYTES, heldBy: "cache" });
    return {
      how: "23.6 of the card's 24 GiB are held by the node cache until it is told to free them, and it ran out of memory",
      struck: async () => ((await struck.counts())?.outOfMemory ?? 0) - before,
      end: () => Promise.resolve(),
    };
  },
  check(seen) {
    const failed = seen.jobs.flatMap(({ attempts }) =>
      attempts.filter(({ error }) => error?.class === "cuda_out_of_memory"),
    );
    const decided = failed.find(({ decision }) =>
      /free/i.test(`${decision?.action} ${decision?.reason}`),
    );
    const waits = failed.flatMap(({ decision }) => decision?.reason ?? []);
    const lossless = seen.jobs.filter(
      ({ job }) => job?.changes === null || job?.changes.loss === "none",
    );
    return [
      sawClass(seen, "cuda_out_of_memory"),
      finding(
        decided !== undefined,
        decided === undefined
          ? `no attempt's decision speaks of freeing memory: ${waits.join("; ")}`
          : `the timeline says: ${decided.decision?.action}: ${decided.decision?.reason}`,
      ),
      finding(
        lossless.length === seen.jobs.length,
        `${lossless.length} of ${seen.jobs.length} jobs rendered with nothing changed`,
      ),
    ];
  },
};
