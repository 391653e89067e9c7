import { expect, test } from "vitest";
import { looksLikeWebPage, statusFailure } from "./answer-status.ts";

const asked = { url: "https://host/x", host: "host", tokenFile: null, licence: null };
const judge = (status: number, headers: Record<string, string> = {}, more = {}) =>
  statusFailure({ status, headers }, { ...asked, ...more });

test.each([200, 206, 416])("%i is for the judge of ranges", (status) => {
  expect(judge(status)).toBeNull();
});

test.each([
  [401, "gated", false],
  [404, "not_found", false],
  [408, "server_trouble", true],
  [429, "server_trouble", true],
  [500, "server_trouble", true],
  [504, "server_trouble", true],
  [204, "bad_answer", false],
  [302, "bad_answer", false],
  [451, "bad_answer", false],
])("%i is %s", (status, kind, isTransient) => {
  expect(judge(status)).toMatchObject({ kind, isTransient });
});

test("a token that was sent and refused is named by its file", () => {
  const failure = judge(403, {}, { tokenFile: "/run/secrets/hf", licence: "FLUX" });
  expect(failure?.advice).toBe(
    "Accept the licence FLUX with that account at host, and see that the token in /run/secrets/hf is valid and may read this file.",
  );
});

test("Retry-After is obeyed in seconds, up to a limit", () => {
  expect(judge(503, { "retry-after": "7" })?.retryAfterMs).toBe(7_000);
  expect(judge(503, { "retry-after": "86400" })?.retryAfterMs).toBe(300_000);
  expect(judge(503, { "retry-after": "Tue, 1 Jan" })?.retryAfterMs).toBeUndefined();
});

test.each([
  ["<!DOCTYPE html><p>", true],
  ["\n  <html lang=en>", true],
  ["\u00ef\u00bb\u00bf<!doctype HTML>", true],
  ["<!-- saved --><html>", true],
  ["<HEAD>", true],
  ["<?xml version='1.0'?>", false],
  ['{"a": "<html>"}', false],
  ["\u0000\u0001<html>", false],
  ["", false],
])("%j is a web page: %s", (text, is) => {
  expect(looksLikeWebPage(Buffer.from(text, "latin1"))).toBe(is);
});
