/** No wait that is longer is believed. */
const WAIT_MS_MAX = 24 * 60 * 60 * 1_000;

/**
 * The milliseconds of a `Retry-After` header: whole seconds, which is what RunPod sends, or a date, as
 * proxies do. Null without one, and for a text that is neither.
 */
export function readRetryAfter(text: string | null, nowMs: number): number | null {
  const value = text?.trim() ?? "";
  if (/^\d{1,12}$/.test(value)) return Math.min(Number(value) * 1_000, WAIT_MS_MAX);
  if (!/^[A-Za-z]{3},? /.test(value)) return null;
  const at = Date.parse(value);
  return Number.isNaN(at) ? null : Math.min(Math.max(0, at - nowMs), WAIT_MS_MAX);
}
