import {
  ERROR_RECOVERY_PATH,
  recoveryPlanSchema,
  type RecoveryPlan,
  type RecoveryPlanRequest,
} from "@holdfast/contract";
import { createConnection, type Connection, type ServerOptions } from "./connection.ts";
import { platformClock } from "./timing.ts";

/** What an error is. */
export type Classification = Pick<RecoveryPlan, "class" | "subclass" | "confidence" | "strategy">;

/** How to ask about an error. */
export interface AttemptOptions extends Omit<RecoveryPlanRequest, "error"> {
  readonly signal?: AbortSignal;
}

/** Says what an error is, and what would be done about it. Runs nothing and changes nothing. */
export class ErrorRecoveryManager {
  readonly #connection: Connection;

  constructor(options: ServerOptions = {}) {
    this.#connection = createConnection({ ...options, clock: options.clock ?? platformClock });
  }

  /** Classifies a message, or evidence as an attempt's page shows it. */
  async classifyError(
    error: RecoveryPlanRequest["error"],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Classification> {
    const { confidence, strategy, subclass, ...plan } = await this.attemptRecovery(error, options);
    return { class: plan.class, subclass, confidence, strategy };
  }

  /**
   * Tries a recovery without running it: the steps that would be taken, in their order, under the
   * policy of the job named, or the one given.
   */
  async attemptRecovery(
    error: RecoveryPlanRequest["error"],
    { signal, ...asked }: AttemptOptions = {},
  ): Promise<RecoveryPlan> {
    return recoveryPlanSchema.parse(
      await this.#connection.call(`${ERROR_RECOVERY_PATH}/plan`, {
        method: "POST",
        body: { error, ...asked },
        isRepeatable: true,
        signal: signal ?? new AbortController().signal,
      }),
    );
  }
}
