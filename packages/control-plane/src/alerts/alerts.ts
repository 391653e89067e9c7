/** Puts the feature together: rules, sources, channels, loops. */
import type { ChannelSettings, RuleEntry } from "@holdfast/alerts";
import type { EventType } from "@holdfast/contract";
import type { Clock, IdSource, Random, Service } from "@holdfast/runtime";
import { createGuardedFetch } from "../access/guarded-fetch.ts";
import { parseUrlRules } from "../access/url-rules.ts";
import { createJobTroubles } from "../jobs/trouble-service.ts";
import { createMachineTroubles } from "../machines/trouble-service.ts";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { openChannel } from "./channels/open-channel.ts";
import type { SignMessage } from "./channels/webhook-channel.ts";
import { createAlertLoops } from "./loop.ts";
import { createRuleService, type RuleService } from "./rule-service.ts";
import { createAlertService, type AlertService } from "./service.ts";
import { createObserver, type MetricSamples } from "./sources.ts";
import { createSources, type SourcesDeps } from "./sources-service.ts";

/** What alerts are made of; the ports are those of {@link SourcesDeps}. */
export interface AlertsOptions extends Pick<
  SourcesDeps,
  "jobs" | "machines" | "deadWebhooks" | "fleet" | "endedOnPurpose"
> {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly ids: IdSource;
  readonly fileRules: readonly RuleEntry[];
  readonly channels: readonly ChannelSettings[];
  readonly metricSamples: MetricSamples;
  readonly sign: SignMessage;
  readonly onEvents: (written: readonly EventType[]) => void;
  readonly onRemoved: (kind: "alert" | "alert_delivery", count: number) => void;
}

/** Alerts of one replica. */
export interface Alerts {
  readonly alerts: AlertService;
  readonly rules: RuleService;
  readonly loops: readonly Service[];
  close(): Promise<void>;
}

/** Everything: the addresses come from the operator's own file, and most point into the own network. */
const ANYWHERE = "0.0.0.0/0,::/0";

/** Makes alerts; loops do not run before they are started. */
export function createAlerts(options: AlertsOptions): Alerts {
  const { db, clock, log } = options;
  const fetcher = createGuardedFetch({ clock, rules: parseUrlRules(ANYWHERE) });
  const channels = options.channels.map((settings) =>
    openChannel(settings, { fetcher, clock, sign: options.sign }),
  );
  const rules = createRuleService({ db, log, fileRules: options.fileRules });
  const sources = createSources({
    ...options,
    channelNames: channels.map(({ settings }) => settings.name),
    jobTroubles: createJobTroubles(db),
    machineTroubles: createMachineTroubles(db),
  });
  const { metricSamples } = options;
  const observer = createObserver({ sources, metricSamples, clock, log });
  const loops = createAlertLoops({ ...options, channels, rules, observer });
  const onDue = (): void => loops.deliver.wake();
  return {
    alerts: createAlertService({ ...options, rules, channels, onDue }),
    rules,
    loops: [loops.deliver, loops.evaluate, loops.prune],
    async close() {
      await Promise.all(channels.map((channel) => channel.close()));
      await fetcher.close();
    },
  };
}
