import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { HttpAnswer } from "./http/server.ts";

/** The metrics of one app. Names begin with `holdfast_`; labels come from closed sets, never ids. */
export interface Metrics {
  counter<L extends string>(
    name: string,
    help: string,
    labels?: readonly L[],
    /** Asked at each scrape, after the counter was set to zero. */
    collect?: (counter: Counter<L>) => void,
  ): Counter<L>;
  gauge<L extends string>(
    name: string,
    help: string,
    labels?: readonly L[],
    /** Asked at each scrape. */
    collect?: (gauge: Gauge<L>) => void | Promise<void>,
  ): Gauge<L>;
  histogram<L extends string>(
    name: string,
    help: string,
    labels?: readonly L[],
    buckets?: readonly number[],
  ): Histogram<L>;
  /** Counts an answer of the HTTP server. */
  readonly onAnswer: (answer: HttpAnswer) => void;
  /** The event loop's delay since the last call of this function, in ms. */
  eventLoopDelayMs(): { readonly p50: number; readonly p99: number; readonly max: number };
  /** The values now of the metrics that are named, as they stand in the text; others are left out. */
  samples(names: ReadonlySet<string>): Promise<readonly MetricSample[]>;
  /** Everything in Prometheus's text format. */
  text(): Promise<string>;
  readonly contentType: string;
  /** Ends what measures in the background. */
  stop(): void;
}

/** One value of a metric. */
export interface MetricSample {
  readonly metric: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const NAME = /^holdfast_[a-z0-9_]+$/;
const SECONDS_BUCKETS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const LOOP_RESOLUTION_MS = 10;
const NANOSECONDS_PER_MS = 1e6;

/** Makes an app's metrics, in a registry of their own: two apps in one process do not meet. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const delay = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  delay.enable();

  const metrics: Metrics = {
    counter(name, help, labels = [], collect) {
      const made: Counter<(typeof labels)[number]> = new Counter({
        name: checked(name),
        help,
        labelNames: [...labels],
        registers: [registry],
        ...(collect === undefined
          ? {}
          : {
              collect: () => {
                made.reset();
                collect(made);
              },
            }),
      });
      return made;
    },
    gauge(name, help, labels = [], collect) {
      const made: Gauge<(typeof labels)[number]> = new Gauge({
        name: checked(name),
        help,
        labelNames: [...labels],
        registers: [registry],
        ...(collect === undefined ? {} : { collect: () => collect(made) }),
      });
      return made;
    },
    histogram: (name, help, labels = [], buckets = SECONDS_BUCKETS) =>
      new Histogram({
        name: checked(name),
        help,
        labelNames: [...labels],
        buckets: [...buckets],
        registers: [registry],
      }),
    onAnswer: (answer) => requests.observe(toLabels(answer), answer.seconds),
    eventLoopDelayMs() {
      const read = {
        p50: delayMs(delay.percentile(50)),
        p99: delayMs(delay.percentile(99)),
        max: delayMs(delay.max),
      };
      delay.reset();
      return read;
    },
    async samples(names) {
      // All are asked, as at a scrape: some are set by the asking of another.
      const all = await registry.getMetricsAsJSON();
      return all.flatMap(({ name, values }) =>
        (values as readonly RegistryValue[]).flatMap(({ metricName = name, labels, value }) =>
          names.has(metricName) ? [{ metric: metricName, labels: toTexts(labels), value }] : [],
        ),
      );
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
    stop: () => {
      delay.disable();
      registry.clear();
    },
  };
  const requests = metrics.histogram(
    "holdfast_http_request_seconds",
    "Time to answer a request, by route pattern",
    ["method", "route", "status"],
  );
  addProcessGauges(metrics, delay);
  return metrics;
}

/** A value as `prom-client` has it; a histogram's have names of their own. */
interface RegistryValue {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

function toTexts(labels: RegistryValue["labels"]): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, String(value)]));
}

/** Node's sampler reports the whole time between two of its ticks: the pace it was set to is no delay. */
function delayMs(sampledNs: number): number {
  return Math.max(0, sampledNs / NANOSECONDS_PER_MS - LOOP_RESOLUTION_MS);
}

function checked(name: string): string {
  if (!NAME.test(name)) throw new Error(`not a metric name of ours: ${name}`);
  return name;
}

function toLabels(answer: HttpAnswer): { method: string; route: string; status: string } {
  // By class of status: a caller cannot make new series by failing in new ways.
  return {
    method: answer.method,
    route: answer.route,
    status: `${Math.trunc(answer.status / 100)}xx`,
  };
}

function addProcessGauges(metrics: Metrics, delay: ReturnType<typeof monitorEventLoopDelay>): void {
  metrics.gauge(
    "holdfast_event_loop_delay_seconds",
    "Delay of the event loop since the last reset",
    ["quantile"],
    (gauge) => {
      gauge.set({ quantile: "0.5" }, delayMs(delay.percentile(50)) / 1e3);
      gauge.set({ quantile: "0.99" }, delayMs(delay.percentile(99)) / 1e3);
      gauge.set({ quantile: "1" }, delayMs(delay.max) / 1e3);
    },
  );
  metrics.gauge("holdfast_process_resident_bytes", "Memory of this process", [], (gauge) =>
    gauge.set(process.memoryUsage.rss()),
  );
  metrics.gauge("holdfast_process_cpu_seconds", "CPU time used by this process", [], (gauge) => {
    const { user, system } = process.cpuUsage();
    gauge.set((user + system) / 1e6);
  });
}
