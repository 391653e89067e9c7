/** Where an experiment's runs are rendered: a port, so that a run does not know on what. */
import type { Graph } from "@holdfast/comfyui/protocol";
import type { StartRecord } from "@holdfast/experiments";

/** What an earlier start of a run left behind. */
export interface EarlierStart {
  readonly promptId: StartRecord["promptId"];
  /** Its result is known; false: the process was killed before there was one. */
  readonly hasEnded: boolean;
}

/** A run to render. */
export interface RenderRequest {
  /** `exp_0099` */
  readonly name: string;
  readonly graph: Graph;
  /** As {@link Renderer.nextPromptId} gave it, and as it is on the disk by now. */
  readonly promptId: string;
  readonly earlier: EarlierStart | undefined;
}

/** A file that a run gave, in the work folder. */
export interface RenderedFile {
  readonly nodeId: string;
  readonly name: string;
  readonly mediaType: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly path: string;
}

/** Why a run failed. */
export interface RunFailure {
  /** A class of the recovery package. */
  readonly class: string;
  readonly message: string;
  /** The node that failed, where one did. */
  readonly nodeId?: string;
  readonly nodeType?: string;
  /** As Python calls it. */
  readonly exceptionType?: string;
  /** Its end, with the place of the failure. */
  readonly traceback?: string;
  /** Because a service was down: the run may be fine, and is worth doing again. */
  readonly isInfrastructure: boolean;
  /** A service refuses every run until somebody puts it right (a key, a bucket): no other one is started. */
  readonly isRefusal?: true;
}

/** What is known of how a run went. */
export interface RenderFacts {
  /** How long it ran, where the renderer knows. */
  readonly executeMs?: number;
  /** How long it waited before that. */
  readonly queueMs?: number;
  /** Most memory of the card that was seen in use. */
  readonly vramPeakBytes?: number;
  readonly attempts: number;
  /** 0 nothing, 1 other pixels, 2 another size, 3 other content. */
  readonly loss: 0 | 1 | 2 | 3;
  /** What recovery did, in its order. */
  readonly recovery: readonly string[];
  /** Of a run that was found again, by the service's clock, in epoch ms. */
  readonly span?: { readonly startedAt?: number; readonly endedAt?: number };
}

/** How a run ended. What came before a failure is kept as well. */
export interface Rendered {
  readonly failure: RunFailure | undefined;
  readonly files: readonly RenderedFile[];
  readonly facts: RenderFacts;
}

/** See the header. */
export interface Renderer {
  /** Where it renders, for people: without user and password. */
  readonly description: string;
  /** The id to render a run under: that of an earlier start where it can be found again by it. */
  nextPromptId(earlier: EarlierStart | undefined): string;
  /**
   * Whether an earlier start that has not ended is there still, and goes on or has ended by itself.
   * Asked before anything is posted under its id.
   */
  isThere(earlier: EarlierStart): Promise<boolean>;
  /** Renders a run to its end. Rejects for bugs alone. */
  render(request: RenderRequest): Promise<Rendered>;
  /** The result is on the disk: what was kept to find the run again may go. */
  settled(promptId: string): void;
  /** Leaves what is under way, to be found again by the next process. */
  close(): Promise<void>;
}

/** What is kept of a run's outputs: previews only where there is nothing else. */
export function lastingOutputs<T extends { readonly temporary: boolean }>(
  outputs: readonly T[],
): readonly T[] {
  const lasting = outputs.filter(({ temporary }) => !temporary);
  return lasting.length > 0 ? lasting : outputs;
}
