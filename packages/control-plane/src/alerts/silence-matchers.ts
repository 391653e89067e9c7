/** What silences and lists are asked for, read; and what was probably meant. */
import {
  findMistaken,
  matches,
  MATCHERS_MAX,
  matcherText,
  parseMatcher,
  type Matcher,
} from "@holdfast/alerts";
import { HoldfastError } from "@holdfast/contract";
import { nearestName } from "@holdfast/yaml-file";

/** Names that a message lists; whoever has more looks at `holdfast alerts rules`. */
const NAMES_LISTED = 40;
/** Fits an alert that there is not: what would fit every alert has to be said, by `rule=*`. */
const NO_ALERT = { rule: "", severity: "info", labels: {} } as const;

/**
 * Reads the matchers of a silence. Throws `invalid_request` for what is none, for what fits every alert
 * unsaid, and for a rule or severity that there is not: at 3 a.m. that would read as done.
 */
export function readMatchers(
  texts: readonly string[],
  rules: readonly string[],
): readonly Matcher[] {
  if (texts.length === 0 || texts.length > MATCHERS_MAX) {
    throw invalid(`expected 1 to ${MATCHERS_MAX} matchers`);
  }
  const matchers = texts.map((text) => {
    const matcher = parseMatcher(text);
    if (matcher !== undefined) return matcher;
    throw invalid(
      `expected a matcher such as rule=disk_nearly_full or machine!=box-*, found ${JSON.stringify(text)}`,
    );
  });
  const mistaken = findMistaken(matchers, rules);
  if (mistaken !== undefined) {
    const { matcher, known } = mistaken;
    throw invalid(`${matcherText(matcher)}: ${expectedName(matcher.name, matcher.value, known)}`);
  }
  const isOfAll = matches(matchers, NO_ALERT) && !matchers.some(({ name }) => name === "rule");
  if (!isOfAll) return matchers;
  throw invalid(
    "these matchers fit alerts that have none of the labels too; say rule=* beside them if that is meant",
  );
}

/** The refusal of a list by a rule that there is not. */
export function unknownRule(rule: string, rules: readonly string[]): HoldfastError {
  return invalid(expectedName("rule", rule, rules));
}

function expectedName(what: string, name: string, known: readonly string[]): string {
  const sorted = known.toSorted();
  const listed = sorted.slice(0, NAMES_LISTED).join(", ");
  const more = sorted.length > NAMES_LISTED ? `, … (${sorted.length} in all)` : "";
  const near = nearestName(name, sorted);
  const meant = near === undefined ? "" : `; did you mean ${near}?`;
  return `expected a ${what} of ${listed}${more}, found ${JSON.stringify(name)}${meant}`;
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("invalid_request", message);
}
