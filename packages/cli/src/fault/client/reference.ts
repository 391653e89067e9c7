import type { Graph } from "@holdfast/comfyui/protocol";
import type { Clock, Random } from "@holdfast/runtime";
import { startSimulator } from "@holdfast/simulator";
import { withoutSleep } from "../graphs.ts";
import { openBareClient } from "./bare-client.ts";

/** Longest render of a reference. */
const LIMIT_MS = 120_000;

/** The pictures of graphs. */
export interface Reference {
  picturesOf(graph: Graph): Promise<readonly string[] | null>;
  close(): Promise<void>;
}

/**
 * What an undisturbed ComfyUI renders: a simulated one of its own, or the real one, asked when nothing is
 * done to it any more.
 */
export async function openReference(
  realUrl: string | undefined,
  facts: { readonly clock: Clock; readonly random: Random },
): Promise<Reference> {
  const simulator =
    realUrl === undefined ? await startSimulator({ clock: facts.clock, timeScale: 0 }) : undefined;
  const client = await openBareClient(realUrl ?? simulator?.url ?? "", facts);
  return {
    async picturesOf(graph) {
      const limit = AbortSignal.timeout(LIMIT_MS);
      const outcome = await client.render(withoutSleep(graph), limit);
      return outcome.kind === "completed" ? outcome.pictures : null;
    },
    async close() {
      await client.close();
      await simulator?.stop();
    },
  };
}
