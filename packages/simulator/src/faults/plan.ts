import type { Random } from "@holdfast/runtime";
import { outOfMemoryMessage } from "../card/vram.ts";
import type { Vram } from "../card/vram.ts";
import type { Area, FileStore } from "../files/file-store.ts";
import type { NodeCall } from "../nodes/node-class.ts";
import { outOfMemory, RaisedError, SystemExitError } from "../nodes/raised.ts";
import type { FaultAction, FaultMatch, FaultRecord, FaultRule } from "./rules.ts";

/** What a rule is held against. */
interface Occasion {
  readonly promptId?: string;
  readonly classType?: string;
  readonly path?: string;
  readonly method?: string;
}

/** The node's side of the plan. */
export interface NodeFaults {
  /** Counts a prompt that starts, so that `nthPrompt` can be told. */
  promptStarts(promptId: string): void;
  /** Strikes before a node runs: raise, OOM, hang, crash, zombie. */
  beforeNode(turn: NodeOccasion, call: NodeCall): Promise<void>;
  extraLoadMs(turn: NodeOccasion): number;
  isDiskFull(turn: NodeOccasion): boolean;
  afterSave(turn: NodeOccasion, file: SavedPlace): void;
  /** Lets the prompt that ended leak. */
  afterPrompt(): void;
}

interface NodeOccasion {
  readonly promptId: string;
  readonly classType: string;
}

interface SavedPlace {
  readonly area: Area;
  readonly subfolder: string;
  readonly name: string;
}

interface Entry {
  readonly id: string;
  readonly rule: FaultRule;
  readonly madeAtPrompt: number;
  struck: number;
}

type ActionOf<K extends FaultAction["kind"]> = Extract<FaultAction, { readonly kind: K }>;

/** The limit of rules at one time. */
const MAX_RULES = 1000;
/** How many prompts are known by their place in the order. */
const MAX_KNOWN_PROMPTS = 20_000;

/** The rules, and which of them strikes when. Deterministic: chance comes from the seed. */
export class FaultPlan {
  readonly #entries = new Map<string, Entry>();
  readonly #random: Random;
  readonly #order = new Map<string, number>();
  #lastPromptId: string | undefined;
  #promptsSeen = 0;
  #nextId = 1;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Adds a rule; throws when there are too many. */
  add(rule: FaultRule): string {
    if (this.#entries.size >= MAX_RULES) {
      throw new Error(`too many fault rules: at most ${String(MAX_RULES)}`);
    }
    const id = `fault_${String(this.#nextId)}`;
    this.#nextId += 1;
    this.#entries.set(id, { id, rule, madeAtPrompt: this.#promptsSeen, struck: 0 });
    return id;
  }

  /** Removes one rule, or all of them. */
  clear(id?: string): void {
    if (id === undefined) this.#entries.clear();
    else this.#entries.delete(id);
  }

  list(): readonly FaultRecord[] {
    return [...this.#entries.values()].map(({ id, rule, struck }) => ({ id, rule, struck }));
  }

  /** True when any rule of these kinds is in force: spares the busy paths a search. */
  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  /** Takes note that a prompt starts, so that `nthPrompt` can be told. */
  promptStarts(promptId: string): void {
    this.#promptsSeen += 1;
    this.#lastPromptId = promptId;
    this.#order.set(promptId, this.#promptsSeen);
    if (this.#order.size > MAX_KNOWN_PROMPTS) {
      const oldest = this.#order.keys().next();
      if (oldest.done !== true) this.#order.delete(oldest.value);
    }
  }

  /** The prompt that started last. */
  get lastPromptId(): string | undefined {
    return this.#lastPromptId;
  }

  /** The first rule of a kind that strikes now; it counts as having struck. */
  strike<K extends FaultAction["kind"]>(
    kind: K,
    occasion: Occasion,
    condition: (action: ActionOf<K>) => boolean = () => true,
  ): ActionOf<K> | null {
    if (this.#entries.size === 0) return null;
    for (const entry of this.#entries.values()) {
      if (entry.rule.kind !== kind) continue;
      const action = entry.rule as ActionOf<K>;
      const match = entry.rule.match ?? {};
      const limit = match.count ?? 1;
      if (limit > 0 && entry.struck >= limit) continue;
      if (!this.#fits(match, occasion, entry.madeAtPrompt) || !condition(action)) continue;
      if (match.probability !== undefined && this.#random.next() >= match.probability) continue;
      entry.struck += 1;
      return action;
    }
    return null;
  }

  #fits(match: FaultMatch, occasion: Occasion, madeAtPrompt: number): boolean {
    if (match.promptId !== undefined && match.promptId !== occasion.promptId) return false;
    if (match.nodeClass !== undefined && match.nodeClass !== occasion.classType) return false;
    if (match.method !== undefined && match.method !== occasion.method) return false;
    if (match.path !== undefined && occasion.path?.startsWith(match.path) !== true) return false;
    if (match.nthPrompt === undefined) return true;
    const place = this.#order.get(occasion.promptId ?? "");
    return place !== undefined && place - madeAtPrompt === match.nthPrompt;
  }
}

/** Puts the plan's node faults into effect. */
export function createNodeFaults(
  plan: FaultPlan,
  parts: {
    readonly vram: Vram;
    readonly files: FileStore;
    readonly crash: (rule: ActionOf<"crash">) => void;
    readonly pause: (ms: number) => void;
  },
): NodeFaults {
  return {
    promptStarts: (promptId) => plan.promptStarts(promptId),
    async beforeNode(turn, call) {
      if (plan.isEmpty) return;
      const pause = plan.strike("gc_pause", turn);
      if (pause !== null) parts.pause(pause.ms);
      const crash = plan.strike("crash", turn);
      if (crash !== null) {
        parts.crash(crash);
        call.crashProcess();
      }
      if (plan.strike("zombie", turn) !== null) throw new SystemExitError("1");
      if (plan.strike("oom", turn) !== null) throw outOfMemory(simulatedOom(parts.vram));
      const raise = plan.strike("raise", turn);
      if (raise !== null) {
        throw new RaisedError(raise.exceptionType ?? "RuntimeError", raise.message ?? "simulated");
      }
      const hang = plan.strike("hang", turn);
      if (hang !== null) await call.hang(hang.polls ?? false);
    },
    extraLoadMs: (turn) => plan.strike("slow_load", turn)?.ms ?? 0,
    isDiskFull: (turn) => plan.strike("disk_full", turn) !== null,
    afterSave(turn, file) {
      if (plan.strike("delete_file", turn, namesNode) !== null)
        parts.files.remove(file.area, file.subfolder, file.name);
    },
    afterPrompt() {
      if (plan.isEmpty || plan.lastPromptId === undefined) return;
      const leak = plan.strike("leak", { promptId: plan.lastPromptId });
      if (leak !== null) parts.vram.leak(leak.bytes, leak.heldBy);
    },
  };
}

function simulatedOom(vram: Vram): string {
  const stats = vram.stats();
  return outOfMemoryMessage({
    triedBytes: 2 * 1024 ** 3,
    totalBytes: stats.totalBytes,
    freeBytes: Math.min(stats.freeBytes, 1.5 * 1024 ** 3),
    otherBytes: stats.otherBytes,
    allocatedBytes: stats.torchTotalBytes,
  });
}

/** True for a rule about a node class: `delete_file` strikes there at the save, else at `/view`. */
export function namesNode(rule: FaultRule): boolean {
  return rule.match?.nodeClass !== undefined;
}
