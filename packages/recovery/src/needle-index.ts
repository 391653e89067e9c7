/*
 * Finds many short words in one pass over a text (Aho–Corasick). Searching a 64 KB message for
 * 400 words one by one takes several milliseconds; one pass takes a fraction of one, and does not
 * grow with the number of words. Rules then look only at the places where their words stand.
 */

/** First and last places of one word that was found; enough for rules to look around. */
export interface NeedleHits {
  /** Start offsets, ascending: the first {@link FIRST_HITS_MAX} and the last one. */
  readonly starts: readonly number[];
}

/** Hits kept for each word from the start of the text; the last one is kept as well. */
export const FIRST_HITS_MAX = 3;

/** Words to look for, compiled. Letters match in either case, any white space matches a blank. */
export interface NeedleIndex {
  /** Places of the words in `text`, by the word's position in the list that was compiled. */
  find(text: string): HitsByNeedle;
}

/** Places of words in a text, by the word's number. */
export type HitsByNeedle = ReadonlyMap<number, NeedleHits>;

/** Gathers the words of several readers, so that one pass over a text serves all of them. */
export interface NeedleBook {
  /** The number of a word, the same each time it is asked for. */
  numberOf(word: string): number;
  /** Compiles all words that were asked for. */
  compile(): NeedleIndex;
}

/** Makes an empty book. */
export function createNeedleBook(): NeedleBook {
  const numbers = new Map<string, number>();
  return {
    numberOf(word) {
      const number = numbers.get(word) ?? numbers.size;
      numbers.set(word, number);
      return number;
    },
    compile: () => createNeedleIndex([...numbers.keys()]),
  };
}

const UNICODE_UNITS = 65_536;
const NO_NEEDLE = -1;

/** Compiles words (lower case, not empty) to an index. Build it once: it holds a transition table. */
export function createNeedleIndex(needles: readonly string[]): NeedleIndex {
  const classOfUnit = new Uint16Array(UNICODE_UNITS);
  const classCount = fillClasses(classOfUnit, needles);
  const trie = buildTrie(needles, classOfUnit, classCount);
  const { next, ending, shorter } = linkFailures(trie, classCount);
  // The longest needle that ends in a state, so that most states cost one look.
  const longest = ending.map((needle, state) =>
    needle === NO_NEEDLE ? (shorter[state] ?? 0) : state,
  );
  return {
    find(text) {
      const hits = new Map<number, { starts: number[] }>();
      const { length } = text;
      let state = 0;
      for (let at = 0; at < length; at += 1) {
        const unitClass = classOfUnit[text.charCodeAt(at)] as number;
        state = next[state * classCount + unitClass] as number;
        let end = longest[state] as number;
        while (end !== 0) {
          const needle = ending[end] as number;
          record(hits, needle, at + 1 - (needles[needle]?.length ?? 0));
          end = shorter[end] as number;
        }
      }
      return hits;
    },
  };
}

function record(hits: Map<number, { starts: number[] }>, needle: number, start: number): void {
  const known = hits.get(needle);
  if (known === undefined) hits.set(needle, { starts: [start] });
  else if (known.starts.length <= FIRST_HITS_MAX) known.starts.push(start);
  else known.starts[FIRST_HITS_MAX] = start;
}

/** Gives every UTF-16 unit that occurs in a needle a class of its own; all others share class 0. */
function fillClasses(classOfUnit: Uint16Array, needles: readonly string[]): number {
  let classCount = 1;
  for (const needle of needles) {
    for (let at = 0; at < needle.length; at += 1) {
      const unit = needle.charCodeAt(at);
      if (classOfUnit[unit] !== 0) continue;
      classOfUnit[unit] = classCount;
      // Not every upper case leads back (of ß and of the Turkish ı it does not): those match as they are.
      const letter = needle.charAt(at);
      const upper = letter.toUpperCase();
      if (upper.length === 1 && upper.toLowerCase() === letter)
        classOfUnit[upper.charCodeAt(0)] = classCount;
      classCount += 1;
    }
  }
  for (const [written, read] of LOOKALIKES) {
    const readClass = classOfUnit[read.charCodeAt(0)] ?? 0;
    for (const unit of written) classOfUnit[unit.charCodeAt(0)] = readClass;
  }
  return classCount;
}

/** Characters that messages use one for the other: wrapped lines, typographic apostrophes. */
const LOOKALIKES: readonly (readonly [string, string])[] = [
  ["\t\n\r\u00a0", " "],
  ["\u2018\u2019", "'"],
];

interface Trie {
  /** Child state by `state * classCount + class`; 0 where there is none. */
  readonly next: Uint16Array | Uint32Array;
  readonly ending: Int32Array;
  readonly stateCount: number;
}

function buildTrie(needles: readonly string[], classOfUnit: Uint16Array, classCount: number): Trie {
  const most = needles.reduce((sum, needle) => sum + needle.length, 1);
  const next =
    most > UNICODE_UNITS ? new Uint32Array(most * classCount) : new Uint16Array(most * classCount);
  const ending = new Int32Array(most).fill(NO_NEEDLE);
  let stateCount = 1;
  for (const [index, needle] of needles.entries()) {
    let state = 0;
    for (let at = 0; at < needle.length; at += 1) {
      const edge = state * classCount + (classOfUnit[needle.charCodeAt(at)] ?? 0);
      let child = next[edge] ?? 0;
      if (child === 0) {
        child = stateCount;
        stateCount += 1;
        next[edge] = child;
      }
      state = child;
    }
    ending[state] = index;
  }
  const used = next.slice(0, stateCount * classCount);
  return { next: used, ending: ending.slice(0, stateCount), stateCount };
}

/** Turns the trie into an automaton: missing edges lead to the longest suffix that is a prefix. */
function linkFailures(trie: Trie, classCount: number) {
  const { next, ending, stateCount } = trie;
  const fallback = new Int32Array(stateCount);
  const shorter = new Int32Array(stateCount);
  const queue: number[] = [];
  for (let unitClass = 0; unitClass < classCount; unitClass += 1) {
    const child = next[unitClass] ?? 0;
    if (child !== 0) queue.push(child);
  }
  for (const state of queue) {
    const behind = fallback[state] ?? 0;
    shorter[state] = (ending[behind] ?? NO_NEEDLE) === NO_NEEDLE ? (shorter[behind] ?? 0) : behind;
    for (let unitClass = 0; unitClass < classCount; unitClass += 1) {
      const edge = state * classCount + unitClass;
      const child = next[edge] ?? 0;
      const instead = next[behind * classCount + unitClass] ?? 0;
      if (child === 0) {
        next[edge] = instead;
      } else {
        fallback[child] = instead;
        queue.push(child);
      }
    }
  }
  return { next, ending, shorter };
}
