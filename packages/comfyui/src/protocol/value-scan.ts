/** What a scan may find wrong with a value. */
export type ValueProblem = "too_large" | "too_deep" | "reserved_key" | "bad_text" | "bad_value";

/** Adds values up and looks into every corner of them. */
export interface ValueScan {
  /** Scans one more value; the first problem met, or undefined. Sizes add up over calls. */
  add(value: unknown): ValueProblem | undefined;
}

/** Brackets, quotes and commas around one value. */
const OVERHEAD_BYTES = 3;

/**
 * A scan without recursion over parsed JSON: size, depth, keys that would reach a prototype, and
 * text or numbers that a database or JSON itself would refuse or silently change (NUL, half of a
 * surrogate pair, Infinity).
 */
export function createValueScan(limits: {
  readonly maxBytes: number;
  readonly maxValueDepth: number;
}): ValueScan {
  let bytes = 0;
  // A node is an object that holds `inputs`: two levels that belong to no input's value.
  const maxDepth = limits.maxValueDepth + 2;

  const addText = (text: string): ValueProblem | undefined => {
    bytes += text.length + OVERHEAD_BYTES;
    if (bytes > limits.maxBytes) return "too_large";
    for (let i = 0; i < text.length; i += 1) {
      const unit = text.charCodeAt(i);
      if (unit === 0) return "bad_text";
      if (unit <= 0x7f) continue;
      bytes += unit <= 0x7ff ? 1 : 2;
      if (unit < 0xd800 || unit > 0xdfff) continue;
      const next = text.charCodeAt(i + 1);
      // A high half must be followed by a low one; a low half alone is wrong as well.
      if (unit > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) return "bad_text";
      i += 1;
    }
    return bytes > limits.maxBytes ? "too_large" : undefined;
  };

  return {
    add(root) {
      const stack: { readonly value: unknown; readonly depth: number }[] = [
        { value: root, depth: 0 },
      ];
      for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
        const { value, depth } = top;
        bytes += OVERHEAD_BYTES;
        if (bytes > limits.maxBytes) return "too_large";
        if (typeof value === "string") {
          const problem = addText(value);
          if (problem !== undefined) return problem;
        } else if (typeof value === "object" && value !== null) {
          if (depth >= maxDepth) return "too_deep";
          const isList = Array.isArray(value);
          for (const [key, item] of Object.entries(value)) {
            if (!isList) {
              if (key === "__proto__") return "reserved_key";
              const problem = addText(key);
              if (problem !== undefined) return problem;
            }
            stack.push({ value: item, depth: depth + 1 });
          }
        } else if (!isJsonScalar(value)) {
          return "bad_value";
        }
      }
      return undefined;
    },
  };
}

function isJsonScalar(value: unknown): boolean {
  return value === null || typeof value === "boolean" || Number.isFinite(value);
}
