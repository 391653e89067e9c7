/** Options of `holdfast fault run`. */
export interface FaultOptions {
  readonly all?: boolean;
  readonly quick?: boolean;
  readonly client?: string;
  readonly comfyui?: string;
  readonly jobs?: number;
  readonly output?: string;
  readonly report?: string;
  readonly json?: boolean;
  readonly keep?: boolean;
  readonly setting?: readonly string[];
}

/** Options of `holdfast fault list`. */
export interface FaultListOptions {
  readonly json?: boolean;
}
