/** A run over time, as its file keeps it. */
import { z } from "zod";

const count = z.int().min(0);
const amount = z.number().min(0);

const bucketSchema = z.object({
  fromSeconds: amount,
  begun: count,
  completed: count,
  /** Ended otherwise. */
  failed: count,
  outputs: count,
  /** At its end. */
  inFlight: count,
  /** Latency of what ended in it, 3 % exact; null where nothing did. */
  p50Ms: amount.nullable(),
  p95Ms: amount.nullable(),
  gpu: z.array(
    z.object({
      gpu: count,
      /** The mean. */
      utilisationPercent: amount.nullable(),
      /** The peak. */
      memoryMb: amount.nullable(),
    }),
  ),
});

/** Shape of a timeline. */
export const loadTimelineSchema = z.object({
  bucketSeconds: amount,
  buckets: z.array(bucketSchema),
});

/** One stretch of time. Warm-up is in it: a plot shows how a run settled. */
export type TimelineBucket = z.infer<typeof bucketSchema>;
/** A run over time. */
export type LoadTimeline = z.infer<typeof loadTimelineSchema>;
