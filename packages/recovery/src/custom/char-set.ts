/** Sets of characters of a pattern, coarse beyond ASCII: enough to say whether two can meet. */
export interface CharSet {
  /** One bit for each ASCII character. */
  readonly ascii: bigint;
  /** What it holds beyond ASCII: nothing, one character (in lower case), or many. */
  readonly beyond: "none" | "many" | number;
}

const ASCII_END = 128;
const ALL_ASCII = (1n << 128n) - 1n;

/** Every character. */
export const ANY_CHAR: CharSet = { ascii: ALL_ASCII, beyond: "many" };
/** Every character but the line feed. */
export const ANY_BUT_LINE_END: CharSet = { ascii: ALL_ASCII & ~bit(10), beyond: "many" };

/** The characters from one code point to another, in both cases if `foldsCase`. */
export function charRange(from: number, to: number, foldsCase: boolean): CharSet {
  let ascii = 0n;
  for (let code = from; code <= Math.min(to, ASCII_END - 1); code += 1) {
    ascii |= bit(code);
    if (foldsCase) ascii |= otherCase(code);
  }
  if (to < ASCII_END) return { ascii, beyond: "none" };
  const beyond = from === to ? lowerOf(from) : "many";
  return { ascii, beyond };
}

/** What is in either set. */
export function union(a: CharSet, b: CharSet): CharSet {
  const ascii = a.ascii | b.ascii;
  if (a.beyond === "none" || a.beyond === b.beyond) return { ascii, beyond: b.beyond };
  return { ascii, beyond: b.beyond === "none" ? a.beyond : "many" };
}

/** What is not in the set; beyond ASCII as much as may be. */
export function complement(set: CharSet): CharSet {
  return { ascii: ALL_ASCII & ~set.ascii, beyond: "many" };
}

/** Whether one character may be in both. */
export function canMeet(a: CharSet, b: CharSet): boolean {
  if ((a.ascii & b.ascii) !== 0n) return true;
  if (a.beyond === "none" || b.beyond === "none") return false;
  return a.beyond === "many" || b.beyond === "many" || a.beyond === b.beyond;
}

/** The ASCII members as text. */
export function asciiMembers(set: CharSet): string {
  let members = "";
  for (let code = 0; code < ASCII_END; code += 1) {
    if ((set.ascii & bit(code)) !== 0n) members += String.fromCharCode(code);
  }
  return members;
}

function bit(code: number): bigint {
  return 1n << BigInt(code);
}

function otherCase(code: number): bigint {
  const letter = String.fromCharCode(code);
  const other = letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
  return bit(other.charCodeAt(0));
}

function lowerOf(code: number): number {
  return String.fromCodePoint(code).toLowerCase().codePointAt(0) ?? code;
}
