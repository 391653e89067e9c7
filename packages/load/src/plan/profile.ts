/** A pace's value over time, as straight pieces: how much is wanted when, and how much by then. */
import type { Pace } from "./pace.ts";

/** One straight piece; the last of an endless pace has no end. */
interface Piece {
  readonly fromMs: number;
  readonly untilMs: number;
  readonly first: number;
  readonly last: number;
}

/** A time with one value, of a pace that steps. */
export interface LevelWindow {
  readonly level: number;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** What a pace wants over time. Instants are ms since the run's start. */
export interface PaceProfile {
  /** Infinity where the pace alone never ends. */
  readonly endsAtMs: number;
  /** The value at an instant: jobs in flight, or jobs a second. */
  valueAt(ms: number): number;
  /** When the value is first at least this much, at or after an instant; Infinity for never. */
  reachesAt(value: number, ms: number): number;
  /** When so many jobs have been due at the rates so far; Infinity for never. */
  dueAt(jobs: number): number;
}

const MS_PER_SECOND = 1_000;

/** The profile of a pace without problems. */
export function paceProfile(pace: Pace): PaceProfile {
  const pieces = piecesOf(pace);
  const endsAtMs = pieces.at(-1)?.untilMs ?? 0;
  return {
    endsAtMs,
    valueAt: (ms) => {
      const piece = pieces.find(({ untilMs }) => ms < untilMs) ?? pieces.at(-1);
      return piece === undefined ? 0 : pieceValue(piece, ms);
    },
    reachesAt: (value, ms) => {
      for (const piece of pieces) {
        const at = piece.untilMs <= ms ? undefined : reachedIn(piece, value, ms);
        if (at !== undefined) return at;
      }
      return Number.POSITIVE_INFINITY;
    },
    dueAt: (jobs) => dueAt(pieces, jobs),
  };
}

/** The steps of a pace with their times; empty for a pace that has none. */
export function levelWindows(pace: Pace): readonly LevelWindow[] {
  if (pace.kind !== "step") return [];
  return piecesOf(pace).map(({ first, fromMs, untilMs }) => ({ level: first, fromMs, untilMs }));
}

function piecesOf(pace: Pace): readonly Piece[] {
  const endless = Number.POSITIVE_INFINITY;
  switch (pace.kind) {
    case "closed":
      return [{ fromMs: 0, untilMs: endless, first: pace.inFlight, last: pace.inFlight }];
    case "open":
      return [{ fromMs: 0, untilMs: endless, first: pace.perSecond, last: pace.perSecond }];
    case "ramp":
      return [
        { fromMs: 0, untilMs: pace.overMs, first: pace.from, last: pace.to },
        { fromMs: pace.overMs, untilMs: endless, first: pace.to, last: pace.to },
      ];
    default: {
      let fromMs = 0;
      return pace.levels.map(({ value, forMs }) => {
        const piece = { fromMs, untilMs: fromMs + forMs, first: value, last: value };
        fromMs = piece.untilMs;
        return piece;
      });
    }
  }
}

function pieceValue({ fromMs, untilMs, first, last }: Piece, ms: number): number {
  if (first === last) return first;
  const share = Math.min(1, Math.max(0, (ms - fromMs) / (untilMs - fromMs)));
  return first + (last - first) * share;
}

function reachedIn(piece: Piece, value: number, ms: number): number | undefined {
  const from = Math.max(ms, piece.fromMs);
  if (pieceValue(piece, from) >= value) return from;
  if (piece.last < value || piece.last <= piece.first) return undefined;
  const share = (value - piece.first) / (piece.last - piece.first);
  return piece.fromMs + share * (piece.untilMs - piece.fromMs);
}

function dueAt(pieces: readonly Piece[], jobs: number): number {
  let before = 0;
  for (const piece of pieces) {
    const { fromMs, untilMs, first, last } = piece;
    const seconds = (untilMs - fromMs) / MS_PER_SECOND;
    const within = first === last ? first * seconds : ((first + last) / 2) * seconds;
    const left = jobs - before;
    if (left < within) return fromMs + timeWithin(piece, left);
    before += within;
  }
  return Number.POSITIVE_INFINITY;
}

/** When a piece has had so many jobs: the area below a straight line, turned round. */
function timeWithin({ fromMs, untilMs, first, last }: Piece, jobs: number): number {
  if (first === last) return (jobs / first) * MS_PER_SECOND;
  const growth = (last - first) / ((untilMs - fromMs) / MS_PER_SECOND);
  // The root in this form keeps its digits where growth is small, and stands for both directions.
  const root = Math.sqrt(Math.max(0, first * first + 2 * growth * jobs));
  return jobs === 0 ? 0 : ((2 * jobs) / (first + root)) * MS_PER_SECOND;
}
