import type { ClientOptions } from "../commands/client-options.ts";

/** The options of `holdfast alerts …`. */
export interface AlertOptions extends ClientOptions {
  readonly json?: boolean;
  readonly note?: string;
}

/** The options of `alerts list`. */
export interface AlertListOptions extends AlertOptions {
  readonly all?: boolean;
  readonly severity?: string;
  readonly rule?: string;
  readonly limit?: number;
}

/** The options of `alerts silence`. */
export interface SilenceOptions extends AlertOptions {
  /** In ms. */
  readonly for: number;
  readonly reason: string;
}
