import { parseSetValues, type SetValues } from "../submit/set-values.ts";

/**
 * Reads `--set`: `node.input=value` as `submit` does, and `variable=value` for a `{{variable}}` of the
 * graph, whose value is a number, true or false where it reads as one.
 */
export function parseBatchSet(texts: readonly string[], graph: unknown): SetValues {
  const ofInputs: string[] = [];
  const variables: [string, unknown][] = [];
  for (const text of texts) {
    const match = /^\s*([A-Za-z_][A-Za-z0-9_-]{0,63})\s*=([^]*)$/.exec(text);
    if (match?.[1] === undefined) ofInputs.push(text);
    else variables.push([match[1], readScalar(match[2] ?? "")]);
  }
  const read = parseSetValues(ofInputs, graph);
  if (read.kind === "bad") {
    return { kind: "bad", message: `${read.message}, or variable=value, such as --set style=oil` };
  }
  return { kind: "ok", values: { ...read.values, ...Object.fromEntries(variables) } };
}

function readScalar(text: string): unknown {
  if (text === "true" || text === "false") return text === "true";
  const number = Number(text);
  const isNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/.test(text);
  // Digits that a number would lose stay text, as everywhere on the wire.
  const isExact = isNumber && (!Number.isInteger(number) || Number.isSafeInteger(number));
  return isExact ? number : text;
}
