import { describe, expect, test } from "vitest";
import { manifestSchema } from "../../manifest/model.ts";
import { packageSources, scriptSources, type PackageSettings } from "./package-sources.ts";

function settings(text: {
  python?: Record<string, unknown>;
  torch?: Record<string, unknown>;
  backend: string;
}): PackageSettings {
  const { python, torch } = manifestSchema.parse({
    version: 1,
    python: text.python ?? {},
    torch: text.torch ?? {},
  });
  return { python, torch, torchBackend: text.backend };
}

describe("where packages come from", () => {
  test("torch by its backend, or by an index of its own that comes first", () => {
    expect(packageSources(settings({ backend: "none" }), "all")).toEqual({ args: [], env: {} });
    expect(packageSources(settings({ backend: "cu128" }), "torch")).toEqual({
      args: ["--torch-backend", "cu128"],
      env: {},
    });
    const own = settings({
      backend: "cu128",
      python: { indexUrl: "https://u:p@i/simple", extraIndexUrls: ["https://e/simple"] },
      torch: { indexUrl: "https://t/whl" },
    });
    const env = {
      UV_DEFAULT_INDEX: "https://u:p@i/simple",
      UV_INDEX: "https://t/whl https://e/simple",
    };
    expect(packageSources(own, "torch")).toEqual({ args: [], env });
    // No password is among the arguments, which everybody on the host can see.
    expect(packageSources(own, "all")).toEqual({
      args: ["--index-strategy", "unsafe-best-match"],
      env,
    });
  });

  test("without an index everything is in the folders, torch as well", () => {
    const offline = settings({
      backend: "cpu",
      python: { noIndex: true, findLinks: ["/w", "/v"] },
    });
    expect(packageSources(offline, "torch")).toEqual({
      args: ["--find-links", "/w", "--find-links", "/v", "--no-index"],
      env: {},
    });
    expect(scriptSources(offline, "/pins")).toMatchObject({
      PIP_CONSTRAINT: "/pins",
      UV_CONSTRAINT: "/pins",
      PIP_NO_INDEX: "1",
      PIP_FIND_LINKS: "/w /v",
      UV_FIND_LINKS: "/w,/v",
    });
  });

  test("a script that calls pip gets the same indexes and pins", () => {
    const own = settings({
      backend: "none",
      python: { indexUrl: "https://i/simple", extraIndexUrls: ["https://e/simple"] },
    });
    expect(scriptSources(own, "/pins")).toMatchObject({
      PIP_INDEX_URL: "https://i/simple",
      PIP_EXTRA_INDEX_URL: "https://e/simple",
      UV_DEFAULT_INDEX: "https://i/simple",
    });
  });
});
