/** Claims of `host-locks.ts` as data: what is in one, and whether it counts. Pure. */
import { z } from "zod";

const pid = z.int().positive();
const claimSchema = z.object({
  version: z.literal(1),
  /** `wanting`: written, and the others' not looked at yet. */
  state: z.enum(["wanting", "held"]),
  /** The agent. */
  pid,
  startTime: z.string().max(200),
  /** Its machine folder. */
  root: z.string().max(4_096),
  /** The instance's name. */
  name: z.string().max(200),
  /** Its process; null before it was started. */
  instance: z.object({ pid, startTime: z.string().max(200) }).nullable(),
});
/** A claim on a card or a port. */
export type Claim = z.infer<typeof claimSchema>;

/** A claim's file. */
export interface ClaimFile {
  readonly path: string;
  /** Account that owns the file. */
  readonly account: number;
  /** Null for one that is no claim: torn, or somebody's prank. */
  readonly claim: Claim | null;
}

/** What decides whether a claim counts. */
export interface ClaimContext {
  readonly own: { readonly pid: number; readonly startTime: string };
  readonly root: string;
  readonly isAlive: (pid: number, startTime: string) => boolean;
  readonly accountOf: (pid: number) => number | undefined;
}

/** Reads a claim; null for anything else. */
export function parseClaim(text: string): Claim | null {
  try {
    return claimSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

/** Names the agent process that a claim is of; fit for a file name, and ordered. */
export function claimId({ pid, startTime }: Pick<Claim, "pid" | "startTime">): string {
  return `${String(pid).padStart(10, "0")}-${startTime.replaceAll(/[^A-Za-z0-9]/g, "")}`;
}

/** Whether a claim keeps this agent from the thing (L3, L4 of `host-locks.ts`). */
export function counts(file: ClaimFile, context: ClaimContext): boolean {
  const { claim } = file;
  if (claim === null || claimId(claim) === claimId(context.own)) return false;
  const isOf = (process: { readonly pid: number; readonly startTime: string }): boolean =>
    context.isAlive(process.pid, process.startTime) &&
    // An account that is hidden from us gets the benefit of the doubt.
    (file.account === 0 || (context.accountOf(process.pid) ?? file.account) === file.account);
  if (isOf(claim)) return true;
  return claim.root !== context.root && claim.instance !== null && isOf(claim.instance);
}
