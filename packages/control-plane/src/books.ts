/** Books, joined with what they need of settings, jobs and planning. */
import type { GraphLimits } from "@holdfast/comfyui/protocol";
import type { EventType } from "@holdfast/contract";
import { createBatches, type Batches, type BatchesOptions } from "./batches/batches.ts";
import { planBook } from "./batches/plan-book.ts";
import { planPage } from "./batches/plan-page.ts";
import type { BookPlanning } from "./batches/ports.ts";
import type { JobsService } from "./jobs/service.ts";
import { sha256 } from "./jobs/submit-preparation.ts";
import type { ControlPlaneSettings } from "./platform/settings.ts";
import type { RemovalTally } from "./removal-tally.ts";

/** What books are made of. */
export interface BookFeatureOptions extends Pick<
  BatchesOptions,
  "db" | "clock" | "random" | "log" | "ids"
> {
  readonly settings: ControlPlaneSettings;
  readonly jobs: JobsService;
  readonly removals: RemovalTally;
  readonly graphLimits: GraphLimits;
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
    planning: createPlanning(options.graphLimits),
  });
}

function createPlanning(limits: GraphLimits): BookPlanning {
  return {
    book: (request, allowedClasses) => planBook(request, { allowedClasses, sha256, limits }),
    page: (before, change) => planPage(before, change, limits),
  };
}
