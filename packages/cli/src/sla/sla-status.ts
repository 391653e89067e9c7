import type { SlaStatus } from "@holdfast/contract";
import { fieldOf } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** The status out of an answer of `GET /api/v1/sla`; throws {@link CommandFailure} when it is none. */
export function toSlaStatus(value: unknown): SlaStatus {
  const isWhole =
    typeof fieldOf(fieldOf(value, "totals"), "completed") === "number" &&
    Array.isArray(fieldOf(fieldOf(value, "budget"), "windows")) &&
    Array.isArray(fieldOf(value, "losses"));
  if (isWhole) return value as SlaStatus;
  throw new CommandFailure(
    EXIT.unavailable,
    "the server's answer is not the status of an SLA: is it a Holdfast server of about this version?",
  );
}
