/** The S3 servers that are to be had here, and a loud word about those that are not. */
import { describe } from "vitest";
import { findPart, howToGet, type S3Part } from "../../scripts/parts.mjs";

const SERVERS: readonly S3Part[] = ["versitygw", "minio"];

/** Describes the same for each server; skipped, saying how to get it, where it is not there. */
export function describeOnEachServer(
  what: string,
  body: (name: S3Part, program: string) => void,
): void {
  for (const name of SERVERS) {
    const program = findPart(name);
    if (program === undefined) console.warn(`${what} on ${name}: SKIPPED, ${howToGet(name)}`);
    const label = program === undefined ? `SKIPPED, ${howToGet(name)}: ` : "";
    describe.skipIf(program === undefined)(`${label}${what} on ${name}`, () => {
      body(name, program ?? "");
    });
  }
}
