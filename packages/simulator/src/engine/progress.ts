import type { Preview } from "../nodes/node-class.ts";
import type { EventSink } from "./events.ts";

interface NodeProgress {
  value: number;
  max: number;
  state: "running" | "finished";
}

/** Progress of one prompt's nodes, told as `progress_state` after every change. */
export class ProgressBoard {
  readonly #nodes = new Map<string, NodeProgress>();
  readonly #promptId: string;
  readonly #clientId: string | null;
  readonly #events: EventSink;

  constructor(promptId: string, clientId: string | null, events: EventSink) {
    this.#promptId = promptId;
    this.#clientId = clientId;
    this.#events = events;
  }

  start(id: string): void {
    this.#nodes.set(id, { value: 0, max: 1, state: "running" });
    this.#tell();
  }

  update(id: string, value: number, max: number, preview: Preview | undefined): void {
    this.#nodes.set(id, { value, max, state: "running" });
    this.#tell();
    const isNamed = preview !== undefined && this.#events.wantsNamedPreviews(this.#clientId);
    if (isNamed) this.#events.namedPreview(preview, this.#about(id), this.#clientId);
    const data = { value, max, prompt_id: this.#promptId, node: id };
    this.#events.send("progress", data, this.#clientId);
    if (preview !== undefined && !isNamed) this.#events.preview(preview, this.#clientId);
  }

  finish(id: string): void {
    const node = this.#nodes.get(id) ?? { value: 0, max: 1, state: "finished" };
    this.#nodes.set(id, { ...node, value: node.max, state: "finished" });
    this.#tell();
  }

  #about(id: string): Record<string, unknown> {
    return {
      node_id: id,
      prompt_id: this.#promptId,
      display_node_id: id,
      parent_node_id: null,
      real_node_id: id,
    };
  }

  #tell(): void {
    if (!this.#events.isHeard(this.#clientId)) return;
    const nodes: Record<string, unknown> = {};
    for (const [id, { value, max, state }] of this.#nodes) {
      nodes[id] = { value, max, state, ...this.#about(id) };
    }
    this.#events.send("progress_state", { prompt_id: this.#promptId, nodes }, this.#clientId);
  }
}
