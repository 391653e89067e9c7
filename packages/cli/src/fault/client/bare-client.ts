import type { Clock, Random } from "@holdfast/runtime";
import { openComfyuiTarget } from "../../load/comfyui-target.ts";
import type { LoadJob } from "../../load/load-target.ts";
import { pictureHash } from "../picture-hash.ts";
import type { FaultClient } from "./fault-client.ts";

/** The caller's signal ends a render long before; a timer has to end some time. */
const LIMIT_MS = 3_600_000;
/** ComfyUI says much when a card is full; a table has one line. */
const WHY_CHARS = 120;

/**
 * The bare ComfyUI client that load runs compare with, and what its pictures show. What it loses when its
 * socket breaks, a POST is not answered or a node fails once, such a client loses.
 */
export async function openBareClient(
  url: string,
  { clock, random }: { readonly clock: Clock; readonly random: Random },
): Promise<FaultClient> {
  const pictures = new Map<LoadJob, string[]>();
  const target = await openComfyuiTarget({
    url,
    version: null,
    clock,
    random,
    onFile: (job, bytes) => pictures.get(job)?.push(pictureHash(bytes)),
  });
  return {
    async render(graph, signal) {
      const job: LoadJob = { index: 0, workflow: "fault", graph, timeoutMs: LIMIT_MS };
      const hashes: string[] = [];
      pictures.set(job, hashes);
      try {
        const { seen, message } = await target.render(job, signal);
        if (seen.outcome === "completed") return { kind: "completed", pictures: hashes };
        const isLate = seen.outcome === "cancelled" || seen.outcome === "timed_out";
        return { kind: "lost", why: isLate ? "no word of it in time" : shortened(message) };
      } finally {
        pictures.delete(job);
      }
    },
    close: () => target.close(),
  };
}

function shortened(text: string): string {
  const line = text.replaceAll(/\s+/g, " ");
  return line.length > WHY_CHARS ? `${line.slice(0, WHY_CHARS)}…` : line;
}
