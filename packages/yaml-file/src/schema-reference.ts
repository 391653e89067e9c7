import { alternatives, typeWords, type SchemaNode } from "./schema-words.ts";

/** One key of a file, for its document. */
export interface SchemaKey {
  /** `nodes[].ref`, `instances.overrides.<name>.flags`. */
  readonly path: string;
  /** What may stand there, in words. */
  readonly type: string;
  /** As it would be written in YAML; `required`; or `–` where there is none. */
  readonly default: string;
  readonly meaning: string;
}

/** Every key of a file in the order of its schema, parents before what is in them. */
export function schemaReference(tree: SchemaNode): readonly SchemaKey[] {
  return keysBelow(tree, "");
}

function keysBelow(node: SchemaNode, above: string): readonly SchemaKey[] {
  return alternatives(node).flatMap((one) => {
    const isChoice = node.anyOf !== undefined;
    const own = Object.entries(one.properties ?? {}).flatMap(([name, child]) => {
      const path = above === "" ? name : `${above}.${name}`;
      // Of a choice nothing is required for itself: the meaning says what belongs together.
      const isRequired = !isChoice && (one.required ?? []).includes(name);
      return [toKey(path, child, isRequired), ...keysBelow(child, path)];
    });
    const inList = one.items === undefined ? [] : keysBelow(one.items, `${above}[]`);
    const inRecord =
      typeof one.additionalProperties === "object"
        ? keysBelow(one.additionalProperties, `${above}.<name>`)
        : [];
    return [...own, ...inList, ...inRecord];
  });
}

function toKey(path: string, node: SchemaNode, isRequired: boolean): SchemaKey {
  return {
    path,
    type: typeWords(node),
    default: isRequired ? "required" : defaultText(node.default),
    meaning: node.description ?? "",
  };
}

function defaultText(value: unknown): string {
  const isEmptyMapping =
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.keys(value).length === 0;
  if (value === undefined || isEmptyMapping) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}
