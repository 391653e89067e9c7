import { isHoldfastError, type ErrorCode } from "@holdfast/contract";

/** Codes that are about what a report says. Every other one is about the agent, or passes. */
const ABOUT_REPORT: ReadonlySet<ErrorCode> = new Set([
  "body_too_large",
  "checksum_mismatch",
  "invalid_json",
  "invalid_request",
]);

/**
 * Whether a refused call for reports can be put down to one of them. `perhaps`: `internal`, which a
 * report that no database can hold gives every time, and any other trouble for a while.
 */
export function reportRefusal(error: unknown): "certain" | "none" | "perhaps" {
  if (!isHoldfastError(error)) return "none";
  if (error.code === "internal") return "perhaps";
  return ABOUT_REPORT.has(error.code) ? "certain" : "none";
}
