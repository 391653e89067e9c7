import { describe, expect, it } from "vitest";
import {
  findMistaken,
  matcherText,
  matches,
  parseMatcher,
  silenceOf,
  type Matcher,
} from "./silence.ts";

const alert = {
  rule: "disk_nearly_full",
  severity: "warning",
  labels: { machine: "box-12", toString: "x" },
} as const;
const fits = (...texts: string[]): boolean =>
  matches(
    texts.map((text) => parseMatcher(text)).filter((one): one is Matcher => one !== undefined),
    alert,
  );

describe("a matcher", () => {
  it.each([
    ["rule=disk_nearly_full", true],
    ["rule=disk", false],
    ["rule=disk*", true],
    ["rule=*", true],
    ["severity=warning", true],
    ["severity!=critical", true],
    ["machine=box-*", true],
    ["machine=*-12", true],
    ["machine=b*x*2", true],
    ["machine=box-12*12", false],
    ["machine!=box-12", false],
    ["gpu=", true],
    ["gpu!=", false],
    ["constructor=", true],
    ["machine=box.12", false],
  ])("%s: %s", (text, isFit) => expect(fits(text)).toBe(isFit));

  it("has to fit beside all others", () => {
    expect(fits("rule=disk*", "machine=box-*")).toBe(true);
    expect(fits("rule=disk*", "machine=other")).toBe(false);
  });

  it.each(["", "rule", "=x", "a-b=c", "rule~x", `rule=${"x".repeat(121)}`])("is none: %j", (text) =>
    expect(parseMatcher(text)).toBeUndefined(),
  );

  it.each(["rule=a*", "machine!=b=c", "x="])("is written as it was read: %s", (text) => {
    const read = parseMatcher(text);
    expect(read === undefined ? "" : matcherText(read)).toBe(text);
  });

  it("takes linear time", () => {
    const pattern = parseMatcher(`machine=${"a*".repeat(60)}`);
    const labels = { machine: "a".repeat(50_000) };
    expect(matches(pattern === undefined ? [] : [pattern], { ...alert, labels })).toBe(true);
  });
});

describe("a matcher of what there is not", () => {
  const mistake = (...texts: string[]): string | undefined => {
    const read = texts.map((text) => parseMatcher(text)).filter((one) => one !== undefined);
    const found = findMistaken(read, ["queue_old", "disk_nearly_full"]);
    return found === undefined ? undefined : matcherText(found.matcher);
  };

  it.each(["rule=queue_odl", "rule!=queue_odl", "rule=quue*", "rule=", "severity=critcal"])(
    "%s",
    (text) => expect(mistake("machine=box", text)).toBe(text),
  );

  it.each(["rule=queue_old", "rule=*full", "rule!=queue_old", "severity=warn*", "machine=nobody"])(
    "is not %s",
    (text) => expect(mistake(text)).toBeUndefined(),
  );

  it("is none of a label that is named as a thing of the language", () => {
    expect(mistake("constructor=x", "toString=x")).toBeUndefined();
  });
});

it("silences from its beginning until its end, and not at its end", () => {
  const silence = { id: "s", matchers: [], startsAt: 10, endsAt: 20 };
  expect([9, 10, 19, 20].map((now) => silenceOf(alert, [silence], now)?.id)).toEqual([
    undefined,
    "s",
    "s",
    undefined,
  ]);
});
