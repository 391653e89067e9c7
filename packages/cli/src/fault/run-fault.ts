import { writeFile } from "node:fs/promises";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { textTable } from "../terminal/text-table.ts";
import { askComfy } from "../up/local-comfyui.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { holdfastVersion } from "../version.ts";
import { shownUrl } from "../experiment/shown-url.ts";
import { hostPrograms } from "./loss/programs.ts";
import type { FaultListOptions, FaultOptions } from "./options.ts";
import type { FaultRow, FaultRun } from "./result.ts";
import { runBare, runScenario, type ScenarioOptions } from "./run-scenario.ts";
import type { Scenario } from "./scenario.ts";
import { SCENARIOS } from "./scenarios/all-scenarios.ts";
import { reportText, summaryLine, tableLines } from "./table.ts";

const DEFAULT_JOBS = 8;
const MAX_JOBS = 200;
const CLIENTS = ["holdfast", "bare", "both"] as const;
type Client = (typeof CLIENTS)[number];
const MS_PER_SECOND = 1_000;

/** `holdfast fault list`. */
export function listScenarios(options: FaultListOptions, { terminal }: CommandContext): void {
  if (options.json === true) {
    for (const { name, title, expectation, isQuick } of SCENARIOS) {
      terminal.line(JSON.stringify({ name, title, expectation, quick: isQuick === true }));
    }
    return;
  }
  const shape = [
    { head: "SCENARIO", cell: ({ name }: Scenario) => name },
    { head: "QUICK", cell: ({ isQuick }: Scenario) => (isQuick === true ? "yes" : "") },
    { head: "THE FAULT", cell: ({ title }: Scenario) => title },
    { head: "MUST HAPPEN", cell: ({ expectation }: Scenario) => expectation },
  ];
  for (const line of textTable(SCENARIOS, shape, terminal.resultColumns)) terminal.line(line);
}

/** `holdfast fault run`: one world after the other, then the table. */
export async function runFault(
  names: readonly string[],
  options: FaultOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const scenarios = chosen(names, options);
  const client = clientOf(options);
  const jobs = jobsOf(options);
  const settings = settingsOf(options.setting ?? []);
  const comfyuiUrl = await comfyuiOf(options);
  const on = comfyuiUrl === undefined ? "simulated ComfyUI" : `ComfyUI ${shownUrl(comfyuiUrl)}`;
  const stop = listenForStop(terminal, () => undefined);
  const startedAt = systemClock.now();
  const begunAt = systemClock.elapsed();
  const rows: FaultRow[] = [];
  try {
    for (const [at, scenario] of scenarios.entries()) {
      terminal.note(`${at + 1}/${scenarios.length} ${scenario.name}: ${scenario.title}`);
      const row = await runRow(scenario, client, {
        jobs,
        settings,
        comfyuiUrl,
        isKept: options.keep === true,
        programs: hostPrograms,
        clock: systemClock,
        random: systemRandom,
        signal: stop.signal,
        note: (text) => terminal.note(text),
      });
      rows.push(row);
      terminal.note(`  ${progressOf(row)}`);
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    throw new CommandFailure(EXIT.interrupted, "fault: stopped; everything was removed again");
  } finally {
    stop.release();
  }
  const run: FaultRun = {
    version: 1,
    holdfast: holdfastVersion(),
    startedAt: new Date(startedAt).toISOString(),
    seconds: Math.round((systemClock.elapsed() - begunAt) / MS_PER_SECOND),
    on,
    jobs,
    rows,
  };
  await tell(run, options, context);
  const code = exitCodeOf(rows);
  if (code !== EXIT.ok) throw new CommandFailure(code, summaryLine(run));
}

/** What the rows come to; a bare client that loses jobs is a demonstration, and no failure. */
export function exitCodeOf(rows: readonly FaultRow[]): ExitCode {
  const hasFailed = rows.some(
    ({ holdfast }) => holdfast?.kind === "judged" && holdfast.verdict.state === "failed",
  );
  if (hasFailed) return EXIT.failed;
  const isUnknown = rows.some(
    ({ holdfast, bare }) => holdfast?.kind === "no_world" || bare?.kind === "no_world",
  );
  return isUnknown ? EXIT.unavailable : EXIT.ok;
}

async function runRow(
  scenario: Scenario,
  client: Client,
  options: ScenarioOptions,
): Promise<FaultRow> {
  const { name, title, expectation } = scenario;
  const holdfast = client === "bare" ? undefined : await runScenario(scenario, options);
  const bare = client === "holdfast" ? undefined : await runBare(scenario, options);
  return {
    name,
    title,
    expectation,
    ...(holdfast === undefined ? {} : { holdfast }),
    ...(bare === undefined ? {} : { bare }),
  };
}

async function tell(run: FaultRun, options: FaultOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  if (options.output !== undefined) {
    await writeFile(options.output, `${JSON.stringify(run, undefined, 2)}\n`);
  }
  if (options.report !== undefined) await writeFile(options.report, reportText(run));
  if (options.json === true) return terminal.line(JSON.stringify(run));
  for (const line of tableLines(run.rows, terminal.resultColumns)) terminal.line(line);
  if (exitCodeOf(run.rows) === EXIT.ok) terminal.line(summaryLine(run));
}

function progressOf({ holdfast, bare }: FaultRow): string {
  const words: string[] = [];
  if (holdfast?.kind === "judged") {
    words.push([holdfast.verdict.state, ...holdfast.verdict.reasons].join(": "));
  } else if (holdfast !== undefined) words.push(`not tried: ${holdfast.why}`);
  if (bare?.kind === "rendered") words.push(`a bare client lost ${bare.lost} of ${bare.jobs}`);
  else if (bare !== undefined) words.push(`bare client: ${bare.why}`);
  return words.join("; ");
}

function chosen(names: readonly string[], options: FaultOptions): readonly Scenario[] {
  const known = SCENARIOS.map(({ name }) => name).join(", ");
  const ways = [names.length > 0, options.all === true, options.quick === true];
  if (ways.filter(Boolean).length !== 1) {
    const message = `expected names of scenarios, or --all, or --quick. Scenarios: ${known}`;
    throw new CommandFailure(EXIT.refused, message);
  }
  if (options.all === true) return SCENARIOS;
  if (options.quick === true) return SCENARIOS.filter(({ isQuick }) => isQuick === true);
  return [...new Set(names)].map((name) => {
    const found = SCENARIOS.find((one) => one.name === name);
    if (found !== undefined) return found;
    const message = `there is no scenario ${JSON.stringify(name)}; expected one of ${known}`;
    throw new CommandFailure(EXIT.refused, message);
  });
}

function clientOf({ client = "holdfast" }: FaultOptions): Client {
  const found = CLIENTS.find((one) => one === client);
  if (found !== undefined) return found;
  const message = `--client: expected ${CLIENTS.join(", ")}, found ${JSON.stringify(client)}`;
  throw new CommandFailure(EXIT.refused, message);
}

function jobsOf({ jobs = DEFAULT_JOBS }: FaultOptions): number {
  if (jobs <= MAX_JOBS) return jobs;
  throw new CommandFailure(EXIT.refused, `--jobs: expected at most ${MAX_JOBS}, found ${jobs}`);
}

function settingsOf(given: readonly string[]): Readonly<Record<string, string>> {
  const settings: Record<string, string> = {};
  for (const text of given) {
    const found = /^([A-Z][A-Z0-9_]*)=(.*)$/s.exec(text);
    if (found?.[1] === undefined) {
      const message = `--setting: expected NAME=VALUE, found ${JSON.stringify(text)}`;
      throw new CommandFailure(EXIT.refused, message);
    }
    settings[found[1]] = found[2] ?? "";
  }
  return settings;
}

async function comfyuiOf({ comfyui }: FaultOptions): Promise<string | undefined> {
  if (comfyui === undefined) return undefined;
  const url = comfyui.replace(/\/+$/, "");
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    const message = `--comfyui: expected an address such as http://127.0.0.1:8188, found ${JSON.stringify(comfyui)}`;
    throw new CommandFailure(EXIT.refused, message);
  }
  if ((await askComfy(url)) !== "nothing") return url;
  throw new CommandFailure(EXIT.unavailable, `no ComfyUI answers at ${shownUrl(url)}`);
}
