/** Which rules are in force: built in, of the file, and of the API. */
import {
  entryName,
  OWN_RULES_MAX,
  parseAlertRule,
  problemTexts,
  ruleSet,
  type AlertRule,
  type KnownRule,
  type ReadingProblem,
  type RuleEntry,
} from "@holdfast/alerts";
import { HoldfastError } from "@holdfast/contract";
import type { Db, Queryable } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { deleteRule, lockRules, putRule, readRulesDigest, selectRules } from "./rule-store.ts";

/** The rules, and the operators' changes to them. */
export interface RuleService {
  /** All rules, those that are out of force included. */
  list(): Promise<readonly KnownRule[]>;
  /** The rules in force, as the database has them now. */
  inForce(db: Queryable): Promise<readonly AlertRule[]>;
  /** Makes or replaces the rule of this name, a built-in one too. Throws `alert_rule_invalid`. */
  put(name: string, value: unknown): Promise<KnownRule>;
  /** Takes an own rule away; what it stood in place of is in force again. Throws `not_found`, `alert_rule_fixed`. */
  remove(name: string): Promise<void>;
}

/** Makes the service. */
export function createRuleService(deps: {
  readonly db: Db;
  readonly log: Log;
  /** Rules of `HOLDFAST_ALERT_RULES`; those of the table come before them. */
  readonly fileRules: readonly RuleEntry[];
}): RuleService {
  const { db, log, fileRules } = deps;
  let known: { readonly digest: string; readonly rules: readonly KnownRule[] } | undefined;

  const read = async (on: Queryable): Promise<readonly KnownRule[]> => {
    const digest = await readRulesDigest(on);
    if (known?.digest === digest) return known.rules;
    // Read after the digest: a change in between is read twice, never missed.
    const { rules, unreadable } = await selectRules(on);
    if (unreadable.length > 0) log.warn({ unreadable }, "alert rules that cannot be read");
    known = { digest, rules: ruleSet(rules, fileRules) };
    return known.rules;
  };

  return {
    list: () => read(db),
    async inForce(on) {
      const rules = await read(on);
      return rules.flatMap(({ entry }) => (entry.kind === "rule" ? [entry.rule] : []));
    },
    async put(name, value) {
      const entry = parse(name, value);
      await db.transaction(async (tx) => {
        await lockRules(tx);
        await putRule(tx, entry);
        const { rules } = await selectRules(tx);
        if (rules.length <= OWN_RULES_MAX) return;
        const message = `expected at most ${OWN_RULES_MAX} rules of your own, found ${rules.length}`;
        throw invalid([{ path: "", message }]);
      });
      return { entry, source: "api" };
    },
    async remove(name) {
      if (await deleteRule(db, name)) return;
      const fixed = ruleSet([], fileRules).find(({ entry }) => entryName(entry) === name);
      if (fixed === undefined) throw new HoldfastError("not_found", `there is no rule ${name}`);
      const where =
        fixed.source === "file" ? "stands in the file of HOLDFAST_ALERT_RULES" : "is built in";
      throw new HoldfastError(
        "alert_rule_fixed",
        `${name} ${where}; put {"enabled": false} under its name to have it out of force`,
      );
    },
  };
}

/** Reads a rule from outside, under the name of its address. */
function parse(name: string, value: unknown): RuleEntry {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const given = isObject ? (value as Record<string, unknown>)["name"] : undefined;
  if (given !== undefined && given !== null && given !== name) {
    const message = `expected ${name}, as in the address, found ${JSON.stringify(given)}`;
    throw invalid([{ path: "name", message }]);
  }
  const parsed = parseAlertRule(isObject ? { ...value, name } : value);
  if (parsed.kind === "invalid") throw invalid(parsed.problems);
  return parsed.value;
}

function invalid(problems: readonly ReadingProblem[]): HoldfastError {
  const message = problemTexts(problems).join("\n");
  return new HoldfastError("alert_rule_invalid", message, { details: { problems } });
}
