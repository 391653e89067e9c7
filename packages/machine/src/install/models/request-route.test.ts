import { expect, test } from "vitest";
import { authFor, decideHop, shownUrl, type HostAuth } from "./request-route.ts";

const entry = (host: string): HostAuth => ({
  host,
  tokenFile: "/t",
  header: "Authorization",
  scheme: "Bearer",
});

test.each([
  ["https://huggingface.co/x", "huggingface.co", true],
  ["https://HuggingFace.co/x", "huggingface.CO", true],
  ["https://evil.huggingface.co/x", "huggingface.co", false],
  ["https://huggingface.co.evil.net/x", "huggingface.co", false],
  ["https://huggingface.co:444/x", "huggingface.co", false],
  ["https://huggingface.co:444/x", "huggingface.co:444", true],
])("%s gets the secret of %s: %s", (url, host, isSent) => {
  expect(authFor(new URL(url), [entry(host)]) !== null).toBe(isSent);
});

const hop = (from: string, location: string | undefined, more = {}, auth: HostAuth[] = []) =>
  decideHop({ url: new URL(from), hops: 0, hasSentSecret: false, ...more }, location, auth);

test("a redirect may be relative, and takes no user with it", () => {
  expect(hop("https://a/x/y", "../z")).toMatchObject({ url: new URL("https://a/z") });
  expect(hop("https://a/x", "https://u:p@b/z")).toMatchObject({ url: new URL("https://b/z") });
});

test("https to http goes on without a secret, and not with one", () => {
  expect(hop("https://a/x", "http://b/x").kind).toBe("go");
  expect(hop("https://a/x", "http://b/x", { hasSentSecret: true })).toMatchObject({
    failure: { kind: "redirect_refused" },
  });
  expect(hop("https://a/x", "http://b/x", {}, [entry("b")]).kind).toBe("failed");
  expect(hop("http://a/x", "http://b/x", { hasSentSecret: true }).kind).toBe("go");
});

test.each([
  ["nowhere", undefined, {}],
  ["what is no URL", "http://[", {}],
  ["a file of this machine", "file:///etc/passwd", {}],
  ["other schemes", "data:,x", {}],
  ["one hop too many", "https://b/", { hops: 10 }],
])("a redirect to %s is refused", (_, location, more) => {
  expect(hop("https://a/x", location, more)).toMatchObject({
    kind: "failed",
    failure: { kind: "redirect_refused", isTransient: false },
  });
});

test("a shown URL holds no secret", () => {
  expect(shownUrl(new URL("https://u:p@a:1/x?sig=s#f"))).toBe("https://a:1/x");
  expect(shownUrl(new URL("file:///a/b"))).toBe("file:///a/b");
});
