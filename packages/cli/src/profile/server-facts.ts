/** What a bare ComfyUI is asked beside its prompts; a Holdfast only whether it is there. */
import type { ComfyClient } from "@holdfast/comfyui";
import type { Clock } from "@holdfast/runtime";
import type { LoadTarget } from "../load/load-target.ts";

/** See the header. */
export interface ServerFacts {
  /** The first card, as its driver names it; `cpu`; null where it is not told. */
  gpuName(): Promise<string | null>;
  /** Unloads all models and forgets all results, where nobody else's prompts are there. */
  free(): Promise<boolean>;
  /** Whether anything answers, whatever it says. */
  isThere(): Promise<boolean>;
  close(): Promise<void>;
}

/** ComfyUI does it when its worker wakes up, and answers before (F14). */
const FREE_MS = 750;

/** Asks by `client`, which is closed with it. */
export function createServerFacts(
  { kind }: Pick<LoadTarget, "kind">,
  client: Pick<ComfyClient, "systemStats" | "queue" | "free" | "close">,
  clock: Clock,
): ServerFacts {
  return {
    async gpuName() {
      if (kind !== "comfyui") return null;
      const answer = await client.systemStats();
      const device = answer.kind === "ok" ? answer.stats.devices[0] : undefined;
      if (device === undefined) return null;
      return device.type === "cpu" ? "cpu" : cardName(device.name);
    },
    async free() {
      if (kind !== "comfyui") return false;
      const found = await client.queue();
      if (found.kind !== "ok") return false;
      const { running, pending } = found.queue;
      // Models of somebody else's prompt are not ours to unload.
      if (running.length + pending.length > 0) return false;
      const answer = await client.free({ unloadModels: true, freeMemory: true });
      await clock.sleep(FREE_MS);
      return answer.kind === "ok";
    },
    async isThere() {
      const { kind: found } = await client.systemStats();
      return found !== "unreachable" && found !== "timeout";
    },
    close: () => client.close(),
  };
}

/** `cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync` (get_torch_device_name, 0.3.64). */
export function cardName(text: string): string | null {
  const name = text
    .replace(/^[a-z]+:\d+ /, "")
    .replace(/ : \S+$/, "")
    .trim();
  return name === "" ? null : name;
}
