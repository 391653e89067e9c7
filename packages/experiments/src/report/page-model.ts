/** The data of the comparison page, as `assets/comparison` reads it. */
import type { InputValue } from "@holdfast/comfyui/protocol";
import type { Scalar } from "../spec/model.ts";
import { failureText } from "../results/failure-text.ts";
import { relativeAddress } from "./escaping.ts";
import type {
  ComparedError,
  ComparedRun,
  ComparisonCounts,
  ComparisonFacts,
} from "./comparison-facts.ts";
import { isHealthy, outagesOf, type Outage } from "./outages.ts";

/** Most runs that a page holds: some 8 MB where messages are short. */
export const COMPARISON_RUNS_MAX = 20_000;
/** Longest text of a value or a message, in characters. */
const TEXT_MAX = 2_000;
const TRACEBACK_MAX = 4_000;
/** Most values of a dimension that suits an axis by itself. */
const AXIS_VALUES_MAX = 24;

/** What the page's script is given. */
export interface PageModel {
  readonly name: string;
  readonly specHash: string;
  readonly writtenAt: string;
  readonly counts: ComparisonCounts;
  /** Runs that are not on the page, because there are more than it holds. */
  readonly leftOut: number;
  readonly dimensions: readonly { readonly name: string; readonly values: readonly string[] }[];
  /** Numbers of the dimensions that become columns and rows at first; null for none. */
  readonly axes: { readonly columns: number | null; readonly rows: number | null };
  /** Names of the metrics that some run has. */
  readonly metrics: readonly string[];
  /** `6.text=castle`, as `--set` takes it; each once, for a long prompt stands in many runs. */
  readonly sets: readonly string[];
  /** Each once: runs that fail, fail alike. */
  readonly tracebacks: readonly string[];
  readonly runs: readonly PageRun[];
  readonly checks: readonly PageCheck[];
  readonly outages: readonly Outage[];
}

/** A run: members that say nothing are left out. */
export interface PageRun {
  readonly index: number;
  readonly name: string;
  readonly title: string;
  readonly seed: string;
  readonly status: ComparedRun["status"];
  /** For each dimension the number of its value, -1 where it has none. */
  readonly values: readonly number[];
  /** Numbers of `sets`. */
  readonly set?: readonly number[];
  readonly startedAt: string;
  readonly endedAt: string;
  readonly durationMs: number;
  readonly error?: string;
  readonly exception?: string;
  /** Number of `tracebacks`. */
  readonly traceback?: number;
  readonly attempts: number;
  /** Ends before the last one, in words. */
  readonly earlier?: readonly string[];
  readonly recovery?: readonly string[];
  readonly loss?: number;
  readonly metrics?: Readonly<Record<string, number>>;
  readonly images?: readonly PageImage[];
  /** Pictures that are kept somewhere else. */
  readonly elsewhere?: readonly string[];
  /** Why it is marked as best. */
  readonly best?: string;
}

/** A picture beside the page. */
interface PageImage {
  readonly src: string;
  readonly width?: number;
  readonly height?: number;
}

/** One attempt of a health check. */
interface PageCheck {
  readonly at: string;
  /** Runs that were started before it. */
  readonly experiment: number;
  readonly isHealthy: boolean;
  /** Every service's answer. */
  readonly text: string;
}

/** The facts in the form that the page's script reads. */
export function pageModel(facts: ComparisonFacts): PageModel {
  const inOrder = [...facts.runs].sort((a, b) => a.index - b.index);
  const shown = inOrder.slice(0, COMPARISON_RUNS_MAX).map((run) => withoutLoss(run));
  const dimensions = facts.dimensions.map(({ name, values }) => dimension(name, values, shown));
  const sets = new Map<string, number>();
  const tracebacks = new Map<string, number>();
  const best = new Map<number, string[]>();
  for (const { index, why } of facts.best) best.set(index, [...(best.get(index) ?? []), why]);
  return {
    name: facts.name,
    specHash: facts.specHash,
    writtenAt: facts.writtenAt,
    counts: facts.counts,
    leftOut: inOrder.length - shown.length,
    dimensions: dimensions.map(({ name, texts }) => ({ name, values: texts })),
    axes: suggestAxes(dimensions, shown),
    metrics: [...new Set(shown.flatMap(({ metrics }) => Object.keys(metrics)))].sort(),
    runs: shown.map((run) => ({
      ...pageRun(run, dimensions, best.get(run.index)),
      ...unlessEmpty(
        "set",
        run.set.map((one) => numberOf(sets, setText(one))),
      ),
      ...tracebackOf(run, tracebacks),
    })),
    sets: [...sets.keys()],
    tracebacks: [...tracebacks.keys()],
    checks: facts.healthChecks.map((check) => ({
      at: check.at,
      experiment: check.experiment,
      isHealthy: isHealthy(check),
      text: check.services.map(({ message }) => message).join("; "),
    })),
    outages: outagesOf(facts.healthChecks, facts.runs),
  };
}

/** The loss is a member of its own: as a metric it would be told twice. */
function withoutLoss(run: ComparedRun): ComparedRun {
  const { loss: _, ...metrics } = run.metrics;
  return { ...run, metrics };
}

interface Dimension {
  readonly name: string;
  readonly texts: readonly string[];
  /** By value; `1` and `"1"` are two. */
  readonly numbers: ReadonlyMap<Scalar, number>;
}

function dimension(
  name: string,
  values: readonly Scalar[],
  runs: readonly ComparedRun[],
): Dimension {
  const numbers = new Map<Scalar, number>();
  for (const value of values) numberOf(numbers, value);
  for (const run of runs) {
    const value = valueOf(run, name);
    if (value !== undefined) numberOf(numbers, value);
  }
  return { name, numbers, texts: [...numbers.keys()].map((value) => shownText(value)) };
}

/** Columns and rows that show the most: of the first two that vary, the one with more values goes down. */
function suggestAxes(
  dimensions: readonly Dimension[],
  runs: readonly ComparedRun[],
): PageModel["axes"] {
  const used = dimensions.map(({ name }, at) => ({
    at,
    count: new Set(runs.map((run) => valueOf(run, name))).size,
  }));
  const varied = used.filter(({ count }) => count > 1);
  const handy = varied.filter(({ count }) => count <= AXIS_VALUES_MAX);
  const [first, second] = [...handy, ...varied.filter((one) => !handy.includes(one))];
  if (first === undefined) return { columns: null, rows: null };
  if (second === undefined) return { columns: first.at, rows: null };
  return first.count <= second.count
    ? { columns: first.at, rows: second.at }
    : { columns: second.at, rows: first.at };
}

function pageRun(
  run: ComparedRun,
  dimensions: readonly Dimension[],
  best: readonly string[] | undefined,
): PageRun {
  const images = run.images.map(({ path, ...size }) => ({
    path,
    size,
    src: relativeAddress(path),
  }));
  const { error } = run;
  return {
    index: run.index,
    name: run.name,
    title: shorten(run.title),
    seed: String(run.seed),
    status: run.status,
    values: dimensions.map(({ name, numbers }) => {
      const value = valueOf(run, name);
      return value === undefined ? -1 : (numbers.get(value) ?? -1);
    }),
    startedAt: run.startedAt,
    endedAt: run.endedAt,
    durationMs: run.durationMs,
    attempts: run.attempts,
    ...(error === null ? {} : { error: errorText(error) }),
    ...(error?.exceptionType === undefined ? {} : { exception: shorten(error.exceptionType) }),
    ...(run.loss === 0 ? {} : { loss: run.loss }),
    ...(Object.keys(run.metrics).length === 0 ? {} : { metrics: run.metrics }),
    ...(best === undefined ? {} : { best: best.join(", ") }),
    ...unlessEmpty(
      "earlier",
      run.earlier.map((end) => `attempt ${end.attempt}: ${errorText(end)}`),
    ),
    ...unlessEmpty("recovery", run.recovery),
    ...unlessEmpty(
      "images",
      images.flatMap(({ src, size }) => (src === null ? [] : [{ src, ...size }])),
    ),
    ...unlessEmpty(
      "elsewhere",
      images.flatMap(({ src, path }) => (src === null ? [shorten(path)] : [])),
    ),
  };
}

/** `workflow_error: node 5 MaskToImage: cannot reshape …` */
function errorText(error: ComparedError): string {
  return shorten(`${error.class}: ${failureText(error)}`);
}

function tracebackOf(
  { error }: ComparedRun,
  tracebacks: Map<string, number>,
): Pick<PageRun, "traceback"> {
  const traceback = error?.traceback;
  if (traceback === undefined || traceback === "") return {};
  return { traceback: numberOf(tracebacks, shortenStart(traceback)) };
}

function unlessEmpty<Name extends string, Value>(
  name: Name,
  values: readonly Value[],
): { readonly [key in Name]?: readonly Value[] } {
  return values.length === 0 ? {} : ({ [name]: values } as { [key in Name]: readonly Value[] });
}

/** `toString` is no dimension of a run that has none. */
function valueOf({ values }: ComparedRun, name: string): Scalar | undefined {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

/** The number of a value, which it is given when it is new. */
function numberOf<Value>(numbers: Map<Value, number>, value: Value): number {
  const known = numbers.get(value);
  if (known !== undefined) return known;
  numbers.set(value, numbers.size);
  return numbers.size - 1;
}

/**
 * A plain text as it is, anything else as JSON, and so a text that begins like JSON: `--set` reads it
 * back. Never shortened, for it is copied.
 */
function setText({ nodeId, input, value }: InputValue): string {
  const isPlain = typeof value === "string" && !/^\s*"/.test(value);
  return `${nodeId}.${input}=${isPlain ? value : (JSON.stringify(value) ?? "")}`;
}

/** An empty text is a value too, and has to be seen. */
function shownText(value: Scalar): string {
  return value === "" ? "(empty)" : shorten(String(value));
}

/** The end of a traceback names the place. */
function shortenStart(text: string): string {
  return text.length > TRACEBACK_MAX ? `…${text.slice(-TRACEBACK_MAX)}` : text;
}

function shorten(text: string): string {
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
}
