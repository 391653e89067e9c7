/** JSON white space, structure, or the end: what may stand around a number. */
const DIGITS = /[0-9]/;
/** Longest run of digits that is always exact: 2^53 has 16. */
const SAFE_DIGITS = 15;

/**
 * Makes whole numbers that JavaScript would round into text, so that a seed above 2^53 keeps every
 * digit: `{"seed":18446744073709551615}` becomes `{"seed":"18446744073709551615"}`. ComfyUI converts
 * an `INT` with Python's `int()`, which takes the text for the same number. Everything else stays
 * character by character; text that is no JSON is given back for the parser to refuse.
 */
export function quoteBigIntegers(json: string): string {
  let result = "";
  let copied = 0;
  let i = 0;
  while (i < json.length) {
    const char = json[i] ?? "";
    if (char === '"') {
      i = stringEnd(json, i);
    } else if (char === "-" || DIGITS.test(char)) {
      const end = numberEnd(json, i);
      const token = json.slice(i, end);
      if (isBigInteger(token)) {
        result += `${json.slice(copied, i)}"${token}"`;
        copied = end;
      }
      i = end;
    } else {
      i += 1;
    }
  }
  return copied === 0 ? json : result + json.slice(copied);
}

function stringEnd(json: string, start: number): number {
  let i = start + 1;
  while (i < json.length && json[i] !== '"') i += json[i] === "\\" ? 2 : 1;
  return i + 1;
}

function numberEnd(json: string, start: number): number {
  let end = start + 1;
  while (end < json.length && /[0-9eE+.-]/.test(json[end] ?? "")) end += 1;
  return end;
}

function isBigInteger(token: string): boolean {
  return (
    token.length > SAFE_DIGITS && /^-?[1-9]\d*$/.test(token) && !Number.isSafeInteger(Number(token))
  );
}
