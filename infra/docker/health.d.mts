/** See `health.mjs`. */
export interface Verdict {
  readonly isWell: boolean;
  readonly text: string;
}

export function probeOf(
  part: string,
  flags: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): {
  readonly url: string;
  readonly tokenFile: string | undefined;
  readonly judge: (status: number, body: unknown) => Verdict;
};
