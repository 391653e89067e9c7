/** Which rules are in force: those of operators before the built-in ones of the same names. */
import { BUILT_IN_RULES } from "./built-in-rules.ts";
import { entryName } from "./parse-rule.ts";
import type { RuleEntry } from "./rule.ts";

/** Where a rule comes from. */
export type RuleSource = "api" | "file" | "built_in";

/** A rule, and whose it is. */
export interface KnownRule {
  readonly entry: RuleEntry;
  readonly source: RuleSource;
}

/** All rules, the API's before the file's before the built-in ones; a name stands once. */
export function ruleSet(
  api: readonly RuleEntry[],
  file: readonly RuleEntry[],
): readonly KnownRule[] {
  const builtIn = BUILT_IN_RULES.map((rule): RuleEntry => ({ kind: "rule", rule }));
  const all = [
    ...api.map((entry): KnownRule => ({ entry, source: "api" })),
    ...file.map((entry): KnownRule => ({ entry, source: "file" })),
    ...builtIn.map((entry): KnownRule => ({ entry, source: "built_in" })),
  ];
  const names = new Set<string>();
  return all.filter(({ entry }) => {
    const name = entryName(entry);
    if (names.has(name)) return false;
    names.add(name);
    return true;
  });
}
