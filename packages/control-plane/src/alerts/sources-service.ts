/** The sources of alerts' samples that there are. */
import { secondsText, type Sample } from "@holdfast/alerts";
import type { Clock } from "@holdfast/runtime";
import { LOCAL_CALLER } from "../access/model.ts";
import type { JobsService } from "../jobs/service.ts";
import type { JobTroubles } from "../jobs/trouble-service.ts";
import type { MachinesService } from "../machines/service.ts";
import type { MachineTroubles } from "../machines/trouble-service.ts";
import type { Db } from "../platform/db.ts";
import { selectDeadChannels } from "./delivery-store.ts";
import { pruneJobEnds, putJobEnds, selectJobEnds } from "./evaluation-store.ts";
import { crashWords } from "./crash-words.ts";
import { budgetBurn } from "./error-budget.ts";
import { DAY_MS, failedShares, wholeQuarters } from "./failed-share.ts";
import type { SampleSource } from "./sources.ts";
import { bytesText, countText, percentText } from "./words.ts";

/** Webhooks that were given up, by target. */
export interface DeadWebhooks {
  readonly host: string;
  readonly count: number;
}

/** What the sources ask. */
export interface SourcesDeps {
  readonly db: Db;
  readonly clock: Pick<Clock, "now">;
  readonly jobs: Pick<JobsService, "stats">;
  readonly jobTroubles: JobTroubles;
  readonly machines: Pick<MachinesService, "numbers">;
  readonly machineTroubles: MachineTroubles;
  /** The channels that there are. */
  readonly channelNames: readonly string[];
  /** Webhooks given up within this time. */
  readonly deadWebhooks: (withinMs: number) => Promise<readonly DeadWebhooks[]>;
  /**
   * The fleet's own numbers: `fleet_failure_rate` (a share, in `words` as C2 writes it),
   * `fleet_failure_rate_checked` (1 when enough machines were seen for a check), `fleet_machines_healthy`,
   * `fleet_machines_expected` (0 when the fleet is at zero on purpose), all of them each time. Left out:
   * nothing is told of them.
   */
  readonly fleet?: (() => Promise<readonly Sample[]>) | undefined;
  /** How many of the machines that are lost were ended on purpose. Left out: none. */
  readonly endedOnPurpose?: (() => Promise<number>) | undefined;
}

const EVERY_TIME = 0;
const HALF_MINUTE_MS = 30_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** A crash is told for so long after it. */
const DEATHS_WITHIN_MS = 10 * MINUTE_MS;
/** Disks are told from here on, so that one with room again is seen to have it. */
const DISK_TOLD_BELOW = 0.2;
const MS_PER_SECOND = 1_000;
const FLEET_METRICS = [
  "fleet_failure_rate",
  "fleet_failure_rate_checked",
  "fleet_machines_healthy",
  "fleet_machines_expected",
] as const;

/** Makes the sources. */
export function createSources(deps: SourcesDeps): readonly SampleSource[] {
  return [
    queueSource(deps),
    failureSource(deps),
    poisonSource(deps),
    crashSource(deps),
    machineSource(deps),
    instanceSource(deps),
    conditionSource(deps),
    ...fleetSource(deps),
    tellingSource(deps),
  ];
}

function queueSource({ jobs, jobTroubles }: SourcesDeps): SampleSource {
  return {
    name: "queue",
    metrics: ["jobs_oldest_queued_seconds", "jobs_held", "jobs_unservable"],
    everyMs: EVERY_TIME,
    async read() {
      const stats = await jobs.stats(LOCAL_CALLER);
      const unserved = await jobTroubles.unserved();
      return [
        single("jobs_oldest_queued_seconds", (stats.oldestQueuedAgeMs ?? 0) / MS_PER_SECOND),
        single("jobs_held", stats.held),
        ...unserved.map(({ requirementId, reason, jobs: waiting }) => ({
          metric: "jobs_unservable",
          labels: { requirement: String(requirementId) },
          value: waiting,
          words: `${reason} (${countText(waiting, "job")})`,
        })),
      ];
    },
  };
}

function failureSource({ db, clock, jobTroubles }: SourcesDeps): SampleSource {
  return {
    name: "failures",
    metrics: [
      "jobs_failed_share",
      "jobs_failed_share_rise",
      "jobs_failed_recently",
      "error_budget_burn_rate",
      "error_budget_failed_jobs",
    ],
    everyMs: HALF_MINUTE_MS,
    async read() {
      const now = clock.now();
      const minutes = (await jobTroubles.endsByMinute()).map(({ minuteAt, ...ends }) => ({
        at: minuteAt,
        ...ends,
      }));
      const whole = wholeQuarters(minutes, now).map(({ at, ...ends }) => ({
        quarterAt: at,
        ...ends,
      }));
      await putJobEnds(db, whole);
      await pruneJobEnds(db, now - 2 * DAY_MS);
      const quarters = (await selectJobEnds(db, now - DAY_MS)).map(({ quarterAt, ...ends }) => ({
        at: quarterAt,
        ...ends,
      }));
      return [...failedShares(minutes, quarters, now), ...budgetBurn(minutes, now)];
    },
  };
}

function poisonSource({ jobTroubles }: SourcesDeps): SampleSource {
  return {
    name: "poison",
    metrics: ["jobs_poisoned"],
    everyMs: EVERY_TIME,
    read: async () =>
      (await jobTroubles.poisoned(HOUR_MS)).map(({ number, message }) => ({
        metric: "jobs_poisoned",
        labels: { job: String(number) },
        value: 1,
        words: message,
      })),
  };
}

function crashSource({ jobTroubles }: SourcesDeps): SampleSource {
  return {
    name: "crashes",
    metrics: ["instance_deaths"],
    everyMs: EVERY_TIME,
    read: async () =>
      (await jobTroubles.instanceDeaths(DEATHS_WITHIN_MS)).map((deaths) => ({
        metric: "instance_deaths",
        labels: { machine: deaths.machine, instance: deaths.instance },
        value: deaths.deaths,
        words: crashWords(deaths, secondsText(DEATHS_WITHIN_MS / MS_PER_SECOND)),
      })),
  };
}

function machineSource({ machines, endedOnPurpose }: SourcesDeps): SampleSource {
  return {
    name: "machines",
    metrics: ["machines_online", "machines_silent_share"],
    everyMs: EVERY_TIME,
    async read() {
      const { online, total } = (await machines.numbers()).machines;
      const ended = (await endedOnPurpose?.()) ?? 0;
      const known = Math.max(online, total - ended);
      const words = `${known - online} of ${countText(known, "machine")}`;
      return [
        single("machines_online", online),
        { ...single("machines_silent_share", known === 0 ? 0 : 1 - online / known), words },
      ];
    },
  };
}

function instanceSource({ machineTroubles }: SourcesDeps): SampleSource {
  return {
    name: "instances",
    metrics: ["instance_quarantined", "instance_unhealthy_seconds"],
    everyMs: EVERY_TIME,
    async read() {
      const quarantined = await machineTroubles.quarantined();
      const unhealthy = await machineTroubles.unhealthy();
      return [
        ...quarantined.map(({ machine, instance, reason }) => ({
          metric: "instance_quarantined",
          labels: { machine, instance },
          value: 1,
          words: reason,
        })),
        ...unhealthy.map(({ machine, instance, reason, forSeconds }) => ({
          metric: "instance_unhealthy_seconds",
          labels: { machine, instance },
          value: forSeconds,
          words: reason,
        })),
      ];
    },
  };
}

function conditionSource({ machineTroubles }: SourcesDeps): SampleSource {
  return {
    name: "conditions",
    metrics: ["machine_disk_free_share", "machine_gpus_faulty"],
    everyMs: HALF_MINUTE_MS,
    async read() {
      const conditions = await machineTroubles.conditions(DISK_TOLD_BELOW);
      return conditions.flatMap((one): Sample[] => {
        const { machine, diskFreeBytes: free, diskTotalBytes: total, gpusFaulty, fault } = one;
        const labels = { machine };
        const disk = { metric: "machine_disk_free_share", labels };
        const gpus = { metric: "machine_gpus_faulty", labels };
        const hasDisk = free !== null && total !== null && total > 0;
        return [
          ...(hasDisk ? [{ ...disk, value: free / total, words: diskWords(free, total) }] : []),
          ...(gpusFaulty > 0 ? [{ ...gpus, value: gpusFaulty, words: fault ?? "" }] : []),
        ];
      });
    },
  };
}

function diskWords(free: number, total: number): string {
  return `${bytesText(free)} of ${bytesText(total)} free (${percentText(free / total)})`;
}

/** Nothing at all where there is no fleet: its rules then have no data, and are inactive. */
function fleetSource({ fleet }: SourcesDeps): readonly SampleSource[] {
  if (fleet === undefined) return [];
  return [
    {
      name: "fleet",
      metrics: FLEET_METRICS,
      everyMs: EVERY_TIME,
      read: fleet,
    },
  ];
}

function tellingSource({ db, deadWebhooks, channelNames }: SourcesDeps): SampleSource {
  return {
    name: "telling",
    metrics: ["webhook_deliveries_dead", "alert_channel_dead"],
    everyMs: EVERY_TIME,
    async read() {
      const webhooks = await deadWebhooks(HOUR_MS);
      const channels = await selectDeadChannels(db, channelNames);
      return [
        ...webhooks.map(({ host, count }) => ({
          metric: "webhook_deliveries_dead",
          labels: { host },
          value: count,
          words: `${count} to ${host}`,
        })),
        ...channels.map(({ channel, error }) => ({
          metric: "alert_channel_dead",
          labels: { channel },
          value: 1,
          words: error,
        })),
      ];
    },
  };
}

function single(metric: string, value: number): Sample {
  return { metric, labels: {}, value };
}
