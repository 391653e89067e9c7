/** A file's schema as plain data, for messages and for the reference. */
import { z } from "zod";
import type { YamlPath } from "./finding.ts";

/** The part of JSON Schema that zod writes for our files. */
export interface SchemaNode {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | SchemaNode;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
}

/** A schema as a person writes against it. */
export function schemaTree(schema: z.ZodType): SchemaNode {
  // Read as what we know zod to write; the reference's test would show another form.
  return z.toJSONSchema(schema, { io: "input" }) as unknown as SchemaNode;
}

/** The schema at a path; of a choice, the first alternative that has it. Undefined where there is none. */
export function schemaAt(tree: SchemaNode, path: YamlPath): SchemaNode | undefined {
  let nodes: readonly SchemaNode[] = [tree];
  for (const part of path) {
    nodes = nodes.flatMap((node) => alternatives(node)).flatMap((node) => child(node, part));
  }
  return nodes[0];
}

function child(node: SchemaNode, part: string | number): readonly SchemaNode[] {
  if (typeof part === "number") return node.items === undefined ? [] : [node.items];
  const own = node.properties?.[part];
  if (own !== undefined && Object.hasOwn(node.properties ?? {}, part)) return [own];
  return typeof node.additionalProperties === "object" ? [node.additionalProperties] : [];
}

/** A choice's alternatives, or the node itself. */
export function alternatives(node: SchemaNode): readonly SchemaNode[] {
  return node.anyOf?.flatMap((one) => alternatives(one)) ?? [node];
}

/** The keys that may stand at a path, of all alternatives. */
export function keysAt(tree: SchemaNode, path: YamlPath): readonly string[] {
  const node = schemaAt(tree, path);
  if (node === undefined) return [];
  return alternatives(node).flatMap((one) => Object.keys(one.properties ?? {}));
}

/** What may stand there, in words: `a whole number, 1 to 32`, `true or false`, `a list of texts`. */
export function typeWords(node: SchemaNode): string {
  if (node.anyOf !== undefined) {
    return [...new Set(alternatives(node).map((one) => typeWords(one)))].join(", or ");
  }
  if (node.const !== undefined) return JSON.stringify(node.const);
  if (node.enum !== undefined) return node.enum.map((one) => String(one)).join(" or ");
  switch (node.type) {
    case "integer":
      return `a whole number${range(node)}`;
    case "number":
      return `a number${range(node)}`;
    case "boolean":
      return "true or false";
    case "null":
      return "null";
    case "array":
      return `a list of ${node.items === undefined ? "values" : itemWords(node.items)}`;
    case "object":
      // `{}`: keys of any kind, which nothing need be said of.
      return typeof node.additionalProperties === "object" &&
        Object.keys(node.additionalProperties).length > 0
        ? `a mapping of names to ${itemWords(node.additionalProperties)}`
        : "a mapping";
    default:
      return "text";
  }
}

function itemWords(node: SchemaNode): string {
  const kinds = alternatives(node).map((one) => {
    if (one.type === "integer") return "whole numbers";
    if (one.type === "number") return "numbers";
    if (one.type === "array") return "lists";
    return one.type === "object" ? "mappings" : "texts";
  });
  return [...new Set(kinds)].join(" and ");
}

function range({ minimum, maximum, exclusiveMinimum }: SchemaNode): string {
  const least = minimum === undefined || minimum <= Number.MIN_SAFE_INTEGER ? undefined : minimum;
  const most = maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? undefined : maximum;
  if (exclusiveMinimum !== undefined) {
    return most === undefined
      ? `, over ${exclusiveMinimum}`
      : `, over ${exclusiveMinimum} to ${most}`;
  }
  if (least === undefined) return "";
  return most === undefined ? `, ${least} or more` : `, ${least} to ${most}`;
}
