import { NODE_CLASSES } from "../nodes/catalogue.ts";
import { WorkerEndedError } from "../nodes/raised.ts";
import { isLink } from "./node-cache.ts";
import type { PostedGraph } from "./validation.ts";

/**
 * Which node runs next: what the outputs need and is not cached, a ready output node first, then
 * nodes close to one (comfy_execution/graph.py, 0.3.64).
 */
export class ExecutionOrder {
  readonly #graph: PostedGraph;
  readonly #isCached: (id: string) => boolean;
  readonly #pending = new Set<string>();
  readonly #blockers = new Map<string, number>();
  readonly #blocking = new Map<string, Set<string>>();

  constructor(graph: PostedGraph, isCached: (id: string) => boolean) {
    this.#graph = graph;
    this.#isCached = isCached;
  }

  get isEmpty(): boolean {
    return this.#pending.size === 0;
  }

  /** The node that a circle is blamed on. */
  get firstPending(): string {
    const [first] = this.#pending;
    return first ?? "";
  }

  /** Adds an output and all it waits for. A link to an absent node ends the worker (measured). */
  add(output: string): void {
    const stack = [output];
    const links: (readonly [from: string, to: string])[] = [];
    for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
      if (this.#pending.has(id)) continue;
      if (this.#graph[id] === undefined) throw new WorkerEndedError(`there is no node ${id}`);
      this.#pending.add(id);
      this.#blockers.set(id, 0);
      this.#blocking.set(id, new Set());
      for (const value of Object.values(this.#graph[id]?.inputs ?? {})) {
        if (!isLink(value) || this.#isCached(value[0])) continue;
        stack.push(value[0]);
        links.push([value[0], id]);
      }
    }
    for (const [from, to] of links) {
      const blocked = this.#blocking.get(from);
      if (blocked === undefined || blocked.has(to)) continue;
      blocked.add(to);
      this.#blockers.set(to, (this.#blockers.get(to) ?? 0) + 1);
    }
  }

  /** The next node; null when those left wait for each other. */
  next(): string | null {
    const ready = [...this.#pending].filter((id) => this.#blockers.get(id) === 0);
    const isOutput = (id: string): boolean =>
      NODE_CLASSES.get(this.#graph[id]?.class_type ?? "")?.isOutput === true;
    const after = (id: string): readonly string[] => [...(this.#blocking.get(id) ?? [])];
    return (
      ready.find(isOutput) ??
      ready.find((id) => after(id).some(isOutput)) ??
      ready.find((id) => after(id).some((next) => after(next).some(isOutput))) ??
      ready[0] ??
      null
    );
  }

  /** Marks a node as done. */
  complete(id: string): void {
    this.#pending.delete(id);
    for (const blocked of this.#blocking.get(id) ?? []) {
      this.#blockers.set(blocked, (this.#blockers.get(blocked) ?? 1) - 1);
    }
    this.#blocking.delete(id);
  }
}
