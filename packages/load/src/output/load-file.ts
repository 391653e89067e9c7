/**
 * The file of a load run. It is JSON, so that `jq .summary` reads it, and has a line a sample, so that a
 * million of them are read without being held:
 *
 *     {"version":1,"summary":{…},
 *     "timeline":{…},
 *     "columns":["index","workflow",…],
 *     "samples":[
 *     [0,"small",…],
 *     [1,"small",…]
 *     ]}
 *
 * The summary comes first and is known last. So a run keeps its lines ({@link sampleLine}) beside, and they
 * are copied in behind it at the end, as they are: `loadFileText` parses none.
 */
import type { JobSample } from "../sample/job-sample.ts";
import type { LoadSummary } from "../summary/model.ts";
import type { LoadTimeline } from "../summary/timeline-model.ts";
import { SAMPLE_COLUMNS, toRow } from "./sample-row.ts";

/** Version of the file's form; grows when an old reader would misunderstand a new file. */
export const LOAD_FILE_VERSION = 1;
/** Pieces of text are at least so long: one write a line would be many. */
const PIECE_LENGTH = 65_536;

/** A sample as its line, without the line's end or a comma. */
export function sampleLine(sample: JobSample): string {
  return JSON.stringify(toRow(sample));
}

/** The text of a run's file, in pieces. `lines`: of {@link sampleLine}, without their ends. */
export async function* loadFileText(
  summary: LoadSummary,
  timeline: LoadTimeline,
  lines: AsyncIterable<string> | Iterable<string>,
): AsyncGenerator<string, void, undefined> {
  yield [
    `{"version":${LOAD_FILE_VERSION},"summary":${JSON.stringify(summary)},`,
    `"timeline":${JSON.stringify(timeline)},`,
    `"columns":${JSON.stringify(SAMPLE_COLUMNS)},`,
    `"samples":[`,
  ].join("\n");
  let piece = "";
  let separator = "\n";
  for await (const line of lines) {
    piece += separator + line;
    separator = ",\n";
    if (piece.length < PIECE_LENGTH) continue;
    yield piece;
    piece = "";
  }
  yield `${piece}\n]}\n`;
}
