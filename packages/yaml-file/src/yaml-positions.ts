/** Where something stands in a YAML text. */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Document,
  type LineCounter,
  type Node,
  type Pair,
} from "yaml";
import type { YamlPath } from "./finding.ts";

/** Line and column, both from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Answers where a path stands, and how a scalar there is written. */
export interface YamlPlaces {
  /** Of the value; `key`: of its key. What is not there: of the nearest thing around it that is. */
  positionOf(path: YamlPath, part: "key" | "value"): Position;
  /** A scalar as it is written (`3.10`, which is a number, not the text); undefined for anything else. */
  sourceOf(path: YamlPath): string | undefined;
}

interface Found {
  readonly key: Node | null;
  readonly value: Node | null;
}

/** Places in a parsed document. */
export function yamlPlaces(document: Document.Parsed, lines: LineCounter): YamlPlaces {
  const find = (path: YamlPath): Found | undefined => {
    let found: Found = { key: null, value: document.contents };
    for (const part of path) {
      const next = childOf(resolved(found.value, document), part);
      if (next === undefined) return undefined;
      found = next;
    }
    return found;
  };
  return {
    positionOf(path, part) {
      for (let length = path.length; length >= 0; length -= 1) {
        const found = find(path.slice(0, length));
        if (found === undefined) continue;
        // What is missing is looked for by its surroundings' name.
        const isKey = part === "key" || length < path.length;
        const node = isKey ? (found.key ?? found.value) : (found.value ?? found.key);
        return positionAt(node, lines);
      }
      return { line: 1, column: 1 };
    },
    sourceOf(path) {
      const node = resolved(find(path)?.value ?? null, document);
      return isScalar(node) ? (node.source ?? undefined) : undefined;
    },
  };
}

function positionAt(node: Node | null, lines: LineCounter): Position {
  const offset = node?.range?.[0];
  if (offset === undefined) return { line: 1, column: 1 };
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

function resolved(node: Node | null, document: Document.Parsed): Node | null {
  return isAlias(node) ? (node.resolve(document) ?? null) : node;
}

function childOf(node: Node | null, part: string | number): Found | undefined {
  if (isSeq(node)) {
    const value = typeof part === "number" ? node.items[part] : undefined;
    return value === undefined ? undefined : { key: null, value: value as Node | null };
  }
  if (!isMap(node)) return undefined;
  const pair = node.items.find((one: Pair) => keyText(one.key) === String(part));
  return pair === undefined
    ? undefined
    : { key: pair.key as Node | null, value: pair.value as Node | null };
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}
