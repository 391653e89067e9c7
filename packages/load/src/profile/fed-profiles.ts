/** What Holdfast is told of a profiling: `PUT /api/v1/profiles`. */
import type { ProfileSummary, ProfiledWorkflow } from "./model.ts";

/** One workflow on one kind of card, as the server takes it. */
export interface FedProfile {
  /** In ComfyUI's API format; the server finds its shape. */
  readonly graph: unknown;
  readonly gpuName: string | null;
  readonly coldMs: number | null;
  readonly warmMs: number;
  readonly loadMs: number | null;
  readonly vramPeakBytes: number | null;
  readonly longestSilenceMs: number | null;
  /** Warm ones: `warmMs` counts for so many. */
  readonly runs: number;
  readonly measuredAt: string;
}

/** A row a workflow that has a warm time: without one there is nothing to estimate by. */
export function fedProfiles(
  { gpuName, startedAt, workflows }: ProfileSummary,
  graphOf: (workflow: ProfiledWorkflow) => unknown,
): readonly FedProfile[] {
  return workflows.flatMap((one) => {
    const { warmMs, coldMs, loadMs, vramPeakBytes, longestSilenceMs } = one;
    if (warmMs === null) return [];
    return [
      {
        graph: graphOf(one),
        gpuName,
        coldMs,
        warmMs: warmMs.mean,
        loadMs,
        vramPeakBytes,
        longestSilenceMs,
        runs: warmMs.count,
        measuredAt: startedAt,
      },
    ];
  });
}
