import { quoteBigIntegers } from "@holdfast/comfyui/protocol";

/**
 * `JSON.parse` in which no integer loses digits: ComfyUI seeds go up to 2^64 − 1, JavaScript numbers
 * are exact to 2^53. Larger integers come as text of the same digits, which ComfyUI's validation
 * turns back into the integer. Throws `SyntaxError` like `JSON.parse`.
 */
export function parseJsonKeepingIntegers(text: string): unknown {
  return JSON.parse(quoteBigIntegers(text));
}
