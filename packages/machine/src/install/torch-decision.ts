/** Which build of PyTorch a release is made with, where the machine could not tell all. Pure. */
import type { MachineLock } from "./model.ts";
import type { PlanProblem } from "./resolve-manifest.ts";

/** What the machine comes to. */
export interface ChosenTorch {
  readonly backend: string;
  readonly warning: string | null;
  /** Set when not all cards could be asked for. */
  readonly uncertain?: {
    readonly reason: string;
    readonly advice: string;
    /** The choice fits cards that were found; otherwise it is for a machine without any. */
    readonly isUsable: boolean;
  } | null;
}

/** What the release is made with, or why none can be made. */
export interface TorchDecision {
  readonly backend: string;
  readonly warning: string | null;
  readonly problem: PlanProblem | null;
}

/**
 * A driver that does not answer changes nothing: the build of the release that serves is kept. Without
 * one nothing is guessed: a build for the CPU on a machine with GPUs is a hundred times slower.
 */
export function decideTorch(
  { backend, warning, uncertain = null }: ChosenTorch,
  lock: Pick<MachineLock, "torch"> | undefined,
): TorchDecision {
  if (uncertain === null) return { backend, warning, problem: null };
  if (lock !== undefined) {
    const kept = lock.torch.backend;
    const note = `torch.backend stays ${kept}, as in the release that serves: not all cards could be asked for (${uncertain.reason})`;
    return { backend: kept, warning: note, problem: null };
  }
  if (uncertain.isUsable) return { backend, warning, problem: null };
  const problem = {
    subject: "torch",
    message: `which build of PyTorch fits cannot be told: ${uncertain.reason}`,
    advice: `${uncertain.advice} Or choose \`torch.backend\` yourself, for example cu128, or cpu.`,
  };
  return { backend, warning: null, problem };
}
