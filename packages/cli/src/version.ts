import { readFileSync } from "node:fs";
import { fieldOf } from "./api/api-client.ts";

/** The version of Holdfast, from the package's own file. */
export function holdfastVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  const version = fieldOf(JSON.parse(text), "version");
  return typeof version === "string" ? version : "unknown";
}
