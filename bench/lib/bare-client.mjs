/**
 * A bare ComfyUI client, as its documentation shows one: own prompt id, one WebSocket until
 * `executing` names no node, then the history entry and the pictures. It survives nothing.
 */
import { randomUUID } from "node:crypto";
import { WebSocket } from "ws";
import { createCaller } from "./json-http.mjs";

/** Connects; `render` resolves with the sizes of the pictures. */
export async function openBareClient(url) {
  const caller = createCaller(url);
  const clientId = randomUUID();
  const socket = new WebSocket(`${url.replace(/^http/, "ws")}/ws?clientId=${clientId}`);
  const waiting = new Map();
  socket.on("message", (data, isBinary) => {
    if (isBinary) return;
    const { type, data: facts } = JSON.parse(data.toString());
    if (type === "executing" && facts.node === null) waiting.get(facts.prompt_id)?.();
  });
  await new Promise((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });
  return {
    async render(graph) {
      const promptId = randomUUID();
      const ended = new Promise((resolve) => waiting.set(promptId, resolve));
      await caller.json("POST", "/prompt", {
        prompt: graph,
        prompt_id: promptId,
        client_id: clientId,
      });
      await ended;
      waiting.delete(promptId);
      const history = await caller.json("GET", `/history/${promptId}`);
      const sizes = [];
      for (const { images } of Object.values(history[promptId].outputs)) {
        for (const { filename, subfolder, type } of images) {
          const query = new URLSearchParams({ filename, subfolder, type }).toString();
          sizes.push((await caller.bytes(`/view?${query}`)).byteLength);
        }
      }
      if (sizes.length === 0) throw new Error(`prompt ${promptId} gave no picture`);
      return sizes;
    },
    async close() {
      socket.terminate();
      await caller.close();
    },
  };
}
