import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decideAddress, decideUrl, parseUrlRules, PUBLIC_ONLY } from "./url-rules.ts";

describe("addresses", () => {
  test.each([
    ["127.0.0.1"],
    ["10.1.2.3"],
    ["172.16.0.1"],
    ["192.168.1.1"],
    ["169.254.169.254"],
    ["100.64.0.1"],
    ["100.100.100.200"],
    ["0.0.0.0"],
    ["224.0.0.1"],
    ["255.255.255.255"],
    ["192.0.0.192"],
    ["168.63.129.16"],
    ["::1"],
    ["::"],
    ["fe80::1"],
    ["fe80::1%eth0"],
    ["fc00::1"],
    ["fd00:ec2::254"],
    ["ff02::1"],
    ["::ffff:127.0.0.1"],
    ["::ffff:a9fe:a9fe"],
    ["::127.0.0.1"],
    ["64:ff9b::7f00:1"],
    ["2002:7f00:1::"],
    ["fec0::1"],
  ])("%s is not called", (address) => {
    expect(decideAddress(address, PUBLIC_ONLY).kind).toBe("forbidden");
  });

  test.each([["8.8.8.8"], ["172.32.0.1"], ["2606:4700:4700::1111"]])("%s is called", (address) => {
    expect(decideAddress(address, PUBLIC_ONLY)).toEqual({ kind: "allowed" });
  });

  test("an IPv4 address inside IPv6 is judged like itself, whatever it is", () => {
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        expect(decideAddress(`::ffff:${address}`, PUBLIC_ONLY).kind).toBe(
          decideAddress(address, PUBLIC_ONLY).kind,
        );
      }),
    );
  });
});

describe("URLs", () => {
  test.each([
    ["ftp://example.com/"],
    ["file:///etc/passwd"],
    ["javascript:alert(1)"],
    ["not a url"],
    ["http://user:pass@example.com/"],
    ["http://2130706433/"],
    ["http://0x7f.1/"],
    ["http://0177.0.0.1/"],
    ["http://127.1/"],
    ["http://[::1]/"],
    ["http://[::ffff:127.0.0.1]/"],
    ["http://127.0.0.1./"],
    [`http://example.com/${"a".repeat(3_000)}`],
  ])("%s is refused", (url) => {
    expect(decideUrl(url, PUBLIC_ONLY).kind).toBe("forbidden");
  });

  test("a public name passes until it is looked up", () => {
    expect(decideUrl("https://example.com/x.png?y=1", PUBLIC_ONLY)).toEqual({ kind: "allowed" });
  });
});

describe("rules", () => {
  test("names, addresses and ranges let through what they name and nothing more", () => {
    const rules = parseUrlRules(" hooks.internal, 10.0.0.0/8,::1 ,127.0.0.1");
    expect([...rules.hosts]).toEqual(["hooks.internal"]);
    expect(decideAddress("10.200.0.1", rules).kind).toBe("allowed");
    expect(decideAddress("11.0.0.1", rules).kind).toBe("allowed");
    expect(decideAddress("192.168.0.1", rules).kind).toBe("forbidden");
    expect(decideAddress("::1", rules).kind).toBe("allowed");
    expect(decideAddress("::ffff:127.0.0.1", rules).kind).toBe("allowed");
    expect(decideAddress("127.0.0.2", rules).kind).toBe("forbidden");
  });

  test("an entry that is none of these is named", () => {
    expect(() => parseUrlRules("ok.example, http://x")).toThrow(/"http:\/\/x"/);
  });
});
