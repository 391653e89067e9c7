/** Decides what a log file's rotation does. Pure. */

/** Limits of one log file and its archives. */
export interface LogLimits {
  /** A file larger than this is rotated. */
  readonly fileMaxBytes: number;
  /** Archives kept of it. */
  readonly keep: number;
  /** The file and its archives together. */
  readonly totalMaxBytes: number;
}

/** For an instance's logs: a few days of a busy ComfyUI. */
export const DEFAULT_LOG_LIMITS: LogLimits = {
  fileMaxBytes: 20 * 1024 * 1024,
  keep: 4,
  totalMaxBytes: 120 * 1024 * 1024,
};

/** What is there. */
export interface LogFacts {
  readonly sizeBytes: number;
  readonly archives: readonly { readonly index: number; readonly sizeBytes: number }[];
  readonly limits: LogLimits;
  /** A file can be cut at the front by whole blocks of this size only. */
  readonly blockBytes: number;
}

/** What to do. `remove`: indexes of archives that go, before anything else. */
export type RotationDecision =
  | { readonly kind: "keep"; readonly remove: readonly number[] }
  | {
      readonly kind: "rotate";
      readonly remove: readonly number[];
      /** Cut off without being archived: beyond the total limit by itself. Whole blocks. */
      readonly dropBytes: number;
      /** Archived after that. Whole blocks; at least one byte stays in the file. */
      readonly archiveBytes: number;
    };

/**
 * Archives beyond their number go, then the oldest until the total fits with the new archive. A file
 * that grew beyond the total between two looks loses its beginning: the disk comes first.
 */
export function decideRotation(facts: LogFacts): RotationDecision {
  const { sizeBytes, limits, blockBytes } = facts;
  const archives = facts.archives.toSorted((a, b) => a.index - b.index);
  // A file can be cut only before its last byte.
  const cuttable = Math.floor(Math.max(0, sizeBytes - 1) / blockBytes) * blockBytes;
  const isDue = sizeBytes > limits.fileMaxBytes && cuttable > 0;
  const keptBefore = Math.max(0, isDue ? limits.keep - 1 : limits.keep);
  const kept = archives.slice(0, keptBefore);
  let total = sizeBytes + kept.reduce((sum, one) => sum + one.sizeBytes, 0);
  while (total > limits.totalMaxBytes) {
    const oldest = kept.pop();
    if (oldest === undefined) break;
    total -= oldest.sizeBytes;
  }
  const keptIndexes = new Set(kept.map((one) => one.index));
  const remove = archives.map((one) => one.index).filter((index) => !keptIndexes.has(index));
  if (!isDue) return { kind: "keep", remove };
  const excess = limits.keep === 0 ? cuttable : Math.max(0, sizeBytes - limits.totalMaxBytes);
  const dropBytes = Math.min(cuttable, Math.ceil(excess / blockBytes) * blockBytes);
  return { kind: "rotate", remove, dropBytes, archiveBytes: cuttable - dropBytes };
}
