import { parseJsonKeepingIntegers } from "@holdfast/contract";
import { fieldOf } from "../api/api-client.ts";

/** What `--set` said, or why it says nothing. */
export type SetValues =
  | { readonly kind: "ok"; readonly values: Readonly<Record<string, unknown>> }
  | { readonly kind: "bad"; readonly message: string };

/**
 * Reads `node.input=value` texts. A value that is JSON is taken as such (`7`, `1.5`, `true`,
 * `["4",0]`), anything else as text. Where the graph now holds a text, only quoted JSON or plain text
 * gives one: a prompt of `1984` stays a prompt.
 */
export function parseSetValues(texts: readonly string[], graph: unknown): SetValues {
  const values: Record<string, unknown> = {};
  for (const text of texts) {
    const equals = text.indexOf("=");
    const name = text.slice(0, equals).trim();
    if (equals <= 0 || !/^[^.]+.*\..+$/.test(name)) {
      return {
        kind: "bad",
        message: `--set ${text}: expected node.input=value, for example --set 3.seed=7`,
      };
    }
    values[name] = parseValue(text.slice(equals + 1), currentValue(graph, name));
  }
  return { kind: "ok", values };
}

function parseValue(text: string, current: unknown): unknown {
  if (typeof current === "string" && !/^\s*"/.test(text)) return text;
  try {
    return parseJsonKeepingIntegers(text);
  } catch {
    return text;
  }
}

/** The value at `node.input`. Ids and names may hold dots: the last dot that fits counts. */
export function currentValue(graph: unknown, name: string): unknown {
  for (let dot = name.lastIndexOf("."); dot > 0; dot = name.lastIndexOf(".", dot - 1)) {
    const inputs = fieldOf(fieldOf(graph, name.slice(0, dot)), "inputs");
    const value = fieldOf(inputs, name.slice(dot + 1));
    if (value !== undefined) return value;
  }
  return undefined;
}
