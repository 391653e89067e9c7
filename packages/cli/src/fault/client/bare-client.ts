import { createComfySocket } from "@holdfast/comfyui";
import type { Graph } from "@holdfast/comfyui/protocol";
import { nextUuid, type Clock, type Random } from "@holdfast/runtime";
import { fieldOf } from "../../api/api-client.ts";
import { pictureHash } from "../picture-hash.ts";
import type { FaultClient, RenderOutcome } from "./fault-client.ts";

const OPEN_LIMIT_MS = 10_000;

/**
 * A bare ComfyUI client, as ComfyUI's own example is one (script_examples/websockets_api_example.py): one
 * POST, one WebSocket until `executing` names no node, one look at the history, each file once. It tries
 * nothing twice, and when its socket is gone it hears nothing any more. What it loses, such a client loses.
 */
export async function openBareClient(
  url: string,
  { clock, random }: { readonly clock: Clock; readonly random: Random },
): Promise<FaultClient> {
  const clientId = nextUuid(random);
  const waiting = new Map<string, (end: "ended" | "socket lost") => void>();
  const opened = new AbortController();
  let isDead = false;
  const socket = createComfySocket({
    baseUrl: url,
    clientId,
    clock,
    onEvent(event) {
      if (event.kind === "state" && event.state === "open") opened.abort();
      if (event.kind === "state" && event.state === "closed" && opened.signal.aborted) {
        // The example opens one, and ends with an error when that one breaks.
        isDead = true;
        for (const end of waiting.values()) end("socket lost");
      }
      if (isDead || event.kind !== "message" || event.message.kind !== "executing") return;
      const { nodeId, promptId } = event.message;
      if (nodeId === undefined && promptId !== undefined) waiting.get(promptId)?.("ended");
    },
  });
  socket.start();
  await clock.sleep(OPEN_LIMIT_MS, opened.signal).catch(() => undefined);
  const facts = { url, clientId, clock };
  return {
    async render(graph, signal) {
      const begunAt = clock.elapsed();
      const promptId = nextUuid(random);
      try {
        if (isDead || !opened.signal.aborted) return lost("its socket is gone");
        const ended = new Promise<"ended" | "socket lost" | "too late">((resolve) => {
          waiting.set(promptId, resolve);
          signal.addEventListener("abort", () => resolve("too late"), { once: true });
        });
        await post(facts, graph, promptId, signal);
        const end = await ended;
        if (end !== "ended") return lost(end === "too late" ? "no word of it in time" : end);
        const pictures = await collect(url, promptId, signal);
        if (pictures.length === 0) return lost("the history has no picture of it");
        return { kind: "completed", pictures, tookMs: clock.elapsed() - begunAt };
      } catch (error) {
        return lost(reasonOf(error));
      } finally {
        waiting.delete(promptId);
      }
    },
    close: () => socket.stop(),
  };
}

function lost(why: string): RenderOutcome {
  return { kind: "lost", why };
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  const code = fieldOf(cause, "code");
  if (typeof code === "string") return code;
  return cause instanceof Error ? cause.message : String(cause);
}

async function post(
  { url, clientId }: { readonly url: string; readonly clientId: string },
  graph: Graph,
  promptId: string,
  signal: AbortSignal,
): Promise<void> {
  const answer = await fetch(`${url}/prompt`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: graph, client_id: clientId, prompt_id: promptId }),
    signal,
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`POST /prompt: HTTP ${answer.status} ${text.slice(0, 120)}`);
}

async function collect(url: string, promptId: string, signal: AbortSignal): Promise<string[]> {
  const answer = await fetch(`${url}/history/${promptId}`, { signal });
  if (!answer.ok) throw new Error(`GET /history: HTTP ${answer.status}`);
  const entry = fieldOf(await answer.json(), promptId);
  const outputs = fieldOf(entry, "outputs");
  const pictures: string[] = [];
  for (const one of Object.values((outputs ?? {}) as Record<string, unknown>)) {
    const images = fieldOf(one, "images");
    for (const image of Array.isArray(images) ? (images as unknown[]) : []) {
      const query = new URLSearchParams();
      for (const name of ["filename", "subfolder", "type"]) {
        const value = fieldOf(image, name);
        query.set(name, typeof value === "string" ? value : "");
      }
      const file = await fetch(`${url}/view?${query.toString()}`, { signal });
      if (!file.ok) throw new Error(`GET /view: HTTP ${file.status}`);
      pictures.push(pictureHash(Buffer.from(await file.arrayBuffer())));
    }
  }
  return pictures;
}
