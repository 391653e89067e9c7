import { randomBytesFrom } from "./minting.ts";
import { createVram, VRAM_PRESETS, type VramPreset } from "./card/vram.ts";
import { ProcessState } from "./engine/process-state.ts";
import { runWorker } from "./engine/worker.ts";
import { Pause } from "./faults/pause.ts";
import { createNodeFaults, FaultPlan, namesNode } from "./faults/plan.ts";
import type { FaultAction, FaultRecord, FaultRule } from "./faults/rules.ts";
import { createDiskFiles } from "./files/disk-files.ts";
import type { FileStore, StoredFile } from "./files/file-store.ts";
import { createMemoryFiles } from "./files/memory-files.ts";
import type { FileTamper } from "./http/file-routes.ts";
import { DEFAULT_MODELS, DEFAULTS, type ModelFile, type SimulatorOptions } from "./options.ts";
import { SocketHub } from "./sockets.ts";
import { seededRandom, type Random } from "@holdfast/runtime";

/** Numbers about a running simulator. */
export interface SimulatorStats {
  readonly simulated: true;
  /** How often the process started: 1 until the first crash. */
  readonly starts: number;
  readonly promptsRun: number;
  readonly queueRemaining: number;
  readonly historySize: number;
  readonly openSockets: number;
  readonly isZombie: boolean;
  readonly vramFreeBytes: number;
  /** How often the card had no room for what a node asked for, over all starts. */
  readonly outOfMemory: number;
  /** How often nodes of a class ran to their end, over all starts; those from the cache did not run. */
  readonly nodesRun: Readonly<Record<string, number>>;
  readonly requests: Readonly<Record<string, number>>;
}

/** Faults by command. */
export interface SimulatorFaults {
  /** Puts a rule in force, or strikes at once when it says no condition; its id. */
  add(rule: FaultRule): string;
  clear(id?: string): void;
  list(): readonly FaultRecord[];
}

/** Faults that strike at once when they name no condition. */
const IMMEDIATE: ReadonlySet<FaultAction["kind"]> = new Set<FaultAction["kind"]>([
  "crash",
  "zombie",
  "gc_pause",
  "leak",
  "other_process",
  "drop_socket",
  "stall_socket",
  "lose_registration",
]);

/** How many paths are counted apart. */
const MAX_COUNTED_PATHS = 200;
/** How many classes of nodes are counted apart. */
const MAX_COUNTED_CLASSES = 500;

/**
 * One simulated machine: its files, its faults, its card, and the ComfyUI process that may die and
 * come back on it. Knows nothing of listening: `onCrash` is told.
 */
export class Simulation {
  readonly files: FileStore;
  readonly pause: Pause;
  readonly plan: FaultPlan;
  readonly hub: SocketHub;
  readonly faults: SimulatorFaults;
  readonly settings = new Map<string, unknown>();
  readonly queueLimit: number;
  readonly deviceName: string;
  readonly mintPromptId: () => string;
  /** Told when the process dies: for how long, null is for ever. */
  onCrash: (downMs: number | null) => void = () => undefined;
  state: ProcessState;
  readonly #options: SimulatorOptions;
  readonly #random: Random;
  readonly #preset: VramPreset;
  readonly #requests = new Map<string, number>();
  readonly #end = new AbortController();
  #otherBytes = 0;
  #starts = 0;
  #promptsBefore = 0;
  #outOfMemoryBefore = 0;
  readonly #nodesRun = new Map<string, number>();

  constructor(options: SimulatorOptions) {
    this.#options = options;
    this.#random = options.random ?? seededRandom(options.seed ?? DEFAULTS.seed);
    this.#preset =
      typeof options.vram === "object" ? options.vram : VRAM_PRESETS[options.vram ?? "24gb"];
    this.queueLimit = options.queueLimit ?? DEFAULTS.queueLimit;
    this.deviceName = this.#preset.deviceName.includes("simulated")
      ? this.#preset.deviceName
      : `simulated ${this.#preset.deviceName}`;
    this.files =
      options.dataDir === undefined || options.dataDir === null
        ? createMemoryFiles(options.clock, options.memoryCapBytes ?? DEFAULTS.memoryCapBytes)
        : createDiskFiles(options.dataDir);
    this.pause = new Pause(options.clock, this.#end.signal);
    this.plan = new FaultPlan(this.#random);
    this.mintPromptId = () => uuidFrom(randomBytesFrom(this.#random, 16));
    this.hub = new SocketHub(
      {
        queueInfo: () => this.state.queueInfo(),
        current: () => ({ clientId: this.state.clientId, node: this.state.currentNode }),
        mintSid: () => randomBytesFrom(this.#random, 16).toString("hex"),
      },
      this.plan,
      this.pause,
    );
    this.faults = {
      add: (rule) => this.#addFault(rule),
      clear: (id) => this.plan.clear(id),
      list: () => this.plan.list(),
    };
    this.state = this.#newProcess();
    for (const rule of options.faults ?? []) this.#addFault(rule);
  }

  /** Starts the process: memory is empty, numbers begin at 0, files are what they were (F12, F30). */
  start(): void {
    this.files.clear("temp");
    this.#starts += 1;
    if (this.#starts > 1) {
      this.#outOfMemoryBefore += this.state.parts.vram.stats().refused;
      this.state = this.#newProcess();
    }
    const { state } = this;
    const { log } = state.parts;
    log(`simulated ComfyUI version 0.3.64-simulated, ${this.deviceName}`);
    runWorker(state).catch((error: unknown) => {
      log(`simulated: the worker failed, which is a bug of the simulator: ${String(error)}`);
      state.isZombie = true;
    });
  }

  /** Ends the process at once, and everything that waits in it. */
  kill(): void {
    if (this.state.life.signal.aborted) return;
    this.#promptsBefore += this.state.promptCount;
    this.state.life.abort();
    this.state.wake();
    this.hub.cutAll();
  }

  /** Ends the whole simulation: no process will come again. */
  end(): void {
    this.#end.abort();
    this.kill();
  }

  /** The process dies; `downMs` later it may come back, null is never. */
  crash(downMs: number | null): void {
    if (this.state.life.signal.aborted) return;
    this.kill();
    this.onCrash(downMs);
  }

  countRequest(method: string, path: string): void {
    const key = `${method} ${path.split("/").slice(0, 2).join("/")}`;
    countIn(this.#requests, key, MAX_COUNTED_PATHS);
  }

  stats(): SimulatorStats {
    const vram = this.state.parts.vram.stats();
    return {
      simulated: true,
      starts: this.#starts,
      promptsRun: this.#promptsBefore + this.state.promptCount,
      queueRemaining: this.state.queue.remaining,
      historySize: this.state.history.size,
      openSockets: this.hub.openCount,
      isZombie: this.state.isZombie,
      vramFreeBytes: vram.freeBytes,
      outOfMemory: this.#outOfMemoryBefore + vram.refused,
      nodesRun: Object.fromEntries(this.#nodesRun),
      requests: Object.fromEntries(this.#requests),
    };
  }

  /** What is in a model file. */
  readonly modelFile = (folder: string, name: string): ModelFile =>
    this.#options.modelFiles?.[folder]?.[name] ?? {};

  /** Lets faults have a file on its way out of `/view`. */
  readonly tamper: FileTamper = (file, name) => {
    if (this.plan.isEmpty) return file;
    const occasion = { path: `/view/${name}` };
    if (this.plan.strike("delete_file", occasion, (rule) => !namesNode(rule)) !== null) return null;
    const corrupt = this.plan.strike("corrupt_file", occasion);
    return corrupt === null ? file : corrupted(file, corrupt.how ?? "truncate");
  };

  #newProcess(): ProcessState {
    const { clock } = this.#options;
    const models = this.#options.models ?? DEFAULT_MODELS;
    const vram = createVram(this.#preset.totalBytes);
    vram.holdByOthers(this.#otherBytes);
    const crash = (): void => this.crash(this.#options.restartDelayMs ?? DEFAULTS.restartDelayMs);
    const state: ProcessState = new ProcessState({
      clock,
      random: this.#random,
      timeScale: this.#options.timeScale ?? 1,
      slowness: this.#preset.slowness ?? 1,
      files: this.files,
      vram,
      faults: createNodeFaults(this.plan, {
        vram,
        files: this.files,
        crash: (rule) => this.crash(this.#downMs(rule)),
        pause: (ms) => this.pause.begin(ms),
      }),
      events: this.hub,
      log: this.#options.log ?? (() => undefined),
      onQueued: (promptId, clientId, isKnown) =>
        this.#options.onQueued?.({ promptId, clientId, isKnown }),
      onNodeDone: (done) => {
        countIn(this.#nodesRun, done.classType, MAX_COUNTED_CLASSES);
        this.#options.onNodeDone?.(done);
      },
      modelNames: (folder) => models[folder] ?? [],
      crash: () => {
        if (!state.life.signal.aborted) crash();
      },
      untilAwake: () => this.pause.untilOver(),
    });
    return state;
  }

  #downMs(rule: { readonly downMs?: number; readonly isForEver?: boolean }): number | null {
    if (rule.isForEver === true) return null;
    return rule.downMs ?? this.#options.restartDelayMs ?? DEFAULTS.restartDelayMs;
  }

  #addFault(rule: FaultRule): string {
    const hasNoCondition = Object.keys(rule.match ?? {}).length === 0;
    const isDelayed = "afterEvents" in rule && rule.afterEvents !== undefined;
    const isNow = hasNoCondition && !isDelayed && IMMEDIATE.has(rule.kind);
    if (!isNow) return this.plan.add(rule);
    this.strikeNow(rule);
    return "struck";
  }

  /** Puts an immediate fault into effect. */
  strikeNow(rule: FaultAction): void {
    switch (rule.kind) {
      case "crash":
        this.crash(this.#downMs(rule));
        return;
      case "zombie":
        this.state.isZombie = true;
        return;
      case "gc_pause":
        this.pause.begin(rule.ms);
        return;
      case "leak":
        this.state.parts.vram.leak(rule.bytes, rule.heldBy);
        return;
      case "other_process":
        this.#otherBytes = rule.bytes;
        this.state.parts.vram.holdByOthers(rule.bytes);
        return;
      case "drop_socket":
        this.hub.cutAll();
        return;
      case "stall_socket":
        this.hub.muteAll();
        return;
      case "lose_registration":
        this.hub.unregister();
        return;
      default:
        this.plan.add(rule);
    }
  }
}

function corrupted(file: StoredFile, how: "truncate" | "alter"): StoredFile {
  const half = Math.floor(file.bytes.length / 2);
  if (how === "truncate") return { ...file, bytes: file.bytes.subarray(0, half) };
  const bytes = Buffer.from(file.bytes);
  bytes[half] = (bytes[half] ?? 0) ^ 0xff;
  return { ...file, bytes };
}

function uuidFrom(bytes: Buffer): string {
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}

/** One more of this key; keys beyond the limit are not counted. */
function countIn(counts: Map<string, number>, key: string, limit: number): void {
  const known = counts.get(key);
  if (known === undefined && counts.size >= limit) return;
  counts.set(key, (known ?? 0) + 1);
}
