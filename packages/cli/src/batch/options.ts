/** The options of `holdfast batch …`, as commander gives them. */
import type { ClientOptions } from "../commands/client-options.ts";

/** Of what shows or changes batches. */
export interface BatchOptions extends ClientOptions {
  readonly json?: boolean;
}

/** Of `batch create`. */
export interface CreateOptions extends BatchOptions {
  readonly workflow?: string;
  readonly table?: string;
  readonly pages?: string;
  readonly set?: readonly string[];
  readonly bind?: readonly string[];
  readonly input?: readonly string[];
  readonly name?: string;
  readonly tag?: readonly string[];
  readonly parallel?: boolean;
  readonly inOrder?: boolean;
  readonly window?: number;
  readonly priority?: number;
  readonly timeout?: number;
  readonly maxRetries?: number;
  readonly paused?: boolean;
  readonly follow?: boolean;
  readonly idempotencyKey?: string;
}

/** Of `batch list`. */
export interface ListOptions extends BatchOptions {
  readonly status?: string;
  readonly name?: string;
  readonly limit?: number;
}

/** Of `batch pages`. */
export interface PagesOptions extends BatchOptions {
  readonly status?: string;
  readonly limit?: number;
}

/** Of `batch regenerate`. */
export interface RegenerateOptions extends BatchOptions {
  readonly page?: readonly number[];
  readonly prompt?: string;
  readonly seed?: number;
  readonly set?: readonly string[];
  readonly force?: boolean;
  readonly follow?: boolean;
}

/** Of `batch archive` and `batch contact-sheet`. */
export interface FileOptions extends ClientOptions {
  readonly output?: string;
  readonly status?: string;
  readonly force?: boolean;
}
