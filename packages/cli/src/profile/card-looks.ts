/**
 * Looks at the cards, one every so often: `nvidia-smi` with C4's three columns, and what the server tells of
 * their memory. nvidia-smi tells of this host's cards, so it is left alone where the server is elsewhere,
 * unless somebody named it.
 */
import { readSmiFailures, smiFailureWords, type SmiRun } from "@holdfast/gpu";
import { NVIDIA_SMI_ARGS, readSmiLook, type GpuSample } from "@holdfast/load";
import { isLoopbackName } from "@holdfast/runtime/host";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { CardReading, LoadTarget } from "../load/load-target.ts";

/** One look: lines for the file, and what both sources say. */
export interface CardLook {
  readonly lines: readonly string[];
  readonly cards: readonly CardReading[];
}

/** What can be looked at. */
export interface CardLooks {
  readonly hasSmi: boolean;
  /** In words, why something is not known; empty where all is. */
  readonly notes: readonly string[];
  look(signal: AbortSignal): Promise<CardLook>;
}

/** Runs a program of that name with these arguments; rejects where it is aborted alone. */
export type AskSmi = (
  program: string,
  args: readonly string[],
  signal: AbortSignal,
) => Promise<SmiRun>;

/** Tries both sources. Throws {@link CommandFailure} where a program was named and does not answer. */
export async function openCardLooks(
  target: Pick<LoadTarget, "url" | "cards">,
  options: {
    /** As the request has it. */
    readonly nvidiaSmi: string | null | false;
    readonly smi: AskSmi;
    readonly signal: AbortSignal;
  },
): Promise<CardLooks> {
  const { nvidiaSmi, smi, signal } = options;
  const notes: string[] = [];
  const isHere = isLoopbackName(new URL(target.url).hostname);
  const program = nvidiaSmi === null ? (isHere ? "nvidia-smi" : false) : nvidiaSmi;
  let hasSmi = false;
  if (program === false) {
    notes.push(
      nvidiaSmi === false
        ? "nvidia-smi was not asked: how busy the cards were is not known."
        : "The server is on another host, so nvidia-smi of this one was not asked: how busy its cards were is not known. Profile on its host, or name a program with --nvidia-smi.",
    );
  } else {
    const first = await smi(program, NVIDIA_SMI_ARGS, signal);
    const { cards } = readSmiLook(first.stdout);
    hasSmi = cards.length > 0;
    if (!hasSmi) {
      const [failure] = readSmiFailures(first, 0);
      const reason = failure === undefined ? "it told of no card" : smiFailureWords(failure).reason;
      if (nvidiaSmi !== null) {
        throw new CommandFailure(
          EXIT.refused,
          `--nvidia-smi ${program}: expected the cards, found: ${reason}. Nothing was sent.`,
        );
      }
      notes.push(`nvidia-smi tells nothing of cards: ${reason}.`);
    }
  }
  const ofTarget = target.cards?.bind(target);
  if (ofTarget === undefined || (await ofTarget(signal)).length === 0) {
    if (!hasSmi) notes.push("The server told of no card either: peak VRAM is not known.");
  }
  return {
    hasSmi,
    notes,
    async look(stop) {
      const [run, told] = await Promise.all([
        hasSmi && program !== false ? smi(program, NVIDIA_SMI_ARGS, stop) : undefined,
        ofTarget?.(stop) ?? [],
      ]);
      const read = run === undefined ? { lines: [], cards: [] } : readSmiLook(run.stdout);
      const ofSmi = read.cards.map((one) => ({ ...one, source: "nvidia-smi" as const }));
      return { lines: read.lines, cards: [...ofSmi, ...told] };
    },
  };
}

/** With its instant. */
export function samplesOf({ cards }: CardLook, atMs: number): readonly GpuSample[] {
  return cards.map((one) => ({ ...one, atMs }));
}
