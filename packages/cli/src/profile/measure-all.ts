/** Measures all workflows of a profiling, one after the other, and sums up what they came to. */
import {
  createLoadCollector,
  msText,
  PROFILE_VERSION,
  type LoadCollector,
  type ProfiledRun,
  type ProfiledWorkflow,
  type ProfileSummary,
  type TraceEvent,
  type WorkflowProfile,
} from "@holdfast/load";
import { seededRandom, type Clock } from "@holdfast/runtime";
import type { LoadTarget } from "../load/load-target.ts";
import type { CardLooks } from "./card-looks.ts";
import { measureWorkflow } from "./measure-workflow.ts";
import type { ProfileFolder } from "./profile-folder.ts";
import type { ProfileRequest } from "./request.ts";
import type { ServerFacts } from "./server-facts.ts";

/** What it is done with. */
export interface MeasureAllOptions {
  readonly request: Pick<
    ProfileRequest,
    "workflows" | "runs" | "seed" | "everyMs" | "timeoutMs" | "keepModels"
  >;
  readonly target: LoadTarget;
  readonly server: ServerFacts;
  readonly looks: CardLooks;
  readonly folder: Pick<ProfileFolder, "append" | "failures">;
  readonly clock: Clock;
  /** Aborted, it ends with what was measured. */
  readonly signal: AbortSignal;
  /** Hands on what the socket tells to the run that goes on. */
  readonly listen: (hear: ((event: TraceEvent) => void) | null) => void;
  /** A line for the person who watches. */
  readonly note: (text: string) => void;
}

/** What it came to. */
export interface MeasuredProfile {
  readonly summary: ProfileSummary;
  readonly profiles: readonly WorkflowProfile[];
  /** With the cards over all of the time. */
  readonly collector: LoadCollector;
}

/** Where nvidia-smi's lines go, as they come. */
export const CARDS_FILE = "nvidia-smi.csv";
/** Job seeds begin below it, so that none leaves the safe integers. */
const SEEDS_BELOW = 2 ** 48;

/** Rejects for bugs alone: a server that is lost is a reason to stop. */
export async function measureAll(all: MeasureAllOptions): Promise<MeasuredProfile> {
  const { request, target, server, looks, folder, clock, signal } = all;
  const startedAt = clock.now();
  const originAt = clock.elapsed();
  const collector = createLoadCollector();
  const notes = notesBefore(all);
  for (const text of notes) all.note(`note: ${text}`);
  const workflows: ProfiledWorkflow[] = [];
  const profiles: WorkflowProfile[] = [];
  let last = { lostRuns: 0, isLost: false };
  const random = seededRandom(request.seed);
  const gpuName = await server.gpuName();
  for (const workflow of request.workflows) {
    if (signal.aborted || last.isLost) break;
    const { runs, everyMs, timeoutMs } = request;
    const one = await measureWorkflow(workflow, {
      target,
      looks,
      clock,
      originAt,
      runs,
      firstSeed: Math.floor(random.next() * SEEDS_BELOW),
      everyMs,
      timeoutMs,
      signal,
      listen: all.listen,
      free: async () => !request.keepModels && (await server.free()),
      isThere: () => server.isThere(),
      lostRuns: last.lostRuns,
      async onLook({ lines }, samples) {
        if (lines.length > 0) await folder.append(CARDS_FILE, `${lines.join("\n")}\n`);
        // One source in the plots: the other tells of the same cards.
        for (const sample of samples) {
          if (looks.hasSmi === (sample.source === "nvidia-smi")) collector.addGpu(sample);
        }
      },
      onRun: (run) => all.note(runLine(workflow.name, run)),
    });
    last = one;
    workflows.push(one.summary);
    profiles.push(one.profile);
    if (hasLoadedAgain(one.profile.runs)) {
      notes.push(
        `${workflow.name}: models were loaded again after a run that had them. Others use the server, or it has too little memory: take these times with care.`,
      );
    }
  }
  for (const [name, reason] of folder.failures()) {
    notes.push(`${name} is not whole, it could not be written: ${reason}.`);
  }
  // The last run's end is enough: nothing comes after it that could find the server again.
  const isLost = last.lostRuns > 0;
  return {
    summary: {
      version: PROFILE_VERSION,
      target: { kind: target.kind, url: target.url, version: target.version },
      startedAt: new Date(startedAt).toISOString(),
      durationSeconds: (clock.elapsed() - originAt) / 1_000,
      runsAsked: request.runs,
      stoppedBecause: signal.aborted ? "cancelled" : isLost ? "target_lost" : "done",
      gpuName,
      notes,
      workflows,
    },
    profiles,
    collector,
  };
}

/** What a reader must know before any figure. */
function notesBefore({ request, target, looks }: MeasureAllOptions): string[] {
  const notes = [...looks.notes];
  if (target.kind === "holdfast") {
    notes.push(
      "Holdfast does not tell times of nodes: give --server the address of a ComfyUI, and --feed that of the Holdfast, to know them. Cold is a run of a process that had not run the same models last: runs may go to several.",
    );
  }
  for (const { name, isVaried } of request.workflows) {
    if (isVaried) continue;
    notes.push(
      `${name} has no seed: ComfyUI answers all but its first run from its cache, so it has no warm time.`,
    );
  }
  return notes;
}

/** A first run that was given up may have left the loading to the second: that is nothing to be told. */
function hasLoadedAgain(runs: readonly ProfiledRun[]): boolean {
  const first = runs.findIndex(({ outcome }) => outcome === "completed");
  return first >= 0 && runs.slice(first + 1).some(({ kind }) => kind === "cold");
}

function runLine(workflow: string, run: ProfiledRun): string {
  const end =
    run.outcome === "completed" ? msText(run.executeMs) : `${run.outcome}: ${run.message}`;
  return `${workflow} run ${run.index + 1} (${run.kind}): ${end}`;
}
