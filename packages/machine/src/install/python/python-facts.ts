import { z } from "zod";
import { StepFailure } from "../model.ts";
import { describeProgramEnd, type RunProgram } from "../run-program.ts";

/** What a Python environment holds. */
export interface PythonFacts {
  readonly version: string;
  /** Package → version. */
  readonly packages: Readonly<Record<string, string>>;
  /** Where its packages are. */
  readonly sitePackages: string;
}

const TIMEOUT_MS = 120_000;
const factsSchema = z.object({
  version: z.string(),
  packages: z.record(z.string(), z.string()),
  sitePackages: z.string(),
});

/** Asks the environment itself, so that it also works for one that uv did not make. */
const SCRIPT = `
import importlib.metadata, json, platform, sysconfig
packages = {}
for dist in importlib.metadata.distributions():
    name = dist.metadata["Name"]
    if name and name not in packages:
        packages[name] = dist.version
print(json.dumps({
    "version": platform.python_version(),
    "packages": dict(sorted(packages.items())),
    "sitePackages": sysconfig.get_path("purelib"),
}))
`;

/** Reads what an environment holds; writes nothing, not even byte code. Throws a {@link StepFailure}. */
export async function readPythonFacts(
  python: string,
  options: {
    readonly run: RunProgram;
    readonly env: Readonly<Record<string, string>>;
    readonly signal: AbortSignal;
  },
): Promise<PythonFacts> {
  const result = await options.run({
    command: python,
    args: ["-B", "-c", SCRIPT],
    cwd: "/",
    env: options.env,
    timeoutMs: TIMEOUT_MS,
    signal: options.signal,
    stdoutMaxBytes: 8 * 1024 ** 2,
  });
  if (result.kind !== "succeeded") {
    throw new StepFailure(
      `${python} does not work: ${describeProgramEnd(result)}`,
      "Check that interpreter; one of a release is made anew by running the installation again.",
    );
  }
  try {
    return factsSchema.parse(JSON.parse(result.stdout));
  } catch (error) {
    throw new StepFailure(
      `${python} did not say what it holds`,
      "Check whether a sitecustomize of it prints something.",
      { cause: error },
    );
  }
}
