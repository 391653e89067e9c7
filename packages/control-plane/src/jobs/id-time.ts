/** The instant in an id of ours: `job_` and ten base-32 digits of milliseconds (runtime's ids.ts). */

const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
const PREFIX_LENGTH = "job_".length;
const TIME_LENGTH = 10;

/** The milliseconds in a job's id. */
export function timeOfId(jobId: string): number {
  let ms = 0;
  for (const digit of jobId.slice(PREFIX_LENGTH, PREFIX_LENGTH + TIME_LENGTH)) {
    ms = ms * DIGITS.length + Math.max(0, DIGITS.indexOf(digit));
  }
  return ms;
}

/** The start of every job id of that millisecond: less than all of them, more than all before. */
export function idStartAt(ms: number): string {
  let rest = Math.max(0, Math.floor(ms));
  let text = "";
  for (let place = 0; place < TIME_LENGTH; place += 1) {
    text = (DIGITS[rest % DIGITS.length] ?? "0") + text;
    rest = Math.floor(rest / DIGITS.length);
  }
  return `job_${text}`;
}
