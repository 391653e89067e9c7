import type { MaskPicture, Picture } from "../pixels/picture.ts";
import type { Latent } from "../pixels/latent.ts";
import { typeName } from "../engine/python-text.ts";
import { RaisedError } from "./raised.ts";
import { isNodeValue, type NodeValue } from "./values.ts";

type ValueOf<K extends NodeValue["kind"]> = Extract<NodeValue, { readonly kind: K }>;

/** A node's resolved inputs, read by type. A missing or wrong one raises as Python would. */
export class NodeInputs {
  readonly values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>) {
    this.values = values;
  }

  /** True when the input was given. */
  has(name: string): boolean {
    return this.values[name] !== undefined;
  }

  /** A linked value of a kind. */
  value<K extends NodeValue["kind"]>(name: string, kind: K): ValueOf<K> {
    const value = this.values[name];
    if (isNodeValue(value) && value.kind === kind) return value as ValueOf<K>;
    throw notUsable(name, value);
  }

  pictures(name: string): readonly Picture[] {
    return this.value(name, "images").pictures;
  }

  latent(name: string): Latent {
    return this.value(name, "latent");
  }

  mask(name: string): MaskPicture {
    return this.value(name, "mask").mask;
  }

  /** A number written in the graph, or linked from a primitive node. */
  number(name: string, fallback?: number): number {
    const value = this.#plain(name);
    if (typeof value === "number") return value;
    if (value === undefined && fallback !== undefined) return fallback;
    throw new RaisedError("TypeError", `'${name}' must be a number`);
  }

  /** A seed, every digit of it: those above 2^53 come as text. */
  seed(name: string): string {
    const value = this.#plain(name);
    return typeof value === "string" ? value : String(this.number(name));
  }

  text(name: string, fallback?: string): string {
    const value = this.#plain(name);
    if (typeof value === "string") return value;
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    if (fallback !== undefined) return fallback;
    throw new RaisedError("TypeError", `'${name}' must be str`);
  }

  flag(name: string, fallback = false): boolean {
    const value = this.#plain(name);
    return typeof value === "boolean" ? value : fallback;
  }

  #plain(name: string): unknown {
    const value = this.values[name];
    return isNodeValue(value) && value.kind === "primitive" ? value.value : value;
  }
}

/** ComfyUI checks no plain value given for a link: the node trips over it, each in its own words. */
function notUsable(name: string, value: unknown): RaisedError {
  if (typeof value === "string") {
    return new RaisedError("AttributeError", "'str' object has no attribute 'shape'");
  }
  if (value === null || typeof value === "number" || typeof value === "boolean") {
    return new RaisedError("TypeError", `'${typeName(value)}' object is not subscriptable`);
  }
  return new RaisedError("TypeError", `missing 1 required positional argument: '${name}'`);
}
