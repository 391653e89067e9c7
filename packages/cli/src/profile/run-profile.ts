/** `holdfast profile`: what graphs cost, in time a node and in memory of the card. */
import { createComfyClient } from "@holdfast/comfyui";
import { runSmi } from "@holdfast/gpu";
import { fedProfiles, type ProfileSummary, type TraceEvent } from "@holdfast/load";
import { nextUuid, type Clock, type Random } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createApiClient } from "../api/api-client.ts";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import type { LoadTarget } from "../load/load-target.ts";
import { openTarget } from "../load/open-target.ts";
import { graphOfJob } from "../load/seeded-graph.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { openCardLooks } from "./card-looks.ts";
import { checkFeed, feedProfiles, type FeedTo } from "./feed-profiles.ts";
import { measureAll, type MeasuredProfile } from "./measure-all.ts";
import type { ProfileOptions } from "./options.ts";
import { openProfileFolder, type ProfileFolder } from "./profile-folder.ts";
import { readProfileRequest, type ProfileRequest } from "./request.ts";
import { createServerFacts } from "./server-facts.ts";
import { traceEventOf } from "./socket-trace.ts";
import { profileLines, writeProfile } from "./write-profile.ts";

/** One look at the cards may take so long. */
const SMI_MS = 10_000;

/** Sets the exit code as `docs/profile.md` says. */
export async function runProfile(
  options: ProfileOptions,
  context: CommandContext,
  system: { readonly clock: Clock; readonly random: Random } = {
    clock: systemClock,
    random: systemRandom,
  },
): Promise<void> {
  const { clock, random } = system;
  const { terminal, env } = context;
  const request = await readProfileRequest(options, env);
  if (request.samples !== null) terminal.note(`workflows: the samples of ${request.samples}`);
  let hear: ((event: TraceEvent) => void) | null = null;
  const target = await openTarget({
    address: request.address,
    clock,
    random,
    onEvent(event) {
      const told = traceEventOf(event);
      if (told !== null) hear?.(told);
    },
  });
  const { baseUrl } = request.address;
  const client = createComfyClient({ baseUrl, clientId: nextUuid(random), clock });
  const stop = listenForStop(terminal, () => undefined);
  stop.signal.addEventListener("abort", () =>
    terminal.note("stopping: the run is taken back, what was measured is written"),
  );
  try {
    const { signal } = stop;
    const feed = await feedOf(request, target, clock);
    const looks = await openCardLooks(target, {
      nvidiaSmi: request.nvidiaSmi,
      smi: (program, args, over) => runSmi({ program, timeoutMs: SMI_MS, clock }, args, over),
      signal,
    });
    const onFailure = (words: string): void => terminal.note(words);
    const folder = await openProfileFolder(request.root, { clock, onFailure });
    const measured = await measureAll({
      request,
      target,
      server: createServerFacts(target, client, clock),
      looks,
      folder,
      clock,
      signal,
      listen(to) {
        hear = to;
      },
      note: (text) => terminal.note(text),
    });
    const isDone = await finish(measured, { request, folder, feed, hasSmi: looks.hasSmi }, context);
    tellResult(measured, options.json === true, context);
    process.exitCode = exitCodeOf(measured.summary, isDone);
  } finally {
    stop.release();
    await client.close();
    await target.close();
  }
}

/** Throws {@link CommandFailure} where it could not be fed: better than after an hour of runs. */
async function feedOf(
  { feed }: ProfileRequest,
  { kind, url }: LoadTarget,
  clock: Clock,
): Promise<FeedTo | null> {
  if (feed === null) return null;
  if (kind === "holdfast") {
    const words = `expected a ComfyUI as --server, found a Holdfast at ${url}, which learns from its runs by itself`;
    throw new CommandFailure(EXIT.refused, `--feed: ${words}. Nothing was sent.`);
  }
  const to = { api: createApiClient(feed), clock };
  await checkFeed(to);
  return to;
}

/** Writes and feeds; false where something of it could not be done, which is told. */
async function finish(
  measured: MeasuredProfile,
  where: {
    readonly request: ProfileRequest;
    readonly folder: ProfileFolder;
    readonly feed: FeedTo | null;
    readonly hasSmi: boolean;
  },
  { terminal }: CommandContext,
): Promise<boolean> {
  const { request, folder, feed, hasSmi } = where;
  const { summary, profiles } = measured;
  if (profiles.every(({ runs }) => runs.length === 0)) {
    await folder.remove();
    terminal.note("nothing was measured, so nothing is written");
    return true;
  }
  await writeProfile(measured, folder, hasSmi);
  terminal.note(`written to ${folder.path}`);
  const isWritten = folder.failures().size === 0;
  const hasCompleted = summary.workflows.some(({ runs }) => runs.completed > 0);
  if (summary.target.kind === "holdfast" && hasCompleted) {
    terminal.note(`${summary.target.url} has learned from these runs by itself`);
  }
  if (feed === null) return isWritten;
  const graphs = new Map(
    request.workflows.map(({ name, graph }) => [
      name,
      // As a job has it: what a template's variables stand for is no text of theirs.
      graphOfJob(graph)({ index: 0, workflow: name, seed: request.seed }),
    ]),
  );
  const fed = await feedProfiles(
    feed,
    fedProfiles(summary, ({ name }) => graphs.get(name)),
  );
  terminal.note(fed.words);
  return isWritten && fed.isDone;
}

function tellResult(
  { summary }: MeasuredProfile,
  isJson: boolean,
  { terminal }: CommandContext,
): void {
  if (isJson) terminal.line(JSON.stringify(summary, null, 2));
  else for (const line of profileLines(summary)) terminal.line(line);
}

function exitCodeOf({ stoppedBecause, workflows }: ProfileSummary, isDone: boolean): ExitCode {
  if (stoppedBecause === "cancelled") return EXIT.interrupted;
  if (stoppedBecause === "target_lost") return EXIT.unavailable;
  const areComplete = workflows.every(({ runs }) => runs.completed === runs.asked);
  return areComplete && isDone ? EXIT.ok : EXIT.failed;
}
