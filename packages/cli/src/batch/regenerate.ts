import type { ApiClient } from "../api/api-client.ts";
import { getBatch, regeneratePages, type Regenerated } from "../api/batch-calls.ts";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { apiClientFor } from "../commands/client-options.ts";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { followOnTerminal } from "./follow-on-terminal.ts";
import { hasEnded } from "./follow.ts";
import type { RegenerateOptions } from "./options.ts";
import { parseBatchSet } from "./set-options.ts";

/** Pages that a line names. */
const PAGES_NAMED = 20;

/** `holdfast batch regenerate`. */
export async function regenerate(
  ref: string,
  options: RegenerateOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const values = toValues(options);
  const force = options.force === true ? { force: true } : {};
  const named = options.page;
  let done: Regenerated;
  if (values === undefined) {
    done = await regeneratePages(api, ref, {
      ...force,
      ...(named !== undefined && { pages: named }),
    });
  } else {
    done = await regenerateWith(api, ref, { ...values, ...force }, named ?? [], terminal);
  }
  const { batch, regenerated } = done;
  const isFollowed = options.follow === true && !hasEnded(batch);
  if (isFollowed) {
    terminal.note(regeneratedText(regenerated));
    return await followOnTerminal(api, batch, options, terminal);
  }
  terminal.line(options.json === true ? JSON.stringify(done) : regeneratedText(regenerated));
}

/** The values that pages get; undefined where they stay as they are. */
function toValues(options: RegenerateOptions): Readonly<Record<string, unknown>> | undefined {
  const { prompt, seed, page } = options;
  const set = parseBatchSet(options.set ?? [], undefined);
  if (set.kind === "bad") throw new CommandFailure(EXIT.refused, set.message);
  const hasSet = Object.keys(set.values).length > 0;
  if (prompt === undefined && seed === undefined && !hasSet) return undefined;
  if (page === undefined) {
    throw new CommandFailure(
      EXIT.refused,
      "--prompt, --seed and --set: expected --page beside them, to say whose values they are",
    );
  }
  return {
    ...(prompt !== undefined && { prompt }),
    ...(seed !== undefined && { seed }),
    ...(hasSet && { set: set.values }),
  };
}

/** One after another; the pages before one that is refused are told. */
async function regenerateWith(
  api: ApiClient,
  ref: string,
  body: Readonly<Record<string, unknown>>,
  named: readonly number[],
  terminal: Terminal,
): Promise<Regenerated> {
  const regenerated: number[] = [];
  let last: Regenerated | undefined;
  for (const page of named) {
    try {
      last = await regeneratePages(api, ref, body, page);
    } catch (error) {
      if (regenerated.length > 0) terminal.note(regeneratedText(regenerated));
      throw error;
    }
    regenerated.push(...last.regenerated);
  }
  return { batch: last?.batch ?? (await getBatch(api, ref)), regenerated };
}

function regeneratedText(pages: readonly number[]): string {
  if (pages.length === 0) return "no page needs it";
  const named = pages.slice(0, PAGES_NAMED).join(", ");
  const more = pages.length > PAGES_NAMED ? `, … (${pages.length} in all)` : "";
  return `${pages.length === 1 ? "page" : "pages"} ${named}${more} once more`;
}
