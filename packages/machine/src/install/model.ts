/** Steps of the installer, what is told of them, and what a finished installation writes down. */
import { z } from "zod";

/** What a check of a step came to. */
export type StepCheck =
  | { readonly kind: "done"; readonly detail: string }
  | { readonly kind: "needed"; readonly detail: string };

/** How far a step is; `total` is null while it is not known. */
export interface StepProgress {
  readonly done: number;
  readonly total: number | null;
  readonly unit: "bytes" | "items";
  readonly detail: string | null;
}

/** What a step works with. */
export interface StepContext {
  readonly signal: AbortSignal;
  readonly progress: (progress: StepProgress) => void;
  /** One line of the step's log. */
  readonly log: (line: string) => void;
}

/**
 * One step: safe to repeat after a kill at any instant. `check` changes nothing; `verify` throws when
 * what `apply` did does not hold. A failure is a {@link StepFailure}.
 */
export interface Step {
  /** Stable: `comfyui.checkout`, `model:checkpoints/x.safetensors`. */
  readonly id: string;
  readonly title: string;
  /** A step that fails here does not fail the installation. */
  readonly isOptional: boolean;
  /** Ids of steps without which this one cannot be done. */
  readonly after: readonly string[];
  /** Steps of one lane run one after the other, lanes beside each other. */
  readonly lane: "release" | "models" | "tools" | "shared";
  check(context: StepContext): Promise<StepCheck>;
  apply(context: StepContext): Promise<void>;
  verify(context: StepContext): Promise<void>;
}

/** Why a step failed, and what a person can do about it. */
export class StepFailure extends Error {
  /** What to do, as a sentence. */
  readonly advice: string;

  constructor(message: string, advice: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "StepFailure";
    this.advice = advice;
  }
}

/** What became of a step. */
export interface StepResult {
  readonly id: string;
  readonly title: string;
  readonly isOptional: boolean;
  readonly outcome: "skipped" | "done" | "failed" | "not_reached";
  readonly startedAt: number;
  readonly durationMs: number;
  /** What was found or done; of a failure, what went wrong. */
  readonly detail: string;
  readonly advice: string | null;
}

/** Told while the installer runs, in order. */
export type InstallEvent =
  | {
      readonly kind: "started";
      readonly at: number;
      readonly steps: readonly { readonly id: string; readonly title: string }[];
    }
  | {
      readonly kind: "step.started";
      readonly at: number;
      readonly id: string;
      readonly title: string;
    }
  | {
      readonly kind: "step.progress";
      readonly at: number;
      readonly id: string;
      readonly progress: StepProgress;
    }
  | { readonly kind: "step.log"; readonly at: number; readonly id: string; readonly line: string }
  | { readonly kind: "step.ended"; readonly at: number; readonly result: StepResult }
  | {
      readonly kind: "ended";
      readonly at: number;
      readonly ok: boolean;
      readonly durationMs: number;
    };

const commit = z.string().regex(/^[0-9a-f]{40,64}$/);

/** `machine.lock.json`: what a release holds, exactly. Written last: a release without it is half-built. */
export const lockSchema = z.object({
  version: z.literal(1),
  /** Id of the release: a hash of all that decides it. */
  release: z.string(),
  /** SHA-256 of the manifest it was made from. */
  manifestDigest: z.string(),
  createdAt: z.int(),
  comfyui: z.object({
    repo: z.string().nullable(),
    ref: z.string().nullable(),
    commit: commit.nullable(),
    /** The adopted folder; null where we cloned. */
    adopted: z.string().nullable(),
    version: z.string().nullable(),
  }),
  python: z.object({ executable: z.string(), version: z.string() }),
  torch: z.object({ backend: z.string(), version: z.string().nullable() }),
  /** Package → version, all of the environment. */
  packages: z.record(z.string(), z.string()),
  nodes: z.array(
    z.object({
      name: z.string(),
      repo: z.string(),
      ref: z.string(),
      commit: commit,
      /** Classes it brought when it was validated. */
      classes: z.array(z.string()),
      optional: z.boolean(),
      /** Why an optional one is not there; null when it is. */
      missing: z.string().nullable(),
    }),
  ),
  models: z.array(
    z.object({
      folder: z.string(),
      name: z.string(),
      sha256: z.string(),
      sizeBytes: z.int(),
    }),
  ),
  repositories: z.array(z.object({ name: z.string(), repo: z.string(), ref: z.string(), commit })),
  /** Classes that ComfyUI had when it was validated. */
  nodeClasses: z.array(z.string()),
});
/** See {@link lockSchema}. */
export type MachineLock = z.infer<typeof lockSchema>;
