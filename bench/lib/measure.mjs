/** Numbers out of samples: percentiles, medians, ratios, and the tables they are printed in. */

/** Monotonic milliseconds with a fraction. */
export function now() {
  return performance.now();
}

/** The value below which `share` (0 to 1) of the samples lie; NaN without, or where one was not measured. */
export function percentile(samples, share) {
  if (samples.length === 0 || samples.includes(null)) return Number.NaN;
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const low = sorted[Math.floor(at)];
  const high = sorted[Math.ceil(at)];
  return low + (high - low) * (at - Math.floor(at));
}

/** The median; NaN without samples. */
export function median(samples) {
  return percentile(samples, 0.5);
}

/** p50, p90, p99 and the count, rounded for a result file. */
export function summary(samples) {
  return {
    count: samples.length,
    p50: round(median(samples)),
    p90: round(percentile(samples, 0.9)),
    p99: round(percentile(samples, 0.99)),
  };
}

/** Rounded to three digits after the point; null for what is no number. */
export function round(value) {
  return typeof value === "number" && Number.isFinite(value)
    ? Math.round(value * 1000) / 1000
    : null;
}

/** Runs `work(index)` for every index below `count`, at most `width` at a time. */
export async function inParallel(count, width, work) {
  let next = 0;
  const worker = async () => {
    while (next < count) {
      const index = next;
      next += 1;
      await work(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker));
}

/** Waits until `check` gives something true; throws `what` after the limit. */
export async function until(check, what, { limitMs = 60_000, everyMs = 20 } = {}) {
  const deadline = now() + limitMs;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (now() > deadline) throw new Error(`waited ${limitMs} ms in vain: ${what}`);
    await pause(everyMs);
  }
}

/** Resolves after so many milliseconds. */
export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Prints rows of equal keys as a table; numbers to the right, with few digits. */
export function printTable(title, rows) {
  process.stdout.write(`\n${title}\n`);
  if (rows.length === 0) return;
  const heads = Object.keys(rows[0]);
  const cells = rows.map((row) => heads.map((head) => toCell(row[head])));
  const widths = heads.map((head, at) =>
    Math.max(head.length, ...cells.map((row) => row[at].length)),
  );
  const isNumber = heads.map((head) => rows.some((row) => typeof row[head] === "number"));
  const line = (row) =>
    row
      .map((cell, at) => (isNumber[at] ? cell.padStart(widths[at]) : cell.padEnd(widths[at])))
      .join("  ")
      .trimEnd();
  for (const row of [heads, ...cells]) process.stdout.write(`  ${line(row)}\n`);
}

function toCell(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isNaN(value)) return "–";
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return String(Math.round(value));
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}
