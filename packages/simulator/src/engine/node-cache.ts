import { NODE_CLASSES } from "../nodes/catalogue.ts";
import type { NodeSurroundings } from "../nodes/node-class.ts";
import type { NodeValue } from "../nodes/values.ts";
import { digest } from "../pixels/digest.ts";
import type { PostedGraph } from "./validation.ts";

/** What a node showed: its `ui` output, and under which node it did so. */
interface ShownOutput {
  readonly meta: {
    readonly node_id: string;
    readonly display_node: string;
    readonly parent_node: null;
    readonly real_node_id: string;
  };
  readonly output: Readonly<Record<string, readonly unknown[]>>;
}

/** True for a link in an input. */
export function isLink(value: unknown): value is readonly [string, number] {
  return (
    Array.isArray(value) &&
    value.length === 2 &&
    typeof value[0] === "string" &&
    typeof value[1] === "number"
  );
}

/**
 * ComfyUI's classic cache: results by everything that went into them, kept only as long as the
 * prompt that runs has a node of the same signature (comfy_execution/caching.py, 0.3.64).
 */
export class NodeCache {
  #outputs = new Map<string, readonly NodeValue[]>();
  #shown = new Map<string, ShownOutput>();
  #objects = new Map<string, string>();
  #signatures = new Map<string, string>();
  #unique = 0;

  /** Turns to a new prompt, and drops what it has no node for. */
  usePrompt(graph: PostedGraph, surroundings: NodeSurroundings): void {
    this.#signatures = new Map();
    for (const id of Object.keys(graph)) this.#sign(graph, id, surroundings);
    const used = new Set(this.#signatures.values());
    this.#outputs = keepOnly(this.#outputs, used);
    this.#shown = keepOnly(this.#shown, used);
    const objects = new Set(Object.entries(graph).map(([id, node]) => `${id}\0${node.class_type}`));
    this.#objects = keepOnly(this.#objects, objects);
  }

  outputs(id: string): readonly NodeValue[] | undefined {
    return this.#outputs.get(this.#signatures.get(id) ?? "");
  }

  shown(id: string): ShownOutput | undefined {
    return this.#shown.get(this.#signatures.get(id) ?? "");
  }

  setOutputs(id: string, values: readonly NodeValue[]): void {
    this.#outputs.set(this.#signatures.get(id) ?? "", values);
  }

  setShown(id: string, shown: ShownOutput): void {
    this.#shown.set(this.#signatures.get(id) ?? "", shown);
  }

  /** What belongs to a node object, which lives as long as prompts name it in a row. */
  objectSuffix(id: string, classType: string, make: () => string): string {
    const key = `${id}\0${classType}`;
    const known = this.#objects.get(key);
    if (known !== undefined) return known;
    const made = make();
    this.#objects.set(key, made);
    return made;
  }

  clear(): void {
    this.#outputs.clear();
    this.#shown.clear();
    this.#objects.clear();
  }

  #sign(graph: PostedGraph, id: string, surroundings: NodeSurroundings): string {
    const known = this.#signatures.get(id);
    if (known !== undefined) return known;
    const node = graph[id];
    if (node === undefined) return this.#never();
    // Guards against a cycle beside the wanted outputs: its nodes are never the same.
    this.#signatures.set(id, this.#never());
    const nodeClass = NODE_CLASSES.get(node.class_type);
    const changed = nodeClass?.fingerprint?.(node.inputs, surroundings);
    const parts: string[] = [node.class_type, changed === null ? this.#never() : (changed ?? "")];
    for (const name of Object.keys(node.inputs).sort()) {
      const value = node.inputs[name];
      parts.push(
        name,
        isLink(value)
          ? `${this.#sign(graph, value[0], surroundings)}:${String(value[1])}`
          : `=${JSON.stringify(value)}`,
      );
    }
    const signature = digest(...parts);
    this.#signatures.set(id, signature);
    return signature;
  }

  #never(): string {
    this.#unique += 1;
    return `never:${String(this.#unique)}`;
  }
}

function keepOnly<T>(map: Map<string, T>, keys: ReadonlySet<string>): Map<string, T> {
  const kept = new Map<string, T>();
  for (const [key, value] of map) if (keys.has(key)) kept.set(key, value);
  return kept;
}
