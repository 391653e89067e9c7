import { z } from "zod";

/** Longest id, name or key that any route takes. */
export const MAX_ID_LENGTH = 64;

const id = (prefix: string) =>
  z
    .string()
    .max(MAX_ID_LENGTH)
    .regex(new RegExp(`^${prefix}_[0-9a-z]{26}$`));

/** `job_…`: a piece of work that was asked for. */
export const jobIdSchema = id("job");
/** `att_…`: one try at a job. */
export const attemptIdSchema = id("att");
/** `out_…`: one output of a job. */
export const outputIdSchema = id("out");
/** `mch_…`: a host that runs the agent. */
export const machineIdSchema = id("mch");
/** `ins_…`: one ComfyUI process on a machine. */
export const instanceIdSchema = id("ins");
/** SHA-256 in lower-case hex. */
export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);
/** An instant on the wire: RFC 3339 in UTC with milliseconds. */
export const instantSchema = z.iso.datetime({ precision: 3 });
