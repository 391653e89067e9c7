import type { Clock, Random } from "@holdfast/runtime";
import type { Vram } from "../card/vram.ts";
import type { FileStore } from "../files/file-store.ts";
import type { NodeFaults } from "../faults/plan.ts";
import type { SimulatorOptions } from "../options.ts";
import type { NodeSurroundings } from "../nodes/node-class.ts";
import type { EventSink } from "./events.ts";
import { History } from "./history.ts";
import { NodeCache } from "./node-cache.ts";
import { PromptQueue, type QueueItem } from "./prompt-queue.ts";

/** What the engine works with; it outlives no crash, but for the files and the fault plan. */
interface EngineParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly timeScale: number;
  /** Of the card: see `VramPreset`. */
  readonly slowness: number;
  readonly files: FileStore;
  readonly vram: Vram;
  readonly faults: NodeFaults;
  readonly events: EventSink;
  readonly log: (line: string) => void;
  readonly onQueued: (promptId: string, clientId: string | null, isKnown: boolean) => void;
  readonly onNodeDone: NonNullable<SimulatorOptions["onNodeDone"]>;
  readonly modelNames: (folder: string) => readonly string[];
  /** Kills the simulated process. */
  readonly crash: () => void;
  /** Resolves when nothing stands in the way of work (a garbage collection may, F29). */
  readonly untilAwake: () => Promise<void> | undefined;
}

/** All that one simulated process holds in memory: gone when it dies (F12). */
export class ProcessState {
  readonly parts: EngineParts;
  readonly queue = new PromptQueue();
  readonly history = new History();
  readonly cache = new NodeCache();
  readonly surroundings: NodeSurroundings;
  /** Ends when the process does: everything that waits, waits under it. */
  readonly life = new AbortController();
  nextNumber = 0;
  /** The client whose prompt runs, or ran last (ComfyUI keeps it). */
  clientId: string | null = null;
  /** The node that runs now: told to a client that comes back. */
  currentNode: string | null = null;
  isZombie = false;
  /**
   * Whether the last node that ran did well: what a history entry calls success. ComfyUI keeps it
   * over prompts, so one that ends before a node of its own shows the one before.
   */
  hasSucceeded = true;
  promptCount = 0;
  #wanted: "unload" | "free" | null = null;
  #interrupt = new AbortController();
  #wake: (() => void) | null = null;
  readonly #diskCache = new Set<string>();

  constructor(parts: EngineParts) {
    this.parts = parts;
    this.surroundings = { files: parts.files, modelNames: parts.modelNames };
  }

  /** Tells everybody how long the queue is. */
  tellQueue(): void {
    this.parts.events.send("status", { status: this.queueInfo() }, null);
  }

  queueInfo(): { readonly exec_info: { readonly queue_remaining: number } } {
    return { exec_info: { queue_remaining: this.queue.remaining } };
  }

  /** Whether queue or history has a prompt of this id. */
  holds(promptId: string): boolean {
    const isIt = (item: QueueItem): boolean => item[1] === promptId;
    const { pending, running } = this.queue;
    return pending.some(isIt) || running.some(isIt) || this.history.get(promptId) !== undefined;
  }

  /** Wakes the worker: a prompt came, or a flag was set. */
  wake(): void {
    this.#wake?.();
  }

  /** Resolves at the next {@link wake}. */
  untilWoken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = null;
        resolve();
      };
    });
  }

  /** The signal that an interrupt aborts. */
  get interruptSignal(): AbortSignal {
    return this.#interrupt.signal;
  }

  /** Sets ComfyUI's interrupt flag; a node sees it where it looks. */
  interrupt(): void {
    this.#interrupt.abort();
  }

  /** Clears the flag, as every start of a prompt does; true when it was set. */
  clearInterrupt(): boolean {
    const wasSet = this.#interrupt.signal.aborted;
    if (wasSet) this.#interrupt = new AbortController();
    return wasSet;
  }

  /** `POST /free`: takes effect when nothing runs (F14). */
  wantFree(unloadModels: boolean, freeMemory: boolean): void {
    if (freeMemory) this.#wanted = "free";
    else if (unloadModels) this.#wanted ??= "unload";
    this.wake();
  }

  /** Does what `/free` asked for. */
  applyFree(): void {
    if (this.#wanted === null) return;
    this.parts.vram.unloadAll();
    if (this.#wanted === "free") {
      this.cache.clear();
      this.parts.vram.dropCached();
    }
    this.#wanted = null;
  }

  /** True the first time a file's weights are read: later they come from the page cache. */
  readsFromDisk(key: string): boolean {
    if (this.#diskCache.has(key)) return false;
    this.#diskCache.add(key);
    return true;
  }
}
