/** The Python that tests use, and virtual environments made with it. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { findProgram } from "../../support/find-program.ts";
import type { Wheel } from "./wheel.ts";

/** A Python that can make virtual environments. */
export interface Python {
  /** Absolute, and no shim. */
  readonly path: string;
  /** `3.11`. */
  readonly version: string;
}

const OLDEST_MINOR = 9;
const ASK =
  "import sys, venv, ensurepip; print(sys.executable); print('%d.%d' % sys.version_info[:2])";

/** The first Python ≥ 3.9 on PATH with `venv`; undefined, having said so, when there is none. */
export function findPython(): Python | undefined {
  const names = ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python3.9"];
  for (const name of names) {
    const program = findProgram([name]);
    if (program === undefined) continue;
    try {
      const [path = "", version = ""] = execFileSync(program, ["-c", ASK], {
        encoding: "utf8",
        timeout: 30_000,
        stdio: ["ignore", "pipe", "ignore"],
      })
        .trim()
        .split("\n");
      const [major, minor] = version.split(".").map(Number);
      if (major === 3 && minor !== undefined && minor >= OLDEST_MINOR) return { path, version };
    } catch {
      // One that does not start, or has no venv, is none.
    }
  }
  console.warn(
    `machine: SKIPPED, there is no Python 3.${OLDEST_MINOR} or newer with venv on PATH (apt-get install python3 python3-venv)`,
  );
  return undefined;
}

/**
 * Makes a virtual environment with these wheels in it, and without pip, which would take most of the
 * time: they are pure Python, and installed by being unpacked. Returns its Python.
 */
export function makeEnvironment(python: Python, folder: string, wheels: readonly Wheel[]): string {
  const env = { PATH: process.env["PATH"] ?? "", HOME: folder };
  const run = (program: string, args: readonly string[]): string =>
    execFileSync(program, args, {
      timeout: 120_000,
      stdio: ["ignore", "pipe", "pipe"],
      encoding: "utf8",
      env,
    });
  run(python.path, ["-m", "venv", "--without-pip", folder]);
  const inside = join(folder, "bin", "python");
  const where = "import sysconfig; print(sysconfig.get_path('purelib'))";
  const packages = run(inside, ["-c", where]).trim();
  for (const wheel of wheels) {
    const file = join(folder, wheel.fileName);
    writeFileSync(file, wheel.content);
    run(inside, ["-m", "zipfile", "-e", file, packages]);
  }
  return inside;
}
