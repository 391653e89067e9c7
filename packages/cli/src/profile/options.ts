/** The options of `holdfast profile`, as commander gives them. */
export interface ProfileOptions {
  readonly server?: string;
  readonly apiKey?: string;
  readonly workflow?: readonly string[];
  readonly runs?: string;
  readonly seed?: string;
  readonly root?: string;
  /** A path; false for `--no-nvidia-smi`, true where nothing was said. */
  readonly nvidiaSmi?: string | boolean;
  readonly every?: string;
  readonly timeout?: string;
  readonly feed?: string;
  readonly keepModels?: boolean;
  readonly json?: boolean;
}
