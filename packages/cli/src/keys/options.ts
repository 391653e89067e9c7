import type { ClientOptions } from "../commands/client-options.ts";

/** The options of `keys …`. */
export interface KeysOptions extends ClientOptions {
  readonly database?: boolean;
  readonly home?: string;
  readonly name?: string;
  readonly role?: string;
  readonly expires?: string;
  readonly ttl?: string;
  readonly machineName?: string;
  readonly json?: boolean;
}
