import { ofWholeFile, type FileProblem } from "./file-problem.ts";
import { parseYaml } from "./parse-yaml.ts";
import { keysAt, type SchemaNode } from "./schema-words.ts";
import type { YamlPlaces } from "./yaml-positions.ts";

/** What is said when there is no mapping at the top of a file. */
export interface MappingWords {
  /** Of a file without anything in it: what to do. */
  readonly empty: string;
  /** Of one that is a list or a text: what was expected. */
  readonly notMapping: string;
}

/** A file with a mapping at its top; or why it is none. */
export type MappingReading =
  | {
      readonly kind: "ok";
      readonly value: Readonly<Record<string, unknown>>;
      readonly places: YamlPlaces;
    }
  | { readonly kind: "refused"; readonly problems: readonly FileProblem[] };

/**
 * The sections of a file, not checked yet. One whose entries are all commented out is written `nodes:`,
 * and means that there are none: it is left out.
 */
export function readMapping(text: string, tree: SchemaNode, words: MappingWords): MappingReading {
  const yaml = parseYaml(text);
  if (yaml.kind === "refused") {
    return { kind: "refused", problems: yaml.problems.map((one) => ({ path: "", ...one })) };
  }
  const { value, places } = yaml;
  if (value === null || value === undefined) return refusedWhole(words.empty);
  if (typeof value !== "object" || Array.isArray(value)) return refusedWhole(words.notMapping);
  const known = keysAt(tree, []);
  const sections = Object.entries(value).filter(
    ([name, section]) => section !== null || !known.includes(name),
  );
  return { kind: "ok", value: Object.fromEntries(sections), places };
}

function refusedWhole(message: string): MappingReading {
  return { kind: "refused", problems: [ofWholeFile(message)] };
}
