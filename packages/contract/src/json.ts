/**
 * JSON in which no integer loses digits. ComfyUI seeds go up to 2^64 − 1; JavaScript numbers are
 * exact only to 2^53. An integer literal beyond that is read as text of the same digits, which
 * ComfyUI's validation turns back into the integer (execution.py 0.3.64 calls `int(value)`).
 */

/** A run of digits long enough to be unsafe: 16 digits start at 10^15, 2^53 has 16. */
const LONG_DIGITS = /\d{16}/;
/** A string (kept), or a number literal. Alternation is linear: each branch consumes what it sees. */
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/gs;

/** Quotes the integer literals of a JSON text that a JavaScript number cannot hold exactly. */
export function quoteUnsafeIntegers(text: string): string {
  if (!LONG_DIGITS.test(text)) return text;
  return text.replace(STRING_OR_NUMBER, (token) => {
    if (token.startsWith('"') || !/^-?\d+$/.test(token)) return token;
    return Number.isSafeInteger(Number(token)) ? token : `"${token}"`;
  });
}

/** `JSON.parse` that keeps the digits of every integer; throws `SyntaxError` like it. */
export function parseJsonKeepingIntegers(text: string): unknown {
  return JSON.parse(quoteUnsafeIntegers(text));
}
