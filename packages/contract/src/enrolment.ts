/** How a machine comes in by a one-time token: `POST /agent/v1/enroll`, the one call without a key. */
import { z } from "zod";

/** What an enrolment token looks like: `hfe_`, an id, a secret. */
export const enrolmentTokenSchema = z.string().regex(/^hfe_[0-9a-z]{26}_[A-Za-z0-9_-]{43}$/);

/** `POST /agent/v1/enroll`. */
export const enrollRequestSchema = z.strictObject({
  token: enrolmentTokenSchema,
  machineName: z.string().min(1).max(128),
  /**
   * Random and secret, kept by whoever enrols until it has the answer: the same token with the same
   * nonce is answered alike for a while, so that an answer that got lost can be asked for again.
   */
  nonce: z.string().min(16).max(128),
});
/** See {@link enrollRequestSchema}. */
export type EnrollRequest = z.infer<typeof enrollRequestSchema>;

/** The machine's own key, role `agent`. It may act as one machine alone: the first it registers. */
export const enrollResponseSchema = z.object({ keyId: z.string(), key: z.string() });
/** See {@link enrollResponseSchema}. */
export type EnrollResponse = z.infer<typeof enrollResponseSchema>;
