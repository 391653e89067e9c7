import type { Preview } from "../nodes/node-class.ts";

/** Where the engine's events go. `to` is a client id; null is everybody. */
export interface EventSink {
  send(type: string, data: Readonly<Record<string, unknown>>, to: string | null): void;
  /** True when somebody would receive an event: building a big one for nobody is a waste. */
  isHeard(to: string | null): boolean;
  /** A preview without its node's name (binary event 1): for clients that know no better. */
  preview(preview: Preview, to: string | null): void;
  /** A preview with its node's name (binary event 4). */
  namedPreview(preview: Preview, about: Readonly<Record<string, unknown>>, to: string | null): void;
  /** True when the client asked for named previews. */
  wantsNamedPreviews(to: string | null): boolean;
  /** Text under a node (binary event 3). */
  text(nodeId: string, text: string, to: string | null): void;
}
