import type { Manifest } from "../../manifest/model.ts";

/** Where packages come from, as uv takes it. */
export interface PackageSources {
  readonly args: readonly string[];
  /** Indexes go by the environment: their URLs may hold a password, and arguments are seen by all. */
  readonly env: Readonly<Record<string, string>>;
}

/** The manifest's settings for packages, with the backend that `auto` came to. */
export interface PackageSettings {
  readonly python: Manifest["python"];
  readonly torch: Manifest["torch"];
  readonly torchBackend: string;
}

/** Whether torch is installed from a source of its own, before and beside the requirements. */
export function hasTorchSource({ torchBackend }: PackageSettings): boolean {
  return torchBackend !== "none";
}

/**
 * Sources for a call of `uv pip`. `torch`: for torch's own packages, whose index comes first, so
 * that they are the backend's builds. `all`: for everything; torch is pinned to its exact build by
 * then, and as its index holds old builds of ordinary packages, too, the best version of any index
 * is taken, not the first index that knows the name.
 */
export function packageSources(
  settings: PackageSettings,
  purpose: "torch" | "all",
): PackageSources {
  const { python, torch, torchBackend } = settings;
  const args = python.findLinks.flatMap((link) => ["--find-links", link]);
  if (python.noIndex) return { args: [...args, "--no-index"], env: {} };
  const indexes = [...python.extraIndexUrls];
  if (hasTorchSource(settings)) {
    if (torch.indexUrl === undefined) args.push("--torch-backend", torchBackend);
    else {
      indexes.unshift(torch.indexUrl);
      if (purpose === "all") args.push("--index-strategy", "unsafe-best-match");
    }
  }
  return {
    args,
    env: {
      ...(python.indexUrl === undefined ? {} : { UV_DEFAULT_INDEX: python.indexUrl }),
      ...(indexes.length === 0 ? {} : { UV_INDEX: indexes.join(" ") }),
    },
  };
}

/** The same for a script of a pack that calls pip or uv itself, held to the pins of a file. */
export function scriptSources(
  settings: PackageSettings,
  pinsFile: string,
): Readonly<Record<string, string>> {
  const { python } = settings;
  const all = packageSources(settings, "all");
  return {
    ...all.env,
    PIP_CONSTRAINT: pinsFile,
    UV_CONSTRAINT: pinsFile,
    PIP_DISABLE_PIP_VERSION_CHECK: "1",
    PIP_NO_INPUT: "1",
    ...(python.indexUrl === undefined ? {} : { PIP_INDEX_URL: python.indexUrl }),
    ...(python.extraIndexUrls.length === 0
      ? {}
      : { PIP_EXTRA_INDEX_URL: python.extraIndexUrls.join(" ") }),
    ...(python.findLinks.length === 0
      ? {}
      : { PIP_FIND_LINKS: python.findLinks.join(" "), UV_FIND_LINKS: python.findLinks.join(",") }),
    ...(python.noIndex ? { PIP_NO_INDEX: "1", UV_NO_INDEX: "1" } : {}),
  };
}
