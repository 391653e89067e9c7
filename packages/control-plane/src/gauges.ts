import { LOCAL_CALLER } from "./access/model.ts";
import type { Db } from "./platform/db.ts";
import type { Metrics } from "./platform/metrics.ts";
import type { Services } from "./services.ts";

const MS_PER_SECOND = 1_000;

/** Numbers of the queue, the fleet, the pool and what was removed: asked for at each scrape. */
export function registerGauges(metrics: Metrics, db: Db, services: Services): void {
  // Three gauges of one look. A gauge that another one sets would be a scrape behind: all are read at once.
  let looking: ReturnType<typeof services.jobs.stats> | undefined;
  const stats = () =>
    (looking ??= services.jobs.stats(LOCAL_CALLER).finally(() => (looking = undefined)));
  metrics.gauge("holdfast_jobs", "Jobs by status", ["status"], async (gauge) => {
    for (const [status, count] of Object.entries((await stats()).jobs))
      gauge.set({ status }, count);
  });
  metrics.gauge("holdfast_jobs_held", "Queued jobs that are held", [], async (gauge) => {
    gauge.set((await stats()).held);
  });
  metrics.gauge(
    "holdfast_oldest_queued_seconds",
    "Age of the job that has waited longest; 0 when none waits",
    [],
    async (gauge) => {
      gauge.set(((await stats()).oldestQueuedAgeMs ?? 0) / MS_PER_SECOND);
    },
  );
  metrics.gauge("holdfast_instances", "Instances by state", ["state"], async (gauge) => {
    gauge.reset();
    for (const { state, machineState, cordoned } of await services.machines.placedInstances()) {
      gauge.inc({ state: machineState === "lost" ? "lost" : cordoned ? "cordoned" : state });
    }
  });
  metrics.gauge(
    "holdfast_machines_online",
    "Machines with a fresh heartbeat",
    [],
    async (gauge) => {
      gauge.set((await services.machines.numbers()).machines.online);
    },
  );
  metrics.gauge(
    "holdfast_alerts",
    "Alerts that are there, by state: pending, firing, silenced",
    ["severity", "state"],
    async (gauge) => {
      for (const { severity, state, count } of await services.alerts.alerts.counts()) {
        gauge.set({ severity, state }, count);
      }
    },
  );
  metrics.gauge("holdfast_books", "Books that have not ended", ["status"], async (gauge) => {
    for (const { status, count } of (await services.batches.gauges()).books) {
      gauge.set({ status }, count);
    }
  });
  metrics.gauge(
    "holdfast_book_pages",
    "Pages of those books that have not ended",
    ["state"],
    async (gauge) => {
      for (const [state, count] of Object.entries((await services.batches.gauges()).pages)) {
        gauge.set({ state }, count);
      }
    },
  );
  metrics.gauge("holdfast_db_connections", "Connections of the pool", ["use"], (gauge) => {
    const load = db.load();
    gauge.set({ use: "busy" }, load.total - load.idle);
    gauge.set({ use: "idle" }, load.idle);
    gauge.set({ use: "waited_for" }, load.waiting);
  });
  metrics.gauge("holdfast_polls_waiting", "Agents' polls held open here", [], (gauge) => {
    gauge.set(services.scheduler.waitingPolls());
  });
  metrics.counter(
    "holdfast_removed_rows_total",
    "Rows that this process removed because their time was over",
    ["kind"],
    (counter) => {
      for (const [kind, rows] of services.removals.totals()) counter.inc({ kind }, rows);
    },
  );
}
