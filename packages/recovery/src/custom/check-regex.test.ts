import { describe, expect, it } from "vitest";
import { checkRegex } from "./check-regex.ts";
import { WORD_MAX } from "./required-words.ts";

const wordsOf = (text: string) => {
  const checked = checkRegex(text);
  return checked.kind === "ok" ? checked.words : checked.message;
};

describe("checkRegex", () => {
  it.each([
    "(a+)+$",
    "(a*b*)*c",
    "(a|a)+x",
    "(a|aa)+$",
    "(?:.*,)+x",
    "([a-zA-Z]+)*1",
    "(\\w+\\s?)+!",
    "(x+x+)+y",
    "(foo|foo)*z",
    "(?i)(A|a){10,}z",
    "(a{1,20}){12}",
    "(?P<n>\\d+)+x",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
  ])("refuses %s as explosive", (text) => {
    expect(wordsOf(text)).toMatch(/explodes/);
  });

  it.each([
    "out of .* memory .* on device \\d+",
    "(?:\\w+\\.)+Error: gizmo",
    "(?:[a-z]+, )*gizmo",
    "gizmo (?:failed|lost|gone)+",
    "code [45]\\d\\d(?: \\w+){0,5} gizmo",
    "a.{0,40}b.{0,40}c",
    "(ab|cd)*gizmo",
  ])("takes %s", (text) => {
    expect(checkRegex(text).kind).toBe("ok");
  });

  it.each([
    ["(a", /RE2's syntax.*found "\(a"/],
    ["a(?=b)", /no look-around/],
    ["(a)\\1", /no back-references/],
    ["[z-a]x", /RE2's syntax/],
    ["a{2000}", /RE2's syntax/],
    ["a{99}b{99}c{99}d{99}e{99}f{99}", /at most 500 steps/],
    ["a*", /matches an empty message/],
    ["", /found nothing/],
    ["   ", /found nothing/],
    ["x".repeat(501), /at most 500 characters, found 501/],
  ])("refuses %s in words", (text, message) => {
    expect(wordsOf(text)).toMatch(message);
  });

  it.each([
    ["device lost", ["device lost"]],
    ["(?i)Device LOST", ["device lost"]],
    ["(?:gpu|card) lost", ["gpu lost", "card lost"]],
    ["gpu[0-3]", ["gpu0", "gpu1", "gpu2", "gpu3"]],
    ["\\d+ gizmos? gone", [" gizmos gone", " gizmo gone"]],
    ["foo.*quite", ["quite"]],
    ["(?:ab|cdef)\\d+x", ["ab", "cdef"]],
    ["(?:gizmo )+!", ["gizmo "]],
    ["gizmo|\\d+", null],
    ["\\w+\\d", null],
    ["(?:long )?E\\d", null],
    ["显存不足", ["显存不足"]],
    ["a very long text that stands", ["a very long "]],
    ["a \\tgizmo", ["gizmo"]],
    ["\\Qa.b*c\\E", ["a.b*c"]],
    ["(?s)a.bc", ["bc"]],
    ["\\x{67}izmo", ["gizmo"]],
    ["\\147izmo", ["gizmo"]],
  ])("knows what must stand where %s matches", (text, words) => {
    expect(wordsOf(text)).toEqual(words);
    expect((words ?? []).every((word) => word.length <= WORD_MAX)).toBe(true);
  });
});
