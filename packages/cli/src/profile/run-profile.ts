/** `holdfast profile`: what graphs cost, in time a node and in memory of the card. */
import { createComfyClient } from "@holdfast/comfyui";
import {
  createLoadCollector,
  fedProfiles,
  msText,
  NOT_KNOWN,
  PROFILE_VERSION,
  profileReadme,
  profileReportHtml,
  shareText,
  type LoadCollector,
  type ProfiledRun,
  type ProfiledWorkflow,
  type ProfileSummary,
  type TraceEvent,
  type WorkflowProfile,
} from "@holdfast/load";
import { nextUuid, seededRandom } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import type { LoadTarget } from "../load/load-target.ts";
import { openTarget } from "../load/open-target.ts";
import { bytesText } from "../terminal/durations.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { openCardLooks, type CardLooks } from "./card-looks.ts";
import { feedProfiles } from "./feed-profiles.ts";
import { measureWorkflow } from "./measure-workflow.ts";
import type { ProfileOptions } from "./options.ts";
import { openProfileFolder, type ProfileFolder } from "./profile-folder.ts";
import { readProfileRequest, type ProfileRequest } from "./request.ts";
import { createServerFacts } from "./server-facts.ts";
import { traceEventOf } from "./socket-trace.ts";

const CSV = "nvidia-smi.csv";
/** Job seeds begin below it, so that none leaves the safe integers. */
const SEEDS_BELOW = 2 ** 48;

/** Sets the exit code: 0; 1 where a run failed; 130 after Ctrl-C. */
export async function runProfile(options: ProfileOptions, context: CommandContext): Promise<void> {
  const { terminal, env } = context;
  const request = await readProfileRequest(options, env);
  let hear: ((event: TraceEvent) => void) | null = null;
  const target = await openTarget({
    address: request.address,
    clock: systemClock,
    random: systemRandom,
    onEvent(event) {
      const told = traceEventOf(event);
      if (told !== null) hear?.(told);
    },
  });
  const stop = listenForStop(terminal, () => undefined);
  stop.signal.addEventListener("abort", () =>
    terminal.note("stopping: the run is taken back, what was measured is written"),
  );
  try {
    const { signal } = stop;
    const { nvidiaSmi } = request;
    const looks = await openCardLooks(target, { nvidiaSmi, clock: systemClock, signal });
    const folder = await openProfileFolder(request.root, systemClock.now());
    const listen = (to: typeof hear): void => {
      hear = to;
    };
    const measured = await measureAll({ request, target, looks, folder, signal, listen }, context);
    await finish(measured, { request, folder, looks }, context, options.json === true);
  } finally {
    stop.release();
    await target.close();
  }
}

interface Measuring {
  readonly request: ProfileRequest;
  readonly target: LoadTarget;
  readonly looks: CardLooks;
  readonly folder: ProfileFolder;
  readonly signal: AbortSignal;
  readonly listen: (to: ((event: TraceEvent) => void) | null) => void;
}

interface Measured {
  readonly summary: ProfileSummary;
  readonly profiles: readonly WorkflowProfile[];
  readonly collector: LoadCollector;
}

/** What a reader must know before any figure. */
function notesOf(request: ProfileRequest, target: LoadTarget, looks: CardLooks): string[] {
  const notes = [...looks.notes];
  if (target.kind === "holdfast") {
    notes.push(
      "Holdfast does not tell times of nodes, nor whether models were loaded: give --server the address of a ComfyUI, and --feed that of the Holdfast, to know them.",
    );
  }
  for (const { name, isVaried } of request.workflows) {
    if (!isVaried)
      notes.push(
        `${name} has no seed: ComfyUI answers all but its first run from its cache, so it has no warm time.`,
      );
  }
  return notes;
}

async function measureAll(all: Measuring, { terminal }: CommandContext): Promise<Measured> {
  const { request, target, looks, folder, signal } = all;
  const clock = systemClock;
  const startedAt = clock.now();
  const originAt = clock.elapsed();
  const collector = createLoadCollector();
  const server = createServerFacts(
    target,
    createComfyClient({
      baseUrl: request.address.baseUrl,
      clientId: nextUuid(systemRandom),
      clock,
    }),
    clock,
  );
  const notes = notesOf(request, target, looks);
  for (const note of notes) terminal.note(`note: ${note}`);
  const workflows: ProfiledWorkflow[] = [];
  const profiles: WorkflowProfile[] = [];
  let isLost = false;
  const random = seededRandom(request.seed);
  try {
    const gpuName = await server.gpuName();
    for (const workflow of request.workflows) {
      if (signal.aborted || isLost) break;
      const firstSeed = Math.floor(random.next() * SEEDS_BELOW);
      const { runs, everyMs, timeoutMs } = request;
      const one = await measureWorkflow(workflow, {
        target,
        looks,
        clock,
        originAt,
        runs,
        firstSeed,
        everyMs,
        timeoutMs,
        signal,
        listen: all.listen,
        free: async () => !request.keepModels && (await server.free()),
        async onLook({ lines }, samples) {
          if (lines.length > 0) await folder.append(CSV, `${lines.join("\n")}\n`);
          // One source in the plots: the other tells of the same cards.
          for (const sample of samples) {
            if (looks.hasSmi === (sample.source === "nvidia-smi")) collector.addGpu(sample);
          }
        },
        onRun: (run) => terminal.note(runLine(workflow.name, run)),
      });
      workflows.push(one.summary);
      profiles.push(one.profile);
      if (one.profile.runs.some(({ index, kind }) => index > 0 && kind === "cold")) {
        notes.push(
          `${workflow.name}: models were loaded again after its first run. Others use the server, or it has too little memory: take these times with care.`,
        );
      }
      isLost = one.isLost;
    }
    const stoppedBecause = signal.aborted ? "cancelled" : isLost ? "target_lost" : "done";
    return {
      summary: {
        version: PROFILE_VERSION,
        target: { kind: target.kind, url: target.url, version: target.version },
        startedAt: new Date(startedAt).toISOString(),
        durationSeconds: (clock.elapsed() - originAt) / 1_000,
        runsAsked: request.runs,
        stoppedBecause,
        gpuName,
        notes,
        workflows,
      },
      profiles,
      collector,
    };
  } finally {
    await server.close();
  }
}

function runLine(workflow: string, run: ProfiledRun): string {
  const end =
    run.outcome === "completed" ? msText(run.executeMs) : `${run.outcome}: ${run.message}`;
  return `${workflow} run ${run.index + 1} (${run.kind}): ${end}`;
}

async function finish(
  { summary, profiles, collector }: Measured,
  { request, folder, looks }: Pick<Measuring, "request" | "folder" | "looks">,
  { terminal }: CommandContext,
  isJson: boolean,
): Promise<void> {
  const isEmpty = profiles.every(({ runs }) => runs.length === 0);
  if (isEmpty) {
    await folder.remove();
    terminal.note("nothing was measured, so nothing is written");
  } else await writeAll({ summary, profiles, collector }, folder, looks);
  const feed = request.feed ?? (summary.target.kind === "holdfast" ? request.address : null);
  if (feed !== null && !isEmpty) {
    const graphs = new Map(request.workflows.map(({ name, graph }) => [name, graph]));
    const rows = fedProfiles(summary, ({ name }) => graphs.get(name));
    terminal.note((await feedProfiles(feed, rows)).words);
  }
  if (isJson) terminal.line(JSON.stringify(summary, null, 2));
  else for (const line of summaryLines(summary)) terminal.line(line);
  if (!isEmpty) terminal.note(`written to ${folder.path}`);
  process.exitCode = exitCodeOf(summary);
}

async function writeAll(
  { summary, profiles, collector }: Measured,
  folder: ProfileFolder,
  { hasSmi }: CardLooks,
): Promise<void> {
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  await folder.write("summary.json", json(summary));
  for (const profile of profiles) await folder.write(`${profile.workflow}.json`, json(profile));
  const { gpu } = collector.measured();
  const timeline = collector.timeline();
  await folder.write("report.html", profileReportHtml({ summary, profiles, timeline, gpu }));
  const files: (readonly [string, string])[] = [
    ["summary.json", "all figures, for programs"],
    ["report.html", "the same with plots; it opens without a server"],
    ...profiles.map(
      ({ workflow }) => [`${workflow}.json`, "every run of it, and its nodes"] as const,
    ),
  ];
  if (hasSmi) {
    const words =
      "timestamp, utilisation in percent, memory in MiB; a line a card, in the order of their indices";
    files.push([CSV, words]);
  }
  await folder.write("README.md", profileReadme(summary, files));
}

function summaryLines({ workflows }: ProfileSummary): readonly string[] {
  return workflows.flatMap(({ name, runs, coldMs, warmMs, loadShare, ...one }) => [
    `${name}: ${runs.completed} of ${runs.asked} runs, cold ${msText(coldMs)}, warm ${msText(warmMs?.mean ?? null)}, model load ${shareText(loadShare)}, peak VRAM ${one.vramPeakBytes === null ? NOT_KNOWN : bytesText(one.vramPeakBytes)}`,
    ...one.bottlenecks.map(
      ({ nodeId, classType, meanMs, share }) =>
        `  ${nodeId} ${classType}: ${msText(meanMs)}, ${shareText(share)}`,
    ),
  ]);
}

function exitCodeOf({ stoppedBecause, workflows }: ProfileSummary): ExitCode {
  if (stoppedBecause === "cancelled") return EXIT.interrupted;
  if (stoppedBecause === "target_lost") return EXIT.unavailable;
  return workflows.some(({ runs }) => runs.completed < runs.asked) ? EXIT.failed : EXIT.ok;
}
