import {
  claimOwnership,
  type ControlPlaneSettings,
  type OwnershipClaim,
} from "@holdfast/control-plane/process";
import { systemClock } from "@holdfast/runtime/system";
import { findPortHolder, holderText, tryPort } from "@holdfast/runtime/host";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { holdfastVersion } from "../version.ts";

type Owned = Extract<OwnershipClaim, { kind: "owned" }>;

/**
 * Takes a data folder for this process. Throws {@link CommandFailure} when another process has it
 * (exit code 3, with its pid and address), or when the folder cannot be used.
 */
export async function claimHome(home: string): Promise<Owned> {
  let claim: OwnershipClaim;
  try {
    claim = await claimOwnership(home, { version: holdfastVersion(), clock: systemClock });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CommandFailure(
      EXIT.refused,
      `the data folder ${home} cannot be used: ${reason}. Set HOLDFAST_HOME to a folder that this account can write.`,
      { cause },
    );
  }
  if (claim.kind === "owned") return claim;
  const where = claim.url === undefined ? "" : ` at ${claim.url}`;
  throw new CommandFailure(
    EXIT.unavailable,
    `Holdfast is running already on ${home}: process ${claim.pid}${where} (version ${claim.version}). Stop that one, or use another HOLDFAST_HOME.`,
  );
}

/** Throws {@link CommandFailure} when the port is taken, naming who has it. */
export async function requireFreePort(
  settings: Pick<ControlPlaneSettings, "host" | "port">,
): Promise<void> {
  const { host, port } = settings;
  const trial = await tryPort(host, port);
  if (trial.kind === "free") return;
  if (trial.kind === "refused") {
    throw new CommandFailure(EXIT.refused, `cannot listen on ${host}:${port}: ${trial.reason}`);
  }
  const holder = holderText(await findPortHolder(port));
  throw new CommandFailure(
    EXIT.refused,
    `port ${port} is taken by ${holder}. Stop it, or choose another port: HOLDFAST_PORT or --port.`,
  );
}

/** A failure of the start in words; a {@link CommandFailure} stays as it is. */
export function explainStartFailure(error: unknown): unknown {
  if (error instanceof CommandFailure || !(error instanceof Error)) return error;
  const cause = error.cause instanceof Error ? `\ncaused by: ${error.cause.message}` : "";
  return new CommandFailure(EXIT.failed, `Holdfast cannot start: ${error.message}${cause}`, {
    cause: error,
  });
}
