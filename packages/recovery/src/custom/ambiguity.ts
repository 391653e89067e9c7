/**
 * Whether a pattern is explosive: whether there are texts that it can match in exponentially many
 * ways, like `(a+)+`. re2js runs in linear time all the same, but such a pattern is a mistake, and
 * takes down whatever other engine it is copied to.
 *
 * The test is the known one on the automaton of a pattern's positions: explosive exactly when some
 * text leads from a position back to itself on two different ways (Weber and Seidl 1991). Counted
 * repeats of ten and more turns are taken for endless ones: that many ways are explosion enough.
 */
import { assertNever } from "@holdfast/runtime";
import { canMeet, type CharSet } from "./char-set.ts";
import type { RegexNode } from "./regex-tree.ts";

/** What was found; `too_large`: the pattern is larger than can be proved anything about. */
export type Ambiguity = "none" | "explosive" | "too_large";

const ENDLESS_FROM = 10;
const POSITIONS_MAX = 400;
const STEPS_MAX = 400_000;

/** Says whether a pattern is explosive. Takes milliseconds at most. */
export function findAmbiguity(tree: RegexNode): Ambiguity {
  const automaton: Automaton = { sets: [], follow: [], isDoubled: false };
  build(tree, automaton);
  if (automaton.isDoubled) return "explosive";
  if (automaton.sets.length > POSITIONS_MAX) return "too_large";
  return hasTwoWays(automaton);
}

interface Automaton {
  readonly sets: CharSet[];
  /** By position: what may come after it. */
  readonly follow: Set<number>[];
  /** A repeat leads where a repeat inside it leads already. */
  isDoubled: boolean;
}

interface Part {
  readonly isNullable: boolean;
  readonly first: readonly number[];
  readonly last: readonly number[];
}

const EMPTY_PART: Part = { isNullable: true, first: [], last: [] };

function build(node: RegexNode, automaton: Automaton): Part {
  switch (node.kind) {
    case "empty":
      return EMPTY_PART;
    case "char": {
      const position = automaton.sets.push(node.set) - 1;
      automaton.follow.push(new Set());
      return { isNullable: false, first: [position], last: [position] };
    }
    case "sequence":
      return node.parts
        .map((part) => build(part, automaton))
        .reduce((before, next) => follows(before, next, automaton), EMPTY_PART);
    case "choice": {
      const branches = node.branches.map((branch) => build(branch, automaton));
      return {
        isNullable: branches.some((branch) => branch.isNullable),
        first: branches.flatMap((branch) => branch.first),
        last: branches.flatMap((branch) => branch.last),
      };
    }
    case "repeat": {
      const body = build(node.body, automaton);
      const isEndless = node.max === null || node.max >= ENDLESS_FROM;
      if (isEndless) repeats(body, automaton);
      return node.min === 0 ? { ...body, isNullable: true } : body;
    }
    default:
      return assertNever(node);
  }
}

function follows(before: Part, next: Part, { follow }: Automaton): Part {
  for (const from of before.last) for (const to of next.first) follow[from]?.add(to);
  return {
    isNullable: before.isNullable && next.isNullable,
    first: before.isNullable ? [...before.first, ...next.first] : before.first,
    last: next.isNullable ? [...before.last, ...next.last] : next.last,
  };
}

function repeats(body: Part, automaton: Automaton): void {
  for (const from of body.last) {
    const known = automaton.follow[from];
    for (const to of body.first) {
      if (known?.has(to) === true) automaton.isDoubled = true;
      known?.add(to);
    }
  }
}

/**
 * Looks for two ways in the product of the automaton with itself: a circle through a pair of equal
 * positions and a pair of different ones.
 */
function hasTwoWays({ sets, follow }: Automaton): Ambiguity {
  const count = sets.length;
  let steps = 0;
  const nextOf = (pair: number): number[] => {
    const pairs: number[] = [];
    for (const a of follow[Math.floor(pair / count)] ?? []) {
      for (const b of follow[pair % count] ?? []) {
        steps += 1;
        const [setA, setB] = [sets[a], sets[b]];
        // A pair stands for its mirror as well.
        if (setA !== undefined && setB !== undefined && (a === b || canMeet(setA, setB))) {
          pairs.push(Math.min(a, b) * count + Math.max(a, b));
        }
      }
    }
    return pairs;
  };
  const edges = new Map<number, number[]>();
  const waiting = sets.map((_, position) => position * count + position);
  for (let pair = waiting.pop(); pair !== undefined; pair = waiting.pop()) {
    if (edges.has(pair)) continue;
    if (steps > STEPS_MAX) return "too_large";
    const next = nextOf(pair);
    edges.set(pair, next);
    waiting.push(...next.filter((one) => !edges.has(one)));
  }
  return isCircleThroughBoth(edges, count) ? "explosive" : "none";
}

/** Whether a strongly connected part holds an equal pair and another one (Tarjan, without recursion). */
function isCircleThroughBoth(
  edges: ReadonlyMap<number, readonly number[]>,
  count: number,
): boolean {
  const index = new Map<number, number>();
  const low = new Map<number, number>();
  const open: number[] = [];
  const isOpen = new Set<number>();
  for (const root of edges.keys()) {
    if (index.has(root)) continue;
    const path: { pair: number; at: number }[] = [{ pair: root, at: 0 }];
    while (path.length > 0) {
      const top = path.at(-1);
      if (top === undefined) break;
      const { pair } = top;
      if (top.at === 0) {
        index.set(pair, index.size);
        low.set(pair, index.size - 1);
        open.push(pair);
        isOpen.add(pair);
      }
      const next = edges.get(pair)?.[top.at];
      top.at += 1;
      if (next === undefined) {
        path.pop();
        const parent = path.at(-1)?.pair;
        if (parent !== undefined) lower(low, parent, low.get(pair));
        if (low.get(pair) === index.get(pair) && isMixed(open, isOpen, pair, count)) return true;
      } else if (!index.has(next)) {
        path.push({ pair: next, at: 0 });
      } else if (isOpen.has(next)) {
        lower(low, pair, index.get(next));
      }
    }
  }
  return false;
}

function lower(low: Map<number, number>, pair: number, to: number | undefined): void {
  low.set(pair, Math.min(low.get(pair) ?? 0, to ?? 0));
}

/** Takes one connected part off the stack, and says whether it holds both kinds of pairs. */
function isMixed(open: number[], isOpen: Set<number>, root: number, count: number): boolean {
  let [equal, different] = [false, false];
  for (;;) {
    const pair = open.pop();
    if (pair === undefined) break;
    isOpen.delete(pair);
    if (Math.floor(pair / count) === pair % count) equal = true;
    else different = true;
    if (pair === root) break;
  }
  return equal && different;
}
