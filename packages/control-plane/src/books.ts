/** Books, joined with what they need of settings and jobs. */
import type { EventType } from "@holdfast/contract";
import { createBatches, type Batches, type BatchesOptions } from "./batches/batches.ts";
import type { JobsService } from "./jobs/service.ts";
import type { ControlPlaneSettings } from "./platform/settings.ts";
import type { RemovalTally } from "./removal-tally.ts";

/** What books are made of. */
export interface BookFeatureOptions extends Pick<
  BatchesOptions,
  "db" | "clock" | "random" | "log" | "ids" | "graphLimits"
> {
  readonly settings: ControlPlaneSettings;
  readonly jobs: JobsService;
  readonly removals: RemovalTally;
  readonly onEvents: (written: readonly EventType[]) => void;
}

const MS_PER_SECOND = 1_000;
const MS_PER_HOUR = 3_600_000;

/** Makes books; loops do not run before they are started. */
export function createBookFeature(options: BookFeatureOptions): Batches {
  const { settings, removals } = options;
  return createBatches({
    ...options,
    defaults: {
      maxRetries: settings.bookMaxRetries,
      retryBackoffMs: settings.bookRetryBackoffSec.map((seconds) =>
        Math.round(Number(seconds) * MS_PER_SECOND),
      ),
      parallel: settings.parallelPages,
    },
    keptMs: settings.batchRetentionHours * MS_PER_HOUR,
    onRemoved: (rows) => removals.add("book_row", rows),
  });
}
