import { expect, test } from "vitest";
import {
  isConnectionFailure,
  isRetryableConflict,
  isUniqueViolation,
  sqlState,
} from "./db-errors.ts";

const postgres = (code: string, extra: object = {}): Error =>
  Object.assign(new Error("from postgres"), { code, severity: "ERROR", ...extra });
const network = (code: string): Error => Object.assign(new Error("from node"), { code });

test.each([
  ["refused", network("ECONNREFUSED")],
  ["reset", network("ECONNRESET")],
  ["broken pipe, whose code looks like a state", network("EPIPE")],
  ["every address refused", new AggregateError([network("ECONNREFUSED")])],
  ["shutting down", postgres("57P01")],
  ["starting", postgres("57P03")],
  ["protocol broken", postgres("08P01")],
  ["cut in the middle", new Error("Connection terminated unexpectedly")],
  ["pool waited in vain", new Error("timeout exceeded when trying to connect")],
])("%s is a connection failure", (_name, error) => {
  expect(isConnectionFailure(error)).toBe(true);
});

test.each([
  ["a refused row", postgres("23505")],
  ["a statement timeout", postgres("57014")],
  ["a bug of ours", new TypeError("undefined is not a function")],
  ["something that is no error", "ECONNREFUSED"],
])("%s is none", (_name, error) => {
  expect(isConnectionFailure(error)).toBe(false);
});

test("conflicts and unique violations are known by their state", () => {
  expect(isRetryableConflict(postgres("40001"))).toBe(true);
  expect(isRetryableConflict(postgres("40P01"))).toBe(true);
  expect(isRetryableConflict(postgres("23505"))).toBe(false);
  const doubled = postgres("23505", { constraint: "jobs_key" });
  expect(isUniqueViolation(doubled)).toBe(true);
  expect(isUniqueViolation(doubled, "jobs_key")).toBe(true);
  expect(isUniqueViolation(doubled, "jobs_pkey")).toBe(false);
  expect(sqlState(network("EPIPE"))).toBeUndefined();
});
