/** The options of `holdfast load`, as commander gives them: words where a wrong one is to be told with all others. */
export interface LoadOptions {
  readonly server?: string;
  readonly target?: "holdfast" | "comfyui";
  readonly workflow?: readonly string[];
  readonly seed?: string;
  readonly jobs?: string;
  readonly for?: string;
  readonly concurrency?: string;
  readonly rate?: string;
  readonly ramp?: string;
  readonly step?: string;
  readonly warmUp?: string;
  readonly timeout?: string;
  readonly output?: string;
  readonly root?: string;
  readonly stopGpu?: string;
  readonly stopErrors?: string;
  readonly minSuccess?: string;
  readonly costPerHour?: string;
  readonly report?: string;
  readonly scenario?: string;
  readonly compare?: string;
  readonly force?: boolean;
  readonly json?: boolean;
  readonly apiKey?: string;
}
