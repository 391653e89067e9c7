import type { Graph } from "@holdfast/comfyui/protocol";
import { DURATIONS } from "../card/work.ts";
import { NodeInputs } from "../nodes/node-inputs.ts";
import type { NodeCall } from "../nodes/node-class.ts";
import {
  diskFull,
  InterruptedError,
  nameTooLong,
  outOfMemory,
  ProcessGoneError,
} from "../nodes/raised.ts";
import type { ProcessState } from "./process-state.ts";
import type { ProgressBoard } from "./progress.ts";

const SUFFIX_LETTERS = "abcdefghijklmnopqrstupvxyz";
const SUFFIX_LENGTH = 5;
/** What the file systems of servers take. */
const MAX_FILE_NAME_BYTES = 255;

/** One node's turn: what it belongs to. */
export interface NodeTurn {
  readonly nodeId: string;
  readonly classType: string;
  readonly promptId: string;
  readonly clientId: string | null;
  readonly graph: Graph;
  readonly pngInfo: Readonly<Record<string, unknown>>;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly progress: ProgressBoard;
}

/** Throws where ComfyUI looks at its interrupt flag. */
export function throwIfInterrupted(state: ProcessState): void {
  if (state.clearInterrupt()) throw new InterruptedError("interrupted");
}

/** What a node gets to run with, bound to one simulated process. */
export function createNodeCall(state: ProcessState, turn: NodeTurn): NodeCall {
  const { parts } = state;

  const pass = async (ms: number, polls: boolean): Promise<void> => {
    if (polls) throwIfInterrupted(state);
    if (ms <= 0) return;
    const life = state.life.signal;
    const signal = polls ? AbortSignal.any([life, state.interruptSignal]) : life;
    try {
      await parts.clock.sleep(ms, signal);
    } catch (error) {
      if (life.aborted) throw new ProcessGoneError("process gone", { cause: error });
      throwIfInterrupted(state);
      throw error;
    }
    await parts.untilAwake();
  };

  return {
    files: parts.files,
    modelNames: parts.modelNames,
    nodeId: turn.nodeId,
    promptId: turn.promptId,
    graph: turn.graph,
    pngInfo: turn.pngInfo,
    inputs: new NodeInputs(turn.inputs),
    objectSuffix: state.cache.objectSuffix(turn.nodeId, turn.classType, () =>
      Array.from(
        { length: SUFFIX_LENGTH },
        () => SUFFIX_LETTERS[Math.floor(parts.random.next() * SUFFIX_LETTERS.length)] ?? "a",
      ).join(""),
    ),
    nowMs: () => parts.clock.now(),
    spend: (ms, polls = false) => pass(ms * parts.timeScale, polls),
    cardMs: (ms) => ms * parts.slowness,
    spendReal: pass,
    async hang(polls) {
      for (;;) await pass(FOREVER_SLICE_MS, polls);
    },
    crashProcess() {
      parts.crash();
      throw new ProcessGoneError("process gone");
    },
    progress(value, max, preview) {
      throwIfInterrupted(state);
      turn.progress.update(turn.nodeId, value, max, preview);
    },
    useCard(demand) {
      const outcome = parts.vram.demand(demand);
      if (outcome.kind === "out_of_memory") throw outOfMemory(outcome.message);
      const bytes = demand.models.reduce((sum, model) => sum + model.bytes, 0);
      return {
        offloadedShare: bytes === 0 ? 0 : outcome.offloadedBytes / bytes,
        loadMs: outcome.loadedBytes / DURATIONS.busBytesPerMs,
      };
    },
    leak: (bytes, heldBy) => parts.vram.leak(bytes, heldBy),
    fitsCard: (workBytes) => parts.vram.wouldFit(workBytes),
    async readWeights(key, bytes) {
      const extraMs = parts.faults.extraLoadMs(turn);
      if (extraMs > 0) await pass(extraMs, false);
      if (state.readsFromDisk(key)) {
        await pass((bytes / DURATIONS.diskBytesPerMs) * parts.timeScale, false);
      }
    },
    progressText: (text) => parts.events.text(turn.nodeId, text, turn.clientId),
    save(area, subfolder, name, bytes) {
      if (parts.faults.isDiskFull(turn)) throw diskFull();
      if (Buffer.byteLength(name) > MAX_FILE_NAME_BYTES) throw nameTooLong(name);
      parts.files.write(area, subfolder, name, bytes);
      parts.faults.afterSave(turn, { area, subfolder, name });
    },
    log: parts.log,
  };
}

/** One nap of a node that never ends. */
const FOREVER_SLICE_MS = 3_600_000;
